//! Orders of ours: payments out and returns of payments that came in.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::amount::Amount;
use crate::rules::{Destination, Refusal};

/// What is ordered under an id; the same id with another content is a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Pay money out to an account at another bank.
    Payment { amount: Amount, to: Destination, reference: String },
    /// Send money that came in back to where it came from.
    Return { amount: Amount, original_bank_reference: String, reason: String },
}

impl Order {
    pub(crate) fn amount(&self) -> &Amount {
        match self {
            Self::Payment { amount, .. } | Self::Return { amount, .. } => amount,
        }
    }

    pub(crate) fn is_payment(&self) -> bool {
        matches!(self, Self::Payment { .. })
    }
}

/// Where an order has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Accepted { settles_at: DateTime<Utc> },
    Settled { settled_on: NaiveDate },
    Refused(Refusal),
}

/// An order with all that became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) order: Order,
    /// Empty where it was refused at once.
    pub(crate) bank_reference: String,
    pub(crate) state: State,
    /// The bank's reference of the payment by which the payee's bank sent it back.
    pub(crate) returned: Option<String>,
}
