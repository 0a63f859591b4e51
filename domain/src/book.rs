//! What a decision is made from and what it results in.

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::account::Account;
use crate::event::Event;
use crate::ids::{AccountId, LoanId, LoanProductId, MemberId, SagaId, StreamId, StreamKind, TransactionId};
use crate::ledger::Ledger;
use crate::loan::Loan;
use crate::member::Member;
use crate::product::LoanProduct;
use crate::rejection::Rejection;
use crate::saga::Saga;
use crate::transaction::{Transaction, TransactionEvent};

/// The circumstances of a decision: all that is not state.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// When the events will have been recorded.
    pub recorded_at: DateTime<Utc>,
    /// The date of `recorded_at` in the tenant's time zone.
    pub business_date: NaiveDate,
    /// The command's id: an id derived from it is the same at every try.
    pub command_id: Uuid,
}

/// What is unique beyond one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReservationKind {
    /// A member's number.
    MemberNumber,
    /// An account's number.
    AccountNumber,
    /// A transaction's external reference.
    ExternalReference,
    /// A loan product's code.
    LoanProductCode,
    /// A loan's number.
    LoanNumber,
}

impl ReservationKind {
    /// The name in the log's database.
    pub const fn name(self) -> &'static str {
        match self {
            ReservationKind::MemberNumber => "member_number",
            ReservationKind::AccountNumber => "account_number",
            ReservationKind::ExternalReference => "external_reference",
            ReservationKind::LoanProductCode => "loan_product_code",
            ReservationKind::LoanNumber => "loan_number",
        }
    }
}

/// A value that may be taken once, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reservation {
    /// Among what it is unique.
    pub kind: ReservationKind,
    /// The value.
    pub value: String,
}

impl Reservation {
    /// That value among that kind.
    pub fn new(kind: ReservationKind, value: impl Into<String>) -> Self {
        Self { kind, value: value.into() }
    }
}

/// Something that a decision needs and the book does not hold yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A stream that has to be loaded (or found absent).
    Stream(StreamId),
    /// A reservation that has to be looked up.
    Reservation(Reservation),
}

/// Why a decision stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Load this and decide again.
    Missing(Missing),
    /// The rules refuse.
    Rejected(Rejection),
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        Stop::Missing(missing)
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Stop::Rejected(rejection)
    }
}

/// The states at the head of the log. `Ok(None)` means: known to be absent.
pub trait Book {
    /// A member.
    fn member(&self, id: MemberId) -> Result<Option<&Member>, Missing>;
    /// An account.
    fn account(&self, id: AccountId) -> Result<Option<&Account>, Missing>;
    /// A transaction.
    fn transaction(&self, id: TransactionId) -> Result<Option<&Transaction>, Missing>;
    /// A loan product.
    fn loan_product(&self, id: LoanProductId) -> Result<Option<&LoanProduct>, Missing>;
    /// A loan.
    fn loan(&self, id: LoanId) -> Result<Option<&Loan>, Missing>;
    /// A saga.
    fn saga(&self, id: SagaId) -> Result<Option<&Saga>, Missing>;
    /// Currencies, codes, periods.
    fn ledger(&self) -> Result<&Ledger, Missing>;
    /// Whether the value is taken already.
    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing>;
}

/// The result of an accepted command: events for each stream it touches, appended together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The stream that the command is about: its id and version are the reply's.
    pub subject: StreamId,
    /// The events in their order, each with its stream.
    pub events: Vec<(StreamId, Event)>,
    /// Values taken by it.
    pub reservations: Vec<Reservation>,
    /// Whether the command brought its subject into being.
    pub creates: bool,
}

impl Plan {
    /// A plan of one event on the subject.
    pub fn one(subject: StreamId, event: impl Into<Event>) -> Self {
        Self { subject, events: vec![(subject, event.into())], reservations: Vec::new(), creates: false }
    }

    /// The stream that takes a value: the subject, or, of several transactions posted together, the one
    /// that has it for its external reference.
    pub fn taker(&self, reservation: &Reservation) -> StreamId {
        let has_it = |event: &Event| {
            let Event::Transaction(
                TransactionEvent::TransactionPosted { external_reference, .. }
                | TransactionEvent::TransactionPending { external_reference, .. },
            ) = event
            else {
                return false;
            };
            external_reference.as_ref().is_some_and(|reference| reference.as_str() == reservation.value)
        };
        let of_transaction = || self.events.iter().find(|(_, event)| has_it(event)).map(|(stream, _)| *stream);
        match reservation.kind {
            ReservationKind::ExternalReference => match self.subject.kind {
                StreamKind::Transaction => of_transaction().unwrap_or(self.subject),
                StreamKind::Member
                | StreamKind::Account
                | StreamKind::Ledger
                | StreamKind::Rejection
                | StreamKind::LoanProduct
                | StreamKind::Loan
                | StreamKind::Saga => self.subject,
            },
            ReservationKind::MemberNumber
            | ReservationKind::AccountNumber
            | ReservationKind::LoanProductCode
            | ReservationKind::LoanNumber => self.subject,
        }
    }

    /// The same plan, marked as the one that creates its subject.
    #[must_use]
    pub fn creating(mut self) -> Self {
        self.creates = true;
        self
    }

    /// The same plan, taking a value.
    #[must_use]
    pub fn reserving(mut self, reservation: Reservation) -> Self {
        self.reservations.push(reservation);
        self
    }
}
