//! Making the read models anew from the topic.
//!
//! In one transaction: the epochs are raised, so that the running projectors can no longer write;
//! the rows are thrown away; progress goes back to zero. The projectors notice and begin again.
//! Readers see the old rows until the commit, and those whose snapshot is older see them after it, too; then rows
//! that fill up again: the applied position tells how far.
//!
//! Before the projectors begin again the tables are vacuumed. Otherwise every index would still have an entry of each
//! old row, and the tables would grow to twice their size.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, PgPool, Postgres, Transaction};

use crate::ProjectorError;
use crate::read_models::Core;

/// How long the vacuum of a table waits for others that keep it away from it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long projectors are kept waiting for the vacuum, at most: less than a loop of theirs may take.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Throws the read models of a projection away, so that its projectors make them again. It takes two connections.
///
/// A table that cannot be vacuumed is told of in the log and left as it is: its rows are made again all the same,
/// more slowly.
///
/// # Errors
/// The database does not answer, or there is no such projection: then nothing has changed.
pub async fn rebuild(pool: &PgPool, projection: &str) -> Result<(), ProjectorError> {
    throw_away(pool, projection).await?;
    // From here on nothing can fail that matters: the projectors begin again, with or without it.
    let held = hold(pool, projection).await;
    vacuum(pool).await;
    // If the database has ended it, it was held long enough.
    if let Ok(held) = held {
        let _ = held.rollback().await;
    }
    Ok(())
}

async fn throw_away(pool: &PgPool, projection: &str) -> Result<(), ProjectorError> {
    let mut tx = pool.begin().await?;
    // First, as in every write: a flush that is under way ends before, the next one finds the epoch.
    if !lock_progress(&mut tx, projection).await? {
        return Err(ProjectorError::UnknownProjection { projection: projection.to_owned() });
    }
    sqlx::query(
        "UPDATE projection_progress SET epoch = epoch + 1, next_offset = 0, ordinal = 0, watermark = 0, stopped = NULL \
         WHERE projection = $1",
    )
    .bind(projection)
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM parked_events WHERE projection = $1").bind(projection).execute(&mut *tx).await?;
    for table in Core::tables() {
        // Not TRUNCATE: a reader with an older snapshot would see no rows at its applied position.
        tx.execute(format!("DELETE FROM {table}").as_str()).await?;
    }
    Ok(tx.commit().await?)
}

/// Whether there is such a projection; then nobody else claims or writes until the end of the transaction.
async fn lock_progress(connection: &mut PgConnection, projection: &str) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query("SELECT 1 FROM projection_progress WHERE projection = $1 ORDER BY partition FOR UPDATE")
        .bind(projection)
        .fetch_all(connection)
        .await?;
    Ok(!locked.is_empty())
}

/// A transaction that keeps the projectors waiting. It is younger than the one that threw the rows away and has no
/// snapshot, so that no vacuum has to keep them for it; and it ends by itself if it is forgotten.
async fn hold(pool: &PgPool, projection: &str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let hold_max = format!("SET LOCAL idle_in_transaction_session_timeout = {}", HOLD_MAX.as_millis());
    tx.execute(hold_max.as_str()).await?;
    lock_progress(&mut tx, projection).await?;
    Ok(tx)
}

/// Takes the dead rows and their index entries away, and gives back the room behind the last row.
async fn vacuum(pool: &PgPool) {
    let mut connection = match patient(pool).await {
        Ok(connection) => connection,
        Err(error) => return tracing::warn!(%error, "the emptied tables are not vacuumed: the rebuild takes longer"),
    };
    for table in Core::tables() {
        let vacuum = format!("VACUUM (INDEX_CLEANUP ON, TRUNCATE ON) {table}");
        if let Err(error) = connection.execute(vacuum.as_str()).await {
            tracing::warn!(table, %error, "an emptied table is not vacuumed: the rebuild takes longer");
        }
    }
    let _ = connection.close().await;
}

/// A connection that waits for a lock no longer than is allowed. It is not of the pool any more, since it has that
/// setting of its own.
async fn patient(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = pool.acquire().await?.detach();
    connection.execute(format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis()).as_str()).await?;
    Ok(connection)
}
