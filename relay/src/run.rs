//! The loop: stand by, lead, read, publish, remember.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::{LogReader, NOTIFY_CHANNEL};
use platform::backoff::Backoff;
use platform::http::{Ops, ReadyCheck};
use platform::pulse::Pulse;
use platform::{Config, Secret, postgres};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::RelayError;
use crate::leadership::{Candidate, Leadership, Progress};
use crate::publisher::Publisher;
use crate::telemetry::{self, OBSERVE_INTERVAL, Observation, Observed};
use crate::topic;

/// Most events of one read.
const BATCH_EVENTS_MAX: u32 = 5_000;
/// How often the log is looked at when no notification comes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often watermarks are sent while behind.
const WATERMARK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a read rests after one that gave events, for each of them and at most: what comes meanwhile shares
/// a read, a request to each partition and all that they cost behind the relay, and a commit that comes alone
/// waits for nothing.
const REST_PER_EVENT: Duration = Duration::from_millis(2);
const REST_MAX: Duration = Duration::from_millis(20);
/// How often progress is stored at most.
const STORE_INTERVAL: Duration = Duration::from_millis(100);
/// How often one that stands by asks for the lead, and a leader says that it lives.
const LEAD_INTERVAL: Duration = Duration::from_secs(1);
/// After so long without an acknowledgement Kafka is said not to answer.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a relay that an operator must help waits before it looks again.
const OPERATOR_WAIT: Duration = Duration::from_secs(30);
/// A loop that has not come round for so long is stuck: far longer than any wait within it.
const ROUND_MAX: Duration = Duration::from_secs(120);
/// How long a shutdown waits for acknowledgements.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a relay reads and where it publishes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log, for reading.
    pub log_reader_url: Secret,
    /// The log, for the relay's own progress.
    pub log_writer_url: Secret,
    /// Bootstrap list of the brokers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Whose log it is.
    pub tenant: String,
    /// Beats as the relay works.
    pub pulse: Pulse,
}

impl Options {
    /// What the configuration says.
    ///
    /// # Errors
    /// A value that is not set.
    pub fn from_config(config: &Config) -> Result<Self, RelayError> {
        Ok(Self {
            log_reader_url: config.log_reader()?.clone(),
            log_writer_url: config.log_writer()?.clone(),
            brokers: config.brokers()?.to_owned(),
            topic: config.topic().to_owned(),
            partitions: config.partitions(),
            tenant: config.tenant().to_owned(),
            pulse: Pulse::new(),
        })
    }
}

/// How far a relay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// Whether it leads or stands by; not while it cannot reach the log or must not publish.
    pub connected: bool,
    /// Whether it leads.
    pub leading: bool,
    /// The epoch of its lead, or of its last one.
    pub epoch: i64,
    /// Up to which position it has read the log.
    pub read: u64,
    /// Up to which position everything is acknowledged by Kafka.
    pub published: u64,
}

impl RelayStatus {
    /// How many events it has read that are not acknowledged yet.
    pub fn in_flight(&self) -> u64 {
        self.read.saturating_sub(self.published)
    }
}

/// Runs a relay until the shutdown. Neither Postgres nor Kafka being away ends it. Operators see
/// whether it comes round, and whether it leads or stands by.
///
/// # Errors
/// A configuration with which no relay can run.
pub async fn run(config: &Config, ops: &Ops, shutdown: CancellationToken) -> Result<(), RelayError> {
    let options = Options::from_config(config)?;
    let (sender, status) = watch::channel(RelayStatus::default());
    let pulse = options.pulse.clone();
    ops.watch("relay", ROUND_MAX, move || pulse.silence());
    let told = status.clone();
    ops.tell("relay", move || {
        let status = *told.borrow();
        let role = match (status.connected, status.leading) {
            (_, true) => "leads",
            (true, false) => "stands by",
            (false, false) => "tries again",
        };
        format!("{role}; published up to position {}", status.published)
    });
    ops.ready(ReadyCheck::new("relay", move || {
        let connected = status.borrow().connected;
        async move { if connected { Ok(()) } else { Err("it neither leads nor stands by".to_owned()) } }
    }));
    run_with(options, sender, shutdown).await
}

