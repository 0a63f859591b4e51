//! Transfers, one a request, over HTTP with a bearer token; and the same in process, without HTTP.
//!
//! Each begins with a closed loop that finds the capacity, then goes by schedule at shares of it, and at the aim's rate
//! where that is below the capacity.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;

use super::{Length, Scenario};
use crate::bench::{Bench, check_books, head};
use crate::figures::{Figures, Latencies, micros};
use crate::http;
use crate::ledger::Ledger;
use crate::load::{Group, Lane, Load, Pace, Times, Work, is_success};
use crate::results::{Outcome, Part};
use crate::roles::Roles;
use crate::seed;
use crate::workload::{Distribution, Draw, Random};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "transfers-10k",
        about: "uniform over 10,000 accounts",
        length: Length::Short,
        run: |bench| run(bench, bench.scale.accounts, Distribution::Uniform, &[50, 80], Some(20_000)).boxed_local(),
    },
    Scenario {
        name: "transfers-10-hot",
        about: "all on ten accounts",
        length: Length::Short,
        run: |bench| run(bench, bench.scale.accounts, Distribution::TenHot, &[80], None).boxed_local(),
    },
    Scenario {
        name: "transfers-1-hot",
        about: "one account in every transfer",
        length: Length::Short,
        run: |bench| run(bench, bench.scale.accounts, Distribution::OneHot, &[80], None).boxed_local(),
    },
    Scenario {
        name: "transfers-zipf",
        about: "few busy accounts, many quiet ones (Zipf 0.99)",
        length: Length::Short,
        run: |bench| run(bench, bench.scale.accounts, Distribution::Zipf, &[80], None).boxed_local(),
    },
    Scenario {
        name: "one-client",
        about: "one connection, one transfer after the other",
        length: Length::Short,
        run: |bench| one_client(bench).boxed_local(),
    },
    Scenario {
        name: "transfers-1m",
        about: "uniform over a million accounts, more than are kept in memory",
        length: Length::Long,
        run: |bench| run(bench, bench.scale.many_accounts, Distribution::Uniform, &[80], Some(12_000)).boxed_local(),
    },
    Scenario {
        name: "store-in-process",
        about: "the write door without HTTP, uniform and ten hot: what baselines are compared with",
        length: Length::Short,
        run: |bench| in_process(bench).boxed_local(),
    },
];

/// A ledger with so many accounts, and no transfers yet.
pub(super) async fn ledger(bench: &Bench, accounts: usize, topic: bool) -> anyhow::Result<Ledger> {
    let name = format!("accounts_{accounts}");
    let template = Ledger::template(bench, &name, false, async |ledger| seed::found(ledger, accounts).await).await?;
    Ledger::copy_of(bench, &template, topic).await
}

async fn run(
    bench: &Bench,
    accounts: usize,
    distribution: Distribution,
    shares: &[u64],
    aim: Option<u64>,
) -> anyhow::Result<Outcome> {
    let ledger = ledger(bench, accounts, false).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let api = roles.start("command-api").await?;
    let client = Client::new(&ledger, Draw::new(distribution, accounts))?;
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    let group = client.group(api, Pace::Closed, bench.scale.clients);
    let capacity = measuring.part(&roles, "capacity", group).await?;
    for share in shares {
        let pace = Pace::Open { per_second: (capacity * share / 100).max(1) };
        let group = client.group(api, pace, bench.scale.clients);
        measuring.part(&roles, format!("at {share} %"), group).await?;
    }
    if let Some(per_second) = aim.filter(|aim| *aim <= capacity) {
        let group = client.group(api, Pace::Open { per_second }, bench.scale.clients);
        measuring.part(&roles, "at the aim", group).await?;
    }
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

/// Measurements one after the other on one ledger.
pub(super) struct Measuring<'a> {
    bench: &'a Bench,
    ledger: &'a Ledger,
    unit: &'static str,
    pub(super) times: Times,
    pub(super) parts: Vec<Part>,
    pub(super) loads: Vec<Load>,
}

impl<'a> Measuring<'a> {
    /// Of what is `unit`, in the plural.
    pub(super) fn new(bench: &'a Bench, ledger: &'a Ledger, unit: &'static str) -> Self {
        Self { bench, ledger, unit, times: bench.scale.times(), parts: Vec::new(), loads: Vec::new() }
    }

