//! The roles as processes: configuration and logs set up, signals listened for, one role run, or
//! all of them in this process under one address.

use anyhow::Context;
use platform::Config;
use platform::auth::Verifier;
use platform::http::{self, Options, Transport};
use tokio_util::sync::CancellationToken;

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// HTTP writes.
    CommandApi,
    /// The log to Kafka.
    Relay,
    /// Kafka to the read models.
    Projector,
    /// HTTP reads.
    QueryApi,
    /// Every role, under one address.
    All,
}

impl Role {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::CommandApi => "command-api",
            Role::Relay => "relay",
            Role::Projector => "projector",
            Role::QueryApi => "query-api",
            Role::All => "all",
        }
    }
}

/// Runs the role until a signal asks it to stop, then stops it in order.
pub(crate) async fn run(role: Role, config: &Config) -> anyhow::Result<()> {
    let telemetry = platform::telemetry::init(config, role.name())?;
    let ended = serve(role, config).await;
    telemetry.shutdown().await;
    ended
}

async fn serve(role: Role, config: &Config) -> anyhow::Result<()> {
    let shutdown = platform::shutdown::on_signals()?;
    tracing::info!(?role, version = env!("CARGO_PKG_VERSION"), "starting");
    match role {
        Role::CommandApi => command_api::run(config, shutdown).await?,
        Role::Relay => relay::run(config, shutdown).await?,
        Role::Projector => projector::run(config, shutdown).await?,
        Role::QueryApi => query_api::run(config, shutdown).await?,
        Role::All => all(config, shutdown).await?,
    }
    tracing::info!(?role, "stopped");
    Ok(())
}

/// One process, one address. A role that ends by an error takes the others with it, in order: half
/// a service would look like a whole one.
async fn all(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let verifier = Verifier::start(config.auth()).await?;
    let transport = Transport::try_new(config.http())?;
    let store = command_api::start_store(config).await?;
    let commands = command_api::AppState::new(store.clone());
    let queries = query_api::start(config)?;
    let mut checks = vec![command_api::ready_check(&commands), verifier.ready_check()];
    checks.extend(query_api::ready_checks(&queries));
    let router = command_api::commands(commands)
        .merge(query_api::routes(queries))
        .merge(query_api::docs(crate::openapi::whole()))
        .merge(http::health(checks));
    let options = Options::serving(config.http(), verifier).with_timeout(query_api::TIMEOUT);
    let listener = http::bind(config.all_listen()).await.with_context(|| format!("{}", config.all_listen()))?;
    tracing::info!(address = %config.all_listen(), "both APIs are served");
    let serving = http::serve_with(listener, http::layers(router, options), transport, shutdown.clone());

    let relaying = ending(&shutdown, relay::run(config, shutdown.clone()));
    let projecting = ending(&shutdown, projector::run(config, shutdown.clone()));
    let sweeping = command_api::sweeper::run(store.clone(), shutdown.clone());
    let (served, relayed, projected, ()) = tokio::join!(ending(&shutdown, serving), relaying, projecting, sweeping);
    store.shutdown().await;
    served.context("serving")?;
    relayed.context("the relay")?;
    projected.context("the projector")?;
    Ok(())
}

/// Runs a part to its end, and then asks the others to end too.
async fn ending<T>(shutdown: &CancellationToken, part: impl Future<Output = T>) -> T {
    let ended = part.await;
    shutdown.cancel();
    ended
}
