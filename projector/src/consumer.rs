//! The consumer's loop, on a thread of its own: poll, gather, write.
//!
//! Whatever goes wrong with the database ends in the same way: the batch is dropped and the partitions
//! are claimed again, from where the database is. What is wrong with one partition's records stops
//! that partition alone, and it is tried again with growing patience.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use platform::backoff::Backoff;
use platform::kafka;
use platform::telemetry::trace;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ProjectorError;
use crate::batch::{Batch, Stop};
use crate::claim::{Assignment, Owner};
use crate::flight::{self, Flight, Landed};
use crate::flush::FlushError;
use crate::parking::ParkedStreams;
use crate::progress::{self, Claim};
use crate::run::{Options, ProjectorStatus};
use crate::telemetry::{Gauges, OBSERVE_INTERVAL};
use crate::watchdog::{self, Watchdog};

mod faults;
#[cfg(test)]
mod tests;

/// How long an idle loop waits for a record before it looks around.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// How long a batch waits for one more record: a commit's events and watermarks arrive together.
const GATHER_WAIT: Duration = Duration::from_millis(1);
/// How old a batch may become while records keep coming and nothing is being written.
const AGE_MAX: Duration = Duration::from_millis(10);
/// After so many records each the age of the batch is looked at.
const AGED_EVERY: usize = 32;
/// How long a seek may take.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle loop looks whether the read models were thrown away.
const RESET_INTERVAL: Duration = Duration::from_millis(500);
/// How often the group is told the offsets, which only tools for lag read.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often a partition that is not read is assigned anew before there is a new client.
const TRIES_MAX: u32 = 2;

/// Polls until the shutdown, or until the client says that it can no longer go on.
pub(crate) fn consume(
    options: &Options,
    pool: &PgPool,
    handle: &Handle,
    status: &watch::Sender<ProjectorStatus>,
    shutdown: &CancellationToken,
) -> Result<(), ProjectorError> {
    let owner = Owner::new(handle.clone(), pool.clone(), options.projection.clone(), options.topic.clone());
    let consumer: BaseConsumer<Owner> = kafka::consumer_config(&options.brokers, "daybook-projector", &options.group)
        .set("statistics.interval.ms", OBSERVE_INTERVAL.as_millis().to_string())
        .create_with_context(owner)?;
    consumer.subscribe(&[&options.topic])?;
    std::thread::scope(|scope| {
        let (questions, asked) = mpsc::channel();
        let (told, answers) = mpsc::channel();
        let asked_of = &consumer;
        let ask = move || watchdog::answer(asked_of, &options.topic, &asked, &told);
        std::thread::Builder::new()
            .name("projector-ends".to_owned())
            .spawn_scoped(scope, ask)
            .map_err(|error| ProjectorError::Thread { reason: error.to_string() })?;
        let watchdog = Watchdog::new(options.stall_after, questions, answers);
        let mut consumption = Consumption::new(options, pool, handle, status, &consumer, watchdog);
        while !shutdown.is_cancelled() {
            consumption.round()?;
        }
        consumption.land();
        // What was taken and not written is taken again by the next owner.
        Ok(())
    })
}

/// A partition that stands still, and when it is tried again.
struct Stopped {
    /// `None` while something of it is awaited: the missing event, or the record that was sought again.
    retry_at: Option<Instant>,
    backoff: Backoff,
    reason: String,
}

struct Consumption<'a> {
    options: &'a Options,
    pool: &'a PgPool,
    handle: &'a Handle,
    status: &'a watch::Sender<ProjectorStatus>,
    consumer: &'a BaseConsumer<Owner>,
    batch: Batch,
    /// When the first record of the batch was taken.
    batch_since: Instant,
    /// When the next write may begin, unless the batch is full.
    rest_until: Instant,
    /// What is being written; the parked streams are with it.
    flight: Option<Flight>,
    parked: ParkedStreams,
    stopped: BTreeMap<i32, Stopped>,
    /// Partitions of ours that have to be claimed, and when.
    unclaimed: Option<(Vec<i32>, Instant)>,
    backoff: Backoff,
    committed_at: Instant,
    looked_at: Instant,
    told: Option<String>,
    /// Whether Kafka was said not to answer.
    silent: bool,
    gauges: Gauges,
    watchdog: Watchdog,
    /// By partition, where records seemed to be missing that were read again.
    read_again: BTreeMap<i32, i64>,
}

