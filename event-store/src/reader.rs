//! The read half: the log in order, streams, single events. Works under a role that may only SELECT.

use chrono::{DateTime, Utc};
use domain::{Event, StreamId};
use event_schemas::Recorded;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use crate::error::ReadError;
use crate::hash::Hash;

/// The channel on which every commit that wrote events is announced; the payload is the head's position.
pub const NOTIFY_CHANNEL: &str = "daybook_events";

/// How many events of a stream are read at once.
const STREAM_PAGE: u32 = 1_000;

/// The columns of an event in the order that [`recorded`] reads, each as it is stored: whatever the
/// database would turn into something else costs it more than the reading.
pub(crate) const COLUMNS: &str = "position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, payload, metadata, command_id, event_hash, chain_hash";

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts the commits.
    pub batch: i64,
    /// The last event's position; 0 for an empty log.
    pub position: u64,
    /// When the last event was recorded, in microseconds since the epoch.
    pub recorded_at_us: i64,
    /// The last event's chain hash.
    pub chain_hash: Hash,
}

/// Reads the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogReader {
    pool: PgPool,
}

impl LogReader {
    /// A reader on that pool; its role needs SELECT only.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Where the log ends now.
    pub async fn head(&self) -> Result<Head, ReadError> {
        let row = sqlx::query(HEAD).fetch_one(&self.pool).await?;
        head(&row)
    }

    /// Up to `limit` events after `position`, in order. A gap is an error, never skipped.
    pub async fn events_after(&self, position: u64, limit: u32) -> Result<Vec<Recorded>, ReadError> {
        // The upper bound lets the planner prune partitions and keeps the plan on the primary key.
        let sql = format!("SELECT {COLUMNS} FROM events WHERE position > $1 AND position <= $2 ORDER BY position");
        let rows = sqlx::query(&sql)
            .bind(position as i64)
            .bind(position as i64 + i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let events = rows.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
        for (expected, event) in (position + 1..).zip(&events) {
            if event.position != expected {
                return Err(ReadError::Broken {
                    position: expected,
                    what: format!("missing; the next event found is {}", event.position),
                });
            }
        }
        Ok(events)
    }

    /// The position of the last event recorded at or before that time; 0 if there is none. Found by
    /// halving, since `recorded_at` never falls from one position to the next.
    pub async fn position_at(&self, recorded_at_us: i64) -> Result<u64, ReadError> {
        let head = self.head().await?;
        if head.recorded_at_us <= recorded_at_us {
            return Ok(head.position);
        }
        // The event at `low` counts, the one at `high` does not.
        let (mut low, mut high) = (0, head.position);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let event = self.event_at(middle).await?;
            let event = event.ok_or(ReadError::Broken { position: middle, what: "missing below the head".into() })?;
            if event.recorded_at_us <= recorded_at_us {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The event at a position.
    pub async fn event_at(&self, position: u64) -> Result<Option<Recorded>, ReadError> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE position = $1");
        let row = sqlx::query(&sql).bind(position as i64).fetch_optional(&self.pool).await?;
        row.as_ref().map(recorded).transpose()
    }

    /// Up to `limit` events of a stream after a sequence, in order.
    pub async fn stream_after(&self, stream: StreamId, sequence: u64, limit: u32) -> Result<Vec<Recorded>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE aggregate_id = $1 AND aggregate_type = $2 AND sequence > $3 \
             ORDER BY sequence LIMIT $4"
        );
        let rows = sqlx::query(&sql)
            .bind(stream.id_text())
            .bind(stream.kind.name())
            .bind(sequence as i64)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let events = rows.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
        for (expected, event) in (sequence + 1..).zip(&events) {
            if event.sequence != expected {
                return Err(ReadError::Broken {
                    position: event.position,
                    what: format!("sequence {} of {stream} where {expected} was expected", event.sequence),
                });
            }
        }
        Ok(events)
    }

    /// All events of a stream, decoded, in order; none for a stream that is not there.
    pub async fn events_of(&self, stream: StreamId) -> Result<Vec<Event>, ReadError> {
        let mut events = Vec::new();
        loop {
            let page = self.stream_after(stream, events.len() as u64, STREAM_PAGE).await?;
            let last = page.len() < STREAM_PAGE as usize;
            for recorded in &page {
                let position = recorded.position;
                events.push(recorded.event().map_err(|source| ReadError::Decode { position, source })?);
            }
            if last {
                return Ok(events);
            }
        }
    }

