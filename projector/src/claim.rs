//! Becoming the owner of partitions, in the consumer's rebalance callback or again after a failure.
//!
//! There is one way to own a partition: raise its epoch in the database and read from the offset that
//! the database has. The group only says who should try. Every assignment names its offsets in numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use sqlx::PgPool;
use tokio::runtime::Handle;

use crate::parking::{self, ParkedStreams};
use crate::progress::{self, Claim};

/// What a consumer has been given.
#[derive(Debug)]
pub(crate) enum Assignment {
    /// These partitions, from these offsets, with these streams parked.
    Claimed(Vec<Claim>, ParkedStreams),
    /// These partitions, but the database did not answer: nothing is read until a claim succeeds.
    Unclaimed(Vec<i32>, String),
    /// Nothing.
    Revoked,
}

/// Answers the group's assignments. Runs on the consumer's own thread, inside `poll`.
pub(crate) struct Owner {
    pub(crate) handle: Handle,
    pub(crate) pool: PgPool,
    pub(crate) projection: String,
    pub(crate) topic: String,
    /// The last assignment that the consumer's loop has not seen yet.
    news: Mutex<Option<Assignment>>,
    /// By partition, the offset after its last record, as the client says from time to time.
    ends: Mutex<BTreeMap<i32, i64>>,
}

impl Owner {
    pub(crate) fn new(handle: Handle, pool: PgPool, projection: String, topic: String) -> Self {
        Self { handle, pool, projection, topic, news: Mutex::new(None), ends: Mutex::default() }
    }

    /// What has changed since the last call.
    pub(crate) fn news(&self) -> Option<Assignment> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// By partition, the offset after its last record as far as the client knows.
    pub(crate) fn ends(&self) -> BTreeMap<i32, i64> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, assignment: Assignment) {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = Some(assignment);
    }

    /// Tries once to become the owner, and has the consumer read from where the database is. If that
    /// fails, the consumer keeps the partitions and reads nothing of them.
    pub(crate) fn claim(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) -> KafkaResult<Assignment> {
        let claimed = self.handle.block_on(async {
            let claims = progress::claim(&self.pool, &self.projection, partitions).await?;
            let parked = parking::streams(&self.pool, &self.projection, partitions).await?;
            Ok::<_, sqlx::Error>((claims, parked))
        });
        match claimed {
            Ok((claims, _)) if claims.len() != partitions.len() => {
                self.hold(consumer)?;
                let reason = format!("the topic has other partitions than the projection: {partitions:?}");
                Ok(Assignment::Unclaimed(partitions.to_vec(), reason))
            }
            Ok((claims, parked)) => {
                let mut offsets = TopicPartitionList::with_capacity(claims.len());
                for claim in &claims {
                    offsets.add_partition_offset(&self.topic, claim.partition, Offset::Offset(claim.next_offset))?;
                }
                consumer.assign(&offsets)?;
                Ok(Assignment::Claimed(claims, parked))
            }
            Err(error) => {
                self.hold(consumer)?;
                Ok(Assignment::Unclaimed(partitions.to_vec(), error.to_string()))
            }
        }
    }

    /// Reads nothing of what the group gave to this consumer. They stay its own: the group asks for them
    /// back, whether they are read or not.
    ///
    /// Not by an assignment at the end of the partitions: the client then asks the broker where that is,
    /// and an answer that comes after the next claim, late, takes the partition from the claim's
    /// offset to the end without a word (librdkafka 2.12). Nor by a pause, which can overtake an
    /// assignment that is still under way.
    pub(crate) fn hold(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        consumer.assign(&TopicPartitionList::new())
    }
}

impl ClientContext for Owner {
    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        // −1001 and the like: not known yet.
        let known = topic.partitions.values().filter(|partition| partition.partition >= 0 && partition.hi_offset >= 0);
        let ends = known.map(|partition| (partition.partition, partition.hi_offset)).collect();
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "the consumer: {line}");
            }
            // A broker that is away is an error to the client at each try; the loop says it once.
            RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => tracing::debug!(facility, "the consumer: {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The loop says once when Kafka stops answering.
        tracing::debug!(%error, reason, "the consumer reports");
    }
}

impl ConsumerContext for Owner {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let answered = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let partitions: Vec<i32> = partitions.elements().iter().map(|element| element.partition()).collect();
            self.claim(consumer, &partitions).map(|assignment| self.tell(assignment))
        } else {
            self.tell(Assignment::Revoked);
            consumer.unassign()
        };
        if let Err(error) = answered {
            tracing::error!(%error, "the consumer could not take its partitions");
            self.tell(Assignment::Revoked);
        }
    }
}
