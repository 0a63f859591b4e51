//! The writer: takes all commands that wait, decides them in order on the state at the head, and
//! commits them in one statement. No lingering: while one batch commits, the next one gathers, and with
//! many commands in it is inserted already (`ahead`).
//!
//! - Another writer has moved the head: nothing was written; the head is locked, its events are
//!   folded in, and the batch is decided again. For a while the lock is then taken first.
//! - The outcome of a commit is unknown: on a new connection the head is locked and its batch
//!   number moved on, so that the old statement can no longer succeed; then the batch is decided
//!   again, and each command that had committed finds its own reply.
//! - No reply leaves before its batch has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::StreamId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::ahead::{Next, ended};
use crate::append::{catch_up, check_key_in_tx, continues, fence_in_tx, lock_head};
use crate::batch::{Batch, Frame, OnTheWay};
use crate::bulk::ReplyTo;
use crate::deciding::{self, LookUp, Reads, check_clock, decide_all};
use crate::error::{StoreError, SubmitError};
use crate::in_flight::{COMMIT_PATIENCE, Failure, InFlight, no_answer};
use crate::pace::Pace;
use crate::reader::Head;
use crate::sealing::Sealing;
use crate::snapshots::{self, SnapshotSink, WORTHWHILE_AT_END, WORTHWHILE_EVENTS};
use crate::streams::Cache;
use crate::submission::{Reply, Submission};
use crate::telemetry::{self, Committed, Rounds};

/// After a lost race the lock is taken first for so long: two writers then share fairly.
const LOCK_FIRST: Duration = Duration::from_millis(200);
/// How long a batch waits for a database that does not answer before its clients are told.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const CLOCK_CHECK_EVERY: Duration = Duration::from_secs(5);
/// An idle writer comes round so often: to show that it lives, and to connect again.
const IDLE_ROUND: Duration = Duration::from_secs(1);
/// For so long an orderly end may write snapshots; the process is given longer to end.
const SNAPSHOTS_AT_END: Duration = Duration::from_secs(10);
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
    /// That which appends; away while it is in use.
    pub(crate) connection: Option<PgConnection>,
    /// Another one, to stage a batch while one is in flight; away while it is in use. Without it nothing is
    /// staged.
    pub(crate) second: Option<PgConnection>,
    /// Looks things up while a batch is in flight.
    pub(crate) reads: Option<PgConnection>,
    pub(crate) in_flight: Option<InFlight>,
    /// Behind what is in flight.
    pub(crate) staged: Option<InFlight>,
    pub(crate) next: Option<Next>,
    /// That of the log, without what is in flight.
    pub(crate) head: Option<Head>,
    pub(crate) look_up_until: Instant,
    pub(crate) lock_first_until: Instant,
    pub(crate) clock_checked: Option<Instant>,
    pub(crate) rounds: Rounds,
    pub(crate) pace: Pace,
    /// When the last batch that was decided ahead had committed.
    pub(crate) settled_at: Option<Instant>,
}

enum Attempt {
    Decided(Vec<Result<Reply, SubmitError>>),
    /// Another writer was there first.
    LostRace,
}

