//! The next batch, decided while others are on their way into the log: on the head as it will be once
//! those have committed. One is in flight; when many commands wait, a second one is staged behind it,
//! so that the database has work on two cores and none of it waits for the other's disk. If a batch has
//! not committed, all that was decided on it is decided again, in turn.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::batch::{Batch, Frame, OnTheWay};
use crate::deciding::{self, LookUp, Reads, check_clock, decide_all};
use crate::error::StoreError;
use crate::in_flight::{COMMIT_PATIENCE, Ended, Failure, InFlight, Work, no_answer};
use crate::telemetry;
use crate::writer::{CLOCK_CHECK_EVERY, Waiting, Writer, answer_each};

/// After a key was found that is in the log already, all keys are looked up first for so long:
/// repetitions seldom come alone, and each would cost a commit that writes nothing.
const LOOK_UP_FIRST: Duration = Duration::from_secs(2);

/// A smaller batch is not staged: it costs two more messages than one that waits for its turn.
const STAGED_COMMANDS: usize = 128;
/// A writer that has met another one stages nothing for so long: what both have inserted would often be
/// for nothing.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// The batch that is decided while others are on their way.
pub(crate) struct Next {
    /// Its commands; as many as the batch has replies are decided.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) batch: Batch,
    work: Work,
}

impl Writer {
    /// Decides commands ahead, on what is in flight; where that does not do, one batch after the other.
    pub(crate) async fn take(&mut self, mut incoming: Vec<Waiting>) {
        let is_shared = Instant::now() < self.lock_first_until;
        let is_connected = self.connection.is_some() || self.in_flight.is_some();
        if !is_shared && is_connected {
            match self.decide_ahead(&mut incoming).await {
                Ok(()) => return,
                Err(Failure::KnownKey) => {}
                Err(Failure::Unknown(error) | Failure::Refused(error)) => {
                    tracing::debug!(%error, "a batch could not be decided ahead");
                }
            }
            self.reads = None;
        }
        let mut undecided = self.land().await;
        undecided.append(&mut incoming);
        self.in_turn(undecided).await;
    }

    /// One batch after the other, with all that may be in the way of a commit.
    async fn in_turn(&mut self, mut waiting: Vec<Waiting>) {
        self.process(&mut waiting, true).await;
        self.trim();
    }

    /// Waits for what is on its way, and gives back the commands that have no reply yet. What was
    /// decided ahead is forgotten.
    async fn land(&mut self) -> Vec<Waiting> {
        while let Some(mut in_flight) = self.in_flight.take() {
            let (connection, ended) = in_flight.ended().await;
            self.put_back(connection);
            if !matches!(ended, Ok(true)) {
                return self.given_up(in_flight, ended).await;
            }
            self.measure(&in_flight);
            self.follow();
            self.conclude(in_flight);
        }
        self.next.take().into_iter().flat_map(|next| next.waiting).collect()
    }

    /// What was in flight has not committed: gives back its commands and those decided on it.
    async fn given_up(&mut self, in_flight: InFlight, ended: Result<bool, Failure>) -> Vec<Waiting> {
        let mut undecided = in_flight.waiting;
        // Before anything else is tried: its rows would be in the way.
        if let Some(staged) = self.staged.take() {
            let (connection, waiting) = staged.abandon().await;
            self.put_back(connection);
            undecided.extend(waiting);
        }
        undecided.extend(self.next.take().into_iter().flat_map(|next| next.waiting));
        self.failed(ended);
        undecided
    }

