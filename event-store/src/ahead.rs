//! The next batch, decided while one commits: on the head as it will be once that has committed. If it
//! has not, both are decided again, in turn.

use std::time::{Duration, Instant};

use crate::batch::{Batch, Frame};
use crate::deciding::{self, LookUp, Reads, check_clock, decide_all};
use crate::error::StoreError;
use crate::in_flight::{COMMIT_PATIENCE, Ended, Failure, InFlight, Work, no_answer};
use crate::telemetry;
use crate::writer::{CLOCK_CHECK_EVERY, Waiting, Writer, answer_each};

/// After a key was found that is in the log already, all keys are looked up first for so long:
/// repetitions seldom come alone, and each would cost a commit that writes nothing.
const LOOK_UP_FIRST: Duration = Duration::from_secs(2);

/// The batch that is decided while another one is in flight.
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

    /// Waits for what is in flight, and gives back the commands that have no reply yet. What was
    /// decided ahead is forgotten.
    async fn land(&mut self) -> Vec<Waiting> {
        let mut undecided = Vec::new();
        if let Some(mut in_flight) = self.in_flight.take() {
            let (connection, ended) = in_flight.ended().await;
            self.connection = connection;
            if matches!(ended, Ok(true)) {
                self.measure(&in_flight);
                self.conclude(in_flight);
            } else {
                self.failed(ended);
                undecided = in_flight.waiting;
            }
        }
        undecided.extend(self.next.take().into_iter().flat_map(|next| next.waiting));
        undecided
    }

    async fn decide_ahead(&mut self, incoming: &mut Vec<Waiting>) -> Result<(), Failure> {
        let began = Instant::now();
        let frame = Frame { tenant: &self.settings.tenant, sealing: &self.sealing };
        let mut reads = Reads { connection: &mut self.reads, connect: &self.settings.connect };
        if self.clock_checked.is_none_or(|at| at.elapsed() > CLOCK_CHECK_EVERY) {
            check_clock(reads.get().await?).await?;
            self.clock_checked = Some(Instant::now());
        }
        let in_flight = self.in_flight.as_ref().map(|in_flight| &in_flight.batch);
        if self.next.is_none() {
            let head = in_flight.map(Batch::after).or(self.head);
            let head = head.ok_or(StoreError::Database(sqlx::Error::PoolClosed))?;
            let batch = deciding::begin(&head, self.settings.time_zone)?;
            self.next = Some(Next { waiting: Vec::new(), batch, work: Work { began, decided_in: Duration::ZERO } });
        }
        let Some(next) = self.next.as_mut() else { return Ok(()) };
        next.waiting.append(incoming);
        let look_up = if began < self.look_up_until { LookUp::All } else { LookUp::Requests };
        let deciding =
            decide_all(&mut next.batch, &next.waiting, &mut self.cache, in_flight, &mut reads, frame, look_up);
        let deciding = tokio::time::timeout(COMMIT_PATIENCE, deciding);
        if deciding.await.unwrap_or_else(|_| Err(Failure::Unknown(no_answer())))? {
            self.look_up_until = began + LOOK_UP_FIRST;
        }
        next.work.decided_in += began.elapsed();
        Ok(())
    }

    /// Sends what was decided ahead; what it could not take any more becomes the one after it.
    pub(crate) async fn send_next(&mut self) {
        let rest = self.launch_next();
        if !rest.is_empty() {
            self.take(rest).await;
        }
    }

    /// Sends what was decided ahead, and gives back the commands that it could not take.
    fn launch_next(&mut self) -> Vec<Waiting> {
        let Some(mut next) = self.next.take() else { return Vec::new() };
        let rest = next.waiting.split_off(next.batch.replies.len().min(next.waiting.len()));
        if next.batch.rows.events.is_empty() {
            // Repetitions alone: their outcomes are in the log.
            answer_each(next.waiting, next.batch.replies);
        } else if let Some(connection) = self.connection.take() {
            self.in_flight = Some(InFlight::send(connection, next.waiting, next.batch, next.work));
        } else {
            next.waiting.extend(rest);
            return next.waiting;
        }
        rest
    }

    /// What was in flight has ended.
    pub(crate) async fn settle(&mut self, (connection, ended): Ended) {
        let Some(in_flight) = self.in_flight.take() else { return };
        self.connection = connection;
        if !matches!(ended, Ok(true)) {
            self.failed(ended);
            // What was decided on it is decided again.
            let next = self.next.take().into_iter().flat_map(|next| next.waiting);
            let undecided = in_flight.waiting.into_iter().chain(next).collect();
            return self.in_turn(undecided).await;
        }
        self.measure(&in_flight);
        // The database goes on with the next one while the clients of this one are told.
        let rest = self.launch_next();
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
