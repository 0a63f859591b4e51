//! A database for each measurement of a baseline, on the server that all share, and dropped after it.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

use crate::figures::{Figures, GENERATOR};
use crate::proc;

/// Money that every account has when a measurement begins, in minor units: more than any can spend in it.
pub(crate) const OPENING_MINOR: i64 = 1_000_000_000_000;

/// A fresh database with a pool of connections to it.
pub(crate) struct Database {
    admin: PgConnectOptions,
    name: String,
    pub(crate) pool: PgPool,
    /// One connection more, so that looking at costs never waits behind the clients.
    pub(crate) watch: PgPool,
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
        let watch = PgPoolOptions::new().max_connections(1).connect_with(admin.clone().database(&name)).await?;
        Ok(Self { admin, name, pool, watch })
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
        self.watch.close().await;
        let mut connection = PgConnection::connect_with(&self.admin).await?;
        connection.execute(format!("DROP DATABASE {} WITH (FORCE)", self.name).as_str()).await?;
        connection.close().await?;
        Ok(())
    }
}

/// What the server and this process have cost so far.
pub(crate) struct Costs {
    wal_bytes: u64,
    cpu_ms: proc::Costs,
}

impl Costs {
    /// A look at them. The processor time of a server elsewhere is not seen.
    pub(crate) async fn now(watch: &PgPool) -> anyhow::Result<Self> {
        let (wal_bytes, backend): (i64, i32) =
            sqlx::query_as("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_backend_pid()")
                .fetch_one(watch)
                .await?;
        let postmaster = u32::try_from(backend).ok().and_then(proc::parent);
        let cpu_ms =
            [(GENERATOR, proc::cpu_ms(std::process::id())), ("postgres", postmaster.and_then(proc::family_cpu_ms))];
        let cpu_ms = cpu_ms.into_iter().filter_map(|(name, ms)| Some((name.to_owned(), ms?))).collect();
        Ok(Self { wal_bytes: u64::try_from(wal_bytes)?, cpu_ms })
    }

    /// What was added since `before`, put into figures. A baseline runs in process: what it costs in its own code is in
    /// the generator's time.
    pub(crate) fn since(self, before: &Self, figures: Figures) -> Figures {
        Figures {
            wal_bytes: self.wal_bytes.saturating_sub(before.wal_bytes),
            cpu_ms: proc::since(&before.cpu_ms, &self.cpu_ms),
            ..figures
        }
    }
}
