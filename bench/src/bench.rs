//! One run's surroundings: the server, the binary, how large and how long; and the measuring of what a load costs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::Secret;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};

use crate::figures::{Figures, GENERATOR};
use crate::ledger::Ledger;
use crate::load::{self, Group, Load, Times};
use crate::proc;
use crate::roles::Roles;

/// How large and how long; a part of what results are kept under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// The short form: one round, no large logs.
    pub(crate) short: bool,
    /// Accounts of the usual scenarios, and of those with many.
    pub(crate) accounts: usize,
    pub(crate) many_accounts: usize,
    /// Events of the grown log.
    pub(crate) log_events: usize,
    /// Connections of the generator.
    pub(crate) clients: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) measure_ms: u64,
}

impl Scale {
    /// For one part of a scenario.
    pub(crate) fn times(&self) -> Times {
        Times {
            warm_up: Duration::from_millis(self.warm_up_ms),
            measure: Duration::from_millis(self.measure_ms),
            drain: Duration::from_secs(10),
        }
    }
}

/// One run's surroundings.
pub(crate) struct Bench {
    pub(crate) admin_url: Secret,
    pub(crate) brokers: Option<String>,
    /// The binary under test.
    pub(crate) binary: PathBuf,
    /// Where results and logs are kept.
    pub(crate) home: PathBuf,
    pub(crate) scale: Scale,
    postmaster: Option<u32>,
    kafka: Option<u32>,
}

/// What a load has cost, from the first to the last moment of the measured time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) cpu_ms: proc::Costs,
    pub(crate) rss_peak_kib: proc::Costs,
    pub(crate) wal_bytes: u64,
    pub(crate) events: u64,
    pub(crate) commits: u64,
}

impl Cost {
    /// Adds it to figures.
    pub(crate) fn onto(self, figures: Figures) -> Figures {
        Figures {
            cpu_ms: self.cpu_ms,
            rss_peak_kib: self.rss_peak_kib,
            wal_bytes: self.wal_bytes,
            events: self.events,
            commits: self.commits,
            ..figures
        }
    }
}

/// Costs since some moment.
pub(crate) struct Watch {
    admin: PgConnection,
    log: PgConnection,
    before: Look,
    /// That moment.
    pub(crate) began: Instant,
}

impl Watch {
    /// What was added until now.
    pub(crate) async fn cost(mut self, bench: &Bench, roles: Option<&Roles<'_>>) -> anyhow::Result<Cost> {
        let (before, after) = (self.before, bench.look(&mut self.admin, &mut self.log, roles).await?);
        Ok(Cost {
            cpu_ms: proc::since(&before.cpu_ms, &after.cpu_ms),
            rss_peak_kib: roles.map(Roles::rss_peak_kib).unwrap_or_default(),
            wal_bytes: after.wal_bytes.saturating_sub(before.wal_bytes),
            events: after.position.saturating_sub(before.position),
            commits: after.commits.saturating_sub(before.commits),
        })
    }
}

struct Look {
    cpu_ms: proc::Costs,
    wal_bytes: u64,
    position: u64,
    commits: u64,
}

impl Bench {
    pub(crate) async fn new(
        admin_url: Secret,
        brokers: Option<String>,
        binary: PathBuf,
        home: PathBuf,
        scale: Scale,
    ) -> anyhow::Result<Self> {
        let mut admin = PgConnection::connect(admin_url.expose()).await.context("connecting to PostgreSQL")?;
        let (backend,): (i32,) = sqlx::query_as("SELECT pg_backend_pid()").fetch_one(&mut admin).await?;
        let postmaster = u32::try_from(backend).ok().and_then(proc::parent);
        let kafka = home.join("kafka").canonicalize().ok();
        let kafka = kafka.and_then(|folder| proc::find(&["kafka.Kafka", &folder.to_string_lossy()]));
        Ok(Self { admin_url, brokers, binary, home, scale, postmaster, kafka })
    }

    /// Loads roles and measures what that costs. `roles` are those whose cost is told apart.
    pub(crate) async fn measure(
        &self,
        ledger: &Ledger,
        roles: &Roles<'_>,
        groups: Vec<Group>,
        times: Times,
    ) -> anyhow::Result<(Vec<Load>, Cost)> {
        self.settle().await?;
        let running = load::start(groups, times).await?;
        let from = running.began + times.warm_up;
        let cost = self.cost_of(ledger, Some(roles), from, from + times.measure).await?;
        Ok((running.end().await?, cost))
    }

    /// What everything costs from one moment to another.
    pub(crate) async fn cost_of(
        &self,
        ledger: &Ledger,
        roles: Option<&Roles<'_>>,
        from: Instant,
        to: Instant,
    ) -> anyhow::Result<Cost> {
        tokio::time::sleep_until(from.into()).await;
        let watch = self.watch(ledger, roles).await?;
        tokio::time::sleep_until(to.into()).await;
        watch.cost(self, roles).await
    }

