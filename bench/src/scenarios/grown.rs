//! A log that has grown: what a transfer costs on it, how long a start takes, how fast the whole is verified.
//!
//! The large log is made once and kept. Where there is too little room for it and a copy, the scenario says so.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::FutureExt;

use super::transfers::{Client, Measuring};
use super::{Length, Scenario};
use crate::bench::{Bench, check_written, head};
use crate::figures::{Figures, GENERATOR, micros};
use crate::ledger::Ledger;
use crate::load::Pace;
use crate::machine::free_bytes;
use crate::results::{Outcome, Part};
use crate::roles::Roles;
use crate::seed;
use crate::workload::{Distribution, Draw};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "growth",
        about: "the same load on a log of 100 thousand events and on the grown one, alternately",
        length: Length::Long,
        run: |bench| growth(bench).boxed_local(),
    },
    Scenario {
        name: "restart",
        about: "from the start of command-api on the grown log to its first reply",
        length: Length::Long,
        run: |bench| restart(bench).boxed_local(),
    },
    Scenario {
        name: "verify",
        about: "daybook audit verify of the grown log",
        length: Length::Long,
        run: |bench| verify(bench).boxed_local(),
    },
];

const ACCOUNTS: usize = 100_000;
/// Accounts that the load of `growth` is on.
const BUSY_ACCOUNTS: usize = 10_000;
/// In a warm-up so much longer than the usual one a new process has loaded nearly all of them.
const WARM_UP_TIMES: u32 = 15;
/// With indexes, keys and replies; measured, rounded up.
const BYTES_PER_EVENT: u64 = 1_200;
/// Left to the rest of the machine, and for what a measurement writes.
const SPARE_BYTES: u64 = 6 << 30;

async fn small(bench: &Bench) -> anyhow::Result<Ledger> {
    let name = format!("accounts_{ACCOUNTS}");
    Ledger::template(bench, &name, false, async |ledger| seed::found(ledger, ACCOUNTS).await).await
}

/// The template of the grown log, or why there is none; `copies` are to be made of it.
async fn grown(bench: &Bench, copies: u64) -> anyhow::Result<Result<Ledger, String>> {
    let events = bench.scale.log_events;
    let needed = u64::try_from(events)? * BYTES_PER_EVENT * (1 + copies) + SPARE_BYTES;
    let free = free_bytes(&bench.home);
    let name = format!("log_{events}");
    if free < needed && !Ledger::has_template(bench, &name).await? {
        let gib = |bytes: u64| bytes >> 30;
        return Ok(Err(format!(
            "a log of {events} events and {copies} copy of it need {} GiB, and {} are free (LOG_EVENTS makes it smaller)",
            gib(needed),
            gib(free)
        )));
    }
    let transfers = events.saturating_sub(ACCOUNTS) / 3;
    let made = Ledger::template(bench, &name, false, async |ledger| {
        seed::found(ledger, ACCOUNTS).await?;
        seed::fill(ledger, ACCOUNTS, transfers).await
    });
    made.await.map(Ok)
}

