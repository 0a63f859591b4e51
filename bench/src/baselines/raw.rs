//! The limit: rows of the bytes that Daybook writes for transfers, inserted by arrays into a table of the columns and
//! indexes of `events`, with nothing decided, hashed, looked up or kept beside it.
//!
//! The rows are made before the clock runs, so that the client's part is what an insert needs, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chrono::Utc;
use event_store::json::JsonText;
use sqlx::{Executor, PgPool};
use uuid::Uuid;

use super::Setup;
use super::database::{Costs, Database};
use crate::figures::{Figures, Latencies, micros};
use crate::workload::{Draw, Random};

/// The columns of `events` in `migrations/event-store/0001_log.sql`, and its indexes but for the one by stream.
const SCHEMA: &str = "\
CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence >= 1),
    event_type     text NOT NULL,
    event_version  text NOT NULL,
    payload        json NOT NULL,
    metadata       json NOT NULL,
    position       bigint NOT NULL CHECK (position >= 1),
    recorded_at    timestamptz NOT NULL,
    event_hash     bytea NOT NULL,
    chain_hash     bytea NOT NULL,
    command_id     text NOT NULL,
    PRIMARY KEY (position)
);
CREATE INDEX events_pending ON events (position) WHERE event_type = 'TransactionPending'";

const STREAM_INDEX: &str = "CREATE INDEX events_stream ON events (aggregate_id, sequence)";

// In the list of what is selected: in FROM each array would first be written into a store of its own.
const INSERT: &str = "\
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position,
    recorded_at, event_hash, chain_hash, command_id)
SELECT unnest($3::text[]), unnest($4::text[]), unnest($5::bigint[]), unnest($6::text[]), '1',
    unnest($7::json[]), unnest($8::json[]), generate_series($1::bigint + 1, $1::bigint + cardinality($3)),
    $2, unnest($9::bytea[]), unnest($10::bytea[]), unnest($11::text[])";

/// Transfers for one measurement, three events each: some 200 MB of rows, and about two seconds of inserts.
const TRANSFERS: usize = 60_000;

/// The share of the batches that is inserted before the clock runs: one in so many.
const WARM_UP: usize = 10;

/// One way to insert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    /// Rows in each statement.
    pub(crate) batch: usize,
    /// Whether the table has the index by stream.
    pub(crate) stream_index: bool,
}

/// Measures it, over as many connections as `setup` has clients. It takes as long as its rows take.
pub(crate) async fn run(setup: Setup, raw: Raw) -> anyhow::Result<Figures> {
    let database = Database::create(&setup.admin_url, "raw", setup.clients).await?;
    let figures = measured(&setup, raw, &database).await;
    database.remove().await?;
    figures
}

async fn measured(setup: &Setup, raw: Raw, database: &Database) -> anyhow::Result<Figures> {
    let pool = &database.pool;
    pool.execute(SCHEMA).await?;
    if raw.stream_index {
        pool.execute(STREAM_INDEX).await?;
    }
    pool.execute("CHECKPOINT").await?;
    let rows = transfers(setup, raw.batch);
    let work = Arc::new(Work { batches: rows, next: AtomicUsize::new(0), rows: raw.batch });
    let warm = work.batches.len().div_ceil(WARM_UP);
    insert(&work, warm, setup.clients, pool).await?;
    let (before, began) = (Costs::now(&database.watch).await?, Instant::now());
    let latencies = insert(&work, work.batches.len(), setup.clients, pool).await?;
    let (elapsed_us, after) = (micros(began.elapsed()), Costs::now(&database.watch).await?);
    let (count, distinct): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT position) FROM events").fetch_one(pool).await?;
    let all = work.batches.len() * raw.batch;
    anyhow::ensure!(
        usize::try_from(count)? == all && count == distinct,
        "{count} rows at {distinct} positions instead of {all}"
    );
    let done = u64::try_from(all - warm * raw.batch)?;
    let figures = Figures {
        unit: "events".to_owned(),
        done,
        elapsed_us,
        clients: u64::try_from(setup.clients)?,
        latency: latencies.percentiles(),
        events: done,
        commits: u64::try_from(work.batches.len() - warm)?,
        more: [("batch_rows".to_owned(), u64::try_from(raw.batch)?)].into(),
        ..Figures::default()
    };
    Ok(after.since(&before, figures))
}

/// Batches in the order in which they are inserted, by whoever is free.
struct Work {
    batches: Vec<Rows>,
    next: AtomicUsize,
    rows: usize,
}

/// Inserts the next batches up to `until`, over so many connections. How long each took.
async fn insert(work: &Arc<Work>, until: usize, connections: usize, pool: &PgPool) -> anyhow::Result<Latencies> {
    let clients: Vec<_> =
        (0..connections).map(|_| tokio::spawn(insert_on_one(work.clone(), until, pool.clone()))).collect();
    let mut latencies = Latencies::new()?;
    for client in clients {
        latencies.add(&client.await??);
    }
    // Each of them took a number beyond the end.
    work.next.store(until, Ordering::Relaxed);
    Ok(latencies)
}

async fn insert_on_one(work: Arc<Work>, until: usize, pool: PgPool) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut connection = pool.acquire().await?;
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(rows) = work.batches.get(number).filter(|_| number < until) else { return Ok(latencies) };
        let began = Instant::now();
        sqlx::query(INSERT)
            .bind(i64::try_from(number * work.rows)?)
            .bind(Utc::now())
            .bind(&rows.kinds)
            .bind(&rows.ids)
            .bind(&rows.sequences)
            .bind(&rows.types)
            .bind(json(&rows.payloads))
            .bind(json(&rows.metadata))
            .bind(&rows.event_hashes)
            .bind(&rows.chain_hashes)
            .bind(&rows.command_ids)
            .execute(&mut *connection)
            .await?;
        latencies.record(began.elapsed());
    }
}

