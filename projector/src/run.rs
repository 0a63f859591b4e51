//! Starting and stopping a projector.

use std::str::FromStr;
use std::time::Duration;

use platform::backoff::Backoff;
use platform::http::{Ops, ReadyCheck};
use platform::postgres::{self, PostgresError};
use platform::pulse::Pulse;
use platform::{Config, Secret};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::consume;
use crate::flight::LANES_MAX;
use crate::{CORE, ProjectorError, progress};

/// One a lane of a write, and one for what the consumer asks meanwhile.
const CONNECTIONS_MAX: u32 = LANES_MAX as u32 + 1;

/// Most records of one write.
const BATCH_RECORDS_MAX: usize = 5_000;

/// Fewer are cheaper in one transaction.
const LANE_EVENTS_MIN: usize = 1_000;

/// A loop that has not come round for so long is stuck: far longer than any wait within it.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// Far longer than any fetch of a broker that answers; short enough that nobody is called at night.
const STALL_AFTER: Duration = Duration::from_secs(10);

/// The planner sees the arrays of each statement, so a plan made while a table was empty is never
/// kept; and a commit does not wait for the disk, since what a crash loses is read from Kafka again,
/// offsets and rows alike.
const SESSION_SETTINGS: [(&str, &str); 2] = [("plan_cache_mode", "force_custom_plan"), ("synchronous_commit", "off")];

/// What a projector reads and where it writes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database of the read models, as their owner.
    pub views_url: Secret,
    /// Bootstrap list of the brokers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// The projection's name.
    pub projection: String,
    /// What the name of the consumer group begins with; the identity of the database follows, so that
    /// projectors of one database share its partitions and nobody else does.
    pub group: String,
    /// Most records of one write.
    pub batch_records_max: usize,
    /// From how many events on a write takes another transaction beside the first, and one more for as many each.
    pub lane_events_min: usize,
    /// For how long the client may hand over nothing of what a partition has before it is assigned anew.
    pub stall_after: Duration,
    /// Beats as the projector works.
    pub pulse: Pulse,
}

impl Options {
    /// What the configuration says. The group begins with the projection and its database, for
    /// those who look at the groups.
    ///
    /// # Errors
    /// A value that is not set, or a URL that cannot be read.
    pub fn from_config(config: &Config) -> Result<Self, ProjectorError> {
        let views_url = config.views_owner()?.clone();
        let options = PgConnectOptions::from_str(views_url.expose()).map_err(|_| PostgresError::Url)?;
        Ok(Self {
            group: format!("daybook-projector-{CORE}-{}", options.get_database().unwrap_or("views")),
            views_url,
            brokers: config.brokers()?.to_owned(),
            topic: config.topic().to_owned(),
            partitions: config.partitions(),
            projection: CORE.to_owned(),
            batch_records_max: BATCH_RECORDS_MAX,
            lane_events_min: LANE_EVENTS_MIN,
            stall_after: STALL_AFTER,
            pulse: Pulse::new(),
        })
    }
}

/// What a projector does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectorStatus {
    /// The partitions that it owns.
    pub partitions: Vec<i32>,
    /// Whether it has its share of the partitions and reads them; the share may be none, where there
    /// are more projectors than partitions.
    pub assigned: bool,
    /// How many of them stand still because of what is in them.
    pub stopped: usize,
    /// How many records of them, events and watermarks, are not applied yet.
    pub records_behind: u64,
    /// How many events it has written since it started.
    pub events: u64,
}

impl ProjectorStatus {
    /// Whether it can do its work, or why not.
    fn readiness(&self) -> Result<(), String> {
        match (self.assigned, self.stopped) {
            (false, _) => Err("it has no share of the partitions, or cannot write".to_owned()),
            (true, 0) => Ok(()),
            (true, stopped) => Err(format!("{stopped} partitions stand still; `daybook projection status` says why")),
        }
    }
}

/// Runs a projector until the shutdown. Neither Postgres nor Kafka being away ends it. Operators see
/// whether it comes round, and whether all its partitions are read.
///
/// # Errors
/// A configuration with which no projector can run.
pub async fn run(config: &Config, ops: &Ops, shutdown: CancellationToken) -> Result<(), ProjectorError> {
    let options = Options::from_config(config)?;
    let (sender, status) = watch::channel(ProjectorStatus::default());
    let pulse = options.pulse.clone();
    ops.watch("projector", ROUND_MAX, move || pulse.silence());
    let told = status.clone();
    ops.tell("projector", move || {
        let status = told.borrow();
        format!("{} partitions; {} records behind", status.partitions.len(), status.records_behind)
    });
    ops.ready(ReadyCheck::new("projector", move || {
        let outcome = status.borrow().readiness();
        async move { outcome }
    }));
    run_with(options, sender, shutdown).await
}

/// Runs a projector that tells what it does. Dropping the future stops it, too.
///
/// # Errors
/// Options with which no projector can run.
pub async fn run_with(
    options: Options,
    status: watch::Sender<ProjectorStatus>,
    shutdown: CancellationToken,
) -> Result<(), ProjectorError> {
    let connect = postgres::connect_options(options.views_url.expose(), "daybook-projector")?.options(SESSION_SETTINGS);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(connect);
    let shutdown = shutdown.child_token();
    // The thread must not outlive this future.
    let _guard = shutdown.clone().drop_guard();
    let Some(instance) = seed(&options, &pool, &shutdown).await? else { return Ok(()) };
    let options = Options { group: format!("{}-{instance}", options.group), ..options };
    let (done, ended) = oneshot::channel();
    let handle = Handle::current();
    std::thread::Builder::new()
        .name("projector".to_owned())
        .spawn(move || {
            // The receiver is gone if the future was dropped.
            let _ = done.send(consume_again(&options, &pool, &handle, &status, &shutdown));
        })
        .map_err(|error| ProjectorError::Thread { reason: error.to_string() })?;
    match ended.await {
        Ok(ended) => ended,
        Err(_) => Err(ProjectorError::Thread { reason: "it ended without an answer".to_owned() }),
    }
}

/// Makes the projection's rows if they are not there; its identity, or nothing if the shutdown came first.
async fn seed(options: &Options, pool: &PgPool, shutdown: &CancellationToken) -> Result<Option<Uuid>, ProjectorError> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut told = None;
    while !shutdown.is_cancelled() {
        options.pulse.beat();
        match progress::seed(pool, &options.projection, &options.topic, options.partitions).await {
            Ok(instance) => return Ok(Some(instance)),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                let text = error.to_string();
                if told.as_ref() != Some(&text) {
                    tracing::warn!(%error, "the read models cannot be reached, trying again");
                    told = Some(text);
                }
                tokio::select! {
                    () = backoff.wait() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }
    Ok(None)
}

/// Consumes, with a new client after each that could not go on.
fn consume_again(
    options: &Options,
    pool: &PgPool,
    handle: &Handle,
    status: &watch::Sender<ProjectorStatus>,
    shutdown: &CancellationToken,
) -> Result<(), ProjectorError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    while !shutdown.is_cancelled() {
        match consume(options, pool, handle, status, shutdown) {
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the consumer is started again");
                status.send_modify(|status| {
                    status.partitions.clear();
                    status.assigned = false;
                });
                std::thread::sleep(backoff.next_wait());
            }
        }
    }
    Ok(())
}
