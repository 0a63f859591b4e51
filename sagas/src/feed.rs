//! The feed: follows the log, starts the sagas that its events ask for, and notes what is to be done.
//!
//! One runner feeds at a time: whoever holds the row of `saga_feed`. The position moves on in the
//! transaction that notes the work; a saga that was started before a crash is started again by the
//! same command, which changes nothing.

use chrono::Utc;
use domain::loan::LoanEvent;
use domain::rejection::Rejection;
use domain::saga::{Process, SagaCommand, SagaEvent, SagaStatus};
use domain::{Command, Event, LoanId, Saga, SagaId};
use event_schemas::Recorded;
use event_store::{ReadError, Store};
use futures::{StreamExt, TryStreamExt};
use sqlx::{PgPool, Row};
use tracing::Instrument;

use crate::door::{self, WorkError};
use crate::work;

/// The events that a saga begins with, or that change when it is to be looked at.
const TYPES: &[&str] = &[
    "LoanDisbursementStarted",
    "LoanDisbursed",
    "LoanRepaid",
    "LoanWrittenOff",
    "SagaStarted",
    "SagaParked",
    "SagaResumed",
    "CompensationStarted",
    "SagaAbandoned",
    "SagaCompleted",
];
/// The most events of interest in one transaction.
const EVENTS_MAX: u32 = 500;
/// How many of them are looked at together.
const AT_ONCE: usize = 32;
/// The most positions looked through at once.
const POSITIONS_MAX: u64 = 20_000;
/// After so many positions without anything of interest the position is stored nevertheless.
const STORE_EVERY: u64 = 10_000;

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// Another runner feeds now.
    Elsewhere,
    /// So many events of the log are not looked at yet; whether this pass noted anything.
    Behind { events: u64, noted: bool },
}

/// What a runner remembers between its passes: that there is nothing of interest after the stored
/// position up to another one. Most commits are none of ours, and storing a position for each would
/// cost the log's disk as much as the commit itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    stored: u64,
    nothing_through: u64,
}

/// One pass: from the stored position on, up to a bound.
pub(crate) async fn pass(store: &Store, pool: &PgPool, memory: &mut Memory) -> Result<Fed, WorkError> {
    let head = store.reader().head().await?.position;
    let mut feeding = pool.begin().await?;
    let held =
        sqlx::query("SELECT position FROM saga_feed FOR UPDATE SKIP LOCKED").fetch_optional(&mut *feeding).await?;
    let Some(row) = held else { return Ok(Fed::Elsewhere) };
    let stored = u64::try_from(row.try_get::<i64, _>("position")?).unwrap_or(0);
    let after = if memory.stored == stored { memory.nothing_through.max(stored) } else { stored };
    let through = head.min(after + POSITIONS_MAX);
    if through <= after {
        return Ok(Fed::Behind { events: 0, noted: false });
    }
    let events = store.reader().events_of_types(after, through, TYPES, EVENTS_MAX).await?;
    if events.is_empty() && through - stored < STORE_EVERY {
        *memory = Memory { stored, nothing_through: through };
        return Ok(Fed::Behind { events: head - through, noted: false });
    }
    // A full page may have left some of them out.
    let full = events.len() >= EVENTS_MAX as usize;
    let reached = events.last().filter(|_| full).map_or(through, |last| last.position);
    let noted = !events.is_empty();
    // Together and not one by one: a pass holds its row, and must not hold it for long.
    let looked_at: Vec<Option<(SagaId, Saga)>> =
        futures::stream::iter(events).map(|recorded| traced(store, recorded)).buffered(AT_ONCE).try_collect().await?;
    for (saga_id, saga) in looked_at.iter().flatten() {
        work::note(&mut feeding, *saga_id, saga).await?;
    }
    sqlx::query("UPDATE saga_feed SET position = $1").bind(reached as i64).execute(&mut *feeding).await?;
    feeding.commit().await?;
    Ok(Fed::Behind { events: head - reached, noted })
}

