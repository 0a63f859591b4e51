//! What became true of a loan.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calc::{Amortization, AnnualRate, DayCount, Frequency, InterestMethod, Rounding};
use crate::ids::{AccountId, LoanProductId, MemberId, TransactionId};
use crate::money::Currency;
use crate::product::{CollectionPolicy, Component, LoanAccounts};
use crate::words::{Branch, ExternalReference, Number, ReasonCode, Sealed};

/// The terms that a loan keeps for life, taken from its product's version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoanTerms {
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
    /// Instalments are rounded to a multiple of so many minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instalment_multiple_minor: Option<i64>,
    /// In which order a payment settles the components of an instalment.
    pub allocation_order: Vec<Component>,
    /// How what is due is collected; none: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionPolicy>,
}

/// An instalment as it was scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduledInstalment {
    /// Its number, from 1.
    pub number: u16,
    /// When it is due.
    pub due_on: NaiveDate,
    /// Principal, in minor units.
    pub principal_minor: i64,
    /// Interest, in minor units.
    pub interest_minor: i64,
}

/// How much of which instalment's component a payment settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allocation {
    /// The instalment's number.
    pub instalment: u16,
    /// The component.
    pub component: Component,
    /// How much, in minor units, above zero.
    pub amount_minor: i64,
    /// How much of it is interest that was not recognised before: earned with the payment, in minor units.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub income_minor: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands a reference
fn is_zero(amount_minor: &i64) -> bool {
    *amount_minor == 0
}

/// How much of an instalment's interest is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstalmentInterest {
    /// The instalment's number.
    pub instalment: u16,
    /// How much, in minor units, above zero.
    pub amount_minor: i64,
}

/// Amounts by component, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Principal.
    pub principal_minor: i64,
    /// Interest.
    pub interest_minor: i64,
    /// Fees.
    pub fee_minor: i64,
    /// Penalties.
    pub penalty_minor: i64,
}

impl Amounts {
    /// The amount of that component.
    pub const fn of(&self, component: Component) -> i64 {
        match component {
            Component::Principal => self.principal_minor,
            Component::Interest => self.interest_minor,
            Component::Fee => self.fee_minor,
            Component::Penalty => self.penalty_minor,
        }
    }

    /// The amount of that component, to be changed.
    pub fn of_mut(&mut self, component: Component) -> &mut i64 {
        match component {
            Component::Principal => &mut self.principal_minor,
            Component::Interest => &mut self.interest_minor,
            Component::Fee => &mut self.fee_minor,
            Component::Penalty => &mut self.penalty_minor,
        }
    }

    /// All of them together; wider than one amount.
    pub fn total_minor(&self) -> i128 {
        Component::ALL.iter().map(|component| i128::from(self.of(*component))).sum()
    }
}

