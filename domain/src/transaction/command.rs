//! What may be asked about a transaction.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::book::{Missing, Reservation, ReservationKind};
use crate::ids::{AccountId, TransactionId};
use crate::money::{Money, Side};
use crate::transaction::TransactionKind;
use crate::words::{ExternalReference, ReasonCode, Sealed};

/// A leg as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct LegInput {
    /// The account.
    pub account_id: AccountId,
    /// Debit or credit.
    pub side: Side,
    /// The amount, above zero.
    pub amount: Money,
}

/// The legs of a transaction as asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Legs {
    /// Each leg.
    Explicit(Vec<LegInput>),
    /// Two legs, whose sides follow from the accounts' normal sides: value moves from one to the other.
    Move {
        /// Where it comes from.
        from: AccountId,
        /// Where it goes to.
        to: AccountId,
        /// How much, above zero.
        amount: Money,
    },
}

impl Legs {
    /// The accounts named, in order, with repetitions.
    pub fn accounts(&self) -> Vec<AccountId> {
        match self {
            Legs::Explicit(legs) => legs.iter().map(|leg| leg.account_id).collect(),
            Legs::Move { from, to, .. } => vec![*from, *to],
        }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        match self {
            Legs::Explicit(legs) => legs.len(),
            Legs::Move { .. } => 2,
        }
    }
}

/// That a transaction shall be pending first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pending {
    /// From then on it can no longer be posted; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A transaction to be posted, or made pending, together with others.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTransaction {
    /// Its id.
    pub transaction_id: TransactionId,
    /// What kind.
    pub kind: TransactionKind,
    /// Default: the business date.
    pub booking_date: Option<NaiveDate>,
    /// Default: the booking date.
    pub value_date: Option<NaiveDate>,
    /// Its legs.
    pub legs: Legs,
    /// How the outside world knows it.
    pub external_reference: Option<ExternalReference>,
    /// Free text, sealed.
    pub narrative: Option<Sealed>,
    /// That it is pending first.
    pub pending: Option<Pending>,
}

impl From<NewTransaction> for TransactionCommand {
    /// To post it alone.
    fn from(new: NewTransaction) -> Self {
        let NewTransaction {
            transaction_id,
            kind,
            booking_date,
            value_date,
            legs,
            external_reference,
            narrative,
            pending,
        } = new;
        TransactionCommand::PostTransaction {
            transaction_id,
            kind,
            booking_date,
            value_date,
            legs,
            external_reference,
            narrative,
            pending,
        }
    }
}

/// How much of a leg of an earlier transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LegAmount {
    /// Which leg, from 1.
    pub leg: u16,
    /// How much of it, above zero.
    pub amount: Money,
}

/// A command on a transaction.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum TransactionCommand {
    /// Post a transaction, or make it pending.
    PostTransaction {
        transaction_id: TransactionId,
        kind: TransactionKind,
        /// Default: the business date.
        booking_date: Option<NaiveDate>,
        /// Default: the booking date.
        value_date: Option<NaiveDate>,
        legs: Legs,
        external_reference: Option<ExternalReference>,
        narrative: Option<Sealed>,
        pending: Option<Pending>,
    },
    /// Post several transactions, or make them pending: all of them or none. At least one, and at
    /// most `LEGS_MAX` legs in all. The command is about the first.
    PostTransactions { transactions: Vec<NewTransaction> },
    /// Post a pending transaction: the named legs, or all that is left of every leg.
    PostPending {
        transaction_id: TransactionId,
        legs: Option<Vec<LegAmount>>,
        is_final: bool,
        booking_date: Option<NaiveDate>,
        value_date: Option<NaiveDate>,
    },
    /// Give up what is left of a pending transaction.
    VoidPending { transaction_id: TransactionId, reason: ReasonCode },
    /// Write down that a pending transaction has expired.
    ExpirePending { transaction_id: TransactionId },
    /// Undo a transaction by one with opposite sides: the named legs, or all that is left.
    ReverseTransaction {
        /// The reversal.
        transaction_id: TransactionId,
        original_id: TransactionId,
        legs: Option<Vec<LegAmount>>,
        reason: ReasonCode,
        /// The internal account that stands in for accounts closed meanwhile.
        suspense_account_id: Option<AccountId>,
        booking_date: Option<NaiveDate>,
        value_date: Option<NaiveDate>,
    },
}

impl TransactionCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            TransactionCommand::PostTransaction { .. } => "PostTransaction",
            TransactionCommand::PostTransactions { .. } => "PostTransactions",
            TransactionCommand::PostPending { .. } => "PostPending",
            TransactionCommand::VoidPending { .. } => "VoidPending",
            TransactionCommand::ExpirePending { .. } => "ExpirePending",
            TransactionCommand::ReverseTransaction { .. } => "ReverseTransaction",
        }
    }

    /// The transaction that the command is about; of a reversal, the reversal; of several, the first.
    pub fn target(&self) -> TransactionId {
        match self {
            TransactionCommand::PostTransaction { transaction_id, .. }
            | TransactionCommand::PostPending { transaction_id, .. }
            | TransactionCommand::VoidPending { transaction_id, .. }
            | TransactionCommand::ExpirePending { transaction_id }
            | TransactionCommand::ReverseTransaction { transaction_id, .. } => *transaction_id,
            // Without any it is refused, and is about nothing.
            TransactionCommand::PostTransactions { transactions } => {
                transactions.first().map_or(TransactionId(Uuid::nil()), |first| first.transaction_id)
            }
        }
    }

    pub(crate) fn needs(&self, needs: &mut Vec<Missing>) {
        match self {
            TransactionCommand::PostTransaction { legs, external_reference, .. } => {
                need_of_new(legs, external_reference.as_ref(), needs);
            }
            TransactionCommand::PostTransactions { transactions } => {
                for transaction in transactions {
                    needs.push(Missing::Stream(transaction.transaction_id.stream()));
                    need_of_new(&transaction.legs, transaction.external_reference.as_ref(), needs);
                }
            }
            TransactionCommand::ReverseTransaction { original_id, suspense_account_id, .. } => {
                needs.push(Missing::Stream(original_id.stream()));
                needs.extend(suspense_account_id.map(|id| Missing::Stream(id.stream())));
            }
            TransactionCommand::PostPending { .. }
            | TransactionCommand::VoidPending { .. }
            | TransactionCommand::ExpirePending { .. } => {}
        }
    }
}

/// What a new transaction needs besides its own stream.
fn need_of_new(legs: &Legs, external_reference: Option<&ExternalReference>, needs: &mut Vec<Missing>) {
    needs.extend(legs.accounts().into_iter().map(|id| Missing::Stream(id.stream())));
    needs.extend(external_reference.map(|reference| {
        Missing::Reservation(Reservation::new(ReservationKind::ExternalReference, reference.as_str()))
    }));
}
