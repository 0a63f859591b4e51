//! "At least this position": a read waits until the read models have it, or says that they have not.
//!
//! Invariants: position and data come from one snapshot, so no answer is older than it says; nobody
//! waits with a connection in hand; what wakes the waiting may be late or lost, since the position
//! is polled as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use event_store::LogReader;
use platform::Problem;
use platform::backoff::Backoff;
use platform::postgres::is_connection_lost;
use sqlx::postgres::{PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::parameters::Freshness;
use crate::reply::{Failure, Result};

/// The projection whose read models are served.
pub(crate) const PROJECTION: &str = "core";
/// The applied position, to be selected by a statement whose parameter 1 is the projection: what the function
/// `applied_position` says, without the call, which plans anew each time.
pub(crate) const POSITION: &str = "(SELECT COALESCE(min(watermark), 0) FROM projection_progress WHERE projection = $1)";
/// The channel on which projectors announce what they have applied.
pub const NOTIFY_CHANNEL: &str = "daybook_views";

/// How often the position is looked at while somebody waits: beside notifications, and without them.
const POLL: Duration = Duration::from_millis(200);
const POLL_WITHOUT_NOTIFICATIONS: Duration = Duration::from_millis(50);
/// How often the log's head is looked at while somebody waits for it.
const POLL_HEAD: Duration = Duration::from_millis(50);
/// How long connecting for notifications pauses after a failure: at first, and at most.
const LISTEN_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A read-only view of the read models at one moment, with the position that they had applied.
#[derive(Debug)]
pub(crate) struct Snapshot {
    transaction: Transaction<'static, Postgres>,
    /// Every event up to this position is in the data.
    pub(crate) position: u64,
}

impl Snapshot {
    /// Begins on another connection where the pool's was lost while nobody used it: all of them are
    /// after a restart of the database.
    async fn begin(views: &PgPool) -> Result<Self> {
        for _ in 0..views.size() {
            match Self::try_begin(views).await {
                Err(error) if is_connection_lost(&error) && !matches!(error, sqlx::Error::PoolTimedOut) => {
                    tracing::debug!(%error, "a connection was lost; another is taken");
                }
                begun => return Ok(begun?),
            }
        }
        Ok(Self::try_begin(views).await?)
    }

    async fn try_begin(views: &PgPool) -> std::result::Result<Self, sqlx::Error> {
        let mut transaction = views.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let position = applied_position(&mut *transaction).await?;
        Ok(Self { transaction, position })
    }

    /// The connection to read on.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// The position as the database has it.
    pub(crate) fn position_bound(&self) -> i64 {
        i64::try_from(self.position).unwrap_or(i64::MAX)
    }
}

/// Lets reads through once their position is there. Cheap to clone; one listener a process.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    views: PgPool,
    applied: watch::Receiver<u64>,
    arrived: Arc<Notify>,
    _watching: Arc<AbortOnDrop>,
}

impl Gate {
    /// Starts listening; to be called inside a Tokio runtime.
    pub(crate) fn start(views: PgPool) -> Self {
        let (sender, applied) = watch::channel(0);
        let arrived = Arc::new(Notify::new());
        let watching = tokio::spawn(watch_positions(views.clone(), sender, Arc::clone(&arrived)));
        Self { views, applied, arrived, _watching: Arc::new(AbortOnDrop(watching)) }
    }

    /// The pool of the read models.
    pub(crate) fn views(&self) -> &PgPool {
        &self.views
    }

    /// A snapshot with at least the position that is asked for; 503 `not_yet_at_position` when it
    /// is not there in time. A position beyond the log's head counts as not there yet: its commit
    /// may be on its way.
    pub(crate) async fn snapshot(&self, freshness: Freshness) -> Result<Snapshot> {
        self.at_least(freshness, || Snapshot::begin(&self.views), |snapshot| snapshot.position).await
    }

