//! "At least this position", and that a reply's position is that of its data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::bank::{ANNS, APPLIED, BOBS, Bank, CASH};

const ADVANCE: &str = "UPDATE projection_progress SET watermark = 200";

#[tokio::test]
async fn a_position_that_is_there_does_not_wait() {
    let bank = Bank::found("there").await;
    let reply = bank.get(&format!("/v1/accounts?min_position={APPLIED}&wait_ms=0")).await;
    assert_eq!((reply.status.as_u16(), reply.position()), (200, 100));
    bank.close().await;
}

#[tokio::test]
async fn a_position_that_does_not_come_is_said_to_be_missing() {
    let bank = Bank::found("missing").await;
    for path in
        ["/v1/accounts", "/v1/trial-balance", "/v1/members/00000000-0000-0000-0000-0000000000a1", "/v1/projections"]
    {
        let began = Instant::now();
        let reply = bank.get(&format!("{path}?min_position=101&wait_ms=300")).await;
        assert!(began.elapsed() >= Duration::from_millis(300), "{path}");
        assert!(began.elapsed() < Duration::from_secs(3), "{path}");
        assert_eq!((reply.status.as_u16(), reply.position()), (503, 100), "{path}");
        assert_eq!(reply.json()["code"], "not_yet_at_position");
        assert_eq!(reply.headers["retry-after"], "1");
    }
    let reply = bank.get("/v1/events?min_position=5&wait_ms=100").await;
    assert_eq!((reply.status.as_u16(), reply.position()), (503, 0));
    bank.close().await;
}

/// Waiters go on when the position comes: told by a notification, or found by the poll without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_until_its_position_is_there() {
    for (name, advance) in
        [("told", format!("{ADVANCE}; NOTIFY daybook_views, 'core'")), ("polled", ADVANCE.to_owned())]
    {
        let bank = Bank::found(name).await;
        let router = bank.router.clone();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let router = router.clone();
                tokio::spawn(async move { crate::bank::get(&router, "/v1/accounts?min_position=150").await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(waiting.iter().all(|read| !read.is_finished()), "nobody answers from before");
        bank.execute(&advance).await;
        let advanced = Instant::now();
        for read in waiting {
            let reply = read.await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.position()), (200, 200));
        }
        assert!(advanced.elapsed() < Duration::from_secs(2), "{:?}", advanced.elapsed());
        bank.close().await;
    }
}

