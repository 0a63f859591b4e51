//! How far the read models are, and what stands still in them.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::api::Api;
use crate::parameters::{Freshness, Parameters};
use crate::reply::{Answer, Result, serialize_time};

/// Most parked streams that are listed; `parked_streams` of each projection counts all.
const PARKED_MAX: i64 = 500;

/// How far a projection is in one partition of the topic.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct PartitionProgress {
    #[serde(skip)]
    #[schema(ignore)]
    projection: String,
    /// The partition.
    partition: i32,
    /// The offset in Kafka to read next.
    next_offset: i64,
    /// How many events of the partition are applied.
    ordinal: i64,
    /// Every event of the partition up to this position of the log is applied.
    watermark: i64,
    /// Raised by every new owner.
    epoch: i64,
    /// Why the partition stands still, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// A projection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectionView {
    /// Its name.
    #[schema(example = "core")]
    projection: String,
    /// The topic that it reads.
    #[schema(example = "daybook.events")]
    topic: String,
    /// Every event of the log up to this position is applied.
    applied_position: i64,
    /// How many positions the log's head is ahead of it.
    lag: u64,
    /// How many streams stand still because an event of them could not be applied.
    parked_streams: i64,
    /// How many partitions stand still.
    stopped_partitions: usize,
    /// By partition.
    partitions: Vec<PartitionProgress>,
}

/// A stream that stands still.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct ParkedStream {
    /// The projection.
    #[schema(example = "core")]
    projection: String,
    /// The stream.
    #[schema(example = "account/01890f3e-7b1c-7cc2-98c4-dc0c0c07398f")]
    stream: String,
    /// The position of the first event that is not applied.
    first_position: i64,
    /// How many events are not applied.
    events: i64,
    /// Since when (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_time")]
    parked_since: DateTime<Utc>,
    /// Why the first of them could not be applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// All projections.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Projections {
    /// The log's head.
    head: u64,
    /// The projections.
    items: Vec<ProjectionView>,
    /// Streams that stand still, the first parked first, 500 at most.
    parked: Vec<ParkedStream>,
}

/// How far the read models are, and what stands still in them.
#[utoipa::path(
    get, path = "/v1/projections", tag = "operations", params(Freshness),
    responses((status = 200, description = "Progress by projection and partition", body = Projections))
)]
pub(crate) async fn list_projections(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<Projections>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    // Read after the snapshot was made, so that the head is never behind it.
    let head = api.log.head().await?.position;
    let items = select_projections(snapshot.connection(), head).await?;
    let parked = select_parked(snapshot.connection()).await?;
    Ok(Answer::new(snapshot.position, Projections { head, items, parked }))
}

async fn select_projections(connection: &mut PgConnection, head: u64) -> Result<Vec<ProjectionView>> {
    let sql = "SELECT projection, topic, applied_position(projection), \
               (SELECT count(*) FROM parked_streams s WHERE s.projection = p.projection) \
               FROM projections p ORDER BY projection";
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql).fetch_all(&mut *connection).await?;
    let sql = "SELECT projection, partition, next_offset, ordinal, watermark, epoch, stopped \
               FROM projection_progress ORDER BY projection, partition";
    let mut progress: Vec<PartitionProgress> = sqlx::query_as(sql).fetch_all(connection).await?;
    let view = |(projection, topic, applied_position, parked_streams): (String, String, i64, i64)| {
        let partitions: Vec<_> = progress.extract_if(.., |row| row.projection == projection).collect();
        ProjectionView {
            lag: head.saturating_sub(u64::try_from(applied_position).unwrap_or(0)),
            stopped_partitions: partitions.iter().filter(|partition| partition.stopped.is_some()).count(),
            projection,
            topic,
            applied_position,
            parked_streams,
            partitions,
        }
    };
    Ok(rows.into_iter().map(view).collect())
}

async fn select_parked(connection: &mut PgConnection) -> Result<Vec<ParkedStream>> {
    let sql = "SELECT projection, stream, first_position, events, parked_since, error \
               FROM parked_streams ORDER BY first_position LIMIT $1";
    Ok(sqlx::query_as(sql).bind(PARKED_MAX).fetch_all(connection).await?)
}
