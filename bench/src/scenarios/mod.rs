//! What is measured of Daybook, one module for each group of scenarios.

mod transfers;

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
    let groups = [transfers::SCENARIOS];
    groups.into_iter().flat_map(|group| group.iter().map(Scenario::again)).collect()
}

impl Scenario {
    fn again(&self) -> Self {
        Self { name: self.name, about: self.about, length: self.length, run: self.run }
    }
}

/// What a process that holds idle connections is told.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// Where to connect.
    #[arg(long)]
    to: std::net::SocketAddr,
    /// From which address.
    #[arg(long)]
    from: std::net::IpAddr,
    /// How many connections.
    #[arg(long)]
    connections: usize,
}

/// Holds idle connections until standard input ends.
pub(crate) async fn hold(args: HoldArgs) -> anyhow::Result<()> {
    let mut held = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        held.push(crate::http::Connection::open(args.to, Some(args.from)).await?);
    }
    say!("{}", held.len());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())).await??;
    drop(held);
    Ok(())
}
