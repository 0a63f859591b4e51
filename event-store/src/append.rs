//! The writer's statements: move the head on and append, all or nothing, in one or in two steps; lock the
//! head; read the tail.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::postgres::{PgArguments, PgQueryResult};
use sqlx::{Arguments, Encode, Executor, PgConnection, Postgres, Type};

use crate::batch::{EventRow, Rows};
use crate::error::{ReadError, StoreError};
use crate::json::JsonText;
use crate::reader::{COLUMNS, HEAD, Head, head, recorded};
use crate::streams::Cache;

/// The rows of a batch, after `WITH` and what goes before them; `$when` follows each `SELECT`.
///
/// Arrays are taken apart in the list of what is selected, not in `FROM`: there each of them would be
/// written into a store of its own first and read back, which takes 2 to 3 µs an event. All are of one
/// length; a shorter one would leave NULL in a column that has none.
macro_rules! rows {
    ($before:literal, $when:literal) => {
        concat!(
            "WITH ",
            $before,
            "c AS (
    INSERT INTO commands (client, idempotency_key, command_id, request_hmac, position, reply)
    SELECT unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::bytea[]), unnest($9::bigint[]),
        unnest($10::json[]) ",
            $when,
            "), r AS (
    INSERT INTO reservations (kind, value_hmac, stream, position)
    SELECT unnest($11::text[]), unnest($12::bytea[]), unnest($13::text[]), unnest($14::bigint[]) ",
            $when,
            ")
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    position, recorded_at, event_hash, chain_hash, command_id)
SELECT unnest($16::text[]), unnest($17::text[]), unnest($18::bigint[]), unnest($19::text[]), unnest($20::text[]),
    unnest($21::json[]), unnest($22::json[]), generate_series($15::bigint + 1, $2::bigint), $3::timestamptz,
    unnest($23::bytea[]), unnest($24::bytea[]), unnest($25::text[]) ",
            $when
        )
    };
}

/// One statement: it moves the head from the batch that the writer believes in and appends, or it
/// writes nothing. The announcement goes out with the commit. It does not wait for another writer that
/// has the head: whoever has rows inserted ahead must not, see [`STAGE`].
const APPEND: &str = rows!(
    "l AS (
    SELECT FROM log_head WHERE batch = $1 FOR UPDATE NOWAIT
), h AS (
    UPDATE log_head SET batch = $1 + 1, position = $2, recorded_at = $3, chain_hash = $4
    WHERE batch = $1 AND EXISTS (SELECT FROM l) RETURNING pg_notify('daybook_events', $2::text)
), ",
    "WHERE EXISTS (SELECT FROM h)"
);

/// Inserts a batch while the one before it is still on its way, in a transaction that stays open: it
/// counts once [`Append::move_head`] has moved the head on to it. Its rows are in the way of other writers until
/// then, so neither it nor the batch before it may wait for the head, which one of those may have.
const STAGE: &str = rows!("", "");

/// How many parameters it has.
const PARAMETERS: usize = 25;
/// What an event and a command need besides their texts of any length, in bytes: room, not a limit.
const EVENT_BYTES: usize = 280;
const COMMAND_BYTES: usize = 240;

/// What a batch writes: its rows, on top of a head.
pub(crate) struct Append {
    pub(crate) before: Head,
    pub(crate) after: Head,
    pub(crate) rows: Arc<Rows>,
}

impl Append {
    /// In one statement. Returns whether the head was still there; if not, nothing is written.
    pub(crate) async fn send(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        match sqlx::query_with(APPEND, self.arguments()).execute(connection).await {
            Ok(result) => Ok(self.is_written(&result)),
            Err(error) if has_code(&error, LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Inserts the rows in a transaction that it leaves open. Returns whether that went; if not, the
    /// transaction has failed.
    pub(crate) async fn stage(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        sqlx::query("BEGIN").execute(&mut *connection).await?;
        match sqlx::query_with(STAGE, self.arguments()).execute(connection).await {
            Ok(result) => Ok(self.is_written(&result)),
            Err(error) if has_code(&error, DEADLOCK_DETECTED) || is_taken_position(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves the head on to what was staged, and commits: in one message, since everybody waits for it.
    /// Returns whether the head was still there; if not, the transaction has failed.
    pub(crate) async fn move_head(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        match connection.execute(self.head_move().as_str()).await {
            Ok(_) => Ok(true),
            Err(error) if has_code(&error, LOCK_NOT_AVAILABLE) || has_code(&error, DIVISION_BY_ZERO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn head_move(&self) -> String {
        // A head that is not there is a division by zero, so that what follows is not done.
        format!(
            "WITH l AS (
    SELECT FROM log_head WHERE batch = {believed} FOR UPDATE NOWAIT
), h AS (
    UPDATE log_head SET batch = {batch}, position = {position}, recorded_at = '{recorded_at}',
        chain_hash = decode('{chain_hash}', 'hex')
    WHERE batch = {believed} AND EXISTS (SELECT FROM l) RETURNING pg_notify('daybook_events', '{position}')
) SELECT 1 / count(*) FROM h; COMMIT",
            believed = self.before.batch,
            batch = self.after.batch,
            position = self.after.position,
            recorded_at = self.recorded_at().to_rfc3339_opts(SecondsFormat::Micros, true),
            chain_hash = hex::encode(self.after.chain_hash),
        )
    }

    fn recorded_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.after.recorded_at_us).unwrap_or_default()
    }

    fn is_written(&self, result: &PgQueryResult) -> bool {
        let written = usize::try_from(result.rows_affected()).unwrap_or(usize::MAX);
        assert!(written == 0 || written == self.rows.events.len(), "an append is all or nothing");
        written > 0
    }

    /// Of both statements, [`APPEND`] and [`STAGE`].
    fn arguments(&self) -> PgArguments {
        let Rows { commands, reservations, events } = &*self.rows;
        let of = |event: &EventRow| commands.get(event.command);
        let mut arguments = PgArguments::default();
        // Once, instead of by doubling what is encoded already.
        let texts = events.iter().map(|e| e.payload.len() + of(e).map_or(0, |c| c.metadata.len())).sum::<usize>();
        let replies = commands.iter().map(|c| c.reply.len()).sum::<usize>();
        arguments.reserve(PARAMETERS, texts + replies + events.len() * EVENT_BYTES + commands.len() * COMMAND_BYTES);
        macro_rules! bind {
            ($($value:expr),+ $(,)?) => { $(bind(&mut arguments, $value);)+ };
        }
        bind![self.before.batch, self.after.position as i64, self.recorded_at(), self.after.chain_hash.as_slice()];
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
            self.before.position as i64,
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
}

fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres> + 'q>(arguments: &mut PgArguments, value: T) {
    // Encoding into memory fails for more than 2^31 elements or bytes only; the statement would then
    // be refused for the parameter it lacks.
    if let Err(error) = arguments.add(value) {
        tracing::error!(%error, "a parameter of an append could not be encoded");
    }
}

const DIVISION_BY_ZERO: &str = "22012";
/// Another writer has the head.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Another writer's keys are in the way of ours, and ours of its.
const DEADLOCK_DETECTED: &str = "40P01";

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|is| is == code)
}

/// Another writer has committed events at these positions.
fn is_taken_position(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.is_unique_violation() && error.table().is_some_and(|table| table.starts_with("events"))
    })
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
