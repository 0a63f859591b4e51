//! The port to other banks: money out, money sent back, and what became of either.
//!
//! Invariants: every order has an id that names it for ever, here and at the bank; what may or may
//! not have happened is `Unknown`, never a failure and never a success. What a caller may conclude:
//!
//! | answer | this try | what to do |
//! |---|---|---|
//! | `Settled` | the money has left | go on |
//! | `Accepted` | the money may have left | ask again |
//! | `Refused` | the money has not left and will not under this id | compensate |
//! | `NotSent` | the bank has not taken it; *an earlier try may have arrived* | send again under the same id |
//! | `Unknown` | it may or may not have happened | ask, or send again under the same id |
//! | `Conflict` | the bank has something else under this id | stop: a person must look |
//! | `Unauthorized`, `Misconfigured` | the bank has not taken it, and will not until a person mends it | stop and tell |
//!
//! A status of `None` says that the bank has not seen the id *so far*: a try whose outcome is unknown
//! may still be on the way. So the answer to `None` is to send again, or to `cancel_pay_out`, which makes
//! the bank refuse the id for ever; never to compensate on `None` alone.

pub mod file;
mod http;
mod reply;

pub use http::{HttpBank, HttpBankError};

use chrono::NaiveDate;
use domain::Money;
use futures::future::{BoxFuture, FutureExt};
use uuid::Uuid;

/// An account at another bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The account's number there.
    pub account_number: String,
    /// The code of its bank.
    pub bank_code: String,
}

/// An order to pay money out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayOut {
    /// Its name for ever: the same id pays at most once. The same id must come with the same content.
    pub id: Uuid,
    /// How much.
    pub amount: Money,
    /// To whom.
    pub to: Destination,
    /// What the payee sees, at most 140 characters on one line.
    pub reference: String,
}

/// An order to send a payment that came in back to where it came from, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnPayment {
    /// Its name for ever, as of a `PayOut`; the two share one space of names.
    pub id: Uuid,
    /// The bank's reference of the payment that came in.
    pub original_bank_reference: String,
    /// How much of it goes back.
    pub amount: Money,
    /// What the payer sees, at most 140 characters on one line.
    pub reason: String,
}

/// What the bank says of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayOutOutcome {
    /// It is on its way: the money may have left. To be asked again; may still be refused.
    Accepted,
    /// The money has left.
    Settled {
        /// The bank's own name for the payment.
        bank_reference: String,
        /// The bank's date of it.
        settled_on: NaiveDate,
    },
    /// No money has left, and none will under this id.
    Refused {
        /// The bank's code, such as `account_closed`.
        code: String,
        /// The bank's words, for people.
        detail: String,
    },
}

/// Why the bank has not answered what became of an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// This try has certainly not been taken: no byte was sent, or the bank took nothing for now.
    #[error("the bank was not reached: {reason}")]
    NotSent {
        /// Why, for people.
        reason: String,
    },
    /// It may or may not have happened.
    #[error("it is not known what the bank has done: {reason}")]
    Unknown {
        /// Why, for people.
        reason: String,
    },
    /// The bank knows the id with another content.
    #[error("the bank has something else under this id: {detail}")]
    Conflict {
        /// The bank's words, for people.
        detail: String,
    },
    /// The bank does not take us for its client; nothing was done.
    #[error("the bank does not know us")]
    Unauthorized,
    /// The bank cannot read what we say; nothing was done, and trying again does not help.
    #[error("the bank does not understand the request: {detail}")]
    Misconfigured {
        /// The bank's words, for people.
        detail: String,
    },
}

impl PortError {
    /// Stable code. Metrics have `misconfigured` for `unauthorized` and `conflict` too.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSent { .. } => "not_sent",
            Self::Unknown { .. } => "unknown",
            Self::Conflict { .. } => "conflict",
            Self::Unauthorized => "unauthorized",
            Self::Misconfigured { .. } => "misconfigured",
        }
    }

    /// Whether this very try may have moved money.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Whether trying again can help without a person.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NotSent { .. } | Self::Unknown { .. })
    }
}

/// What an order came to, as far as the bank told.
pub type Answer = Result<PayOutOutcome, PortError>;
/// What the bank says when it is asked for an order; `None`: it has not seen the id so far.
pub type Status = Result<Option<PayOutOutcome>, PortError>;

/// Another bank, as far as it takes our orders. Each call is bounded in time, and may be made again
/// with the same order as often as needed.
pub trait PaymentPort: Send + Sync {
    /// Orders a payment; idempotent by its id.
    fn pay_out<'a>(&'a self, pay_out: &'a PayOut) -> BoxFuture<'a, Answer>;

    /// Asks what became of a payment.
    fn pay_out_status(&self, id: Uuid) -> BoxFuture<'_, Status>;

    /// Tells the bank never to make a payment; idempotent. The answer is what became of the id:
    /// `Refused` says that no money has left and none will, also if an earlier try is still on the
    /// way; `Accepted` and `Settled` say that it is too late.
    ///
    /// A bank that cannot promise that is `Misconfigured` here: then only a person gives a payment up.
    fn cancel_pay_out(&self, _id: Uuid) -> BoxFuture<'_, Answer> {
        let detail = "this bank takes no cancellations".to_owned();
        async move { Err(PortError::Misconfigured { detail }) }.boxed()
    }

    /// Orders that a payment goes back; idempotent by its id.
    fn return_payment<'a>(&'a self, order: &'a ReturnPayment) -> BoxFuture<'a, Answer>;

    /// Asks what became of a return.
    fn return_status(&self, id: Uuid) -> BoxFuture<'_, Status>;
}
