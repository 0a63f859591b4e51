//! The lines of the journal: everything that ever changed at this bank.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::amount::Amount;
use crate::orders::Order;
use crate::rules::{Destination, Refusal};

/// One change, decided; to apply it cannot fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// An order is taken, and its money on its way.
    OrderAccepted { id: Uuid, order: Order, bank_reference: String, settles_at: DateTime<Utc> },
    /// The money of an order has left.
    OrderSettled { id: Uuid, settled_on: NaiveDate },
    /// An order is refused: at once, or instead of being settled. No money has left.
    OrderRefused { id: Uuid, order: Order, refusal: Refusal },
    /// An id that the bank had not seen is never to be paid.
    OrderBarred { id: Uuid },
    /// The payee's bank has sent a settled payment back.
    PaymentReturned { id: Uuid, bank_reference: String, booked_on: NaiveDate, reason: String },
    /// A customer of another bank has paid us.
    Incoming(Incoming),
    /// An account at another bank closes, or opens again.
    AccountMarked { account: Destination, closed: bool },
    /// The news of that number has been taken.
    NewsTaken { number: u64 },
}

/// A payment that came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incoming {
    pub(crate) id: Uuid,
    pub(crate) bank_reference: String,
    pub(crate) amount: Amount,
    pub(crate) reference: String,
    pub(crate) from: Destination,
    pub(crate) booked_on: NaiveDate,
    pub(crate) value_date: NaiveDate,
}
