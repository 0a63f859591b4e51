//! What became true of a loan product.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::Dedication;
use crate::calc::{Amortization, AnnualRate, DayCount, Frequency, InterestMethod, Rounding};
use crate::ids::AccountId;
use crate::money::Currency;
use crate::words::{Number, ReasonCode, Title};

/// What a payment on a loan settles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// A penalty for being late.
    Penalty,
    /// A fee.
    Fee,
    /// Interest.
    Interest,
    /// Principal.
    #[default]
    Principal,
}

impl Component {
    /// Every component, in the order in which payments usually settle them.
    pub const ALL: [Component; 4] = [Component::Penalty, Component::Fee, Component::Interest, Component::Principal];

    /// The name on the wire, and in the legs of transactions.
    pub const fn name(self) -> &'static str {
        match self {
            Component::Penalty => "penalty",
            Component::Fee => "fee",
            Component::Interest => "interest",
            Component::Principal => "principal",
        }
    }
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How what is due is collected from the member's account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionPolicy {
    /// When there is not enough on the due date: on which days after it to try again, ascending.
    /// Once they are used up the next due date collects all that is due by then.
    pub retry_after_days: Vec<u16>,
}

/// The terms of one version of a product.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductTerms {
    /// The least principal, in minor units.
    pub principal_min_minor: i64,
    /// The largest principal, in minor units.
    pub principal_max_minor: i64,
    /// The least nominal annual rate, in percent.
    pub annual_rate_min: AnnualRate,
    /// The largest nominal annual rate, in percent.
    pub annual_rate_max: AnnualRate,
    /// The fewest instalments.
    pub instalments_min: u16,
    /// The most instalments.
    pub instalments_max: u16,
    /// How often an instalment is due.
    pub frequency: Frequency,
    /// On what interest is charged.
    pub method: InterestMethod,
    /// What is equal: the instalments or their principal.
    pub amortization: Amortization,
    /// How days count.
    pub day_count: DayCount,
    /// How amounts are rounded to minor units.
    pub rounding: Rounding,
    /// Instalments are rounded to a multiple of so many minor units; the last absorbs the difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instalment_multiple_minor: Option<i64>,
    /// In which order a payment settles the components of an instalment: each of the four once.
    pub allocation_order: Vec<Component>,
    /// How what is due is collected; none: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionPolicy>,
}

/// The internal accounts that a product's loans post to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoanAccounts {
    /// Principal owed to us; its balance is the sum of its loans' principal.
    pub portfolio_account_id: AccountId,
    /// Interest earned and not yet paid.
    pub interest_receivable_account_id: AccountId,
    /// Fees and penalties charged and not yet paid.
    pub charges_receivable_account_id: AccountId,
    /// Interest earned.
    pub interest_income_account_id: AccountId,
    /// Fees earned.
    pub fee_income_account_id: AccountId,
    /// Penalties earned.
    pub penalty_income_account_id: AccountId,
    /// Losses on loans that were written off.
    pub write_off_account_id: AccountId,
}

impl LoanAccounts {
    /// Those that take entries of loans only, each with what for.
    pub const fn dedicated(&self) -> [(AccountId, Dedication); 3] {
        [
            (self.portfolio_account_id, Dedication::LoanPortfolio),
            (self.interest_receivable_account_id, Dedication::InterestReceivable),
            (self.charges_receivable_account_id, Dedication::ChargesReceivable),
        ]
    }

    /// All of them.
    pub const fn all(&self) -> [AccountId; 7] {
        [
            self.portfolio_account_id,
            self.interest_receivable_account_id,
            self.charges_receivable_account_id,
            self.interest_income_account_id,
            self.fee_income_account_id,
            self.penalty_income_account_id,
            self.write_off_account_id,
        ]
    }
}

/// An event of a loan product's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LoanProductEvent {
    /// The product can be applied for; its terms are version 1.
    LoanProductDefined {
        /// The code by which people know it; unique.
        code: Number,
        /// Its name.
        name: Title,
        /// The currency of its loans.
        currency: Currency,
        /// The terms.
        terms: ProductTerms,
        /// Where its loans post.
        accounts: LoanAccounts,
    },
    /// New applications are on these terms.
    LoanProductRevised {
        /// The version, from 2.
        version: u32,
        /// The terms.
        terms: ProductTerms,
    },
    /// It can no longer be applied for; its loans go on.
    LoanProductRetired {
        /// Why, as a code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<ReasonCode>,
    },
}
