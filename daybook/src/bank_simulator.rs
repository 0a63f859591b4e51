//! `daybook bank-simulator`: a bank to develop and test against, as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::ensure;
use bank_simulator::{AMOUNT_MAX, BANK_CODES, Settings, Webhook};
use platform::Config;

/// `bank-simulator`
#[derive(clap::Args)]
pub(crate) struct SimulatorArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7403", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The journal: everything that ever happened at this bank. Made when it is not there.
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
    /// Tell this address of incoming money, signed with DAYBOOK_WEBHOOK_SECRETS.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Codes of the banks that exist.
    #[arg(long, value_delimiter = ',', default_values = BANK_CODES, value_name = "CODE")]
    bank_codes: Vec<String>,
    /// The most that one payment may move, in any currency.
    #[arg(long, default_value = AMOUNT_MAX, value_name = "DECIMAL")]
    amount_max: String,
}

pub(crate) async fn run(args: SimulatorArgs, config: &Config) -> anyhow::Result<()> {
    let telemetry = platform::telemetry::init(config, "bank-simulator")?;
    let ended = serve(args, config).await;
    telemetry.shutdown().await;
    ended
}

async fn serve(args: SimulatorArgs, config: &Config) -> anyhow::Result<()> {
    let secrets = config.bank().webhook_secrets();
    ensure!(
        args.webhook_url.is_none() || !secrets.is_empty(),
        "--webhook-url needs DAYBOOK_WEBHOOK_SECRETS: an unsigned webhook is taken by nobody"
    );
    let shutdown = platform::shutdown::on_signals()?;
    let settings = Settings {
        listen: args.listen,
        journal: args.journal,
        webhook: args.webhook_url.map(|url| Webhook { url, secrets: secrets.to_vec() }),
        secret: config.bank().secret().cloned(),
        bank_codes: args.bank_codes,
        amount_max: args.amount_max,
    };
    bank_simulator::run(settings, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}