/// The listener's connection is cut: waiting goes on, by polling and then by listening again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listener_is_made_again() {
    let bank = Bank::found("lost").await;
    let admin = sqlx::PgPool::connect(bank.place.admin_url().expose()).await.unwrap();
    let router = bank.router.clone();
    let waiting = tokio::spawn(async move { crate::bank::get(&router, "/v1/accounts?min_position=150").await });
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = '{}_views' AND application_name = 'daybook-query-api'",
        bank.place.prefix
    );
    test_place::eventually("a listener to cut", Duration::from_secs(10), || async {
        let (count,): (i64,) = sqlx::query_as(&cut).fetch_one(&admin).await?;
        Ok((count > 0).then_some(()))
    })
    .await
    .unwrap();
    bank.execute(ADVANCE).await;
    let reply = waiting.await.unwrap();
    assert!(reply.status == 200 || reply.json()["code"] == "database_unavailable", "{}", reply.text);
    let listening = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}_views' AND query LIKE 'LISTEN%'",
        bank.place.prefix
    );
    test_place::eventually("a new listener", Duration::from_secs(10), || async {
        let (count,): (i64,) = sqlx::query_as(&listening).fetch_one(&admin).await?;
        Ok((count > 0).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(bank.get("/v1/accounts?min_position=200").await.status, 200);
    admin.close().await;
    bank.close().await;
}

/// A writer adds a code and moves the position in one transaction, over and over: no reply names a
/// position other than that of its rows.
#[tokio::test(flavor = "multi_thread")]
async fn the_position_is_read_in_the_snapshot_of_the_data() {
    let bank = Bank::found("snapshot").await;
    let stop = Arc::new(AtomicBool::new(false));
    let (views, stopping) = (bank.views.clone(), Arc::clone(&stop));
    let writer = tokio::spawn(async move {
        let mut position = APPLIED;
        while !stopping.load(Ordering::Relaxed) {
            position += 1;
            let sql = format!(
                "BEGIN; INSERT INTO ledger_codes VALUES ('x{position}', 'x', 'asset', 'debit', false, {position}, now()); \
                 UPDATE projection_progress SET watermark = {position}; COMMIT"
            );
            sqlx::raw_sql(&sql).execute(&views).await.unwrap();
            // Slow enough that all codes fit a page while the test reads.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        position
    });
    let mut positions = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let reply = bank.get("/v1/ledger/codes?limit=500").await;
        let body = reply.json();
        let codes = body["items"].as_array().unwrap();
        if body["next_cursor"].is_null() {
            assert_eq!(codes.len() as u64, reply.position() - 98, "two codes up to 100, one for each position after");
            positions.insert(reply.position());
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > APPLIED);
    assert!(positions.len() > 1, "the writer wrote in between");
    bank.close().await;
}

/// Balances that are asked for at the same moment are read together, and each is its asker's own.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_asks_for_a_balance_gets_the_one_asked_for() {
    let bank = Bank::found("together").await;
    let nobodys = Uuid::from_u128(0xffff);
    let applied = u64::try_from(APPLIED).unwrap();
    let ask = |account: Uuid, query: &str| {
        let (router, path) = (bank.router.clone(), format!("/v1/accounts/{account}/balance{query}"));
        tokio::spawn(async move { crate::bank::get(&router, &path).await })
    };
    let mut asked = Vec::new();
    for _ in 0..100 {
        asked.extend([ANNS, BOBS, CASH, nobodys].map(|account| (account, ask(account, ""))));
    }
    let alone = async |account: Uuid| bank.get(&format!("/v1/accounts/{account}")).await.json();
    let (anns, bobs, cash) = (alone(ANNS).await, alone(BOBS).await, alone(CASH).await);
    assert_ne!(anns["balance"], bobs["balance"]);
    for (account, reply) in asked {
        let reply = reply.await.unwrap();
        assert_eq!(reply.position(), applied);
        match [(ANNS, &anns), (BOBS, &bobs), (CASH, &cash)].into_iter().find(|(known, _)| *known == account) {
            Some((id, view)) => {
                let shown = reply.json();
                assert_eq!(shown["account_id"], id.to_string());
                for member in ["balance", "held", "available", "version", "parked", "normal_side", "currency"] {
                    assert_eq!(shown[member], view[member], "{id} {member}");
                }
            }
            None => assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (404, &"account_not_found".into())),
        }
    }
    let late = ask(ANNS, "?min_position=101&wait_ms=100").await.unwrap();
    assert_eq!((late.status.as_u16(), late.position()), (503, applied));
    let waiting: Vec<_> = (0..20).map(|_| ask(ANNS, "?min_position=150")).collect();
    bank.execute(ADVANCE).await;
    for reply in waiting {
        let reply = reply.await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.position()), (200, 200));
    }
    bank.close().await;
}

/// Connections are not tried before they are used, so reads must outlive the loss of all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_between_reads_is_not_noticed() {
    let bank = Bank::found("restart").await;
    let admin = sqlx::PgPool::connect(bank.place.admin_url().expose()).await.unwrap();
    let paths = ["/v1/accounts".to_owned(), format!("/v1/accounts/{ANNS}/balance")];
    for _ in 0..3 {
        let reads = (0..20).map(|at| bank.get(&paths[at % 2]));
        assert!(futures::future::join_all(reads).await.iter().all(|reply| reply.status == 200));
        let cut = format!(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
             WHERE datname = '{}_views' AND application_name = 'daybook-query-api'",
            bank.place.prefix
        );
        let (cut,): (i64,) = sqlx::query_as(&cut).fetch_one(&admin).await.unwrap();
        assert!(cut > 2, "{cut}");
        for path in &paths {
            let reply = bank.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        }
    }
    admin.close().await;
    bank.close().await;
}
