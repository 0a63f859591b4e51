//! More than usual: more load than can be done, two writers at once, tens of thousands of idle connections; and what
//! memory each role takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::transfers::{self, Client, Measuring};
use super::{Length, Scenario};
use crate::bench::{Bench, check_books, head};
use crate::figures::Figures;
use crate::http;
use crate::load::{Group, Lane, Pace};
use crate::results::{Outcome, Part};
use crate::roles::{self, Roles};
use crate::workload::{Distribution, Draw};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "overload",
        about: "three times the capacity, by schedule, over thousands of connections",
        length: Length::Short,
        run: |bench| overload(bench).boxed_local(),
    },
    Scenario {
        name: "two-writers",
        about: "two command-api processes on one log",
        length: Length::Short,
        run: |bench| two_writers(bench).boxed_local(),
    },
    Scenario {
        name: "memory",
        about: "resident memory of every role, idle and after load",
        length: Length::Long,
        run: |bench| memory(bench).boxed_local(),
    },
    Scenario {
        name: "idle-50k",
        about: "50,000 idle connections to three processes, and load on one of them",
        length: Length::Long,
        run: |bench| idle(bench).boxed_local(),
    },
];

/// Connections of an overload: several times as many as are let in at once.
const OVERLOAD_LANES: usize = 6_000;

async fn overload(bench: &Bench) -> anyhow::Result<Outcome> {
    let ledger = transfers::ledger(bench, bench.scale.accounts, false).await?;
    let before = head(&ledger).await?;
    let client = Client::new(&ledger, Draw::new(Distribution::Uniform, bench.scale.accounts))?;
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    let mut roles = Roles::on(bench, &ledger);
    let api = roles.start("command-api").await?;
    let group = client.group(api, Pace::Closed, bench.scale.clients);
    let capacity = measuring.part(&roles, "capacity", group).await?;
    let group = client.group(api, Pace::Open { per_second: capacity * 3 }, OVERLOAD_LANES);
    measuring.part(&roles, "three times that", group).await?;
    let group = client.group(api, Pace::Open { per_second: capacity / 2 }, bench.scale.clients);
    measuring.part(&roles, "50 % afterwards", group).await?;
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

async fn two_writers(bench: &Bench) -> anyhow::Result<Outcome> {
    let ledger = transfers::ledger(bench, bench.scale.accounts, false).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let apis = [roles.start("command-api").await?, roles.start("command-api").await?];
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    for (name, distribution) in [("uniform", Distribution::Uniform), ("ten hot", Distribution::TenHot)] {
        let client = Client::new(&ledger, Draw::new(distribution, bench.scale.accounts))?;
        let group = |pace| {
            let lane = |lane: usize| {
                let to = apis[lane % 2];
                Lane { to, from: None, work: Box::new(client.transfers(to, lane)) }
            };
            Group { pace, lanes: (0..bench.scale.clients).map(lane).collect() }
        };
        let name_of = |what: &str| format!("{name}, {what}");
        let capacity = measuring.part(&roles, name_of("capacity"), group(Pace::Closed)).await?;
        let pace = Pace::Open { per_second: (capacity * 8 / 10).max(1) };
        measuring.part(&roles, name_of("at 80 %"), group(pace)).await?;
    }
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

async fn memory(bench: &Bench) -> anyhow::Result<Outcome> {
    let ledger = transfers::ledger(bench, bench.scale.accounts, true).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let api = roles.start("command-api").await?;
    for role in ["relay", "projector", "query-api", "sagas"] {
        roles.start(role).await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = Figures { unit: "roles".to_owned(), rss_peak_kib: roles.rss_kib(), ..Figures::default() };
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    measuring.parts.push(Part::new("idle", idle));
    let client = Client::new(&ledger, Draw::new(Distribution::Uniform, bench.scale.accounts))?;
    let group = client.group(api, Pace::Closed, bench.scale.clients);
    measuring.part(&roles, "at capacity (peak)", group).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = Figures { unit: "roles".to_owned(), rss_peak_kib: roles.rss_kib(), ..Figures::default() };
    measuring.parts.push(Part::new("idle afterwards", after));
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

/// A process may open 20,000 files here, so both ends are spread over several.
const PROCESSES: usize = 3;
const IDLE: usize = 50_000;

async fn idle(bench: &Bench) -> anyhow::Result<Outcome> {
    let share = IDLE.div_ceil(PROCESSES);
    let files = files_max()?;
    if files < u64::try_from(share)? + 1_000 {
        return Ok(Outcome::NotRun(format!(
            "a process may open {files} files here, and {share} connections are needed"
        )));
    }
    let ledger = transfers::ledger(bench, bench.scale.accounts, false).await?;
    let before = head(&ledger).await?;
    let mut roles = Roles::on(bench, &ledger);
    let limit = (share + 1_000).to_string();
    let mut apis = Vec::new();
    for _ in 0..PROCESSES {
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, roles::free_port()?));
        apis.push(roles.start_with("command-api", api, &[("DAYBOOK_HTTP_CONNECTIONS_MAX", &limit)]).await?);
    }
    let client = Client::new(&ledger, Draw::new(Distribution::Uniform, bench.scale.accounts))?;
    let mut measuring = Measuring::new(bench, &ledger, "transfers");
    let group = |pace| client.group(apis[0], pace, bench.scale.clients);
    measuring.part(&roles, "without idle connections", group(Pace::Closed)).await?;
    let (rss_before, mut holders) = (roles.rss_kib(), Vec::new());
    for (number, api) in (2u8..).zip(&apis) {
        holders.push(hold_in_process(*api, Ipv4Addr::new(127, 0, 0, number).into(), share).await?);
    }
    let rss_after = roles.rss_kib();
    measuring.part(&roles, "with idle connections", group(Pace::Closed)).await?;
    let mut held = 0;
    for holder in holders {
        held += holder.end().await?;
    }
    let added_kib: u64 =
        rss_after.iter().map(|(name, kib)| kib.saturating_sub(rss_before.get(name).copied().unwrap_or(0))).sum();
    if let Some(last) = measuring.parts.last_mut() {
        last.figures.more.insert("idle_connections".to_owned(), held);
        let bytes = (added_kib * 1_024).checked_div(held).unwrap_or(0);
        last.figures.more.insert("bytes_each_connection".to_owned(), bytes);
    }
    roles.stop().await?;
    check_books(&ledger, before, &measuring.loads).await?;
    ledger.discard().await?;
    Ok(Outcome::Measured(measuring.parts))
}

/// How many files a process may open.
fn files_max() -> anyhow::Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("/proc/self/limits")?;
    Ok(line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX))
}

