//! When instalments are due, and the periods between.

use chrono::{Datelike, Days, Months, NaiveDate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::day_count::PeriodRate;
use super::error::CalcError;
use super::terms::Terms;

/// The time between two instalments; on the wire `{"every": 2, "unit": "weeks"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "FrequencyParts", into = "FrequencyParts")]
pub enum Frequency {
    /// Every so many months.
    Months(u8),
    /// Every so many weeks.
    Weeks(u8),
    /// Every so many days.
    Days(u16),
}

impl Default for Frequency {
    fn default() -> Self {
        Frequency::Months(1)
    }
}

/// A unit of time between instalments.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FrequencyUnit {
    Months,
    Weeks,
    Days,
}

/// The time between two instalments.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FrequencyParts {
    /// How many units: at most 255 months or weeks, or 65535 days.
    #[schemars(range(min = 1))]
    every: u16,
    /// The unit.
    unit: FrequencyUnit,
}

impl From<Frequency> for FrequencyParts {
    fn from(frequency: Frequency) -> Self {
        match frequency {
            Frequency::Months(every) => Self { every: every.into(), unit: FrequencyUnit::Months },
            Frequency::Weeks(every) => Self { every: every.into(), unit: FrequencyUnit::Weeks },
            Frequency::Days(every) => Self { every, unit: FrequencyUnit::Days },
        }
    }
}

impl TryFrom<FrequencyParts> for Frequency {
    type Error = &'static str;

    fn try_from(parts: FrequencyParts) -> Result<Self, &'static str> {
        if parts.every == 0 {
            return Err("instalments must be at least one day, week or month apart");
        }
        let few = || u8::try_from(parts.every).map_err(|_| "instalments must be at most 255 months or weeks apart");
        match parts.unit {
            FrequencyUnit::Months => few().map(Frequency::Months),
            FrequencyUnit::Weeks => few().map(Frequency::Weeks),
            FrequencyUnit::Days => Ok(Frequency::Days(parts.every)),
        }
    }
}

impl Frequency {
    fn every(self) -> u16 {
        match self {
            Frequency::Months(every) | Frequency::Weeks(every) => every.into(),
            Frequency::Days(every) => every,
        }
    }

    /// The day so many periods after an anchor. Months keep the anchor's day of the month where the
    /// month has it and take its last day where not: 31 January, 28 February, 31 March.
    fn after(self, anchor: NaiveDate, periods: u16) -> Option<NaiveDate> {
        let units = u32::from(self.every()) * u32::from(periods);
        match self {
            Frequency::Months(_) => anchor.checked_add_months(Months::new(units)),
            Frequency::Weeks(_) => anchor.checked_add_days(Days::new(7 * u64::from(units))),
            Frequency::Days(_) => anchor.checked_add_days(Days::new(units.into())),
        }
    }
}

/// The time that one instalment is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Period {
    /// The number of its instalment, from 1.
    pub number: u16,
    /// The day from which its interest is charged.
    pub from: NaiveDate,
    /// The day on which its instalment is due, up to which its interest is charged.
    pub due_on: NaiveDate,
    /// Whether it is as long as the frequency says; only a first period can be otherwise.
    pub regular: bool,
    /// What its interest is, as a ratio of the balance.
    pub rate: PeriodRate,
}

/// The periods of a schedule with their rates, each from where the one before ended.
///
/// A first due date other than one period after the disbursement makes the first period longer or
/// shorter, and the days of the following due dates come from it.
///
/// # Errors
/// Terms out of range, or dates outside of the years 1 to 9999.
pub fn periods(terms: &Terms) -> Result<Vec<Period>, CalcError> {
    terms.check()?;
    let Terms { frequency, disbursed_on, .. } = *terms;
    if frequency.every() == 0 {
        return Err(CalcError::FrequencyNotPositive);
    }
    let in_range = |date: &NaiveDate| (1..=9999).contains(&date.year());
    if !in_range(&disbursed_on) {
        return Err(CalcError::DateOutOfRange);
    }
    let one_after = frequency.after(disbursed_on, 1).ok_or(CalcError::DateOutOfRange)?;
    let moved_to = terms.first_due_on.filter(|first| *first != one_after);
    if moved_to.is_some_and(|first| first <= disbursed_on) {
        return Err(CalcError::FirstDueNotAfterDisbursement);
    }
    let mut periods = Vec::with_capacity(terms.instalments.into());
    let mut from = disbursed_on;
    for number in 1..=terms.instalments {
        let due_on = match moved_to {
            Some(first) => frequency.after(first, number - 1),
            None => frequency.after(disbursed_on, number),
        };
        let due_on = due_on.filter(in_range).ok_or(CalcError::DateOutOfRange)?;
        let regular = number > 1 || moved_to.is_none();
        let rate = terms.day_count.rate(terms.annual_rate, frequency, regular, from, due_on);
        periods.push(Period { number, from, due_on, regular, rate });
        from = due_on;
    }
    Ok(periods)
}
