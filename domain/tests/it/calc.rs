//! Loan schedules: published ones in every cell, and what must hold for all terms there are.

#![allow(
    clippy::inconsistent_digit_grouping,
    clippy::mistyped_literal_suffixes,
    reason = "amounts read as units and cents: 12_50 is 12.50"
)]

mod vectors;

use chrono::NaiveDate;
use domain::calc::{
    Amortization, AnnualRate, CalcError, DayCount, Frequency, Instalment, InterestMethod, Rounding, Terms, periods,
    schedule, split,
};
use domain::money::AMOUNT_MINOR_MAX;
use domain::{Currency, Money};
use proptest::prelude::*;
use vectors::VECTORS;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// 1,000.00 without interest in four months, for tests to change.
fn terms() -> Terms {
    Terms {
        principal_minor: 1_000_00,
        minor_units: 2,
        annual_rate: AnnualRate::default(),
        method: InterestMethod::default(),
        amortization: Amortization::default(),
        day_count: DayCount::default(),
        frequency: Frequency::default(),
        instalments: 4,
        disbursed_on: date("2024-01-01"),
        first_due_on: None,
        rounding: Rounding::default(),
        instalment_multiple_minor: None,
    }
}

fn rate(text: &str) -> AnnualRate {
    text.parse().unwrap()
}

fn due_dates(terms: &Terms) -> Vec<String> {
    schedule(terms).unwrap().iter().map(|instalment| instalment.due_on.to_string()).collect()
}

fn dues(terms: &Terms) -> Vec<i64> {
    schedule(terms).unwrap().iter().map(Instalment::due_minor).collect()
}

#[test]
fn published_schedules_match_in_every_cell() {
    let euro: Currency = "EUR".parse().unwrap();
    let minor = |text: &str| Money::parse(text, euro).unwrap().amount_minor;
    let mut cells = 0;
    for vector in VECTORS {
        let rows: Vec<Vec<&str>> = vector.rows.trim().lines().map(|row| row.split_whitespace().collect()).collect();
        let terms = Terms {
            principal_minor: minor(vector.principal),
            minor_units: 2,
            annual_rate: rate(vector.annual_rate),
            method: vector.method,
            amortization: vector.amortization,
            day_count: vector.day_count,
            frequency: vector.frequency,
            instalments: rows.len().try_into().unwrap(),
            disbursed_on: date(vector.disbursed_on),
            first_due_on: None,
            rounding: Rounding::HalfEven,
            instalment_multiple_minor: vector.instalment_multiple_minor,
        };
        let computed = schedule(&terms).unwrap();
        assert_eq!(computed.len(), rows.len(), "{}", vector.name);
        for (instalment, row) in computed.iter().zip(rows) {
            let decimal = |amount_minor| Money::new(amount_minor, euro).decimal();
            let computed = [
                instalment.due_on.to_string(),
                decimal(instalment.balance_minor),
                decimal(instalment.principal_minor),
                decimal(instalment.interest_minor),
                decimal(instalment.due_minor()),
            ];
            assert_eq!(computed.as_slice(), row, "{}, instalment {}", vector.name, instalment.number);
            cells += row.len();
        }
    }
    println!("{} published schedules, {cells} cells", VECTORS.len());
}

#[test]
fn due_dates_keep_the_day_of_the_month_where_the_month_has_it() {
    let from = |disbursed_on, first_due_on: Option<&str>| Terms {
        disbursed_on: date(disbursed_on),
        first_due_on: first_due_on.map(date),
        ..terms()
    };
    let from_the_31st = ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"];
    assert_eq!(due_dates(&from("2024-01-31", None)), from_the_31st);
    // The regular first date, said aloud, changes nothing.
    assert_eq!(due_dates(&from("2024-01-31", Some("2024-02-29"))), from_the_31st);
    // Another first date gives the day for all that follow.
    assert_eq!(
        due_dates(&from("2024-01-10", Some("2024-03-31"))),
        ["2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30"]
    );
    let every = |frequency| Terms { frequency, instalments: 2, ..terms() };
    assert_eq!(due_dates(&every(Frequency::Weeks(2))), ["2024-01-15", "2024-01-29"]);
    assert_eq!(due_dates(&every(Frequency::Days(10))), ["2024-01-11", "2024-01-21"]);
    assert_eq!(due_dates(&every(Frequency::Months(6))), ["2024-07-01", "2025-01-01"]);
}

