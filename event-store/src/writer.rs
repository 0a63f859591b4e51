//! The writer: takes all commands that wait, decides them in order on the state at the head, and
//! commits them in one statement. No lingering: while one batch commits, the next one gathers.
//!
//! - Another writer has moved the head: nothing was written; the head is locked, its events are
//!   folded in, and the batch is decided again. For a while the lock is then taken first.
//! - The outcome of a commit is unknown: on a new connection the head is locked and its batch
//!   number moved on, so that the old statement can no longer succeed; then the batch is decided
//!   again, and each command that had committed finds its own reply.
//! - No reply leaves before its batch has committed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::{Missing, Reservation, StreamId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::append::{append, catch_up, check_key_in_tx, continues, fence_in_tx, lock_head};
use crate::batch::{Batch, NotDecided};
use crate::bulk::{self, ReplyTo};
use crate::error::{StoreError, SubmitError};
use crate::load;
use crate::reader::Head;
use crate::sealing::Sealing;
use crate::snapshots::{SnapshotSink, WORTHWHILE_EVENTS};
use crate::streams::{BatchBook, Cache};
use crate::submission::{Reply, Submission};
use crate::telemetry::{self, Committed, Rounds};

/// After a lost race the lock is taken first for so long: two writers then share fairly.
const LOCK_FIRST: Duration = Duration::from_millis(200);
/// How long a batch waits for a database that does not answer before its clients are told.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// After so long without an answer of the database the outcome of a batch counts as unknown.
const COMMIT_PATIENCE: Duration = Duration::from_secs(20);
/// A commit has no more events than about this; what is left of the batch goes with the next.
const EVENTS_OF_A_COMMIT: usize = 20_000;
/// How far this machine's clock may be off the database's.
const CLOCK_ALLOWED_MS: i64 = 2_000;
const CLOCK_CHECK_EVERY: Duration = Duration::from_secs(5);
/// An idle writer comes round so often: to show that it lives, and to connect again.
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// How often one batch is tried again after unknown outcomes before its clients are told.
const TRIES_MAX: u32 = 5;

/// A command that waits, and where its reply goes.
pub(crate) struct Waiting {
    pub(crate) submission: Submission,
    /// Of the submission, for the collector of traces.
    pub(crate) span: Span,
    pub(crate) reply: ReplyTo,
}

/// The settings of a writer.
pub(crate) struct Settings {
    pub(crate) connect: PgConnectOptions,
    pub(crate) tenant: String,
    pub(crate) time_zone: chrono_tz::Tz,
    pub(crate) snapshot_every: u64,
    pub(crate) batch_max: usize,
}

pub(crate) struct Writer {
    pub(crate) settings: Settings,
    pub(crate) sealing: Sealing,
    pub(crate) queue: mpsc::Receiver<Waiting>,
    pub(crate) snapshots: SnapshotSink,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) cache: Cache,
    pub(crate) connection: Option<PgConnection>,
    pub(crate) head: Option<Head>,
    pub(crate) lock_first_until: Instant,
    pub(crate) clock_checked: Option<Instant>,
    pub(crate) rounds: Rounds,
}

enum Attempt {
    Decided(Vec<Result<Reply, SubmitError>>),
    /// Another writer was there first.
    LostRace,
}

