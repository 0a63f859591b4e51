//! The roles as processes: configuration and logs set up, signals listened for, one role run, or
//! all of them in this process under one address.

use anyhow::Context;
use platform::Config;
use platform::auth::Verifier;
use platform::http::{self, Ops, Options, Transport};
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
    /// What takes time or touches the outside.
    Sagas,
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
            Role::Sagas => "sagas",
            Role::All => "all",
        }
    }

    /// Where its metrics and probes are served unless the configuration says otherwise.
    fn ops_port(self) -> u16 {
        match self {
            Role::All => 7410,
            Role::CommandApi => 7411,
            Role::QueryApi => 7412,
            Role::Relay => 7413,
            Role::Projector => 7414,
            Role::Sagas => 7415,
        }
    }
}

/// Runs the role until a signal asks it to stop, then stops it in order.
pub(crate) async fn run(role: Role, config: &Config) -> anyhow::Result<()> {
    let telemetry = platform::telemetry::init(config, role.name())?;
    platform::metrics::install(role.name())?;
    let ended = serve(role, config).await;
    telemetry.shutdown().await;
    ended
}

async fn serve(role: Role, config: &Config) -> anyhow::Result<()> {
    let shutdown = platform::shutdown::on_signals()?;
    tracing::info!(?role, version = env!("CARGO_PKG_VERSION"), "starting");
    // Outlives the role, so that its last moments can be watched.
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let ops = Ops::new(shutdown.clone());
    ops.serve(config.ops_listen(), role.ops_port(), end).await.context("metrics and probes (DAYBOOK_OPS_LISTEN)")?;
    match role {
        Role::CommandApi => command_api::run(config, &ops, shutdown).await?,
        Role::Relay => relay::run(config, &ops, shutdown).await?,
        Role::Projector => projector::run(config, &ops, shutdown).await?,
        Role::QueryApi => query_api::run(config, &ops, shutdown).await?,
        Role::Sagas => sagas::run(config, &ops, shutdown).await?,
        Role::All => all(config, &ops, shutdown).await?,
    }
    tracing::info!(?role, "stopped");
    Ok(())
}

/// One process, one address. A role that ends by an error takes the others with it, in order: half
/// a service would look like a whole one.
async fn all(config: &Config, ops: &Ops, shutdown: CancellationToken) -> anyhow::Result<()> {
    let verifier = Verifier::start(config.auth()).await?;
    let transport = Transport::try_new(config.http())?;
    let store = command_api::start_store(config).await?;
    let commands = command_api::AppState::new(store.clone()).hearing_of_payments(config.bank());
    let queries = query_api::start(config)?;
    let mut checks = vec![command_api::ready_check(&commands), verifier.ready_check()];
    checks.extend(query_api::ready_checks(&queries));
    checks.extend(command_api::database_checks(&store).into_iter().filter(|check| check.name() == "keys"));
    for check in &checks {
        ops.ready(check.clone());
    }
    command_api::observe(&store, ops);
    query_api::observe(&queries, ops);
    let router = command_api::commands(commands)
        .merge(query_api::routes(queries))
        .merge(query_api::docs(crate::openapi::whole()))
        .merge(http::health(checks));
    let options = Options::serving(config.http(), verifier).with_timeout(query_api::TIMEOUT);
    let listener = http::bind(config.all_listen()).await.with_context(|| format!("{}", config.all_listen()))?;
    tracing::info!(address = %config.all_listen(), "both APIs are served");
    let serving = http::serve_with(listener, http::layers(router, options), transport, shutdown.clone());

    let relaying = ending(&shutdown, relay::run(config, ops, shutdown.clone()));
    let projecting = ending(&shutdown, projector::run(config, ops, shutdown.clone()));
    let sweeping = command_api::sweeper::run(store.clone(), shutdown.clone());
    let stepping = ending(&shutdown, sagas::run_on(store.clone(), config, ops, shutdown.clone()));
    let writing = async {
        tokio::select! {
            () = store.ended() => Err(command_api::RunError::WriterEnded),
            () = shutdown.cancelled() => Ok(()),
        }
    };
    let (served, relayed, projected, (), stepped, written) =
        tokio::join!(ending(&shutdown, serving), relaying, projecting, sweeping, stepping, ending(&shutdown, writing));
    store.shutdown().await;
    written?;
    served.context("serving")?;
    relayed.context("the relay")?;
    projected.context("the projector")?;
    stepped.context("the sagas")?;
    Ok(())
}

/// Runs a part to its end, and then asks the others to end too.
async fn ending<T>(shutdown: &CancellationToken, part: impl Future<Output = T>) -> T {
    let ended = part.await;
    shutdown.cancel();
    ended
}
