//! The report: a table of every part of every scenario over its rounds, and the aims beside what was reached.
//!
//! It is made from the results alone, without hand editing; only what bounds a figure is written by people, in
//! `bounds.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::aims::{AIMS, At, Bound, Figure};
use crate::bench::Scale;
use crate::figures::{Figures, GENERATOR, Percentiles, is_in_full, per_second};
use crate::machine::Machine;
use crate::results::{Outcome, Part, Result, Results};

/// Where from and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Where results are kept.
    #[arg(long, env = "BENCH_HOME", default_value = ".daybook/bench")]
    home: PathBuf,
    /// The folder for `latest.md` and `latest.json`; absent: only printed.
    #[arg(long, env = "BENCH_REPORT")]
    report: Option<PathBuf>,
}

/// Writes the report of the conditions of the last result.
pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let results = Results::open(&args.home.join("results.jsonl"))?;
    let (machine, scale) = results.last().context("nothing was measured yet")?;
    let told = told(&results, machine, scale)?;
    say!("{}", told.text);
    args.report.as_deref().map_or(Ok(()), |folder| told.write(folder))
}

/// A report.
pub(crate) struct Told {
    /// For a terminal; Markdown too.
    pub(crate) text: String,
    json: String,
}

impl Told {
    /// Writes `latest.md` and `latest.json`, for the short form `short.…`.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let name = if self.text.contains(SHORT) { "short" } else { "latest" };
        let bounds = std::fs::read_to_string(folder.join("bounds.toml")).unwrap_or_default();
        let bounds: BTreeMap<String, String> = toml::from_str(&bounds).context("bounds.toml")?;
        let mut text = self.text.clone();
        if !bounds.is_empty() {
            text += "\n## What bounds the figures\n\n";
            for (scenario, bound) in &bounds {
                writeln!(text, "- **{scenario}**: {}", bound.trim())?;
            }
        }
        std::fs::write(folder.join(format!("{name}.md")), text)?;
        Ok(std::fs::write(folder.join(format!("{name}.json")), &self.json)?)
    }
}

const SHORT: &str = "Short form: one round";

