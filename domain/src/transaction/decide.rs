//! The rules of transactions: one plan over the transaction and every account it touches.

use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::rejection::Rejection;
use crate::transaction::posting::{self, Booking};
use crate::transaction::{TransactionCommand, TransactionEvent, pending, reverse};

/// Decides a command on a transaction.
pub fn decide(command: &TransactionCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    match command {
        TransactionCommand::PostTransaction { .. } => post(command, book, context),
        TransactionCommand::PostPending { .. } => pending::post(command, book, context),
        TransactionCommand::VoidPending { .. } => pending::void(command, book, context),
        TransactionCommand::ExpirePending { transaction_id } => pending::expire(*transaction_id, book, context),
        TransactionCommand::ReverseTransaction { .. } => reverse::reverse(command, book, context),
    }
}

fn post(command: &TransactionCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let TransactionCommand::PostTransaction {
        transaction_id,
        kind,
        booking_date,
        value_date,
        legs,
        external_reference,
        narrative,
        pending,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let (transaction_id, kind) = (*transaction_id, *kind);
    let stream = transaction_id.stream();
    if book.transaction(transaction_id)?.is_some() {
        return Err(Rejection::IdTaken { stream }.into());
    }
    let reservation = external_reference
        .as_ref()
        .map(|reference| Reservation::new(ReservationKind::ExternalReference, reference.as_str()));
    if let Some(reservation) = &reservation
        && book.is_reserved(reservation)?
    {
        return Err(Rejection::ExternalReferenceTaken.into());
    }
    let dates = posting::dates(*booking_date, *value_date, book, context)?;
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
                external_reference: external_reference.clone(),
                narrative: narrative.clone(),
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
                external_reference: external_reference.clone(),
                narrative: narrative.clone(),
            };
            (entries, event)
        }
    };
    let mut plan = Plan::one(stream, event).creating();
    plan.events.extend(effects);
    plan.reservations.extend(reservation);
    Ok(plan)
}