/// The same in the trace of the event.
async fn traced(store: &Store, recorded: Recorded) -> Result<Option<(SagaId, Saga)>, WorkError> {
    let span = crate::trace::following(&recorded);
    look_at(store, recorded).instrument(span).await
}

/// Starts what the event asks for; gives the saga whose work is to be noted.
async fn look_at(store: &Store, recorded: Recorded) -> Result<Option<(SagaId, Saga)>, WorkError> {
    let position = recorded.position;
    let event = recorded.event().map_err(|source| ReadError::Decode { position, source })?;
    match &event {
        Event::Loan(LoanEvent::LoanDisbursementStarted { attempt, .. }) => {
            let (loan_id, attempt) = (LoanId(recorded.stream.id), *attempt);
            let process = Process::Disbursement { loan_id, attempt };
            start(store, SagaId::of_disbursement(loan_id, attempt), process).await?;
            Ok(None)
        }
        Event::Loan(LoanEvent::LoanDisbursed { .. }) => {
            let loan_id = LoanId(recorded.stream.id);
            let loan = door::loan(store, loan_id).await?;
            if loan.terms.collection.is_some() && loan.settlement_account_id.is_some() {
                start(store, SagaId::of_collection(loan_id), Process::Collection { loan_id }).await?;
            }
            Ok(None)
        }
        Event::Loan(LoanEvent::LoanRepaid { .. } | LoanEvent::LoanWrittenOff { .. }) => {
            wake_collection(store, LoanId(recorded.stream.id), position).await
        }
        Event::Saga(SagaEvent::StepSucceeded { .. } | SagaEvent::StepFailed { .. } | SagaEvent::StepUnknown { .. }) => {
            Ok(None)
        }
        // As the saga is by now: an older event must not set back what a newer one has said.
        Event::Saga(
            SagaEvent::SagaResumed { .. }
            | SagaEvent::SagaStarted { .. }
            | SagaEvent::CompensationStarted { .. }
            | SagaEvent::SagaParked { .. }
            | SagaEvent::SagaAbandoned { .. }
            | SagaEvent::SagaCompleted { .. },
        ) => {
            let saga_id = SagaId(recorded.stream.id);
            Ok(Some((saga_id, door::saga(store, saga_id).await?)))
        }
        _ => Ok(None),
    }
}

/// A loan that owes nothing any more needs no collection: the saga looks now, and not on the next
/// due date, and ends.
async fn wake_collection(store: &Store, loan_id: LoanId, position: u64) -> Result<Option<(SagaId, Saga)>, WorkError> {
    let saga_id = SagaId::of_collection(loan_id);
    let Some(saga) = door::saga_if_any(store, saga_id).await? else { return Ok(None) };
    let sleeps = saga.status == SagaStatus::Parked || saga.wake_at.is_some_and(|at| at > Utc::now());
    if saga.status.has_ended() || !sleeps {
        // Without a time of its own it is due as soon as it is noted.
        return Ok(Some((saga_id, saga)));
    }
    let command = Command::Saga(SagaCommand::ResumeSaga { saga_id, resolution: None });
    match door::submit(store, saga_id, &format!("{saga_id}/wake/{position}"), command).await? {
        // That it was resumed comes by in the log, and is noted then.
        Ok(_) | Err(Rejection::SagaEnded { .. }) => Ok(None),
        Err(rejection) => Err(WorkError::Inconsistent(format!("saga {saga_id} was not woken: {rejection}"))),
    }
}

async fn start(store: &Store, saga_id: SagaId, process: Process) -> Result<(), WorkError> {
    let command = Command::Saga(SagaCommand::StartSaga { saga_id, process });
    match door::submit(store, saga_id, &format!("{saga_id}/start"), command).await? {
        // Its id follows from what it is about: whoever started it, it is this one.
        Ok(_) | Err(Rejection::IdTaken { .. }) => Ok(()),
        Err(rejection) => Err(WorkError::Inconsistent(format!("saga {saga_id} was not started: {rejection}"))),
    }
}
