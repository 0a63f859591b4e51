//! kill -9 of every process, under load, on servers of the test's own.
//!
//! Afterwards: no acknowledged command is missing, none was applied twice, every unknown outcome is
//! resolved, Kafka holds every event in order per stream, and the read models equal a fresh replay.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use test_place::{Place, eventually};

use crate::client::{Client, moved};
use crate::processes::Processes;

const CLIENTS: usize = 12;

/// PostgreSQL and Kafka of this test alone: those that other tests use are not killed.
pub(crate) struct Servers {
    home: PathBuf,
    postgres: PathBuf,
    /// None: this test has no Kafka.
    kafka: Option<PathBuf>,
}

impl Servers {
    /// None where the servers are not ours to kill.
    fn start() -> Option<Servers> {
        let (postgres, kafka) = (std::env::var_os("TEST_POSTGRES_CTL")?, std::env::var_os("TEST_KAFKA_CTL")?);
        Some(Self::at("faults", postgres.into(), Some(kafka.into())))
    }

    /// PostgreSQL alone, in a folder of that name, for a test that runs beside the others.
    pub(crate) fn postgres_only(name: &str) -> Option<Servers> {
        Some(Self::at(name, std::env::var_os("TEST_POSTGRES_CTL")?.into(), None))
    }

    fn at(name: &str, postgres: PathBuf, kafka: Option<PathBuf>) -> Servers {
        let home =
            std::env::var_os("DAYBOOK_HOME").map_or_else(|| test_place::root().join(".daybook/test"), PathBuf::from);
        let servers = Servers { home: home.join(name), postgres, kafka };
        // One after the other: each takes the first free port.
        static STARTING: Mutex<()> = Mutex::new(());
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        for script in servers.scripts() {
            servers.call(script, "start");
        }
        servers
    }

    fn scripts(&self) -> impl Iterator<Item = &PathBuf> {
        self.kafka.iter().chain([&self.postgres])
    }

    pub(crate) fn postgres_url(&self) -> String {
        self.call(&self.postgres, "url")
    }

    fn kafka_url(&self) -> String {
        self.kafka.as_ref().map(|kafka| self.call(kafka, "url")).unwrap_or_default()
    }

    pub(crate) fn kill_postgres(&self) {
        self.call(&self.postgres, "kill9");
        self.call(&self.postgres, "start");
    }

    fn kill_kafka(&self) {
        if let Some(kafka) = &self.kafka {
            self.call(kafka, "kill9");
            self.call(kafka, "start");
        }
    }

    fn call(&self, script: &PathBuf, verb: &str) -> String {
        let output = Command::new(script)
            .arg(verb)
            .env("DAYBOOK_HOME", &self.home)
            .env_remove("DATABASE_URL")
            .env_remove("KAFKA_BROKERS")
            .output()
            .unwrap();
        assert!(output.status.success(), "{} {verb}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for script in self.scripts() {
            let _ =
                Command::new(script).arg("stop").env("DAYBOOK_HOME", &self.home).env_remove("KAFKA_BROKERS").output();
        }
    }
}

