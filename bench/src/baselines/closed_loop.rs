//! So many clients, each of which asks again when it has its answer, and what came of it. In process: what is measured
//! is the ledger and its database, and nothing between them and the client.
//!
//! Invariant: nobody is interrupted; what was begun when time is up is waited for and counted as acknowledged, so that
//! the books can be checked against it, but it is no part of the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::PgPool;
use uuid::Uuid;

use super::Setup;
use super::database::Costs;
use crate::figures::{Figures, Latencies, micros};
use crate::workload::{Draw, Random};

/// How long the clients ask before it counts: connections, plans and caches are warm then.
const WARM_UP: Duration = Duration::from_secs(1);

/// Money from one account to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// New for each transfer: its idempotency key, for a ledger that has such keys.
    pub(crate) key: Uuid,
    /// The index of the account that pays.
    pub(crate) from: usize,
    /// The index of the account that is paid.
    pub(crate) to: usize,
    /// How much, in minor units.
    pub(crate) amount_minor: i64,
}

/// Something that can move money.
pub(crate) trait Ledger: Send + Sync + 'static {
    /// How many transfers one call carries.
    const BATCH: usize = 1;
    /// How many rows or events a transfer is there.
    const ROWS: u64;

    /// Returns when every transfer of the batch is committed, with how often some part had to be tried again. `client`
    /// is who asks, from 0.
    fn transfer(&self, client: usize, batch: &[Transfer]) -> impl Future<Output = anyhow::Result<u64>> + Send;
}

/// What was measured, and all that was acknowledged, before and after the measured time too.
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) acknowledged: u64,
}

/// What one client, or all, saw.
struct Tally {
    acknowledged: u64,
    done: u64,
    retries: u64,
    latencies: Latencies,
}

/// Runs the clients of `setup` against the ledger; `watch` is only asked what the server has done.
pub(crate) async fn measure<L: Ledger>(ledger: Arc<L>, setup: &Setup, watch: &PgPool) -> anyhow::Result<Measured> {
    let draw = Draw::new(setup.distribution, setup.accounts);
    let from = Instant::now() + WARM_UP;
    let until = from + setup.measure;
    let clients: Vec<_> =
        (0..setup.clients).map(|client| tokio::spawn(ask(ledger.clone(), draw.clone(), client, from, until))).collect();
    tokio::time::sleep_until(from.into()).await;
    let before = Costs::now(watch).await?;
    tokio::time::sleep_until(until.into()).await;
    let after = Costs::now(watch).await?;
    let mut total = Tally { acknowledged: 0, done: 0, retries: 0, latencies: Latencies::new()? };
    for client in clients {
        let tally = client.await.context("a client of the baseline")??;
        total.acknowledged += tally.acknowledged;
        total.done += tally.done;
        total.retries += tally.retries;
        total.latencies.add(&tally.latencies);
    }
    anyhow::ensure!(total.done > 0, "not one transfer was acknowledged in {:?}", setup.measure);
    let figures = Figures {
        unit: "transfers".to_owned(),
        done: total.done,
        elapsed_us: micros(setup.measure),
        clients: u64::try_from(setup.clients)?,
        latency: total.latencies.percentiles(),
        events: total.done * L::ROWS,
        more: [("retries".to_owned(), total.retries)].into(),
        ..Figures::default()
    };
    Ok(Measured { figures: after.since(&before, figures), acknowledged: total.acknowledged })
}

/// One client. An error ends it, and with it the measurement: a transfer that fails is no figure.
async fn ask<L: Ledger>(
    ledger: Arc<L>,
    draw: Draw,
    client: usize,
    from: Instant,
    until: Instant,
) -> anyhow::Result<Tally> {
    let mut random = Random::new(u64::try_from(client)?.wrapping_add(1).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let mut tally = Tally { acknowledged: 0, done: 0, retries: 0, latencies: Latencies::new()? };
    let mut batch = Vec::with_capacity(L::BATCH);
    let transfers = u64::try_from(L::BATCH)?;
    loop {
        batch.clear();
        batch.extend((0..L::BATCH).map(|_| random_transfer(&draw, &mut random)));
        let began = Instant::now();
        if began >= until {
            return Ok(tally);
        }
        let retries = ledger.transfer(client, &batch).await?;
        let ended = Instant::now();
        tally.acknowledged += transfers;
        if ended > from && ended <= until {
            tally.done += transfers;
            tally.retries += retries;
            tally.latencies.record(ended - began);
        }
    }
}

fn random_transfer(draw: &Draw, random: &mut Random) -> Transfer {
    let (from, to) = draw.pair(random);
    // Below 100, so it fits.
    let amount_minor = 1 + i64::try_from(random.below(99)).unwrap_or(0);
    Transfer { key: Uuid::now_v7(), from, to, amount_minor }
}
