//! Clients of Apache Kafka: settings of producers and consumers, the partition of a key, the topic.
//!
//! Invariants: a record that was handed over is delivered or the producer stops (there is never a
//! gap that nobody notices); offsets are not committed here, since they live in the read model's
//! own transactions; the topic keeps everything; the partition of a key is Java's.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaErrorCode;
use std::time::{Duration, Instant};

/// How long an administrative request may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a new topic may take until every partition has a leader.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest record in bytes: the topic, the producer and the consumer agree on it.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A killed consumer holds its partitions this long, in milliseconds.
pub const SESSION_TIMEOUT_MS: u32 = 6_000;

/// What a topic that keeps everything is made with, and must still have when it is found.
const KEEPS_EVERYTHING: [(&str, &str); 3] =
    [("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")];

/// Why a topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker answered, or it refused the request.
    #[error("kafka: {0}")]
    Client(ClientError),
    /// The broker refused to make, describe or delete the topic.
    #[error("the broker refused topic {topic}: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's reason.
        code: RDKafkaErrorCode,
    },
    /// The topic exists with another number of partitions; keys would change their partition.
    #[error(
        "topic {topic} has {found} partitions, and {wanted} are configured; partitions are never \
         added in place: set DAYBOOK_PARTITIONS={found}, or name a new topic"
    )]
    PartitionMismatch {
        /// The topic.
        topic: String,
        /// What it has.
        found: i32,
        /// What is configured.
        wanted: i32,
    },
    /// The topic exists and would forget records, so that no read model could be rebuilt from it.
    #[error("topic {topic} has {key}={found}, and {key}={wanted} is needed: it must keep everything")]
    Forgets {
        /// The topic.
        topic: String,
        /// The setting.
        key: &'static str,
        /// What it has.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// A new topic has not become usable in time.
    #[error("topic {topic} was created, but not all its partitions have a leader after {waited_s} s")]
    NotReady {
        /// The topic.
        topic: String,
        /// How long was waited, in seconds.
        waited_s: u64,
    },
    /// The thread that asked the broker ended without an answer.
    #[error("asking the broker did not end in an answer")]
    Interrupted,
}

impl From<ClientError> for KafkaError {
    fn from(cause: ClientError) -> Self {
        Self::Client(cause)
    }
}

/// Whether a topic was made now or found as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicOutcome {
    /// Made now.
    Created,
    /// Found, with the right partitions and retention.
    Existing,
}

/// What every client is made with.
fn client_config(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        // A broker that comes back is found within a second.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000");
    config
}

/// Settings of a producer that loses nothing and keeps order: idempotent, acknowledged by all
/// replicas, retrying for ever. A record is never given up on its own (`message.timeout.ms=0`): a
/// failure of one is fatal for the producer, and its user resumes from the last acknowledged
/// position with a new one.
pub fn producer_config(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = client_config(brokers, client_id);
    config
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("max.in.flight.requests.per.connection", "5")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "1000")
        .set("compression.type", "lz4")
        .set("message.max.bytes", RECORD_BYTES_MAX.to_string())
        // A group commit arrives in one burst: a millisecond gathers it, five would be felt.
        .set("linger.ms", "1")
        // For records whose partition the caller does not name; Java clients then agree.
        .set("partitioner", "murmur2_random");
    config
}

/// Settings of a consumer of a group whose offsets live in its own database: nothing is committed,
/// and an offset that the topic does not have is an error, never a silent jump.
///
/// The assignment is eager (`range`): with one topic it is balanced, and every assignment is one
/// call that takes all partitions with their offsets from the database, so that there is one way
/// to become the owner of a partition and not two.
pub fn consumer_config(brokers: &str, client_id: &str, group: &str) -> ClientConfig {
    let mut config = client_config(brokers, client_id);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string())
        .set("heartbeat.interval.ms", "1500")
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "50")
        .set("fetch.error.backoff.ms", "100")
        // Bounds what is fetched ahead, in memory.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.message.max.bytes", RECORD_BYTES_MAX.to_string());
    config
}

/// Makes the topic if it is not there, with these partitions and copies, keeping everything; a
/// topic that is there must have the same partitions and keep everything. Safe to repeat and to
/// run at once from several places. Returns when every partition has a leader.
pub async fn ensure_topic(
    brokers: &str,
    topic: &str,
    partitions: i32,
    replication: i32,
) -> Result<TopicOutcome, KafkaError> {
    let admin = admin_client(brokers)?;
    let record_bytes_max = RECORD_BYTES_MAX.to_string();
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication))
        .set("max.message.bytes", &record_bytes_max)
        .set("message.timestamp.type", "CreateTime");
    for (key, value) in KEEPS_EVERYTHING {
        wanted = wanted.set(key, value);
    }
    if replication >= 3 {
        // One copy may be away without stopping the relay, two may not.
        wanted = wanted.set("min.insync.replicas", "2");
    }
    let results = admin.create_topics([&wanted], &admin_options()).await?;
    for result in results {
        match result {
            Ok(_) => {
                await_leaders(brokers, topic, partitions).await?;
                return Ok(TopicOutcome::Created);
            }
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(KafkaError::Refused { topic, code }),
        }
    }
    await_leaders(brokers, topic, partitions).await?;
    check_retention(&admin, topic).await?;
    Ok(TopicOutcome::Existing)
}

