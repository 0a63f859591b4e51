//! How far each partition of a projection is: the table `projection_progress`.
//!
//! Rows are always locked in the order of partitions, and before anything else in a transaction, so
//! that claims, flushes and rebuilds wait for each other and never in a circle.

use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::ProjectorError;

/// The channel on which every commit into the read models is announced; the payload is the name of
/// the projection.
pub const APPLIED_CHANNEL: &str = "daybook_views";

/// What a new owner takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) partition: i32,
    pub(crate) next_offset: i64,
    pub(crate) ordinal: i64,
    pub(crate) watermark: i64,
    pub(crate) epoch: i64,
}

/// How a flush moves a partition on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advance {
    /// What the owner believes.
    pub(crate) from: Claim,
    /// What is true after the flush.
    pub(crate) next_offset: i64,
    pub(crate) ordinal: i64,
    pub(crate) watermark: i64,
}

/// Makes the projection's rows at its first start, all partitions at once and at zero; later checks
/// that it is still the same topic. Gives the identity of this database's projection.
pub(crate) async fn seed(
    pool: &PgPool,
    projection: &str,
    topic: &str,
    partitions: i32,
) -> Result<Uuid, ProjectorError> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO projections (projection, topic, partitions) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(projection)
        .bind(topic)
        .bind(partitions)
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query("SELECT topic, partitions, instance FROM projections WHERE projection = $1")
        .bind(projection)
        .fetch_one(&mut *tx)
        .await?;
    let (stored_topic, stored_partitions): (String, i32) = (row.try_get("topic")?, row.try_get("partitions")?);
    if stored_topic != topic || stored_partitions != partitions {
        return Err(ProjectorError::OtherTopic {
            projection: projection.to_owned(),
            stored_topic,
            stored_partitions,
            topic: topic.to_owned(),
            partitions,
        });
    }
    sqlx::query(
        "INSERT INTO projection_progress (projection, partition) SELECT $1, generate_series(0, $2 - 1) \
         ON CONFLICT DO NOTHING",
    )
    .bind(projection)
    .bind(partitions)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.try_get("instance")?)
}

/// Becomes the owner of these partitions: their epochs are raised, so that nobody else writes any more.
pub(crate) async fn claim(pool: &PgPool, projection: &str, partitions: &[i32]) -> Result<Vec<Claim>, sqlx::Error> {
    let rows = sqlx::query(
        "WITH locked AS (SELECT partition FROM projection_progress \
                         WHERE projection = $1 AND partition = ANY($2) ORDER BY partition FOR UPDATE) \
         UPDATE projection_progress p SET epoch = p.epoch + 1 FROM locked l \
         WHERE p.projection = $1 AND p.partition = l.partition \
         RETURNING p.partition, p.next_offset, p.ordinal, p.watermark, p.epoch",
    )
    .bind(projection)
    .bind(partitions)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Claim {
                partition: row.try_get("partition")?,
                next_offset: row.try_get("next_offset")?,
                ordinal: row.try_get("ordinal")?,
                watermark: row.try_get("watermark")?,
                epoch: row.try_get("epoch")?,
            })
        })
        .collect()
}

/// Moves the partitions on; `false` if one of them is no longer where, or whose, its owner believes.
/// To be called first in the transaction: it keeps everybody else out until the end of it.
pub(crate) async fn advance_in_tx(
    connection: &mut PgConnection,
    projection: &str,
    advances: &[Advance],
) -> Result<bool, sqlx::Error> {
    let column = |of: fn(&Advance) -> i64| advances.iter().map(of).collect::<Vec<_>>();
    let partitions: Vec<i32> = advances.iter().map(|advance| advance.from.partition).collect();
    let done = sqlx::query(
        "WITH locked AS (SELECT partition FROM projection_progress \
                         WHERE projection = $1 AND partition = ANY($2) ORDER BY partition FOR UPDATE) \
         UPDATE projection_progress p \
         SET next_offset = u.next_offset, ordinal = u.ordinal, watermark = u.watermark, stopped = NULL \
         FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) \
              AS u (partition, old_offset, epoch, next_offset, ordinal, watermark) \
         JOIN locked USING (partition) \
         WHERE p.projection = $1 AND p.partition = u.partition \
           AND p.next_offset = u.old_offset AND p.epoch = u.epoch",
    )
    .bind(projection)
    .bind(&partitions)
    .bind(column(|advance| advance.from.next_offset))
    .bind(column(|advance| advance.from.epoch))
    .bind(column(|advance| advance.next_offset))
    .bind(column(|advance| advance.ordinal))
    .bind(column(|advance| advance.watermark))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == advances.len() as u64)
}

/// Announces the commit to those who wait for a position.
pub(crate) async fn announce_in_tx(connection: &mut PgConnection, projection: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(APPLIED_CHANNEL).bind(projection).execute(connection).await?;
    Ok(())
}

/// Whether somebody has put one of the partitions back behind where its owner is: a rebuild. That
/// another owner has gone on is no reason to take a partition back from it.
pub(crate) async fn was_reset(
    pool: &PgPool,
    projection: &str,
    next_offsets: &[(i32, i64)],
) -> Result<bool, sqlx::Error> {
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = next_offsets.iter().copied().unzip();
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM projection_progress p \
             JOIN unnest($2::int[], $3::bigint[]) AS u (partition, next_offset) USING (partition) \
             WHERE p.projection = $1 AND p.next_offset < u.next_offset) AS reset",
    )
    .bind(projection)
    .bind(partitions)
    .bind(offsets)
    .fetch_one(pool)
    .await?;
    row.try_get("reset")
}

/// Writes down why a partition stands still, for operators. Cleared by its next advance.
pub(crate) async fn mark_stopped(
    pool: &PgPool,
    projection: &str,
    claim: &Claim,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE projection_progress SET stopped = $4 WHERE projection = $1 AND partition = $2 AND epoch = $3")
        .bind(projection)
        .bind(claim.partition)
        .bind(claim.epoch)
        .bind(reason)
        .execute(pool)
        .await?;
    Ok(())
}
