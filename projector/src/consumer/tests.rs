//! A client that loses a partition without saying so, on a real broker.

// A failure here is a failed test.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use event_schemas::cloud_events;
use platform::kafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use sqlx::PgPool;
use test_place::Place;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Consumption, TRIES_MAX};
use crate::claim::Owner;
use crate::watchdog::{self, Watchdog};
use crate::{Options, ProjectorError, ProjectorStatus, progress};

/// Publishes watermarks at these positions.
fn publish(options: &Options, positions: std::ops::RangeInclusive<u64>) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        kafka::producer_config(&options.brokers, "test").create().unwrap();
    for position in positions {
        let headers = cloud_events::watermark_headers("main", 0, position)
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let value = cloud_events::watermark_value(position, 0);
        let record = BaseRecord::<(), str>::to(&options.topic).partition(0).payload(&value).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Rounds until so many records are written; fails as the rounds do.
fn reads_up_to(consumption: &mut Consumption<'_>, next_offset: i64) -> Result<(), ProjectorError> {
    let began = Instant::now();
    while consumption.batch.places().all(|place| place.next_offset < next_offset) {
        assert!(began.elapsed() < Duration::from_secs(40), "offset {next_offset} is not reached");
        consumption.round()?;
    }
    Ok(())
}

fn lose_and_find(options: &Options, pool: &PgPool, handle: &Handle) {
    let owner = Owner::new(handle.clone(), pool.clone(), options.projection.clone(), options.topic.clone());
    let consumer: BaseConsumer<Owner> =
        kafka::consumer_config(&options.brokers, "test", &options.group).create_with_context(owner).unwrap();
    consumer.subscribe(&[&options.topic]).unwrap();
    let (status, _told) = watch::channel(ProjectorStatus::default());
    let ((questions, asked), (told, answers)) = (mpsc::channel(), mpsc::channel());
    std::thread::scope(|scope| {
        let (consumer, topic) = (&consumer, options.topic.as_str());
        scope.spawn(move || watchdog::answer(consumer, topic, &asked, &told));
        let watchdog = Watchdog::new(options.stall_after, questions, answers);
        let mut consumption = Consumption::new(options, pool, handle, &status, consumer, watchdog);
        publish(options, 1..=3);
        reads_up_to(&mut consumption, 3).unwrap();
        // The client no longer fetches, and its user is not told.
        consumer.context().hold(consumer).unwrap();
        publish(options, 4..=5);
        reads_up_to(&mut consumption, 5).unwrap();
        // It does so after every assignment: then it takes a new client.
        consumer.context().hold(consumer).unwrap();
        publish(options, 6..=6);
        let mut lost = 1;
        let ended = loop {
            match reads_up_to_claim(&mut consumption) {
                Ok(()) => consumer.context().hold(consumer).unwrap(),
                Err(error) => break error,
            }
            lost += 1;
        };
        assert!(matches!(ended, ProjectorError::Stalled { partition: 0, next_offset: 5 }), "{ended}");
        assert_eq!(lost, TRIES_MAX + 1);
    });
}

/// Rounds until the partition was given up; then it is claimed again, without a look at the client's queue.
fn reads_up_to_claim(consumption: &mut Consumption<'_>) -> Result<(), ProjectorError> {
    while consumption.unclaimed.is_none() {
        consumption.round()?;
    }
    while consumption.unclaimed.is_some() {
        consumption.claim_again();
        std::thread::yield_now();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_loses_a_partition_is_noticed_and_put_right() {
    let place = Place::with_partitions("stall", 1).await.unwrap();
    let config = place.config().unwrap();
    let options = Options { stall_after: Duration::from_millis(400), ..Options::from_config(&config).unwrap() };
    let pool = platform::postgres::pool(options.views_url.expose(), 2, "test").unwrap();
    progress::seed(&pool, &options.projection, &options.topic, 1).await.unwrap();
    let (handle, of) = (Handle::current(), pool.clone());
    tokio::task::spawn_blocking(move || lose_and_find(&options, &of, &handle)).await.unwrap();
    pool.close().await;
    place.discard().await.unwrap();
}
