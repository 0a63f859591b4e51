//! Transactions that a loan's rules make: the legs come from the loan, so they may touch the accounts
//! that are dedicated to loans. The other rules of bookings hold for them as for any.

use chrono::NaiveDate;

use crate::account;
use crate::book::{Book, Context, Stop};
use crate::event::Event;
use crate::ids::{AccountId, StreamId, TransactionId};
use crate::money::{Currency, Money, Side};
use crate::rejection::Rejection;
use crate::transaction::posting::{self, Booking};
use crate::transaction::{Leg, TransactionEvent, TransactionKind, pending, reverse};
use crate::words::{ExternalReference, ReasonCode};

pub(crate) use crate::transaction::posting::{Dates, dates};

/// A leg as the loan makes it; one of nothing is left out.
pub(crate) struct MadeLeg {
    pub(crate) account_id: AccountId,
    pub(crate) side: Side,
    pub(crate) amount_minor: i64,
    pub(crate) component: Option<&'static str>,
}

/// A transaction about to be made.
pub(crate) struct Made {
    pub(crate) transaction_id: TransactionId,
    pub(crate) kind: TransactionKind,
    pub(crate) dates: Dates,
    pub(crate) legs: Vec<Leg>,
    pub(crate) external_reference: Option<ExternalReference>,
}

/// Numbers the legs and freezes each account's ledger code into its leg.
pub(crate) fn legs(made: &[MadeLeg], currency: Currency, book: &impl Book) -> Result<Vec<Leg>, Stop> {
    let mut resolved = Vec::with_capacity(made.len());
    let real = made.iter().filter(|leg| leg.amount_minor != 0);
    for (number, leg) in (1u16..).zip(real) {
        let account = account::open(book, leg.account_id, currency)?;
        posting::check_amount(Money::new(leg.amount_minor, currency))?;
        resolved.push(Leg {
            leg: number,
            account_id: leg.account_id,
            ledger_code: account.ledger_code.clone(),
            side: leg.side,
            amount_minor: leg.amount_minor,
            currency,
            component: leg.component.map(str::to_owned),
        });
    }
    posting::check_leg_count(resolved.len())?;
    posting::check_balanced(&resolved)?;
    Ok(resolved)
}

/// The events of posting it at once.
pub(crate) fn post(made: &Made, book: &impl Book, context: &Context) -> Result<Vec<(StreamId, Event)>, Stop> {
    check_new(made.transaction_id, book)?;
    let releases = vec![0; made.legs.len()];
    let booking = Booking {
        transaction_id: made.transaction_id,
        kind: made.kind,
        posting: 1,
        dates: made.dates,
        legs: &made.legs,
        releases: &releases,
    };
    let entries = posting::entries(&booking, book, context)?;
    let event = TransactionEvent::TransactionPosted {
        kind: made.kind,
        booking_date: made.dates.booking_date,
        value_date: made.dates.value_date,
        legs: made.legs.clone(),
        reverses: None,
        external_reference: made.external_reference.clone(),
        narrative: None,
    };
    Ok(with_effects(made.transaction_id, event, entries))
}

/// The events of holding it until it is posted or voided; it never expires.
pub(crate) fn hold(made: &Made, book: &impl Book, context: &Context) -> Result<Vec<(StreamId, Event)>, Stop> {
    check_new(made.transaction_id, book)?;
    let holds = pending::holds(made.transaction_id, made.kind, &made.legs, None, book, context)?;
    let event = TransactionEvent::TransactionPending {
        kind: made.kind,
        booking_date: made.dates.booking_date,
        value_date: made.dates.value_date,
        legs: made.legs.clone(),
        expires_at: None,
        external_reference: made.external_reference.clone(),
        narrative: None,
    };
    Ok(with_effects(made.transaction_id, event, holds))
}

/// The events of posting all that is held, on the booking date it was held for while that period is
/// open, else on the business date; and that date.
pub(crate) fn post_held(
    transaction_id: TransactionId,
    book: &impl Book,
    context: &Context,
) -> Result<(Vec<(StreamId, Event)>, NaiveDate), Stop> {
    let held = pending::pending(transaction_id, book)?;
    let dates = match dates(held.booking_date, held.value_date, book, context) {
        Err(Stop::Rejected(Rejection::PeriodClosed { .. })) => dates(None, held.value_date, book, context)?,
        other => other?,
    };
    let plan = pending::post_all(transaction_id, dates, book, context)?;
    Ok((plan.events, dates.booking_date))
}

/// The events of giving up all that is held.
pub(crate) fn void_held(
    transaction_id: TransactionId,
    reason: &ReasonCode,
    book: &impl Book,
) -> Result<Vec<(StreamId, Event)>, Stop> {
    Ok(pending::void_all(transaction_id, reason, book)?.events)
}

/// The events of undoing all of a transaction.
pub(crate) fn reverse(
    transaction_id: TransactionId,
    original_id: TransactionId,
    reason: &ReasonCode,
    dates: Dates,
    book: &impl Book,
    context: &Context,
) -> Result<Vec<(StreamId, Event)>, Stop> {
    check_new(transaction_id, book)?;
    let undoing =
        reverse::Undoing { transaction_id, original_id, legs: None, reason, suspense_account_id: None, dates };
    Ok(reverse::undo(&undoing, book, context)?.events)
}

fn check_new(transaction_id: TransactionId, book: &impl Book) -> Result<(), Stop> {
    if book.transaction(transaction_id)?.is_some() {
        return Err(Rejection::IdTaken { stream: transaction_id.stream() }.into());
    }
    Ok(())
}

fn with_effects(
    transaction_id: TransactionId,
    event: TransactionEvent,
    effects: Vec<(StreamId, Event)>,
) -> Vec<(StreamId, Event)> {
    let mut events = vec![(transaction_id.stream(), Event::Transaction(event))];
    events.extend(effects);
    events
}
