//! What can be wrong with terms.

/// Why terms give no schedule, or weights no split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalcError {
    /// A loan of nothing, or of less.
    #[error("the principal must be greater than zero")]
    PrincipalNotPositive,
    /// A principal beyond what one amount may be.
    #[error("the principal is beyond the limit of 9007199254740991 minor units")]
    PrincipalTooLarge,
    /// No instalments, or more than a schedule may have.
    #[error("a schedule has 1 to 600 instalments, not {instalments}")]
    InstalmentsOutOfRange {
        /// The instalments that were asked for.
        instalments: u16,
    },
    /// A period of no length.
    #[error("the time between two instalments must be at least one day, week or month")]
    FrequencyNotPositive,
    /// The first instalment would be due on or before the day of the disbursement.
    #[error("the first instalment must be due after the disbursement")]
    FirstDueNotAfterDisbursement,
    /// A date outside of the years 1 to 9999.
    #[error("the schedule has dates outside of the years 1 to 9999")]
    DateOutOfRange,
    /// Instalments rounded to a multiple of nothing, or of less.
    #[error("the multiple that instalments are rounded to must be greater than zero")]
    MultipleNotPositive,
    /// An instalment that would leave the principal as it is, or raise it.
    #[error(
        "instalment {number} would repay no principal: the principal is too small for so many instalments, or the \
         interest of that period too large"
    )]
    InstalmentTooSmall {
        /// The number of the instalment, from 1.
        number: u16,
    },
    /// Interest, an instalment or all interest together beyond what one amount may be.
    #[error("the schedule has amounts beyond the limit of 9007199254740991 minor units")]
    AmountTooLarge,
    /// Weights of a split that are negative, or nothing together.
    #[error("the weights of a split must not be negative, and one must be greater than zero")]
    WeightsUnusable,
}

impl CalcError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            CalcError::PrincipalNotPositive => "principal_not_positive",
            CalcError::PrincipalTooLarge => "principal_too_large",
            CalcError::InstalmentsOutOfRange { .. } => "instalments_out_of_range",
            CalcError::FrequencyNotPositive => "frequency_not_positive",
            CalcError::FirstDueNotAfterDisbursement => "first_due_not_after_disbursement",
            CalcError::DateOutOfRange => "schedule_date_out_of_range",
            CalcError::MultipleNotPositive => "instalment_multiple_not_positive",
            CalcError::InstalmentTooSmall { .. } => "instalment_too_small",
            CalcError::AmountTooLarge => "schedule_amount_too_large",
            CalcError::WeightsUnusable => "weights_unusable",
        }
    }
}
