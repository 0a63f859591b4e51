//! A place of a test's own: databases, a topic, relays and projectors in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use event_schemas::{KafkaRecord, Recorded, cloud_events};
use platform::provision::{self, Migrations, Plan, TopicPlan};
use platform::{Config, Secret, kafka, postgres};
use projector::status::{ProjectionStatus, status};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(120);

fn required(name: &str, what: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test needs {what}"))
}

pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) prefix: String,
    pub(crate) topic: String,
    pub(crate) log: PgPool,
    pub(crate) views: PgPool,
    replicas: Vec<String>,
}

impl Place {
    pub(crate) async fn new(partitions: i32) -> Self {
        let prefix = format!("pt{}", &uuid::Uuid::now_v7().simple().to_string()[6..]);
        let topic = format!("{prefix}.events");
        let values = provisioned(&prefix, &topic, partitions).await;
        let config = Config::from_values(&values).unwrap();
        let log = postgres::pool(config.log_owner().unwrap().expose(), 4, "test").unwrap();
        let views = postgres::pool(config.views_owner().unwrap().expose(), 4, "test").unwrap();
        Self { config, prefix, topic, log, views, replicas: Vec::new() }
    }

    pub(crate) fn relay_options(&self) -> relay::Options {
        relay::Options::from_config(&self.config).unwrap()
    }

    /// Writes in several transactions at once from a few events on, as it does otherwise from a thousand on.
    pub(crate) fn projector_options(&self) -> projector::Options {
        projector::Options { lane_events_min: 2, ..projector::Options::from_config(&self.config).unwrap() }
    }

    pub(crate) fn relay(&self) -> Running<relay::RelayStatus> {
        let (sender, status) = watch::channel(relay::RelayStatus::default());
        let (shutdown, options) = (CancellationToken::new(), self.relay_options());
        let token = shutdown.clone();
        let task = tokio::spawn(async move { relay::run_with(options, sender, token).await.unwrap() });
        Running { task, status, shutdown }
    }

    pub(crate) fn projector(&self) -> Running<projector::ProjectorStatus> {
        run_projector(self.projector_options())
    }

    /// Empty read models beside the first, filled from the same topic by a projector of its own in
    /// small batches, one transaction each; gives their digest when they are complete.
    pub(crate) async fn replayed(&mut self, head: u64) -> BTreeMap<String, String> {
        let prefix = format!("{}_{}", self.prefix, self.replicas.len());
        let mut values = provisioned(&prefix, &self.topic, self.config.partitions()).await;
        self.replicas.push(prefix);
        values.insert("DAYBOOK_TOPIC".to_owned(), self.topic.clone());
        let config = Config::from_values(&values).unwrap();
        let views = postgres::pool(config.views_owner().unwrap().expose(), 2, "test").unwrap();
        let options = projector::Options { batch_records_max: 7, ..projector::Options::from_config(&config).unwrap() };
        let projector = run_projector(options);
        applied(&views, head).await;
        let digest = projector::digest::digest(&views).await.unwrap();
        projector.stop().await;
        digest
    }

    /// Waits until everything up to the position is in the read models.
    pub(crate) async fn applied(&self, position: u64) -> ProjectionStatus {
        applied(&self.views, position).await
    }

    pub(crate) async fn digest(&self) -> BTreeMap<String, String> {
        projector::digest::digest(&self.views).await.unwrap()
    }

    /// One number of a query on the read models, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let (answer,): (String,) =
            sqlx::query_as(&format!("SELECT ({sql})::text")).fetch_one(&self.views).await.unwrap();
        answer
    }

    /// Everything that is in the topic now, by partition, in order.
    pub(crate) async fn records(&self) -> BTreeMap<i32, Vec<KafkaRecord>> {
        let (brokers, topic) = (self.config.brokers().unwrap().to_owned(), self.topic.clone());
        let partitions = self.config.partitions();
        tokio::task::spawn_blocking(move || read_topic(&brokers, &topic, partitions)).await.unwrap()
    }

    pub(crate) async fn discard(self) {
        self.log.close().await;
        self.views.close().await;
        let admin = Secret::new(required("TEST_DATABASE_URL", "the URL of an administrator"));
        for prefix in self.replicas.iter().chain([&self.prefix]) {
            provision::discard(&admin, prefix).await.unwrap();
        }
        kafka::delete_topic(self.config.brokers().unwrap(), &self.topic).await.unwrap();
    }
}

