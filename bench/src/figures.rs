//! What a measurement says: counts, times, percentiles, what it cost. Plain numbers in named units, so that a result
//! can be written as a line of JSON, read again years later and compared.
//!
//! Invariant: nothing here is a float; a rate or a ratio is made from its two counts where it is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies from one microsecond to two minutes, to three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

const HIGHEST_US: u64 = 120_000_000;

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, HIGHEST_US, 3).context("the histogram's bounds")?))
    }

    /// Counts one; what is beyond the bounds is counted at them.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(micros(latency).max(1));
    }

    /// Adds what another one counted.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// The usual percentiles; none where nothing was counted.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max(),
        })
    }
}

/// Percentiles of latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

/// One measurement: so much was done in such a time, at such a cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// What was done, in the plural: `transfers`, `events`, `queries`.
    pub(crate) unit: String,
    /// How many of them succeeded.
    pub(crate) done: u64,
    /// In which time.
    pub(crate) elapsed_us: u64,
    /// How many were asked for a second, where a schedule asked for them.
    pub(crate) asked_per_second: Option<u64>,
    /// How many asked at once.
    pub(crate) clients: u64,
    /// What did not succeed, by its status or code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// From the moment at which each was meant to begin to its answer.
    pub(crate) latency: Option<Percentiles>,
    /// Events (or rows) that were written.
    pub(crate) events: u64,
    /// Commits that wrote them, where they are counted.
    pub(crate) commits: u64,
    /// Bytes of write-ahead log.
    pub(crate) wal_bytes: u64,
    /// Processor milliseconds by process.
    pub(crate) cpu_ms: BTreeMap<String, u64>,
    /// The most resident memory by process, in KiB.
    pub(crate) rss_peak_kib: BTreeMap<String, u64>,
    /// Other figures of the scenario, each named with its unit last.
    pub(crate) more: BTreeMap<String, u64>,
}

impl Figures {
    /// Done a second.
    pub(crate) fn per_second(&self) -> u64 {
        per_second(self.done, self.elapsed_us)
    }

    /// Bytes of write-ahead log for each event.
    pub(crate) fn wal_bytes_per_event(&self) -> Option<u64> {
        self.wal_bytes.checked_div(self.events).filter(|bytes| *bytes > 0)
    }

    /// Processor microseconds of all processes but the generator for each thing done.
    pub(crate) fn server_cpu_us_each(&self) -> Option<u64> {
        let servers = self.cpu_ms.iter().filter(|(process, _)| *process != GENERATOR).map(|(_, ms)| ms);
        (servers.sum::<u64>() * 1_000).checked_div(self.done).filter(|us| *us > 0)
    }
}

/// The name under which the generator's own processor time is kept.
pub(crate) const GENERATOR: &str = "generator";

/// So many in such a time, a second.
pub(crate) fn per_second(done: u64, elapsed_us: u64) -> u64 {
    let rate = u128::from(done) * 1_000_000 / u128::from(elapsed_us.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Whether what was asked for is done in full; a hundredth may be missing at the edges of a measurement.
pub(crate) const fn is_in_full(done: u64, asked: u64) -> bool {
    done * 100 >= asked * 99
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
