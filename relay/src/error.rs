//! What can stop the relay, for a moment or for good.

use event_store::ReadError;
use platform::ConfigError;
use platform::postgres::PostgresError;
use rdkafka::error::KafkaError;

/// Why the relay does not publish. [`RelayError::is_final`] tells what waiting cannot mend.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The configuration lacks something.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A URL cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The log's database did not answer, or refused.
    #[error("the log's database: {0}")]
    Database(#[from] sqlx::Error),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A producer could not be made.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A record was not delivered; everything after the last acknowledged position is sent again.
    #[error("kafka did not take a record: {reason}")]
    Delivery {
        /// What the client says.
        reason: String,
    },
    /// The progress was made for another number of partitions, so keys would change their partition.
    #[error("the topic {topic} was published with {stored} partitions, and {configured} are configured")]
    Partitions {
        /// The topic.
        topic: String,
        /// What the progress says.
        stored: usize,
        /// What is configured.
        configured: i32,
    },
    /// More was published than the log has: the log was put back to an earlier state.
    #[error("position {published} was published, but the log ends at {head}; was it restored from a backup?")]
    BeyondHead {
        /// The last published position.
        published: u64,
        /// Where the log ends.
        head: u64,
    },
    /// The topic does not give its last records.
    #[error("kafka does not give the last records of the topic")]
    TopicSilent,
    /// The topic has an event that the log does not have.
    #[error(
        "partition {partition} of the topic is at position {position}, where the log has nothing or another event: \
         was the log restored to an earlier point? Then it needs a new topic and new views; nothing is published"
    )]
    OtherHistory {
        /// The partition.
        partition: i32,
        /// The position at which they differ.
        position: u64,
    },
}

impl RelayError {
    /// What kind of trouble it is: failures of one kind in a row are told once.
    pub fn code(&self) -> &'static str {
        match self {
            RelayError::Config(_) => "config",
            RelayError::Postgres(_) | RelayError::Database(_) | RelayError::Read(ReadError::Database(_)) => "database",
            RelayError::Read(ReadError::Broken { .. } | ReadError::Decode { .. }) => "log_broken",
            RelayError::Kafka(_) | RelayError::TopicSilent => "kafka",
            RelayError::Delivery { .. } => "delivery",
            RelayError::Partitions { .. } => "partitions",
            RelayError::BeyondHead { .. } => "beyond_head",
            RelayError::OtherHistory { .. } => "other_history",
        }
    }

    /// Whether trying again is pointless.
    pub fn is_final(&self) -> bool {
        match self {
            RelayError::Config(_) | RelayError::Partitions { .. } | RelayError::Postgres(PostgresError::Url) => true,
            RelayError::Postgres(PostgresError::Unreachable { .. } | PostgresError::Refused { .. })
            | RelayError::Database(_)
            | RelayError::Read(_)
            | RelayError::Kafka(_)
            | RelayError::Delivery { .. }
            | RelayError::TopicSilent
            | RelayError::OtherHistory { .. }
            | RelayError::BeyondHead { .. } => false,
        }
    }

    /// Whether only an operator can mend it: log and topic tell different histories.
    pub fn needs_operator(&self) -> bool {
        matches!(self, RelayError::BeyondHead { .. } | RelayError::OtherHistory { .. })
    }
}
