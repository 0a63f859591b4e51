//! Events and watermarks into Kafka, and the last contiguous acknowledged position.
//!
//! Invariants: a batch counts when each of its records is acknowledged and all batches before it
//! count; after one failed delivery nothing counts any more and the publisher is to be dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use event_schemas::{Recorded, cloud_events};
use platform::kafka;
use platform::telemetry::trace;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tracing::Span;

use crate::RelayError;
use crate::leadership::Progress;
use crate::telemetry::{self, TRACEPARENT};

/// How many events may wait for their acknowledgement; below what the client's queue takes.
const IN_FLIGHT_EVENTS_MAX: usize = 20_000;
/// How many bytes of payload may wait, so that large events do not fill the memory.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// After so many records other tasks get their turn; what comes within some milliseconds at a high rate.
const YIELD_EVERY: usize = 512;
/// How long a full queue is left alone.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// What the delivery reports of a producer add up to.
#[derive(Default)]
struct Deliveries {
    failure: OnceLock<String>,
    changed: Notify,
}

/// How many records of a batch are not acknowledged yet.
struct Outstanding(AtomicUsize);

/// Receives the delivery reports, on the producer's own thread.
struct Context(Arc<Deliveries>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "the producer: {line}");
            }
            // A broker that is away is an error to the client at each try; the relay says it once.
            RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => tracing::debug!(facility, "the producer: {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The relay itself says when Kafka stops answering and when it answers again.
        tracing::debug!(%error, reason, "the producer reports");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Outstanding>;

    fn delivery(&self, result: &DeliveryResult<'_>, outstanding: Arc<Outstanding>) {
        match result {
            Ok(_) => {
                if outstanding.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.0.changed.notify_one();
                }
            }
            Err((error, _)) => {
                // The first failure is the cause, those that follow are its consequences.
                self.0.failure.get_or_init(|| error.to_string());
                self.0.changed.notify_one();
            }
        }
    }
}

struct Batch {
    outstanding: Arc<Outstanding>,
    /// What is published once it and those before it are acknowledged.
    reaches: Progress,
    events: usize,
    bytes: usize,
    sent_at: Instant,
    /// When its first event was recorded.
    recorded_at_us: i64,
    /// Of its events whose traces are recorded; they end with the acknowledgement.
    _spans: Vec<Span>,
}

/// What is handed over with an event.
struct Ready {
    key: String,
    partition: i32,
    headers: OwnedHeaders,
}

/// A producer for one topic that knows how far everything is acknowledged.
pub(crate) struct Publisher {
    producer: ThreadedProducer<Context>,
    deliveries: Arc<Deliveries>,
    topic: String,
    tenant: String,
    partitions: i32,
    sent: Progress,
    acknowledged: Progress,
    batches: VecDeque<Batch>,
    in_flight_events: usize,
    in_flight_bytes: usize,
    watermarked: Option<u64>,
    /// The last round of watermarks. The next one waits for it, so that they cannot pile up while
    /// Kafka is away: with the limit on events the client's queue then never fills.
    round: Arc<Outstanding>,
}

impl Publisher {
    pub(crate) fn new(
        brokers: &str,
        topic: &str,
        tenant: &str,
        partitions: i32,
        from: Progress,
    ) -> Result<Self, RelayError> {
        let deliveries = Arc::new(Deliveries::default());
        let producer =
            kafka::producer_config(brokers, "daybook-relay").create_with_context(Context(Arc::clone(&deliveries)))?;
        Ok(Self {
            producer,
            deliveries,
            topic: topic.to_owned(),
            tenant: tenant.to_owned(),
            partitions,
            sent: from.clone(),
            acknowledged: from,
            batches: VecDeque::new(),
            in_flight_events: 0,
            in_flight_bytes: 0,
            watermarked: None,
            round: Arc::new(Outstanding(AtomicUsize::new(0))),
        })
    }

    /// The last position handed to the client.
    pub(crate) fn sent_position(&self) -> u64 {
        self.sent.position
    }

    /// The last position up to which everything was acknowledged when last looked at.
    pub(crate) fn acknowledged_position(&self) -> u64 {
        self.acknowledged.position
    }

    /// Whether more may be sent before the next acknowledgement.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight_events < IN_FLIGHT_EVENTS_MAX && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    /// Whether everything sent is acknowledged, watermarks too.
    pub(crate) fn is_settled(&self) -> bool {
        self.batches.is_empty() && self.round.0.load(Ordering::Acquire) == 0
    }

    /// How long the oldest batch has been waiting for its acknowledgement.
    pub(crate) fn oldest_wait(&self) -> Duration {
        self.batches.front().map_or(Duration::ZERO, |batch| batch.sent_at.elapsed())
    }

    /// When the oldest event that is not acknowledged was recorded.
    pub(crate) fn oldest_recorded_at_us(&self) -> Option<i64> {
        self.batches.front().map(|batch| batch.recorded_at_us)
    }

    /// How many events are not acknowledged.
    pub(crate) fn in_flight_events(&self) -> usize {
        self.in_flight_events
    }