/// An event of a loan's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
#[allow(clippy::large_enum_variant)] // events are read one by one and never kept in bulk
pub enum LoanEvent {
    /// A member applied for it.
    LoanApplied {
        /// The number by which people and payments know it; unique.
        number: Number,
        /// Who applied.
        member_id: MemberId,
        /// The product.
        product_id: LoanProductId,
        /// The version of its terms.
        product_version: u32,
        /// The terms of that version.
        terms: LoanTerms,
        /// Where it posts.
        accounts: LoanAccounts,
        /// The currency.
        currency: Currency,
        /// How much was asked for, in minor units.
        principal_minor: i64,
        /// The nominal annual rate, in percent.
        annual_rate: AnnualRate,
        /// In how many instalments it is paid back.
        instalments: u16,
        /// The member's account from which it is collected and to which surplus goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settlement_account_id: Option<AccountId>,
        /// What it is for, as a code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<ReasonCode>,
        /// The branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<Branch>,
        /// When.
        applied_on: NaiveDate,
    },
    /// It was approved, perhaps for less or on other terms than asked for.
    LoanApproved {
        /// How much, in minor units.
        principal_minor: i64,
        /// The nominal annual rate, in percent.
        annual_rate: AnnualRate,
        /// In how many instalments it is paid back.
        instalments: u16,
        /// When.
        approved_on: NaiveDate,
    },
    /// It was not approved, or not wanted any more.
    LoanRejected {
        /// Why, as a code.
        reason: ReasonCode,
        /// When.
        rejected_on: NaiveDate,
    },
    /// It is being paid out to another bank: the money is held.
    LoanDisbursementStarted {
        /// Which attempt, from 1.
        attempt: u32,
        /// The pending transaction that holds the money.
        transaction_id: TransactionId,
        /// The account that the money comes from.
        funding_account_id: AccountId,
        /// The account at the other bank, sealed under the member's key.
        destination: Sealed,
        /// From when interest counts.
        disbursed_on: NaiveDate,
        /// When the first instalment is due, if not one period later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_due_on: Option<NaiveDate>,
    },
    /// The payout did not happen: the money is free again and the loan approved as before.
    LoanDisbursementCancelled {
        /// Which attempt.
        attempt: u32,
        /// The transaction that held the money.
        transaction_id: TransactionId,
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// It was paid out, and its schedule stands.
    LoanDisbursed {
        /// The transaction.
        transaction_id: TransactionId,
        /// The member's account that it was paid into; none: another bank's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_account_id: Option<AccountId>,
        /// How the other bank knows the payout.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bank_reference: Option<ExternalReference>,
        /// The business date.
        booking_date: NaiveDate,
        /// From when interest counts.
        disbursed_on: NaiveDate,
        /// How much, in minor units.
        principal_minor: i64,
        /// The version of the schedule, from 1.
        schedule_version: u32,
        /// The schedule.
        schedule: Vec<ScheduledInstalment>,
    },
    /// Interest of instalments that have come due is earned.
    InterestAccrued {
        /// The transaction.
        transaction_id: TransactionId,
        /// Of instalments due until then.
        through: NaiveDate,
        /// How much of which instalment.
        instalments: Vec<InstalmentInterest>,
    },
    /// A fee or a penalty was charged.
    LoanCharged {
        /// The transaction.
        transaction_id: TransactionId,
        /// The instalment with which it is due.
        instalment: u16,
        /// A fee or a penalty.
        component: Component,
        /// How much, in minor units.
        amount_minor: i64,
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// A payment was received and settles what it says.
    RepaymentReceived {
        /// The transaction.
        transaction_id: TransactionId,
        /// Where the money came from.
        from_account_id: AccountId,
        /// How much the loan took, in minor units: the sum of the allocation.
        amount_minor: i64,
        /// What was offered beyond all that is owed, in minor units.
        surplus_minor: i64,
        /// Where the surplus went; none: it stayed where it came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        surplus_account_id: Option<AccountId>,
        /// The business date.
        booking_date: NaiveDate,
        /// From when it counts as paid.
        value_date: NaiveDate,
        /// The version of the schedule.
        schedule_version: u32,
        /// What it settles.
        allocation: Vec<Allocation>,
        /// What is owed afterwards.
        outstanding: Amounts,
    },
    /// A payment was undone, with what it had settled.
    RepaymentReversed {
        /// The transaction of the payment.
        repayment_id: TransactionId,
        /// The transaction that undoes it.
        transaction_id: TransactionId,
        /// Why, as a code.
        reason: ReasonCode,
        /// The business date.
        booking_date: NaiveDate,
        /// What is owed afterwards.
        outstanding: Amounts,
    },
    /// Nothing is owed any more.
    LoanRepaid {
        /// The value date of the payment that settled the rest.
        repaid_on: NaiveDate,
    },
    /// What is owed was written off as lost.
    LoanWrittenOff {
        /// The transaction.
        transaction_id: TransactionId,
        /// What was written off of what is in the books.
        written_off: Amounts,
        /// Why, as a code.
        reason: ReasonCode,
        /// The business date.
        written_off_on: NaiveDate,
    },
    /// The file is closed.
    LoanClosed {
        /// When.
        closed_on: NaiveDate,
    },
}
