//! The HTTP write API: requests in, domain commands through the event store's door, replies out.
//!
//! One file per noun (`members`, `accounts`, `transactions` with `legs`, `batches` of them, `ledger`, `loan_products` with
//! `loan_terms`, `loans` with `disbursements` and `repayments`, `payments` with `webhook`, `sagas`) holds
//! its bodies, its routes and the way from the one to the domain's command. `schedules` only computes. What is common to all commands is
//! in `request` (who asks, the key, the expected version, one submission) and `reply`.
//!
//! Invariants: what can be refused without state is refused here and leaves nothing behind; all
//! else is decided at the head of the log; no reply leaves before its outcome has committed;
//! personal data leaves this crate sealed.

mod accounts;
mod amount;
mod batch_reply;
mod batch_request;
mod batches;
mod beginnings;
mod canonical;
mod disbursements;
mod door;
mod fault;
mod idempotency;
mod if_match;
mod ledger;
mod legs;
mod loan_products;
mod loan_terms;
mod loans;
mod members;
mod openapi;
mod parties;
mod payments;
mod repayments;
mod reply;
mod request;
mod sagas;
mod schedules;
mod sealing;
pub mod sweeper;
mod transactions;
mod webhook;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use event_store::{Store, StoreConfig, StoreError};
use platform::Config;
use platform::auth::{AuthError, Verifier};
use platform::config::{BankConfig, ConfigError};
use platform::http::{self, Ops, Options, ReadyCheck, Transport};
use tokio_util::sync::CancellationToken;

pub use door::{Answer, Door, ManyAnswers, MaybeSealed, Narrative, SealError};
pub use openapi::{docs, openapi};
pub use payments::loan_number_in;

/// What every handler needs. Cheap to clone, which is done several times for each request.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    door: Arc<dyn Door>,
    webhook: Option<Arc<webhook::Webhook>>,
    batches: Arc<batches::Limits>,
}

impl AppState {
    /// Handlers that submit through this door.
    pub fn new(door: impl Door) -> Self {
        let batches = Arc::new(batches::Limits::new());
        Self(Arc::new(Shared { door: Arc::new(door), webhook: None, batches }))
    }

    /// The same, taking the bank's calls of payments, if secrets and accounts for them are configured.
    #[must_use]
    pub fn hearing_of_payments(self, bank: &BankConfig) -> Self {
        let webhook = webhook::Webhook::new(bank).map(Arc::new);
        Self(Arc::new(Shared { webhook, ..Shared::clone(&self.0) }))
    }

    fn door(&self) -> &Arc<dyn Door> {
        &self.0.door
    }

    fn webhook(&self) -> Option<&webhook::Webhook> {
        self.0.webhook.as_deref()
    }

    fn batches(&self) -> &batches::Limits {
        &self.0.batches
    }
}

/// Why the role could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A key that this role needs is not set.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The event store could not be started.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Callers cannot be verified.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The address could not be served, or not with TLS.
    #[error(transparent)]
    Serve(#[from] std::io::Error),
    /// The writer has ended by a fault of its own: the process is to be started again.
    #[error("the writer has ended by a fault of its own; its last lines say why")]
    WriterEnded,
    /// The sweeper of expired holds has ended by a fault of its own.
    #[error("the sweeper has ended by a fault of its own; its last lines say why")]
    SweeperEnded,
}

/// A writer that has not come round for so long is stuck: longer than it waits for a database.
const WRITER_ROUND_MAX: Duration = Duration::from_secs(60);

/// The commands alone, to be merged with other APIs under one address.
pub fn commands(state: AppState) -> Router {
    openapi::described_routes().into_router(state)
}

/// The check of `/readyz`: whether commands can be taken now.
pub fn ready_check(state: &AppState) -> ReadyCheck {
    let door = Arc::clone(state.door());
    ReadyCheck::new("event-store", move || {
        let ready = door.is_ready();
        async move { if ready { Ok(()) } else { Err("the log cannot be written now".to_owned()) } }
    })
}