impl<'a> Consumption<'a> {
    fn new(
        options: &'a Options,
        pool: &'a PgPool,
        handle: &'a Handle,
        status: &'a watch::Sender<ProjectorStatus>,
        consumer: &'a BaseConsumer<Owner>,
        watchdog: Watchdog,
    ) -> Self {
        Self {
            options,
            pool,
            handle,
            status,
            consumer,
            batch: Batch::default(),
            batch_since: Instant::now(),
            rest_until: Instant::now(),
            flight: None,
            parked: ParkedStreams::new(),
            stopped: BTreeMap::new(),
            unclaimed: None,
            backoff: faults::patience(),
            committed_at: Instant::now(),
            looked_at: Instant::now(),
            told: None,
            silent: false,
            gauges: Gauges::new(&options.projection),
            watchdog,
            read_again: BTreeMap::new(),
        }
    }
}

impl Consumption<'_> {
    /// One look at the queue, and what follows from it.
    fn round(&mut self) -> Result<(), ProjectorError> {
        self.options.pulse.beat();
        let polled = self.consumer.poll(self.wait());
        // A change of the assignment comes before the record: it may no longer be ours to take.
        if let Some(assignment) = self.consumer.context().news() {
            self.take_over(assignment);
        }
        let idle = match polled {
            Some(Ok(message)) => {
                if self.silent {
                    tracing::info!("kafka answers again");
                    self.silent = false;
                }
                self.take(&message);
                false
            }
            Some(Err(error)) => {
                self.hear(error)?;
                true
            }
            None => {
                self.look_for_stall()?;
                true
            }
        };
        self.write_on(idle);
        if idle && self.batch.records() == 0 && self.flight.is_none() {
            self.look_for_reset();
        }
        self.claim_again();
        self.retry_stopped();
        if let Some(records) = self.gauges.observe(self.batch.places(), || self.consumer.context().ends()) {
            self.status.send_if_modified(|status| std::mem::replace(&mut status.records_behind, records) != records);
        }
        Ok(())
    }

    /// How long to wait for a record.
    fn wait(&self) -> Duration {
        match (self.batch.records(), &self.flight) {
            (0, None) => IDLE_WAIT,
            (0, Some(_)) => GATHER_WAIT,
            _ => self.rest_until.saturating_duration_since(Instant::now()).max(GATHER_WAIT),
        }
    }

    /// Begins a write as soon as there is something, the last one has landed and the rest after it is over; a full
    /// batch waits for the landing only.
    fn write_on(&mut self, idle: bool) {
        let records = self.batch.records();
        let full = records >= self.options.batch_records_max;
        if full {
            self.land();
        } else if let Some(landed) = self.flight.as_ref().and_then(Flight::landed) {
            self.flight = None;
            self.landed(landed);
        }
        if records == 0 || self.flight.is_some() {
            return;
        }
        // Looking at the clock has its price.
        let aged = || records.is_multiple_of(AGED_EVERY) && self.batch_since.elapsed() >= AGE_MAX;
        let due = || (idle || aged()) && self.rest_until <= Instant::now();
        if full || due() {
            self.launch();
        }
    }

    fn take_over(&mut self, assignment: Assignment) {
        (self.batch, self.flight) = (Batch::default(), None);
        self.stopped.clear();
        self.unclaimed = None;
        match assignment {
            Assignment::Claimed(claims, parked) => {
                let partitions: Vec<i32> = claims.iter().map(|claim| claim.partition).collect();
                tracing::info!(projection = self.options.projection, ?partitions, "owner of partitions");
                self.own(partitions, claims, parked);
            }
            Assignment::Unclaimed(partitions, reason) => self.fail(partitions, "database", reason),
            Assignment::Revoked => {
                self.gauges.own(&[], 0);
                self.status.send_modify(|status| {
                    status.partitions.clear();
                    (status.assigned, status.stopped) = (false, 0);
                });
            }
        }
    }

    fn own(&mut self, partitions: Vec<i32>, claims: Vec<Claim>, parked: ParkedStreams) {
        self.gauges.own(&partitions, parked.len());
        self.status.send_modify(|status| {
            status.partitions = partitions;
            (status.assigned, status.stopped) = (true, 0);
        });
        self.batch = Batch::new(claims);
        self.parked = parked;
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let partition = message.partition();
        if self.batch.records() == 0 {
            self.batch_since = Instant::now();
        }
        match self.batch.take(message) {
            Ok(false) => {}
            Ok(true) => {
                if self.stopped.remove(&partition).is_some() {
                    self.tell_stopped(partition, false);
                    tracing::info!(projection = self.options.projection, partition, "the partition goes on");
                }
            }
            Err(stop) => self.stop(partition, &stop),
        }
    }

    /// What came before is written; the partition then stands still, visibly, until it is retried.
    fn stop(&mut self, partition: i32, stop: &Stop) {
        self.land();
        self.launch();
        self.land();
        if self.reads_again(partition, stop) {
            return;
        }
        let Some(written) = self.batch.stop(partition, stop).cloned() else { return };
        let reason = stop.to_string();
        let stopped = self.stopped.entry(partition).or_insert_with(|| Stopped {
            retry_at: None,
            backoff: faults::long_patience(),
            reason: String::new(),
        });
        let retries = !stop.is_mended_by_reading_on();
        stopped.retry_at = retries.then(|| Instant::now() + stopped.backoff.next_wait());
        if stopped.reason != reason {
            self.tell_stopped(partition, true);
            tracing::error!(
                projection = self.options.projection,
                topic = self.options.topic,
                partition,
                error = reason,
                "the partition stands still"
            );
            let marked = progress::mark_stopped(self.pool, &self.options.projection, &written, &reason);
            if let Err(error) = self.handle.block_on(marked) {
                tracing::debug!(%error, "the reason could not be written down");
                // It will be, with the next try.
                return;
            }
            if let Some(stopped) = self.stopped.get_mut(&partition) {
                stopped.reason = reason;
            }
        }
    }

    /// Whether events are missing because the client left records out: then they are read again, once.
    fn reads_again(&mut self, partition: i32, stop: &Stop) -> bool {
        let Stop::Gap { offset, .. } = stop else { return false };
        let next_offset = self.batch.taken().find_map(|(of, next)| (of == partition).then_some(next));
        let Some(next_offset) = next_offset.filter(|next_offset| next_offset < offset) else { return false };
        if self.read_again.insert(partition, next_offset) == Some(next_offset) {
            return false;
        }
        let reason =
            format!("partition {partition}: the client went from offset {next_offset} to {offset}, events are missing");
        self.drop_batch("stall", reason);
        true
    }

    /// Nothing is in the client's queue: is that because the topic has no more?
    fn look_for_stall(&mut self) -> Result<(), ProjectorError> {
        let Some(stall) = self.watchdog.look(Instant::now(), || self.batch.taken().collect()) else { return Ok(()) };
        let (partition, next_offset) = (stall.partition, stall.next_offset);
        tracing::warn!(
            projection = self.options.projection,
            topic = self.options.topic,
            partition,
            next_offset,
            end = stall.end,
            tries = stall.tries,
            "the client hands over nothing of a partition that has more"
        );
        if stall.tries > TRIES_MAX {
            self.gauges.failed("stall");
            return Err(ProjectorError::Stalled { partition, next_offset });
        }
        self.drop_batch("stall", format!("partition {partition} is not read from offset {next_offset} on"));
        Ok(())
    }

    fn tell_stopped(&self, partition: i32, is_stopped: bool) {
        self.gauges.stopped(partition, is_stopped);
        let standing = self.stopped.len();
        self.status.send_modify(|status| status.stopped = standing);
    }

    fn retry_stopped(&mut self) {
        let now = Instant::now();
        let due: Vec<i32> = self
            .stopped
            .iter()
            .filter(|(_, stopped)| stopped.retry_at.is_some_and(|at| at <= now))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in due {
            let Some(next_offset) = self.batch.resume(partition) else { continue };
            if let Some(stopped) = self.stopped.get_mut(&partition) {
                stopped.retry_at = None;
            }
            let sought = self.consumer.seek(&self.options.topic, partition, Offset::Offset(next_offset), SEEK_TIMEOUT);
            if let Err(error) = sought {
                self.drop_batch("kafka", error.to_string());
            }
        }
    }

    /// Begins to write what was taken; to be called when nothing is in flight.
    fn launch(&mut self) {
        if self.batch.records() == 0 {
            return;
        }
        let (load, parked) = (self.batch.hand_over(), std::mem::take(&mut self.parked));
        self.rest_until = Instant::now() + flight::rest_after(load.events.len());
        self.flight = Some(Flight::start(self.handle, self.pool, self.options, load, parked));
    }

    /// Waits for what is in flight.
    fn land(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.landed(flight.wait());
        }
    }

    fn landed(&mut self, landed: Landed) {
        let events = landed.events();
        let kind = match &landed.outcome {
            Ok(()) => {
                self.batch.written();
                self.backoff.reset();
                self.tell_recovery();
                self.gauges.written(events, &landed.newest_us(), landed.took, landed.parked.len());
                self.parked = landed.parked;
                self.status.send_modify(|status| status.events += events as u64);
                self.tell_group();
                return;
            }
            Err(FlushError::Fenced) => "fenced",
            Err(FlushError::Database(_)) => "database",
        };
        for delivered in landed.loads.iter().flat_map(|load| &load.events) {
            trace::fail(&delivered.span, kind);
        }
        if let Err(error) = landed.outcome {
            self.drop_batch(kind, error.to_string());
        }
    }

    /// Forgets what was taken; everything is claimed again, after a pause.
    fn drop_batch(&mut self, kind: &'static str, reason: String) {
        for delivered in self.batch.events() {
            trace::fail(&delivered.span, kind);
        }
        (self.batch, self.flight) = (Batch::default(), None);
        self.stopped.clear();
        let partitions = self.status.borrow().partitions.clone();
        match self.consumer.context().hold(self.consumer) {
            Ok(()) => self.fail(partitions, kind, reason),
            Err(error) => self.fail(partitions, "kafka", error.to_string()),
        }
    }

    fn fail(&mut self, partitions: Vec<i32>, kind: &'static str, reason: String) {
        self.gauges.failed(kind);
        // Once for each change of state, not for each try.
        if self.told.as_ref() != Some(&reason) {
            tracing::warn!(projection = self.options.projection, error = reason, "nothing is written, trying again");
            self.told = Some(reason);
        }
        self.status.send_modify(|status| {
            status.partitions.clone_from(&partitions);
            (status.assigned, status.stopped) = (false, 0);
        });
        self.unclaimed = Some((partitions, Instant::now() + self.backoff.next_wait()));
    }

    /// Without records there is no write that would notice a rebuild.
    fn look_for_reset(&mut self) {
        if self.looked_at.elapsed() < RESET_INTERVAL {
            return;
        }
        self.looked_at = Instant::now();
        let next_offsets: Vec<(i32, i64)> = self.batch.written_offsets().collect();
        if next_offsets.is_empty() {
            return;
        }
        match self.handle.block_on(progress::was_reset(self.pool, &self.options.projection, &next_offsets)) {
            Ok(false) => {}
            Ok(true) => self.drop_batch("rebuild", "the projection is being rebuilt".to_owned()),
            Err(error) => tracing::debug!(%error, "the database of the read models does not answer"),
        }
    }

    fn tell_recovery(&mut self) {
        if self.told.take().is_some() {
            tracing::info!(projection = self.options.projection, "written again");
        }
    }

    fn claim_again(&mut self) {
        let Some((partitions, _)) = self.unclaimed.take_if(|(_, at)| *at <= Instant::now()) else { return };
        match self.consumer.context().claim(self.consumer, &partitions) {
            Ok(Assignment::Claimed(claims, parked)) => self.own(partitions, claims, parked),
            Ok(Assignment::Unclaimed(partitions, reason)) => self.fail(partitions, "database", reason),
            Ok(Assignment::Revoked) => {}
            Err(error) => self.fail(partitions, "kafka", error.to_string()),
        }
    }

    /// Tells the group the offsets; nothing depends on it.
    fn tell_group(&mut self) {
        if self.committed_at.elapsed() < COMMIT_INTERVAL {
            return;
        }
        self.committed_at = Instant::now();
        let mut offsets = TopicPartitionList::new();
        for (partition, next_offset) in self.batch.written_offsets() {
            if offsets.add_partition_offset(&self.options.topic, partition, Offset::Offset(next_offset)).is_err() {
                return;
            }
        }
        if let Err(error) = self.consumer.commit(&offsets, CommitMode::Async) {
            tracing::debug!(%error, "the group was not told");
        }
    }
}
