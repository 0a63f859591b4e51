//! How much of a year a period is, and what its rate is: an exact ratio, never a rounded factor.

use std::fmt;

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calendar::Frequency;
use super::rate::AnnualRate;
use super::rounding::Rounding;

const LEAP_YEAR_DAYS: u32 = 366;

/// How much of a year a period is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DayCount {
    /// Months of 30 days over 360. Weeks and days are counted as they are. A first period that is
    /// not a whole number of months counts as in 30E/360: a day 31 is a day 30.
    #[default]
    #[serde(rename = "thirty_360")]
    Thirty360,
    /// The days over 365, also in a leap year.
    #[serde(rename = "actual_365")]
    Actual365,
    /// The days over 360.
    #[serde(rename = "actual_360")]
    Actual360,
    /// The days over 364, a year of 52 weeks.
    #[serde(rename = "actual_364")]
    Actual364,
    /// The days of each calendar year over that year's length; a day counts in the year in which it ends.
    #[serde(rename = "actual_actual")]
    ActualActual,
    /// No days at all: a month is a twelfth of a year, a week a 52nd, a day a 365th. A first period
    /// that is not a whole number of months counts its odd days as 30ths of a month.
    #[serde(rename = "repayment_period")]
    RepaymentPeriod,
}

/// One period's rate: the annual rate times `count / basis + leap_days / 366` of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct PeriodRate {
    /// The annual rate.
    pub annual_rate: AnnualRate,
    /// The days that count over `basis`.
    pub count: u32,
    /// The days of a year.
    pub basis: u32,
    /// The days that count over 366, those in leap years; only `actual_actual` has any.
    pub leap_days: u32,
}

impl DayCount {
    /// The rate of a period. One is `regular` if it is as long as the frequency says.
    pub(super) fn rate(
        self,
        annual_rate: AnnualRate,
        frequency: Frequency,
        regular: bool,
        from: NaiveDate,
        to: NaiveDate,
    ) -> PeriodRate {
        let over = |count, basis| PeriodRate { annual_rate, count, basis, leap_days: 0 };
        let days = days_between(from, to);
        let months = |every: u8| if regular { 30 * u32::from(every) } else { days_of_30_between(from, to) };
        match (self, frequency) {
            (DayCount::Thirty360 | DayCount::RepaymentPeriod, Frequency::Months(every)) => over(months(every), 360),
            (DayCount::Thirty360, Frequency::Weeks(_) | Frequency::Days(_)) => over(days, 360),
            (DayCount::RepaymentPeriod, Frequency::Weeks(_)) => over(days, 364),
            (DayCount::RepaymentPeriod, Frequency::Days(_)) => over(days, 365),
            (DayCount::Actual365, _) => over(days, 365),
            (DayCount::Actual360, _) => over(days, 360),
            (DayCount::Actual364, _) => over(days, 364),
            (DayCount::ActualActual, _) => {
                let leap_days = leap_days_between(from, to);
                PeriodRate { annual_rate, count: days - leap_days.min(days), basis: 365, leap_days }
            }
        }
    }
}

impl PeriodRate {
    /// Numerator and denominator of the rate. With the widest dates and the highest rate the numerator is
    /// below 2^61 and the denominator below 2^44, so that an amount times one of them fits an `i128`.
    pub(super) fn ratio(&self) -> (i128, i128) {
        let (basis, leap) = (i128::from(self.basis), i128::from(LEAP_YEAR_DAYS));
        let years = i128::from(self.count) * leap + i128::from(self.leap_days) * basis;
        (self.annual_rate.numerator() * years, AnnualRate::DENOMINATOR * basis * leap)
    }

    /// The rate as a decimal of about 28 digits, for showing: 0.01 for one percent. Figures are
    /// computed from the exact ratio, not from this.
    pub fn factor(&self) -> Decimal {
        let (numerator, denominator) = self.ratio();
        let decimal = |part| Decimal::try_from_i128_with_scale(part, 0).ok();
        let factor = decimal(numerator).zip(decimal(denominator)).and_then(|(n, d)| n.checked_div(d));
        factor.unwrap_or_default().normalize()
    }

    /// The interest on a balance over this period, in minor units: rounded once, from the exact
    /// figure. Nothing if it is beyond an `i64`.
    pub fn interest_minor(&self, balance_minor: i64, rounding: Rounding) -> Option<i64> {
        let (numerator, denominator) = self.ratio();
        let figure = i128::from(balance_minor).checked_mul(numerator)?;
        i64::try_from(rounding.divide(figure, denominator)).ok()
    }

    /// The rate of this period and the next one together, which have the same basis.
    pub(super) fn and(self, next: PeriodRate) -> PeriodRate {
        PeriodRate { count: self.count + next.count, leap_days: self.leap_days + next.leap_days, ..self }
    }
}

impl fmt::Display for PeriodRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { annual_rate, count, basis, leap_days } = self;
        match leap_days {
            0 => write!(f, "{annual_rate} % × {count}/{basis}"),
            _ if *count == 0 => write!(f, "{annual_rate} % × {leap_days}/{LEAP_YEAR_DAYS}"),
            _ => write!(f, "{annual_rate} % × ({count}/{basis} + {leap_days}/{LEAP_YEAR_DAYS})"),
        }
    }
}

