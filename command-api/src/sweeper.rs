//! Writes down that pending transactions have expired.
//!
//! From its expiry on a hold counts no more and cannot be posted, whether or not this has run: the
//! sweeper only makes the log say so. It learns of pending transactions from the log itself, and it
//! submits through the same door as clients, under a key that follows from the transaction, so any
//! number of sweepers write each expiry once. It keeps nothing but what it can learn again: after a
//! start it reads all pending transactions that ever were, and looks once at each that is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::transaction::{TransactionCommand, TransactionEvent, TransactionStatus};
use domain::{Command, Event, Rejection, Transaction, TransactionId};
use event_store::{LogReader, Outcome, ReadError, Store, Submission, SubmitError};
use platform::backoff::Backoff;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::door::Door;

/// Under which name the sweeper's idempotency keys are kept.
pub const CLIENT: &str = "daybook-sweeper";

const PERIOD: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const PAGE: u32 = 1_000;
/// A writer whose clock is 2 s off refuses to write, so after this no writer finds it too early.
const GRACE: TimeDelta = TimeDelta::seconds(2);

/// What could not be done now and is tried again.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// A pending transaction that will expire, the earliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    expires_at: DateTime<Utc>,
    transaction_id: TransactionId,
    /// How often a writer has found it too early: each try has its own key, since an outcome is
    /// kept for ever.
    tries: u32,
}

impl Due {
    fn idempotency_key(&self) -> String {
        match self.tries {
            0 => format!("expire/{}", self.transaction_id),
            tries => format!("expire/{}/{tries}", self.transaction_id),
        }
    }
}

/// What is known so far.
#[derive(Debug, Default)]
struct Schedule {
    /// Everything up to this position has been learnt.
    position: u64,
    due: BinaryHeap<Reverse<Due>>,
}

impl Schedule {
    fn learn(&mut self, position: u64, transaction_id: TransactionId, event: &Event) {
        if let Event::Transaction(TransactionEvent::TransactionPending { expires_at: Some(expires_at), .. }) = event {
            self.due.push(Reverse(Due { expires_at: *expires_at, transaction_id, tries: 0 }));
        }
        self.position = position;
    }

    /// The next one that has expired for every writer's clock; it is no longer scheduled then.
    fn take_due(&mut self, now: DateTime<Utc>) -> Option<Due> {
        let Reverse(first) = self.due.peek()?;
        let is_due = first.expires_at.checked_add_signed(GRACE).is_some_and(|at| at <= now);
        if is_due { self.due.pop().map(|Reverse(due)| due) } else { None }
    }

    fn again(&mut self, due: Due) {
        self.due.push(Reverse(due));
    }
}

