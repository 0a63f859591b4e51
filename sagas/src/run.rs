//! The runner: feeds the table of work from the log, takes what is due, and steps each saga until it
//! waits, ends, or has had its time. Any number of runners share the work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use chrono_tz::Tz;
use domain::rejection::Rejection;
use domain::saga::{Process, SagaCommand, SagaStatus, Transition};
use domain::{Command, Saga};
use event_store::{NOTIFY_CHANNEL, Outcome, Rejected, Store};
use platform::backoff::Backoff;
use platform::metrics::{
    SAGA_LAG_EVENTS, SAGA_STEP_DURATION, SAGA_STEPS, SAGA_TIMERS_OLDEST, SAGA_TIMERS_OVERDUE, SAGAS, gauge_value,
};
use platform::pulse::Pulse;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::door::{self, WorkError};
use crate::feed::{self, Fed};
use crate::payments::PaymentPort;
use crate::steps::{self, STEP_TIMEOUT, Tools, Tried, Turn};
use crate::work::{self, Leased};

/// How many sagas one runner steps at once.
const SAGAS_AT_ONCE: usize = 64;
/// A saga is given back after so long, so that the others have their turn.
const TURN_MAX: Duration = Duration::from_secs(45);
/// How often the log and the table of work are looked at when nothing says that there is news.
const POLL: Duration = Duration::from_secs(1);
/// How long one that lost the feed to another runner waits before it asks again.
const FEED_ELSEWHERE: Duration = Duration::from_secs(2);
/// How often the log is looked at, at most.
const FEED_SPACING: Duration = Duration::from_millis(20);
/// How often the gauges are set.
const GAUGES: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What a runner needs.
#[derive(Clone)]
pub struct Runner {
    store: Store,
    port: Arc<dyn PaymentPort>,
    time_zone: Tz,
    id: Uuid,
    /// Something may have become due.
    news: Arc<Notify>,
    /// The log has grown.
    grown: Arc<Notify>,
    /// The sagas that have their turn now.
    at_work: Arc<Turns>,
    pulse: Pulse,
}

/// The sagas that a runner steps now.
type Turns = Mutex<HashSet<Uuid>>;

fn lock(turns: &Turns) -> MutexGuard<'_, HashSet<Uuid>> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the saga's lease is renewed.
struct AtWork {
    turns: Arc<Turns>,
    saga_id: Uuid,
}

impl AtWork {
    /// None when the saga has its turn already.
    fn enter(turns: &Arc<Turns>, saga_id: Uuid) -> Option<Self> {
        lock(turns).insert(saga_id).then(|| Self { turns: turns.clone(), saga_id })
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        lock(&self.turns).remove(&self.saga_id);
    }
}

impl Runner {
    /// A runner that sends its commands through that door and its payments through that port.
    pub fn new(store: Store, port: Arc<dyn PaymentPort>, time_zone: Tz) -> Self {
        Self {
            store,
            port,
            time_zone,
            id: Uuid::now_v7(),
            news: Arc::default(),
            grown: Arc::default(),
            at_work: Arc::default(),
            pulse: Pulse::new(),
        }
    }

    /// For how long the loop has not come round.
    pub fn silence(&self) -> Duration {
        self.pulse.silence()
    }

    /// Runs until the token is cancelled; then the sagas at work finish their present step. Failures
    /// are logged and tried again.
    pub async fn run(&self, shutdown: CancellationToken) {
        let feeding = self.feed(shutdown.clone());
        let listening = until(&shutdown, self.listen());
        let gauging = until(&shutdown, self.gauges());
        let finished = CancellationToken::new();
        // Sagas at work are this runner's until the last of them has finished its step.
        let renewing = until(&finished, self.renew());
        let working = async {
            self.work(shutdown.clone()).await;
            finished.cancel();
        };
        tokio::join!(feeding, listening, gauging, renewing, working);
    }

    fn pool(&self) -> &PgPool {
        self.store.reader().pool()
    }

