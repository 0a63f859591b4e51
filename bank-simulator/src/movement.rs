//! Movements of Daybook's account: the only thing its balance is made from.

use chrono::NaiveDate;
use serde::Serialize;
use uuid::Uuid;

use crate::amount::Amount;

/// Whether money came or went, as the bank's customer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    In,
    Out,
}

/// Why money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A payment of ours to another bank.
    Payment,
    /// A payment that came in, sent back by us.
    Return,
    /// A customer of another bank paid us.
    Incoming,
    /// A payment of ours, sent back by the payee's bank.
    PaymentReturned,
}

/// One line of the statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Movement {
    /// From 1, without gaps.
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) direction: Direction,
    pub(crate) bank_reference: String,
    pub(crate) booked_on: NaiveDate,
    pub(crate) value_date: NaiveDate,
    pub(crate) amount: Amount,
    pub(crate) reference: String,
    /// The id of the payment or return of ours that it belongs to, or of the incoming payment.
    pub(crate) id: Uuid,
}
