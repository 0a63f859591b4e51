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