    async fn feed(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), BACKOFF_MAX);
        let mut memory = feed::Memory::default();
        while !shutdown.is_cancelled() {
            let wait = match feed::pass(&self.store, self.pool(), &mut memory).await {
                Ok(Fed::Elsewhere) => FEED_ELSEWHERE,
                Ok(Fed::Behind { events, noted }) => {
                    backoff.reset();
                    metrics::gauge!(SAGA_LAG_EVENTS).set(gauge_value(events));
                    if noted {
                        self.news.notify_one();
                    }
                    if events > 0 { Duration::ZERO } else { POLL }
                }
                Err(error) => {
                    tracing::warn!(%error, "the log was not followed; trying again");
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.grown.notified(), if wait == POLL => {}
                () = tokio::time::sleep(wait) => {}
            }
            // Many small commits share a pass.
            tokio::time::sleep(FEED_SPACING).await;
        }
    }

    async fn listen(&self) {
        loop {
            let heard = async {
                let mut listener = PgListener::connect_with(self.pool()).await?;
                listener.listen(NOTIFY_CHANNEL).await?;
                loop {
                    listener.recv().await?;
                    self.grown.notify_one();
                }
            };
            let lost: Result<(), sqlx::Error> = heard.await;
            if let Err(error) = lost {
                tracing::debug!(%error, "no notifications for now");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn renew(&self) {
        loop {
            tokio::time::sleep(work::RENEWAL).await;
            let at_work: Vec<Uuid> = lock(&self.at_work).iter().copied().collect();
            if let Err(error) = work::renew(self.pool(), self.id, &at_work).await {
                // They run out, and another runner takes what this one has: that is safe.
                tracing::warn!(%error, "leases were not renewed");
            }
        }
    }

    async fn work(&self, shutdown: CancellationToken) {
        let mut at_work = JoinSet::new();
        let mut backoff = Backoff::new(Duration::from_millis(200), BACKOFF_MAX);
        while !shutdown.is_cancelled() {
            self.pulse.beat();
            let wait = match self.take(&mut at_work, &shutdown).await {
                Ok(wait) => {
                    backoff.reset();
                    wait
                }
                Err(error) => {
                    tracing::warn!(%error, "no work was taken; trying again");
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(_) = at_work.join_next(), if !at_work.is_empty() => {}
                () = self.news.notified() => {}
                () = tokio::time::sleep(wait.min(POLL)) => {}
            }
        }
        // Each looks at the token after its present step.
        while at_work.join_next().await.is_some() {}
    }

    /// Takes what is due and starts on it; returns until when nothing else will be.
    async fn take(&self, at_work: &mut JoinSet<()>, shutdown: &CancellationToken) -> Result<Duration, sqlx::Error> {
        while at_work.try_join_next().is_some() {}
        let free = SAGAS_AT_ONCE.saturating_sub(at_work.len());
        if free == 0 {
            return Ok(POLL);
        }
        let taken = work::take(self.pool(), self.id, free).await?;
        let full = taken.len() == free;
        for leased in taken {
            // One that ran out here can be taken here again: the turn that has it goes on with it.
            if let Some(place) = AtWork::enter(&self.at_work, leased.saga_id.0) {
                let (runner, shutdown) = (self.clone(), shutdown.clone());
                at_work.spawn(async move { runner.turn(leased, place, shutdown).await });
            }
        }
        if full {
            return Ok(POLL);
        }
        Ok(work::next_due_in(self.pool()).await?.unwrap_or(POLL).max(Duration::from_millis(20)))
    }

    /// One saga's turn, and back with it.
    async fn turn(&self, leased: Leased, place: AtWork, shutdown: CancellationToken) {
        let span = crate::trace::turn(&self.store, leased.saga_id).await;
        let stepped = self.step_until_it_waits(leased, &shutdown).instrument(span).await;
        // First, or it could be taken again by us and be thought to have its turn still.
        drop(place);
        let given_back = match &stepped {
            Ok((saga, at)) => work::give_back(self.pool(), self.id, leased, saga, *at).await,
            Err(error) => {
                let (saga_id, failures) = (leased.saga_id, leased.failures + 1);
                tracing::warn!(%saga_id, %error, failures, "a saga could not be stepped; it is tried again later");
                work::give_back_failed(self.pool(), self.id, leased, &error.to_string()).await
            }
        };
        if let Err(error) = given_back {
            // Its lease runs out, and somebody takes it then.
            tracing::warn!(saga_id = %leased.saga_id, %error, "a saga was not given back");
        }
    }

    async fn step_until_it_waits(
        &self,
        leased: Leased,
        shutdown: &CancellationToken,
    ) -> Result<(Saga, Option<chrono::DateTime<Utc>>), WorkError> {
        let (saga_id, began) = (leased.saga_id, Instant::now());
        // The try of which this runner has just written down that its order may go out.
        let mut announced = None;
        loop {
            let saga = door::saga(&self.store, saga_id).await?;
            let rests = saga.status.has_ended() || saga.status == SagaStatus::Parked;
            // What the database's clock found to be due is due, whatever this machine's says.
            let waits = saga.wake_at.is_some_and(|at| at > leased.due_at && at > Utc::now());
            if rests || waits || shutdown.is_cancelled() || began.elapsed() > TURN_MAX {
                return Ok((saga, None));
            }
            let announced_now = announced == Some((saga.entry, saga.attempts));
            let turn = Turn { saga_id, saga: &saga, announced: announced_now };
            match self.step(&turn).await? {
                Tried::Wait(at) => return Ok((saga, Some(at))),
                Tried::Became(transition) => {
                    let announces = steps::is_announcement(&transition);
                    let written = self.write_down(&turn, transition).await?;
                    announced = (announces && written).then_some((saga.entry, turn.attempt()));
                }
            }
        }
    }

    async fn step(&self, turn: &Turn<'_>) -> Result<Tried, WorkError> {
        let tools = Tools { store: &self.store, port: self.port.as_ref(), time_zone: self.time_zone };
        let (saga, began) = (turn.saga, Instant::now());
        let tried = tokio::time::timeout(STEP_TIMEOUT, steps::take(&tools, turn))
            .await
            .unwrap_or_else(|_| Err(WorkError::Inconsistent(format!("step {} took too long", saga.step.name()))))?;
        if matches!(&tried, Tried::Became(transition) if steps::is_announcement(transition)) {
            return Ok(tried);
        }
        let kind = saga.process.as_ref().map_or("", Process::name);
        metrics::histogram!(SAGA_STEP_DURATION, "kind" => kind, "step" => saga.step.name()).record(began.elapsed());
        metrics::counter!(SAGA_STEPS, "kind" => kind, "step" => saga.step.name(), "outcome" => outcome(&tried))
            .increment(1);
        Ok(tried)
    }

    /// Whether it is this runner that wrote it down, and not another one or an earlier try.
    async fn write_down(&self, turn: &Turn<'_>, transition: Transition) -> Result<bool, WorkError> {
        let (saga_id, step, attempt) = (turn.saga_id, turn.saga.step, turn.attempt());
        tracing::debug!(%saga_id, step = step.name(), attempt, ?transition, "stepped");
        let advance = SagaCommand::AdvanceSaga { saga_id, step, attempt, transition };
        let reply = door::ask(&self.store, saga_id, &turn.key("advance"), Command::Saga(advance), None).await?;
        match reply.outcome {
            Outcome::Accepted(_) => Ok(!reply.replayed),
            // Another runner or a person came first: the next look tells.
            Outcome::Rejected(Rejected { rejection, .. }) => match rejection {
                Rejection::SagaStepOutOfTurn { .. } | Rejection::SagaEnded { .. } => {
                    tracing::info!(%saga_id, %rejection, "the saga has moved on meanwhile");
                    Ok(false)
                }
                rejection => Err(WorkError::Inconsistent(format!("step {} of {saga_id}: {rejection}", step.name()))),
            },
        }
    }

    async fn gauges(&self) {
        let mut known: Vec<(String, String)> = Vec::new();
        loop {
            if let Err(error) = self.set_gauges(&mut known).await {
                tracing::debug!(%error, "the gauges of sagas were not set");
            }
            tokio::time::sleep(GAUGES).await;
        }
    }

    async fn set_gauges(&self, known: &mut Vec<(String, String)>) -> Result<(), sqlx::Error> {
        let counts = work::counts(self.pool()).await?;
        for (kind, state) in known.iter() {
            metrics::gauge!(SAGAS, "kind" => kind.clone(), "state" => state.clone()).set(0.0);
        }
        for (kind, state, count) in counts {
            let count = u64::try_from(count).unwrap_or(0);
            metrics::gauge!(SAGAS, "kind" => kind.clone(), "state" => state.clone()).set(gauge_value(count));
            if !known.contains(&(kind.clone(), state.clone())) {
                known.push((kind, state));
            }
        }
        let overdue = work::overdue(self.pool()).await?;
        for kind in ["disbursement", "incoming_payment", "collection"] {
            let late = overdue.iter().find(|late| late.process == kind);
            let (count, oldest) = late.map_or((0, 0), |late| (late.count, late.oldest_seconds));
            let (count, oldest) = (u64::try_from(count).unwrap_or(0), u64::try_from(oldest).unwrap_or(0));
            metrics::gauge!(SAGA_TIMERS_OVERDUE, "kind" => kind).set(gauge_value(count));
            metrics::gauge!(SAGA_TIMERS_OLDEST, "kind" => kind).set(gauge_value(oldest));
        }
        Ok(())
    }
}

const fn outcome(tried: &Tried) -> &'static str {
    match tried {
        Tried::Wait(_) => "wait",
        Tried::Became(Transition::Succeeded { .. } | Transition::Finished { .. }) => "done",
        Tried::Became(Transition::Failed { .. }) => "retry",
        Tried::Became(Transition::Unknown { .. }) => "unknown",
        Tried::Became(Transition::Refused { .. }) => "refused",
        Tried::Became(Transition::Stuck { .. }) => "failed",
    }
}

async fn until(shutdown: &CancellationToken, part: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = part => {}
    }
}