#[test]
fn a_loan_without_interest_is_split_exactly_and_the_last_absorbs_the_rest() {
    let split_in = |principal_minor, instalments| dues(&Terms { principal_minor, instalments, ..terms() });
    assert_eq!(split_in(1_000_00, 4), [250_00; 4]);
    assert_eq!(split_in(1_000_00, 3), [333_33, 333_33, 333_34]);
    assert_eq!(split_in(1_000_00, 7), [142_86, 142_86, 142_86, 142_86, 142_86, 142_86, 142_84]);
    // Two each would end it with the fifth instalment, so one each and the rest at the end.
    assert_eq!(split_in(10, 6), [1, 1, 1, 1, 1, 5]);
    let whole = Terms { instalments: 3, instalment_multiple_minor: Some(100), ..terms() };
    assert_eq!(dues(&whole), [333_00, 333_00, 334_00]);
}

#[test]
fn a_named_rounding_decides_where_a_figure_is_between_two_units() {
    // 15 % of 1,250.00 over a month is 15.625.
    let first_interest = |rounding| {
        let terms = Terms { principal_minor: 1_250_00, annual_rate: rate("15"), rounding, ..terms() };
        schedule(&terms).unwrap()[0].interest_minor
    };
    assert_eq!(
        [Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfDown, Rounding::Up, Rounding::Down].map(first_interest),
        [15_62, 15_63, 15_62, 15_63, 15_62]
    );
    // Rounded up, no instalment is below the exact one, and the last is the smallest.
    let up = dues(&Terms { instalments: 3, rounding: Rounding::Up, ..terms() });
    assert_eq!(up, [333_34, 333_34, 333_32]);
}

#[test]
fn an_exact_instalment_is_not_tipped_by_the_noise_of_a_division() {
    // 1,100.00 in two months at 240 % (20 % a month) is 720.00 each, to the last digit.
    for rounding in [Rounding::Up, Rounding::Down, Rounding::HalfEven] {
        let terms = Terms { principal_minor: 1_100_00, annual_rate: rate("240"), instalments: 2, rounding, ..terms() };
        assert_eq!(dues(&terms), [720_00, 720_00], "{rounding:?}");
    }
}

#[test]
fn flat_interest_is_that_of_the_whole_term_to_the_minor_unit() {
    // 10 % of 1,000.00 over three months is 25.00, of which 8.33 is a third.
    let flat = Terms { annual_rate: rate("10"), method: InterestMethod::Flat, instalments: 3, ..terms() };
    let interest: Vec<i64> = schedule(&flat).unwrap().iter().map(|i| i.interest_minor).collect();
    assert_eq!(interest, [8_33, 8_33, 8_34]);
    // Instalments of whole units, and not only their principal: 341.67 each.
    let whole = Terms { instalment_multiple_minor: Some(100), ..flat.clone() };
    assert_eq!(dues(&whole), [342_00, 342_00, 341_00]);
    // Equal principal is equal before it is round.
    let principal = Terms { amortization: Amortization::EqualPrincipal, ..whole };
    assert_eq!(dues(&principal), [341_66, 341_66, 341_68]);
}

