//! The writer's statements: move the head on and append, all or nothing; lock the head; read the tail.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Encode, PgConnection, Postgres, Type};

use crate::batch::{EventRow, Rows};
use crate::error::{ReadError, StoreError};
use crate::json::JsonText;
use crate::reader::{COLUMNS, HEAD, Head, head, recorded};
use crate::streams::Cache;

/// One statement: it moves the head from the batch that the writer believes in and appends, or it
/// writes nothing. The announcement goes out with the commit.
///
/// Arrays are taken apart in the list of what is selected, not in `FROM`: there each of them would be
/// written into a store of its own first and read back, which takes 2 to 3 µs an event. All are of one
/// length; a shorter one would leave NULL in a column that has none.
const APPEND: &str = "\
WITH h AS (
    UPDATE log_head SET batch = $1 + 1, position = $2, recorded_at = $3, chain_hash = $4
    WHERE batch = $1 RETURNING pg_notify('daybook_events', $2::text)
), c AS (
    INSERT INTO commands (client, idempotency_key, command_id, request_hmac, position, reply)
    SELECT unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::bytea[]), unnest($9::bigint[]),
        unnest($10::json[])
    WHERE EXISTS (SELECT FROM h)
), r AS (
    INSERT INTO reservations (kind, value_hmac, stream, position)
    SELECT unnest($11::text[]), unnest($12::bytea[]), unnest($13::text[]), unnest($14::bigint[])
    WHERE EXISTS (SELECT FROM h)
)
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    position, recorded_at, event_hash, chain_hash, command_id)
SELECT unnest($16::text[]), unnest($17::text[]), unnest($18::bigint[]), unnest($19::text[]), unnest($20::text[]),
    unnest($21::json[]), unnest($22::json[]), generate_series($15::bigint + 1, $2::bigint), $3,
    unnest($23::bytea[]), unnest($24::bytea[]), unnest($25::text[])
WHERE EXISTS (SELECT FROM h)";

/// How many parameters it has.
const PARAMETERS: usize = 25;
/// What an event and a command need besides their texts of any length, in bytes: room, not a limit.
const EVENT_BYTES: usize = 280;
const COMMAND_BYTES: usize = 240;

/// What the statement that appends on top of `before` is given.
pub(crate) fn arguments(before: &Head, after: &Head, rows: &Rows) -> PgArguments {
    let recorded_at = chrono::DateTime::from_timestamp_micros(after.recorded_at_us).unwrap_or_default();
    let (commands, reservations, events) = (&rows.commands, &rows.reservations, &rows.events);
    let of = |event: &EventRow| commands.get(event.command);
    let mut arguments = PgArguments::default();
    // Once, instead of by doubling what is encoded already.
    let texts = events.iter().map(|e| e.payload.len() + of(e).map_or(0, |c| c.metadata.len())).sum::<usize>();
    let replies = commands.iter().map(|c| c.reply.len()).sum::<usize>();
    arguments.reserve(PARAMETERS, texts + replies + events.len() * EVENT_BYTES + commands.len() * COMMAND_BYTES);
    macro_rules! bind {
        ($($value:expr),+ $(,)?) => { $(bind(&mut arguments, $value);)+ };
    }
    bind![before.batch, after.position as i64, recorded_at, after.chain_hash.as_slice()];
    bind![
        commands.iter().map(|c| c.client.as_str()).collect::<Vec<_>>(),
        commands.iter().map(|c| c.idempotency_key.as_str()).collect::<Vec<_>>(),
        commands.iter().map(|c| c.command_id.as_str()).collect::<Vec<_>>(),
        commands.iter().map(|c| c.request_hmac.as_slice()).collect::<Vec<_>>(),
        commands.iter().map(|c| c.position as i64).collect::<Vec<_>>(),
        commands.iter().map(|c| JsonText(&c.reply)).collect::<Vec<_>>(),
        reservations.iter().map(|r| r.kind).collect::<Vec<_>>(),
        reservations.iter().map(|r| r.value_hmac.as_slice()).collect::<Vec<_>>(),
        reservations.iter().map(|r| r.stream.as_str()).collect::<Vec<_>>(),
        reservations.iter().map(|r| r.position as i64).collect::<Vec<_>>(),
    ];
    bind![
        before.position as i64,
        events.iter().map(|e| e.kind).collect::<Vec<_>>(),
        events.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(),
        events.iter().map(|e| e.sequence as i64).collect::<Vec<_>>(),
        events.iter().map(|e| e.event_type).collect::<Vec<_>>(),
        events.iter().map(|e| e.event_version).collect::<Vec<_>>(),
        events.iter().map(|e| JsonText(&e.payload)).collect::<Vec<_>>(),
        events.iter().map(|e| JsonText(of(e).map_or("", |c| &c.metadata))).collect::<Vec<_>>(),
        events.iter().map(|e| e.event_hash.as_slice()).collect::<Vec<_>>(),
        events.iter().map(|e| e.chain_hash.as_slice()).collect::<Vec<_>>(),
        events.iter().map(|e| of(e).map_or("", |c| c.command_id.as_str())).collect::<Vec<_>>(),
    ];
    arguments
}

fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres> + 'q>(arguments: &mut PgArguments, value: T) {
    // Encoding into memory fails for more than 2^31 elements or bytes only; the statement would then
    // be refused for the parameter it lacks.
    if let Err(error) = arguments.add(value) {
        tracing::error!(%error, "a parameter of an append could not be encoded");
    }
}

/// Sends it. Returns whether the head was still there; if not, nothing is written.
pub(crate) async fn send(
    connection: &mut PgConnection,
    arguments: PgArguments,
    events: usize,
) -> Result<bool, StoreError> {
    let result = sqlx::query_with(APPEND, arguments).execute(connection).await?;
    let written = usize::try_from(result.rows_affected()).unwrap_or(usize::MAX);
    assert!(written == 0 || written == events, "an append is all or nothing");
    Ok(written > 0)
}

/// Takes the head's lock; the transaction must be open. Every event up to the head that it returns
/// is visible to the statements that follow.
pub(crate) async fn lock_head(connection: &mut PgConnection) -> Result<Head, StoreError> {
    let row = sqlx::query(&format!("{HEAD} FOR UPDATE")).fetch_one(connection).await?;
    Ok(head(&row)?)
}

/// Whether the log still has the event that the writer knew as its last: after a failover to a
/// standby that lagged, or a restore, it may not.
pub(crate) async fn continues(connection: &mut PgConnection, known: &Head, head: &Head) -> Result<bool, StoreError> {
    if known.position == 0 {
        return Ok(true);
    }
    if known.position > head.position {
        return Ok(false);
    }
    let chain_hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT chain_hash FROM events WHERE position = $1")
        .bind(known.position as i64)
        .fetch_optional(connection)
        .await?;
    Ok(chain_hash.as_deref() == Some(&known.chain_hash[..]))
}

/// The kind of the one reservation that holds the check of the master key.
const KEY_CHECK: &str = "key_check";

/// Refuses a master key that is not the log's: with another one, taken numbers would look free. The
/// first writer of a log leaves the check. The transaction must be open and hold the head's lock.
pub(crate) async fn check_key_in_tx(connection: &mut PgConnection, check: &[u8; 32]) -> Result<(), StoreError> {
    let known: Option<Vec<u8>> = sqlx::query_scalar("SELECT value_hmac FROM reservations WHERE kind = $1")
        .bind(KEY_CHECK)
        .fetch_optional(&mut *connection)
        .await?;
    match known {
        Some(known) if known == check => Ok(()),
        Some(_) => Err(StoreError::MasterKey),
        None => {
            sqlx::query(
                "INSERT INTO reservations (kind, value_hmac, stream, position) VALUES ($1, $2, 'ledger/main', 0)",
            )
            .bind(KEY_CHECK)
            .bind(check.as_slice())
            .execute(connection)
            .await?;
            Ok(())
        }
    }
}

/// Moves the batch number on, so that a statement of an earlier writer that still lingers somewhere
/// can no longer succeed. The transaction must be open and hold the head's lock.
pub(crate) async fn fence_in_tx(connection: &mut PgConnection, head: &mut Head) -> Result<(), StoreError> {
    sqlx::query("UPDATE log_head SET batch = batch + 1").execute(connection).await?;
    head.batch += 1;
    Ok(())
}

/// Events read in one go when catching up.
const TAIL_EVENTS: u64 = 5_000;

/// A writer that has missed more than this starts with an empty cache instead.
const TAIL_EVENTS_MAX: u64 = 100_000;

/// Brings the cache from one head to a later one by the events between.
pub(crate) async fn catch_up(
    connection: &mut PgConnection,
    cache: &mut Cache,
    from: u64,
    to: u64,
) -> Result<(), StoreError> {
    if to.saturating_sub(from) > TAIL_EVENTS_MAX {
        cache.clear();
        return Ok(());
    }
    let sql = format!("SELECT {COLUMNS} FROM events WHERE position > $1 AND position <= $2 ORDER BY position");
    let mut position = from;
    while position < to {
        let until = to.min(position + TAIL_EVENTS);
        let rows = sqlx::query(&sql).bind(position as i64).bind(until as i64).fetch_all(&mut *connection).await?;
        for row in &rows {
            let event = recorded(row)?;
            position += 1;
            if event.position != position {
                return Err(ReadError::Broken { position, what: format!("missing; {} follows", event.position) }.into());
            }
            if let Some(stream) = cache.get_mut(&event.stream)
                && let Err(error) = stream.fold_recorded(&event)
            {
                // Written by a newer version, for instance: only commands on this stream cannot be
                // decided here; loading it will say why.
                tracing::error!(%error, stream = %event.stream, "a stream is no longer kept in memory");
                cache.remove(&event.stream);
            }
        }
        if position < until {
            return Err(ReadError::Broken { position: position + 1, what: "missing below the head".into() }.into());
        }
    }
    Ok(())
}
