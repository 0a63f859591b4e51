//! Events that cannot be applied, cannot be understood, or are not there.

use domain::account::AccountEvent;
use domain::money::Side;
use domain::transaction::TransactionKind;
use domain::{AccountId, StreamId, TransactionId};
use event_schemas::{Recorded, cloud_events};
use platform::kafka;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use uuid::Uuid;

use crate::bank::Bank;
use crate::place::{Place, eventually};

/// An account whose events go to this partition.
fn account_in(partition: i32, partitions: i32) -> AccountId {
    std::iter::repeat_with(|| AccountId(Uuid::now_v7()))
        .find(|id| kafka::murmur2_partition(id.stream().to_string().as_bytes(), partitions) == partition)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_parks_its_stream_and_nothing_else() {
    let place = Place::new(3).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let (relay, projector) = (place.relay(), place.projector());
    // An entry of an account that was never opened, more of the same stream behind it, and one whose
    // payload is not what its type says; all in the midst of good ones.
    let (never_opened, garbled) = (AccountId(Uuid::now_v7()), AccountId(Uuid::now_v7()));
    let entry = |balance_minor| AccountEvent::EntryPosted {
        transaction_id: TransactionId(Uuid::from_u128(1)),
        posting: 1,
        leg: 1,
        kind: TransactionKind::Deposit,
        side: Side::Credit,
        amount_minor: 5,
        booking_date: "2026-01-02".parse().unwrap(),
        value_date: "2026-01-02".parse().unwrap(),
        balance_minor,
        hold_released_minor: 0,
    };
    bank.business(30).await;
    bank.append(vec![(never_opened.stream(), entry(5).into()), (never_opened.stream(), entry(10).into())]).await;
    let nonsense = r#"{"type":"AccountFrozen","scope":"sideways","reason":"x"}"#.to_owned();
    bank.append_raw(vec![(garbled.stream(), "AccountFrozen".to_owned(), "1".to_owned(), nonsense)]).await;
    bank.business(30).await;
    let status = place.applied(bank.head).await;
    assert_eq!(status.parked.len(), 2, "{:?}", status.parked);
    assert_eq!(status.parked[0].stream, never_opened.stream().to_string());
    assert_eq!(status.parked[0].events, 2);
    assert!(status.parked[0].error.as_ref().unwrap().contains("not in the read model"));
    assert_eq!(status.parked[1].stream, garbled.stream().to_string());
    // A later event of a parked stream waits behind it, also after a restart.
    projector.stop().await;
    let projector = place.projector();
    bank.append(vec![(never_opened.stream(), entry(15).into())]).await;
    let status = place.applied(bank.head).await;
    assert_eq!(status.parked[0].events, 3);
    assert_eq!(
        place
            .ask(
                "SELECT string_agg(sequence::text || COALESCE(left(error, 2), '-'), ',' ORDER BY position) \
                   FROM parked_events WHERE event_type = 'EntryPosted'"
            )
            .await,
        "1an,2-,3-"
    );
    for (account_id, balance_minor) in &bank.balances {
        let sql = format!("SELECT balance_minor FROM account_balances WHERE account_id = '{account_id}'");
        assert_eq!(place.ask(&sql).await, balance_minor.to_string());
    }
    // The same is parked again when the read models are made anew.
    let before = place.digest().await;
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    let again = place.applied(bank.head).await;
    assert_eq!(again.parked.iter().map(|parked| parked.events).sum::<u64>(), 4);
    assert_eq!(place.digest().await, before);
    projector.stop().await;
    relay.stop().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_stops_its_partition_until_it_is_known() {
    let place = Place::new(3).await;
    let mut bank = Bank::open(&place.log, 10).await;
    let (relay, projector) = (place.relay(), place.projector());
    place.applied(bank.head).await;
    let stopped_at = bank.head + 1;
    let stream = account_in(1, 3).stream();
    bank.append_raw(vec![(stream, "AccountOpened".to_owned(), "9".to_owned(), "{}".to_owned())]).await;
    bank.business(60).await;
    let status = eventually("the partition to stop and the others to go on", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        let others = status.partitions.iter().filter(|partition| partition.watermark == bank.head).count();
        (others == 2 && status.partitions[1].stopped.is_some()).then_some(status)
    })
    .await;
    assert!(status.applied_position < stopped_at);
    let reason = status.partitions[1].stopped.clone().unwrap();
    assert!(reason.contains("unknown version `9`"), "{reason}");
    assert_eq!(status.partitions[0].stopped, None);
    // A restart does not skip it either.
    projector.kill().await;
    let projector = place.projector();
    bank.business(20).await;
    eventually("the others to go on", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        assert!(status.applied_position < stopped_at);
        (status.partitions.iter().filter(|partition| partition.watermark == bank.head).count() == 2).then_some(())
    })
    .await;
    projector.stop().await;
    relay.stop().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_never_passed_and_goes_on_when_it_is_filled() {
    let place = Place::new(2).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let relay = place.relay();
    bank.business(20).await;
    let projector = place.projector();
    place.applied(bank.head).await;
    relay.stop().await;
    // By hand: the last-but-one event of a partition is left out at first.
    let stream = StreamId::LEDGER;
    let partition = kafka::murmur2_partition(stream.to_string().as_bytes(), 2);
    let before = bank.head;
    let defined = |code: &str| {
        format!(
            r#"{{"type":"LedgerCodeDefined","ledger_code":"{code}","name":"x","class":"asset","normal_side":"debit","control":false}}"#
        )
    };
    for code in ["3001", "3002"] {
        bank.append_raw(vec![(stream, "LedgerCodeDefined".to_owned(), "1".to_owned(), defined(code))]).await;
    }
    let events = event_store::LogReader::new(place.log.clone()).events_after(before, 2).await.unwrap();
    let applied = projector::status::status(&place.views, projector::CORE).await.unwrap();
    let ordinal = applied.partitions[partition as usize].ordinal;
    let publish = |index: usize| publish(&place, &events[index], ordinal + 1 + index as u64);
    publish(1);
    let reason = eventually("the partition to stop", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        status.partitions[partition as usize].stopped.clone()
    })
    .await;
    assert!(reason.contains("events are missing"), "{reason}");
    assert_eq!(place.ask("SELECT count(*) FROM ledger_codes").await, "2");
    // Whoever starts again meets the same gap. A relay that begins again from before it publishes
    // what is missing, and what follows it once more.
    projector.stop().await;
    let projector = place.projector();
    publish(0);
    publish(1);
    eventually("the partition to go on", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        let partition = &status.partitions[partition as usize];
        (partition.ordinal == ordinal + 2 && partition.stopped.is_none()).then_some(())
    })
    .await;
    assert_eq!(place.ask("SELECT count(*) FROM ledger_codes").await, "4");
    projector.stop().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_histories_in_one_topic_are_noticed() {
    let place = Place::new(2).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let (relay, projector) = (place.relay(), place.projector());
    bank.business(10).await;
    place.applied(bank.head).await;
    relay.stop().await;
    // As after a restore from a backup: positions that were published are used again, by other events.
    let mut other = event_store::LogReader::new(place.log.clone()).event_at(bank.head).await.unwrap().unwrap();
    other.stream = account_in(1, 2).stream();
    let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
    publish(&place, &other, status.partitions[1].ordinal + 1);
    let reason = eventually("the partition to stop", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        status.partitions[1].stopped.clone()
    })
    .await;
    assert!(reason.contains("restored"), "{reason}");
    projector.stop().await;
    place.discard().await;
}

