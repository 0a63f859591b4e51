//! Events that could not be applied: the table `parked_events`.
//!
//! A stream with a parked event stays parked: all its later events wait behind it, in order, so that
//! nothing is applied on a state from which something is missing.

use std::collections::HashSet;

use domain::StreamId;
use sqlx::{PgConnection, PgPool, Row};

use crate::batch::Delivered;

/// The streams that are parked, of the partitions of one owner.
pub(crate) type ParkedStreams = HashSet<StreamId>;

/// The streams that are parked in these partitions.
pub(crate) async fn streams(pool: &PgPool, projection: &str, partitions: &[i32]) -> Result<ParkedStreams, sqlx::Error> {
    let rows = sqlx::query("SELECT DISTINCT stream FROM parked_events WHERE projection = $1 AND partition = ANY($2)")
        .bind(projection)
        .bind(partitions)
        .fetch_all(pool)
        .await?;
    let mut streams = ParkedStreams::new();
    for row in rows {
        let stream: String = row.try_get("stream")?;
        let stream = stream.parse().map_err(|source| sqlx::Error::Decode(Box::new(source)))?;
        streams.insert(stream);
    }
    Ok(streams)
}

/// Parks an event: with the reason why it cannot be applied, or behind one of its stream.
pub(crate) async fn park_in_tx(
    connection: &mut PgConnection,
    projection: &str,
    delivered: &Delivered,
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    let recorded = &delivered.recorded;
    sqlx::query(
        "INSERT INTO parked_events (projection, position, partition, ordinal, kafka_offset, stream, sequence, \
             event_type, event_version, recorded_at, command_id, payload, metadata, error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(projection)
    .bind(recorded.position as i64)
    .bind(delivered.partition)
    .bind(delivered.ordinal)
    .bind(delivered.offset)
    .bind(recorded.stream.to_string())
    .bind(recorded.sequence as i64)
    .bind(&recorded.event_type)
    .bind(&recorded.event_version)
    .bind(recorded.recorded_at())
    .bind(&recorded.command_id)
    .bind(&recorded.payload)
    .bind(&recorded.metadata)
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
}
