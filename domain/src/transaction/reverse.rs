//! Reversals: a transaction of its own with opposite sides and a link to its original.

use crate::account::{self, AccountStatus};
use crate::book::{Book, Context, Plan, Stop};
use crate::event::Event;
use crate::ids::{AccountId, TransactionId};
use crate::rejection::Rejection;
use crate::transaction::posting::{self, Booking, Dates};
use crate::transaction::{
    Leg, LegAmount, LegReversal, Reverses, Transaction, TransactionCommand, TransactionEvent, pending,
};
use crate::words::ReasonCode;

pub(super) fn reverse(command: &TransactionCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let TransactionCommand::ReverseTransaction {
        transaction_id,
        original_id,
        legs,
        reason,
        suspense_account_id,
        booking_date,
        value_date,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    if book.transaction(*transaction_id)?.is_some() {
        return Err(Rejection::IdTaken { stream: transaction_id.stream() }.into());
    }
    if let Some(original) = book.transaction(*original_id)? {
        posting::check_not_a_loans(*original_id, original)?;
    }
    let undoing = Undoing {
        transaction_id: *transaction_id,
        original_id: *original_id,
        legs: legs.as_deref(),
        reason,
        suspense_account_id: *suspense_account_id,
        dates: posting::dates(*booking_date, *value_date, book, context)?,
    };
    undo(&undoing, book, context)
}

/// What a reversal is to undo, and how.
pub(super) struct Undoing<'a> {
    /// The reversal.
    pub(super) transaction_id: TransactionId,
    pub(super) original_id: TransactionId,
    /// None: all that is left of every leg.
    pub(super) legs: Option<&'a [LegAmount]>,
    pub(super) reason: &'a ReasonCode,
    pub(super) suspense_account_id: Option<AccountId>,
    pub(super) dates: Dates,
}

/// The reversal, whoever the transaction belongs to; its id is known to be free.
pub(super) fn undo(undoing: &Undoing<'_>, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let Undoing { transaction_id, original_id, dates, .. } = *undoing;
    let original =
        book.transaction(original_id)?.ok_or(Rejection::TransactionNotFound { transaction_id: original_id })?;
    if original.is_reversal {
        return Err(Rejection::ReversalNotReversible { transaction_id: original_id }.into());
    }
    let undone = match undoing.legs {
        Some(amounts) => pending::named(original_id, original, amounts, |leg| leg.posted_minor - leg.reversed_minor)?,
        None => pending::all_left(original, |leg| leg.posted_minor - leg.reversed_minor),
    };
    if undone.is_empty() {
        return Err(Rejection::NothingToReverse { transaction_id: original_id }.into());
    }
    posting::check_balanced(&undone)?;
    let opposite = opposite_legs(&undone, undoing.suspense_account_id, book)?;
    let releases = vec![0; opposite.len()];
    let booking =
        Booking { transaction_id, kind: original.kind, posting: 1, dates, legs: &opposite, releases: &releases };
    let entries = posting::entries(&booking, book, context)?;
    let event = TransactionEvent::TransactionPosted {
        kind: original.kind,
        booking_date: dates.booking_date,
        value_date: dates.value_date,
        legs: opposite.clone(),
        reverses: Some(Reverses { transaction_id: original_id, reason: undoing.reason.clone() }),
        external_reference: None,
        narrative: None,
    };
    let mut plan = Plan::one(transaction_id.stream(), event).creating();
    plan.events.extend(entries);
    let reversed = TransactionEvent::TransactionReversed { by: transaction_id, legs: reversals(original, &undone) };
    plan.events.push((original_id.stream(), Event::Transaction(reversed)));
    Ok(plan)
}

/// The legs with sides changed. Where an account has closed meanwhile, the named suspense account
/// stands in; without one the account's own refusal follows.
fn opposite_legs(undone: &[Leg], suspense_account_id: Option<AccountId>, book: &impl Book) -> Result<Vec<Leg>, Stop> {
    let mut legs = Vec::with_capacity(undone.len());
    for (number, leg) in (1u16..).zip(undone) {
        let mut leg = Leg { leg: number, side: leg.side.opposite(), ..leg.clone() };
        let gone = match account::existing(book, leg.account_id)?.status {
            AccountStatus::Open => false,
            AccountStatus::Closed | AccountStatus::Retired => true,
        };
        if let (true, Some(suspense_id)) = (gone, suspense_account_id) {
            let suspense = account::existing(book, suspense_id)?;
            if suspense.guarded {
                return Err(Rejection::SuspenseNotInternal { account_id: suspense_id }.into());
            }
            if suspense.dedicated.is_some() {
                return Err(Rejection::AccountDedicated { account_id: suspense_id }.into());
            }
            if suspense.currency != leg.currency {
                return Err(Rejection::CurrencyMismatch {
                    account_id: suspense_id,
                    account_currency: suspense.currency,
                    leg_currency: leg.currency,
                }
                .into());
            }
            leg.account_id = suspense_id;
            leg.ledger_code = suspense.ledger_code.clone();
        }
        legs.push(leg);
    }
    Ok(legs)
}

fn reversals(original: &Transaction, undone: &[Leg]) -> Vec<LegReversal> {
    undone
        .iter()
        .map(|leg| LegReversal {
            leg: leg.leg,
            amount_minor: leg.amount_minor,
            reversed_minor: original.leg(leg.leg).map_or(0, |state| state.reversed_minor) + leg.amount_minor,
        })
        .collect()
}
