//! Pending transactions: held, then posted whole or in part, voided or expired.

use crate::account::{self, AccountEvent, HoldEnd};
use crate::book::{Book, Context, Plan, Stop};
use crate::event::Event;
use crate::ids::{StreamId, TransactionId};
use crate::money::Money;
use crate::rejection::Rejection;
use crate::transaction::posting::{self, Booking, Dates};
use crate::transaction::{
    Leg, LegAmount, Transaction, TransactionCommand, TransactionEvent, TransactionKind, TransactionLeg,
    TransactionStatus,
};
use crate::words::ReasonCode;

/// The holds of a new pending transaction: every guarded leg gets one, so that nobody closes an
/// account that a pending transaction refers to, and those that would lower a balance are checked
/// against the limit.
pub(super) fn holds(
    transaction_id: TransactionId,
    kind: TransactionKind,
    legs: &[Leg],
    expires_at: Option<chrono::DateTime<chrono::Utc>>,
    book: &impl Book,
    context: &Context,
) -> Result<Vec<(StreamId, Event)>, Stop> {
    if let Some(expires_at) = expires_at.filter(|expiry| *expiry <= context.recorded_at) {
        return Err(Rejection::ExpiryNotInFuture { expires_at }.into());
    }
    let mut events = Vec::with_capacity(legs.len());
    let mut checked = Vec::with_capacity(2);
    for leg in legs {
        let account = account::existing(book, leg.account_id)?;
        posting::check_takes(leg, account, kind, false)?;
        if !account.guarded {
            continue;
        }
        if !checked.contains(&leg.account_id) {
            checked.push(leg.account_id);
            let held_minor: i128 = legs
                .iter()
                .filter(|other| other.account_id == leg.account_id && other.side != account.normal_side)
                .map(|other| i128::from(other.amount_minor))
                .sum();
            let before_minor = account.available_minor(context.recorded_at);
            posting::check_limit(leg.account_id, account, before_minor, before_minor - held_minor)?;
        }
        let event = AccountEvent::HoldPlaced {
            transaction_id,
            leg: leg.leg,
            side: leg.side,
            amount_minor: leg.amount_minor,
            expires_at,
        };
        events.push((leg.account_id.stream(), Event::Account(event)));
    }
    Ok(events)
}

pub(super) fn pending(transaction_id: TransactionId, book: &impl Book) -> Result<&Transaction, Stop> {
    let transaction = book.transaction(transaction_id)?.ok_or(Rejection::TransactionNotFound { transaction_id })?;
    match transaction.status {
        TransactionStatus::Pending => Ok(transaction),
        TransactionStatus::Posted | TransactionStatus::Voided | TransactionStatus::Expired => {
            Err(Rejection::NotPending { transaction_id }.into())
        }
    }
}