    /// What was in flight has committed: it is the turn of what was staged behind it.
    fn follow(&mut self) {
        self.in_flight = self.staged.take();
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.go();
        }
    }

    fn put_back(&mut self, connection: Option<PgConnection>) {
        if self.connection.is_none() {
            self.connection = connection;
        } else if connection.is_some() {
            self.second = connection;
        }
    }

    async fn decide_ahead(&mut self, incoming: &mut Vec<Waiting>) -> Result<(), Failure> {
        let began = Instant::now();
        let frame = Frame { tenant: &self.settings.tenant, sealing: &self.sealing };
        let mut reads = Reads { connection: &mut self.reads, connect: &self.settings.connect };
        if self.clock_checked.is_none_or(|at| at.elapsed() > CLOCK_CHECK_EVERY) {
            check_clock(reads.get().await?).await?;
            self.clock_checked = Some(Instant::now());
        }
        let on_the_way = OnTheWay([&self.staged, &self.in_flight].map(|it| it.as_ref().map(|it| &it.batch)));
        if self.next.is_none() {
            let head = on_the_way.after().or(self.head);
            let head = head.ok_or(StoreError::Database(sqlx::Error::PoolClosed))?;
            let batch = deciding::begin(&head, self.settings.time_zone)?;
            self.next = Some(Next { waiting: Vec::new(), batch, work: Work { began, decided_in: Duration::ZERO } });
        }
        let Some(next) = self.next.as_mut() else { return Ok(()) };
        next.waiting.append(incoming);
        let look_up = if began < self.look_up_until { LookUp::All } else { LookUp::Requests };
        let deciding =
            decide_all(&mut next.batch, &next.waiting, &mut self.cache, on_the_way, &mut reads, frame, look_up);
        let deciding = tokio::time::timeout(COMMIT_PATIENCE, deciding);
        if deciding.await.unwrap_or_else(|_| Err(Failure::Unknown(no_answer())))? {
            self.look_up_until = began + LOOK_UP_FIRST;
        }
        next.work.decided_in += began.elapsed();
        Ok(())
    }

    /// Whether what was decided ahead can be on its way now.
    pub(crate) fn may_launch(&self) -> bool {
        let Some(next) = &self.next else { return false };
        match (&self.in_flight, &self.staged) {
            (None, _) => true,
            (Some(_), Some(_)) => false,
            (Some(_), None) => {
                (self.connection.is_some() || self.second.is_some())
                    && next.batch.rows.commands.len() >= STAGED_COMMANDS
                    && Instant::now() > self.lock_first_until + ALONE_AFTER
            }
        }
    }

    /// Sends what was decided ahead; what it could not take any more becomes the one after it.
    pub(crate) async fn send_next(&mut self) {
        let rest = self.launch_next();
        if !rest.is_empty() {
            self.take(rest).await;
        }
    }

    /// Sends or stages what was decided ahead, and gives back the commands that it could not take.
    fn launch_next(&mut self) -> Vec<Waiting> {
        let Some(mut next) = self.next.take() else { return Vec::new() };
        let rest = next.waiting.split_off(next.batch.replies.len().min(next.waiting.len()));
        if next.batch.rows.events.is_empty() && self.in_flight.is_none() {
            // Repetitions alone: their outcomes are in the log.
            answer_each(next.waiting, next.batch.replies);
        } else if let Some(connection) = self.connection.take().or_else(|| self.second.take()) {
            let Next { waiting, batch, work } = next;
            if self.in_flight.is_some() {
                self.staged = Some(InFlight::stage(connection, waiting, batch, work));
            } else {
                self.in_flight = Some(InFlight::send(connection, waiting, batch, work));
            }
        } else {
            next.waiting.extend(rest);
            return next.waiting;
        }
        rest
    }

    /// What was in flight has ended.
    pub(crate) async fn settle(&mut self, (connection, ended): Ended) {
        let Some(in_flight) = self.in_flight.take() else { return };
        self.put_back(connection);
        if !matches!(ended, Ok(true)) {
            let undecided = self.given_up(in_flight, ended).await;
            return self.in_turn(undecided).await;
        }
        self.measure(&in_flight);
        // The database goes on with the next ones while the clients of this one are told.
        self.follow();
        let rest = if self.may_launch() { self.launch_next() } else { Vec::new() };
        if self.in_flight.is_some() {
            tokio::task::yield_now().await;
        }
        self.conclude(in_flight);
        self.trim();
        if !rest.is_empty() {
            self.take(rest).await;
        }
    }

    /// It has committed just now.
    fn measure(&mut self, in_flight: &InFlight) {
        in_flight.record(&self.pace, self.settled_at);
        self.settled_at = Some(Instant::now());
    }

    /// It has committed: it becomes the head, and is answered.
    fn conclude(&mut self, in_flight: InFlight) {
        let InFlight { waiting, batch, span, .. } = in_flight;
        for waiting in &waiting {
            waiting.span.follows_from(&span);
        }
        answer_each(waiting, self.committed(batch));
    }

    /// It has not committed, or nobody knows.
    fn failed(&mut self, ended: Result<bool, Failure>) {
        match ended {
            Ok(_) => self.lost_race(),
            Err(Failure::KnownKey) => self.look_up_until = Instant::now() + LOOK_UP_FIRST,
            Err(Failure::Unknown(error)) => {
                telemetry::unknown_outcome();
                tracing::warn!(%error, "the outcome of a commit is unknown; resolving it");
                self.disconnected();
            }
            Err(Failure::Refused(error)) => {
                telemetry::refused_batch();
                tracing::warn!(%error, "a batch was refused; it is tried once more");
                self.disconnected();
            }
        }
    }
}

/// Waits for what is in flight; for ever when nothing is.
pub(crate) async fn ended(in_flight: &mut Option<InFlight>) -> Ended {
    match in_flight {
        Some(in_flight) => in_flight.ended().await,
        None => std::future::pending().await,
    }
}
