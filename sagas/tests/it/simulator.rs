//! The bank at the other end: the simulator, which a test may stop and start again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bank_simulator::{Settings, Simulator};
use domain::Money;
use domain::words::ExternalReference;
use platform::Config;
use reqwest::Method;
use sagas::payments::HttpBank;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::desk::czk;

pub(crate) struct OtherBank {
    pub(crate) url: String,
    client: reqwest::Client,
    settings: Settings,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    _folder: tempfile::TempDir,
}

impl OtherBank {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal: PathBuf = folder.path().join("journal");
        let settings = Settings::new(([127, 0, 0, 1], 0).into(), journal);
        let mut bank =
            Self { url: String::new(), client: reqwest::Client::new(), settings, running: None, _folder: folder };
        bank.start().await;
        bank
    }

    /// Opens it, on its journal and at its address.
    pub(crate) async fn start(&mut self) {
        let simulator = Simulator::start(self.settings.clone()).await.unwrap();
        self.settings.listen = simulator.address();
        self.url = format!("http://{}", simulator.address());
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { simulator.run(stop).await.unwrap() }
        });
        self.running = Some((stop, task));
    }

    pub(crate) async fn stop(&mut self) {
        if let Some((stop, task)) = self.running.take() {
            stop.cancel();
            task.await.unwrap();
        }
    }

    /// A port to it that waits for so long.
    pub(crate) fn port(&self, timeout_ms: u32) -> Arc<HttpBank> {
        let values: BTreeMap<String, String> = [
            ("DAYBOOK_BANK_URL".to_owned(), self.url.clone()),
            ("DAYBOOK_BANK_TIMEOUT_MS".to_owned(), timeout_ms.to_string()),
        ]
        .into();
        Arc::new(HttpBank::new(Config::from_values(&values).unwrap().bank()).unwrap())
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let response = self.client.request(method, format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn faults(&self, faults: Value) {
        self.call(Method::PUT, "/faults", faults).await;
    }

    /// An account of a customer of another bank closes or opens.
    pub(crate) async fn closed(&self, account_number: &str, closed: bool) {
        self.call(Method::PUT, &format!("/accounts/YZ/{account_number}"), json!({"closed": closed})).await;
    }

    /// A customer of another bank pays us; gives the bank's reference.
    pub(crate) async fn pays_us(&self, amount_minor: i64, reference: &str) -> ExternalReference {
        let body = json!({
            "amount": wire(amount_minor), "reference": reference,
            "from": {"account_number": "55501", "bank_code": "AB"},
        });
        let received = self.call(Method::POST, "/incoming", body).await;
        ExternalReference::try_new(received["bank_reference"].as_str().unwrap()).unwrap()
    }

    /// What we have there, in minor units.
    pub(crate) async fn balance_minor(&self) -> i64 {
        let told = self.client.get(format!("{}/balance", self.url)).send().await.unwrap();
        let told: Value = told.json().await.unwrap();
        // Below zero is no amount of money for `Money::parse`.
        let text = told["balances"].get(0).map_or("0", |balance| balance["amount"].as_str().unwrap()).to_owned();
        let (sign, text) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
        let amount = if text == "0" { 0 } else { Money::parse(text, czk()).unwrap().amount_minor };
        sign * amount
    }

    /// The movements of one order of ours or incoming payment, as signed amounts in minor units.
    pub(crate) async fn movements_of(&self, id: Uuid) -> Vec<i64> {
        let all = self.statement().await;
        all.into_iter().filter(|(of, _)| *of == id).map(|(_, amount)| amount).collect()
    }

    pub(crate) async fn statement(&self) -> Vec<(Uuid, i64)> {
        let told = self.client.get(format!("{}/statements?limit=10000", self.url)).send().await.unwrap();
        let told: Value = told.json().await.unwrap();
        let read = |movement: &Value| {
            let amount = Money::parse(movement["amount"]["amount"].as_str().unwrap(), czk()).unwrap().amount_minor;
            let id = movement["id"].as_str().unwrap().parse().unwrap();
            (id, if movement["direction"] == "in" { amount } else { -amount })
        };
        told["items"].as_array().unwrap().iter().map(read).collect()
    }
}

pub(crate) fn wire(amount_minor: i64) -> Value {
    json!({"amount": Money::new(amount_minor, czk()).decimal(), "currency": "CZK"})
}
