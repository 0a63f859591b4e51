//! Topics, producers and consumers on a real broker, named by `KAFKA_BROKERS`.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use platform::kafka::{self, KafkaError, TopicOutcome};
use platform::provision::default_topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The broker, or a line that says what was not run.
fn given() -> Option<String> {
    let brokers = std::env::var("KAFKA_BROKERS").ok().filter(|brokers| !brokers.is_empty());
    if brokers.is_none() {
        eprintln!("NOT RUN: KAFKA_BROKERS is not set");
    }
    brokers
}

fn unique(name: &str) -> String {
    default_topic(&format!("{name}_{}", &Uuid::new_v4().simple().to_string()[..10]))
}

#[tokio::test]
async fn a_topic_keeps_everything_and_its_partitions() {
    let Some(brokers) = given() else {
        return;
    };
    let topic = unique("topic");
    let ensure = |partitions| kafka::ensure_topic(&brokers, &topic, partitions, 1);
    assert_eq!(ensure(3).await.unwrap(), TopicOutcome::Created);
    assert_eq!(ensure(3).await.unwrap(), TopicOutcome::Existing);
    assert_eq!(kafka::partition_count(&brokers, &topic).await.unwrap(), Some(3));
    let error = ensure(4).await.unwrap_err();
    assert!(matches!(error, KafkaError::PartitionMismatch { found: 3, .. }), "{error}");
    kafka::delete_topic(&brokers, &topic).await.unwrap();

    let forgetful = unique("forgetful");
    let mut client = rdkafka::ClientConfig::new();
    let client = client.set("bootstrap.servers", &brokers);
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let made = NewTopic::new(&forgetful, 1, TopicReplication::Fixed(1));
    admin.create_topics([&made], &AdminOptions::new()).await.unwrap();
    let error = kafka::ensure_topic(&brokers, &forgetful, 1, 1).await.unwrap_err();
    assert!(matches!(error, KafkaError::Forgets { .. }), "{error}");
    kafka::delete_topic(&brokers, &forgetful).await.unwrap();

    let cluster = kafka::cluster_id(&brokers, Duration::from_secs(5)).await.unwrap();
    assert!(cluster.is_some_and(|id| !id.is_empty()));
    assert_eq!(kafka::partition_count(&brokers, "nowhere").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_is_consumed_from_java_s_partition_in_order() {
    let Some(brokers) = given() else {
        return;
    };
    let topic = unique("order");
    let partitions = 5;
    kafka::ensure_topic(&brokers, &topic, partitions, 1).await.unwrap();
    let producer: FutureProducer = kafka::producer_config(&brokers, "test").create().unwrap();
    let mut sent: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut deliveries = Vec::new();
    for number in 0..200 {
        let key = format!("account/{}", Uuid::new_v4());
        let text = number.to_string();
        // No partition is named: librdkafka chooses, and must choose as this code computes.
        let record = FutureRecord::to(&topic).key(&key).payload(&text);
        deliveries.push(producer.send_result(record).unwrap());
        sent.entry(kafka::murmur2_partition(key.as_bytes(), partitions)).or_default().push(text);
    }
    for delivery in deliveries {
        delivery.await.unwrap().unwrap();
    }
    let consumer: BaseConsumer = kafka::consumer_config(&brokers, "test", "test").create().unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(&topic, partition, Offset::Offset(0)).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut seen: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(20);
    while seen.values().map(Vec::len).sum::<usize>() < 200 && Instant::now() < until {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let record = record.unwrap();
        let text = String::from_utf8(record.payload().unwrap().to_vec()).unwrap();
        seen.entry(record.partition()).or_default().push(text);
    }
    assert_eq!(seen, sent);
    kafka::delete_topic(&brokers, &topic).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_told() {
    let asked = kafka::cluster_id("127.0.0.1:1", Duration::from_millis(500)).await;
    assert!(matches!(asked, Err(KafkaError::Client(_))), "{asked:?}");
}
