//! Whoever changes the log past all locks is found, by position.

use event_store::{LogReader, verify::verify};
use sqlx::PgPool;

use crate::bank::{Bank, accepted, transfer};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_tampering_is_found_at_its_position() {
    let bank = Bank::open("tamper", 2).await;
    for _ in 0..5 {
        accepted(bank.send(transfer(bank.accounts[0], bank.accounts[1], 100)).await);
    }
    bank.store.shutdown().await;
    let clean = bank.verify().await;
    // A superuser who switches the triggers off.
    let admin = bank.place.admin_url().expose().to_owned();
    let log_url = admin.rsplit_once('/').map(|(server, _)| format!("{server}/{}_log", bank.place.prefix)).unwrap();
    let log = PgPool::connect(&log_url).await.unwrap();
    for (table, copy) in [("events", "copy_of_events"), ("commands", "copy_of_commands"), ("log_head", "copy_of_head")]
    {
        sqlx::query(&format!("CREATE TABLE {copy} AS TABLE {table}")).execute(&log).await.unwrap();
    }
    let target: i64 = 20;
    let cases = [
        (
            "a payload",
            format!("UPDATE events SET payload = (payload::text || ' ')::json WHERE position = {target}"),
            20,
        ),
        ("metadata", format!("UPDATE events SET metadata = '{{}}' WHERE position = {target}"), 20),
        (
            "a time",
            format!("UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = {target}"),
            20,
        ),
        (
            "a hash",
            format!("UPDATE events SET event_hash = decode(repeat('ab', 32), 'hex') WHERE position = {target}"),
            20,
        ),
        (
            "a link",
            format!("UPDATE events SET chain_hash = decode(repeat('ab', 32), 'hex') WHERE position = {target}"),
            20,
        ),
        ("a missing event", format!("DELETE FROM events WHERE position = {target}"), 20),
        ("a cut tail", format!("DELETE FROM events WHERE position > {}", clean.events - 3), clean.events - 2),
        ("a moved head", "UPDATE log_head SET position = position - 3".to_owned(), clean.events - 3),
        ("a lost reply", "DELETE FROM commands WHERE position = 1".to_owned(), clean.events),
        (
            "a changed key",
            "UPDATE commands SET idempotency_key = idempotency_key || 'x' WHERE position = 2".to_owned(),
            2,
        ),
        ("a changed reply", "UPDATE commands SET position = position + 1 WHERE position = 1".to_owned(), 2),
    ];
    for (what, statement, position) in cases {
        let mut change = log.begin().await.unwrap();
        sqlx::raw_sql("SET LOCAL session_replication_role = replica; ALTER TABLE events DISABLE TRIGGER ALL; ALTER TABLE events_000000 DISABLE TRIGGER ALL")
            .execute(&mut *change)
            .await
            .unwrap();
        let changed = sqlx::query(&statement).execute(&mut *change).await.unwrap();
        assert!(changed.rows_affected() > 0, "{what}");
        change.commit().await.unwrap();
        let error = verify(&LogReader::new(log.clone()), |_, _| ()).await.expect_err(what);
        match error {
            event_store::ReadError::Broken { position: found, .. } => assert_eq!(found, position, "{what}: {error}"),
            event_store::ReadError::Database(_) | event_store::ReadError::Decode { .. } => panic!("{what}: {error}"),
        }
        restore(&log).await;
        assert_eq!(bank.verify().await, clean, "restored after {what}");
    }
    bank.close().await;
}

/// Puts back what a case changed, from the copies.
async fn restore(log: &PgPool) {
    let statements = [
        "SET LOCAL session_replication_role = replica",
        "ALTER TABLE events_000000 DISABLE TRIGGER ALL",
        "DELETE FROM events_000000",
        "INSERT INTO events SELECT * FROM copy_of_events",
        "DELETE FROM commands",
        "INSERT INTO commands SELECT * FROM copy_of_commands",
        "DELETE FROM log_head",
        "INSERT INTO log_head SELECT * FROM copy_of_head",
    ];
    let mut change = log.begin().await.unwrap();
    for statement in statements {
        sqlx::query(statement).execute(&mut *change).await.unwrap();
    }
    change.commit().await.unwrap();
}
