//! Results as lines of JSON, each written when its scenario ends, so that an interrupted run goes on where it was.
//!
//! Invariant: a line is only appended. A result counts for the binary, the server's settings and the scale that it was
//! measured with, and for nothing else; a failure is kept to be seen, and is tried again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bench::Scale;
use crate::figures::Figures;
use crate::machine::Machine;

/// A part of a scenario, say its capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) figures: Figures,
}

impl Part {
    pub(crate) fn new(name: impl Into<String>, figures: Figures) -> Self {
        Self { name: name.into(), figures }
    }
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Measured(Vec<Part>),
    /// Why it could not be run here.
    NotRun(String),
    /// Why it gives no figure: it, or the check of its books, failed.
    Failed(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Result {
    pub(crate) scenario: String,
    /// From 1.
    pub(crate) round: u32,
    /// When it ended, RFC 3339.
    pub(crate) at: String,
    pub(crate) scale: Scale,
    pub(crate) machine: Machine,
    pub(crate) outcome: Outcome,
}

/// The file of results.
pub(crate) struct Results {
    path: PathBuf,
    lines: Vec<Result>,
}

impl Results {
    /// Reads what is there. A last line that an interruption cut off is passed over.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Self { path: path.to_owned(), lines })
    }

    /// Appends one and makes sure that it is on disk.
    pub(crate) fn append(&mut self, result: Result) -> anyhow::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let whole = std::fs::read(&self.path).map_or(true, |text| text.is_empty() || text.ends_with(b"\n"));
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        let line = serde_json::to_string(&result)?;
        // A line that was cut off before must not take this one with it.
        writeln!(file, "{}{line}", if whole { "" } else { "\n" })?;
        file.sync_data()?;
        self.lines.push(result);
        Ok(())
    }

    /// Whether this round is there already, measured or known not to run, under the same conditions.
    pub(crate) fn has(&self, scenario: &str, round: u32, machine: &Machine, scale: &Scale) -> bool {
        self.of(machine, scale).any(|result| {
            result.scenario == scenario && result.round == round && !matches!(result.outcome, Outcome::Failed(_))
        })
    }

    /// All that were measured under these conditions, failures included.
    pub(crate) fn of<'a>(&'a self, machine: &'a Machine, scale: &'a Scale) -> impl Iterator<Item = &'a Result> {
        self.lines.iter().filter(move |result| {
            let (one, other) = (&result.machine, machine);
            result.scale == *scale
                && one.binary == other.binary
                && one.postgres_settings == other.postgres_settings
                && (&one.cpu, one.cores) == (&other.cpu, other.cores)
        })
    }

    /// The conditions of the last line.
    pub(crate) fn last(&self) -> Option<(&Machine, &Scale)> {
        self.lines.last().map(|result| (&result.machine, &result.scale))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn scale() -> Scale {
        Scale {
            short: false,
            accounts: 10,
            many_accounts: 20,
            log_events: 30,
            clients: 2,
            warm_up_ms: 1,
            measure_ms: 2,
        }
    }

    pub(crate) fn result(scenario: &str, round: u32, outcome: Outcome) -> Result {
        let machine = Machine { binary: "one".into(), ..Machine::default() };
        Result { scenario: scenario.into(), round, at: "2026-01-01T00:00:00Z".into(), scale: scale(), machine, outcome }
    }

    #[test]
    fn an_interrupted_run_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/results.jsonl");
        let mut results = Results::open(&path).unwrap();
        results.append(result("a", 1, Outcome::Measured(vec![]))).unwrap();
        results.append(result("b", 1, Outcome::Failed("the trial balance".into()))).unwrap();
        // The machine stopped in the middle of a line.
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"scenario\":\"c\",\"rou").unwrap();
        drop(file);
        let mut results = Results::open(&path).unwrap();
        results.append(result("d", 1, Outcome::NotRun("no room".into()))).unwrap();
        let results = Results::open(&path).unwrap();
        let machine = result("", 0, Outcome::Measured(vec![])).machine;
        let has = |scenario, round| results.has(scenario, round, &machine, &scale());
        assert!(has("a", 1) && has("d", 1));
        assert!(!has("a", 2), "another round");
        assert!(!has("b", 1), "a failure is tried again");
        assert!(!has("c", 1), "what was cut off is measured anew");
        let other = Machine { binary: "two".into(), ..machine.clone() };
        assert!(!results.has("a", 1, &other, &scale()), "another binary's results say nothing of this one");
        assert!(!results.has("a", 1, &machine, &Scale { log_events: 31, ..scale() }), "nor do another scale's");
    }
}
