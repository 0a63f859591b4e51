//! Transfers through the write door in this process: how many a second, at which cost.
//!
//! `throughput ACCOUNTS CLIENTS SECONDS [HOT]`, on the server of `TEST_DATABASE_URL`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/it/bank.rs"]
#[allow(dead_code)]
mod bank;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) as f64 / 100.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (accounts, clients, seconds) = (arguments[0], arguments[1], arguments[2]);
    let hot = arguments.get(3).copied().unwrap_or(accounts);
    let place = test_place::Place::fresh("throughput").await.unwrap();
    let store = event_store::Store::start(bank::config(&place)).await.unwrap();
    let bank = bank::Bank::at(place, store, accounts).await;
    let admin = sqlx::PgPool::connect(&std::env::var("TEST_DATABASE_URL").unwrap()).await.unwrap();
    let backend: Option<i32> = sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE application_name = 'daybook-writer' ORDER BY backend_start DESC LIMIT 1")
        .fetch_optional(&admin).await.unwrap();
    let backend = backend.unwrap_or(0).to_string();
    let wal = || async {
        sqlx::query_scalar::<_, i64>("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetch_one(&admin).await.unwrap()
    };
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let accounts = Arc::new(bank.accounts.clone());
    let mut tasks = Vec::new();
    let started = Instant::now();
    for client in 0..clients {
        let (store, stop, done, accounts) = (bank.store.clone(), stop.clone(), done.clone(), accounts.clone());
        tasks.push(tokio::spawn(async move {
            let mut random = client as u64 * 7919 + 1;
            let mut next = || {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (random >> 33) as usize
            };
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let from = next() % hot;
                let to = (from + 1 + next() % (hot - 1)) % hot;
                let began = Instant::now();
                bank::accepted(store.submit(bank::fresh(bank::transfer(accounts[from], accounts[to], 1))).await);
                latencies.push(began.elapsed());
                done.fetch_add(1, Ordering::Relaxed);
            }
            latencies
        }));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (c0, t0, own0, pg0, wal0) =
        (done.load(Ordering::Relaxed), Instant::now(), cpu_seconds("self"), cpu_seconds(&backend), wal().await);
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let count = (done.load(Ordering::Relaxed) - c0) as f64;
    let (own, pg) = (cpu_seconds("self") - own0, cpu_seconds(&backend) - pg0);
    let rate = count / t0.elapsed().as_secs_f64();
    let wal1 = wal().await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort();
    println!(
        "{rate:.0} transfers/s; cpu us/transfer: own {:.1} backend {:.1}; WAL bytes/transfer {:.0}; p50 {:?} p99 {:?} max {:?}; {:.1}s",
        own / count * 1e6,
        pg / count * 1e6,
        (wal1 - wal0) as f64 / count,
        all[all.len() / 2],
        all[all.len() * 99 / 100],
        all[all.len() - 1],
        started.elapsed().as_secs_f64()
    );
    bank.close().await;
}
