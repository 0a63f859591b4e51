//! How far a projection is, for operators.

use sqlx::{Executor, PgPool, Row};

use crate::ProjectorError;

/// A projection at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub projection: String,
    /// The topic it is made from.
    pub topic: String,
    /// Every event of the log up to this position is in the read models.
    pub applied_position: u64,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionStatus>,
    /// Streams that stand still, the oldest first; at most a thousand.
    pub parked: Vec<ParkedStream>,
}

impl ProjectionStatus {
    /// How many events of a log with that head are not applied in all partitions; at most that many
    /// are missing in what readers see.
    pub fn lag(&self, head_position: u64) -> u64 {
        head_position.saturating_sub(self.applied_position)
    }

    /// How many events are applied, over all partitions.
    pub fn events(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.ordinal).sum()
    }
}

/// A partition of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: i32,
    /// The offset to read next.
    pub next_offset: u64,
    /// How many events of it are applied.
    pub ordinal: u64,
    /// Every event of it up to this position is applied.
    pub watermark: u64,
    /// How often it has changed hands.
    pub epoch: u64,
    /// Why it stands still, if it does.
    pub stopped: Option<String>,
}

/// A stream that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedStream {
    /// The stream, for example `account/…`.
    pub stream: String,
    /// From this event on nothing of it is applied.
    pub first_position: u64,
    /// How many events wait.
    pub events: u64,
    /// Why the first of them cannot be applied.
    pub error: Option<String>,
}

/// How far a projection is, in one snapshot.
///
/// # Errors
/// The database does not answer, or there is no such projection.
pub async fn status(pool: &PgPool, projection: &str) -> Result<ProjectionStatus, ProjectorError> {
    let mut tx = pool.begin().await?;
    tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let found = sqlx::query("SELECT topic, applied_position($1) AS applied FROM projections WHERE projection = $1")
        .bind(projection)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| ProjectorError::UnknownProjection { projection: projection.to_owned() })?;
    let partitions = sqlx::query(
        "SELECT partition, next_offset, ordinal, watermark, epoch, stopped FROM projection_progress \
         WHERE projection = $1 ORDER BY partition",
    )
    .bind(projection)
    .fetch_all(&mut *tx)
    .await?;
    let parked = sqlx::query(
        "SELECT stream, first_position, events, error FROM parked_streams WHERE projection = $1 \
         ORDER BY first_position LIMIT 1000",
    )
    .bind(projection)
    .fetch_all(&mut *tx)
    .await?;
    tx.rollback().await?;
    let count = |row: &sqlx::postgres::PgRow, column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(ProjectionStatus {
        projection: projection.to_owned(),
        topic: found.try_get("topic")?,
        applied_position: count(&found, "applied")?,
        partitions: partitions
            .iter()
            .map(|row| {
                Ok(PartitionStatus {
                    partition: row.try_get("partition")?,
                    next_offset: count(row, "next_offset")?,
                    ordinal: count(row, "ordinal")?,
                    watermark: count(row, "watermark")?,
                    epoch: count(row, "epoch")?,
                    stopped: row.try_get("stopped")?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?,
        parked: parked
            .iter()
            .map(|row| {
                Ok(ParkedStream {
                    stream: row.try_get("stream")?,
                    first_position: count(row, "first_position")?,
                    events: count(row, "events")?,
                    error: row.try_get("error")?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?,
    })
}