/// Runs a relay that tells how far it is.
///
/// # Errors
/// Options with which no relay can run.
pub async fn run_with(
    options: Options,
    status: watch::Sender<RelayStatus>,
    shutdown: CancellationToken,
) -> Result<(), RelayError> {
    let pool = postgres::pool(options.log_reader_url.expose(), 3, "daybook-relay")?;
    let wake = Arc::new(Notify::new());
    let _listening = Listening::start(pool.clone(), Arc::clone(&wake));
    let mut relay = Relay { reader: LogReader::new(pool), options, wake, status, shutdown };
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut told = None;
    while !relay.shutdown.is_cancelled() {
        relay.options.pulse.beat();
        let published = relay.status.borrow().published;
        let ended = relay.stand_by_and_lead().await;
        relay.status.send_modify(|status| (status.connected, status.leading) = (false, false));
        telemetry::state(false, false);
        if let Err(error) = &ended {
            telemetry::failed(error.code());
        }
        let progressed = relay.status.borrow().published > published;
        if progressed {
            backoff.reset();
        }
        match ended {
            Ok(()) => told = None,
            Err(error) if error.is_final() => return Err(error),
            Err(error) if error.needs_operator() => {
                // Each time: it stays until somebody does something.
                tracing::error!(%error, code = error.code(), "the relay publishes nothing");
                told = Some(error.code());
                tokio::select! {
                    () = tokio::time::sleep(OPERATOR_WAIT) => {}
                    () = relay.shutdown.cancelled() => {}
                }
            }
            Err(error) => {
                // Once for each change of state, not for each try.
                if progressed || told != Some(error.code()) {
                    tracing::warn!(%error, code = error.code(), "the relay has stopped publishing and tries again");
                    told = Some(error.code());
                }
                tokio::select! {
                    () = backoff.wait() => {}
                    () = relay.shutdown.cancelled() => {}
                }
            }
        }
    }
    Ok(())
}

struct Relay {
    options: Options,
    reader: LogReader,
    wake: Arc<Notify>,
    status: watch::Sender<RelayStatus>,
    shutdown: CancellationToken,
}

impl Relay {
    /// Waits for the lead, then leads until it is lost, something fails or the shutdown comes.
    async fn stand_by_and_lead(&mut self) -> Result<(), RelayError> {
        let options = self.options.clone();
        // A host that does not answer at all is waited for longer than a loop may take.
        let mut candidate =
            options.pulse.beating(Candidate::connect(options.log_writer_url.expose(), &options.topic)).await?;
        let mut told = false;
        while !candidate.try_lead().await? {
            options.pulse.beat();
            self.status.send_modify(|status| status.connected = true);
            telemetry::state(true, false);
            if !told {
                tracing::info!(topic = options.topic, "another relay leads, standing by");
                told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(LEAD_INTERVAL) => {}
                () = self.shutdown.cancelled() => return Ok(()),
            }
        }
        let (mut leadership, progress) = candidate.lead(options.partitions).await?;
        let head = self.reader.head().await?.position;
        if progress.position > head {
            return Err(RelayError::BeyondHead { published: progress.position, head });
        }
        let epoch = leadership.epoch();
        let Some(progress) = self.verified(&options, &mut leadership, progress).await? else { return Ok(()) };
        tracing::info!(topic = options.topic, epoch, position = progress.position, head, "leading");
        telemetry::state(true, true);
        self.status.send_replace(RelayStatus {
            connected: true,
            leading: true,
            epoch,
            read: progress.position,
            published: progress.position,
        });
        let mut publisher =
            Publisher::new(&options.brokers, &options.topic, &options.tenant, options.partitions, progress.clone())?;
        let ended = self.lead(&mut leadership, &mut publisher, progress).await;
        publisher.close().await;
        leadership.resign().await;
        if let Ok(Ended::Deposed) = ended {
            tracing::warn!(topic = options.topic, epoch, "another relay has taken the lead");
        }
        ended.map(|_| ())
    }

