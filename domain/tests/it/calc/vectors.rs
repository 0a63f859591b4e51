//! Schedules that an independent system publishes, as facts and figures: parameters, and of each
//! instalment the due date, balance, principal, interest and what is due. Apache Fineract's public
//! test data, rounded half to even; the ids are ours.
//!
//! Out of scope until the engine has the feature:
//!
//! | cases | feature |
//! |---|---|
//! | S05, C01 | grace on principal, bullet |
//! | S09, S11, S14, S23 once repaid early | recalculation after early and late repayments |
//! | S18 | several disbursements |
//! | C02 | down payment |
//! | C07 | change of the rate |

use domain::calc::Amortization::{EqualInstalments, EqualPrincipal};
use domain::calc::DayCount::{Actual360, Actual364, Actual365, ActualActual, RepaymentPeriod, Thirty360};
use domain::calc::Frequency::{Days, Months, Weeks};
use domain::calc::InterestMethod::{Flat, ReducingBalance};
use domain::calc::{Amortization, DayCount, Frequency, InterestMethod};

/// One published schedule.
pub(super) struct Vector {
    pub(super) name: &'static str,
    pub(super) principal: &'static str,
    pub(super) annual_rate: &'static str,
    pub(super) method: InterestMethod,
    pub(super) amortization: Amortization,
    pub(super) day_count: DayCount,
    pub(super) frequency: Frequency,
    pub(super) disbursed_on: &'static str,
    pub(super) instalment_multiple_minor: Option<i64>,
    /// Of each instalment: due date, balance, principal, interest, due.
    pub(super) rows: &'static str,
}