/// What a failure tells about the commit.
enum Failure {
    /// The statement was refused: nothing is written.
    Refused(StoreError),
    /// The connection is gone: it is not known.
    Unknown(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Database(sqlx::Error::Database(database)) => {
                // Shutdown, crash or failover of the server (57, 58, XX, 08) say nothing about a commit.
                let class = database.code().map(|code| code.chars().take(2).collect::<String>());
                match class.as_deref() {
                    None | Some("57" | "58" | "XX" | "08" | "25") => Failure::Unknown(error),
                    Some(_) => Failure::Refused(error),
                }
            }
            StoreError::Database(_) => Failure::Unknown(error),
            StoreError::Read(crate::ReadError::Database(_)) => Failure::Unknown(error),
            StoreError::Read(_)
            | StoreError::Json(_)
            | StoreError::Unsound(_)
            | StoreError::Clock { .. }
            | StoreError::LogAhead { .. }
            | StoreError::MasterKey
            | StoreError::TimeZone(_) => Failure::Refused(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl Writer {
    /// Runs until every sender is gone, or shutdown is asked and the queue is empty.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.connected().await {
            tracing::warn!(%error, "the log cannot be written yet");
        }
        let mut waiting = Vec::new();
        loop {
            self.come_round();
            let received = tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
                received = self.queue.recv_many(&mut waiting, self.settings.batch_max) => received,
                () = tokio::time::sleep(IDLE_ROUND) => {
                    self.connect_when_idle().await;
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            self.process(&mut waiting, true).await;
            waiting.clear();
            for (id, stream) in self.cache.trim() {
                if stream.version >= stream.snapshot_version + WORTHWHILE_EVENTS {
                    self.snapshots.offer(id, stream);
                }
            }
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    fn come_round(&self) {
        self.rounds.beat();
        telemetry::waiting(self.queue.len(), self.queue.max_capacity());
        telemetry::connected(self.connection.is_some());
        telemetry::cached(self.cache.len());
    }

    /// Looks for the database without a command that would need it: a writer that is not ready is
    /// sent none.
    async fn connect_when_idle(&mut self) {
        if self.connection.is_none() && !self.queue.is_closed() {
            match tokio::time::timeout(IDLE_ROUND, self.connect()).await {
                Ok(Ok(())) => self.ready.store(true, Ordering::Relaxed),
                Ok(Err(error)) => tracing::debug!(%error, "no connection to the log yet"),
                Err(_) => tracing::debug!("no connection to the log in time"),
            }
        }
    }

    /// Decides and commits a batch, whatever it takes; every command gets a reply. `may_grow`:
    /// commands that arrive meanwhile may join it.
    async fn process(&mut self, waiting: &mut Vec<Waiting>, may_grow: bool) {
        let mut tries = 0;
        while !waiting.is_empty() {
            if let Err(error) = self.connected().await {
                tracing::warn!(%error, commands = waiting.len(), "the log cannot be written now");
                return answer_all(waiting, &error.to_string());
            }
            self.come_round();
            let lock_first = Instant::now() < self.lock_first_until;
            let batch = telemetry::batch_span(waiting);
            let attempt = self.attempt(waiting, lock_first, may_grow).instrument(batch.clone());
            let attempt = tokio::time::timeout(COMMIT_PATIENCE, attempt).await;
            match attempt.unwrap_or_else(|_| Err(Failure::Unknown(no_answer()))) {
                Ok(Attempt::Decided(replies)) => {
                    tries = 0;
                    let decided = replies.len();
                    for (waiting, reply) in waiting.drain(..decided).zip(replies) {
                        waiting.span.follows_from(&batch);
                        waiting.reply.send(reply);
                    }
                }
                Ok(Attempt::LostRace) => {
                    tracing::debug!("another writer moved the head");
                    telemetry::lost_race();
                    self.lock_first_until = Instant::now() + LOCK_FIRST;
                }
                Err(Failure::Unknown(error)) => {
                    tries += 1;
                    telemetry::unknown_outcome();
                    tracing::warn!(%error, tries, "the outcome of a commit is unknown; resolving it");
                    self.disconnected();
                    if tries == TRIES_MAX {
                        // Perhaps one command breaks the connection each time.
                        return self.alone(waiting, error).await;
                    }
                }
                Err(Failure::Refused(error)) => {
                    telemetry::refused_batch();
                    self.disconnected();
                    return self.alone(waiting, error).await;
                }
            }
        }
    }

    /// A batch could not be written: its commands are tried alone, so that one does not take the
    /// others with it.
    async fn alone(&mut self, waiting: &mut Vec<Waiting>, error: StoreError) {
        if let StoreError::Clock { .. } | StoreError::LogAhead { .. } = error {
            tracing::error!(%error, "nothing is written until the clocks agree");
            return answer_all(waiting, &error.to_string());
        }
        if let [single] = waiting.as_slice() {
            let (command, correlation_id) = (single.submission.command.name(), &single.submission.correlation_id);
            let subject = &single.submission.actor;
            tracing::error!(%error, command, correlation_id, subject, "a command could not be written");
            return answer_all(waiting, "the command could not be written");
        }
        tracing::error!(%error, commands = waiting.len(), "a batch could not be written; its commands are tried alone");
        while !waiting.is_empty() {
            if let Err(error) = self.connected().await {
                return answer_all(waiting, &error.to_string());
            }
            let single = waiting.remove(0);
            Box::pin(self.process(&mut vec![single], false)).await;
        }
    }

    fn disconnected(&mut self) {
        self.connection = None;
        self.ready.store(false, Ordering::Relaxed);
    }

    /// Makes sure of a connection on a fenced head, waiting a while for the database.
    async fn connected(&mut self) -> Result<(), StoreError> {
        let deadline = Instant::now() + RECONNECT_PATIENCE;
        while self.connection.is_none() {
            let connected = tokio::time::timeout(RECONNECT_PATIENCE, self.connect()).await;
            match connected.unwrap_or_else(|_| Err(no_answer())) {
                Ok(()) => self.ready.store(true, Ordering::Relaxed),
                Err(error) if Instant::now() < deadline && !self.shutdown.is_cancelled() => {
                    tracing::debug!(%error, "no connection to the log yet");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        let mut connection = self.settings.connect.connect().await?;
        check_clock(&mut connection).await?;
        self.clock_checked = Some(Instant::now());
        sqlx::query("SELECT extend_event_partitions()").execute(&mut connection).await?;
        sqlx::query("BEGIN").execute(&mut connection).await?;
        let mut head = lock_head(&mut connection).await?;
        fence_in_tx(&mut connection, &mut head).await?;
        check_key_in_tx(&mut connection, &self.sealing.key_check(&self.settings.tenant)).await?;
        match self.head {
            Some(known) if continues(&mut connection, &known, &head).await? => {
                catch_up(&mut connection, &mut self.cache, known.position, head.position).await?;
            }
            Some(known) => {
                tracing::error!(
                    known = known.position,
                    head = head.position,
                    "the log was put back: it lacks what was written before"
                );
                self.cache.clear();
            }
            None => self.cache.clear(),
        }
        // From here on the cache is as of this head, whether or not the fence commits.
        self.head = Some(head);
        telemetry::head(head.position);
        sqlx::query("COMMIT").execute(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn attempt(
        &mut self,
        waiting: &mut Vec<Waiting>,
        lock_first: bool,
        may_grow: bool,
    ) -> Result<Attempt, Failure> {
        let (Some(connection), Some(head)) = (self.connection.as_mut(), self.head.as_mut()) else {
            return Err(Failure::Unknown(StoreError::Database(sqlx::Error::PoolClosed)));
        };
        if self.clock_checked.is_none_or(|at| at.elapsed() > CLOCK_CHECK_EVERY) {
            check_clock(connection).await?;
            self.clock_checked = Some(Instant::now());
        }
        if lock_first {
            sqlx::query("BEGIN").execute(&mut *connection).await?;
            let newest = lock_head(connection).await?;
            catch_up(connection, &mut self.cache, head.position, newest.position).await?;
            *head = newest;
            // What came while waiting for the lock goes with this batch.
            while may_grow
                && waiting.len() < self.settings.batch_max
                && let Ok(more) = self.queue.try_recv()
            {
                waiting.push(more);
            }
        }
        let began = Instant::now();
        let now: DateTime<Utc> = Utc::now();
        let ahead_ms = (head.recorded_at_us - now.timestamp_micros()) / 1_000;
        if ahead_ms > 2 * CLOCK_ALLOWED_MS {
            // Going on would date everything by that mistake, for ever.
            return Err(StoreError::LogAhead { ahead_ms }.into());
        }
        let recorded_at_us = now.timestamp_micros().max(head.recorded_at_us);
        let recorded_at = DateTime::from_timestamp_micros(recorded_at_us).unwrap_or(now);
        let business_date = recorded_at.with_timezone(&self.settings.time_zone).date_naive();

        let keys = bulk::keys(waiting.iter().map(|w| &w.submission));
        let decided = load::decided(connection, &keys).await?;
        let book = BatchBook::new(&mut self.cache);
        let mut batch = Batch::new(book, decided, head, &self.settings.tenant, recorded_at, business_date);
        decide_all(&mut batch, waiting, connection, &self.sealing).await?;

        if batch.rows.events.is_empty() {
            if lock_first {
                sqlx::query("ROLLBACK").execute(&mut *connection).await?;
            }
            return Ok(Attempt::Decided(batch.replies));
        }
        let after = batch.head_after(head);
        let decided = Instant::now();
        if !append(connection, head, &after, &batch.rows).await? {
            assert!(!lock_first, "nobody moves a head that is locked");
            return Ok(Attempt::LostRace);
        }
        if lock_first {
            sqlx::query("COMMIT").execute(&mut *connection).await?;
        }
        *head = after;
        Committed {
            commands: batch.rows.commands.len(),
            events: batch.rows.events.len(),
            position: after.position,
            decided_in: decided - began,
            committed_in: decided.elapsed(),
        }
        .record();
        let Batch { book, replies, .. } = batch;
        for id in book.commit() {
            offer_snapshot(&mut self.cache, &self.snapshots, id, self.settings.snapshot_every);
        }
        Ok(Attempt::Decided(replies))
    }
}

fn no_answer() -> StoreError {
    StoreError::Database(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}

fn answer_all(waiting: &mut Vec<Waiting>, why: &str) {
    for waiting in waiting.drain(..) {
        waiting.reply.send(Err(SubmitError::Unavailable(why.to_owned())));
    }
}

fn offer_snapshot(cache: &mut Cache, snapshots: &SnapshotSink, id: StreamId, every: u64) {
    if let Some(stream) = cache.get_mut(&id)
        && stream.version >= stream.snapshot_version + every
    {
        stream.snapshot_version = stream.version;
        snapshots.offer(id, stream.clone());
    }
}

/// Decides every command in order, loading what turns out to be missing, for all of them at once.
async fn decide_all(
    batch: &mut Batch<'_>,
    waiting: &[Waiting],
    connection: &mut PgConnection,
    sealing: &Sealing,
) -> Result<(), Failure> {
    let mut missing: Vec<Missing> = waiting.iter().flat_map(|w| w.submission.command.needs()).collect();
    let mut at = 0;
    loop {
        load_missing(batch, &missing, connection, sealing).await?;
        missing.clear();
        while let Some(next) = waiting.get(at) {
            if batch.rows.events.len() >= EVENTS_OF_A_COMMIT {
                return Ok(());
            }
            match batch.decide_next(&next.submission, sealing) {
                Ok(()) => at += 1,
                Err(NotDecided::Missing(what)) => {
                    missing.push(what);
                    break;
                }
                Err(NotDecided::Failed(error)) => return Err(error.into()),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What the others behind it lack would be found one by one: look ahead for pending postings
        // and the like, whose needs show only in their transactions.
        let ahead = waiting[at..].iter().filter_map(|w| batch.lacks(&w.submission.command)).take(1_000);
        missing.extend(ahead.collect::<Vec<_>>());
    }
}

async fn load_missing(
    batch: &mut Batch<'_>,
    missing: &[Missing],
    connection: &mut PgConnection,
    sealing: &Sealing,
) -> Result<(), StoreError> {
    let mut streams: HashSet<StreamId> = HashSet::new();
    let mut reservations: HashSet<Reservation> = HashSet::new();
    for what in missing.iter().filter(|what| !batch.book.has(what)) {
        match what {
            Missing::Stream(id) => {
                streams.insert(*id);
            }
            Missing::Reservation(reservation) => {
                reservations.insert(reservation.clone());
            }
        }
    }
    if !reservations.is_empty() {
        let wanted: Vec<Reservation> = reservations.into_iter().collect();
        let taken = load::reserved(connection, sealing, &wanted).await?;
        for (reservation, taken) in wanted.into_iter().zip(taken) {
            batch.book.set_reserved(reservation, taken);
        }
    }
    if !streams.is_empty() {
        let wanted: Vec<StreamId> = streams.into_iter().collect();
        for (id, stream) in load::streams(connection, &wanted).await? {
            batch.book.loaded(id, stream);
        }
    }
    Ok(())
}

async fn check_clock(connection: &mut PgConnection) -> Result<(), StoreError> {
    let before = Utc::now();
    let row = sqlx::query("SELECT clock_timestamp() AS now").fetch_one(connection).await?;
    let database: DateTime<Utc> = row.try_get("now")?;
    let after = Utc::now();
    // The database's reading lies between ours; only what is outside counts as a difference.
    let difference_ms = if database < before {
        (before - database).num_milliseconds()
    } else if database > after {
        (after - database).num_milliseconds()
    } else {
        0
    };
    if difference_ms.abs() > CLOCK_ALLOWED_MS {
        return Err(StoreError::Clock { difference_ms, allowed_ms: CLOCK_ALLOWED_MS });
    }
    Ok(())
}