/// A process that holds connections.
struct Holder {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

async fn hold_in_process(to: SocketAddr, from: IpAddr, connections: usize) -> anyhow::Result<Holder> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("hold").args(["--to", &to.to_string(), "--from", &from.to_string()]);
    command.args(["--connections", &connections.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    lines.next_line().await?.context("connections could not be opened")?;
    Ok(Holder { child, lines })
}

impl Holder {
    /// Lets go; gives how many were still open.
    async fn end(mut self) -> anyhow::Result<u64> {
        drop(self.child.stdin.take());
        let open = self.lines.next_line().await?.context("a process that held connections has gone")?;
        self.child.wait().await?;
        Ok(open.parse()?)
    }
}

/// What a process that holds idle connections is told.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// Where to connect.
    #[arg(long)]
    to: SocketAddr,
    /// From which address.
    #[arg(long)]
    from: IpAddr,
    /// How many connections.
    #[arg(long)]
    connections: usize,
}

/// Opens connections with one request on each, says so, and holds them until standard input ends; then says how many
/// still answer.
pub(crate) async fn hold(args: HoldArgs) -> anyhow::Result<()> {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", args.to);
    let mut held = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        let mut connection = http::Connection::open(args.to, Some(args.from)).await?;
        anyhow::ensure!(connection.exchange(request.as_bytes()).await?.status == 200, "it is not healthy");
        held.push(connection);
    }
    say!("{}", held.len());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())).await??;
    let mut open = 0u64;
    for connection in &mut held {
        open += u64::from(connection.exchange(request.as_bytes()).await.is_ok_and(|reply| reply.status == 200));
    }
    say!("{open}");
    Ok(())
}
