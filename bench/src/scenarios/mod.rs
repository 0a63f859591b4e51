//! What is measured of Daybook, one module for each group of scenarios.

mod bulk;
mod crowds;
mod grown;
mod reads;
mod transfers;
mod whole_way;

pub(crate) use crowds::{HoldArgs, hold};

use futures::future::LocalBoxFuture;

use crate::bench::Bench;
use crate::results::Outcome;

/// How often a scenario is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// In every round, interleaved with the others.
    Short,
    /// Once, after the rounds; not in the short form.
    Long,
}

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) length: Length,
    pub(crate) run: for<'a> fn(&'a Bench) -> LocalBoxFuture<'a, anyhow::Result<Outcome>>,
}

/// Every one, in the order in which they are run.
pub(crate) fn all() -> Vec<Scenario> {
    let groups = [
        transfers::SCENARIOS,
        bulk::SCENARIOS,
        whole_way::SCENARIOS,
        reads::SCENARIOS,
        crowds::SCENARIOS,
        grown::SCENARIOS,
    ];
    groups.into_iter().flat_map(|group| group.iter().map(Scenario::again)).collect()
}

impl Scenario {
    fn again(&self) -> Self {
        Self { name: self.name, about: self.about, length: self.length, run: self.run }
    }
}
