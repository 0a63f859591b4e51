//! The whole way: commands, log, relay, Kafka, projector, read models and queries, all on the same cores; and how fast
//! the read models can be made anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use sqlx::{Connection as _, PgConnection};

use super::reads::{self, Query, await_visible};
use super::transfers::{self, Client};
use super::{Length, Scenario};
use crate::bench::{Bench, check_books, head};
use crate::figures::{Figures, GENERATOR, Latencies, is_in_full, micros};
use crate::http::{self, Connection};
use crate::ledger::{Ledger, eventually};
use crate::load::{Load, Pace};
use crate::results::{Outcome, Part};
use crate::roles::Roles;
use crate::seed;
use crate::workload::{Distribution, Draw};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "whole-way",
        about: "every role and Kafka; of all requests a fifth are queries; by schedule at rising rates",
        length: Length::Short,
        run: |bench| whole_way(bench).boxed_local(),
    },
    Scenario {
        name: "rebuild",
        about: "relay and projector from the first event, then daybook projection rebuild",
        length: Length::Long,
        run: |bench| rebuild(bench).boxed_local(),
    },
];

/// Transfers a second, tried in this order until two in a row are not sustained; the first is a quiet ledger.
const RATES: [u64; 7] = [20, 1_000, 2_000, 4_000, 6_000, 8_000, 10_000];
/// Sustained is what is done in full with the lag's 99th percentile below this.
const LAG_MAX_US: u64 = 500_000;
const PATIENCE: Duration = Duration::from_secs(120);

async fn whole_way(bench: &Bench) -> anyhow::Result<Outcome> {
    if bench.brokers.is_none() {
        return Ok(Outcome::NotRun("it needs Kafka".to_owned()));
    }
    let ledger = transfers::ledger(bench, bench.scale.accounts, true).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let api = roles.start("command-api").await?;
    for role in ["relay", "projector"] {
        roles.start(role).await?;
    }
    let query = roles.start("query-api").await?;
    // What the template holds is on its way first.
    await_visible(&ledger, query, before, PATIENCE).await?;
    let (mut parts, mut loads, mut sustained, mut missed) = (Vec::new(), Vec::new(), 0, 0);
    for rate in RATES {
        let (measured, load) = at_rate(bench, &ledger, &roles, api, query, rate).await?;
        let (done, lag) = (measured[0].figures.per_second(), measured[0].figures.more.get("lag_p99_us").copied());
        parts.extend(measured);
        loads.push(load);
        if !is_in_full(done, rate) || lag.is_none_or(|lag| lag > LAG_MAX_US) {
            missed += 1;
            if missed == 2 {
                break;
            }
        } else {
            (sustained, missed) = (rate, 0);
        }
    }
    let mut figures = Figures { unit: "transfers".to_owned(), ..Figures::default() };
    figures.more.insert("sustained_per_second".to_owned(), sustained);
    parts.push(Part::new("sustained", figures));
    roles.stop().await?;
    check_books(&ledger, before, &loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(parts))
}

/// One rate: transfers, and a quarter as many queries beside them; how far behind the read models were meanwhile, and
/// how long they took to catch up afterwards.
async fn at_rate(
    bench: &Bench,
    ledger: &Ledger,
    roles: &Roles<'_>,
    api: SocketAddr,
    query: SocketAddr,
    rate: u64,
) -> anyhow::Result<(Vec<Part>, Load)> {
    let client = Client::new(ledger, Draw::new(Distribution::Uniform, bench.scale.accounts))?;
    bench.settle().await?;
    let (times, stop) = (bench.scale.times(), Arc::new(AtomicBool::new(false)));
    let sampling = tokio::spawn(lag(client.clone(), query, Instant::now() + times.warm_up, stop.clone()));
    let groups = vec![
        client.group(api, Pace::Open { per_second: rate }, bench.scale.clients),
        reads::group(&client, query, Query::Balance, bench.scale.accounts, Pace::Open { per_second: rate / 4 }),
    ];
    let (mut measured, cost) = bench.measure(ledger, roles, groups, times).await?;
    stop.store(true, Ordering::Relaxed);
    let ended = Instant::now();
    let behind = roles.metric("daybook_projector_lag_records").await?;
    await_visible(ledger, query, head(ledger).await?, PATIENCE).await?;
    let catch_up = ended.elapsed();
    let lag = sampling.await??;
    let queries = measured.pop();
    let mut parts = Vec::new();
    if let Some(load) = measured.first() {
        let mut figures = cost.onto(load.figures("transfers"));
        if let Some(lag) = lag.percentiles() {
            figures.more.insert("lag_p50_us".to_owned(), lag.p50_us);
            figures.more.insert("lag_p99_us".to_owned(), lag.p99_us);
            figures.more.insert("lag_max_us".to_owned(), lag.max_us);
        }
        figures.more.insert("projector_lag_records_at_end".to_owned(), behind);
        figures.more.insert("catch_up_us".to_owned(), micros(catch_up));
        parts.push(Part::new(format!("{rate}/s"), figures));
    }
    parts.extend(queries.map(|load| Part::new(format!("{rate}/s: queries"), load.figures("queries"))));
    let load = measured.pop().ok_or_else(|| anyhow::anyhow!("the load was not counted"))?;
    Ok((parts, load))
}