#[test]
fn a_long_first_period_may_be_all_interest() {
    // 10,000.00 at 12 % over 30 years, first due after 46 days of 30-day months: 153.33 of interest, more than
    // the instalment of 102.86. The other 359 repay the principal: 10,000.00 × 0.01 / (1 - 1.01^-359) = 102.89.
    let long = Terms {
        principal_minor: 10_000_00,
        annual_rate: rate("12"),
        instalments: 360,
        disbursed_on: date("2024-01-15"),
        first_due_on: Some(date("2024-03-01")),
        ..terms()
    };
    let instalments = schedule(&long).unwrap();
    assert_eq!((instalments[0].principal_minor, instalments[0].interest_minor), (0, 153_33));
    assert!(instalments[1..359].iter().all(|instalment| instalment.due_minor() == 102_89));
    check(&long, &instalments).unwrap();
    // A first period that leaves room for principal is an instalment like the others.
    let short = dues(&Terms { instalments: 12, ..long });
    assert!(short[..11].iter().all(|due| *due == short[0]), "{short:?}");
}

#[test]
fn a_period_shows_its_rate() {
    let terms = Terms {
        annual_rate: rate("12.50"),
        day_count: DayCount::ActualActual,
        disbursed_on: date("2023-12-12"),
        ..terms()
    };
    let shown: Vec<String> = periods(&terms).unwrap().iter().map(|period| period.rate.to_string()).collect();
    assert_eq!(shown[0], "12.5 % × (19/365 + 12/366)");
    assert_eq!(shown[1], "12.5 % × 31/366");
}

#[test]
fn terms_out_of_range_are_refused_each_with_its_code() {
    let longest = Terms { instalments: 600, frequency: Frequency::Months(255), ..terms() };
    let cases = [
        ("principal_not_positive", Terms { principal_minor: 0, ..terms() }),
        ("principal_too_large", Terms { principal_minor: AMOUNT_MINOR_MAX + 1, ..terms() }),
        ("instalments_out_of_range", Terms { instalments: 0, ..terms() }),
        ("instalments_out_of_range", Terms { instalments: 601, ..terms() }),
        ("frequency_not_positive", Terms { frequency: Frequency::Days(0), ..terms() }),
        ("first_due_not_after_disbursement", Terms { first_due_on: Some(date("2024-01-01")), ..terms() }),
        ("schedule_date_out_of_range", longest),
        ("schedule_date_out_of_range", Terms { disbursed_on: NaiveDate::MIN, ..terms() }),
        ("schedule_date_out_of_range", Terms { disbursed_on: NaiveDate::MAX, ..terms() }),
        ("instalment_multiple_not_positive", Terms { instalment_multiple_minor: Some(0), ..terms() }),
        ("instalment_too_small", Terms { principal_minor: 3, ..terms() }),
        ("instalment_too_small", Terms { instalment_multiple_minor: Some(1_000_00), ..terms() }),
        // The interest of a month of 31 days is more than the annuity.
        (
            "instalment_too_small",
            Terms { annual_rate: rate("24"), instalments: 360, day_count: DayCount::Actual365, ..terms() },
        ),
        (
            "schedule_amount_too_large",
            Terms { principal_minor: AMOUNT_MINOR_MAX, annual_rate: rate("1000"), ..terms() },
        ),
    ];
    for (code, terms) in cases {
        assert_eq!(schedule(&terms).map_err(|error| error.code()), Err(code), "{terms:?}");
    }
    assert!(schedule(&Terms { principal_minor: AMOUNT_MINOR_MAX, ..terms() }).is_ok());
    assert!(schedule(&Terms { principal_minor: 4, ..terms() }).is_ok());
}

#[test]
fn a_rate_is_read_exactly_and_written_without_trailing_zeros() {
    for (text, written) in [
        ("0", "0"),
        ("0.000000", "0"),
        ("12.50", "12.5"),
        ("0012.5", "12.5"),
        ("9.4822", "9.4822"),
        ("0.000001", "0.000001"),
        ("1000", "1000"),
        ("1000.000000", "1000"),
    ] {
        assert_eq!(rate(text).to_string(), written);
        assert_eq!(serde_json::to_value(rate(text)).unwrap(), serde_json::json!(written));
    }
    for text in
        ["", ".5", "5.", "-1", "+1", "1e2", "1,5", " 1", "12 %", "1000.000001", "1001", "0.0000001", "00001", "١"]
    {
        assert!(text.parse::<AnnualRate>().is_err(), "{text:?}");
        assert!(serde_json::from_value::<AnnualRate>(serde_json::json!(text)).is_err(), "{text:?}");
    }
    assert!(rate("0.0").is_zero() && !rate("0.000001").is_zero());
    assert!(serde_json::from_str::<AnnualRate>("12.5").is_err(), "a number is not exact in every reader");
}

