//! A database for each measurement of a baseline, on the server that all share, and dropped after it.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

/// Money that every account has when a measurement begins, in minor units: more than any can spend in it.
pub(crate) const OPENING_MINOR: i64 = 1_000_000_000_000;

/// A fresh database with a pool of connections to it.
pub(crate) struct Database {
    admin: PgConnectOptions,
    name: String,
    pub(crate) pool: PgPool,
}

impl Database {
    /// Makes it. `connections` are opened when they are first used and kept; they are handed out untested, as a
    /// failure of one would be told anyhow, and a round trip for each use would be at the baseline's cost.
    pub(crate) async fn create(admin_url: &str, what: &str, connections: usize) -> anyhow::Result<Self> {
        let admin = PgConnectOptions::from_str(admin_url).context("the administrator's URL")?;
        let name = format!("bench_{what}_{}", &Uuid::new_v4().simple().to_string()[..12]);
        let mut connection = PgConnection::connect_with(&admin).await?;
        connection.execute(format!("CREATE DATABASE {name}").as_str()).await?;
        connection.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(connections)?)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(60))
            .test_before_acquire(false)
            .connect_with(admin.clone().database(&name))
            .await?;
        Ok(Self { admin, name, pool })
    }

    /// After the accounts are there: statistics for the planner, and a checkpoint, so that every baseline begins alike.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
            self.pool.execute(statement).await?;
        }
        Ok(())
    }

    /// Closes the pool and drops the database.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        self.pool.close().await;
        let mut connection = PgConnection::connect_with(&self.admin).await?;
        connection.execute(format!("DROP DATABASE {} WITH (FORCE)", self.name).as_str()).await?;
        connection.close().await?;
        Ok(())
    }
}

/// How far the server's write-ahead log is, in bytes since it was made.
pub(crate) async fn wal_position(pool: &PgPool) -> anyhow::Result<u64> {
    let bytes: i64 = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetch_one(pool).await?;
    Ok(u64::try_from(bytes)?)
}