fn days_between(from: NaiveDate, to: NaiveDate) -> u32 {
    u32::try_from((to - from).num_days()).unwrap_or(0)
}

/// Days where every month has 30 (30E/360).
fn days_of_30_between(from: NaiveDate, to: NaiveDate) -> u32 {
    let day =
        |date: NaiveDate| i64::from(date.year()) * 360 + i64::from(date.month()) * 30 + i64::from(date.day().min(30));
    u32::try_from(day(to) - day(from)).unwrap_or(0)
}

/// The days after `from`, up to `to`, that are in leap years.
fn leap_days_between(from: NaiveDate, to: NaiveDate) -> u32 {
    let in_year = |year: i32| -> Option<u32> {
        let last = NaiveDate::from_ymd_opt(year, 12, 31)?;
        let last_before = NaiveDate::from_ymd_opt(year - 1, 12, 31)?;
        last.leap_year().then(|| days_between(from.max(last_before), to.min(last)))
    };
    (from.year()..=to.year()).filter_map(in_year).sum()
}

#[cfg(test)]
#[allow(clippy::inconsistent_digit_grouping, reason = "amounts read as units and cents: 12_50 is 12.50")]
mod tests {
    use super::*;

    fn rate(day_count: DayCount, frequency: Frequency, regular: bool, from: &str, to: &str) -> String {
        let annual_rate = "12".parse().unwrap();
        day_count.rate(annual_rate, frequency, regular, from.parse().unwrap(), to.parse().unwrap()).to_string()
    }

    #[test]
    fn a_day_counts_in_the_year_in_which_it_ends() {
        let actual = |from, to| rate(DayCount::ActualActual, Frequency::Months(1), true, from, to);
        assert_eq!(actual("2023-12-12", "2024-01-12"), "12 % × (19/365 + 12/366)");
        assert_eq!(actual("2023-12-31", "2024-01-31"), "12 % × 31/366");
        assert_eq!(actual("2024-12-31", "2025-01-31"), "12 % × 31/365");
        assert_eq!(actual("2023-06-30", "2025-06-30"), "12 % × (365/365 + 366/366)");
    }

    #[test]
    fn each_convention_counts_in_its_own_way() {
        let feb = |day_count, frequency| rate(day_count, frequency, true, "2024-01-31", "2024-02-29");
        assert_eq!(feb(DayCount::Thirty360, Frequency::Months(1)), "12 % × 30/360");
        assert_eq!(feb(DayCount::RepaymentPeriod, Frequency::Months(1)), "12 % × 30/360");
        assert_eq!(feb(DayCount::Actual365, Frequency::Months(1)), "12 % × 29/365");
        assert_eq!(feb(DayCount::Actual360, Frequency::Months(1)), "12 % × 29/360");
        assert_eq!(feb(DayCount::Actual364, Frequency::Months(1)), "12 % × 29/364");
        let week = |day_count| rate(day_count, Frequency::Weeks(1), true, "2024-02-26", "2024-03-04");
        assert_eq!(week(DayCount::Thirty360), "12 % × 7/360");
        assert_eq!(week(DayCount::RepaymentPeriod), "12 % × 7/364");
        let days = |day_count| rate(day_count, Frequency::Days(10), true, "2024-02-26", "2024-03-07");
        assert_eq!(days(DayCount::RepaymentPeriod), "12 % × 10/365");
    }

    #[test]
    fn a_longer_first_period_counts_whole_months_and_odd_days() {
        let first = |from, to| rate(DayCount::Thirty360, Frequency::Months(1), false, from, to);
        assert_eq!(first("2024-01-15", "2024-03-01"), "12 % × 46/360");
        assert_eq!(first("2024-01-31", "2024-03-31"), "12 % × 60/360");
        assert_eq!(first("2024-01-30", "2024-01-31"), "12 % × 0/360");
    }

    #[test]
    fn interest_is_rounded_once_from_the_exact_figure() {
        // 10 % of 6,000.00 over a month is 50.00 to the last digit, which a factor of 0.0083333… misses.
        let annual_rate = "10".parse().unwrap();
        let month = PeriodRate { annual_rate, count: 30, basis: 360, leap_days: 0 };
        for rounding in [Rounding::Down, Rounding::HalfEven, Rounding::Up] {
            assert_eq!(month.interest_minor(6_000_00, rounding), Some(50_00), "{rounding:?}");
        }
        assert_eq!(month.factor().to_string(), "0.0083333333333333333333333333");
        // 1,250.00 at 15 % over a month is 15.625: the figure on which the named roundings part.
        let month = PeriodRate { annual_rate: "15".parse().unwrap(), ..month };
        assert_eq!(month.interest_minor(1_250_00, Rounding::HalfEven), Some(15_62));
        assert_eq!(month.interest_minor(1_250_00, Rounding::HalfUp), Some(15_63));
    }
}
