//! The steps of a payout to another bank: pay out (the pivot), then confirm; or cancel.

use domain::ids::derived;
use domain::loan::{LoanCommand, LoanEvent};
use domain::saga::{SagaEvent, Transition};
use domain::words::{ExternalReference, ReasonCode, Sealed};
use domain::{Command, Event, LoanId, Money};
use event_store::SealingError;
use serde::Deserialize;
use uuid::Uuid;

use crate::door::{self, WorkError};
use crate::payments::{Destination, PayOut, PayOutOutcome, PortError};
use crate::steps::{Tools, Tried, Turn, done, done_with, reason, refused, stuck};

/// The field under whose name the account at the other bank is sealed.
pub fn destination_field(loan_id: LoanId) -> String {
    format!("payout/{loan_id}")
}

/// One of a loan's payouts to another bank.
#[derive(Clone, Copy)]
pub(crate) struct Payout {
    pub(crate) loan_id: LoanId,
    /// Which attempt, from 1.
    pub(crate) number: u32,
}

/// The account at the other bank, as it is sealed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedDestination {
    account_number: String,
    bank_code: String,
}

/// After so many refusals by our own rules a step that can only go forward waits for a person.
const TRIES_MAX: u32 = 12;

/// Asks the other bank to take the money. Where an earlier try may have reached it, it is asked what
/// became of that first; only what it has never seen is sent again, under the same id.
pub(crate) async fn pay_out(tools: &Tools<'_>, turn: &Turn<'_>, payout: Payout) -> Result<Tried, WorkError> {
    let loan_id = payout.loan_id;
    let id = order_id(turn);
    if turn.in_doubt() {
        match tools.port.pay_out_status(id).await {
            Ok(Some(outcome)) => return Ok(settled(turn, outcome)),
            Ok(None) => {}
            Err(error) => return Ok(turn.unknown(error.code())),
        }
    }
    let loan = door::loan(tools.store, loan_id).await?;
    let sealed = destination(tools, payout).await?;
    let field = destination_field(loan_id);
    let to = match tools.store.sealing().open_field(loan.member_id, &field, &sealed).await {
        Ok(text) => match serde_json::from_str::<SealedDestination>(&text) {
            Ok(SealedDestination { account_number, bank_code }) => Destination { account_number, bank_code },
            Err(_) => return Ok(stuck("destination_unreadable")),
        },
        Err(error) => return after_sealing(turn, &error),
    };
    if let Some(announcement) = turn.announce() {
        return Ok(announcement);
    }
    let order = PayOut {
        id,
        amount: Money::new(loan.principal_minor, loan.currency),
        to,
        reference: format!("{loan_id}/{}", payout.number),
    };
    Ok(match tools.port.pay_out(&order).await {
        Ok(outcome) => settled(turn, outcome),
        Err(error) => failed(turn, &error),
    })
}

/// The payout's name at the other bank, for ever.
fn order_id(turn: &Turn<'_>) -> Uuid {
    derived(turn.saga_id.0, "pay_out")
}

/// A key that is gone never comes back; a database that does not answer does.
fn after_sealing(turn: &Turn<'_>, error: &SealingError) -> Result<Tried, WorkError> {
    tracing::warn!(saga_id = %turn.saga_id, %error, "the account to pay out to was not opened");
    match error {
        SealingError::Database(_) if turn.in_doubt() => Ok(turn.unknown("keys_unavailable")),
        SealingError::Database(_) => Ok(turn.again("keys_unavailable")),
        // An earlier try may have gone out before the key was destroyed.
        _ if turn.in_doubt() => Ok(stuck("destination_unreadable")),
        _ => Ok(refused("destination_unreadable")),
    }
}

/// The payout's account at the other bank, as the loan's stream has it.
async fn destination(tools: &Tools<'_>, payout: Payout) -> Result<Sealed, WorkError> {
    let Payout { loan_id, number } = payout;
    let events = tools.store.reader().events_of(loan_id.stream()).await?;
    let of_this = events.into_iter().find_map(|event| match event {
        Event::Loan(LoanEvent::LoanDisbursementStarted { attempt, destination, .. }) if attempt == number => {
            Some(destination)
        }
        _ => None,
    });
    of_this.ok_or_else(|| WorkError::Inconsistent(format!("loan {loan_id} has no payout {number}")))
}

/// Where a payout stands.
enum Stands {
    /// Neither confirmed nor cancelled, the loan being at that version.
    OnItsWay { version: u64 },
    /// Confirmed: the loan is paid out.
    Confirmed,
    /// Cancelled: the loan may have another payout by now.
    Cancelled,
}