    /// Begins to watch what everything costs.
    pub(crate) async fn watch(&self, ledger: &Ledger, roles: Option<&Roles<'_>>) -> anyhow::Result<Watch> {
        let mut admin = PgConnection::connect(self.admin_url.expose()).await?;
        let mut log = PgConnection::connect(ledger.get("DAYBOOK_LOG_READER_URL")).await?;
        let before = self.look(&mut admin, &mut log, roles).await?;
        Ok(Watch { admin, log, before, began: Instant::now() })
    }

    async fn look(
        &self,
        admin: &mut PgConnection,
        log: &mut PgConnection,
        roles: Option<&Roles<'_>>,
    ) -> anyhow::Result<Look> {
        let lsn = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let (wal_bytes,): (i64,) = sqlx::query_as(lsn).fetch_one(admin).await?;
        // Each commit of a writer moves the batch on by one, whichever process made it.
        let head = "SELECT position, batch FROM log_head";
        let (position, batch): (i64, i64) = sqlx::query_as(head).fetch_one(log).await?;
        let mut cpu_ms = roles.map(Roles::cpu_ms).unwrap_or_default();
        let others = [
            (GENERATOR, proc::cpu_ms(std::process::id())),
            ("postgres", self.postmaster.and_then(proc::family_cpu_ms)),
            ("kafka", self.kafka.and_then(proc::cpu_ms)),
        ];
        cpu_ms.extend(others.into_iter().filter_map(|(name, ms)| Some((name.to_owned(), ms?))));
        Ok(Look {
            cpu_ms,
            wal_bytes: wal_bytes.try_into()?,
            position: position.try_into()?,
            commits: batch.try_into()?,
        })
    }

    /// A checkpoint, so that every measurement begins with clean buffers and pays for its own full pages.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(self.admin_url.expose()).await?;
        sqlx::query("CHECKPOINT").execute(&mut admin).await?;
        Ok(())
    }
}

/// Where the log ends now.
pub(crate) async fn head(ledger: &Ledger) -> anyhow::Result<u64> {
    let mut log = PgConnection::connect(ledger.get("DAYBOOK_LOG_READER_URL")).await?;
    let (position,): (i64,) = sqlx::query_as("SELECT position FROM log_head").fetch_one(&mut log).await?;
    Ok(position.try_into()?)
}

/// Statuses of rules that refuse a command: the refusal is one event.
const REFUSED_BY_RULES: [u16; 3] = [404, 409, 422];

/// Checks that the log has what was acknowledged since `before`, and nothing else but what was never answered: three
/// events for each transfer, one for each refusal; and that the whole log is clean and its trial balance is zero.
pub(crate) async fn check_books(ledger: &Ledger, before: u64, loads: &[Load]) -> anyhow::Result<()> {
    let written = check_written(ledger, before, loads).await?;
    let reader = ledger.reader().await?;
    let verified = event_store::verify::verify(&reader, |_, _| ()).await.context("the log is not clean")?;
    let debits_less_credits: i128 = verified.trial_balance.values().sum();
    anyhow::ensure!(debits_less_credits == 0, "the trial balance is {debits_less_credits} and not zero");
    anyhow::ensure!(verified.events == before + written, "the log was written while it was checked");
    Ok(())
}

/// The first half of it, for logs that take long to verify: gives the number of events written.
pub(crate) async fn check_written(ledger: &Ledger, before: u64, loads: &[Load]) -> anyhow::Result<u64> {
    let written = head(ledger).await? - before;
    let done: u64 = loads.iter().map(|load| load.all_done).sum();
    let refused: u64 =
        loads.iter().flat_map(|load| REFUSED_BY_RULES.map(|status| load.all.get(&status))).flatten().sum();
    let unknown: u64 = loads.iter().map(Load::unknown).sum();
    expect_written(written, done, refused, unknown)?;
    Ok(written)
}

fn expect_written(written: u64, done: u64, refused: u64, unknown: u64) -> anyhow::Result<()> {
    let least = 3 * done + refused;
    anyhow::ensure!(
        (least..=least + 3 * unknown).contains(&written),
        "{written} events were written for {done} transfers, {refused} refusals and {unknown} requests without an answer"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::expect_written;

    #[test]
    fn events_must_be_those_of_what_was_acknowledged() {
        assert!(expect_written(3_001, 1_000, 1, 0).is_ok());
        assert!(expect_written(3_004, 1_000, 1, 1).is_ok());
        for wrong in [3_000, 3_002] {
            assert!(expect_written(wrong, 1_000, 1, 0).is_err(), "{wrong}");
        }
        assert!(expect_written(3_005, 1_000, 1, 1).is_err());
    }
}