    /// Where to go on from once the topic was looked at; nothing if the shutdown came or another leads.
    async fn verified(
        &self,
        options: &Options,
        leadership: &mut Leadership,
        progress: Progress,
    ) -> Result<Option<Progress>, RelayError> {
        let Some(tails) = topic::tails(options, &self.shutdown).await? else { return Ok(None) };
        topic::check_history(&self.reader, &tails).await?;
        if topic::has_lost(&options.topic, &progress, &tails) {
            return leadership.begin_again().await;
        }
        leadership.keep().await?;
        Ok(Some(progress))
    }

    async fn lead(
        &mut self,
        leadership: &mut Leadership,
        publisher: &mut Publisher,
        stored: Progress,
    ) -> Result<Ended, RelayError> {
        let mut lead = Lead::new(stored);
        loop {
            self.options.pulse.beat();
            if self.shutdown.is_cancelled() {
                return self.finish(leadership, publisher, &mut lead).await;
            }
            if !self.remember(leadership, publisher, &mut lead).await? {
                return Ok(Ended::Deposed);
            }
            if !lead.caught_up && lead.may_read(publisher) {
                tokio::time::sleep_until(lead.rest_until.into()).await;
                let began = Instant::now();
                let events = self.reader.events_after(publisher.sent_position(), BATCH_EVENTS_MAX).await?;
                lead.behind = events.len() >= BATCH_EVENTS_MAX as usize;
                lead.caught_up = !lead.behind;
                if !events.is_empty() {
                    lead.rest_until = began + rest_after(events.len());
                    publisher.publish(&events).await?;
                    self.status.send_modify(|status| status.read = publisher.sent_position());
                }
            }
            self.observe(publisher, &mut lead).await?;
            // Right behind the events, so that each partition gets both in one request.
            let due = lead.caught_up || lead.watermarked_at.elapsed() >= WATERMARK_INTERVAL;
            if due && publisher.owes_watermarks() {
                publisher.publish_watermarks().await?;
                lead.watermarked_at = Instant::now();
            }
            if lead.caught_up || !lead.may_read(publisher) {
                // An acknowledgement alone is no reason to look at the log again.
                tokio::select! {
                    () = self.wake.notified() => lead.caught_up = false,
                    () = publisher.changed() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => lead.caught_up = false,
                    () = self.shutdown.cancelled() => {}
                }
            }
        }
    }

    /// Tells how far the lead is, a few times a second.
    async fn observe(&self, publisher: &Publisher, lead: &mut Lead) -> Result<(), RelayError> {
        if lead.observed.at.elapsed() < OBSERVE_INTERVAL {
            return Ok(());
        }
        lead.observed.at = Instant::now();
        if lead.caught_up {
            lead.observed.head = publisher.sent_position();
        } else if lead.observed.head_asked_at.is_none_or(|at| at.elapsed() >= LEAD_INTERVAL) {
            lead.observed.head = self.reader.head().await?.position;
            lead.observed.head_asked_at = Some(Instant::now());
        }
        Observation {
            head: lead.observed.head,
            published: publisher.acknowledged_position(),
            in_flight: publisher.in_flight_events(),
            oldest_recorded_at_us: publisher.oldest_recorded_at_us(),
        }
        .record();
        Ok(())
    }

    /// Stores what is acknowledged, if it is time to; `false` if the lead is lost.
    async fn remember(
        &self,
        leadership: &mut Leadership,
        publisher: &mut Publisher,
        lead: &mut Lead,
    ) -> Result<bool, RelayError> {
        let acknowledged = publisher.acknowledged()?.clone();
        lead.listen_for_silence(publisher.oldest_wait());
        self.status.send_if_modified(|status| {
            std::mem::replace(&mut status.published, acknowledged.position) != acknowledged.position
        });
        if acknowledged.position > lead.stored.position && lead.stored_at.elapsed() >= STORE_INTERVAL {
            if !leadership.store(&acknowledged).await? {
                return Ok(false);
            }
            lead.stored = acknowledged;
            lead.stored_at = Instant::now();
            lead.kept_at = lead.stored_at;
        } else if lead.kept_at.elapsed() >= LEAD_INTERVAL {
            leadership.keep().await?;
            lead.kept_at = Instant::now();
        }
        Ok(true)
    }

