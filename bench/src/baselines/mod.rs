//! What Daybook is compared with, in the same run on the same server: each as its users would run it, in process and
//! without HTTP, which is generous to them.
//!
//! A baseline makes databases of its own, checks its books after it was measured, and drops what it made.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::figures::Figures;
use crate::workload::Distribution;

/// What a baseline is to do.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The administrator's URL of the server, any database; the baseline makes its own there.
    pub(crate) admin_url: String,
    /// How many accounts, each with money on it before the measurement begins.
    pub(crate) accounts: usize,
    /// How many ask at once, each the next when it has its answer.
    pub(crate) clients: usize,
    /// For how long it is measured, after some warm-up of the baseline's own choice.
    pub(crate) measure: Duration,
    /// Between which accounts; `workload::Draw` draws them.
    pub(crate) distribution: Distribution,
}

/// One case of a baseline.
pub(crate) struct Baseline {
    /// As on the command line: `base-…`.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) about: &'static str,
    /// How many ask at once.
    pub(crate) clients: usize,
    /// Between which accounts.
    pub(crate) distribution: Distribution,
    /// Runs it. An error, a failed check of its books too, fails the run: it gives no figure.
    pub(crate) run: fn(Setup) -> BoxFuture<'static, anyhow::Result<Figures>>,
}

/// Every case, in the order of the report.
pub(crate) const BASELINES: &[Baseline] = &[];