/// Refuses a pending transaction whose time has passed, whether or not the expiry is written down yet.
fn unexpired(transaction_id: TransactionId, transaction: &Transaction, context: &Context) -> Result<(), Rejection> {
    match transaction.expires_at {
        Some(expires_at) if expires_at <= context.recorded_at => {
            Err(Rejection::PendingExpired { transaction_id, expires_at })
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn post(command: &TransactionCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let TransactionCommand::PostPending { transaction_id, legs, is_final, booking_date, value_date } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let transaction_id = *transaction_id;
    let transaction = pending(transaction_id, book)?;
    posting::check_not_a_loans(transaction_id, transaction)?;
    unexpired(transaction_id, transaction, context)?;
    let dates = posting::dates(*booking_date, *value_date, book, context)?;
    let posted = match legs {
        Some(amounts) => named(transaction_id, transaction, amounts, |leg| leg.pending_minor)?,
        None => all_left(transaction, |leg| leg.pending_minor),
    };
    posting::check_balanced(&posted)?;
    post_legs(transaction_id, transaction, &posted, *is_final, dates, book, context)
}

/// Posts all that is pending, whoever it belongs to.
pub(super) fn post_all(
    transaction_id: TransactionId,
    dates: Dates,
    book: &impl Book,
    context: &Context,
) -> Result<Plan, Stop> {
    let transaction = pending(transaction_id, book)?;
    let posted = all_left(transaction, |leg| leg.pending_minor);
    post_legs(transaction_id, transaction, &posted, true, dates, book, context)
}

fn post_legs(
    transaction_id: TransactionId,
    transaction: &Transaction,
    posted: &[Leg],
    is_final: bool,
    dates: Dates,
    book: &impl Book,
    context: &Context,
) -> Result<Plan, Stop> {
    // A posting that leaves nothing pending is final, whatever the caller said.
    let left_minor = |leg: &TransactionLeg| {
        let posted_minor = posted.iter().find(|p| p.leg == leg.leg).map_or(0, |p| p.amount_minor);
        leg.pending_minor - posted_minor
    };
    let is_final = is_final || transaction.legs.iter().all(|leg| left_minor(leg) == 0);
    let releases: Vec<i64> = posted
        .iter()
        .map(|leg| match transaction.leg(leg.leg) {
            Some(pending) if is_final => pending.pending_minor,
            Some(_) | None => leg.amount_minor,
        })
        .collect();
    let posting_number = transaction.postings + 1;
    let booking = Booking {
        transaction_id,
        kind: transaction.kind,
        posting: posting_number,
        dates,
        legs: posted,
        releases: &releases,
    };
    let entries = posting::entries(&booking, book, context)?;
    let event = TransactionEvent::PendingPosted {
        posting: posting_number,
        booking_date: dates.booking_date,
        value_date: dates.value_date,
        legs: posted.to_vec(),
        is_final,
    };
    let mut plan = Plan::one(transaction_id.stream(), event);
    plan.events.extend(entries);
    if is_final {
        let left_out = |leg: &TransactionLeg| !posted.iter().any(|p| p.leg == leg.leg);
        plan.events.extend(releases_of(transaction_id, transaction, HoldEnd::NotPosted, left_out, book)?);
    }
    Ok(plan)
}

pub(super) fn void(command: &TransactionCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let TransactionCommand::VoidPending { transaction_id, reason } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let transaction = pending(*transaction_id, book)?;
    posting::check_not_a_loans(*transaction_id, transaction)?;
    unexpired(*transaction_id, transaction, context)?;
    void_all(*transaction_id, reason, book)
}

/// Gives up all that is pending, whoever it belongs to.
pub(super) fn void_all(transaction_id: TransactionId, reason: &ReasonCode, book: &impl Book) -> Result<Plan, Stop> {
    let transaction = pending(transaction_id, book)?;
    let mut plan = Plan::one(transaction_id.stream(), TransactionEvent::PendingVoided { reason: reason.clone() });
    plan.events.extend(releases_of(transaction_id, transaction, HoldEnd::Voided, |_| true, book)?);
    Ok(plan)
}

pub(super) fn expire(transaction_id: TransactionId, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let transaction = pending(transaction_id, book)?;
    let Some(expired_at) = transaction.expires_at.filter(|expiry| *expiry <= context.recorded_at) else {
        return Err(Rejection::NotExpired { transaction_id }.into());
    };
    let mut plan = Plan::one(transaction_id.stream(), TransactionEvent::PendingExpired { expired_at });
    plan.events.extend(releases_of(transaction_id, transaction, HoldEnd::Expired, |_| true, book)?);
    Ok(plan)
}

fn releases_of(
    transaction_id: TransactionId,
    transaction: &Transaction,
    reason: HoldEnd,
    which: impl Fn(&TransactionLeg) -> bool,
    book: &impl Book,
) -> Result<Vec<(StreamId, Event)>, Stop> {
    let mut events = Vec::new();
    for leg in transaction.legs.iter().filter(|leg| leg.pending_minor > 0 && which(leg)) {
        if account::existing(book, leg.account_id)?.guarded {
            let event =
                AccountEvent::HoldReleased { transaction_id, leg: leg.leg, amount_minor: leg.pending_minor, reason };
            events.push((leg.account_id.stream(), Event::Account(event)));
        }
    }
    Ok(events)
}

/// The named legs, each with at most what is left of it.
pub(super) fn named(
    transaction_id: TransactionId,
    transaction: &Transaction,
    amounts: &[LegAmount],
    left_minor: impl Fn(&TransactionLeg) -> i64,
) -> Result<Vec<Leg>, Rejection> {
    posting::check_leg_count(amounts.len())?;
    let mut legs = Vec::with_capacity(amounts.len());
    for (at, LegAmount { leg: number, amount }) in amounts.iter().enumerate() {
        if amounts[..at].iter().any(|earlier| earlier.leg == *number) {
            return Err(Rejection::LegRepeated { leg: *number });
        }
        let leg = transaction.leg(*number).ok_or(Rejection::LegNotFound { transaction_id, leg: *number })?;
        if leg.currency != amount.currency {
            return Err(Rejection::CurrencyMismatch {
                account_id: leg.account_id,
                account_currency: leg.currency,
                leg_currency: amount.currency,
            });
        }
        posting::check_amount(*amount)?;
        if amount.amount_minor > left_minor(leg) {
            let remaining = Money::new(left_minor(leg), leg.currency);
            return Err(Rejection::LegAmountExceeded { leg: *number, remaining, requested: *amount });
        }
        legs.push(leg_of(leg, amount.amount_minor));
    }
    Ok(legs)
}

/// Every leg with all that is left of it.
pub(super) fn all_left(transaction: &Transaction, left_minor: impl Fn(&TransactionLeg) -> i64) -> Vec<Leg> {
    transaction.legs.iter().filter(|leg| left_minor(leg) > 0).map(|leg| leg_of(leg, left_minor(leg))).collect()
}

fn leg_of(leg: &TransactionLeg, amount_minor: i64) -> Leg {
    Leg {
        leg: leg.leg,
        account_id: leg.account_id,
        ledger_code: leg.ledger_code.clone(),
        side: leg.side,
        amount_minor,
        currency: leg.currency,
        component: leg.component.clone(),
    }
}