pub(super) const VECTORS: &[Vector] = &[
    Vector {
        name: "S01 flat, 18 months, instalments of whole units",
        principal: "5000",
        annual_rate: "12",
        method: Flat,
        amortization: EqualInstalments,
        day_count: RepaymentPeriod,
        frequency: Months(1),
        disbursed_on: "2022-11-01",
        instalment_multiple_minor: Some(100),
        rows: "
            2022-12-01 4722.00 278.00 50.00 328.00
            2023-01-01 4444.00 278.00 50.00 328.00
            2023-02-01 4166.00 278.00 50.00 328.00
            2023-03-01 3888.00 278.00 50.00 328.00
            2023-04-01 3610.00 278.00 50.00 328.00
            2023-05-01 3332.00 278.00 50.00 328.00
            2023-06-01 3054.00 278.00 50.00 328.00
            2023-07-01 2776.00 278.00 50.00 328.00
            2023-08-01 2498.00 278.00 50.00 328.00
            2023-09-01 2220.00 278.00 50.00 328.00
            2023-10-01 1942.00 278.00 50.00 328.00
            2023-11-01 1664.00 278.00 50.00 328.00
            2023-12-01 1386.00 278.00 50.00 328.00
            2024-01-01 1108.00 278.00 50.00 328.00
            2024-02-01 830.00 278.00 50.00 328.00
            2024-03-01 552.00 278.00 50.00 328.00
            2024-04-01 274.00 278.00 50.00 328.00
            2024-05-01 0.00 274.00 50.00 324.00",
    },
    Vector {
        name: "S02 reducing balance, a month is a twelfth, instalments of whole units",
        principal: "5000",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: RepaymentPeriod,
        frequency: Months(1),
        disbursed_on: "2022-11-01",
        instalment_multiple_minor: Some(100),
        rows: "
            2022-12-01 4745.00 255.00 50.00 305.00
            2023-01-01 4487.45 257.55 47.45 305.00
            2023-02-01 4227.32 260.13 44.87 305.00
            2023-03-01 3964.59 262.73 42.27 305.00
            2023-04-01 3699.24 265.35 39.65 305.00
            2023-05-01 3431.23 268.01 36.99 305.00
            2023-06-01 3160.54 270.69 34.31 305.00
            2023-07-01 2887.15 273.39 31.61 305.00
            2023-08-01 2611.02 276.13 28.87 305.00
            2023-09-01 2332.13 278.89 26.11 305.00
            2023-10-01 2050.45 281.68 23.32 305.00
            2023-11-01 1765.95 284.50 20.50 305.00
            2023-12-01 1478.61 287.34 17.66 305.00
            2024-01-01 1188.40 290.21 14.79 305.00
            2024-02-01 895.28 293.12 11.88 305.00
            2024-03-01 599.23 296.05 8.95 305.00
            2024-04-01 300.22 299.01 5.99 305.00
            2024-05-01 0.00 300.22 3.00 303.22",
    },
    Vector {
        name: "S03 reducing balance, days over 365 through a leap year, instalments of whole units",
        principal: "5000",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Actual365,
        frequency: Months(1),
        disbursed_on: "2022-11-01",
        instalment_multiple_minor: Some(100),
        rows: "
            2022-12-01 4744.32 255.68 49.32 305.00
            2023-01-01 4487.67 256.65 48.35 305.00
            2023-02-01 4228.41 259.26 45.74 305.00
            2023-03-01 3962.33 266.08 38.92 305.00
            2023-04-01 3697.71 264.62 40.38 305.00
            2023-05-01 3429.18 268.53 36.47 305.00
            2023-06-01 3159.13 270.05 34.95 305.00
            2023-07-01 2885.29 273.84 31.16 305.00
            2023-08-01 2609.70 275.59 29.41 305.00
            2023-09-01 2331.30 278.40 26.60 305.00
            2023-10-01 2049.29 282.01 22.99 305.00
            2023-11-01 1765.18 284.11 20.89 305.00
            2023-12-01 1477.59 287.59 17.41 305.00
            2024-01-01 1187.65 289.94 15.06 305.00
            2024-02-01 894.75 292.90 12.10 305.00
            2024-03-01 598.28 296.47 8.53 305.00
            2024-04-01 299.38 298.90 6.10 305.00
            2024-05-01 0.00 299.38 2.95 302.33",
    },
    Vector {
        name: "S04 reducing balance, equal principal",
        principal: "5000",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualPrincipal,
        day_count: RepaymentPeriod,
        frequency: Months(1),
        disbursed_on: "2022-11-01",
        instalment_multiple_minor: Some(100),
        rows: "
            2022-12-01 4722.22 277.78 50.00 327.78
            2023-01-01 4444.44 277.78 47.22 325.00
            2023-02-01 4166.66 277.78 44.44 322.22
            2023-03-01 3888.88 277.78 41.67 319.45
            2023-04-01 3611.10 277.78 38.89 316.67
            2023-05-01 3333.32 277.78 36.11 313.89
            2023-06-01 3055.54 277.78 33.33 311.11
            2023-07-01 2777.76 277.78 30.56 308.34
            2023-08-01 2499.98 277.78 27.78 305.56
            2023-09-01 2222.20 277.78 25.00 302.78
            2023-10-01 1944.42 277.78 22.22 300.00
            2023-11-01 1666.64 277.78 19.44 297.22
            2023-12-01 1388.86 277.78 16.67 294.45
            2024-01-01 1111.08 277.78 13.89 291.67
            2024-02-01 833.30 277.78 11.11 288.89
            2024-03-01 555.52 277.78 8.33 286.11
            2024-04-01 277.74 277.78 5.56 283.34
            2024-05-01 0.00 277.74 2.78 280.52",
    },
    Vector {
        name: "S23 30/360, before its early repayment",
        principal: "100",
        annual_rate: "7",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Thirty360,
        frequency: Months(1),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-02-01 83.57 16.43 0.58 17.01
            2024-03-01 67.05 16.52 0.49 17.01
            2024-04-01 50.43 16.62 0.39 17.01
            2024-05-01 33.71 16.72 0.29 17.01
            2024-06-01 16.90 16.81 0.20 17.01
            2024-07-01 0.00 16.90 0.10 17.00",
    },
    Vector {
        name: "P01 actual/actual across a leap year's start",
        principal: "10000",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: ActualActual,
        frequency: Months(1),
        disbursed_on: "2023-12-12",
        instalment_multiple_minor: None,
        rows: "
            2024-01-12 8376.25 1623.75 101.81 1725.56
            2024-02-12 6735.83 1640.42 85.14 1725.56
            2024-03-12 5074.32 1661.51 64.05 1725.56
            2024-04-12 3400.34 1673.98 51.58 1725.56
            2024-05-12 1708.23 1692.11 33.45 1725.56
            2024-06-12 0.00 1708.23 17.36 1725.59",
    },
    Vector {
        name: "P03 actual/actual, instalment one cent up",
        principal: "331.77",
        annual_rate: "10.65",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: ActualActual,
        frequency: Months(1),
        disbursed_on: "2023-12-12",
        instalment_multiple_minor: None,
        rows: "
            2024-01-12 266.63 65.14 3.00 68.14
            2024-02-12 200.90 65.73 2.41 68.14
            2024-03-12 134.46 66.44 1.70 68.14
            2024-04-12 67.53 66.93 1.21 68.14
            2024-05-12 0.00 67.53 0.59 68.12",
    },
    Vector {
        name: "P05 30/360, rate with four decimals",
        principal: "100",
        annual_rate: "9.4822",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Thirty360,
        frequency: Months(1),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-02-01 83.66 16.34 0.79 17.13
            2024-03-01 67.19 16.47 0.66 17.13
            2024-04-01 50.59 16.60 0.53 17.13
            2024-05-01 33.86 16.73 0.40 17.13
            2024-06-01 17.00 16.86 0.27 17.13
            2024-07-01 0.00 17.00 0.13 17.13",
    },
    Vector {
        name: "P07 30/360, every two months",
        principal: "100",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Thirty360,
        frequency: Months(2),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-03-01 67.32 32.68 2.00 34.68
            2024-05-01 33.99 33.33 1.35 34.68
            2024-07-01 0.00 33.99 0.68 34.67",
    },
    Vector {
        name: "P09 actual/365 in a leap year",
        principal: "100",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Actual365,
        frequency: Months(1),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-02-01 83.77 16.23 1.02 17.25
            2024-03-01 67.32 16.45 0.80 17.25
            2024-04-01 50.76 16.56 0.69 17.25
            2024-05-01 34.01 16.75 0.50 17.25
            2024-06-01 17.11 16.90 0.35 17.25
            2024-07-01 0.00 17.11 0.17 17.28",
    },
    Vector {
        name: "P11 actual/365, every 15 days, instalment one cent up",
        principal: "100",
        annual_rate: "9.4822",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Actual365,
        frequency: Days(15),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-01-16 83.49 16.51 0.39 16.90
            2024-01-31 66.92 16.57 0.33 16.90
            2024-02-15 50.28 16.64 0.26 16.90
            2024-03-01 33.58 16.70 0.20 16.90
            2024-03-16 16.81 16.77 0.13 16.90
            2024-03-31 0.00 16.81 0.07 16.88",
    },
    Vector {
        name: "P13 actual/360",
        principal: "100",
        annual_rate: "4",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Actual360,
        frequency: Months(1),
        disbursed_on: "2024-12-23",
        instalment_multiple_minor: None,
        rows: "
            2025-01-23 66.78 33.22 0.34 33.56
            2025-02-23 33.45 33.33 0.23 33.56
            2025-03-23 0.00 33.45 0.10 33.55",
    },
    Vector {
        name: "P15 actual/actual, ends of months",
        principal: "10000",
        annual_rate: "12",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: ActualActual,
        frequency: Months(1),
        disbursed_on: "2025-01-31",
        instalment_multiple_minor: None,
        rows: "
            2025-02-28 6694.23 3305.77 92.05 3397.82
            2025-03-31 3364.64 3329.59 68.23 3397.82
            2025-04-30 0.00 3364.64 33.19 3397.83",
    },
    Vector {
        name: "P17 actual/actual, twelve months",
        principal: "200",
        annual_rate: "26",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: ActualActual,
        frequency: Months(1),
        disbursed_on: "2025-03-11",
        instalment_multiple_minor: None,
        rows: "
            2025-04-11 185.30 14.70 4.42 19.12
            2025-05-11 170.14 15.16 3.96 19.12
            2025-06-11 154.78 15.36 3.76 19.12
            2025-07-11 138.97 15.81 3.31 19.12
            2025-08-11 122.92 16.05 3.07 19.12
            2025-09-11 106.51 16.41 2.71 19.12
            2025-10-11 89.67 16.84 2.28 19.12
            2025-11-11 72.53 17.14 1.98 19.12
            2025-12-11 54.96 17.57 1.55 19.12
            2026-01-11 37.05 17.91 1.21 19.12
            2026-02-11 18.75 18.30 0.82 19.12
            2026-03-11 0.00 18.75 0.37 19.12",
    },
    Vector {
        name: "P19 actual/364, every two weeks, instalment one cent down",
        principal: "100",
        annual_rate: "9.4822",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Actual364,
        frequency: Weeks(2),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-01-15 66.79 33.21 0.36 33.57
            2024-01-29 33.46 33.33 0.24 33.57
            2024-02-12 0.00 33.46 0.12 33.58",
    },
    Vector {
        name: "C11 no interest",
        principal: "1000",
        annual_rate: "0",
        method: ReducingBalance,
        amortization: EqualInstalments,
        day_count: Thirty360,
        frequency: Months(1),
        disbursed_on: "2024-01-01",
        instalment_multiple_minor: None,
        rows: "
            2024-02-01 750.00 250.00 0.00 250.00
            2024-03-01 500.00 250.00 0.00 250.00
            2024-04-01 250.00 250.00 0.00 250.00
            2024-05-01 0.00 250.00 0.00 250.00",
    },
];
