//! What can stop a projector, for a moment or for good.

use platform::ConfigError;
use platform::postgres::PostgresError;
use rdkafka::error::KafkaError;

/// Why a projector does not run. [`ProjectorError::is_final`] tells what waiting cannot mend.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    /// The configuration lacks something.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL of the read models cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The read models' database did not answer, or refused.
    #[error("the database of the read models: {0}")]
    Database(#[from] sqlx::Error),
    /// The consumer could not be made, or cannot go on.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// The read models were made from another topic, or from one with other partitions.
    #[error(
        "the projection {projection} was made from {stored_topic} with {stored_partitions} partitions, not from \
         {topic} with {partitions}: its offsets mean nothing there"
    )]
    OtherTopic {
        /// The projection.
        projection: String,
        /// The topic it was made from.
        stored_topic: String,
        /// With how many partitions.
        stored_partitions: i32,
        /// The configured topic.
        topic: String,
        /// The configured number of partitions.
        partitions: i32,
    },
    /// There is no projection of that name.
    #[error("there is no projection `{projection}`; there is `core`, once a projector has started")]
    UnknownProjection {
        /// The name that was given.
        projection: String,
    },
    /// The client hands over nothing of a partition, and another assignment did not mend it.
    #[error("the client hands over nothing of partition {partition} after offset {next_offset}, and the topic has it")]
    Stalled {
        /// The partition.
        partition: i32,
        /// What comes next.
        next_offset: i64,
    },
    /// The consumer's thread could not be started, or ended without an answer.
    #[error("the consumer's thread: {reason}")]
    Thread {
        /// Why.
        reason: String,
    },
}

impl ProjectorError {
    /// Whether trying again is pointless.
    pub fn is_final(&self) -> bool {
        match self {
            ProjectorError::Config(_)
            | ProjectorError::Postgres(PostgresError::Url)
            | ProjectorError::OtherTopic { .. }
            | ProjectorError::UnknownProjection { .. }
            | ProjectorError::Thread { .. } => true,
            ProjectorError::Postgres(PostgresError::Unreachable { .. } | PostgresError::Refused { .. })
            | ProjectorError::Database(_)
            | ProjectorError::Kafka(_)
            | ProjectorError::Stalled { .. } => false,
        }
    }
}
