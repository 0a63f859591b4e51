//! `daybook audit`: the proofs that anybody may run at any time.
//!
//! `verify` walks the log. `reconcile` does that too, replays Kafka from its first record, and
//! compares balances and loans of all three: the log, the replay, the read models. Both end with exit
//! code 1 at the first fault.

mod books;
mod loans;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use domain::money::decimal;
use domain::{AccountId, StreamId};
use event_schemas::Recorded;
use event_schemas::cloud_events::{KafkaRecord, from_kafka};
use event_store::verify::{Verified, verify};
use event_store::{LogReader, ReadError};
use indicatif::{ProgressBar, ProgressStyle};
use platform::Config;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::Row;

use books::Books;

/// Prove that nothing was changed, left out or reordered.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk the whole log: gaps, both hash chains, sequences, balanced legs, entries, balances,
    /// snapshots, stored replies. Stops at the first fault and names its position.
    Verify,
    /// Verify, replay Kafka from its first record, and compare the log, the replay and the read
    /// models: balances account by account, what is owed loan by loan, and that the accounts of
    /// loans are the sums of their loans.
    Reconcile,
}

pub(crate) async fn run(command: AuditCommand, config: &Config) -> anyhow::Result<()> {
    let reader = LogReader::new(platform::postgres::pool(config.log_reader()?.expose(), 2, "daybook-audit")?);
    let verified = walk(&reader).await?;
    print_verified(&verified);
    match command {
        AuditCommand::Verify => Ok(()),
        AuditCommand::Reconcile => reconcile(config, &reader, &verified).await,
    }
}

/// The same style of bar for every long walk over events.
pub(crate) fn bar(total: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>10} {wide_bar} {human_pos}/{human_len} events {per_sec} eta {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what)
}

async fn walk(reader: &LogReader) -> anyhow::Result<Verified> {
    let began = std::time::Instant::now();
    let progress = bar(0, "verify");
    let result = verify(reader, |position, head| {
        progress.set_length(head);
        progress.set_position(position);
    })
    .await;
    progress.finish_and_clear();
    match result {
        Ok(verified) => {
            say!(
                "log         clean: {} events, positions 1 to {} without a gap ({} events/s)",
                verified.events,
                verified.events,
                u128::from(verified.events) * 1000 / began.elapsed().as_millis().max(1)
            );
            Ok(verified)
        }
        Err(error @ (ReadError::Broken { .. } | ReadError::Decode { .. })) => {
            say!("log         NOT CLEAN: {error}");
            bail!("the first fault is the one above; later ones were not looked for")
        }
        Err(error @ ReadError::Database(_)) => Err(error).context("the log could not be read"),
    }
}

fn print_verified(verified: &Verified) {
    let streams: Vec<String> = verified.streams.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    say!("commands    {}; each has its stored reply", verified.commands);
    say!("streams     {}; every sequence contiguous, every hash chained", streams.join(", "));
    say!("entries     {}; each equals one leg of its command, each balance after is the fold's", verified.entries);
    say!("snapshots   {}; each equals the fold", verified.snapshots);
    let mut sums: BTreeMap<domain::Currency, i128> = BTreeMap::new();
    for ((_, currency), minor) in &verified.trial_balance {
        *sums.entry(*currency).or_default() += minor;
    }
    for (currency, minor) in sums {
        say!("balance     debits less credits in {currency}: {}", decimal(minor, currency));
    }
    say!("chain hash  {}", hex::encode(verified.chain_hash));
}

/// What a replay of the topic gives.
#[derive(Default)]
struct Replay {
    events: u64,
    duplicates: u64,
    books: Books,
}

async fn reconcile(config: &Config, reader: &LogReader, verified: &Verified) -> anyhow::Result<()> {
    let (hashes, log) = read_log(reader, verified.events).await?;
    let (brokers, topic) = (config.brokers()?.to_owned(), config.topic().to_owned());
    let replay = tokio::task::spawn_blocking(move || replay(&brokers, &topic, &hashes)).await??;
    say!(
        "kafka       {} events, in order per stream, each equal to the log's by its hash ({} repeated)",
        replay.events,
        replay.duplicates
    );
    let views = platform::postgres::pool(config.views_reader()?.expose(), 2, "daybook-audit")?;
    let rows = read_models(&views, verified.events).await?;
    let mut compared = 0;
    for (account_id, (currency, minor)) in &verified.balances {
        let told = |minor: i64| decimal(minor.into(), *currency);
        let replayed = replay.books.balances.get(account_id).copied().unwrap_or(0);
        ensure!(replayed == *minor, "account {account_id}: log {}, replay {}", told(*minor), told(replayed));
        let shown = rows.get(account_id).copied();
        ensure!(
            shown == Some(*minor),
            "account {account_id}: log {}, read model {}",
            told(*minor),
            shown.map_or("nothing".to_owned(), told)
        );
        compared += 1;
    }
    ensure!(rows.len() == compared, "the read model has {} guarded accounts, the log {compared}", rows.len());
    say!("accounts    {compared}: log = replay from Kafka = read model, each to the minor unit");
    loans::compare(reader, &views, &log, &replay.books, verified.events).await
}

/// The hash of every event up to the head, and what the events add up to.
async fn read_log(reader: &LogReader, head: u64) -> anyhow::Result<(Vec<[u8; 32]>, Books)> {
    let (mut hashes, mut books) = (Vec::with_capacity(usize::try_from(head)?), Books::default());
    while (hashes.len() as u64) < head {
        let page = reader.events_after(hashes.len() as u64, 10_000).await?;
        ensure!(!page.is_empty(), "the log ends before its head");
        for event in page.iter().filter(|event| event.position <= head) {
            hashes.push(event.event_hash);
            books.apply(event)?;
        }
    }
    Ok((hashes, books))
}