fn json(texts: &[String]) -> Vec<JsonText<'_>> {
    texts.iter().map(|text| JsonText(text)).collect()
}

/// A batch, by columns.
#[derive(Default)]
struct Rows {
    kinds: Vec<&'static str>,
    ids: Vec<String>,
    sequences: Vec<i64>,
    types: Vec<&'static str>,
    payloads: Vec<String>,
    metadata: Vec<String>,
    event_hashes: Vec<Vec<u8>>,
    chain_hashes: Vec<Vec<u8>>,
    command_ids: Vec<String>,
}

/// The events of transfers between the accounts of `setup`, in whole batches.
fn transfers(setup: &Setup, batch: usize) -> Vec<Rows> {
    let draw = Draw::new(setup.distribution, setup.accounts);
    let mut random = Random::new(1);
    let accounts: Vec<Uuid> = (0..setup.accounts).map(|_| Uuid::now_v7()).collect();
    let mut versions = vec![1_i64; setup.accounts];
    let batches = (TRANSFERS * 3).div_ceil(batch);
    (0..batches)
        .map(|_| {
            let mut rows = Rows::default();
            for _ in 0..batch.div_ceil(3) {
                let (from, to) = draw.pair(&mut random);
                versions[from] += 1;
                versions[to] += 1;
                let transfer = Posted {
                    id: Uuid::now_v7(),
                    amount_minor: 1 + random.below(99),
                    sides: [(accounts[from], versions[from]), (accounts[to], versions[to])],
                };
                transfer.push_to(&mut rows, &mut random);
            }
            rows
        })
        .collect()
}

/// A transfer as the log holds it: the transaction, and an entry in each of its accounts.
struct Posted {
    id: Uuid,
    amount_minor: usize,
    /// The account that pays and the one that is paid, with the versions that this makes.
    sides: [(Uuid, i64); 2],
}

impl Posted {
    fn push_to(&self, rows: &mut Rows, random: &mut Random) {
        let command_id = Uuid::now_v7().to_string();
        let metadata = metadata(&command_id, random);
        self.push(rows, random, ("transaction", "TransactionPosted", self.id, 1), self.transaction());
        for (leg, (account, version)) in (1..).zip(self.sides) {
            self.push(rows, random, ("account", "EntryPosted", account, version), self.entry(leg));
        }
        for _ in 0..3 {
            rows.metadata.push(metadata.clone());
            rows.command_ids.push(command_id.clone());
        }
    }

    fn push(&self, rows: &mut Rows, random: &mut Random, at: (&'static str, &'static str, Uuid, i64), payload: String) {
        let (kind, event_type, id, sequence) = at;
        rows.kinds.push(kind);
        rows.types.push(event_type);
        rows.ids.push(id.to_string());
        rows.sequences.push(sequence);
        rows.payloads.push(payload);
        rows.event_hashes.push(hash(random));
        rows.chain_hashes.push(hash(random));
    }

    fn transaction(&self) -> String {
        let Self { amount_minor, sides: [(from, _), (to, _)], .. } = self;
        let leg = |leg: u8, account: &Uuid, side: &str| {
            format!(
                r#"{{"leg":{leg},"account_id":"{account}","ledger_code":"2100","side":"{side}","amount_minor":{amount_minor},"currency":"CZK"}}"#
            )
        };
        format!(
            r#"{{"type":"TransactionPosted","kind":"transfer","booking_date":"2026-11-21","value_date":"2026-11-21","legs":[{},{}]}}"#,
            leg(1, from, "debit"),
            leg(2, to, "credit")
        )
    }

    fn entry(&self, leg: u8) -> String {
        let Self { id, amount_minor, .. } = self;
        let side = if leg == 1 { "debit" } else { "credit" };
        format!(
            r#"{{"type":"EntryPosted","transaction_id":"{id}","posting":1,"leg":{leg},"kind":"transfer","side":"{side}","amount_minor":{amount_minor},"booking_date":"2026-11-21","value_date":"2026-11-21","balance_minor":1000000000,"hold_released_minor":0}}"#
        )
    }
}

/// What Daybook keeps of a request that came over HTTP.
fn metadata(command_id: &str, random: &mut Random) -> String {
    format!(
        r#"{{"actor":"tester","client":"tester","command_id":"{command_id}","correlation_id":"{}","idempotency_key":"{}","request_hmac":"{}","tenant":"main"}}"#,
        Uuid::now_v7(),
        Uuid::now_v7(),
        hex::encode(hash(random))
    )
}

fn hash(random: &mut Random) -> Vec<u8> {
    (0..4).flat_map(|_| random.next().to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use domain::account::AccountEvent;
    use domain::transaction::TransactionEvent;

    use super::*;

    #[test]
    fn the_rows_have_the_bytes_that_daybook_writes_for_a_transfer() {
        let transfer =
            Posted { id: Uuid::now_v7(), amount_minor: 7, sides: [(Uuid::now_v7(), 2), (Uuid::now_v7(), 5)] };
        let written = transfer.transaction();
        let event: TransactionEvent = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), written);
        for leg in [1, 2] {
            let written = transfer.entry(leg);
            let event: AccountEvent = serde_json::from_str(&written).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), written);
        }
        let mut rows = Rows::default();
        transfer.push_to(&mut rows, &mut Random::new(1));
        assert_eq!(rows.kinds, ["transaction", "account", "account"]);
        assert_eq!(rows.sequences, [1, 2, 5]);
        assert!(rows.metadata.len() == 3 && rows.event_hashes.iter().all(|hash| hash.len() == 32));
    }
}
