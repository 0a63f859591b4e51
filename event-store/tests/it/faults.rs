//! Connections that die under load, on both sides of the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use event_store::{Outcome, Store};
use sqlx::PgPool;
use test_place::eventually;

use crate::bank::{Bank, config, keyed, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn connections_killed_under_load_lose_and_double_nothing() {
    let bank = Bank::open("killed", 8).await;
    let other = Store::start(config(&bank.place)).await.unwrap();
    let admin = PgPool::connect(bank.place.admin_url().expose()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let clients = (0..16).map(|client: usize| {
        let store = if client.is_multiple_of(2) { bank.store.clone() } else { other.clone() };
        let (accounts, stop, acknowledged) = (bank.accounts.clone(), stop.clone(), acknowledged.clone());
        tokio::spawn(async move {
            let mut number = 0usize;
            while !stop.load(Ordering::Relaxed) {
                let (from, to) = (accounts[(client + number) % 8], accounts[(client + number + 1 + client % 3) % 8]);
                let command = transfer(from, to, 1);
                let key = format!("{client}-{number}");
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
    let clients: Vec<_> = clients.collect();
    let database = format!("{}_log", bank.place.prefix);
    for kill in 0..30u64 {
        // Between two kills something must get through.
        let before = acknowledged.load(Ordering::Relaxed);
        eventually("progress", Duration::from_secs(20), || async {
            Ok((acknowledged.load(Ordering::Relaxed) > before + kill % 7).then_some(()))
        })
        .await
        .unwrap();
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'daybook-writer'")
            .bind(&database)
            .execute(&admin)
            .await
            .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    other.shutdown().await;
    let verified = bank.verify().await;
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert_eq!(verified.types["TransactionPosted"], acknowledged + 8, "acknowledged and in the log: the same");
    assert_eq!(verified.balances.values().map(|(_, minor)| minor).sum::<i64>(), 800_000);
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
