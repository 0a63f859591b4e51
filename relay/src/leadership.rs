//! Who leads, and how far has been published.
//!
//! The lock belongs to a session: when it ends, however it ends, another may lead. A leader that was
//! stopped and wakes up finds its session gone, or its epoch outdated, and stores nothing. A lead
//! that is lost without being noticed does no harm: what both publish is the same.

use platform::postgres;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Executor, Row};

use crate::RelayError;

/// A leader says something at least each second; the server ends the session of one that was
/// stopped, so that another can lead.
const SESSION_SETTINGS: &str = "SET idle_session_timeout = '10s'";

/// The epoch must be durable before it is used. Progress need not be: losing some means that a few
/// events are published twice, and no event waits for a disk.
const RELAXED: &str = "SET synchronous_commit = off";

/// A place in the log with the count of events of each partition up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The position; 0 before the first event.
    pub(crate) position: u64,
    /// By partition, how many events it has up to the position.
    pub(crate) ordinals: Vec<i64>,
}

/// A session that asks for the lead of one topic.
pub(crate) struct Candidate {
    connection: PgConnection,
    topic: String,
}

impl Candidate {
    pub(crate) async fn connect(writer_url: &str, topic: &str) -> Result<Self, RelayError> {
        let mut connection = postgres::connect_options(writer_url, "daybook-relay")?.connect().await?;
        connection.execute(SESSION_SETTINGS).await?;
        Ok(Self { connection, topic: topic.to_owned() })
    }

    /// Whether the lead is ours now. Once it is, it is until the session ends.
    pub(crate) async fn try_lead(&mut self) -> Result<bool, RelayError> {
        let row = sqlx::query("SELECT pg_try_advisory_lock(hashtextextended('daybook.relay:' || $1, 0)) AS mine")
            .bind(&self.topic)
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.try_get("mine")?)
    }

    /// Raises the epoch and reads how far the predecessors came.
    pub(crate) async fn lead(mut self, partitions: i32) -> Result<(Leadership, Progress), RelayError> {
        let row = sqlx::query(
            "INSERT INTO relay_progress (topic, epoch, position, ordinals) \
             VALUES ($1, 1, 0, array_fill(0::bigint, ARRAY[$2])) \
             ON CONFLICT (topic) DO UPDATE SET epoch = relay_progress.epoch + 1 \
             RETURNING epoch, position, ordinals",
        )
        .bind(&self.topic)
        .bind(partitions)
        .fetch_one(&mut self.connection)
        .await?;
        let progress =
            Progress { position: row.try_get::<i64, _>("position")? as u64, ordinals: row.try_get("ordinals")? };
        if usize::try_from(partitions) != Ok(progress.ordinals.len()) {
            let (topic, stored) = (self.topic, progress.ordinals.len());
            return Err(RelayError::Partitions { topic, stored, configured: partitions });
        }
        self.connection.execute(RELAXED).await?;
        let epoch = row.try_get("epoch")?;
        Ok((Leadership { connection: self.connection, topic: self.topic, epoch }, progress))
    }
}

/// The lead of a topic.
pub(crate) struct Leadership {
    connection: PgConnection,
    topic: String,
    epoch: i64,
}

impl Leadership {
    /// Counts the leaders.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Stores how far everything is acknowledged; `false` if somebody else leads by now.
    pub(crate) async fn store(&mut self, progress: &Progress) -> Result<bool, RelayError> {
        let done = sqlx::query(
            "UPDATE relay_progress SET position = $3, ordinals = $4 \
             WHERE topic = $1 AND epoch = $2 AND position <= $3",
        )
        .bind(&self.topic)
        .bind(self.epoch)
        .bind(progress.position as i64)
        .bind(&progress.ordinals)
        .execute(&mut self.connection)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Goes back to before the first event; gives where that is, or nothing if somebody else leads by now.
    pub(crate) async fn begin_again(&mut self) -> Result<Option<Progress>, RelayError> {
        let row = sqlx::query(
            "UPDATE relay_progress SET position = 0, ordinals = array_fill(0::bigint, ARRAY[cardinality(ordinals)]) \
             WHERE topic = $1 AND epoch = $2 RETURNING ordinals",
        )
        .bind(&self.topic)
        .bind(self.epoch)
        .fetch_optional(&mut self.connection)
        .await?;
        row.map(|row| Ok(Progress { position: 0, ordinals: row.try_get("ordinals")? })).transpose()
    }

    /// Says that the leader lives; an error means that the lead is lost.
    pub(crate) async fn keep(&mut self) -> Result<(), RelayError> {
        Ok(self.connection.ping().await?)
    }

    /// Gives the lead back at once.
    pub(crate) async fn resign(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the relay's session did not close cleanly");
        }
    }
}