    /// Measures a group and keeps its figures and counts; gives how much was done a second.
    pub(super) async fn part(
        &mut self,
        roles: &Roles<'_>,
        name: impl Into<String>,
        group: Group,
    ) -> anyhow::Result<u64> {
        let name = name.into();
        let (measured, cost) = self.bench.measure(self.ledger, roles, vec![group], self.times).await?;
        let mut per_second = 0;
        for load in measured {
            let figures = cost.clone().onto(load.figures(self.unit));
            per_second = figures.per_second();
            self.parts.push(Part::new(name.clone(), figures));
            self.loads.push(load);
        }
        Ok(per_second)
    }
}

async fn one_client(bench: &Bench) -> anyhow::Result<Outcome> {
    let ledger = ledger(bench, bench.scale.accounts, false).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let api = roles.start("command-api").await?;
    let client = Client::new(&ledger, Draw::new(Distribution::Uniform, bench.scale.accounts))?;
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    for clients in [1, 8, 32] {
        let group = client.group(api, Pace::Closed, clients);
        let name = format!("{clients} connection{}", if clients == 1 { "" } else { "s" });
        measuring.part(&roles, name, group).await?;
    }
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

async fn in_process(bench: &Bench) -> anyhow::Result<Outcome> {
    let mut parts = Vec::new();
    for (name, distribution) in [("uniform", Distribution::Uniform), ("ten hot", Distribution::TenHot)] {
        let ledger = ledger(bench, bench.scale.accounts, false).await?;
        let before = head(&ledger).await?;
        let store = seed::open(&ledger).await?;
        let draw = Draw::new(distribution, bench.scale.accounts);
        bench.settle().await?;
        let times = bench.scale.times();
        let from = Instant::now() + times.warm_up;
        let to = from + times.measure;
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..bench.scale.clients {
            let (store, draw, mut random) = (store.clone(), draw.clone(), Random::new(seed_now(lane)));
            tasks.spawn(async move {
                let (mut all, mut done, mut latencies) = (0u64, 0u64, Latencies::new()?);
                while Instant::now() < to {
                    let began = Instant::now();
                    let command = seed::transfer(&draw, &mut random);
                    let reply = store.submit(seed::submission(command, &mut random)).await?;
                    anyhow::ensure!(
                        matches!(reply.outcome, event_store::Outcome::Accepted(_)),
                        "a transfer was refused"
                    );
                    all += 1;
                    let ended = Instant::now();
                    if (from..to).contains(&ended) {
                        done += 1;
                        latencies.record(ended - began);
                    }
                }
                anyhow::Ok((all, done, latencies))
            });
        }
        let cost = bench.cost_of(&ledger, None, from, to).await?;
        let (mut all, mut done, mut latencies) = (0, 0, Latencies::new()?);
        while let Some(ended) = tasks.join_next().await {
            let (lane_all, lane_done, lane_latencies) = ended??;
            all += lane_all;
            done += lane_done;
            latencies.add(&lane_latencies);
        }
        store.shutdown().await;
        anyhow::ensure!(head(&ledger).await? == before + 3 * all, "events are missing, or too many");
        check_books(&ledger, head(&ledger).await?, &[]).await?;
        ledger.discard().await?;
        let figures = Figures {
            unit: "transfers".to_owned(),
            done,
            elapsed_us: micros(times.measure),
            clients: bench.scale.clients.try_into()?,
            latency: latencies.percentiles(),
            ..Figures::default()
        };
        parts.push(Part::new(name, cost.onto(figures)));
    }
    Ok(Outcome::Measured(parts))
}

/// What lanes of transfers have in common.
#[derive(Clone)]
pub(super) struct Client {
    tokens: Arc<[String]>,
    draw: Draw,
    /// The newest position that a reply named.
    pub(super) position: Arc<AtomicU64>,
}

/// Callers that the requests come from.
const SUBJECTS: usize = 8;

impl Client {
    pub(super) fn new(ledger: &Ledger, draw: Draw) -> anyhow::Result<Self> {
        let tokens = (0..SUBJECTS).map(|subject| ledger.token(&format!("bench-{subject}")));
        let tokens: Vec<String> = tokens.collect::<anyhow::Result<_>>()?;
        Ok(Self { tokens: tokens.into(), draw, position: Arc::new(AtomicU64::new(0)) })
    }

    /// So many connections that send transfers.
    pub(super) fn group(&self, api: SocketAddr, pace: Pace, lanes: usize) -> Group {
        let lanes = (0..lanes).map(|lane| Lane { to: api, from: None, work: Box::new(self.transfers(api, lane)) });
        Group { pace, lanes: lanes.collect() }
    }

    pub(super) fn transfers(&self, api: SocketAddr, lane: usize) -> Transfers {
        let head = http::request_head("POST", "/v1/transactions", api, self.token(lane));
        Transfers {
            head: format!("{head}Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\nIdempotency-Key: "),
            draw: self.draw.clone(),
            random: Random::new(seed_now(lane)),
            position: self.position.clone(),
        }
    }

    pub(super) fn token(&self, lane: usize) -> &str {
        &self.tokens[lane % SUBJECTS]
    }
}

/// Different in every call: keys must be new.
pub(super) fn seed_now(lane: usize) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos();
    let now = u64::try_from(now & u128::from(u64::MAX)).unwrap_or(0);
    Random::new(now.wrapping_add(u64::try_from(lane).unwrap_or(0) << 40)).next()
}

