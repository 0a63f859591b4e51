//! The one binary: roles (`command-api`, `relay`, `projector`, `query-api`, `sagas`, `all`) and tools.

/// Prints a line to standard output. A reader that has gone away (`| head`) is no fault of ours.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod audit;
mod bank_simulator;
mod load;
mod openapi;
mod openapi_breaking;
mod projection;
mod roles;
mod saga;
mod sample;
mod schemas;
mod setup;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use platform::Config;

/// Requests and batches are made of many short-lived pieces; docs/adr/0025 says what it gains.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Daybook: an event-sourced ledger that can prove and replay its whole history.
#[derive(Parser)]
#[command(name = "daybook", version, arg_required_else_help = true)]
struct Arguments {
    /// Read settings from this file (KEY=VALUE lines); the process environment wins over it.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::enum_variant_names)] // `CommandApi` is the role's name
enum Command {
    /// Role: HTTP writes; decides commands and appends events.
    CommandApi,
    /// Role: publishes the log to Kafka, in order.
    Relay,
    /// Role: builds the read models from Kafka.
    Projector,
    /// Role: HTTP reads.
    QueryApi,
    /// Role: pays loans out to other banks, takes payments in, collects instalments.
    Sagas,
    /// Every role in one process, under one address.
    All,
    /// A bank to develop and test against, behind HTTP; never a part of a deployment.
    BankSimulator(bank_simulator::SimulatorArgs),
    /// Make roles, databases, tables and the topic, and write the env file.
    Setup(setup::SetupArgs),
    /// Bring the databases to this version's tables.
    Migrate,
    /// Prove that nothing was changed, left out or reordered.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Look at the read models' progress, or build them anew.
    #[command(subcommand)]
    Projection(projection::ProjectionCommand),
    /// Look at the sagas that are not over, and let one go on or give it up.
    #[command(subcommand)]
    Saga(saga::SagaCommand),
    /// Mint a token for development.
    Token(token::TokenArgs),
    /// Load a data set over HTTP, as a client would.
    Load(load::LoadArgs),
    /// Write a made-up data set.
    Sample(sample::SampleArgs),
    /// Write the JSON Schemas of all events, or check that the committed ones are these.
    Schemas {
        /// Only compare; exit code 1 where a committed schema differs.
        #[arg(long)]
        check: bool,
        /// Where the schemas are.
        #[arg(long, default_value = "event-schemas/schemas", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Write the OpenAPI documents of both APIs, or check that the committed ones are these.
    Openapi(openapi::OpenapiArgs),
}

/// After so many steps of tasks on its own list a worker looks at the list of all. The replies of the log's
/// writer, which has a thread of its own, come there: with the runtime's usual 61 they would wait for long
/// behind new requests whenever there are many, and new requests behind nobody.
const GLOBAL_QUEUE_INTERVAL: u32 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.global_queue_interval(GLOBAL_QUEUE_INTERVAL).enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(arguments)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let env_file = arguments.env_file.as_deref();
    match arguments.command {
        Command::Setup(args) => setup::run(args).await,
        Command::Sample(args) => sample::run(args).await,
        Command::Schemas { check, dir } => schemas::run(check, &dir),
        Command::Openapi(args) => openapi::run(args),
        Command::Migrate => setup::migrate(&Config::load(env_file)?).await,
        Command::Audit(command) => audit::run(command, &Config::load(env_file)?).await,
        Command::Projection(command) => projection::run(command, &Config::load(env_file)?).await,
        Command::Saga(command) => saga::run(command, &Config::load(env_file)?).await,
        Command::Token(args) => token::run(&args, &Config::load(env_file)?),
        Command::Load(args) => load::run(args, &Config::load(env_file)?).await,
        Command::BankSimulator(args) => bank_simulator::run(args, &Config::load(env_file)?).await,
        Command::CommandApi => roles::run(roles::Role::CommandApi, &Config::load(env_file)?).await,
        Command::Relay => roles::run(roles::Role::Relay, &Config::load(env_file)?).await,
        Command::Projector => roles::run(roles::Role::Projector, &Config::load(env_file)?).await,
        Command::QueryApi => roles::run(roles::Role::QueryApi, &Config::load(env_file)?).await,
        Command::Sagas => roles::run(roles::Role::Sagas, &Config::load(env_file)?).await,
        Command::All => roles::run(roles::Role::All, &Config::load(env_file)?).await,
    }
}
