//! What a batch needs from the database before it can be decided, each in one query for the whole
//! batch: stored replies by key, reservations, streams (snapshot and tail).

use std::collections::HashMap;

use domain::{Reservation, StreamId};
use sqlx::{PgConnection, Row};

use crate::error::{ReadError, StoreError};
use crate::reader::{COLUMNS, hash_column, recorded};
use crate::sealing::Sealing;
use crate::snapshots::STATE_VERSION;
use crate::streams::{State, Stream};
use crate::submission::Outcome;

/// A decided command, as its idempotency key finds it.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) command_id: String,
    pub(crate) request_hmac: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// A client and an idempotency key of its own.
pub(crate) type Key = (String, String);

pub(crate) async fn decided(connection: &mut PgConnection, keys: &[Key]) -> Result<HashMap<Key, Decided>, StoreError> {
    let (clients, idempotency_keys): (Vec<&str>, Vec<&str>) =
        keys.iter().map(|(client, key)| (client.as_str(), key.as_str())).unzip();
    let rows = sqlx::query(
        "SELECT client, idempotency_key, command_id, request_hmac, reply::text AS reply FROM commands \
         JOIN unnest($1::text[], $2::text[]) AS wanted (client, idempotency_key) USING (client, idempotency_key)",
    )
    .bind(clients)
    .bind(idempotency_keys)
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let decided = Decided {
            command_id: row.try_get("command_id")?,
            request_hmac: row.try_get("request_hmac")?,
            outcome: serde_json::from_str(row.try_get("reply")?)?,
        };
        found.insert((row.try_get("client")?, row.try_get("idempotency_key")?), decided);
    }
    Ok(found)
}

/// For each reservation whether it is taken.
pub(crate) async fn reserved(
    connection: &mut PgConnection,
    sealing: &Sealing,
    wanted: &[Reservation],
) -> Result<Vec<bool>, StoreError> {
    let kinds: Vec<&str> = wanted.iter().map(|reservation| reservation.kind.name()).collect();
    let hmacs: Vec<Vec<u8>> = wanted.iter().map(|r| sealing.reservation_hmac(r).to_vec()).collect();
    let rows = sqlx::query(
        "SELECT wanted.at FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS wanted (kind, value_hmac, at) \
         JOIN reservations USING (kind, value_hmac)",
    )
    .bind(kinds)
    .bind(hmacs)
    .fetch_all(connection)
    .await?;
    let mut taken = vec![false; wanted.len()];
    for row in rows {
        let at: i64 = row.try_get("at")?;
        if let Some(slot) = usize::try_from(at - 1).ok().and_then(|at| taken.get_mut(at)) {
            *slot = true;
        }
    }
    Ok(taken)
}

/// Loads streams: the newest usable snapshot of each and the events after it. A stream without
/// events comes back as absent.
pub(crate) async fn streams(
    connection: &mut PgConnection,
    wanted: &[StreamId],
) -> Result<HashMap<StreamId, Stream>, StoreError> {
    let mut loaded: HashMap<StreamId, Stream> = wanted.iter().map(|id| (*id, Stream::ABSENT)).collect();
    let ids: Vec<String> = wanted.iter().map(StreamId::id_text).collect();
    let kinds: Vec<&str> = wanted.iter().map(|id| id.kind.name()).collect();
    let snapshots = sqlx::query(
        // One that does not stand on its event is passed over.
        "SELECT s.aggregate_type, s.aggregate_id, s.sequence, s.position, s.event_hash, s.state::text AS state \
         FROM snapshots s JOIN events e ON e.position = s.position AND e.aggregate_id = s.aggregate_id \
         AND e.sequence = s.sequence AND e.event_hash = s.event_hash \
         WHERE s.aggregate_id = ANY($1) AND s.state_version = $2",
    )
    .bind(&ids)
    .bind(STATE_VERSION)
    .fetch_all(&mut *connection)
    .await?;
    for row in &snapshots {
        let id = StreamId::from_parts(row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
        let Some((id, stream)) = id.and_then(|id| Some((id, loaded.get_mut(&id)?))) else { continue };
        let version = row.try_get::<i64, _>("sequence")? as u64;
        let position = row.try_get::<i64, _>("position")? as u64;
        let Ok(state) = State::from_json(id.kind, row.try_get("state")?) else { continue };
        *stream = Stream {
            version,
            last_hash: Some(hash_column(row, "event_hash", position)?),
            position,
            state,
            snapshot_version: version,
        };
    }
    let known: Vec<&Stream> = wanted.iter().filter_map(|id| loaded.get(id)).collect();
    let versions: Vec<i64> = known.iter().map(|stream| stream.version as i64).collect();
    let positions: Vec<i64> = known.iter().map(|stream| stream.position as i64).collect();
    // By the position, too: partitions that end before it are not looked at.
    let sql = format!(
        "SELECT {COLUMNS} FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) \
         AS wanted (id, kind, version, after) JOIN events ON aggregate_id = wanted.id \
         AND aggregate_type = wanted.kind AND sequence > wanted.version AND position > wanted.after"
    );
    let rows = sqlx::query(&sql).bind(&ids).bind(&kinds).bind(&versions).bind(&positions).fetch_all(connection).await?;
    let mut tails = rows.iter().map(recorded).collect::<Result<Vec<_>, _>>()?;
    // Here and not in the database, which would sort for each stream.
    tails.sort_unstable_by_key(|event| event.position);
    for event in tails {
        let stream = loaded.get_mut(&event.stream).ok_or_else(|| ReadError::Broken {
            position: event.position,
            what: format!("{} was not asked for", event.stream),
        })?;
        stream.fold_recorded(&event)?;
    }
    Ok(loaded)
}
