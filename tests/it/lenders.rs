//! What lends, as processes: the command API, two runners of sagas, and the other bank.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::saga::Process;
use domain::transaction::TransactionEvent;
use domain::{AccountId, Currency, Event, Loan, LoanId, Money, Saga, SagaId, Side};
use event_store::LogReader;
use platform::Role;
use reqwest::Method;
use serde_json::Value;
use test_place::{Place, eventually};
use uuid::Uuid;

use crate::client::Client;
use crate::processes::{binary, free_address};

const ROLES: [&str; 4] = ["bank", "command-api", "sagas-1", "sagas-2"];
const BANK_SECRET: &str = "a-secret-of-client-and-bank";

pub(crate) fn czk() -> Currency {
    "CZK".parse().unwrap()
}

pub(crate) struct Lenders {
    pub(crate) nostro: Uuid,
    pub(crate) suspense: Uuid,
    pub(crate) portfolio: Uuid,
    env: BTreeMap<String, String>,
    command_url: String,
    token: String,
    /// Where each role listens, or tells operators how it is.
    addresses: HashMap<&'static str, String>,
    children: HashMap<&'static str, Child>,
    folder: tempfile::TempDir,
}

impl Lenders {
    pub(crate) async fn start(place: &Place) -> Lenders {
        let free = free_address;
        let addresses: HashMap<_, _> = ROLES.into_iter().map(|role| (role, free())).collect();
        let (command, nostro, suspense) = (free(), Uuid::now_v7(), Uuid::now_v7());
        let mut env = place.env.clone();
        for (key, value) in [
            ("DAYBOOK_COMMAND_API_LISTEN", command.clone()),
            ("DAYBOOK_BANK_URL", format!("http://{}", addresses["bank"])),
            ("DAYBOOK_BANK_SECRET", BANK_SECRET.to_owned()),
            ("DAYBOOK_BANK_TIMEOUT_MS", "1500".to_owned()),
            ("DAYBOOK_WEBHOOK_SECRETS", "a-secret-of-the-webhooks".to_owned()),
            ("DAYBOOK_INCOMING_BANK_ACCOUNT", nostro.to_string()),
            ("DAYBOOK_INCOMING_SUSPENSE_ACCOUNT", suspense.to_string()),
        ] {
            env.insert(key.to_owned(), value);
        }
        let mut lenders = Lenders {
            nostro,
            suspense,
            portfolio: Uuid::now_v7(),
            env,
            command_url: format!("http://{command}"),
            token: place.token("tester", Role::ALL).unwrap(),
            addresses,
            children: HashMap::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        for role in ROLES {
            lenders.start_role(role);
        }
        let ready = format!("{}/readyz", lenders.command_url);
        eventually(&ready, Duration::from_secs(60), || async {
            Ok(reqwest::get(&ready).await?.status().is_success().then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", lenders.logs()));
        lenders
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.command_url, &self.command_url, &self.token)
    }

    pub(crate) fn bank(&self) -> AtBank {
        AtBank { url: format!("http://{}", self.addresses["bank"]), http: reqwest::Client::new() }
    }

    pub(crate) fn start_role(&mut self, role: &'static str) {
        let log = File::options().create(true).append(true).open(self.folder.path().join(role)).unwrap();
        let address = self.addresses[role].clone();
        let webhooks = format!("{}/v1/webhooks/payments", self.command_url);
        let mut command = match role {
            "bank" => self.command(&[
                "bank-simulator",
                "--listen",
                &address,
                "--journal",
                "bank.journal",
                "--webhook-url",
                &webhooks,
            ]),
            "command-api" => self.command(&["command-api"]),
            _ => self.command(&["sagas"]),
        };
        let child = command
            .env("DAYBOOK_OPS_LISTEN", if role == "bank" { "127.0.0.1:0" } else { &address })
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.children.insert(role, child.unwrap_or_else(|error| panic!("{}: {error}", binary().display())));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder.path());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("DAYBOOK_")) {
            command.env_remove(key);
        }
        command.env_remove("DATABASE_URL").envs(&self.env);
        command
    }

    pub(crate) fn kill9(&mut self, role: &'static str) {
        if let Some(mut child) = self.children.remove(role) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until the bank has paid out so many times more: the whole way works again.
    pub(crate) async fn progress(&self, more: u64) {
        let payouts = async || {
            let statement = self.bank().get("/statements?limit=10000").await?;
            let items = statement["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            anyhow::Ok(items.iter().filter(|movement| movement["kind"] == "payment").count() as u64)
        };
        let first = eventually("the bank", Duration::from_secs(30), || async { Ok(Some(payouts().await?)) }).await;
        let wanted = first.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs())) + more;
        let waited =
            eventually("payouts", Duration::from_secs(60), || async { Ok((payouts().await? >= wanted).then_some(())) });
        waited.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
    }

    /// What we have at the bank, in minor units.
    pub(crate) async fn balance_minor(&self) -> i64 {
        let told = self.bank().get("/balance").await.unwrap();
        let text = told["balances"][0]["amount"].as_str().unwrap_or("0.00").to_owned();
        let (sign, text) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
        sign * Money::parse(text, czk()).unwrap().amount_minor
    }

    /// Runs a tool that must succeed, and returns what it printed.
    pub(crate) async fn succeed(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "daybook {arguments:?}:\n{stdout}\n{stderr}");
        stdout.into_owned()
    }

