//! A ledger written by hand as one SQL function with row locks: one round trip and one commit for each transfer, which
//! is atomic, idempotent, funded and numbered in both accounts. `sql_function.sql` says how.
//!
//! What it does not give, and Daybook does: an order over all transfers, a chain, events.

use std::sync::Arc;

use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::Mutex;

use super::Setup;
use super::closed_loop::{Ledger, Measured, Transfer, measure};
use super::database::{Database, OPENING_MINOR};
use crate::figures::Figures;

/// Connections; more than that only wait for the two cores. Clients keep one, as many to each as there must be: a pool
/// would ask the server once more each time that a connection is given back to it.
const CONNECTIONS: usize = 64;

/// Measures it.
pub(crate) async fn run(setup: Setup) -> anyhow::Result<Figures> {
    let database = Database::create(&setup.admin_url, "sql_function", 1).await?;
    let measured = measured(&setup, &database).await;
    database.remove().await?;
    Ok(measured?.figures)
}

async fn measured(setup: &Setup, database: &Database) -> anyhow::Result<Measured> {
    database.pool.execute(include_str!("sql_function.sql")).await?;
    sqlx::query(
        "INSERT INTO accounts (id, balance_minor, version) SELECT n, $1, 0 FROM generate_series(0, $2 - 1) AS n",
    )
    .bind(OPENING_MINOR)
    .bind(i64::try_from(setup.accounts)?)
    .execute(&database.pool)
    .await?;
    database.settle().await?;
    let mut connections = Vec::new();
    for _ in 0..setup.clients.clamp(1, CONNECTIONS) {
        connections.push(Mutex::new(PgConnection::connect_with(&database.pool.connect_options()).await?));
    }
    let ledger = Arc::new(SqlFunction { connections });
    let measured = measure(ledger, setup, &database.watch).await?;
    check(&database.pool, setup.accounts, measured.acknowledged).await?;
    Ok(measured)
}

/// A transfer and two entries for each that was acknowledged, entries that sum to zero and lead to every balance.
async fn check(pool: &PgPool, accounts: usize, acknowledged: u64) -> anyhow::Result<()> {
    let (transfers, entries, sum, balances): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM transfers), count(*), COALESCE(sum(amount_minor), 0)::bigint, \
             (SELECT sum(balance_minor - $1)::bigint FROM accounts) FROM entries",
    )
    .bind(OPENING_MINOR)
    .fetch_one(pool)
    .await?;
    let wrong: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM accounts a LEFT JOIN LATERAL (SELECT sum(amount_minor) AS sum, count(*) AS entries \
             FROM entries e WHERE e.account_id = a.id) e ON true \
         WHERE a.balance_minor <> $1 + COALESCE(e.sum, 0) OR a.version <> e.entries",
    )
    .bind(OPENING_MINOR)
    .fetch_one(pool)
    .await?;
    let expected = i64::try_from(acknowledged)?;
    anyhow::ensure!(
        transfers == expected && entries == 2 * expected,
        "{transfers} transfers and {entries} entries for {expected} that were acknowledged"
    );
    anyhow::ensure!(sum == 0 && balances == 0, "{sum} minor units in entries, {balances} in balances from nowhere");
    anyhow::ensure!(wrong == 0, "{wrong} of {accounts} balances are not those of their entries");
    Ok(())
}

struct SqlFunction {
    connections: Vec<Mutex<PgConnection>>,
}

impl Ledger for SqlFunction {
    const ROWS: u64 = 3;

    async fn transfer(&self, client: usize, batch: &[Transfer]) -> anyhow::Result<u64> {
        let mut connection = self.connections[client % self.connections.len()].lock().await;
        for transfer in batch {
            let made: bool = sqlx::query_scalar("SELECT transfer($1, $2, $3, $4)")
                .bind(transfer.key)
                .bind(i64::try_from(transfer.from)?)
                .bind(i64::try_from(transfer.to)?)
                .bind(transfer.amount_minor)
                .fetch_one(&mut *connection)
                .await?;
            anyhow::ensure!(made, "the key {} was there before", transfer.key);
        }
        Ok(0)
    }
}
