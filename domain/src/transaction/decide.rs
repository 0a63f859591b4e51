//! The rules of transactions: one plan over the transaction and every account it touches.

use chrono::NaiveDate;

use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::ids::TransactionId;
use crate::rejection::Rejection;
use crate::transaction::posting::{self, Booking};
use crate::transaction::{
    Legs, NewTransaction, Pending, TransactionCommand, TransactionEvent, TransactionKind, pending, reverse, together,
};
use crate::words::{ExternalReference, Sealed};

/// Decides a command on a transaction.
pub fn decide(command: &TransactionCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    match command {
        TransactionCommand::PostTransaction {
            transaction_id,
            kind,
            booking_date,
            value_date,
            legs,
            external_reference,
            narrative,
            pending,
        } => {
            let asked = Asked {
                transaction_id: *transaction_id,
                kind: *kind,
                booking_date: *booking_date,
                value_date: *value_date,
                legs,
                external_reference: external_reference.as_ref(),
                narrative: narrative.as_ref(),
                pending: *pending,
            };
            post(&asked, book, context)
        }
        TransactionCommand::PostTransactions { transactions } => together::post(transactions, book, context),
        TransactionCommand::PostPending { .. } => pending::post(command, book, context),
        TransactionCommand::VoidPending { .. } => pending::void(command, book, context),
        TransactionCommand::ExpirePending { transaction_id } => pending::expire(*transaction_id, book, context),
        TransactionCommand::ReverseTransaction { .. } => reverse::reverse(command, book, context),
    }
}

/// A transaction to be posted, wherever it is written.
pub(super) struct Asked<'a> {
    transaction_id: TransactionId,
    kind: TransactionKind,
    booking_date: Option<NaiveDate>,
    value_date: Option<NaiveDate>,
    legs: &'a Legs,
    external_reference: Option<&'a ExternalReference>,
    narrative: Option<&'a Sealed>,
    pending: Option<Pending>,
}

impl<'a> From<&'a NewTransaction> for Asked<'a> {
    fn from(new: &'a NewTransaction) -> Self {
        Self {
            transaction_id: new.transaction_id,
            kind: new.kind,
            booking_date: new.booking_date,
            value_date: new.value_date,
            legs: &new.legs,
            external_reference: new.external_reference.as_ref(),
            narrative: new.narrative.as_ref(),
            pending: new.pending,
        }
    }
}

/// Decides to post one, or to make it pending.
pub(super) fn post(asked: &Asked<'_>, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let Asked { transaction_id, kind, booking_date, value_date, legs, external_reference, narrative, pending } = *asked;
    let stream = transaction_id.stream();
    if book.transaction(transaction_id)?.is_some() {
        return Err(Rejection::IdTaken { stream }.into());
    }
    let reservation =
        external_reference.map(|reference| Reservation::new(ReservationKind::ExternalReference, reference.as_str()));
    if let Some(reservation) = &reservation
        && book.is_reserved(reservation)?
    {
        return Err(Rejection::ExternalReferenceTaken.into());
    }
    let dates = posting::dates(booking_date, value_date, book, context)?;
    let legs = posting::resolve_legs(legs, book)?;
    let (effects, event) = match pending {
        Some(pending) => {
            let holds = pending::holds(transaction_id, kind, &legs, pending.expires_at, book, context)?;
            let event = TransactionEvent::TransactionPending {
                kind,
                booking_date: dates.booking_date,
                value_date: dates.value_date,
                legs,
                expires_at: pending.expires_at,
                external_reference: external_reference.cloned(),
                narrative: narrative.cloned(),
            };
            (holds, event)
        }
        None => {
            let releases = vec![0; legs.len()];
            let booking = Booking { transaction_id, kind, posting: 1, dates, legs: &legs, releases: &releases };
            let entries = posting::entries(&booking, book, context)?;
            let event = TransactionEvent::TransactionPosted {
                kind,
                booking_date: dates.booking_date,
                value_date: dates.value_date,
                legs,
                reverses: None,
                external_reference: external_reference.cloned(),
                narrative: narrative.cloned(),
            };
            (entries, event)
        }
    };
    let mut plan = Plan::one(stream, event).creating();
    plan.events.extend(effects);
    plan.reservations.extend(reservation);
    Ok(plan)
}
