//! Roles of the binary as processes, which a test may kill and start again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use platform::Role;
use test_place::{Place, eventually};

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TEST_DAYBOOK_BIN").map_or_else(|| test_place::root().join("target/debug/daybook"), PathBuf::from)
}

/// The roles of one place, each a process.
pub(crate) struct Processes {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) command_url: String,
    pub(crate) query_url: String,
    /// Of somebody with every role.
    pub(crate) token: String,
    children: HashMap<&'static str, Child>,
    /// By role, the port of its metrics and probes.
    ops: HashMap<&'static str, u16>,
    folder: PathBuf,
}

pub(crate) const ROLES: [&str; 4] = ["command-api", "relay", "projector", "query-api"];
/// What a test may start beside them.
const OTHERS: [&str; 3] = ["sagas", "bank-simulator", "all"];

/// A port that nobody has, and that no other caller gets: below those that the system gives to
/// connections going out, or one of these could take it before its process listens.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = u16::try_from(FIRST + next % COUNT).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The same as an address.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

impl Processes {
    /// Starts the roles and waits until both APIs are ready.
    pub(crate) async fn start(place: &Place) -> Processes {
        Self::start_with(place, &[]).await
    }

    /// The same with settings of the test's own.
    pub(crate) async fn start_with(place: &Place, settings: &[(&str, &str)]) -> Processes {
        let (command, query) = (free_port(), free_port());
        let mut env = place.env.clone();
        env.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        env.insert("DAYBOOK_COMMAND_API_LISTEN".into(), format!("127.0.0.1:{command}"));
        env.insert("DAYBOOK_QUERY_API_LISTEN".into(), format!("127.0.0.1:{query}"));
        // Several sets may run on one place.
        let folder = std::env::temp_dir().join(format!("{}_{command}", place.prefix));
        std::fs::create_dir_all(&folder).unwrap();
        let mut processes = Processes {
            env,
            command_url: format!("http://127.0.0.1:{command}"),
            query_url: format!("http://127.0.0.1:{query}"),
            token: place.token("tester", Role::ALL).unwrap(),
            children: HashMap::new(),
            ops: ROLES.into_iter().chain(["sagas"]).map(|role| (role, free_port())).collect(),
            folder,
        };
        for role in ROLES {
            processes.start_role(role);
        }
        processes.ready().await;
        processes
    }

    /// Both APIs answer that they are ready.
    pub(crate) async fn ready(&self) {
        for url in [&self.command_url, &self.query_url] {
            let ready = format!("{url}/readyz");
            eventually(&ready, Duration::from_secs(60), || async {
                Ok(reqwest::get(&ready).await?.status().is_success().then_some(()))
            })
            .await
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
        }
    }

    pub(crate) fn start_role(&mut self, role: &'static str) {
        self.start_role_with(role, &[]);
    }

    /// The same with options of its own.
    pub(crate) fn start_role_with(&mut self, role: &'static str, options: &[&str]) {
        let log = File::options().create(true).append(true).open(self.folder.join(role)).unwrap();
        let ops = format!("127.0.0.1:{}", self.ops.get(role).copied().unwrap_or_default());
        let mut command = self.command(&[role]);
        let child = command
            .args(options)
            .env("DAYBOOK_OPS_LISTEN", ops)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.children.insert(role, child.unwrap_or_else(|error| panic!("{}: {error}", binary().display())));
    }

    /// What a role's listener for operators answers under a path, and its status.
    pub(crate) async fn ops(&self, role: &str, path: &str) -> reqwest::Result<(u16, String)> {
        let response = reqwest::get(format!("http://127.0.0.1:{}{path}", self.ops[role])).await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// SIGTERM, as an orchestrator sends it; gives the exit code and how long it took.
    pub(crate) async fn terminate(&mut self, role: &'static str) -> (Option<i32>, Duration) {
        let mut child = self.children.remove(role).unwrap_or_else(|| panic!("{role} does not run"));
        let began = Instant::now();
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
        (status.code(), began.elapsed())
    }

    /// How a role has ended, once it has.
    pub(crate) fn ended(&mut self, role: &str) -> Option<std::process::ExitStatus> {
        self.children.get_mut(role).and_then(|child| child.try_wait().unwrap())
    }

    /// All that a role has logged.
    pub(crate) fn log(&self, role: &str) -> String {
        std::fs::read_to_string(self.folder.join(role)).unwrap_or_default()
    }

    /// SIGKILL, as a crash would.
    pub(crate) fn kill9(&mut self, role: &'static str) {
        if let Some(mut child) = self.children.remove(role) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The binary with this place's environment and nothing else of Daybook's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(&self.folder);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("DAYBOOK_")) {
            command.env_remove(key);
        }
        command.env_remove("DATABASE_URL").envs(&self.env);
        command
    }

    /// Runs a tool of the binary to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }

    /// Runs a tool that must succeed, and returns what it printed.
    pub(crate) async fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "daybook {arguments:?}:\n{stdout}\n{stderr}\n{}", self.logs());
        stdout.into_owned()
    }

    /// The last lines of every role's log.
    pub(crate) fn logs(&self) -> String {
        let mut told = String::new();
        for role in ROLES.iter().chain(&OTHERS).filter(|role| self.folder.join(role).exists()) {
            let log = std::fs::read_to_string(self.folder.join(role)).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(8).collect();
            told += &format!("-- {role}\n");
            for line in tail.iter().rev() {
                told += line;
                told.push('\n');
            }
        }
        told
    }

    /// No role has panicked; a panic is a bug.
    pub(crate) fn assert_no_panic(&self) {
        for role in ROLES.iter().chain(&OTHERS) {
            let log = std::fs::read_to_string(self.folder.join(role)).unwrap_or_default();
            let panic = log.lines().find(|line| line.contains("panicked at"));
            assert!(panic.is_none(), "{role}: {}", panic.unwrap_or_default());
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