/// Commands name the loan, and not which of its payouts: what is decided here counts for this one.
async fn stands(tools: &Tools<'_>, payout: Payout) -> Result<Stands, WorkError> {
    let events = tools.store.reader().events_of(payout.loan_id.stream()).await?;
    let mut current = 0;
    let mut stands = Stands::OnItsWay { version: events.len() as u64 };
    for event in &events {
        match event {
            Event::Loan(LoanEvent::LoanDisbursementStarted { attempt, .. }) => current = *attempt,
            Event::Loan(LoanEvent::LoanDisbursementCancelled { attempt, .. }) if *attempt == payout.number => {
                stands = Stands::Cancelled;
            }
            Event::Loan(LoanEvent::LoanDisbursed { .. }) if current == payout.number => stands = Stands::Confirmed,
            _ => {}
        }
    }
    Ok(stands)
}

pub(crate) fn settled(turn: &Turn<'_>, outcome: PayOutOutcome) -> Tried {
    match outcome {
        PayOutOutcome::Settled { bank_reference, .. } => {
            done_with(None, ExternalReference::try_new(bank_reference).ok(), None)
        }
        PayOutOutcome::Accepted => turn.unknown("accepted"),
        PayOutOutcome::Refused { code, .. } => refused(&code),
    }
}

/// A call that gave no outcome. Only what certainly was not sent is a failure; in doubt an earlier
/// doubt stays.
pub(crate) fn failed(turn: &Turn<'_>, error: &PortError) -> Tried {
    let doubted = turn.in_doubt();
    match error {
        PortError::Conflict { .. } => stuck(error.code()),
        PortError::NotSent { .. } | PortError::Unauthorized | PortError::Misconfigured { .. } if !doubted => {
            turn.again(error.code())
        }
        PortError::NotSent { .. }
        | PortError::Unauthorized
        | PortError::Misconfigured { .. }
        | PortError::Unknown { .. } => turn.unknown(error.code()),
    }
}

/// The hold is posted and the loan active.
pub(crate) async fn confirm(tools: &Tools<'_>, turn: &Turn<'_>, payout: Payout) -> Result<Tried, WorkError> {
    confirmed(tools, turn, payout, turn.saga.bank_reference.clone(), done()).await
}

async fn confirmed(
    tools: &Tools<'_>,
    turn: &Turn<'_>,
    payout: Payout,
    bank_reference: Option<ExternalReference>,
    then: Tried,
) -> Result<Tried, WorkError> {
    let version = match stands(tools, payout).await? {
        Stands::OnItsWay { version } => version,
        Stands::Confirmed => return Ok(then),
        Stands::Cancelled => return Ok(stuck("paid_after_cancel")),
    };
    let command = Command::Loan(LoanCommand::ConfirmDisbursement { loan_id: payout.loan_id, bank_reference });
    Ok(match door::submit_at(tools.store, turn.saga_id, &turn.key("confirm"), command, Some(version)).await? {
        Ok(_) => then,
        Err(rejection) => turn.forward_or_park(&rejection, TRIES_MAX),
    })
}

/// The hold is given up, once the bank has said that it will never make the payment: that it has not
/// seen it so far would not do, for a try may still be on the way. Where it has the money after all,
/// that is what counts: the loan becomes active.
pub(crate) async fn cancel(tools: &Tools<'_>, turn: &Turn<'_>, payout: Payout) -> Result<Tried, WorkError> {
    let version = match stands(tools, payout).await? {
        Stands::OnItsWay { version } => version,
        // By another runner, whose word about it came later than one of a try that failed.
        Stands::Cancelled => return Ok(done()),
        Stands::Confirmed => return Ok(disbursed()),
    };
    match tools.port.cancel_pay_out(order_id(turn)).await {
        Ok(PayOutOutcome::Refused { .. }) => {}
        Ok(PayOutOutcome::Accepted) => return Ok(turn.unknown("accepted")),
        Ok(PayOutOutcome::Settled { bank_reference, .. }) => {
            let bank_reference = ExternalReference::try_new(bank_reference).ok();
            return confirmed(tools, turn, payout, bank_reference, disbursed()).await;
        }
        Err(error) if turn.in_doubt() => return Ok(turn.unknown(error.code())),
        Err(error) => return Ok(turn.again(error.code())),
    }
    let reason = why(tools, turn).await?;
    let command = Command::Loan(LoanCommand::CancelDisbursement { loan_id: payout.loan_id, reason });
    Ok(match door::submit_at(tools.store, turn.saga_id, &turn.key("cancel"), command, Some(version)).await? {
        Ok(_) => done(),
        Err(rejection) => turn.forward_or_park(&rejection, TRIES_MAX),
    })
}

/// The payout was made although it was to be cancelled.
fn disbursed() -> Tried {
    Tried::Became(Transition::Finished { outcome: reason("disbursed") })
}

/// Why the payout is given up. The saga's own code may by now be that of a failed try to do so.
async fn why(tools: &Tools<'_>, turn: &Turn<'_>) -> Result<ReasonCode, WorkError> {
    let events = tools.store.reader().events_of(turn.saga_id.stream()).await?;
    let began = events.into_iter().rev().find_map(|event| match event {
        Event::Saga(SagaEvent::CompensationStarted { code, .. }) => Some(code),
        _ => None,
    });
    Ok(began.unwrap_or_else(|| reason("cancelled")))
}
