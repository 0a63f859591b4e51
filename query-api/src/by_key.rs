//! Reads that find all they need by keys: each is one statement, planned once.
//!
//! Invariants: position and data are of one statement, hence of one snapshot, as in a
//! [`crate::freshness::Snapshot`]; plans do not depend on what the tables held when they were made: each step goes by
//! the primary key that fits it, and the sessions know no other way than by an index, in its order. (Parked events,
//! usually none, are found by their stream once there are statistics of them, and until then by their projection.)

use platform::postgres::is_connection_lost;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use crate::freshness::PROJECTION;
use crate::reply::Result;

/// Connections beside those of lists: few, since each read is short.
const CONNECTIONS_MAX: u32 = 8;

/// One plan for all values; to plan anew would cost more than to run. What an index gives in its order is neither
/// sorted nor gathered, whatever an empty table would suggest.
const SETTINGS: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
];

/// The connections of such reads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ByKey(PgPool);

impl ByKey {
    /// Connects to the pool's database when first used; to be called inside a Tokio runtime.
    pub(crate) fn new(views: &PgPool) -> Self {
        let options = (*views.connect_options()).clone().options(SETTINGS);
        let pool = views.options().clone().max_connections(CONNECTIONS_MAX).test_before_acquire(false);
        Self(pool.connect_lazy_with(options))
    }

    /// The pool.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.0
    }

    /// The rows of a statement whose parameter 1 is the projection and whose first column is
    /// [`crate::freshness::POSITION`], with that position; `bind` adds the other parameters. The statement must give a row also where nothing is found.
    pub(crate) async fn read<'s>(
        &self,
        statement: &'s str,
        bind: impl Fn(Query<'s, Postgres, PgArguments>) -> Query<'s, Postgres, PgArguments>,
    ) -> Result<(u64, Vec<PgRow>)> {
        let mut lost = 0;
        let rows = loop {
            match bind(sqlx::query(statement).bind(PROJECTION)).fetch_all(&self.0).await {
                // All of them are after a restart of the database; that is found out by using them.
                Err(error) if lost < CONNECTIONS_MAX && is_connection_lost(&error) && !is_timeout(&error) => lost += 1,
                rows => break rows?,
            }
        };
        let position: i64 = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        Ok((u64::try_from(position).unwrap_or(0), rows))
    }
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::PoolTimedOut)
}
