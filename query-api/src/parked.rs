//! Whether what is read stands still, because events of it could not be applied.

use sqlx::PgConnection;

use crate::freshness::PROJECTION;

/// Whether events of a stream are parked.
pub(crate) async fn is_parked(connection: &mut PgConnection, stream: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM parked_events WHERE projection = $1 AND stream = $2)";
    let (parked,) = sqlx::query_as(sql).bind(PROJECTION).bind(stream).fetch_one(connection).await?;
    Ok(parked)
}

/// Whether events are parked that an account's legs may be missing by: its own, or a transaction's
/// whose event names it. For what is summed up from legs.
pub(crate) async fn are_legs_parked(connection: &mut PgConnection, account: uuid::Uuid) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM parked_events WHERE projection = $1 \
               AND (stream = 'account/' || $2 OR (stream LIKE 'transaction/%' AND strpos(payload, $2) > 0)))";
    let account = account.hyphenated().to_string();
    let (parked,) = sqlx::query_as(sql).bind(PROJECTION).bind(account).fetch_one(connection).await?;
    Ok(parked)
}

/// Whether any events are parked. For what is summed up from all.
pub(crate) async fn is_any_parked(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM parked_events WHERE projection = $1)";
    let (parked,) = sqlx::query_as(sql).bind(PROJECTION).fetch_one(connection).await?;
    Ok(parked)
}
