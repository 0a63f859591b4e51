//! The HTTP read API: read models by id and as lists, balances as of three dates, the trial
//! balance, and the log itself for auditors.
//!
//! One file per noun holds what it answers, its handlers and their SQL. What is common to all reads
//! is in `parameters` (strict parsing), `cursor` (pages), `freshness` ("at least this position"),
//! `parked` and `reply`.
//!
//! Invariants: nothing here writes, and the roles it runs under cannot; every reply says up to which
//! position it is complete, read in the snapshot of its data; what stands still says so; nothing
//! unknown in a request is passed over.

mod accounts;
mod amount;
mod api;
mod arrears;
mod as_of;
mod balances;
mod by_key;
mod current_balances;
mod cursor;
mod entries;
mod events;
mod freshness;
mod ledger;
mod listing;
mod loan_products;
mod loan_repayments;
mod loan_schedule;
mod loans;
mod members;
mod openapi;
mod parameters;
mod parked;
mod portfolio;
mod projections;
mod reply;
mod sagas;
mod statement;
mod transactions;
mod trial_balance;

use std::time::Duration;

use axum::Router;
use event_store::LogReader;
use platform::Config;
use platform::auth::{AuthError, Verifier};
use platform::config::ConfigError;
use platform::http::{self, Ops, Options, ReadyCheck, Transport};
use platform::postgres::{self, PostgresError};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use api::Api;
pub use freshness::NOTIFY_CHANNEL;
pub use openapi::{SPECIFICATION_PATH, docs, openapi};
pub use reply::{PARKED, POSITION};

/// How long a read may take until its reply begins, the longest wait for a position included. Who
/// serves these routes beside others gives `platform::http::Options` at least this.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// After so long the database gives up a statement, so that none works on for a client that is gone.
const STATEMENT_TIMEOUT: &str = "25s";
const VIEWS_CONNECTIONS_MAX: u32 = 12;
const LOG_CONNECTIONS_MAX: u32 = 6;

/// Why the role could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A key that this role needs is not set.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A database's URL cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Callers cannot be verified.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The address could not be served, or not with TLS.
    #[error(transparent)]
    Serve(#[from] std::io::Error),
}

/// The reads alone, and their description under [`SPECIFICATION_PATH`], to be merged with other
/// APIs under one address.
pub fn routes(api: Api) -> Router {
    api::documented().into_router(api).merge(openapi::specification())
}

/// The checks of `/readyz`: whether both databases answer.
pub fn ready_checks(api: &Api) -> Vec<ReadyCheck> {
    let log = ReadyCheck::postgres("log", api.log.pool().clone());
    vec![ReadyCheck::postgres("views", api.gate.views().clone()), log]
}

/// Shows operators how the pools are used.
pub fn observe(api: &Api, ops: &Ops) {
    ops.pool("views", api.gate.views());
    ops.pool("views_by_key", api.by_key.pool());
    ops.pool("log_reader", api.log.pool());
}

/// The whole API of this role: reads, `/openapi.json`, `/docs`, `/healthz`, `/readyz`. The caller
/// wraps it in `platform::http::layers`. `checks` are those of `/readyz` beside the databases'.
pub fn router(api: Api, checks: impl IntoIterator<Item = ReadyCheck>) -> Router {
    let health = http::health(ready_checks(&api).into_iter().chain(checks).collect());
    routes(api).merge(docs(openapi())).merge(health)
}

/// Opens the databases as the configuration says; they are connected to when first used. To be
/// called inside a Tokio runtime.
pub fn start(config: &Config) -> Result<Api, RunError> {
    let views = pool(config.views_reader()?.expose(), VIEWS_CONNECTIONS_MAX)?;
    // A connection of it is not tried before each use, which would be a round trip: a snapshot that finds
    // its connection lost is begun on another.
    let views =
        views.options().clone().test_before_acquire(false).connect_lazy_with((*views.connect_options()).clone());
    let log = pool(config.log_reader()?.expose(), LOG_CONNECTIONS_MAX)?;
    Ok(Api::start(views, LogReader::new(log)).in_time_zone(config.time_zone()))
}

fn pool(url: &str, max_connections: u32) -> Result<PgPool, PostgresError> {
    let pool = postgres::pool(url, max_connections, "daybook-query-api")?;
    let options = (*pool.connect_options()).clone();
    // Planned for the values at hand: the same list is of ten rows or of a million.
    let settings = [("statement_timeout", STATEMENT_TIMEOUT), ("plan_cache_mode", "force_custom_plan")];
    pool.set_connect_options(options.options(settings));
    Ok(pool)
}

/// Runs the role until the token is cancelled: serves the API, then finishes the requests at work
/// and returns.
pub async fn run(config: &Config, ops: &Ops, shutdown: CancellationToken) -> Result<(), RunError> {
    let listens = ops.listening("query_api_listens");
    let verifier = Verifier::start(config.auth()).await?;
    let transport = Transport::try_new(config.http()).map_err(std::io::Error::from)?;
    let api = start(config)?;
    observe(&api, ops);
    for check in ready_checks(&api).into_iter().chain([verifier.ready_check()]) {
        ops.ready(check);
    }
    let router = router(api, Some(verifier.ready_check()));
    let options = Options::serving(config.http(), verifier).with_timeout(TIMEOUT);
    let listener = http::bind(config.query_api_listen()).await?;
    listens.cancel();
    tracing::info!(address = %config.query_api_listen(), "the query API is served");
    Ok(http::serve_with(listener, http::layers(router, options), transport, shutdown).await?)
}