/// Sweeps until the token is cancelled. Failures are logged and tried again.
pub async fn run(store: Store, shutdown: CancellationToken) {
    let reader = store.reader().clone();
    let door: Arc<dyn Door> = Arc::new(store);
    let mut schedule = Schedule::default();
    let mut backoff = Backoff::new(PERIOD, BACKOFF_MAX);
    loop {
        let wait = match sweep(&mut schedule, &reader, door.as_ref(), &shutdown).await {
            Ok(()) => {
                backoff.reset();
                PERIOD
            }
            Err(error) => {
                tracing::warn!(%error, "expired transactions were not swept; trying again");
                backoff.next_wait()
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn sweep(
    schedule: &mut Schedule,
    reader: &LogReader,
    door: &dyn Door,
    shutdown: &CancellationToken,
) -> Result<(), SweepError> {
    learn(schedule, reader).await?;
    while let Some(due) = schedule.take_due(Utc::now()) {
        if shutdown.is_cancelled() {
            return Ok(());
        }
        match expire(due, reader, door).await {
            Ok(true) => {}
            Ok(false) => schedule.again(Due { tries: due.tries.saturating_add(1), ..due }),
            Err(error) => {
                schedule.again(due);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Reads which transactions have become pending since the last time.
async fn learn(schedule: &mut Schedule, reader: &LogReader) -> Result<(), ReadError> {
    loop {
        let page = reader.events_matching(schedule.position, None, Some("TransactionPending"), PAGE).await?;
        for recorded in &page {
            let position = recorded.position;
            let event = recorded.event().map_err(|source| ReadError::Decode { position, source })?;
            schedule.learn(position, TransactionId(recorded.stream.id), &event);
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

/// Submits the expiry where the transaction is still pending. `false`: a writer found it too early.
async fn expire(due: Due, reader: &LogReader, door: &dyn Door) -> Result<bool, SweepError> {
    let transaction_id = due.transaction_id;
    if load(reader, transaction_id).await?.status != TransactionStatus::Pending {
        return Ok(true);
    }
    let idempotency_key = due.idempotency_key();
    let submission = Submission {
        command: Command::Transaction(TransactionCommand::ExpirePending { transaction_id }),
        command_id: Uuid::now_v7(),
        client: CLIENT.to_owned(),
        request_hmac: door.request_hmac(&[idempotency_key.as_bytes()]),
        correlation_id: idempotency_key.clone(),
        idempotency_key,
        target_is_new: false,
        expected_version: None,
        actor: CLIENT.to_owned(),
        branch: None,
        traceparent: None,
    };
    match door.submit(submission).await?.outcome {
        Outcome::Accepted(accepted) => {
            tracing::info!(%transaction_id, position = accepted.position, "a pending transaction expired");
            Ok(true)
        }
        Outcome::Rejected(rejected) => Ok(!matches!(rejected.rejection, Rejection::NotExpired { .. })),
    }
}

/// The transaction as the log has it now.
async fn load(reader: &LogReader, transaction_id: TransactionId) -> Result<Transaction, ReadError> {
    let stream = transaction_id.stream();
    let mut transaction = Transaction::default();
    let mut sequence = 0;
    loop {
        let page = reader.stream_after(stream, sequence, PAGE).await?;
        for recorded in &page {
            sequence = recorded.sequence;
            let position = recorded.position;
            match recorded.event().map_err(|source| ReadError::Decode { position, source })? {
                Event::Transaction(event) => transaction.fold(&event),
                Event::Member(_)
                | Event::Account(_)
                | Event::Ledger(_)
                | Event::Rejection(_)
                | Event::LoanProduct(_)
                | Event::Loan(_)
                | Event::Saga(_) => {
                    return Err(ReadError::Broken { position, what: format!("not a transaction's event in {stream}") });
                }
            }
        }
        if page.is_empty() {
            return Ok(transaction);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::transaction::TransactionKind;

    use super::*;

    fn pending(expires_at: Option<DateTime<Utc>>) -> Event {
        Event::Transaction(TransactionEvent::TransactionPending {
            kind: TransactionKind::Transfer,
            booking_date: chrono::NaiveDate::default(),
            value_date: chrono::NaiveDate::default(),
            legs: Vec::new(),
            expires_at,
            external_reference: None,
            narrative: None,
        })
    }

    fn id(number: u128) -> TransactionId {
        TransactionId(Uuid::from_u128(number))
    }

    #[test]
    fn the_earliest_is_due_first_and_none_too_early() {
        let base = DateTime::UNIX_EPOCH;
        let mut schedule = Schedule::default();
        schedule.learn(4, id(1), &pending(Some(base + TimeDelta::seconds(20))));
        schedule.learn(7, id(2), &pending(Some(base + TimeDelta::seconds(10))));
        schedule.learn(9, id(3), &pending(None));
        assert_eq!(schedule.position, 9);
        assert_eq!(schedule.take_due(base + TimeDelta::seconds(11)), None);
        assert_eq!(schedule.take_due(base + TimeDelta::seconds(12)).map(|due| due.transaction_id), Some(id(2)));
        assert_eq!(schedule.take_due(base + TimeDelta::seconds(30)).map(|due| due.transaction_id), Some(id(1)));
        assert_eq!(schedule.take_due(DateTime::<Utc>::MAX_UTC), None);
    }

    #[test]
    fn each_try_has_its_own_key() {
        let due = Due { expires_at: DateTime::UNIX_EPOCH, transaction_id: id(1), tries: 0 };
        assert_eq!(due.idempotency_key(), "expire/00000000-0000-0000-0000-000000000001");
        assert_eq!(Due { tries: 2, ..due }.idempotency_key(), "expire/00000000-0000-0000-0000-000000000001/2");
    }
}
