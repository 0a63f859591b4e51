//! Running scenarios and baselines, interleaved: every short one once, then all again, so that what the machine does
//! meanwhile falls on all of them alike.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::Secret;
use sqlx::{Connection, PgConnection};

use crate::baselines::{BASELINES, Baseline, Setup};
use crate::bench::{Bench, Scale};
use crate::ledger;
use crate::machine::Machine;
use crate::report;
use crate::results::{Outcome, Part, Result, Results};
use crate::scenarios::{self, Length, Scenario};

/// What to run, where, how large.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Only these, by comma; see `list`.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// One round, short measurements, no large logs.
    #[arg(long)]
    short: bool,
    /// Forget the results so far.
    #[arg(long)]
    fresh: bool,
    /// How often each short scenario is measured.
    #[arg(long, env = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: Option<u32>,
    /// The administrator's connection to the server; its own, not one that others use.
    #[arg(long, env = "BENCH_ADMIN_URL", hide_env_values = true)]
    admin_url: String,
    /// The broker, for scenarios that need it.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: Option<String>,
    /// The binary under test.
    #[arg(long, env = "BENCH_DAYBOOK", default_value = "target/release/daybook")]
    binary: PathBuf,
    /// Where results and logs are kept.
    #[arg(long, env = "BENCH_HOME", default_value = ".daybook/bench")]
    home: PathBuf,
    /// Events of the grown log.
    #[arg(long, env = "LOG_EVENTS", default_value_t = 10_000_000)]
    log_events: usize,
    /// Accounts of `transfers-1m`.
    #[arg(long, env = "MANY_ACCOUNTS", default_value_t = 1_000_000)]
    many_accounts: usize,
    /// Connections of the generator.
    #[arg(long, env = "CLIENTS", default_value_t = 256)]
    clients: usize,
    /// How long each part is measured, in seconds.
    #[arg(long, env = "SECONDS_EACH")]
    seconds: Option<u64>,
    /// Where the report goes; not written if absent.
    #[arg(long, env = "BENCH_REPORT")]
    report: Option<PathBuf>,
}

/// What aims are measured against.
const BASELINES_EACH_ROUND: [&str; 4] = ["base-stock", "base-sql-function", "base-cala", "base-raw-3000"];

/// A scenario or a baseline.
enum Item {
    Scenario(Scenario),
    Baseline(&'static Baseline),
}

impl Item {
    fn name(&self) -> &'static str {
        match self {
            Item::Scenario(scenario) => scenario.name,
            Item::Baseline(baseline) => baseline.name,
        }
    }

    fn about(&self) -> &'static str {
        match self {
            Item::Scenario(scenario) => scenario.about,
            Item::Baseline(baseline) => baseline.about,
        }
    }

    fn is_long(&self) -> bool {
        matches!(self, Item::Scenario(Scenario { length: Length::Long, .. }))
    }

    /// Whether it is only there to compare baselines among themselves: measured once, and not in the short form.
    fn is_aside(&self) -> bool {
        matches!(self, Item::Baseline(baseline) if !BASELINES_EACH_ROUND.contains(&baseline.name))
    }

    async fn run(&self, bench: &Bench) -> anyhow::Result<Outcome> {
        match self {
            Item::Scenario(scenario) => (scenario.run)(bench).await,
            Item::Baseline(baseline) => {
                bench.settle().await?;
                let setup = Setup {
                    admin_url: bench.admin_url.expose().to_owned(),
                    accounts: bench.scale.accounts,
                    clients: baseline.clients,
                    measure: Duration::from_millis(bench.scale.measure_ms),
                    distribution: baseline.distribution,
                };
                let figures = (baseline.run)(setup).await?;
                Ok(Outcome::Measured(vec![Part::new("capacity", figures)]))
            }
        }
    }
}

fn items() -> Vec<Item> {
    let scenarios = scenarios::all().into_iter().map(Item::Scenario);
    scenarios.chain(BASELINES.iter().map(Item::Baseline)).collect()
}

/// Prints what there is to run.
pub(crate) fn list() {
    for item in items() {
        say!("{:<20} {}{}", item.name(), item.about(), if item.is_long() { " (once)" } else { "" });
    }
}

/// Runs, and ends with a code other than 0 if anything failed.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let items = chosen(&args.scenario)?;
    let home = std::path::absolute(&args.home)?;
    std::fs::create_dir_all(&home)?;
    let scale = Scale {
        short: args.short,
        accounts: 10_000,
        many_accounts: args.many_accounts,
        log_events: args.log_events,
        clients: args.clients,
        warm_up_ms: if args.short { 500 } else { 2_000 },
        measure_ms: args.seconds.unwrap_or(if args.short { 2 } else { 8 }) * 1_000,
    };
    let binary = args.binary.canonicalize().with_context(|| format!("{}", args.binary.display()))?;
    let bench = Bench::new(Secret::new(args.admin_url.clone()), args.brokers, binary, home.clone(), scale).await?;
    ledger::discard_copies(&bench).await?;
    let mut admin = PgConnection::connect(&args.admin_url).await?;
    let machine = Machine::look(&mut admin, &bench.binary, &home).await?;
    let path = home.join("results.jsonl");
    if args.fresh && path.exists() {
        std::fs::rename(&path, home.join("results.old.jsonl"))?;
    }
    let mut results = Results::open(&path)?;
    let rounds = args.rounds.unwrap_or(if args.short { 1 } else { 3 });
    let alone = !args.scenario.is_empty();
    let mut failed = false;
    for round in 1..=rounds {
        let aside = alone || (round == 1 && !args.short);
        for item in items.iter().filter(|item| !item.is_long() && (aside || !item.is_aside())) {
            failed |= !one(&bench, item, round, &machine, &mut results).await?;
        }
    }
    for item in items.iter().filter(|item| item.is_long() && (alone || !args.short)) {
        failed |= !one(&bench, item, 1, &machine, &mut results).await?;
    }
    let told = report::told(&results, &machine, &bench.scale)?;
    say!("\n{}", told.text);
    if let Some(folder) = &args.report {
        told.write(folder)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Item>> {
    let all = items();
    for name in names {
        anyhow::ensure!(all.iter().any(|item| item.name() == name), "there is no scenario `{name}`; see `list`");
    }
    Ok(all.into_iter().filter(|item| names.is_empty() || names.iter().any(|name| name == item.name())).collect())
}

/// Measures one unless it is there already; false if it failed.
async fn one(bench: &Bench, item: &Item, round: u32, machine: &Machine, results: &mut Results) -> anyhow::Result<bool> {
    if results.has(item.name(), round, machine, &bench.scale) {
        return Ok(true);
    }
    let began = Instant::now();
    eprintln!("{} (round {round})", item.name());
    let outcome = item.run(bench).await.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    match &outcome {
        Outcome::Measured(parts) => parts.iter().for_each(|part| say!("  {}", report::line(part))),
        Outcome::NotRun(why) => say!("  NOT RUN: {why}"),
        Outcome::Failed(why) => say!("  FAILED: {why}"),
    }
    eprintln!("  {} s", began.elapsed().as_secs());
    let passed = !matches!(outcome, Outcome::Failed(_));
    results.append(Result {
        scenario: item.name().to_owned(),
        round,
        at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        scale: bench.scale.clone(),
        machine: machine.clone(),
        outcome,
    })?;
    Ok(passed)
}
