//! A bank simulator of a test's own, and ports to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bank_simulator::{Settings, Simulator, Webhook};
use domain::Money;
use platform::{Config, Secret};
use sagas::payments::{Destination, HttpBank, HttpBankError, PayOut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A bank, its address and a port to it.
pub(crate) struct Bank {
    pub(crate) url: String,
    pub(crate) port: HttpBank,
    client: reqwest::Client,
    settings: Settings,
    stop: CancellationToken,
    running: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Bank {
    pub(crate) async fn open() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with_secret(secret: &str) -> Self {
        Self::with(|settings| settings.secret = Some(Secret::new(secret))).await
    }

    pub(crate) async fn with_webhook(webhook: Webhook) -> Self {
        Self::with(|settings| settings.webhook = Some(webhook)).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal: PathBuf = folder.path().join("journal");
        let mut settings = Settings::new(([127, 0, 0, 1], 0).into(), journal);
        change(&mut settings);
        Self::start(settings, folder).await
    }

    async fn start(settings: Settings, folder: tempfile::TempDir) -> Self {
        let simulator = Simulator::start(settings.clone()).await.unwrap();
        let url = format!("http://{}", simulator.address());
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { simulator.run(stop).await.unwrap() }
        });
        let port = config(&url, &[]);
        Self { url, port, client: reqwest::Client::new(), settings, stop, running, folder }
    }

    /// Stops the bank and opens it on the same journal.
    pub(crate) async fn restart(self) -> Self {
        self.stop.cancel();
        self.running.await.unwrap();
        Self::start(self.settings, self.folder).await
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    pub(crate) async fn faults(&self, faults: &str) {
        self.put("/faults", faults, StatusCode::OK).await;
    }

    pub(crate) async fn put(&self, path: &str, body: &str, status: StatusCode) -> serde_json::Value {
        self.send(self.client.put(format!("{}{path}", self.url)), body, status).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str, status: StatusCode) -> serde_json::Value {
        self.send(self.client.post(format!("{}{path}", self.url)), body, status).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, body: &str, status: StatusCode) -> serde_json::Value {
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let response = request.send().await.unwrap();
        let (answered, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(answered, status, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub(crate) async fn get_authorized(&self, path: &str, secret: &str) -> serde_json::Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(secret);
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// A customer of another bank pays us; answers the bank's reference.
    pub(crate) async fn receive(&self, body: &str) -> String {
        let received = self.post("/incoming", body, StatusCode::CREATED).await;
        received["bank_reference"].as_str().unwrap().to_owned()
    }

    /// The balance of the one currency of these tests, checked to be the sum of the statement.
    pub(crate) async fn balance(&self) -> String {
        let balances = self.get("/balance").await["balances"].clone();
        let balance = balances.get(0).map_or("0", |balance| balance["amount"].as_str().unwrap()).to_owned();
        let movements = self.get("/statements?limit=10000").await["items"].clone();
        let sum: i64 = movements.as_array().unwrap().iter().map(signed_minor).sum();
        let told = if balance == "0" { 0 } else { Money::parse(&balance, czk()).unwrap().amount_minor };
        assert_eq!(sum, told, "{movements}");
        balance
    }
}

fn signed_minor(movement: &serde_json::Value) -> i64 {
    let amount = money(movement["amount"]["amount"].as_str().unwrap()).amount_minor;
    if movement["direction"] == "in" { amount } else { -amount }
}

fn czk() -> domain::Currency {
    "CZK".parse().unwrap()
}

pub(crate) fn money(text: &str) -> Money {
    Money::parse(text, czk()).unwrap()
}

/// A new payment to the one account of these tests.
pub(crate) fn pay_out(amount: &str) -> PayOut {
    PayOut {
        id: Uuid::now_v7(),
        amount: money(amount),
        to: Destination { account_number: "87144583".to_owned(), bank_code: "YZ".to_owned() },
        reference: "loan 4959".to_owned(),
    }
}

/// A port to that address which waits at most a second.
pub(crate) fn config(url: &str, more: &[(&str, &str)]) -> HttpBank {
    try_config(url, more).unwrap()
}

pub(crate) fn try_config(url: &str, more: &[(&str, &str)]) -> Result<HttpBank, HttpBankError> {
    let given = [("DAYBOOK_BANK_URL", url), ("DAYBOOK_BANK_TIMEOUT_MS", "1000")];
    let values: BTreeMap<_, _> =
        given.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    HttpBank::new(Config::from_values(&values).unwrap().bank())
}

/// Somebody who takes a request and sends that, whatever it is; nothing: is silent.
pub(crate) async fn peer(reply: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            match reply.as_str() {
                "" => tokio::time::sleep(Duration::from_secs(60)).await,
                "close" => {}
                reply => {
                    let _ = stream.write_all(reply.as_bytes()).await;
                }
            }
        }
    });
    url
}

/// A server for TLS with a certificate that nobody vouches for; tells of each handshake whether it
/// came to its end.
pub(crate) async fn impostor() -> (String, Arc<Mutex<Vec<bool>>>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let handshakes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&handshakes);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let done = acceptor.accept(stream).await.is_ok();
            told.lock().unwrap().push(done);
        }
    });
    (url, handshakes)
}

/// Waits until a condition holds, for ten seconds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(10), "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
