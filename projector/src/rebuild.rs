//! Making the read models anew from the topic.
//!
//! In one transaction: the epochs are raised, so that the running projectors can no longer write;
//! the rows are thrown away; progress goes back to zero. The projectors notice and begin again.
//! Readers see the old rows until the commit, and those whose snapshot is older see them after it, too; then rows that fill up again: the applied position
//! tells how far.

use sqlx::{Executor, PgPool};

use crate::ProjectorError;
use crate::read_models::Core;

/// Throws the read models of a projection away, so that its projectors make them again.
///
/// # Errors
/// The database does not answer, or there is no such projection: then nothing has changed.
pub async fn rebuild(pool: &PgPool, projection: &str) -> Result<(), ProjectorError> {
    let mut tx = pool.begin().await?;
    // First, as in every write: a flush that is under way ends before, the next one finds the epoch.
    let locked = sqlx::query("SELECT 1 FROM projection_progress WHERE projection = $1 ORDER BY partition FOR UPDATE")
        .bind(projection)
        .fetch_all(&mut *tx)
        .await?;
    if locked.is_empty() {
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