/// Reads every partition from its first to its present last record. Each event must be one of the
/// log's by position and hash, in order within its stream, and none may be missing.
fn replay(brokers: &str, topic: &str, hashes: &[[u8; 32]]) -> anyhow::Result<Replay> {
    let timeout = Duration::from_secs(10);
    let group = format!("daybook-audit-{}", uuid::Uuid::now_v7());
    let consumer: BaseConsumer = platform::kafka::consumer_config(brokers, "daybook-audit", &group).create()?;
    let metadata = consumer.fetch_metadata(Some(topic), timeout).context("asking Kafka for the topic")?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32);
    let mut assignment = TopicPartitionList::new();
    let mut ends = HashMap::new();
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, timeout)?;
        ensure!(low == 0, "partition {partition} begins at offset {low}: Kafka has dropped records");
        if high > 0 {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            ends.insert(partition, high);
        }
    }
    consumer.assign(&assignment)?;
    let progress = bar(hashes.len() as u64, "replay");
    let (mut replay, mut sequences, mut ordinals) = (Replay::default(), HashMap::new(), HashMap::new());
    while !ends.is_empty() {
        let message = consumer.poll(timeout).context("Kafka gives no more records though there are some")??;
        let partition = message.partition();
        let headers = message.headers();
        let header = |name: &str| headers?.iter().find(|header| header.key == name).and_then(|header| header.value);
        let record = from_kafka(header, message.key(), message.payload())
            .with_context(|| format!("partition {partition} offset {}", message.offset()))?;
        match record {
            KafkaRecord::Event { recorded, ordinal, .. } if recorded.position <= hashes.len() as u64 => {
                apply(&mut replay, &mut sequences, ordinals.entry(partition).or_insert(0), &recorded, ordinal, hashes)?;
                progress.set_position(replay.events);
            }
            // Recorded after the walk of the log began, or no event at all.
            KafkaRecord::Event { .. } | KafkaRecord::Watermark { .. } => {}
        }
        if ends.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
            ends.remove(&partition);
        }
    }
    progress.finish_and_clear();
    ensure!(
        replay.events == hashes.len() as u64,
        "Kafka has {} of the log's {} events (is the relay behind?)",
        replay.events,
        hashes.len()
    );
    Ok(replay)
}

fn apply(
    replay: &mut Replay,
    sequences: &mut HashMap<StreamId, u64>,
    last_ordinal: &mut u64,
    recorded: &Recorded,
    ordinal: u64,
    hashes: &[[u8; 32]],
) -> anyhow::Result<()> {
    let position = recorded.position;
    let at = usize::try_from(position - 1)?;
    ensure!(hashes.get(at) == Some(&recorded.event_hash), "the event at {position} differs from the log's");
    if ordinal <= *last_ordinal {
        replay.duplicates += 1;
        return Ok(());
    }
    ensure!(ordinal == *last_ordinal + 1, "ordinal {ordinal} follows {last_ordinal} at position {position}");
    *last_ordinal = ordinal;
    let sequence = sequences.entry(recorded.stream).or_insert(0);
    ensure!(recorded.sequence == *sequence + 1, "{}: {} follows {sequence}", recorded.stream, recorded.sequence);
    *sequence = recorded.sequence;
    replay.events += 1;
    replay.books.apply(recorded)
}

/// The balances of guarded accounts in the read models, once those are at the position.
async fn read_models(views: &sqlx::PgPool, position: u64) -> anyhow::Result<HashMap<AccountId, i64>> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let applied: i64 = sqlx::query_scalar("SELECT applied_position('core')").fetch_one(views).await?;
        if applied as u64 >= position {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the read models are at {applied}, the log is at {position}: see `daybook projection status`"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // As of that position, whatever was posted since: the last entry up to it has the balance after.
    let rows = sqlx::query(
        "SELECT a.account_id, COALESCE(e.balance_minor, 0) AS balance_minor FROM accounts a LEFT JOIN LATERAL (\
         SELECT balance_minor FROM entries WHERE account_id = a.account_id AND position <= $1 \
         ORDER BY sequence DESC LIMIT 1) e ON true WHERE a.guarded AND a.position <= $1",
    )
    .bind(position as i64)
    .fetch_all(views)
    .await?;
    let shown: HashMap<AccountId, i64> = rows
        .iter()
        .map(|row| Ok((AccountId(row.try_get("account_id")?), row.try_get("balance_minor")?)))
        .collect::<Result<_, sqlx::Error>>()?;
    // What queries show as the present balance is the last entry's, in one snapshot.
    let differing: Option<uuid::Uuid> = sqlx::query_scalar(
        "SELECT b.account_id FROM account_balances b JOIN accounts a USING (account_id) LEFT JOIN LATERAL (\
         SELECT balance_minor FROM entries WHERE account_id = b.account_id ORDER BY sequence DESC LIMIT 1) e ON true \
         WHERE a.guarded AND b.balance_minor <> COALESCE(e.balance_minor, 0) LIMIT 1",
    )
    .fetch_optional(views)
    .await?;
    if let Some(account_id) = differing {
        bail!("account {account_id}: the read model's balance is not that of its last entry");
    }
    Ok(shown)
}
