//! Rows as JSON, for tables that are wide and not busy: one parameter carries all of a batch's rows
//! with all of their columns, each named once.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use uuid::Uuid;

use super::ApplyError;

/// Runs a statement whose `$1` are the rows as a JSON array, for `json_populate_recordset`; none for no rows.
pub(super) async fn write(connection: &mut PgConnection, sql: &str, rows: &[impl Serialize]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = serde_json::to_string(rows).map_err(|error| ApplyError::Poison(error.to_string()))?;
    sqlx::query(sql).bind(rows).execute(connection).await?;
    Ok(())
}

/// The rows of those ids by a statement that gives each as JSON text; none for no ids.
pub(super) async fn load<T: DeserializeOwned>(
    connection: &mut PgConnection,
    sql: &str,
    ids: &[Uuid],
) -> Result<Vec<T>, ApplyError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String,)> = sqlx::query_as(sql).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|(row,)| serde_json::from_str(row).map_err(|error| ApplyError::Poison(error.to_string()))).collect()
}
