//! Bounded memory: streams are evicted, written as snapshots aside, and loaded again; partitions
//! come before the head needs them.

use std::time::Duration;

use event_store::Store;
use sqlx::PgPool;
use test_place::eventually;

use crate::bank::{Bank, accepted, config, submission, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn a_tiny_cache_decides_as_a_large_one() {
    let bank = Bank::open("tiny", 12).await;
    bank.store.shutdown().await;
    let mut settings = config(&bank.place);
    settings.cache_streams = 3;
    settings.snapshot_every = 10;
    let store = Store::start(settings).await.unwrap();
    let mut expected = vec![100_000i64; 12];
    for round in 0..400usize {
        let (from, to) = (round % 12, (round * 5 + 1) % 12);
        if from == to {
            continue;
        }
        let amount_minor = 1_000 + round as i64;
        let reply = store.submit(submission(transfer(bank.accounts[from], bank.accounts[to], amount_minor))).await;
        let paid = matches!(reply.unwrap().outcome, event_store::Outcome::Accepted(_));
        assert_eq!(paid, expected[from] >= amount_minor, "round {round}");
        if paid {
            expected[from] -= amount_minor;
            expected[to] += amount_minor;
        }
    }
    let pool = PgPool::connect(bank.place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    eventually("snapshots", Duration::from_secs(10), || async {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM snapshots").fetch_one(&pool).await?;
        Ok((count >= 8).then_some(()))
    })
    .await
    .unwrap();
    store.shutdown().await;
    let verified = bank.verify().await;
    assert!(verified.snapshots >= 8, "{} snapshots were compared with a fold", verified.snapshots);
    for (account_id, balance_minor) in bank.accounts.iter().zip(expected) {
        assert_eq!(verified.balances[account_id].1, balance_minor);
    }
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_leaves_a_snapshot_of_all_that_was_in_memory() {
    let bank = Bank::open("ending", 12).await;
    for round in 0..60usize {
        let (from, to) = (bank.accounts[round % 12], bank.accounts[(round + 1) % 12]);
        accepted(bank.send(transfer(from, to, 10)).await);
    }
    bank.store.shutdown().await;
    let pool = PgPool::connect(bank.place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    // Of no account more than two events are left to be folded.
    let behind: Vec<(String, i64)> = sqlx::query_as(
        "SELECT e.aggregate_id, max(e.sequence) - coalesce(max(s.sequence), 0) FROM events e \
         LEFT JOIN snapshots s USING (aggregate_type, aggregate_id) WHERE e.aggregate_type = 'account' \
         GROUP BY e.aggregate_id HAVING max(e.sequence) > coalesce(max(s.sequence), 0) + 2",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(behind.is_empty(), "{behind:?}");
    let store = Store::start(config(&bank.place)).await.unwrap();
    accepted(store.submit(submission(transfer(bank.accounts[0], bank.accounts[1], 100_000))).await);
    store.shutdown().await;
    let verified = bank.verify().await;
    assert!(verified.snapshots >= 12, "{} snapshots were compared with a fold", verified.snapshots);
    assert_eq!(verified.balances[&bank.accounts[1]].1, 200_000);
    bank.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_on_across_partitions() {
    let bank = Bank::open("parts", 2).await;
    let owner = PgPool::connect(bank.place.get("DAYBOOK_LOG_OWNER_URL")).await.unwrap();
    // Small partitions from here on; those made with the usual size are empty but for the first.
    for statement in [
        "ALTER TABLE events DETACH PARTITION events_000001",
        "ALTER TABLE events DETACH PARTITION events_000002",
        "DROP TABLE events_000001, events_000002",
        "ALTER TABLE events DETACH PARTITION events_000000",
        "ALTER TABLE events ATTACH PARTITION events_000000 FOR VALUES FROM (0) TO (50)",
        "UPDATE log_settings SET partition_size = 50",
        "SELECT extend_event_partitions(4)",
    ] {
        sqlx::query(statement).execute(&owner).await.unwrap();
    }
    let (from, to) = (bank.accounts[0], bank.accounts[1]);
    for round in 0..60u32 {
        if round.is_multiple_of(10) {
            sqlx::query("SELECT extend_event_partitions()").execute(&owner).await.unwrap();
        }
        accepted(bank.send(transfer(from, to, 10)).await);
    }
    bank.store.shutdown().await;
    let store = Store::start(config(&bank.place)).await.unwrap();
    accepted(store.submit(submission(transfer(to, from, 600))).await);
    store.shutdown().await;
    let verified = bank.verify().await;
    assert!(verified.events > 150);
    assert_eq!(verified.balances[&from].1, 100_000);
    let by_default: Vec<String> = sqlx::query_scalar(
        "SELECT relid::text FROM pg_partition_tree('events') JOIN pg_class ON oid = relid WHERE isleaf \
         AND NOT coalesce(reloptions @> '{autovacuum_vacuum_insert_scale_factor=0}', false)",
    )
    .fetch_all(&owner)
    .await
    .unwrap();
    assert_eq!(by_default, [""; 0], "autovacuum would go over a partition whenever it has grown by a fifth");
    bank.close().await;
}