/// From a reply to a command until a query that asks for its position is answered, again and again after the warm-up.
async fn lag(client: Client, query: SocketAddr, from: Instant, stop: Arc<AtomicBool>) -> anyhow::Result<Latencies> {
    tokio::time::sleep_until(from.into()).await;
    let mut latencies = Latencies::new()?;
    let mut connection = Connection::open(query, None).await?;
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        // As soon as there is one, or a quiet ledger would have shown it by then.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let position = client.position.load(Ordering::Relaxed);
        if position > last {
            last = position;
            let path = format!("/v1/accounts/{}/balance?min_position={position}", seed::account_id(0));
            let request = http::request_head("GET", &path, query, client.token(0)) + "\r\n";
            let began = Instant::now();
            // A query waits some seconds for a position and then says 503: asked again, it goes on waiting.
            while connection.exchange(request.as_bytes()).await?.status == 503 && began.elapsed() < PATIENCE {}
            latencies.record(began.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(latencies)
}

async fn rebuild(bench: &Bench) -> anyhow::Result<Outcome> {
    if bench.brokers.is_none() {
        return Ok(Outcome::NotRun("it needs Kafka".to_owned()));
    }
    let ledger = transfers::ledger(bench, bench.scale.accounts, true).await?;
    let transfers = (bench.scale.log_events / 3).min(300_000);
    seed::fill(&ledger, bench.scale.accounts, transfers).await?;
    let events = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let mut parts = Vec::new();
    let query = roles.start("query-api").await?;

    let watch = bench.watch(&ledger, Some(&roles)).await?;
    roles.start("relay").await?;
    let mut log = PgConnection::connect(ledger.get("DAYBOOK_LOG_READER_URL")).await?;
    loop {
        let progress = "SELECT coalesce(max(position), 0) FROM relay_progress";
        let (position,): (i64,) = sqlx::query_as(progress).fetch_one(&mut log).await?;
        if u64::try_from(position)? >= events {
            break;
        }
        anyhow::ensure!(watch.began.elapsed() < PATIENCE * 10, "the relay stands at {position} of {events}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let figures = walked(events, watch.began.elapsed());
    parts.push(Part::new("relay", alone(watch.cost(bench, Some(&roles)).await?.onto(figures))));

    let watch = bench.watch(&ledger, Some(&roles)).await?;
    roles.start("projector").await?;
    await_visible(&ledger, query, events, PATIENCE * 10).await?;
    let figures = walked(events, watch.began.elapsed());
    parts.push(Part::new("projector", alone(watch.cost(bench, Some(&roles)).await?.onto(figures))));

    let watch = bench.watch(&ledger, Some(&roles)).await?;
    roles.tool(&["projection", "rebuild", "--yes"]).await?;
    let figures = walked(events, watch.began.elapsed());
    parts.push(Part::new("rebuild", alone(watch.cost(bench, Some(&roles)).await?.onto(figures))));
    eventually("the read models", PATIENCE, || async {
        Ok(await_visible(&ledger, query, events, PATIENCE).await.ok())
    })
    .await?;
    roles.stop().await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(parts))
}

fn walked(events: u64, elapsed: Duration) -> Figures {
    Figures { unit: "events".to_owned(), done: events, elapsed_us: micros(elapsed), ..Figures::default() }
}

/// Without this process's own time: it only waited.
fn alone(mut figures: Figures) -> Figures {
    figures.cpu_ms.remove(GENERATOR);
    figures
}