/// One part over its rounds.
#[derive(Debug, Serialize)]
struct Row {
    scenario: String,
    part: String,
    unit: String,
    rounds: usize,
    asked_per_second: Option<u64>,
    per_second: Spread,
    latency: Option<Percentiles>,
    errors: BTreeMap<String, u64>,
    errors_per_million: u64,
    clients: u64,
    /// Processor microseconds for each thing done.
    cpu_us_each: BTreeMap<String, u64>,
    wal_bytes_per_event: Option<u64>,
    events_per_second: u64,
    events_per_commit: Option<u64>,
    rss_peak_mib: BTreeMap<String, u64>,
    more: BTreeMap<String, u64>,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Spread {
    median: u64,
    min: u64,
    max: u64,
}

fn spread(values: impl IntoIterator<Item = u64>) -> Spread {
    let mut values: Vec<u64> = values.into_iter().collect();
    values.sort_unstable();
    let at = |index: usize| values.get(index).copied().unwrap_or(0);
    // Of an even number the lower one of the two in the middle: a figure that was measured.
    Spread { median: at(values.len().saturating_sub(1) / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
}

/// By key, the median over those that have it.
fn medians<'a>(maps: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (key, value) in maps.flatten() {
        all.entry(key).or_default().push(*value);
    }
    all.into_iter().map(|(key, values)| (key.to_owned(), spread(values).median)).collect()
}

impl Row {
    fn of(scenario: &str, part: &str, all: &[&Figures]) -> Row {
        let median = |of: &dyn Fn(&Figures) -> Option<u64>| {
            let values: Vec<u64> = all.iter().filter_map(|figures| of(figures)).collect();
            (!values.is_empty()).then(|| spread(values).median)
        };
        let percentile = |of: fn(&Percentiles) -> u64| median(&|figures| figures.latency.as_ref().map(of)).unwrap_or(0);
        let latency = all.iter().any(|figures| figures.latency.is_some()).then(|| Percentiles {
            count: percentile(|latency| latency.count),
            p50_us: percentile(|latency| latency.p50_us),
            p95_us: percentile(|latency| latency.p95_us),
            p99_us: percentile(|latency| latency.p99_us),
            p999_us: percentile(|latency| latency.p999_us),
            max_us: percentile(|latency| latency.max_us),
        });
        let mut errors: BTreeMap<String, u64> = BTreeMap::new();
        for (code, count) in all.iter().flat_map(|figures| &figures.errors) {
            *errors.entry(code.clone()).or_default() += count;
        }
        let done: u64 = all.iter().map(|figures| figures.done).sum();
        let failed: u64 = errors.values().sum();
        let cpu: Vec<BTreeMap<String, u64>> = all.iter().map(|figures| cpu_us_each(figures)).collect();
        let rss: Vec<BTreeMap<String, u64>> = all
            .iter()
            .map(|figures| figures.rss_peak_kib.iter().map(|(name, kib)| (name.clone(), kib / 1_024)).collect())
            .collect();
        Row {
            scenario: scenario.to_owned(),
            part: part.to_owned(),
            unit: all.first().map(|figures| figures.unit.clone()).unwrap_or_default(),
            rounds: all.len(),
            asked_per_second: median(&|figures| figures.asked_per_second),
            per_second: spread(all.iter().map(|figures| figures.per_second())),
            latency,
            errors,
            errors_per_million: (failed * 1_000_000).checked_div(done + failed).unwrap_or(0),
            clients: median(&|figures| Some(figures.clients)).unwrap_or(0),
            cpu_us_each: medians(cpu.iter()),
            wal_bytes_per_event: median(&Figures::wal_bytes_per_event),
            events_per_second: spread(all.iter().map(|figures| per_second(figures.events, figures.elapsed_us))).median,
            events_per_commit: median(&|figures| figures.events.checked_div(figures.commits)),
            rss_peak_mib: medians(rss.iter()),
            more: medians(all.iter().map(|figures| &figures.more)),
        }
    }
}

fn cpu_us_each(figures: &Figures) -> BTreeMap<String, u64> {
    let each = |ms: &u64| (ms * 1_000).checked_div(figures.done).unwrap_or(0);
    figures.cpu_ms.iter().map(|(process, ms)| (process.clone(), each(ms))).collect()
}

/// One part of one round in a line, as it ends.
pub(crate) fn line(part: &Part) -> String {
    let row = Row::of("", &part.name, &[&part.figures]);
    let mut text = format!("{:<24} {:>8} {}/s", row.part, row.per_second.median, row.unit);
    if let Some(latency) = row.latency {
        let [p50, p95, p99, p999, max] = percentiles(&latency);
        text += &format!("  p50 {p50}  p95 {p95}  p99 {p99}  p99.9 {p999}  max {max} ms");
    }
    text += &format!("  CPU µs: {}", pairs(&row.cpu_us_each));
    if let Some(bytes) = row.wal_bytes_per_event {
        text += &format!("  WAL {bytes} B/event");
    }
    if let Some(events) = row.events_per_commit {
        text += &format!("  {events} events/commit");
    }
    if !row.errors.is_empty() {
        text += &format!("  errors: {}", pairs(&row.errors));
    }
    if !row.more.is_empty() {
        text += &format!("  {}", pairs(&row.more));
    }
    text
}

fn pairs(map: &BTreeMap<String, u64>) -> String {
    map.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// Microseconds as milliseconds: exact below ten, rounded above.
fn millis(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{:02}", us / 1_000, us % 1_000 / 10),
        10_000..100_000 => format!("{}.{}", us / 1_000, us % 1_000 / 100),
        _ => (us / 1_000).to_string(),
    }
}

fn percentiles(latency: &Percentiles) -> [String; 5] {
    [latency.p50_us, latency.p95_us, latency.p99_us, latency.p999_us, latency.max_us].map(millis)
}

/// An aim and what was reached.
#[derive(Debug, Serialize)]
struct Reached {
    aim: &'static str,
    wanted: String,
    reached: Option<u64>,
    unit: &'static str,
    met: Option<bool>,
}

#[derive(Serialize)]
struct Json<'a> {
    machine: &'a Machine,
    scale: &'a Scale,
    measured: (Option<&'a str>, Option<&'a str>),
    aims: &'a [Reached],
    rows: &'a [Row],
    not_run: &'a BTreeMap<String, String>,
    failed: &'a BTreeMap<String, String>,
}