/// Clients that never give up, and what they were told.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(client: &Client, accounts: &[String]) -> Load {
        Self::start_named(client, accounts, "load")
    }

    fn start_named(client: &Client, accounts: &[String], name: &str) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..CLIENTS).map(|number| {
            let (client, accounts) = (client.clone(), accounts.to_vec());
            let (stop, acknowledged, name) = (stop.clone(), acknowledged.clone(), name.to_owned());
            tokio::spawn(async move {
                let mut sent = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    let (from, to) =
                        (&accounts[(number + sent) % accounts.len()], &accounts[(number + sent + 1) % accounts.len()]);
                    let body = moved("transfer", from, to, "0.01");
                    let answer = client.insist("/v1/transactions", &format!("{name}-{number}-{sent}"), &body).await;
                    assert_eq!(answer.status, 201, "{answer:?}");
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    sent += 1;
                }
            })
        });
        let tasks = tasks.collect();
        Load { stop, acknowledged, tasks }
    }

    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more commands were acknowledged: the whole way works again.
    pub(crate) async fn progress(&self, more: u64, processes: &Processes) {
        let wanted = self.count() + more;
        eventually("acknowledged commands", Duration::from_secs(90), || async {
            Ok((self.count() >= wanted).then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", processes.logs()));
    }

    pub(crate) async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_killed_under_load_loses_and_doubles_nothing() {
    let rounds: u32 = std::env::var("TEST_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let Some(servers) = Servers::start() else {
        println!("NOT RUN: the servers are not ours to kill (TEST_POSTGRES_CTL, TEST_KAFKA_CTL)");
        return;
    };
    let (postgres_url, brokers) = (servers.postgres_url(), servers.kafka_url());
    let place = Place::on(&postgres_url, Some(&brokers), "fault", 4).await.unwrap();
    let mut processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (_, accounts) = client.found_bank(20).await;
    let load = Load::start(&client, &accounts);
    load.progress(100, &processes).await;
    for round in 1..=rounds {
        for victim in ["command-api", "relay", "projector", "query-api", "postgres", "kafka"] {
            let began = Instant::now();
            kill_and_start(victim, &servers, &mut processes);
            load.progress(50 + u64::from(round) * 7, &processes).await;
            println!("round {round}: {victim} killed; the load went on after {:.1} s", began.elapsed().as_secs_f32());
        }
    }
    let acknowledged = load.end().await;
    let proof = processes.succeed(&["audit", "reconcile"]).await;
    println!("{acknowledged} transfers acknowledged\n{proof}");

    // Acknowledged = in the log: 20 deposits came before the load.
    let log = sqlx::PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let posted: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'TransactionPosted'")
        .fetch_one(&log)
        .await
        .unwrap();
    assert_eq!(posted as u64, acknowledged + 20, "each acknowledged once and only once");
    let rejected: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'CommandRejected'")
        .fetch_one(&log)
        .await
        .unwrap();
    assert_eq!(rejected, 0);

    // The read models as the faults left them equal those of a fresh replay.
    let views = sqlx::PgPool::connect(place.get("DAYBOOK_VIEWS_OWNER_URL")).await.unwrap();
    let before = projector::digest::digest(&views).await.unwrap();
    processes.succeed(&["projection", "rebuild", "--yes"]).await;
    let after = projector::digest::digest(&views).await.unwrap();
    assert!(before.len() >= 8, "{} tables were compared", before.len());
    assert_eq!(before, after);
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}

/// Every role twice on one log, the clients on both, everything on the same ten accounts; one side is
/// killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn every_role_twice_on_ten_accounts_with_one_side_killed() {
    let rounds: u32 = std::env::var("TEST_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let place = Place::with_partitions("twice", 6).await.unwrap();
    let steady = Processes::start(&place).await;
    let mut victim = Processes::start(&place).await;
    let clients = [&steady, &victim].map(|side| Client::new(&side.command_url, &side.query_url, &side.token));
    let (_, accounts) = clients[0].found_bank(10).await;
    let loads = clients.each_ref().map(|client| Load::start_named(client, &accounts, client.name()));
    for _ in 0..rounds {
        for role in ["command-api", "relay", "projector"] {
            for load in &loads {
                load.progress(60, &steady).await;
            }
            victim.kill9(role);
            // The other side goes on alone.
            loads[0].progress(60, &steady).await;
            victim.start_role(role);
            victim.ready().await;
        }
    }
    let mut acknowledged = 0;
    for load in loads {
        acknowledged += load.end().await;
    }
    let proof = steady.succeed(&["audit", "reconcile"]).await;
    println!("{acknowledged} transfers acknowledged by two command APIs\n{proof}");
    let log = sqlx::PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let sql = "SELECT count(*) FROM events WHERE event_type IN ('TransactionPosted', 'CommandRejected')";
    let decided: i64 = sqlx::query_scalar(sql).fetch_one(&log).await.unwrap();
    assert_eq!(decided as u64, acknowledged + 10, "each acknowledged once and only once, none refused");
    steady.assert_no_panic();
    victim.assert_no_panic();
    drop((steady, victim));
    place.discard().await.unwrap();
}

fn kill_and_start(victim: &'static str, servers: &Servers, processes: &mut Processes) {
    match victim {
        "postgres" => servers.kill_postgres(),
        "kafka" => servers.kill_kafka(),
        role => {
            processes.kill9(role);
            processes.start_role(role);
        }
    }
}
