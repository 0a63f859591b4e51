//! `daybook load berka DIR`: sends a real bank's data to the command API as a client would, over
//! HTTP, and checks at the end that every heller is where it belongs.
//!
//! The phases: the ledger's frame, members, accounts, loans (paid out to another bank, by the sagas),
//! transactions, of which those for a loan are its repayments; then, for accounts whose rows
//! were refused, the credit line that the bank evidently granted, and the refused rows once more.
//!
//! Invariants: ids and idempotency keys follow from the data alone, and phases are in a fixed order;
//! so a load that was interrupted anywhere and is started again replays what was answered,
//! completes the rest, and ends in the same state. The rows of one account are sent in the order of
//! the file. A refused row is reported with its reason and never dropped.
//!
//! Why sending refused rows again under a second key is safe: the first key replays its refusal for
//! ever, and the transaction's id and its external reference, the same under both keys, can be
//! taken once only.

pub(crate) mod bank;
pub(crate) mod berka;
mod chart;
mod client;
mod dispatch;
mod expected;
mod identity;
mod loan_proof;
pub(crate) mod loans;
pub(crate) mod mapping;
mod other_bank;
mod passes;
mod payments;
mod phase;
mod progress;
mod proof;
mod query;
mod refusals;
mod report;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use platform::{Config, Secret};

use berka::DataSet;
use client::CommandClient;
use passes::Load;
use phase::Sender;
use query::{LagWatch, QueryClient};
use report::Report;

/// For how many accounts of a hundred the bank's own last balance agrees, over all of the data set.
const BANK_PERCENT: usize = 97;
/// The same for a part of it, in which the few that differ may weigh more.
const BANK_PERCENT_OF_A_PART: usize = 90;

/// Load a data set over HTTP, as a client would.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// The bank of the PKDD'99 Discovery Challenge ("Berka"): clients, accounts, transactions.
    ///
    /// Safe to repeat and to interrupt: started again, it ends in the same state.
    Berka(BerkaArgs),
    /// A file of payments that came in, for loans; checked against what was meant where that is told.
    ///
    /// Safe to repeat and to interrupt: started again, it ends in the same state.
    Payments(payments::PaymentsArgs),
}

/// Where the APIs are and how they are called.
#[derive(Debug, clap::Args)]
struct ApiArgs {
    /// Address of the command API [default: that of DAYBOOK_COMMAND_API_LISTEN].
    #[arg(long, value_name = "URL")]
    command_url: Option<String>,
    /// Address of the query API [default: that of DAYBOOK_QUERY_API_LISTEN].
    #[arg(long, value_name = "URL")]
    query_url: Option<String>,
    /// How many commands are under way at once.
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// The token to call the APIs with [default: one minted for development].
    #[arg(long, env = "DAYBOOK_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<Secret>,
    /// How long to go on asking when a server does not answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
}

impl ApiArgs {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// A client of each.
    fn clients(&self, config: &Config) -> Result<(CommandClient, QueryClient)> {
        let or = |given: &Option<String>, listen| given.clone().unwrap_or_else(|| address(listen));
        let token = crate::token::of_tool("load", self.token.clone(), config)?;
        let command_url = or(&self.command_url, config.command_api_listen());
        let client = CommandClient::try_new(&command_url, &token, usize::from(self.in_flight), self.patience())?;
        let query_url = or(&self.query_url, config.query_api_listen());
        Ok((client, QueryClient::try_new(&query_url, &token, self.patience())?))
    }
}

/// Which part of a data set.
#[derive(Debug, clap::Args)]
pub(crate) struct PartArgs {
    /// Only the first so many accounts that have transactions, with their clients.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit_accounts: Option<u32>,
    /// Beside them the accounts of the first so many loans.
    #[arg(long, value_name = "COUNT", default_value_t = 0, requires = "limit_accounts")]
    limit_loans: u32,
}

impl PartArgs {
    /// Reads that part of a data set.
    pub(crate) fn read(&self, folder: &Path) -> Result<DataSet> {
        let mut set = DataSet::read(folder)?;
        if let Some(accounts) = self.limit_accounts {
            let [accounts, loans] =
                [accounts, self.limit_loans].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
            set.keep(accounts, loans);
        }
        Ok(set)
    }
}

#[derive(Debug, clap::Args)]
struct BerkaArgs {
    /// The folder with client.asc, account.asc, disp.asc, loan.asc and trans.asc.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    apis: ApiArgs,
    /// What to do about rows that an account's limit refuses.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = CreditLines::Grant)]
    credit_lines: CreditLines,
    #[command(flatten)]
    part: PartArgs,
    /// Where reports are written [default: reports in DAYBOOK_HOME or .daybook].
    #[arg(long, value_name = "DIR")]
    report_dir: Option<PathBuf>,
}

/// What to do about rows that an account's limit refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CreditLines {
    /// Report them and leave it at that.
    Refuse,
    /// Report them, grant the accounts what the bank evidently did, and send the rows again.
    Grant,
}

/// Loads a data set and checks the result; an error when a check fails.
pub(crate) async fn run(args: LoadArgs, config: &Config) -> Result<()> {
    match args.source {
        Source::Berka(args) => berka(args, config).await,
        Source::Payments(args) => payments::run(args, config).await,
    }
}

async fn berka(args: BerkaArgs, config: &Config) -> Result<()> {
    let set = args.part.read(&args.folder)?;
    let (client, query) = args.apis.clients(config)?;
    let in_flight = usize::from(args.apis.in_flight);
    let report_folder = args.report_dir.unwrap_or_else(default_report_folder);

    let acknowledged = client.acknowledged();
    let watch = LagWatch::start(query.clone(), client.acknowledged());
    let mut load = Load::new(&set, Sender { client, in_flight })?;
    load.run(args.credit_lines, Utc::now().date_naive(), &report_folder, &query).await?;
    let position = acknowledged.load(std::sync::atomic::Ordering::Relaxed);
    let visible_after = await_visible(&query, position).await?;
    let lag = watch.stop().await?;

    let bank_percent = if args.part.limit_accounts.is_some() { BANK_PERCENT_OF_A_PART } else { BANK_PERCENT };
    let expected = load.expectations();
    let (shown, mut checks) = proof::ledger(&query, position).await?;
    let (found, account_checks) = proof::accounts(&query, &shown, &expected, bank_percent).await?;
    checks.extend(account_checks);
    checks.extend(load.checks(args.credit_lines));
    let (loans, own) = load.loan_expectations();
    if !loans.is_empty() {
        checks.extend(loan_proof::paid_out(&query, &loans, own, position).await?);
    }

    let report = Report {
        folder: args.folder,
        tallies: load.tallies(),
        refused_first: load.refused_first(),
        position,
        lag,
        visible_after,
        trial_balance: &shown.trial_balance,
        checks: &checks,
    };
    print!("{}", report.text());
    report.write(&report_folder, &expected, &found)?;
    say!("\nreports: {}", report_folder.display());
    let failed = checks.iter().filter(|check| !check.passed).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

async fn await_visible(query: &QueryClient, position: u64) -> Result<Duration> {
    let since = std::time::Instant::now();
    query.await_position(position).await.context("the query API does not come to the last position")?;
    Ok(since.elapsed())
}

/// The address at which an API listens, as a client calls it.
fn address(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        // Listening everywhere is no place to go to.
        listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{listen}")
}

fn default_report_folder() -> PathBuf {
    let home = std::env::var_os("DAYBOOK_HOME").filter(|home| !home.is_empty());
    home.map_or_else(|| Path::new(".daybook").to_owned(), PathBuf::from).join("reports")
}