impl Writer {
    /// Runs until every sender is gone, or shutdown is asked and the queue is empty.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.connected().await {
            tracing::warn!(%error, "the log cannot be written yet");
        }
        let mut incoming = Vec::new();
        let mut is_over = false;
        while !is_over || self.in_flight.is_some() || self.next.is_some() {
            self.come_round();
            if self.may_launch() {
                self.send_next().await;
                continue;
            }
            let room = if is_over { 0 } else { self.room() };
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                ended = ended(&mut self.in_flight) => self.settle(ended).await,
                received = self.queue.recv_many(&mut incoming, room), if room > 0 => {
                    is_over = received == 0;
                    if !is_over {
                        self.take(std::mem::take(&mut incoming)).await;
                    }
                }
                () = tokio::time::sleep(IDLE_ROUND) => self.connect_when_idle().await,
            }
        }
        if let Some(connection) = &mut self.connection {
            let streams = self.cache.ahead_of_snapshots(WORTHWHILE_AT_END);
            snapshots::write_all(connection, &streams, SNAPSHOTS_AT_END).await;
        }
        self.snapshots.end(IDLE_ROUND).await;
        for connection in [self.connection.take(), self.second.take(), self.reads.take()].into_iter().flatten() {
            let _ = tokio::time::timeout(IDLE_ROUND, connection.close()).await;
        }
    }

    /// How many more commands the next batch takes; none while it has some that it could not take.
    fn room(&self) -> usize {
        match &self.next {
            Some(next) if next.waiting.len() > next.batch.replies.len() => 0,
            Some(next) => self.settings.batch_max.saturating_sub(next.waiting.len()),
            None => self.settings.batch_max,
        }
    }

    fn come_round(&self) {
        self.rounds.beat();
        telemetry::waiting(self.queue.len(), self.queue.max_capacity());
        telemetry::connected(self.connection.is_some() || self.in_flight.is_some());
        telemetry::cached(self.cache.len());
    }

    pub(crate) fn lost_race(&mut self) {
        tracing::debug!("another writer moved the head");
        telemetry::lost_race();
        self.lock_first_until = Instant::now() + LOCK_FIRST;
    }

    pub(crate) fn trim(&mut self) {
        for (id, stream) in self.cache.trim() {
            if stream.version >= stream.snapshot_version + WORTHWHILE_EVENTS {
                self.snapshots.offer(id, stream);
            }
        }
    }

    /// Looks for the database without a command that would need it: a writer that is not ready is
    /// sent none.
    async fn connect_when_idle(&mut self) {
        if self.connection.is_none() && self.in_flight.is_none() && !self.queue.is_closed() {
            match tokio::time::timeout(IDLE_ROUND, self.connect()).await {
                Ok(Ok(())) => self.ready.store(true, Ordering::Relaxed),
                Ok(Err(error)) => tracing::debug!(%error, "no connection to the log yet"),
                Err(_) => tracing::debug!("no connection to the log in time"),
            }
        }
    }

    /// Decides and commits a batch, whatever it takes; every command gets a reply. `may_grow`:
    /// commands that arrive meanwhile may join it.
    pub(crate) async fn process(&mut self, waiting: &mut Vec<Waiting>, may_grow: bool) {
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
                Ok(Attempt::LostRace) => self.lost_race(),
                Err(Failure::KnownKey) => {
                    // They were looked up: only another writer can have brought it since.
                    self.disconnected();
                    self.lost_race();
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

    pub(crate) fn disconnected(&mut self) {
        (self.connection, self.second) = (None, None);
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
        self.second = self.connect_second().await;
        Ok(())
    }

    /// The log can be written without it.
    async fn connect_second(&self) -> Option<PgConnection> {
        let connect = self.settings.connect.clone().application_name("daybook-writer-second");
        match tokio::time::timeout(IDLE_ROUND, connect.connect()).await {
            Ok(Ok(connection)) => Some(connection),
            Ok(Err(error)) => {
                tracing::warn!(%error, "no second connection to the log: one batch at a time is written");
                None
            }
            Err(_) => None,
        }
    }

    /// Decides a batch and commits it. The connection is lost with whatever goes wrong.
    async fn attempt(
        &mut self,
        waiting: &mut Vec<Waiting>,
        lock_first: bool,
        may_grow: bool,
    ) -> Result<Attempt, Failure> {
        let (Some(mut connection), Some(mut head)) = (self.connection.take(), self.head) else {
            return Err(Failure::Unknown(StoreError::Database(sqlx::Error::PoolClosed)));
        };
        if self.clock_checked.is_none_or(|at| at.elapsed() > CLOCK_CHECK_EVERY) {
            check_clock(&mut connection).await?;
            self.clock_checked = Some(Instant::now());
        }
        if lock_first {
            sqlx::query("BEGIN").execute(&mut connection).await?;
            let newest = lock_head(&mut connection).await?;
            catch_up(&mut connection, &mut self.cache, head.position, newest.position).await?;
            (head, self.head) = (newest, Some(newest));
            // What came while waiting for the lock goes with this batch.
            while may_grow
                && waiting.len() < self.settings.batch_max
                && let Ok(more) = self.queue.try_recv()
            {
                waiting.push(more);
            }
        }
        let began = Instant::now();
        let mut batch = deciding::begin(&head, self.settings.time_zone)?;
        let frame = Frame { tenant: &self.settings.tenant, sealing: &self.sealing };
        let mut connection = Some(connection);
        let mut reads = Reads { connection: &mut connection, connect: &self.settings.connect };
        decide_all(&mut batch, waiting, &mut self.cache, OnTheWay::default(), &mut reads, frame, LookUp::All).await?;
        let Some(mut connection) = connection else {
            return Err(Failure::Unknown(StoreError::Database(sqlx::Error::PoolClosed)));
        };

        if batch.rows.events.is_empty() {
            if lock_first {
                sqlx::query("ROLLBACK").execute(&mut connection).await?;
            }
            self.connection = Some(connection);
            return Ok(Attempt::Decided(batch.replies));
        }
        let after = batch.after();
        let decided = Instant::now();
        if !batch.append().send(&mut connection).await? {
            assert!(!lock_first, "nobody moves a head that is locked");
            self.connection = Some(connection);
            return Ok(Attempt::LostRace);
        }
        if lock_first {
            sqlx::query("COMMIT").execute(&mut connection).await?;
        }
        self.connection = Some(connection);
        Committed {
            commands: batch.rows.commands.len(),
            events: batch.rows.events.len(),
            position: after.position,
            decided_in: decided - began,
            committed_in: decided.elapsed(),
        }
        .record();
        Ok(Attempt::Decided(self.committed(batch)))
    }

    /// A batch has committed: what it changed is the head now. Gives its replies.
    pub(crate) fn committed(&mut self, batch: Batch) -> Vec<Result<Reply, SubmitError>> {
        self.head = Some(batch.after());
        for id in batch.overlay.commit(&mut self.cache) {
            offer_snapshot(&mut self.cache, &self.snapshots, id, self.settings.snapshot_every);
        }
        batch.replies
    }
}

pub(crate) fn answer_each(waiting: Vec<Waiting>, replies: Vec<Result<Reply, SubmitError>>) {
    for (waiting, reply) in waiting.into_iter().zip(replies) {
        waiting.reply.send(reply);
    }
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
