//! What a load prints at its end, and the same as files for machines: `load.json`, `accounts.csv`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use domain::money::decimal;
use serde_json::json;

use super::berka::currency;
use super::phase::Tally;
use super::progress::{grouped, seconds};
use super::proof::{Check, Expectation, Found, TrialLine};
use super::query::Lag;

/// Everything that is told at the end.
pub(crate) struct Report<'a> {
    pub(crate) folder: PathBuf,
    pub(crate) tallies: &'a [Tally],
    /// Rows and accounts of the first pass's refusals, by code.
    pub(crate) refused_first: BTreeMap<String, (usize, usize)>,
    /// The highest position of all replies.
    pub(crate) position: u64,
    pub(crate) lag: Lag,
    /// From the last reply until the query API had everything.
    pub(crate) visible_after: Duration,
    pub(crate) trial_balance: &'a [TrialLine],
    pub(crate) checks: &'a [Check],
}

impl Report<'_> {
    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\nLoaded {}\n\n{}", self.folder.display(), phases(self.tallies));
        for (code, (rows, accounts)) in &self.refused_first {
            let _ =
                writeln!(text, "\nfirst pass: {rows} rows of {accounts} accounts refused, {code} (see refused.csv)");
        }
        let _ = writeln!(
            text,
            "\nprojection lag at most {} events and {} ms ({} looks); all visible {} ms after the last reply, at position {}\n",
            grouped(self.lag.events_max),
            self.lag.time_max.as_millis(),
            self.lag.looks,
            self.visible_after.as_millis(),
            grouped(self.position),
        );
        let _ = write!(text, "{}\n{}", trial_balance(self.trial_balance), checks(self.checks));
        text
    }

    /// Writes `load.json` and `accounts.csv` into a folder.
    pub(crate) fn write(&self, folder: &Path, expected: &[Expectation], found: &[Found]) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut json = serde_json::to_string_pretty(&self.json())?;
        json.push('\n');
        std::fs::write(folder.join("load.json"), json)?;
        let mut csv = csv::Writer::from_path(folder.join("accounts.csv"))?;
        csv.write_record([
            "account",
            "account_id",
            "rows",
            "accepted_sum",
            "published_sum",
            "read_model",
            "bookings_of_others",
            "bank_last_balance",
            "bank_agrees",
        ])?;
        for (account, finding) in expected.iter().zip(found) {
            let money = |amount_minor: i128| decimal(amount_minor, currency());
            csv.write_record([
                account.source_id.to_string(),
                account.account_id.to_string(),
                account.rows.to_string(),
                money(account.accepted_minor.into()),
                money(account.published_minor.into()),
                finding.shown_minor.map(money).unwrap_or_default(),
                money(finding.foreign_minor),
                account.bank_minor.map(|bank_minor| money(bank_minor.into())).unwrap_or_default(),
                finding.bank_agrees.map(|agrees| agrees.to_string()).unwrap_or_default(),
            ])?;
        }
        Ok(csv.flush()?)
    }

    fn json(&self) -> serde_json::Value {
        let phases: Vec<_> = self
            .tallies
            .iter()
            .map(|tally| {
                json!({
                    "phase": tally.name, "sent": tally.sent, "accepted": tally.accepted, "settled": tally.settled,
                    "refused": tally.refused, "replayed": tally.replayed, "retries": tally.retries,
                    "elapsed_ms": millis(tally.elapsed), "commands_per_second": tally.rate(),
                    "latency_us": {
                        "p50": micros(tally.latency(500)), "p95": micros(tally.latency(950)),
                        "p99": micros(tally.latency(990)), "max": micros(tally.latency(1000)),
                    },
                })
            })
            .collect();
        let checks: Vec<_> =
            self.checks.iter().map(|check| json!({"passed": check.passed, "text": check.text})).collect();
        json!({
            "phases": phases, "position": self.position, "lag_events_max": self.lag.events_max,
            "lag_ms_max": millis(self.lag.time_max), "visible_after_ms": millis(self.visible_after),
            "checks": checks, "passed": self.checks.iter().all(|check| check.passed),
        })
    }
}

/// The phases with their counts, rates and latencies, for people.
pub(super) fn phases(tallies: &[Tally]) -> String {
    let mut text = format!(
        "{:<20}{:>8}{:>10}{:>9}{:>10}{:>9}{:>10}{:>11}{:>11}{:>11}{:>11}\n",
        "phase", "sent", "accepted", "refused", "replayed", "time", "commands", "p50", "p95", "p99", "max"
    );
    for tally in tallies {
        // A String takes any text.
        let _ = writeln!(
            text,
            "{:<20}{:>8}{:>10}{:>9}{:>10}{:>9}{:>10}{:>11}{:>11}{:>11}{:>11}",
            tally.name,
            grouped(tally.sent),
            grouped(tally.accepted),
            grouped(tally.refused_count()),
            grouped(tally.replayed),
            seconds(tally.elapsed),
            format!("{}/s", grouped(tally.rate())),
            milliseconds(tally.latency(500)),
            milliseconds(tally.latency(950)),
            milliseconds(tally.latency(990)),
            milliseconds(tally.latency(1000)),
        );
    }
    let retries: u64 = tallies.iter().map(|tally| tally.retries).sum();
    if retries > 0 {
        let _ = writeln!(text, "sent again for want of an answer, under the same key: {}", grouped(retries));
    }
    text
}

/// The trial balance, for people.
pub(super) fn trial_balance(lines: &[TrialLine]) -> String {
    let mut text = format!("{:<6}{:<28}{:>20}{:>20}{:>20}\n", "code", "name", "debit", "credit", "balance");
    for line in lines {
        let _ = writeln!(
            text,
            "{:<6}{:<28}{:>20}{:>20}{:>20} {}",
            line.ledger_code, line.name, line.debit, line.credit, line.balance, line.currency
        );
    }
    text
}

/// The checks, one a line, for people.
pub(super) fn checks(checks: &[Check]) -> String {
    let line = |check: &Check| format!("{}  {}\n", if check.passed { "ok  " } else { "FAIL" }, check.text);
    checks.iter().map(line).collect()
}

fn milliseconds(duration: Duration) -> String {
    let tenths = duration.as_micros() / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_seen() {
        let checks = [Check::new(true, "debits = credits"), Check::new(false, "2100 = its accounts")];
        let trial_balance = [];
        let report = Report {
            folder: PathBuf::from("berka"),
            tallies: &[],
            refused_first: BTreeMap::from([("insufficient_funds".to_owned(), (41, 39))]),
            position: 1_234,
            lag: Lag::default(),
            visible_after: Duration::from_millis(12),
            trial_balance: &trial_balance,
            checks: &checks,
        };
        let text = report.text();
        assert!(text.contains("first pass: 41 rows of 39 accounts refused, insufficient_funds"), "{text}");
        assert!(text.contains("ok    debits = credits\nFAIL  2100 = its accounts\n"), "{text}");
        assert!(text.contains("all visible 12 ms after the last reply, at position 1,234"), "{text}");
        assert_eq!(report.json()["passed"], false);
    }
}
