//! What a loan's schedule is computed from.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calendar::Frequency;
use super::day_count::DayCount;
use super::error::CalcError;
use super::rate::AnnualRate;
use super::rounding::Rounding;
use crate::money::AMOUNT_MINOR_MAX;

/// The most instalments that a schedule may have: fifty years of months.
pub const INSTALMENTS_MAX: u16 = 600;

/// What interest is charged on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InterestMethod {
    /// On the principal that is left at the start of each period.
    #[default]
    ReducingBalance,
    /// On the whole principal over the whole term, spread evenly over the instalments.
    Flat,
}

/// What the instalments have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Amortization {
    /// Principal and interest together.
    #[default]
    EqualInstalments,
    /// The principal part.
    EqualPrincipal,
}

/// What a schedule is computed from; [`super::schedule`] refuses what is out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What is lent, in minor units.
    pub principal_minor: i64,
    /// The currency's decimals, for showing figures: all amounts here are in minor units already.
    pub minor_units: u8,
    /// The annual nominal rate in percent.
    pub annual_rate: AnnualRate,
    /// What interest is charged on.
    pub method: InterestMethod,
    /// What the instalments have in common.
    pub amortization: Amortization,
    /// How much of a year a period is.
    pub day_count: DayCount,
    /// The time between two instalments.
    pub frequency: Frequency,
    /// How many instalments, 1 to [`INSTALMENTS_MAX`].
    pub instalments: u16,
    /// The day from which interest is charged.
    pub disbursed_on: NaiveDate,
    /// When the first instalment is due, if not one period after the disbursement.
    pub first_due_on: Option<NaiveDate>,
    /// How figures are rounded to minor units.
    pub rounding: Rounding,
    /// Equal instalments are rounded to a multiple of so many minor units, and the last absorbs the
    /// difference. Equal principal is not rounded so.
    pub instalment_multiple_minor: Option<i64>,
}

impl Terms {
    /// Refuses what no schedule can be computed from, but for the dates.
    pub(super) fn check(&self) -> Result<(), CalcError> {
        if self.principal_minor <= 0 {
            return Err(CalcError::PrincipalNotPositive);
        }
        if self.principal_minor > AMOUNT_MINOR_MAX {
            return Err(CalcError::PrincipalTooLarge);
        }
        if self.instalments == 0 || self.instalments > INSTALMENTS_MAX {
            return Err(CalcError::InstalmentsOutOfRange { instalments: self.instalments });
        }
        if self.instalment_multiple_minor.is_some_and(|multiple| multiple <= 0) {
            return Err(CalcError::MultipleNotPositive);
        }
        Ok(())
    }
}