/// Publishes an event by hand, with that ordinal.
pub(crate) fn publish(place: &Place, recorded: &Recorded, ordinal: u64) {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> =
        kafka::producer_config(place.config.brokers().unwrap(), "test").create().unwrap();
    let headers = cloud_events::headers(recorded, "main", ordinal)
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value.as_ref()) }));
    let key = recorded.stream.to_string();
    let record = BaseRecord::to(&place.topic)
        .partition(kafka::murmur2_partition(key.as_bytes(), place.config.partitions()))
        .key(&key)
        .payload(&recorded.payload)
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(10)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_the_topic_does_not_have_stops_its_partition_alone_and_says_so() {
    let place = Place::new(3).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let (relay, projector) = (place.relay(), place.projector());
    bank.business(30).await;
    place.applied(bank.head).await;
    projector.stop().await;
    // As if the topic had been made anew, with less in it.
    let shift =
        |by: i64| format!("UPDATE projection_progress SET next_offset = next_offset + {by} WHERE partition = 0");
    sqlx::query(&shift(1_000_000)).execute(&place.views).await.unwrap();
    let mut projector = place.projector();
    projector.until(|status| status.stopped == 1).await;
    let told = eventually("the reason in the status", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        status.partitions[0].stopped.clone()
    })
    .await;
    assert!(told.contains("comes next, but the topic has 0 to"), "{told}");
    bank.business(30).await;
    eventually("the other partitions at the head", async || {
        let status = projector::status::status(&place.views, projector::CORE).await.unwrap();
        let (stands, others) = status.partitions.split_first().unwrap();
        assert!(stands.stopped.is_some() && stands.watermark < bank.head, "{stands:?}");
        others.iter().all(|partition| partition.watermark >= bank.head).then_some(())
    })
    .await;
    // Once it is put right, the owner goes on by itself.
    sqlx::query(&shift(-1_000_000)).execute(&place.views).await.unwrap();
    let status = place.applied(bank.head).await;
    assert!(status.partitions.iter().all(|partition| partition.stopped.is_none()), "{:?}", status.partitions);
    projector.until(|status| status.stopped == 0 && status.assigned).await;
    projector.stop().await;
    relay.stop().await;
    place.discard().await;
}
