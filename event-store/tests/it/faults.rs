//! Connections that die under load, on both sides of the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use event_store::{Outcome, Store};
use sqlx::{PgPool, Postgres, Transaction};
use test_place::eventually;
use tokio::task::JoinHandle;

use crate::bank::{Bank, config, keyed, transfer};

/// Clients that move money around, one transfer each at a time, until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(bank: &Bank, stores: &[Store], clients: usize) -> Self {
        let run = uuid::Uuid::now_v7();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..clients).map(|client| {
            let (store, accounts) = (stores[client % stores.len()].clone(), bank.accounts.clone());
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let mut number = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    let (from, to) = ((client + number) % 8, (client + number + 1 + client % 3) % 8);
                    let command = transfer(accounts[from], accounts[to], 1);
                    let key = format!("{run}-{client}-{number}");
                    // As a client does: the same request under the same key until there is an outcome.
                    loop {
                        match store.submit(keyed(command.clone(), &key, 1)).await {
                            Ok(reply) => {
                                assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{:?}", reply.outcome);
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            Err(event_store::SubmitError::Unavailable(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    number += 1;
                }
            })
        });
        let clients = clients.collect();
        Self { stop, acknowledged, clients }
    }

    /// Between two faults something must get through.
    async fn progress(&self, transfers: u64) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("progress", Duration::from_secs(20), || async {
            Ok((self.acknowledged.load(Ordering::Relaxed) > before + transfers).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Stops them; tells how many transfers were acknowledged.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// What was acknowledged must be in the log, once, and nothing else.
async fn check(bank: &Bank, acknowledged: u64) {
    let verified = bank.verify().await;
    assert_eq!(verified.types["TransactionPosted"], acknowledged + 8, "acknowledged and in the log: the same");
    assert_eq!(verified.balances.values().map(|(_, minor)| minor).sum::<i64>(), 800_000);
}

/// Kills the connections of this bank's writers for which the condition holds. Returns how many.
async fn kill_writers(bank: &Bank, admin: &PgPool, which: &str) -> u64 {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = $1 AND application_name LIKE 'daybook-writer%' AND {which}"
    );
    let database = format!("{}_log", bank.place.prefix);
    sqlx::query(&sql).bind(database).execute(admin).await.unwrap().rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_under_load_lose_and_double_nothing() {
    let bank = Bank::open("killed", 8).await;
    let other = Store::start(config(&bank.place)).await.unwrap();
    let admin = PgPool::connect(bank.place.admin_url().expose()).await.unwrap();
    let load = Load::start(&bank, &[bank.store.clone(), other.clone()], 16);
    for kill in 0..30u64 {
        load.progress(kill % 7).await;
        kill_writers(&bank, &admin, "application_name = 'daybook-writer'").await;
    }
    check(&bank, load.stop().await).await;
    other.shutdown().await;
    bank.close().await;
}

/// The statements of a batch that is staged behind another one.
const STAGED: &str = "(query LIKE 'WITH c AS%' AND state <> 'idle')";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_on_a_killed_connection_is_neither_lost_nor_doubled() {
    let bank = Bank::open("staged", 8).await;
    let admin = PgPool::connect(bank.place.admin_url().expose()).await.unwrap();
    let load = Load::start(&bank, std::slice::from_ref(&bank.store), 512);
    // In turn: the staged batch, the one before it, and both.
    for which in [STAGED, "query LIKE 'WITH l AS%' AND state <> 'idle'", "state <> 'idle'"].repeat(8) {
        load.progress(200).await;
        eventually("a batch on its way", Duration::from_secs(20), || async {
            Ok((kill_writers(&bank, &admin, which).await > 0).then_some(()))
        })
        .await
        .unwrap();
    }
    check(&bank, load.stop().await).await;
    bank.close().await;
}

/// Waits until a connection of this bank's writer does what is asked for.
async fn seen(log: &PgPool, what: &str) {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {what}");
    eventually(what, Duration::from_secs(20), || async {
        let count: i64 = sqlx::query_scalar(&sql).fetch_one(log).await?;
        Ok((count > 0).then_some(()))
    })
    .await
    .unwrap();
}

/// Another writer, that has the head.
async fn with_the_head(log: &PgPool) -> (Transaction<'static, Postgres>, i64) {
    let mut other = log.begin().await.unwrap();
    // What it may wait for at most. Were it to wait for rows that are staged while the batch before them waits for the
    // head, only a timeout of 5 s would part them.
    sqlx::query("SET LOCAL lock_timeout = '3s'").execute(&mut *other).await.unwrap();
    let head = sqlx::query_scalar("SELECT position FROM log_head FOR UPDATE").fetch_one(&mut *other).await.unwrap();
    (other, head)
}

/// It inserts its events, and thinks better of it.
async fn insert_and_roll_back(mut other: Transaction<'static, Postgres>, head: i64) {
    sqlx::query(
        "INSERT INTO events SELECT 'account', 'none', position, 'None', '1', '{}', '{}', position, now(), '', '', '' \
         FROM generate_series($1::bigint + 1, $1 + 2000) AS position",
    )
    .bind(head)
    .execute(&mut *other)
    .await
    .unwrap();
    other.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_staged_makes_way_for_another_writer() {
    let bank = Bank::open("makesway", 8).await;
    let admin = bank.place.admin_url().expose().to_owned();
    let log_url = admin.rsplit_once('/').map(|(server, _)| format!("{server}/{}_log", bank.place.prefix)).unwrap();
    let log = PgPool::connect(&log_url).await.unwrap();
    let load = Load::start(&bank, std::slice::from_ref(&bank.store), 512);
    for _ in 0..3 {
        seen(&log, STAGED).await;
        let (other, head) = with_the_head(&log).await;
        insert_and_roll_back(other, head).await;
        load.progress(200).await;
    }
    // Staging begins anew two seconds after the last race.
    seen(&log, STAGED).await;
    let acknowledged = load.stop().await;
    // The first batch of a load, with nothing before it, finds the head taken.
    let (other, head) = with_the_head(&log).await;
    let load = Load::start(&bank, std::slice::from_ref(&bank.store), 900);
    let waits = "query LIKE 'SELECT % FROM log_head%FOR UPDATE' AND wait_event_type = 'Lock'";
    let has_staged = "query LIKE 'WITH c AS%' AND state = 'idle in transaction'";
    seen(&log, &format!("({waits} OR {has_staged})")).await;
    insert_and_roll_back(other, head).await;
    load.progress(200).await;
    check(&bank, acknowledged + load.stop().await).await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_lock_holder_stops_the_others_only_for_a_while() {
    let bank = Bank::open("stopped", 2).await;
    let pool = PgPool::connect(bank.place.get("DAYBOOK_LOG_WRITER_URL")).await.unwrap();
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '1s'").execute(&mut *holder).await.unwrap();
    sqlx::query("SELECT * FROM log_head FOR UPDATE").execute(&mut *holder).await.unwrap();
    let reply = bank.send(transfer(bank.accounts[0], bank.accounts[1], 1)).await.unwrap();
    assert!(matches!(reply.outcome, Outcome::Accepted(_)));
    bank.verify().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_writes_nothing() {
    let bank = Bank::open("otherkey", 2).await;
    let mut settings = config(&bank.place);
    settings.master_key[0] ^= 1;
    let other = Store::start(settings).await.unwrap();
    let refused = other.submit(keyed(transfer(bank.accounts[0], bank.accounts[1], 1), "k", 1)).await;
    assert!(
        matches!(&refused, Err(event_store::SubmitError::Unavailable(why)) if why.contains("master key")),
        "{refused:?}"
    );
    assert!(!other.ready());
    other.shutdown().await;
    bank.verify().await;
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_put_back_is_gone_on_with_from_what_it_has() {
    let bank = Bank::open("putback", 2).await;
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    let head = bank.store.reader().head().await.unwrap();
    for _ in 0..3 {
        bank.send(transfer(from, to, 10_000)).await.unwrap();
    }
    // As a failover to a standby that lagged: the last commits are gone, and so is the connection.
    let admin = bank.place.admin_url().expose().to_owned();
    let log_url = admin.rsplit_once('/').map(|(server, _)| format!("{server}/{}_log", bank.place.prefix)).unwrap();
    let log = PgPool::connect(&log_url).await.unwrap();
    let mut back = log.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *back).await.unwrap();
    for table in ["events", "commands"] {
        let sql = format!("DELETE FROM {table} WHERE position > {}", head.position);
        sqlx::query(&sql).execute(&mut *back).await.unwrap();
    }
    sqlx::query("UPDATE log_head SET position = $1, chain_hash = $2")
        .bind(head.position as i64)
        .bind(head.chain_hash.as_slice())
        .execute(&mut *back)
        .await
        .unwrap();
    back.commit().await.unwrap();
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'daybook-writer' AND datname = current_database()")
        .execute(&log)
        .await
        .unwrap();
    let reply = bank.send(transfer(from, to, 1)).await.unwrap();
    match reply.outcome {
        Outcome::Accepted(accepted) => assert_eq!(accepted.balances[0].balance_minor, 99_999),
        Outcome::Rejected(rejected) => panic!("{}", rejected.rejection),
    }
    bank.verify().await;
    bank.close().await;
}
