//! Many transfers a request: `POST /v1/transactions/batch`, each transfer for itself.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;

use super::transfers::{self, Client, Measuring, push_key, seed_now, transfer_body};
use super::{Length, Scenario};
use crate::bench::{Bench, check_books, head};
use crate::figures::Figures;
use crate::http;
use crate::load::{Group, Lane, Pace, Work, is_success};
use crate::proc::Costs;
use crate::results::{Outcome, Part};
use crate::roles::Roles;
use crate::workload::{Distribution, Draw, Random};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "bulk",
    about: "1,000 and 10,000 transfers a request, and single ones beside them",
    length: Length::Short,
    run: |bench| run(bench).boxed_local(),
}];

/// Single transfers a second, beside the bulk.
const BESIDE: u64 = 500;

async fn run(bench: &Bench) -> anyhow::Result<Outcome> {
    let ledger = transfers::ledger(bench, bench.scale.accounts, false).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let api = roles.start("command-api").await?;
    let draw = Draw::new(Distribution::Uniform, bench.scale.accounts);
    let client = Client::new(&ledger, draw.clone())?;
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    for (items, clients) in [(1_000, 1), (1_000, 8), (10_000, 1), (10_000, 8)] {
        let group = group(&client, &draw, api, items, clients);
        let name = format!("{items} a request, {clients} client{}", if clients == 1 { "" } else { "s" });
        measuring.part(&roles, name, group).await?;
        // Some requests are longer than the measured time: what the log got of them within it is counted.
        if let Some(part) = measuring.parts.last_mut() {
            part.figures.done = part.figures.events / 3;
        }
    }
    let beside = client.group(api, Pace::Open { per_second: BESIDE }, 64);
    let groups = vec![group(&client, &draw, api, 1_000, 8), beside];
    let mut times = bench.scale.times();
    times.drain = Duration::from_secs(30);
    let (measured, cost) = bench.measure(&ledger, &roles, groups, times).await?;
    for (load, name) in measured.into_iter().zip(["bulk beside single ones", "single ones beside bulk"]) {
        measuring.parts.push(Part::new(name, cost.clone().onto(load.figures("transfers"))));
        measuring.loads.push(load);
    }
    if let [.., bulk, single] = &mut measuring.parts[..] {
        bulk.figures.done = (bulk.figures.events / 3).saturating_sub(single.figures.done);
        // What both together cost is told once, with the bulk.
        single.figures =
            Figures { cpu_ms: Costs::new(), events: 0, commits: 0, wal_bytes: 0, ..single.figures.clone() };
    }
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

fn group(client: &Client, draw: &Draw, api: SocketAddr, items: usize, clients: usize) -> Group {
    let lane = |lane: usize| {
        let work = Bulk {
            head: http::request_head("POST", "/v1/transactions/batch", api, client.token(lane)),
            items,
            draw: draw.clone(),
            random: Random::new(seed_now(lane)),
            body: Vec::new(),
        };
        Lane { to: api, from: None, work: Box::new(work) }
    };
    Group { pace: Pace::Closed, lanes: (0..clients).map(lane).collect() }
}

/// Sends so many transfers a request.
struct Bulk {
    head: String,
    items: usize,
    draw: Draw,
    random: Random,
    body: Vec<u8>,
}

impl Work for Bulk {
    fn request(&mut self, out: &mut Vec<u8>) {
        self.body.clear();
        self.body.extend_from_slice(br#"{"mode":"independent","transactions":["#);
        for item in 0..self.items {
            if item > 0 {
                self.body.push(b',');
            }
            transfer_body(&mut self.body, &self.draw, &mut self.random);
        }
        self.body.extend_from_slice(b"]}");
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(b"Content-Type: application/json\r\nIdempotency-Key: ");
        push_key(out, &mut self.random);
        out.extend_from_slice(format!("\r\nContent-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.extend_from_slice(&self.body);
    }

    fn reply(&mut self, status: u16, body: &[u8]) -> u64 {
        if is_success(status) { http::number(body, b"\"accepted\":").unwrap_or(0) } else { 0 }
    }
}