/// Sends transfers of 0.01 to 9.99 CZK, each under a random key.
pub(super) struct Transfers {
    head: String,
    draw: Draw,
    random: Random,
    position: Arc<AtomicU64>,
}

const BODY: [&str; 4] = [
    r#"{"kind":"transfer","from_account_id":""#,
    r#"","to_account_id":""#,
    r#"","amount":{"amount":""#,
    r#"","currency":"CZK"}}"#,
];
const UUID_BYTES: usize = 36;
const AMOUNT_BYTES: usize = 4;
const BODY_BYTES: usize = BODY[0].len() + BODY[1].len() + BODY[2].len() + BODY[3].len() + 2 * UUID_BYTES + AMOUNT_BYTES;

/// Appends the body of a transfer.
pub(super) fn transfer_body(out: &mut Vec<u8>, draw: &Draw, random: &mut Random) {
    let (from, to) = draw.pair(random);
    let amount_minor = 1 + random.below(999);
    push_uuid(out, BODY[0], seed::account_id(from));
    push_uuid(out, BODY[1], seed::account_id(to));
    out.extend_from_slice(BODY[2].as_bytes());
    for (place, digit) in [amount_minor / 100, amount_minor / 10 % 10, amount_minor % 10].into_iter().enumerate() {
        if place == 1 {
            out.push(b'.');
        }
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
    out.extend_from_slice(BODY[3].as_bytes());
}

fn push_uuid(out: &mut Vec<u8>, before: &str, id: uuid::Uuid) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(id.hyphenated().encode_lower(&mut [0; UUID_BYTES]).as_bytes());
}

/// A random key, as a client's UUID of version 4 would be.
pub(super) fn push_key(out: &mut Vec<u8>, random: &mut Random) {
    let key =
        uuid::Builder::from_random_bytes(((u128::from(random.next()) << 64) | u128::from(random.next())).to_be_bytes());
    push_uuid(out, "", key.into_uuid());
}

impl Work for Transfers {
    fn request(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        push_key(out, &mut self.random);
        out.extend_from_slice(b"\r\n\r\n");
        transfer_body(out, &self.draw, &mut self.random);
    }

    fn reply(&mut self, status: u16, body: &[u8]) -> u64 {
        if let Some(position) = http::number(body, b"\"position\":") {
            self.position.fetch_max(position, Ordering::Relaxed);
        }
        u64::from(is_success(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_and_no_key_is_sent_twice() {
        let work = |lane| Transfers {
            head: String::new(),
            draw: Draw::new(Distribution::Uniform, 10),
            random: Random::new(seed_now(lane)),
            position: Arc::default(),
        };
        let mut keys = std::collections::BTreeSet::new();
        for lane in 0..20 {
            let mut work = work(lane);
            for _ in 0..50 {
                let mut request = Vec::new();
                work.request(&mut request);
                let text = String::from_utf8(request).unwrap();
                let (key, body) = text.split_once("\r\n\r\n").unwrap();
                assert_eq!(body.len(), BODY_BYTES);
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_ne!(body["from_account_id"], body["to_account_id"]);
                assert!(keys.insert(key.to_owned()));
            }
        }
    }
}
