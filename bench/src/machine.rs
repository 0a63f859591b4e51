//! What a figure depends on besides our code: the machine, the server's settings, the versions, the binary.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

/// Where and with what a run was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: u64,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// File system and device under the databases, with what is free on it.
    pub(crate) disk: String,
    pub(crate) rustc: String,
    pub(crate) postgres: String,
    /// What differs from the server's own defaults, as `name = value`.
    pub(crate) postgres_settings: Vec<String>,
    pub(crate) commit: String,
    /// Tells one built binary from another.
    pub(crate) binary: String,
}

impl Machine {
    /// Looks around. What cannot be found out is left empty.
    pub(crate) async fn look(admin: &mut PgConnection, binary: &Path, home: &Path) -> anyhow::Result<Self> {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        let (version,): (String,) = sqlx::query_as("SHOW server_version").fetch_one(&mut *admin).await?;
        Ok(Self {
            cpu: model.map_or_else(String::new, |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get().try_into().unwrap_or(0)),
            memory_mib: memory_kib / 1_024,
            kernel: said("uname", &["-sr"]),
            disk: said("df", &["--output=fstype,source,size,avail", "-h", &home.to_string_lossy()])
                .lines()
                .last()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .unwrap_or_default(),
            rustc: said("rustc", &["--version"]),
            postgres: version,
            postgres_settings: settings(admin).await?,
            commit: commit(),
            binary: mark_of(binary)?,
        })
    }
}

async fn settings(admin: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let query = "SELECT name || ' = ' || current_setting(name) FROM pg_settings
        WHERE (source IN ('configuration file', 'command line') AND name NOT LIKE ALL (ARRAY
            ['%directories', 'port', '%file', 'listen%', 'log\\_%', 'lc\\_%', '%timezone%', 'TimeZone', 'DateStyle', 'default\\_text%', 'cluster_name']))
        OR name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums', 'wal_sync_method')
        ORDER BY name";
    let rows: Vec<(String,)> = sqlx::query_as(query).fetch_all(admin).await?;
    Ok(rows.into_iter().map(|(line,)| line).collect())
}

/// The commit of the checkout; `+` where there are changes to its code.
fn commit() -> String {
    let root = test_place::root();
    let root = root.to_string_lossy();
    let commit = said("git", &["-C", &root, "rev-parse", "--short=12", "HEAD"]);
    let changes =
        said("git", &["-C", &root, "status", "--porcelain", "--untracked-files=no", "--", "*.rs", "*.sql", "*.toml"]);
    if changes.is_empty() { commit } else { format!("{commit}+") }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// A short mark of a file's content.
pub(crate) fn mark_of(file: &Path) -> anyhow::Result<String> {
    let mut mark = Mark::new();
    mark.add(&std::fs::read(file).map_err(|error| anyhow::anyhow!("{}: {error}; build it first", file.display()))?);
    Ok(format!("{:016x}", mark.0))
}

/// FNV-1a: tells contents apart, and proves nothing.
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn short(&self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }
}

/// Bytes free on the file system of a folder.
pub(crate) fn free_bytes(folder: &Path) -> u64 {
    let kib = said("df", &["--output=avail", "-k", &folder.to_string_lossy()]);
    kib.lines().last().and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or(0) * 1_024
}
