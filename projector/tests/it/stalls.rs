//! A topic whose records the client does not hand over, on a broker that answers slowly (the client's
//! own mock of one): what is in it is applied all the same.

use std::time::Duration;

use event_schemas::cloud_events;
use event_store::LogReader;
use platform::kafka;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::bank::Bank;
use crate::place::{Place, run_projector};

/// A broker with one partition that holds the whole log; answers to consumers may be delayed later.
async fn mocked(place: &Place, head: u64) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(&place.topic, 1, 1).unwrap();
    let events = LogReader::new(place.log.clone()).events_after(0, u32::try_from(head).unwrap()).await.unwrap();
    let producer: ThreadedProducer<DefaultProducerContext> =
        kafka::producer_config(&cluster.bootstrap_servers(), "test").create().unwrap();
    for (event, ordinal) in events.iter().zip(1..) {
        let headers =
            cloud_events::headers(event, "main", ordinal).iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value.as_ref()) })
            });
        let key = event.stream.to_string();
        let record = BaseRecord::to(&place.topic).partition(0).key(&key).payload(&event.payload).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        if ordinal % 20 == 0 {
            // What is sent at once is fetched at once; this takes several fetches.
            producer.flush(Duration::from_secs(10)).unwrap();
        }
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    cluster
}

/// What a client asks about a partition that it gave back must not be answered to its next owner: it
/// would go on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_reads_from_the_first_record_however_late_the_broker_answers() {
    let place = Place::new(1).await;
    let mut bank = Bank::open(&place.log, 5).await;
    bank.business(30).await;
    let cluster = mocked(&place, bank.head).await;
    let options = projector::Options { brokers: cluster.bootstrap_servers(), ..place.projector_options() };
    let projector = run_projector(options);
    place.applied(bank.head).await;
    let before = place.digest().await;
    cluster.broker_round_trip_time(-1, Duration::from_millis(300)).unwrap();
    for _ in 0..2 {
        projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
        place.applied(bank.head).await;
        assert_eq!(place.digest().await, before);
    }
    projector.stop().await;
    place.discard().await;
}