    /// The last lines of every role's log.
    pub(crate) fn logs(&self) -> String {
        let mut told = String::new();
        for role in ROLES {
            let log = std::fs::read_to_string(self.folder.path().join(role)).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(8).collect();
            told += &format!("-- {role}\n{}\n", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        told
    }

    /// No role has panicked; a panic is a bug.
    pub(crate) fn assert_no_panic(&self) {
        for role in ROLES {
            let log = std::fs::read_to_string(self.folder.path().join(role)).unwrap_or_default();
            let panic = log.lines().find(|line| line.contains("panicked at"));
            assert!(panic.is_none(), "{role}: {}", panic.unwrap_or_default());
        }
    }
}

impl Drop for Lenders {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Somebody at the other bank.
#[derive(Clone)]
pub(crate) struct AtBank {
    url: String,
    http: reqwest::Client,
}

impl AtBank {
    /// The same call until it is answered.
    pub(crate) async fn insist(&self, method: &str, path: &str, body: Value) {
        let method: Method = method.parse().unwrap();
        loop {
            let request = self.http.request(method.clone(), format!("{}{path}", self.url));
            match request.bearer_auth(BANK_SECRET).json(&body).send().await {
                Ok(response) if response.status().is_success() => return,
                Ok(response) if response.status().is_client_error() => panic!("{path} {body}: {response:?}"),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(BANK_SECRET);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}

/// The whole log, added up.
#[derive(Default)]
pub(crate) struct Books {
    /// By account, debits positive, in minor units.
    pub(crate) posted: BTreeMap<AccountId, i64>,
    pub(crate) loans: HashMap<LoanId, Loan>,
    pub(crate) sagas: HashMap<SagaId, Saga>,
    /// The bank's orders of loans that were paid out.
    pub(crate) paid_out: Vec<Uuid>,
    /// How many payments came in.
    pub(crate) received: usize,
    /// What went back to the bank, in minor units.
    pub(crate) returned_minor: i64,
}

impl Books {
    pub(crate) async fn of(log: &LogReader) -> Books {
        let mut books = Books::default();
        let mut after = 0;
        loop {
            let page = log.events_after(after, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.position;
            for recorded in &page {
                books.add(recorded.stream.id, &recorded.event().unwrap());
            }
        }
        books.sum_up();
        books
    }

    fn add(&mut self, id: Uuid, event: &Event) {
        match event {
            Event::Loan(event) => self.loans.entry(LoanId(id)).or_default().fold(event),
            Event::Saga(event) => self.sagas.entry(SagaId(id)).or_default().fold(event),
            Event::Transaction(
                TransactionEvent::TransactionPosted { legs, .. } | TransactionEvent::PendingPosted { legs, .. },
            ) => {
                for leg in legs {
                    let signed = if leg.side == Side::Debit { leg.amount_minor } else { -leg.amount_minor };
                    *self.posted.entry(leg.account_id).or_default() += signed;
                }
            }
            _ => {}
        }
    }

    fn sum_up(&mut self) {
        for (loan_id, loan) in &self.loans {
            if loan.disbursed_on.is_some() {
                let saga_id = SagaId::of_disbursement(*loan_id, loan.disbursement_attempts);
                self.paid_out.push(domain::ids::derived(saga_id.0, "pay_out"));
            }
        }
        for saga in self.sagas.values() {
            if let Some(Process::IncomingPayment { .. }) = saga.process {
                self.received += 1;
                if saga.code.as_ref().is_some_and(|code| code.as_str() == "returned") {
                    self.returned_minor += saga.left_minor;
                }
            }
        }
    }

    /// What payments that wait for a person have in suspense, in minor units.
    pub(crate) fn parked_minor(&self) -> i64 {
        self.sagas.values().filter(|saga| !saga.status.has_ended()).map(|saga| saga.left_minor).sum()
    }

    /// The principal that loans owe, in minor units.
    pub(crate) fn outstanding_minor(&self) -> i64 {
        self.loans.values().map(|loan| loan.outstanding().principal_minor).sum()
    }
}
