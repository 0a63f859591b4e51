//! Relays that are killed, doubled, and cut off from their database.

use crate::bank::Bank;
use crate::faults::publish;
use crate::place::{Place, eventually, without_repetitions};

/// Every partition has every event once repetitions are left out, and knows that it is at the head.
async fn assert_complete(place: &Place, bank: &Bank) {
    let mut events = 0;
    for records in place.records().await.values() {
        let (found, mark) = without_repetitions(records);
        assert_eq!(mark, bank.head);
        events += found.len() as u64;
    }
    assert_eq!(events, bank.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_wherever_relay_and_projector_are_killed() {
    let mut place = Place::new(4).await;
    let mut bank = Bank::open(&place.log, 10).await;
    for round in 0..6_u32 {
        let (relay, projector) = (place.relay(), place.projector());
        let target = bank.head + 1;
        bank.business(60).await;
        // Killed somewhere in the middle, at another place in each round.
        let (far, near) = (target + u64::from(round) * 20, target);
        eventually("some progress", async || {
            let (position,): (i64,) = sqlx::query_as("SELECT COALESCE(max(position), 0) FROM relay_progress")
                .fetch_one(&place.log)
                .await
                .ok()?;
            (position as u64 >= if round % 2 == 0 { near } else { far.min(bank.head) }).then_some(())
        })
        .await;
        if round % 2 == 0 {
            relay.kill().await;
            projector.kill().await;
        } else {
            projector.kill().await;
            relay.kill().await;
        }
    }
    let (relay, projector) = (place.relay(), place.projector());
    place.applied(bank.head).await;
    projector.stop().await;
    relay.stop().await;
    assert_complete(&place, &bank).await;
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lost_its_session_does_no_harm() {
    let mut place = Place::new(4).await;
    let mut bank = Bank::open(&place.log, 10).await;
    let (mut first, mut second) = (place.relay(), place.relay());
    let projector = place.projector();
    for _ in 0..4 {
        bank.business(50).await;
        // Whoever holds the lock loses it, in the middle of publishing.
        let killed: Vec<(bool,)> = sqlx::query_as(
            "SELECT pg_terminate_backend(pid) FROM pg_locks \
             WHERE locktype = 'advisory' AND granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
               AND pid <> pg_backend_pid()",
        )
        .fetch_all(&admin(&place).await)
        .await
        .unwrap();
        assert!(killed.len() <= 1);
        bank.business(50).await;
        place.applied(bank.head).await;
    }
    let epochs = eventually("a leader", async || {
        let (first, second) = (*first.status.borrow_and_update(), *second.status.borrow_and_update());
        (first.leading || second.leading).then_some(first.epoch.max(second.epoch))
    })
    .await;
    assert!(epochs > 1, "nobody ever took over");
    first.stop().await;
    // The other one leads on.
    bank.business(20).await;
    second.until(|status| status.leading && status.published == bank.head).await;
    place.applied(bank.head).await;
    projector.stop().await;
    second.stop().await;
    assert_complete(&place, &bank).await;
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_filled_from_the_beginning() {
    use platform::kafka;
    let mut place = Place::new(4).await;
    let mut bank = Bank::open(&place.log, 10).await;
    let mut relay = place.relay();
    bank.business(60).await;
    relay.until(|status| status.published == bank.head).await;
    relay.stop().await;
    let before = place.replayed(bank.head).await;
    let brokers = place.config.brokers().unwrap().to_owned();
    kafka::delete_topic(&brokers, &place.topic).await.unwrap();
    eventually("the topic to go", async || {
        kafka::partition_count(&brokers, &place.topic).await.ok().filter(Option::is_none)
    })
    .await;
    kafka::ensure_topic(&brokers, &place.topic, 4, 1).await.unwrap();
    let (mut relay, projector) = (place.relay(), place.projector());
    place.applied(bank.head).await;
    assert_eq!(place.digest().await, before);
    bank.business(20).await;
    place.applied(bank.head).await;
    relay.until(|status| status.published == bank.head).await;
    projector.stop().await;
    relay.stop().await;
    assert_complete(&place, &bank).await;
    // Its progress is the topic's again: the next one goes on from there.
    let (position,): (i64,) =
        sqlx::query_as("SELECT position FROM relay_progress").fetch_one(&place.log).await.unwrap();
    assert_eq!(position as u64, bank.head);
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_another_history_is_left_alone() {
    let place = Place::new(2).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let mut relay = place.relay();
    relay.until(|status| status.published == bank.head).await;
    relay.stop().await;
    // As after a restore from a backup: the topic has an event that the log has not, then it has another.
    let mut other = event_store::LogReader::new(place.log.clone()).event_at(bank.head).await.unwrap().unwrap();
    other.position += 1;
    other.event_hash = [7; 32];
    publish(&place, &other, 1_000);
    for _ in 0..2 {
        let before = place.records().await;
        let relay = place.relay();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert!(!relay.status.borrow().leading);
        relay.stop().await;
        assert_eq!(place.records().await, before);
        bank.business(5).await;
    }
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_kafka_ends_when_it_is_told_to() {
    let place = Place::new(2).await;
    let options = relay::Options { brokers: "127.0.0.1:1".to_owned(), ..place.relay_options() };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(relay::run_with(options, tokio::sync::watch::Sender::default(), shutdown.clone()));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(!running.is_finished());
    shutdown.cancel();
    tokio::time::timeout(std::time::Duration::from_secs(5), running).await.unwrap().unwrap().unwrap();
    place.discard().await;
}

/// The administrator on the log's database of the place.
async fn admin(place: &Place) -> sqlx::PgPool {
    use sqlx::postgres::PgConnectOptions;
    let options: PgConnectOptions = std::env::var("TEST_DATABASE_URL").unwrap().parse().unwrap();
    let options = options.database(&format!("{}_log", place.prefix));
    sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused() {
    let place = Place::new(3).await;
    let bank = Bank::open(&place.log, 1).await;
    let mut relay = place.relay();
    relay.until(|status| status.published == bank.head).await;
    relay.stop().await;
    let options = relay::Options { partitions: 4, ..place.relay_options() };
    let refused = relay::run_with(options, tokio::sync::watch::Sender::default(), Default::default()).await;
    assert!(matches!(refused, Err(relay::RelayError::Partitions { stored: 3, configured: 4, .. })), "{refused:?}");
    place.discard().await;
}
