//! A bank to develop and test against: Daybook's account at another bank, behind HTTP.
//!
//! It takes payments and returns under ids that count for ever, receives payments from customers of
//! other banks and tells Daybook of them by signed webhooks, and keeps a statement of every movement.
//! On demand it misbehaves as networks and banks do (`faults`). docs/bank-simulator.md is its manual.
//!
//! Invariants: what it has acknowledged is in the journal, synced, before the reply leaves, so a
//! kill loses nothing; an id moves money at most once; the balance is the sum of the movements;
//! faults change what a client gets to know, never these.

mod access;
mod amount;
mod bank;
mod book;
mod entry;
mod faults;
mod journal;
mod movement;
mod orders;
mod random;
mod reply;
mod routes;
mod rules;
mod serve;
mod settlement;
mod statement;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use platform::Secret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use bank::Bank;
use faults::Switchboard;
use rules::Rules;

pub use journal::JournalError;

/// Bank codes that exist, when nothing else is said: those of the data set of the demo.
pub const BANK_CODES: [&str; 13] = ["AB", "CD", "EF", "GH", "IJ", "KL", "MN", "OP", "QR", "ST", "UV", "WX", "YZ"];
/// The most that one payment may move when nothing else is said, in any currency.
pub const AMOUNT_MAX: &str = "10000000.00";

/// What a simulator is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its journal, made when it is not there.
    pub journal: PathBuf,
    /// Whom it tells of money that came in; nobody: it keeps the news until there is someone.
    pub webhook: Option<Webhook>,
    /// What its clients must prove to know; `None` lets everybody in.
    pub secret: Option<Secret>,
    /// Codes of the banks that exist.
    pub bank_codes: Vec<String>,
    /// The most that one payment may move, a decimal, in any currency.
    pub amount_max: String,
}

impl Settings {
    /// A bank with the usual rules, open to everybody, that tells nobody.
    pub fn new(listen: SocketAddr, journal: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            journal: journal.into(),
            webhook: None,
            secret: None,
            bank_codes: BANK_CODES.map(str::to_owned).to_vec(),
            amount_max: AMOUNT_MAX.to_owned(),
        }
    }
}

/// Where news of incoming money is sent.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The address, http or https.
    pub url: String,
    /// What each call is signed with, one signature a secret.
    pub secrets: Vec<Secret>,
}

/// Why a simulator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A setting is not what it must be.
    #[error("{0}")]
    Setting(String),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(std::io::Error),
    /// The client for webhooks cannot be made.
    #[error("webhooks cannot be sent: {0}")]
    Webhooks(reqwest::Error),
}

/// A bank that listens, and works once it runs.
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    webhook: Option<Webhook>,
}

/// What every request sees.
pub(crate) struct Shared {
    bank: Bank,
    faults: Switchboard,
    secret: Option<Secret>,
}

impl Simulator {
    /// Reads the journal and opens the address. Requests wait until `run`.
    ///
    /// # Errors
    /// A journal that cannot be read or is another's, a setting that is not valid, an address that is taken.
    pub async fn start(settings: Settings) -> Result<Self, SimulatorError> {
        let rules = Rules::new(&settings.bank_codes, &settings.amount_max).map_err(SimulatorError::Setting)?;
        let bank = Bank::open(&settings.journal, rules)?;
        let listener = platform::http::bind(settings.listen).await.map_err(SimulatorError::Listen)?;
        let address = listener.local_addr().map_err(SimulatorError::Listen)?;
        let shared = Arc::new(Shared { bank, faults: Switchboard::default(), secret: settings.secret });
        Ok(Self { listener, address, shared, webhook: settings.webhook })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the token is cancelled; then finishes the requests at work and returns.
    ///
    /// # Errors
    /// The client for webhooks cannot be made.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SimulatorError> {
        let courier = self
            .webhook
            .map(|webhook| webhooks::Courier::new(webhook, Arc::clone(&self.shared)))
            .transpose()
            .map_err(SimulatorError::Webhooks)?;
        tracing::info!(address = %self.address, webhooks = courier.is_some(), "the bank simulator is open");
        let router = routes::router(Arc::clone(&self.shared));
        let telling = async {
            if let Some(courier) = courier {
                courier.run(shutdown.clone()).await;
            }
        };
        let settling = settlement::run(&self.shared, &shutdown);
        tokio::join!(serve::serve(self.listener, router, shutdown.clone()), settling, telling);
        Ok(())
    }
}

/// Starts a simulator and runs it until the token is cancelled.
///
/// # Errors
/// As `Simulator::start` and `Simulator::run`.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), SimulatorError> {
    Simulator::start(settings).await?.run(shutdown).await
}