    /// Hands events to the client, in position order, each to its partition with its ordinal.
    ///
    /// Many are made ready first and then handed over at once: records that come to a partition whose first ones
    /// are sent already keep the client's thread asking for the acknowledgement of those without a pause.
    pub(crate) async fn publish(&mut self, events: &[Recorded]) -> Result<(), RelayError> {
        let outstanding = Arc::new(Outstanding(AtomicUsize::new(events.len())));
        let (mut bytes, mut spans) = (0, Vec::new());
        for portion in events.chunks(YIELD_EVERY) {
            let ready: Vec<Ready> = portion.iter().map(|recorded| self.make_ready(recorded, &mut spans)).collect();
            for (recorded, ready) in portion.iter().zip(ready) {
                let record = BaseRecord::with_opaque_to(&self.topic, Arc::clone(&outstanding))
                    .partition(ready.partition)
                    .key(ready.key.as_str())
                    .payload(recorded.payload.as_str())
                    .timestamp(recorded.recorded_at_us.div_euclid(1000))
                    .headers(ready.headers);
                self.send(record).await?;
                bytes += recorded.payload.len() + recorded.metadata.len();
                self.sent.position = recorded.position;
            }
            if portion.len() == YIELD_EVERY {
                tokio::task::yield_now().await;
            }
        }
        self.in_flight_events += events.len();
        self.in_flight_bytes += bytes;
        let reaches = self.sent.clone();
        self.batches.push_back(Batch {
            outstanding,
            reaches,
            events: events.len(),
            bytes,
            sent_at: Instant::now(),
            recorded_at_us: events.first().map_or(0, |event| event.recorded_at_us),
            _spans: spans,
        });
        Ok(())
    }

    /// What goes with an event, which gets its place in its partition here.
    fn make_ready(&mut self, recorded: &Recorded, spans: &mut Vec<Span>) -> Ready {
        let key = recorded.stream.to_string();
        let partition = kafka::murmur2_partition(key.as_bytes(), self.partitions);
        let ordinal = self.next_ordinal(partition);
        let mut headers = cloud_events::headers(recorded, &self.tenant, ordinal);
        if let Some(span) = telemetry::publish_span(recorded, &headers) {
            headers.extend(trace::traceparent(&span).map(|ours| (TRACEPARENT, ours.into())));
            spans.push(span);
        }
        Ready { key, partition, headers: owned(&headers) }
    }

    fn next_ordinal(&mut self, partition: i32) -> u64 {
        let index = usize::try_from(partition).unwrap_or_default();
        self.sent.ordinals.get_mut(index).map_or(0, |ordinal| {
            *ordinal += 1;
            ordinal.unsigned_abs()
        })
    }

    /// Whether the partitions have not been told how far they are.
    pub(crate) fn owes_watermarks(&self) -> bool {
        let is_due = self.sent.position > 0 && self.watermarked != Some(self.sent.position);
        is_due && self.round.0.load(Ordering::Acquire) == 0
    }

    /// Tells every partition how far it is. Behind the partition's
    /// events in the same producer, so it needs no acknowledgement of its own.
    pub(crate) async fn publish_watermarks(&mut self) -> Result<(), RelayError> {
        let position = self.sent.position;
        let outstanding = Arc::new(Outstanding(AtomicUsize::new(self.sent.ordinals.len())));
        for (partition, ordinal) in (0..self.partitions).zip(self.sent.ordinals.clone()) {
            let headers = owned(&cloud_events::watermark_headers(&self.tenant, partition, position));
            let value = cloud_events::watermark_value(position, ordinal.unsigned_abs());
            let record = BaseRecord::<str, str, _>::with_opaque_to(&self.topic, Arc::clone(&outstanding))
                .partition(partition)
                .payload(value.as_str())
                .headers(headers);
            self.send(record).await?;
        }
        self.watermarked = Some(position);
        self.round = outstanding;
        Ok(())
    }

    /// Hands one record over; a full queue is waited for.
    async fn send(&self, record: BaseRecord<'_, str, str, Arc<Outstanding>>) -> Result<(), RelayError> {
        let mut record = record;
        loop {
            self.check()?;
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    tokio::time::sleep(QUEUE_FULL_WAIT).await;
                }
                Err((error, _)) => return Err(RelayError::Delivery { reason: error.to_string() }),
            }
        }
    }

    /// An error once a record was not delivered.
    fn check(&self) -> Result<(), RelayError> {
        match self.deliveries.failure.get() {
            None => Ok(()),
            Some(reason) => Err(RelayError::Delivery { reason: reason.clone() }),
        }
    }

    /// How far everything is acknowledged, contiguously.
    pub(crate) fn acknowledged(&mut self) -> Result<&Progress, RelayError> {
        self.check()?;
        while let Some(batch) = self.batches.front() {
            if batch.outstanding.0.load(Ordering::Acquire) > 0 {
                break;
            }
            if let Some(batch) = self.batches.pop_front() {
                telemetry::acknowledged(batch.events);
                self.in_flight_events -= batch.events;
                self.in_flight_bytes -= batch.bytes;
                self.acknowledged = batch.reaches;
            }
        }
        Ok(&self.acknowledged)
    }

    /// Waits until a batch is acknowledged or a delivery has failed.
    pub(crate) async fn changed(&self) {
        self.deliveries.changed.notified().await;
    }

    /// Waits until everything sent is acknowledged, watermarks too, for `patience` at most.
    pub(crate) async fn settle(&mut self, patience: Duration) -> Result<(), RelayError> {
        let until = Instant::now() + patience;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.check()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.acknowledged().map(|_| ())
    }

    /// Ends the producer's thread; it may take a moment, hence aside.
    pub(crate) async fn close(self) {
        let closed = tokio::task::spawn_blocking(move || drop(self)).await;
        if let Err(error) = closed {
            tracing::warn!(%error, "the producer did not close cleanly");
        }
    }
}

fn owned(headers: &[(&'static str, impl AsRef<str>)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(Header { key, value: Some(value.as_ref()) })
    })
}