    /// The same of whatever is read with its position: it is read again until that is reached.
    pub(crate) async fn at_least<T, F: Future<Output = Result<T>>>(
        &self,
        freshness: Freshness,
        read: impl Fn() -> F,
        position_of: impl Fn(&T) -> u64,
    ) -> Result<T> {
        let deadline = Instant::now() + Duration::from_millis(freshness.wait_ms);
        let mut applied = self.applied.clone();
        loop {
            // Seen before the snapshot is made: whatever is applied after it wakes this read again.
            applied.mark_unchanged();
            let found = read().await?;
            let position = position_of(&found);
            if position >= freshness.min_position {
                return Ok(found);
            }
            // Nobody waits with a connection in hand.
            drop(found);
            if timeout_at(deadline, self.reach(&mut applied, freshness.min_position)).await.is_err() {
                let position = position.max(*applied.borrow());
                return Err(not_yet("the read models are", position, freshness.min_position));
            }
        }
    }

    async fn reach(&self, applied: &mut watch::Receiver<u64>, position: u64) {
        loop {
            self.arrived.notify_one();
            if applied.changed().await.is_err() {
                // The listener is gone, which only a stopping process sees; the deadline ends it.
                return std::future::pending().await;
            }
            if *applied.borrow_and_update() >= position {
                return;
            }
        }
    }

    /// The head of the log, once it is at least at the position that is asked for.
    pub(crate) async fn head_at_least(&self, log: &LogReader, freshness: Freshness) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_millis(freshness.wait_ms);
        loop {
            let head = log.head().await?.position;
            if head >= freshness.min_position {
                return Ok(head);
            }
            if Instant::now() >= deadline {
                return Err(not_yet("the log is", head, freshness.min_position));
            }
            sleep(POLL_HEAD).await;
        }
    }
}

fn not_yet(what: &str, position: u64, wanted: u64) -> Failure {
    let detail = format!("{what} at position {position}, and {wanted} was asked for; try again");
    Failure::at(Problem::unavailable("not_yet_at_position", detail), position)
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the listener and what it wakes, until the gate is dropped.
async fn watch_positions(views: PgPool, applied: watch::Sender<u64>, arrived: Arc<Notify>) {
    let (heard, listening) = (Notify::new(), AtomicBool::new(false));
    tokio::join!(listen(&views, &heard, &listening), tell(&views, &applied, &arrived, &heard, &listening));
}

/// Tells the waiting reads of every change of the applied position. With nobody waiting nothing is read.
async fn tell(views: &PgPool, applied: &watch::Sender<u64>, arrived: &Notify, heard: &Notify, listening: &AtomicBool) {
    let mut failing = false;
    loop {
        // The gate itself holds one receiver.
        while applied.receiver_count() <= 1 {
            arrived.notified().await;
        }
        let poll = if listening.load(Ordering::Relaxed) { POLL } else { POLL_WITHOUT_NOTIFICATIONS };
        tokio::select! {
            () = heard.notified() => {}
            () = sleep(poll) => {}
        }
        match applied_position(views).await {
            Ok(position) => {
                failing = false;
                applied.send_if_modified(|known| std::mem::replace(known, position) != position);
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the applied position cannot be read; trying on");
                }
                failing = true;
                sleep(POLL).await;
            }
        }
    }
}

async fn applied_position(executor: impl sqlx::PgExecutor<'_>) -> std::result::Result<u64, sqlx::Error> {
    static SQL: LazyLock<String> = LazyLock::new(|| format!("SELECT {POSITION}"));
    let read = sqlx::query_as(&SQL).bind(PROJECTION);
    let (position,): (i64,) = read.fetch_one(executor).await?;
    Ok(u64::try_from(position).unwrap_or(0))
}

/// Passes notifications on, on a connection of its own that is made again whenever it is lost.
async fn listen(views: &PgPool, heard: &Notify, listening: &AtomicBool) {
    // Beside the pool of the reads, so that it takes none of their connections.
    let options = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = options.connect_lazy_with((*views.connect_options()).clone());
    let mut backoff = Backoff::new(LISTEN_PAUSE.0, LISTEN_PAUSE.1);
    loop {
        let lost = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(NOTIFY_CHANNEL).await?;
            listening.store(true, Ordering::Relaxed);
            backoff.reset();
            loop {
                // What was announced while the connection was being made again is found by the poll.
                listener.try_recv().await?;
                heard.notify_one();
            }
        };
        let lost: std::result::Result<std::convert::Infallible, sqlx::Error> = lost.await;
        listening.store(false, Ordering::Relaxed);
        let Err(error) = lost;
        tracing::warn!(%error, "no notifications of applied events for now; polling instead");
        backoff.wait().await;
    }
}
