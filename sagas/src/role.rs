//! The role: a runner on its own store, or on one that other roles of the process share.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Store, StoreConfig, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;
use platform::Config;
use platform::config::ConfigError;
use platform::http::{Ops, ReadyCheck};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::payments::{Answer, HttpBank, HttpBankError, PayOut, PaymentPort, PortError, ReturnPayment, Status};
use crate::run::Runner;

/// A runner comes round each second; a database that does not answer takes no longer than this.
const ROUND_MAX: Duration = Duration::from_secs(60);

const READ_CONNECTIONS: u32 = 16;

/// Why the role could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A key that this role needs is not set.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The event store could not be started.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The payment port cannot be used as it is configured.
    #[error(transparent)]
    Port(#[from] HttpBankError),
    /// The writer has ended by a fault of its own.
    #[error("the writer of the log has ended; this process can send no command and is to be started again")]
    WriterEnded,
}

/// Runs the role until the token is cancelled.
///
/// # Errors
/// A configuration with which it cannot run, or a writer that ended.
pub async fn run(config: &Config, ops: &Ops, shutdown: CancellationToken) -> Result<(), RunError> {
    let (writer_url, keys_url) = (config.log_writer()?.expose(), config.keys()?.expose());
    let master_key = *config.master_key()?.expose();
    let time_zone = config.time_zone().to_string();
    let store = Store::start(StoreConfig {
        // Sagas read the streams that they are about, many at once.
        read_connections: READ_CONNECTIONS,
        ..StoreConfig::new(writer_url, keys_url, master_key, config.tenant(), &time_zone)
    })
    .await?;
    ops.pool("log", store.reader().pool());
    ops.pool("keys", store.sealing().pool());
    let writer = store.clone();
    ops.ready(ReadyCheck::new("event-store", move || {
        let ready = writer.ready();
        async move { if ready { Ok(()) } else { Err("the log cannot be written now".to_owned()) } }
    }));
    ops.ready(ReadyCheck::postgres("log", store.reader().pool().clone()));
    ops.ready(ReadyCheck::postgres("keys", store.sealing().pool().clone()).told_only());
    let ran = tokio::select! {
        ran = run_on(store.clone(), config, ops, shutdown) => ran,
        () = store.ended() => Err(RunError::WriterEnded),
    };
    store.shutdown().await;
    ran
}

/// Runs on a store of this process until the token is cancelled.
///
/// # Errors
/// A payment port that is configured and cannot be used.
pub async fn run_on(store: Store, config: &Config, ops: &Ops, shutdown: CancellationToken) -> Result<(), RunError> {
    let port: Arc<dyn PaymentPort> = match config.bank().url() {
        Ok(_) => Arc::new(HttpBank::new(config.bank())?),
        Err(error) => {
            tracing::warn!(%error, "payouts to other banks wait until a bank is configured");
            Arc::new(NoBank)
        }
    };
    let runner = Runner::new(store, port, config.time_zone());
    let watched = runner.clone();
    ops.watch("sagas", ROUND_MAX, move || watched.silence());
    tracing::info!("sagas are run");
    runner.run(shutdown).await;
    Ok(())
}

/// No bank: whatever asks for one waits.
struct NoBank;

impl NoBank {
    fn answer<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, PortError>> {
        let detail = "DAYBOOK_BANK_URL is not set".to_owned();
        async { Err(PortError::Misconfigured { detail }) }.boxed()
    }
}

impl PaymentPort for NoBank {
    fn pay_out<'a>(&'a self, _: &'a PayOut) -> BoxFuture<'a, Answer> {
        self.answer()
    }

    fn pay_out_status(&self, _: Uuid) -> BoxFuture<'_, Status> {
        self.answer()
    }

    fn return_payment<'a>(&'a self, _: &'a ReturnPayment) -> BoxFuture<'a, Answer> {
        self.answer()
    }

    fn return_status(&self, _: Uuid) -> BoxFuture<'_, Status> {
        self.answer()
    }
}