async fn growth(bench: &Bench) -> anyhow::Result<Outcome> {
    let large = match grown(bench, 1).await? {
        Ok(large) => large,
        Err(why) => return Ok(Outcome::NotRun(why)),
    };
    let ledgers =
        [Ledger::copy_of(bench, &small(bench).await?, false).await?, Ledger::copy_of(bench, &large, false).await?];
    let mut parts = Vec::new();
    let mut cost_us = [0, 0];
    // Alternately, so that what the machine does meanwhile falls on both. The template's writer has ended in order.
    for before in ["an orderly end", "a crash"] {
        for (which, name) in ["small", "grown"].into_iter().enumerate() {
            let ledger = &ledgers[which];
            let (events, mut measuring) = (head(ledger).await?, Measuring::new(bench, ledger, "transfers"));
            let mut roles = Roles::on(bench, ledger);
            let api = roles.start("command-api").await?;
            let client = Client::new(ledger, Draw::new(Distribution::Uniform, BUSY_ACCOUNTS))?;
            let group = || client.group(api, Pace::Closed, bench.scale.clients);
            measuring.part(&roles, format!("{name}, just started after {before}"), group()).await?;
            // In operation accounts are in memory, and the full images of an index's pages, which random keys touch
            // all, are written once in minutes: here both in the warm-up.
            measuring.times.warm_up *= WARM_UP_TIMES;
            measuring.part(&roles, name, group()).await?;
            // All is replied to; it is killed.
            drop(roles);
            check_written(ledger, events, &measuring.loads).await?;
            for mut part in measuring.parts {
                if part.name == name {
                    cost_us[which] += part.figures.server_cpu_us_each().unwrap_or(0);
                }
                part.figures.more.insert("log_events".to_owned(), events);
                parts.push(part);
            }
        }
    }
    let percent = (cost_us[1] * 100).checked_div(cost_us[0]).context("no processor time was seen")?;
    for part in parts.iter_mut().filter(|part| part.name == "grown") {
        part.figures.more.insert("cost_percent".to_owned(), percent);
    }
    for ledger in ledgers {
        ledger.discard().await?;
    }
    Ok(Outcome::Measured(parts))
}

async fn restart(bench: &Bench) -> anyhow::Result<Outcome> {
    let large = match grown(bench, 1).await? {
        Ok(large) => large,
        Err(why) => return Ok(Outcome::NotRun(why)),
    };
    let ledger = Ledger::copy_of(bench, &large, false).await?;
    let client = Client::new(&ledger, Draw::new(Distribution::Uniform, ACCOUNTS))?;
    let mut parts = Vec::new();
    for _ in 0..3 {
        let mut roles = Roles::on(bench, &ledger);
        let began = Instant::now();
        let api = roles.start("command-api").await?;
        let ready = began.elapsed();
        let mut connection = crate::http::Connection::open(api, None).await?;
        let mut request = Vec::new();
        crate::load::Work::request(&mut client.transfers(api, 0), &mut request);
        let status = connection.exchange(&request).await?.status;
        anyhow::ensure!(status == 201, "the first reply was {status}");
        let replied = began.elapsed();
        let mut figures =
            Figures { unit: "starts".to_owned(), done: 1, elapsed_us: micros(replied), ..Figures::default() };
        figures.more.insert("ready_us".to_owned(), micros(ready));
        figures.more.insert("first_reply_us".to_owned(), micros(replied));
        figures.more.insert("log_events".to_owned(), head(&ledger).await?);
        figures.cpu_ms = roles.cpu_ms();
        figures.rss_peak_kib = roles.rss_peak_kib();
        parts.push(Part::new("start", figures));
        // As after a crash: it is killed.
        drop(roles);
    }
    ledger.discard().await?;
    Ok(Outcome::Measured(parts))
}

async fn verify(bench: &Bench) -> anyhow::Result<Outcome> {
    let ledger = match grown(bench, 0).await? {
        Ok(large) => large,
        Err(why) => return Ok(Outcome::NotRun(why)),
    };
    let events = head(&ledger).await?;
    let roles = Roles::on(bench, &ledger);
    let mut parts = Vec::new();
    for _ in 0..2 {
        let watch = bench.watch(&ledger, None).await?;
        let printed = roles.tool(&["audit", "verify"]).await?;
        let elapsed = watch.began.elapsed();
        anyhow::ensure!(printed.contains("clean"), "{printed}");
        let mut cost = watch.cost(bench, None).await?;
        // What this process did meanwhile is not the tool's.
        cost.cpu_ms.remove(GENERATOR);
        let figures =
            Figures { unit: "events".to_owned(), done: events, elapsed_us: micros(elapsed), ..Figures::default() };
        parts.push(Part::new("verify", Figures { events: 0, ..cost.onto(figures) }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Outcome::Measured(parts))
}