/// Deletes a topic; one that is not there is deleted already. For tests and `clean`.
pub async fn delete_topic(brokers: &str, topic: &str) -> Result<(), KafkaError> {
    let results = admin_client(brokers)?.delete_topics(&[topic], &admin_options()).await?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, code)) => return Err(KafkaError::Refused { topic, code }),
        }
    }
    Ok(())
}

/// How many partitions a topic has; `None` if it is not there.
pub async fn partition_count(brokers: &str, topic: &str) -> Result<Option<i32>, KafkaError> {
    Ok(topic_state(brokers, topic).await?.map(|state| state.partitions))
}

/// The identifier of the cluster, which says that a broker answers; `None` if it has none.
pub async fn cluster_id(brokers: &str, timeout: Duration) -> Result<Option<String>, KafkaError> {
    let admin = admin_client(brokers)?;
    ask(move || {
        admin.inner().fetch_metadata(None, timeout)?;
        Ok(admin.inner().fetch_cluster_id(timeout))
    })
    .await
}

struct TopicState {
    partitions: i32,
    leaders: i32,
}

async fn topic_state(brokers: &str, topic: &str) -> Result<Option<TopicState>, KafkaError> {
    let admin = admin_client(brokers)?;
    let topic = topic.to_owned();
    ask(move || {
        // All topics are asked for, since asking for one by its name may create it on a broker
        // that makes topics by itself.
        let metadata = admin.inner().fetch_metadata(None, ADMIN_TIMEOUT)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        Ok(found.map(|found| TopicState {
            partitions: count(found.partitions().len()),
            leaders: count(
                found
                    .partitions()
                    .iter()
                    .filter(|partition| partition.leader() >= 0 && partition.error().is_none())
                    .count(),
            ),
        }))
    })
    .await
}

async fn await_leaders(brokers: &str, topic: &str, partitions: i32) -> Result<(), KafkaError> {
    let began = Instant::now();
    loop {
        if let Some(state) = topic_state(brokers, topic).await? {
            if state.partitions != partitions && state.partitions > 0 {
                return Err(KafkaError::PartitionMismatch {
                    topic: topic.to_owned(),
                    found: state.partitions,
                    wanted: partitions,
                });
            }
            if state.leaders == partitions {
                return Ok(());
            }
        }
        if began.elapsed() >= LEADERS_TIMEOUT {
            return Err(KafkaError::NotReady { topic: topic.to_owned(), waited_s: LEADERS_TIMEOUT.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn check_retention(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), KafkaError> {
    let resources = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &admin_options()).await?;
    for resource in resources {
        let resource: ConfigResource =
            resource.map_err(|code| KafkaError::Refused { topic: topic.to_owned(), code })?;
        for (key, wanted) in KEEPS_EVERYTHING {
            let found = resource.get(key).and_then(|entry| entry.value.as_deref());
            if let Some(found) = found.filter(|found| *found != wanted) {
                return Err(KafkaError::Forgets { topic: topic.to_owned(), key, found: found.to_owned(), wanted });
            }
        }
    }
    Ok(())
}

fn admin_client(brokers: &str) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    Ok(client_config(brokers, "platform-admin").create()?)
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT))
}

/// Runs a call of the client that blocks its thread.
async fn ask<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, KafkaError> {
    let answered = tokio::task::spawn_blocking(call).await;
    Ok(answered.map_err(|_| KafkaError::Interrupted)??)
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// The partition of a key as Java's default partitioner chooses it:
/// `toPositive(murmur2(key)) % partitions`. Partitions below 1 count as 1.
///
/// ```
/// assert_eq!(platform::kafka::murmur2_partition(b"abc", 12), 3);
/// ```
pub fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2 with the seed and the sign of `org.apache.kafka.common.utils.Utils.murmur2`.
pub fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's length is an int; a key is never longer.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = key.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = word.iter().rev().fold(0_u32, |k, byte| (k << 8) | u32::from(*byte)).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0_u32, |k, byte| (k << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{consumer_config, murmur2, murmur2_partition, producer_config};
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    /// From Apache Kafka's own `UtilsTest.testMurmur2`.
    const VECTORS: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    #[test]
    fn hashes_are_java_s() {
        for (key, hash) in VECTORS {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn partitions_are_java_s() {
        for (key, hash) in VECTORS {
            let expected = (hash & i32::MAX) % 12;
            assert_eq!(murmur2_partition(key.as_bytes(), 12), expected, "{key}");
        }
        assert_eq!(murmur2_partition(b"abc", 1), 0);
        assert_eq!(murmur2_partition(b"", 0), 0);
    }

    #[test]
    fn librdkafka_takes_the_settings() {
        let producer: Result<BaseProducer, _> = producer_config("127.0.0.1:1", "test").create();
        assert!(producer.is_ok(), "{:?}", producer.err());
        let consumer: Result<BaseConsumer, _> = consumer_config("127.0.0.1:1", "test", "g").create();
        assert!(consumer.is_ok(), "{:?}", consumer.err());
    }
}
