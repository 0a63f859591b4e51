//! A digest of each read model, by which two of them are found equal without looking at their rows.
//!
//! Equal logs give equal digests, however many projectors there were, wherever they were stopped and
//! however often they were rebuilt: progress and parked events are not part of it.

use std::collections::BTreeMap;

use sqlx::{Executor, PgPool, Row};

use crate::ProjectorError;
use crate::read_models::Core;

/// By table, the number of rows and the sum of their hashes, whatever their order. All tables are
/// read in one snapshot.
///
/// # Errors
/// The database does not answer.
pub async fn digest(pool: &PgPool) -> Result<BTreeMap<String, String>, ProjectorError> {
    let mut tx = pool.begin().await?;
    tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'").await?;
    let mut digests = BTreeMap::new();
    for table in Core::tables() {
        // Of a member's account there are sums or not, as the partitions came; nobody reads them.
        let counted = match table {
            "account_daily" => "WHERE account_id NOT IN (SELECT account_id FROM accounts WHERE guarded)",
            _ => "",
        };
        // Two halves of the hash, each summed, so that equal sums by chance are out of question.
        let sql = format!(
            "SELECT concat_ws(':', count(*), \
                 COALESCE(sum(('x' || substr(hash, 1, 15))::bit(60)::bigint), 0), \
                 COALESCE(sum(('x' || substr(hash, 16, 15))::bit(60)::bigint), 0)) AS digest \
             FROM (SELECT md5(t::text) AS hash FROM {table} t {counted}) hashes"
        );
        let row = sqlx::query(&sql).fetch_one(&mut *tx).await?;
        digests.insert(table.to_owned(), row.try_get("digest")?);
    }
    tx.rollback().await?;
    Ok(digests)
}