    /// All events of some types of several streams, those of a stream in order. One look for them all;
    /// the streams are to be few thousands, and the types such as are rare in them.
    pub async fn events_of_streams(&self, streams: &[StreamId], types: &[&str]) -> Result<Vec<Recorded>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events JOIN unnest($1::text[], $2::text[]) AS wanted (id, kind) \
             ON aggregate_id = wanted.id AND aggregate_type = wanted.kind \
             WHERE event_type = ANY($3) ORDER BY aggregate_id, sequence"
        );
        let rows = sqlx::query(&sql)
            .bind(streams.iter().map(StreamId::id_text).collect::<Vec<_>>())
            .bind(streams.iter().map(|stream| stream.kind.name()).collect::<Vec<_>>())
            .bind(types)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(recorded).collect()
    }

    /// Events of some types after a position and up to another, in order; at most `limit`.
    pub async fn events_of_types(
        &self,
        after: u64,
        through: u64,
        types: &[&str],
        limit: u32,
    ) -> Result<Vec<Recorded>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events WHERE position > $1 AND position <= $2 AND event_type = ANY($3) \
             ORDER BY position LIMIT $4"
        );
        let rows = sqlx::query(&sql)
            .bind(after as i64)
            .bind(through as i64)
            .bind(types)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(recorded).collect()
    }

    /// Up to `limit` events after a position, in order, of one stream or one type or both.
    pub async fn events_matching(
        &self,
        after_position: u64,
        stream: Option<StreamId>,
        event_type: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Recorded>, ReadError> {
        let sql = match (stream, event_type) {
            // Spelled out, so that the partial index on this type is found.
            (None, Some("TransactionPending")) => format!(
                "SELECT {COLUMNS} FROM events WHERE position > $1 AND event_type = 'TransactionPending' \
                 AND ($2::text IS NULL) AND ($3::text IS NULL) AND ($4::text IS NOT NULL) ORDER BY position LIMIT $5"
            ),
            (Some(_), _) => format!(
                "SELECT {COLUMNS} FROM events WHERE position > $1 AND aggregate_id = $2 AND aggregate_type = $3 \
                 AND ($4::text IS NULL OR event_type = $4) ORDER BY position LIMIT $5"
            ),
            (None, _) => format!(
                "SELECT {COLUMNS} FROM events WHERE position > $1 AND ($2::text IS NULL) AND ($3::text IS NULL) \
                 AND ($4::text IS NULL OR event_type = $4) ORDER BY position LIMIT $5"
            ),
        };
        let rows = sqlx::query(&sql)
            .bind(after_position as i64)
            .bind(stream.map(|stream| stream.id_text()))
            .bind(stream.map(|stream| stream.kind.name()))
            .bind(event_type)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(recorded).collect()
    }
}

pub(crate) const HEAD: &str = "SELECT batch, position, (extract(epoch from recorded_at) * 1000000)::bigint \
     AS recorded_at_us, chain_hash FROM log_head";

pub(crate) fn head(row: &PgRow) -> Result<Head, ReadError> {
    let position = row.try_get::<i64, _>("position")? as u64;
    Ok(Head {
        batch: row.try_get("batch")?,
        position,
        recorded_at_us: row.try_get("recorded_at_us")?,
        chain_hash: hash_column(row, "chain_hash", position)?,
    })
}

pub(crate) fn recorded(row: &PgRow) -> Result<Recorded, ReadError> {
    // By their places in `COLUMNS`: to look a dozen names up for each event takes longer than to read it.
    let position = row.try_get::<i64, _>(0)? as u64;
    let (kind, id): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
    let stream = StreamId::from_parts(kind, id)
        .ok_or_else(|| ReadError::Broken { position, what: format!("no such stream: {kind}/{id}") })?;
    // JSON as the text that was stored, not as a tree of values.
    let json = |column: usize| row.try_get_unchecked::<&str, _>(column).map(str::to_owned);
    let hash = |column: usize, name: &str| -> Result<Hash, ReadError> {
        row.try_get::<&[u8], _>(column)?
            .try_into()
            .map_err(|_| ReadError::Broken { position, what: format!("{name} is not 32 bytes") })
    };
    Ok(Recorded {
        position,
        recorded_at_us: row.try_get::<DateTime<Utc>, _>(1)?.timestamp_micros(),
        stream,
        sequence: row.try_get::<i64, _>(4)? as u64,
        event_type: row.try_get(5)?,
        event_version: row.try_get(6)?,
        payload: json(7)?,
        metadata: json(8)?,
        command_id: row.try_get(9)?,
        event_hash: hash(10, "event_hash")?,
        chain_hash: hash(11, "chain_hash")?,
    })
}

pub(crate) fn hash_column(row: &PgRow, column: &str, position: u64) -> Result<Hash, ReadError> {
    row.try_get::<&[u8], _>(column)?
        .try_into()
        .map_err(|_| ReadError::Broken { position, what: format!("{column} is not 32 bytes") })
}
