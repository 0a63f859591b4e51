//! What became true of an account.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{MemberId, TransactionId};
use crate::money::{Currency, Side};
use crate::transaction::TransactionKind;
use crate::words::{Branch, LedgerCode, Number, ReasonCode, Title};

/// What an internal account is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dedication {
    /// The principal of loans.
    LoanPortfolio,
    /// Interest of loans, earned and not yet paid.
    InterestReceivable,
    /// Fees and penalties of loans, charged and not yet paid.
    ChargesReceivable,
}

/// What kind of account it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// A member's savings account.
    #[default]
    Savings,
    /// A member's current account.
    Current,
    /// A member's deposit for a fixed term.
    FixedDeposit,
    /// The institution's own: cash, income, expense, suspense, position.
    Internal,
}

/// What a holder may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderRole {
    /// Owns the account.
    #[default]
    Owner,
    /// May dispose of it without owning it.
    Disponent,
}

/// A member who holds an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The member.
    pub member_id: MemberId,
    /// As what.
    pub role: HolderRole,
}

/// Which entries a freeze refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FreezeScope {
    /// Debit entries.
    Debit,
    /// Credit entries.
    Credit,
    /// All entries.
    Both,
}

impl FreezeScope {
    /// Whether entries on that side are in the scope.
    pub const fn covers(self, side: Side) -> bool {
        matches!(
            (self, side),
            (FreezeScope::Both, _) | (FreezeScope::Debit, Side::Debit) | (FreezeScope::Credit, Side::Credit)
        )
    }
}

/// How a hold ended, other than by being posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldEnd {
    /// The final posting left this leg out.
    NotPosted,
    /// The pending transaction was voided.
    Voided,
    /// It expired.
    Expired,
}

/// An event of an account's stream. Amounts are minor units of the account's currency; a balance
/// is counted on the account's normal side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum AccountEvent {
    /// The account was opened.
    AccountOpened {
        /// The number by which people know it; unique.
        number: Number,
        /// What people call it; internal accounts only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Title>,
        /// What kind of account it is.
        product: Product,
        /// Who holds it.
        holders: Vec<Holder>,
        /// The currency it is kept in.
        currency: Currency,
        /// The side on which it grows.
        normal_side: Side,
        /// The code of the chart of accounts on which it hangs.
        ledger_code: LedgerCode,
        /// Whether it has entries of its own, a limit, holds.
        guarded: bool,
        /// The least available balance; below zero it is a credit line.
        minimum_balance_minor: i64,
        /// The branch that keeps it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<Branch>,
        /// The business date of opening.
        opened_on: NaiveDate,
    },
    /// A member holds the account.
    HolderAdded {
        /// The member.
        member_id: MemberId,
        /// As what.
        role: HolderRole,
    },
    /// A member no longer holds the account.
    HolderRemoved {
        /// The member.
        member_id: MemberId,
    },
    /// The least available balance was set.
    LimitChanged {
        /// Below zero it is a credit line.
        minimum_balance_minor: i64,
    },
    /// Entries of that scope are refused.
    AccountFrozen {
        /// Which entries.
        scope: FreezeScope,
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// Entries of that scope are taken again.
    AccountUnfrozen {
        /// Which entries.
        scope: FreezeScope,
    },
    /// No debits until it is reactivated.
    AccountMarkedDormant {
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// Dormancy has ended.
    AccountReactivated {},
    /// A member's account takes nothing more.
    AccountClosed {
        /// Why, as a code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<ReasonCode>,
        /// The business date of closing.
        closed_on: NaiveDate,
    },
    /// An internal account takes no new transactions.
    AccountRetired {
        /// Why, as a code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<ReasonCode>,
        /// The business date of retiring.
        retired_on: NaiveDate,
    },
    /// From now on the internal account takes entries of loans only.
    AccountDedicated {
        /// What it is kept for.
        to: Dedication,
    },
    /// A leg of a transaction on this account. Identified by transaction, posting and leg.
    EntryPosted {
        /// The transaction.
        transaction_id: TransactionId,
        /// Which posting of it, from 1.
        posting: u32,
        /// Which leg, from 1.
        leg: u16,
        /// What kind of transaction.
        kind: TransactionKind,
        /// Debit or credit.
        side: Side,
        /// The amount, above zero.
        amount_minor: i64,
        /// The business date it belongs to.
        booking_date: NaiveDate,
        /// From when interest counts.
        value_date: NaiveDate,
        /// The balance after this entry.
        balance_minor: i64,
        /// How much of this leg's hold it ends; zero where there was none.
        hold_released_minor: i64,
    },
    /// A leg of a pending transaction on this account.
    HoldPlaced {
        /// The transaction.
        transaction_id: TransactionId,
        /// Which leg, from 1.
        leg: u16,
        /// Debit or credit; only what would lower the balance lowers what is available.
        side: Side,
        /// The amount, above zero.
        amount_minor: i64,
        /// From then on it no longer counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// What was left of a hold ended without an entry.
    HoldReleased {
        /// The transaction.
        transaction_id: TransactionId,
        /// Which leg, from 1.
        leg: u16,
        /// What was left of it.
        amount_minor: i64,
        /// Why.
        reason: HoldEnd,
    },
}