/// The checks of `/readyz` beside [`ready_check`]: whether the log's and the keys' databases answer.
pub fn database_checks(store: &Store) -> Vec<ReadyCheck> {
    let log = ReadyCheck::postgres("log", store.reader().pool().clone());
    // Without it no personal data is sealed or opened; all other commands go on.
    vec![log, ReadyCheck::postgres("keys", store.sealing().pool().clone()).told_only()]
}

/// Shows operators whether the writer comes round, and how the pools are used.
pub fn observe(store: &Store, ops: &Ops) {
    let writer = store.clone();
    ops.watch("writer", WRITER_ROUND_MAX, move || writer.silence());
    ops.pool("log", store.reader().pool());
    ops.pool("keys", store.sealing().pool());
}

/// The whole API of this role: commands, `/openapi.json`, `/docs`, `/healthz`, `/readyz`. The caller
/// wraps it in `platform::http::layers`. `checks` are those of `/readyz` beside the log's.
pub fn router(state: AppState, checks: impl IntoIterator<Item = ReadyCheck>) -> Router {
    let checks = [ready_check(&state)].into_iter().chain(checks).collect();
    commands(state).merge(docs(openapi())).merge(http::health(checks))
}

/// Starts the event store as the configuration says.
pub async fn start_store(config: &Config) -> Result<Store, RunError> {
    let (writer_url, keys_url) = (config.log_writer()?.expose(), config.keys()?.expose());
    let master_key = *config.master_key()?.expose();
    let time_zone = config.time_zone().to_string();
    let defaults = StoreConfig::new(writer_url, keys_url, master_key, config.tenant(), &time_zone);
    Ok(Store::start(StoreConfig { cache_streams: config.cache_streams(), ..defaults }).await?)
}

/// Runs the role until the token is cancelled: serves the API, sweeps what has expired, then
/// finishes the requests at work, commits what waits, and returns.
pub async fn run(config: &Config, ops: &Ops, shutdown: CancellationToken) -> Result<(), RunError> {
    let listens = ops.listening("command_api_listens");
    let verifier = Verifier::start(config.auth()).await?;
    let transport = Transport::try_new(config.http()).map_err(std::io::Error::from)?;
    let store = start_store(config).await?;
    observe(&store, ops);
    let state = AppState::new(store.clone()).hearing_of_payments(config.bank());
    let mut checks = database_checks(&store);
    checks.push(verifier.ready_check());
    for check in checks.iter().cloned().chain([ready_check(&state)]) {
        ops.ready(check);
    }
    let swept = CancellationToken::new();
    let guard = swept.clone().drop_guard();
    let sweep = sweeper::run(store.clone(), shutdown.clone());
    let sweeping = tokio::spawn(async move {
        let _guard = guard;
        sweep.await;
    });
    let queue = store.clone();
    let options =
        Options::serving(config.http(), verifier).refusing_when(move |at_work| queue.is_overloaded_by(at_work));
    let router = http::layers(router(state, checks), options);
    let served = async {
        let listener = http::bind(config.command_api_listen()).await?;
        listens.cancel();
        tracing::info!(address = %config.command_api_listen(), "the command API is served");
        tokio::select! {
            served = http::serve_with(listener, router, transport, shutdown.clone()) => Ok(served?),
            // Only before the shutdown of the store, below: without its writer nothing can be done.
            () = store.ended() => Err(RunError::WriterEnded),
            () = unasked(&swept, &shutdown) => Err(RunError::SweeperEnded),
        }
    }
    .await;
    // Also where the address could not be had: what was started is stopped in order.
    shutdown.cancel();
    if let Err(error) = sweeping.await {
        tracing::error!(%error, "the sweeper ended badly");
    }
    store.shutdown().await;
    served
}

/// Returns when a task has ended though no shutdown was asked.
async fn unasked(ended: &CancellationToken, shutdown: &CancellationToken) {
    ended.cancelled().await;
    if shutdown.is_cancelled() {
        std::future::pending::<()>().await;
    }
}