async fn provisioned(prefix: &str, topic: &str, partitions: i32) -> BTreeMap<String, String> {
    let admin_url = Secret::new(required("TEST_DATABASE_URL", "the URL of an administrator of a PostgreSQL cluster"));
    let brokers = required("KAFKA_BROKERS", "the address of a Kafka broker");
    let seed = Secret::new(
        std::env::var("DAYBOOK_SETUP_SEED").unwrap_or_else(|_| "daybook-tests-one-seed-a-cluster".to_owned()),
    );
    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(name);
    let log = Migrator::new(folder("event-store")).await.unwrap();
    let keys = Migrator::new(folder("keys")).await.unwrap();
    let views = Migrator::new(folder("read-model")).await.unwrap();
    let plan = Plan {
        admin_url: &admin_url,
        prefix,
        seed: &seed,
        reset_passwords: false,
        migrations: Migrations { log: &log, keys: &keys, views: &views },
        topic: Some(TopicPlan { brokers: &brokers, topic, partitions, replication: 1 }),
    };
    provision::provision(&plan, &mut |_| {}).await.unwrap()
}

pub(crate) fn run_projector(options: projector::Options) -> Running<projector::ProjectorStatus> {
    let (sender, status) = watch::channel(projector::ProjectorStatus::default());
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let task = tokio::spawn(async move { projector::run_with(options, sender, token).await.unwrap() });
    Running { task, status, shutdown }
}

/// A relay or projector that runs.
pub(crate) struct Running<S> {
    task: JoinHandle<()>,
    pub(crate) status: watch::Receiver<S>,
    shutdown: CancellationToken,
}

impl<S> Running<S> {
    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Drops it wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Waits until it says so.
    pub(crate) async fn until(&mut self, condition: impl FnMut(&S) -> bool) {
        tokio::time::timeout(PATIENCE, self.status.wait_for(condition))
            .await
            .expect("it does not come so far")
            .expect("it has ended");
    }
}

/// Waits until the condition gives something.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn applied(views: &PgPool, position: u64) -> ProjectionStatus {
    eventually(&format!("position {position} in the read models"), async || {
        // There is no projection before the first start.
        status(views, projector::CORE).await.ok().filter(|status| status.applied_position >= position)
    })
    .await
}

fn read_topic(brokers: &str, topic: &str, partitions: i32) -> BTreeMap<i32, Vec<KafkaRecord>> {
    let consumer: BaseConsumer = kafka::consumer_config(brokers, "test", "test").create().unwrap();
    let mut list = TopicPartitionList::new();
    let mut left = BTreeMap::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Offset(0)).unwrap();
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        left.insert(partition, end);
    }
    consumer.assign(&list).unwrap();
    left.retain(|_, end| *end > 0);
    let mut records: BTreeMap<i32, Vec<KafkaRecord>> = (0..partitions).map(|partition| (partition, vec![])).collect();
    while !left.is_empty() {
        let message = consumer.poll(PATIENCE).expect("the topic ends early").unwrap();
        let headers = message.headers().unwrap();
        let header = |name: &str| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        let record = cloud_events::from_kafka(header, message.key(), message.payload()).unwrap();
        records.get_mut(&message.partition()).unwrap().push(record);
        if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            left.remove(&message.partition());
        }
    }
    records
}

/// What the records of a partition say once repetitions are left out; asserts that ordinals and
/// watermarks are without gaps and never contradict.
pub(crate) fn without_repetitions(records: &[KafkaRecord]) -> (Vec<Recorded>, u64) {
    let (mut events, mut mark): (Vec<Recorded>, u64) = (Vec::new(), 0);
    for record in records {
        match record {
            KafkaRecord::Event { recorded, ordinal, .. } => {
                let index = usize::try_from(*ordinal).unwrap() - 1;
                assert!(index <= events.len(), "ordinal {ordinal} after {}", events.len());
                match events.get(index) {
                    Some(before) => assert_eq!(before, recorded, "the same ordinal for another event"),
                    None => events.push(recorded.clone()),
                }
            }
            KafkaRecord::Watermark { position, ordinal } => {
                assert!(*ordinal <= events.len() as u64, "a watermark before its events");
                let before = events.iter().filter(|event| event.position <= *position).count() as u64;
                assert_eq!(before, *ordinal, "a watermark that miscounts");
                mark = mark.max(*position);
            }
        }
    }
    (events, mark)
}
