//! What became true of a transaction.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, TransactionId};
use crate::money::{Currency, Side};
use crate::words::{ExternalReference, LedgerCode, ReasonCode, Sealed};

/// The types of the trade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransactionKind {
    /// Money comes in from outside.
    Deposit,
    /// Money goes out.
    Withdrawal,
    /// Money moves between accounts.
    #[default]
    Transfer,
    /// A charge.
    Fee,
    /// Interest paid or charged.
    Interest,
    /// A loan is paid out.
    LoanDisbursement,
    /// A loan is paid back.
    LoanRepayment,
    /// A correction.
    Adjustment,
}

impl TransactionKind {
    /// Every kind.
    pub const ALL: [TransactionKind; 8] = [
        TransactionKind::Deposit,
        TransactionKind::Withdrawal,
        TransactionKind::Transfer,
        TransactionKind::Fee,
        TransactionKind::Interest,
        TransactionKind::LoanDisbursement,
        TransactionKind::LoanRepayment,
        TransactionKind::Adjustment,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            TransactionKind::Deposit => "deposit",
            TransactionKind::Withdrawal => "withdrawal",
            TransactionKind::Transfer => "transfer",
            TransactionKind::Fee => "fee",
            TransactionKind::Interest => "interest",
            TransactionKind::LoanDisbursement => "loan_disbursement",
            TransactionKind::LoanRepayment => "loan_repayment",
            TransactionKind::Adjustment => "adjustment",
        }
    }

    /// Whether the institution itself books it, so that a dormant account takes it too.
    pub const fn is_institutions_own(self) -> bool {
        match self {
            TransactionKind::Fee | TransactionKind::Interest | TransactionKind::Adjustment => true,
            TransactionKind::Deposit
            | TransactionKind::Withdrawal
            | TransactionKind::Transfer
            | TransactionKind::LoanDisbursement
            | TransactionKind::LoanRepayment => false,
        }
    }
}

/// One leg, with the ledger code that its account had then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// Its number in the transaction, from 1.
    pub leg: u16,
    /// The account.
    pub account_id: AccountId,
    /// The account's code in the chart of accounts.
    pub ledger_code: LedgerCode,
    /// Debit or credit.
    pub side: Side,
    /// The amount in minor units, above zero.
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
    /// The loan component that it settles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
}

/// What a reversal undoes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reverses {
    /// The original.
    pub transaction_id: TransactionId,
    /// Why, as a code.
    pub reason: ReasonCode,
}

/// How much of a leg is reversed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegReversal {
    /// Which leg of the original.
    pub leg: u16,
    /// By this reversal, in minor units.
    pub amount_minor: i64,
    /// By all reversals so far, in minor units.
    pub reversed_minor: i64,
}

/// An event of a transaction's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum TransactionEvent {
    /// The transaction was posted at once.
    TransactionPosted {
        /// What kind.
        kind: TransactionKind,
        /// The business date it belongs to.
        booking_date: NaiveDate,
        /// From when interest counts.
        value_date: NaiveDate,
        /// The legs; they balance in every currency.
        legs: Vec<Leg>,
        /// What it undoes, if it is a reversal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reverses: Option<Reverses>,
        /// How the outside world knows it; unique.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        external_reference: Option<ExternalReference>,
        /// Free text, sealed under the keys of all members party to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        narrative: Option<Sealed>,
    },
    /// The transaction is pending: its legs are held.
    TransactionPending {
        /// What kind.
        kind: TransactionKind,
        /// The business date it was made for.
        booking_date: NaiveDate,
        /// From when interest would count.
        value_date: NaiveDate,
        /// The legs; they balance in every currency.
        legs: Vec<Leg>,
        /// From then on it can no longer be posted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
        /// How the outside world knows it; unique.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        external_reference: Option<ExternalReference>,
        /// Free text, sealed under the keys of all members party to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        narrative: Option<Sealed>,
    },
    /// A pending transaction was posted, whole or in part.
    PendingPosted {
        /// Which posting, from 1.
        posting: u32,
        /// The business date of this posting.
        booking_date: NaiveDate,
        /// From when interest counts.
        value_date: NaiveDate,
        /// The legs posted, each at most what was pending; they balance in every currency.
        legs: Vec<Leg>,
        /// Whether the rest is released.
        #[serde(rename = "final")]
        is_final: bool,
    },
    /// The rest of a pending transaction was given up.
    PendingVoided {
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// The rest of a pending transaction expired.
    PendingExpired {
        /// Since when.
        expired_at: DateTime<Utc>,
    },
    /// A reversal undid the transaction, whole or in part.
    TransactionReversed {
        /// The reversal.
        by: TransactionId,
        /// How much of which leg.
        legs: Vec<LegReversal>,
    },
}
