//! Daybook's roles as processes of their own, on one ledger; killed when they are dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bench::Bench;
use crate::http::{self, Connection};
use crate::ledger::{Ledger, eventually};
use crate::proc;

/// A role that runs.
pub(crate) struct Running {
    /// `command-api`, or `command-api-2` where there are two.
    pub(crate) name: String,
    /// Where its metrics are.
    pub(crate) ops: SocketAddr,
    pub(crate) pid: u32,
    child: Child,
    log: PathBuf,
}

/// Roles of one ledger.
pub(crate) struct Roles<'a> {
    bench: &'a Bench,
    ledger: &'a Ledger,
    pub(crate) running: Vec<Running>,
}

impl<'a> Roles<'a> {
    pub(crate) fn on(bench: &'a Bench, ledger: &'a Ledger) -> Self {
        Self { bench, ledger, running: Vec::new() }
    }

    /// Starts a role and waits until it is ready; gives the address of its API.
    pub(crate) async fn start(&mut self, role: &str) -> anyhow::Result<SocketAddr> {
        self.start_with(role, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)), &[]).await
    }

    /// The same at this address and with settings of its own.
    pub(crate) async fn start_with(
        &mut self,
        role: &str,
        api: SocketAddr,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<SocketAddr> {
        self.spawn(role, api, settings)?;
        self.ready().await?;
        // It says that it is ready a moment before it listens.
        if role.ends_with("-api") {
            eventually("the API", Duration::from_secs(10), || async { Ok(Connection::open(api, None).await.ok()) })
                .await?;
        }
        Ok(api)
    }

    /// Starts a role and does not wait.
    pub(crate) fn spawn(&mut self, role: &str, api: SocketAddr, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let same = self.running.iter().filter(|running| running.name.starts_with(role)).count();
        let name = if same == 0 { role.to_owned() } else { format!("{role}-{}", same + 1) };
        let ops = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let folder = self.bench.home.join("log");
        std::fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{}-{name}.log", self.ledger.prefix));
        let file = File::create(&log)?;
        let mut command = Command::new(&self.bench.binary);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("DAYBOOK_") || key == "DATABASE_URL") {
            command.env_remove(key);
        }
        command.arg(role).envs(&self.ledger.env).env("DAYBOOK_OPS_LISTEN", ops.to_string());
        command.env("DAYBOOK_COMMAND_API_LISTEN", api.to_string()).env("DAYBOOK_QUERY_API_LISTEN", api.to_string());
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{}", self.bench.binary.display()))?;
        self.running.push(Running { name, ops, pid: child.id(), child, log });
        Ok(())
    }

    /// Waits until all that run are ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        for running in &mut self.running {
            let deadline = Duration::from_secs(600);
            let began = Instant::now();
            while !matches!(http::get(running.ops, "/readyz").await, Ok((200, _))) {
                if let Some(status) = running.child.try_wait()? {
                    anyhow::bail!("{} has ended ({status}), see {}", running.name, running.log.display());
                }
                anyhow::ensure!(began.elapsed() < deadline, "{} is not ready: {}", running.name, running.log.display());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// Runs a tool of the binary to its end and gives what it printed.
    pub(crate) async fn tool(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::new(&self.bench.binary);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("DAYBOOK_") || key == "DATABASE_URL") {
            command.env_remove(key);
        }
        let output = command.args(arguments).envs(&self.ledger.env).kill_on_drop(true).output().await?;
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        anyhow::ensure!(output.status.success(), "daybook {}: {out}{error}", arguments.join(" "));
        Ok(out.into_owned())
    }

    /// The sum of a metric over the roles that have it, labels aside; a whole number.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let mut sum = 0;
        for running in &self.running {
            let (_, text) = http::get(running.ops, "/metrics").await?;
            sum += metric(&String::from_utf8_lossy(&text), name);
        }
        Ok(sum)
    }

    /// Processor time so far by role.
    pub(crate) fn cpu_ms(&self) -> proc::Costs {
        self.costs(proc::cpu_ms)
    }

    /// The most resident memory so far by role.
    pub(crate) fn rss_peak_kib(&self) -> proc::Costs {
        self.costs(proc::rss_peak_kib)
    }

    /// Resident memory now by role.
    pub(crate) fn rss_kib(&self) -> proc::Costs {
        self.costs(proc::rss_kib)
    }

    fn costs(&self, of: fn(u32) -> Option<u64>) -> proc::Costs {
        self.running.iter().filter_map(|running| Some((running.name.clone(), of(running.pid)?))).collect()
    }

    /// Ends all of them in order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for mut running in self.running.drain(..) {
            Command::new("kill").args(["-TERM", &running.pid.to_string()]).status()?;
            let ended = eventually("the end of a role", Duration::from_secs(60), || {
                let ended = running.child.try_wait();
                async { Ok(ended?) }
            });
            ended.await?;
            let _ = std::fs::remove_file(&running.log);
        }
        Ok(())
    }
}

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        for running in &mut self.running {
            // One that has ended by itself is all the same.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// The sum of a metric's whole-numbered samples in the text format.
fn metric(text: &str, name: &str) -> u64 {
    let samples = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = samples.filter(|rest| rest.starts_with([' ', '{'])).filter_map(|rest| rest.rsplit(' ').next());
    values.filter_map(|value| value.split('.').next()?.parse::<u64>().ok()).sum()
}

/// A port that nobody has, below those that the system gives to connections going out.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..10_000 {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

#[cfg(test)]
mod tests {
    use super::metric;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# HELP a_total x\na_total{x=\"1\"} 4\na_total{x=\"2\"} 5\na_total_more 100\nb 1.5\n";
        assert_eq!((metric(text, "a_total"), metric(text, "b"), metric(text, "c")), (9, 1, 0));
    }
}
