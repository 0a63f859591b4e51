//! What the topic really has, looked at before a lead is taken up.
//!
//! The stored progress says what Kafka acknowledged. A topic that was made anew, or a broker that lost
//! its last records, has less; a log that was restored to an earlier point has another history. The
//! first is mended by publishing everything again, the second must not be published at all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use event_schemas::{KafkaRecord, cloud_events};
use event_store::LogReader;
use platform::kafka;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::leadership::Progress;
use crate::{Options, RelayError};

/// How many of a partition's last records are read: enough to find an event among the watermarks.
const TAIL_RECORDS: i64 = 50;
/// How long all partitions together may take; below the idle timeout of the leader's session.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one call may block, so that a shutdown is not waited for.
const STEP: Duration = Duration::from_millis(500);

/// The end of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The greatest ordinal among the last records; 0 if there is none.
    ordinal: i64,
    /// The greatest position among them, watermarks included.
    position: u64,
    /// The event with the greatest position among them.
    event: Option<(u64, [u8; 32])>,
}

impl Tail {
    fn see(&mut self, record: &KafkaRecord) {
        let (position, ordinal) = match record {
            KafkaRecord::Watermark { position, ordinal } => (*position, *ordinal),
            KafkaRecord::Event { recorded, ordinal, .. } => {
                if self.event.is_none_or(|(position, _)| position < recorded.position) {
                    self.event = Some((recorded.position, recorded.event_hash));
                }
                (recorded.position, *ordinal)
            }
        };
        self.position = self.position.max(position);
        self.ordinal = self.ordinal.max(i64::try_from(ordinal).unwrap_or(i64::MAX));
    }
}

/// The ends of all partitions; `None` if the shutdown came first.
pub(crate) async fn tails(
    options: &Options,
    shutdown: &CancellationToken,
) -> Result<Option<BTreeMap<i32, Tail>>, RelayError> {
    let (options, shutdown) = (options.clone(), shutdown.clone());
    let read = tokio::task::spawn_blocking(move || read_tails(&options, &shutdown)).await;
    read.map_err(|_| RelayError::Kafka(KafkaError::Canceled))?
}

fn read_tails(options: &Options, shutdown: &CancellationToken) -> Result<Option<BTreeMap<i32, Tail>>, RelayError> {
    let until = Instant::now() + PATIENCE;
    // Belongs to no group: partitions are assigned by hand and nothing is committed.
    let consumer: BaseConsumer = kafka::consumer_config(&options.brokers, "daybook-relay", "daybook-relay")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    let (mut tails, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for partition in 0..options.partitions {
        let (low, high) = loop {
            if shutdown.is_cancelled() {
                return Ok(None);
            }
            match consumer.fetch_watermarks(&options.topic, partition, STEP) {
                Ok(found) => break found,
                Err(error) if Instant::now() >= until => return Err(error.into()),
                // A topic that is not there is answered at once.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        tails.insert(partition, Tail::default());
        if high > low {
            let from = low.max(high - TAIL_RECORDS);
            assignment.add_partition_offset(&options.topic, partition, Offset::Offset(from))?;
            ends.insert(partition, high);
        }
    }
    consumer.assign(&assignment)?;
    while !ends.is_empty() {
        if shutdown.is_cancelled() {
            return Ok(None);
        }
        match consumer.poll(STEP) {
            Some(Ok(message)) => {
                let partition = message.partition();
                if let (Some(record), Some(tail)) = (read(&message), tails.get_mut(&partition)) {
                    tail.see(&record);
                }
                if ends.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
                    ends.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) if Instant::now() >= until => return Err(error.into()),
            None if Instant::now() >= until => return Err(RelayError::TopicSilent),
            Some(Err(_)) | None => {}
        }
    }
    Ok(Some(tails))
}

fn read(message: &BorrowedMessage<'_>) -> Option<KafkaRecord> {
    let header = |name: &str| message.headers()?.iter().find(|header| header.key == name).and_then(|found| found.value);
    match cloud_events::from_kafka(header, message.key(), message.payload()) {
        Ok(record) => Some(record),
        Err(error) => {
            let (partition, offset) = (message.partition(), message.offset());
            tracing::warn!(%error, partition, offset, "a record of the topic cannot be read");
            None
        }
    }
}

/// Whether the last events of the topic are those of the log.
pub(crate) async fn check_history(reader: &LogReader, tails: &BTreeMap<i32, Tail>) -> Result<(), RelayError> {
    // Read after the topic: what another relay published in the meantime is in it.
    let head = reader.head().await?.position;
    for (partition, tail) in tails {
        let differs = match tail.event {
            Some((position, hash)) => {
                let event = reader.event_at(position).await?;
                event.is_none_or(|event| event.event_hash != hash).then_some(position)
            }
            None => None,
        };
        if let Some(position) = differs.or((tail.position > head).then_some(tail.position)) {
            return Err(RelayError::OtherHistory { partition: *partition, position });
        }
    }
    Ok(())
}

/// Whether a partition has less than was published to it; says which, and how much.
pub(crate) fn has_lost(topic: &str, progress: &Progress, tails: &BTreeMap<i32, Tail>) -> bool {
    let mut lost = false;
    for ((partition, tail), published) in tails.iter().zip(&progress.ordinals) {
        if tail.ordinal < *published {
            tracing::warn!(
                topic,
                partition,
                published,
                found = tail.ordinal,
                "the topic has lost events of a partition; everything is published again from the first position"
            );
            lost = true;
        }
    }
    lost
}