fn json(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).unwrap()
}

#[test]
fn names_on_the_wire_are_stable() {
    let frequency = |text: &str| serde_json::from_str::<Frequency>(text);
    assert_eq!(json(Frequency::Weeks(2)), r#"{"every":2,"unit":"weeks"}"#);
    assert_eq!(frequency(r#"{"every":15,"unit":"days"}"#).unwrap(), Frequency::Days(15));
    assert_eq!(frequency(r#"{"every":1,"unit":"months"}"#).unwrap(), Frequency::default());
    for refused in [
        r#"{"every":0,"unit":"days"}"#,
        r#"{"every":256,"unit":"months"}"#,
        r#"{"every":1,"unit":"years"}"#,
        r#"{"every":1,"unit":"days","on":"monday"}"#,
    ] {
        assert!(frequency(refused).is_err(), "{refused}");
    }
    for (day_count, name) in [
        (DayCount::Thirty360, "thirty_360"),
        (DayCount::Actual365, "actual_365"),
        (DayCount::Actual360, "actual_360"),
        (DayCount::Actual364, "actual_364"),
        (DayCount::ActualActual, "actual_actual"),
        (DayCount::RepaymentPeriod, "repayment_period"),
    ] {
        assert_eq!(json(day_count), format!("\"{name}\""));
    }
    assert_eq!(json(Rounding::HalfEven), r#""half_even""#);
    assert_eq!(json(InterestMethod::ReducingBalance), r#""reducing_balance""#);
    assert_eq!(json(Amortization::EqualInstalments), r#""equal_instalments""#);
}

#[test]
fn schemas_say_what_the_wire_takes() {
    let schema = |schema: schemars::Schema| schema.to_value();
    let frequency = schema(schemars::schema_for!(Frequency));
    assert_eq!(frequency["properties"]["every"]["minimum"], 1, "{frequency:#}");
    assert_eq!(frequency["additionalProperties"], false, "{frequency:#}");
    assert_eq!(frequency["required"], serde_json::json!(["every", "unit"]), "{frequency:#}");
    assert_eq!(schema(schemars::schema_for!(AnnualRate))["type"], "string");
    let day_count = schema(schemars::schema_for!(DayCount)).to_string();
    assert!(day_count.contains("thirty_360") && day_count.contains("actual_actual"), "{day_count}");
}

#[test]
fn a_split_gives_what_remains_to_the_largest_fractions() {
    assert_eq!(split(100, &[1, 1, 1]).unwrap(), [34, 33, 33]);
    assert_eq!(split(-100, &[1, 1, 1]).unwrap(), [-34, -33, -33]);
    assert_eq!(split(10, &[1, 0, 2]).unwrap(), [3, 0, 7]);
    assert_eq!(split(0, &[5, 7]).unwrap(), [0, 0]);
    assert_eq!(split(i64::MIN, &[i64::MAX]).unwrap(), [i64::MIN]);
    for weights in [&[][..], &[0, 0], &[3, -1]] {
        assert_eq!(split(1, weights), Err(CalcError::WeightsUnusable));
    }
}

fn a_rate() -> impl Strategy<Value = AnnualRate> {
    prop_oneof![
        Just(AnnualRate::default()),
        (0..40_u32, 0..1_000_000_u32).prop_map(|(whole, part)| rate(&format!("{whole}.{part:06}"))),
        (0..1000_u32, 0..1_000_000_u32).prop_map(|(whole, part)| rate(&format!("{whole}.{part:06}"))),
    ]
}

fn a_rounding() -> impl Strategy<Value = Rounding> {
    prop::sample::select(vec![Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfDown, Rounding::Up, Rounding::Down])
}

prop_compose! {
    /// The terms of loans that there might be.
    fn usual_terms()(
        principal_minor in 100_00..=100_000_000_00_i64,
        annual_rate in a_rate(),
        method in prop::sample::select(vec![InterestMethod::ReducingBalance, InterestMethod::Flat]),
        amortization in prop::sample::select(vec![Amortization::EqualInstalments, Amortization::EqualPrincipal]),
        day_count in prop::sample::select(vec![
            DayCount::Thirty360, DayCount::Actual365, DayCount::Actual360, DayCount::Actual364,
            DayCount::ActualActual, DayCount::RepaymentPeriod,
        ]),
        frequency in prop_oneof![
            (1..=12_u8).prop_map(Frequency::Months),
            (1..=8_u8).prop_map(Frequency::Weeks),
            (1..=90_u16).prop_map(Frequency::Days),
        ],
        instalments in 1..=360_u16,
        day in 0..20_000_u64,
        first_due_after in prop::option::weighted(0.3, 1..90_u64),
        rounding in a_rounding(),
        instalment_multiple_minor in prop::option::weighted(0.3, prop::sample::select(vec![1, 5, 100, 500])),
    ) -> Terms {
        let disbursed_on = date("1990-01-01") + chrono::Days::new(day);
        Terms {
            principal_minor, minor_units: 2, annual_rate, method, amortization, day_count, frequency, instalments,
            disbursed_on, first_due_on: first_due_after.map(|days| disbursed_on + chrono::Days::new(days)),
            rounding, instalment_multiple_minor,
        }
    }
}

prop_compose! {
    /// Any values that the types can hold.
    fn any_terms()(
        usual in usual_terms(),
        principal_minor in prop_oneof![any::<i64>(), 1..1000_i64, AMOUNT_MINOR_MAX - 5..=AMOUNT_MINOR_MAX],
        minor_units in any::<u8>(),
        frequency in prop_oneof![
            any::<u8>().prop_map(Frequency::Months),
            any::<u8>().prop_map(Frequency::Weeks),
            any::<u16>().prop_map(Frequency::Days),
        ],
        instalments in prop_oneof![any::<u16>(), 0..=601_u16],
        days in prop_oneof![
            any::<i32>(), 0..800_000_i32, Just(i32::MIN), Just(i32::MAX)
        ],
        first in prop::option::of(prop_oneof![any::<i32>(), 0..800_000_i32]),
        multiple in prop::option::of(any::<i64>()),
    ) -> Terms {
        let day = |days: i32| {
            NaiveDate::from_num_days_from_ce_opt(days)
                .unwrap_or(if days < 0 { NaiveDate::MIN } else { NaiveDate::MAX })
        };
        Terms {
            principal_minor, minor_units, frequency, instalments, disbursed_on: day(days), first_due_on: first.map(day),
            instalment_multiple_minor: multiple, ..usual
        }
    }
}

/// What holds for every schedule, whatever its terms.
fn check(terms: &Terms, instalments: &[Instalment]) -> Result<(), TestCaseError> {
    prop_assert_eq!(instalments.len(), usize::from(terms.instalments));
    let mut balance = terms.principal_minor;
    let mut from = terms.disbursed_on;
    let mut interest_total = 0;
    let mut equal_from = 0;
    for (instalment, number) in instalments.iter().zip(1..) {
        prop_assert_eq!((instalment.number, instalment.from), (number, from));
        prop_assert!(instalment.due_on > from);
        let interest_alone = number == 1 && terms.first_due_on.is_some() && instalment.principal_minor == 0;
        equal_from = if interest_alone { 1 } else { equal_from };
        prop_assert!(instalment.principal_minor > 0 || interest_alone);
        prop_assert!(instalment.interest_minor >= 0);
        prop_assert!(instalment.due_minor() <= AMOUNT_MINOR_MAX);
        balance -= instalment.principal_minor;
        interest_total += instalment.interest_minor;
        prop_assert_eq!(instalment.balance_minor, balance);
        from = instalment.due_on;
    }
    prop_assert_eq!(balance, 0);
    prop_assert!(!terms.annual_rate.is_zero() || interest_total == 0);
    let Some((last, others)) = instalments.split_last() else { return Ok(()) };
    prop_assert_eq!(last.balance_minor, 0);
    let others = others.get(equal_from..).unwrap_or_default();
    let equal = |figures: Vec<i64>| figures.windows(2).all(|pair| pair[0] == pair[1]);
    match (terms.method, terms.amortization) {
        (_, Amortization::EqualInstalments) => {
            prop_assert!(equal(others.iter().map(Instalment::due_minor).collect()));
            let multiple = terms.instalment_multiple_minor.unwrap_or(1);
            prop_assert!(others.iter().all(|instalment| instalment.due_minor() % multiple == 0));
        }
        (InterestMethod::ReducingBalance, Amortization::EqualPrincipal) => {
            prop_assert!(equal(others.iter().map(|instalment| instalment.principal_minor).collect()));
        }
        (InterestMethod::Flat, Amortization::EqualPrincipal) => {
            prop_assert!(equal(others.iter().map(Instalment::due_minor).collect()));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_schedule_repays_exactly_what_was_lent(terms in usual_terms()) {
        match schedule(&terms) {
            Ok(instalments) => {
                check(&terms, &instalments)?;
                prop_assert_eq!(Ok(instalments), schedule(&terms));
            }
            // Among usual terms only these cannot be met.
            Err(error) => prop_assert!(
                matches!(error, CalcError::InstalmentTooSmall { .. } | CalcError::AmountTooLarge), "{error}"
            ),
        }
    }

    #[test]
    fn no_terms_make_the_engine_panic(terms in any_terms()) {
        if let Ok(instalments) = schedule(&terms) {
            check(&terms, &instalments)?;
        }
        if let Ok(periods) = periods(&terms) {
            prop_assert!(periods.iter().all(|period| !period.rate.factor().is_sign_negative()));
        }
    }

    #[test]
    fn loans_as_they_are_made_all_have_a_schedule(
        terms in usual_terms(), principal_minor in 1_000_00..=100_000_000_00_i64,
        rate_hundredths in 0..=2500_u32, months in 1..=60_u16,
    ) {
        let terms = Terms {
            principal_minor,
            annual_rate: rate(&format!("{}.{:02}", rate_hundredths / 100, rate_hundredths % 100)),
            frequency: Frequency::Months(1),
            instalments: months,
            first_due_on: None,
            ..terms
        };
        let instalments = schedule(&terms);
        prop_assert!(instalments.is_ok(), "{:?}", instalments);
        check(&terms, &instalments.unwrap())?;
    }

    #[test]
    fn without_interest_parts_differ_by_rounding_alone(
        principal_minor in 100_00..=AMOUNT_MINOR_MAX, instalments in 1..=60_u16, method in 0..2_u8,
    ) {
        let method = if method == 0 { InterestMethod::Flat } else { InterestMethod::ReducingBalance };
        let parts = dues(&Terms { principal_minor, instalments, method, ..terms() });
        prop_assert_eq!(parts.iter().sum::<i64>(), principal_minor);
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        prop_assert!(most - least <= i64::from(instalments), "{:?}", parts);
    }

    #[test]
    fn a_split_conserves_and_is_within_one_unit_of_each_share(
        amount in any::<i64>(), weights in prop::collection::vec(0..=i64::MAX, 1..20),
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let parts = split(amount, &weights).unwrap();
        prop_assert_eq!(parts.iter().map(|part| i128::from(*part)).sum::<i128>(), i128::from(amount));
        let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        for (part, weight) in parts.iter().zip(&weights) {
            let share = i128::from(amount) * i128::from(*weight) / total;
            prop_assert!((i128::from(*part) - share).abs() <= 1);
            prop_assert!(*weight > 0 || *part == 0);
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_rates_panic(text in "\\PC{0,12}") {
        if let Ok(rate) = text.parse::<AnnualRate>() {
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