/// The report of all that was measured under these conditions.
pub(crate) fn told(results: &Results, machine: &Machine, scale: &Scale) -> anyhow::Result<Told> {
    let all: Vec<&Result> = results.of(machine, scale).collect();
    let rows = rows(&all);
    let (mut not_run, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for result in &all {
        // A later round of the same scenario takes an earlier failure back: it was tried again.
        let key = format!("{} (round {})", result.scenario, result.round);
        failed.remove(&key);
        match &result.outcome {
            Outcome::Measured(_) => {}
            Outcome::NotRun(why) => _ = not_run.insert(result.scenario.clone(), why.clone()),
            Outcome::Failed(why) => _ = failed.insert(key, why.clone()),
        }
    }
    let aims: Vec<Reached> = AIMS
        .iter()
        .map(|aim| {
            let reached = value(&rows, &aim.figure);
            let wanted = match aim.bound {
                Bound::AtLeast(least) => format!("≥ {least}"),
                Bound::AtMost(most) => format!("≤ {most}"),
            };
            Reached { aim: aim.what, wanted, reached, unit: aim.unit, met: reached.map(|value| aim.bound.holds(value)) }
        })
        .collect();
    let measured = (all.first().map(|result| result.at.as_str()), all.last().map(|result| result.at.as_str()));
    let json = Json { machine, scale, measured, aims: &aims, rows: &rows, not_run: &not_run, failed: &failed };
    let json = serde_json::to_string_pretty(&json)? + "\n";
    let mut text = String::new();
    write_head(&mut text, machine, scale, measured)?;
    write_aims(&mut text, &aims)?;
    write_table(&mut text, &rows)?;
    write_costs(&mut text, &rows)?;
    for (title, what) in [("Not run", &not_run), ("Failed", &failed)] {
        if !what.is_empty() {
            writeln!(text, "\n## {title}\n")?;
            for (scenario, why) in what {
                writeln!(text, "- {scenario}: {why}")?;
            }
        }
    }
    Ok(Told { text, json })
}

/// One row for each part, in the order in which they were measured first.
fn rows(all: &[&Result]) -> Vec<Row> {
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut figures: BTreeMap<(&str, &str), Vec<&Figures>> = BTreeMap::new();
    for result in all {
        let Outcome::Measured(parts) = &result.outcome else { continue };
        for part in parts {
            let key = (result.scenario.as_str(), part.name.as_str());
            if !figures.contains_key(&key) {
                order.push(key);
            }
            figures.entry(key).or_default().push(&part.figures);
        }
    }
    order.iter().map(|key| Row::of(key.0, key.1, &figures[key])).collect()
}

fn value(rows: &[Row], figure: &Figure) -> Option<u64> {
    let row = |at: &At| rows.iter().find(|row| (row.scenario.as_str(), row.part.as_str()) == *at);
    // What was asked for and not done in full says nothing of that rate.
    let at_its_rate = |row: &&Row| row.asked_per_second.is_none_or(|asked| is_in_full(row.per_second.median, asked));
    let sustained = |at: &At| row(at).filter(at_its_rate);
    let latency = |at: &At| sustained(at)?.latency;
    match figure {
        Figure::PerSecond(at) => Some(row(at)?.per_second.median),
        Figure::EventsPerSecond(at) => Some(row(at)?.events_per_second),
        Figure::P95Us(at) => Some(latency(at)?.p95_us),
        Figure::P99Us(at) => Some(latency(at)?.p99_us),
        Figure::ErrorsPerMillion(at) => Some(row(at)?.errors_per_million),
        Figure::More(at, name) => sustained(at)?.more.get(*name).copied(),
        Figure::MoreAtAnyRate(at, name) => row(at)?.more.get(*name).copied(),
        Figure::Percent(of, to) => (value(rows, of)? * 100).checked_div(value(rows, to)?),
    }
}

fn write_head(
    text: &mut String,
    machine: &Machine,
    scale: &Scale,
    measured: (Option<&str>, Option<&str>),
) -> std::fmt::Result {
    writeln!(text, "# Benchmark\n\nWritten by `make bench`; how to read it: [README](README.md).\n")?;
    if scale.short {
        writeln!(text, "{SHORT}, short measurements, no large logs. For a quick look, not for comparison.\n")?;
    }
    let (from, to) = (measured.0.unwrap_or("never"), measured.1.unwrap_or("never"));
    writeln!(text, "- measured {from} to {to}, commit {} (binary {})", machine.commit, machine.binary)?;
    writeln!(
        text,
        "- {}, {} cores, {} MiB, {}; databases on {}",
        machine.cpu, machine.cores, machine.memory_mib, machine.kernel, machine.disk
    )?;
    writeln!(text, "- PostgreSQL {}, {}; generator and servers share the cores", machine.postgres, machine.rustc)?;
    writeln!(text, "- settings: `{}`", machine.postgres_settings.join("; "))?;
    writeln!(
        text,
        "- {} ms warm-up and {} ms measured a part, {} connections; the large log has {} events, many accounts are {}",
        scale.warm_up_ms, scale.measure_ms, scale.clients, scale.log_events, scale.many_accounts
    )
}

fn write_aims(text: &mut String, aims: &[Reached]) -> std::fmt::Result {
    writeln!(text, "\n## Aims\n\n| aim | wanted | reached | met |\n|---|--:|--:|---|")?;
    for aim in aims {
        let reached = aim.reached.map_or_else(|| "not measured".to_owned(), |value| format!("{value} {}", aim.unit));
        let met = match aim.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        writeln!(text, "| {} | {} {} | {reached} | {met} |", aim.aim, aim.wanted, aim.unit)?;
    }
    Ok(())
}

fn write_table(text: &mut String, rows: &[Row]) -> std::fmt::Result {
    writeln!(
        text,
        "\n## Throughput and latency\n\nMedians of the rounds; latencies in milliseconds, on a schedule from the intended start.\n"
    )?;
    writeln!(text, "| scenario | part | unit | asked/s | done/s | min–max | p50 | p95 | p99 | p99.9 | max | errors |")?;
    writeln!(text, "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")?;
    for row in rows {
        let asked = row.asked_per_second.map_or_else(|| "closed loop".to_owned(), |rate| rate.to_string());
        let latency = row.latency.as_ref().map_or_else(Default::default, percentiles);
        writeln!(
            text,
            "| {} | {} | {} | {asked} | {} | {}–{} | {} | {} |",
            row.scenario,
            row.part,
            row.unit,
            row.per_second.median,
            row.per_second.min,
            row.per_second.max,
            latency.join(" | "),
            pairs(&row.errors)
        )?;
    }
    Ok(())
}

fn write_costs(text: &mut String, rows: &[Row]) -> std::fmt::Result {
    writeln!(
        text,
        "\n## What it cost\n\nProcessor microseconds for each thing done, by process; peak resident memory in MiB.\n"
    )?;
    writeln!(
        text,
        "| scenario | part | {GENERATOR} | postgres | others | WAL B/event | events/commit | memory | more |"
    )?;
    writeln!(text, "|---|---|--:|--:|---|--:|--:|---|---|")?;
    let optional = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    for row in rows {
        let mut others = row.cpu_us_each.clone();
        let (generator, postgres) = (others.remove(GENERATOR), others.remove("postgres"));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.scenario,
            row.part,
            optional(generator),
            optional(postgres),
            pairs(&others),
            optional(row.wal_bytes_per_event),
            optional(row.events_per_commit),
            pairs(&row.rss_peak_mib),
            pairs(&row.more)
        )?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
