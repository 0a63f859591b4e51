//! What can go wrong between the event store and its database.

use event_schemas::DecodeError;

/// A read that could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer, or refused.
    #[error("the log's database: {0}")]
    Database(#[from] sqlx::Error),
    /// The log is not what it must be; an auditor has to look at it.
    #[error("the log is broken at position {position}: {what}")]
    Broken {
        /// Where.
        position: u64,
        /// What is wrong.
        what: String,
    },
    /// An event of an unknown type or version.
    #[error("position {position}: {source}")]
    Decode {
        /// Where.
        position: u64,
        /// What is unknown.
        source: DecodeError,
    },
}

/// Why a submitted command has no outcome. Nothing was decided under its key, or it is not known
/// yet what was; sending the same request again under the same key is always safe.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The idempotency key was used for another request before.
    #[error("the idempotency key was used for another request before")]
    KeyReused,
    /// The queue is full.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The log cannot be written now.
    #[error("the log cannot be written now: {0}")]
    Unavailable(String),
}

/// A failure of the writer's own machinery.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or refused.
    #[error("the log's database: {0}")]
    Database(#[from] sqlx::Error),
    /// A stream or the head could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An event or a reply could not be written as JSON or read from it.
    #[error("as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A plan that is not double entry: the rules have a fault, and nothing of it is written.
    #[error("the plan is unsound: {0}")]
    Unsound(#[from] domain::soundness::Unsound),
    /// This machine's clock and the database's differ too much to write.
    #[error("this machine's clock is {difference_ms} ms off the database's; at most {allowed_ms} ms are allowed")]
    Clock {
        /// This clock less the database's.
        difference_ms: i64,
        /// The limit.
        allowed_ms: i64,
    },
    /// The master key is not the one that this log was begun with.
    #[error("the master key is not the one that this log was begun with; nothing is written with another")]
    MasterKey,
    /// The log's time is ahead of this machine's clock.
    #[error("the last event was recorded {ahead_ms} ms ahead of this machine's clock")]
    LogAhead {
        /// By how much.
        ahead_ms: i64,
    },
    /// The writer has no thread to run on.
    #[error("the writer cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The time zone is not known.
    #[error("unknown time zone `{0}`")]
    TimeZone(String),
}