    /// What was handed over is acknowledged and remembered before the process ends.
    async fn finish(
        &self,
        leadership: &mut Leadership,
        publisher: &mut Publisher,
        lead: &mut Lead,
    ) -> Result<Ended, RelayError> {
        publisher.settle(SETTLE_PATIENCE).await?;
        let acknowledged = publisher.acknowledged()?.clone();
        if acknowledged.position > lead.stored.position && !leadership.store(&acknowledged).await? {
            return Ok(Ended::Deposed);
        }
        self.status.send_modify(|status| status.published = acknowledged.position);
        Ok(Ended::Shutdown)
    }
}

/// How a lead came to its end.
enum Ended {
    /// By the shutdown.
    Shutdown,
    /// Another one leads.
    Deposed,
}

/// What a leader remembers from one round to the next.
struct Lead {
    stored: Progress,
    stored_at: Instant,
    kept_at: Instant,
    watermarked_at: Instant,
    /// When the log is to be read next at the earliest.
    rest_until: Instant,
    /// Nothing is known to be in the log that was not read.
    caught_up: bool,
    /// The last read gave as much as one may.
    behind: bool,
    silent: bool,
    observed: Observed,
}

impl Lead {
    fn new(stored: Progress) -> Self {
        let now = Instant::now();
        Self {
            stored,
            stored_at: now,
            kept_at: now,
            watermarked_at: now,
            rest_until: now,
            caught_up: false,
            behind: false,
            silent: false,
            observed: Observed::new(),
        }
    }

    /// Whether more may be handed over: while behind as long as there is room, else when everything is
    /// acknowledged. A partition that gets more while it waits for acknowledgements makes the client's thread ask
    /// for them without a pause, and what waits here meanwhile shares a request.
    fn may_read(&self, publisher: &Publisher) -> bool {
        publisher.is_settled() || (self.behind && publisher.has_room())
    }

    /// Says once that Kafka does not answer, and once that it does again.
    fn listen_for_silence(&mut self, oldest_wait: Duration) {
        let silent = oldest_wait >= SILENCE_MAX;
        if silent && !self.silent {
            tracing::warn!(waited_s = oldest_wait.as_secs(), "kafka does not acknowledge; events wait");
        } else if self.silent && !silent {
            tracing::info!("kafka acknowledges again");
        }
        self.silent = silent;
    }
}

/// How long the next read rests after one of so many events: not at all while behind.
fn rest_after(events: usize) -> Duration {
    match u32::try_from(events) {
        Ok(events) if events < BATCH_EVENTS_MAX => (REST_PER_EVENT * events).min(REST_MAX),
        _ => Duration::ZERO,
    }
}

/// A task that wakes the leader when a commit has written events; ends when it is dropped. What it
/// misses while its connection is away, the poll finds.
struct Listening(JoinHandle<()>);

impl Listening {
    fn start(pool: PgPool, wake: Arc<Notify>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&pool, &wake).await {
                    tracing::debug!(%error, "no notifications for now");
                }
                tokio::time::sleep(LEAD_INTERVAL).await;
            }
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(pool: &PgPool, wake: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(NOTIFY_CHANNEL).await?;
    loop {
        listener.recv().await?;
        wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH_EVENTS_MAX, REST_MAX, rest_after};
    use std::time::Duration;

    #[test]
    fn rests_follow_the_load_and_end_with_a_backlog() {
        assert!(rest_after(3) < Duration::from_millis(10), "one transfer does not keep the next one waiting");
        assert!(rest_after(6) > rest_after(3));
        assert_eq!(rest_after(1_000), REST_MAX);
        let full = BATCH_EVENTS_MAX as usize;
        assert_eq!(rest_after(full - 1), REST_MAX);
        assert_eq!(rest_after(full), Duration::ZERO, "there is more to read");
    }
}
