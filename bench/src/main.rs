//! `daybook-bench`: how fast Daybook is on this machine, beside baselines that are measured in the same run.
//!
//! `load` is the generator (`http` its connections, `workload` the accounts it draws), `scenarios` what is measured and
//! `baselines` what we compare with; `bench` measures what a load costs (`proc`), on a `ledger` that `seed` has filled
//! and with `roles` as processes. `results` keeps what was measured, `report` holds it against the `aims`.

/// Prints a line to standard output. A reader that has gone away (`| head`) is no fault of ours.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod aims;
mod baselines;
mod bench;
mod figures;
mod http;
mod ledger;
mod load;
mod machine;
mod proc;
mod report;
mod results;
mod roles;
mod run;
mod scenarios;
mod seed;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As the binary under test: the write door runs in this process as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How fast Daybook is on this machine, beside baselines measured in the same run.
#[derive(Parser)]
#[command(name = "daybook-bench", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The scenarios and baselines, in the order in which they are run.
    List,
    /// Measures, each result being kept as it ends; goes on where an earlier run was interrupted.
    Run(run::RunArgs),
    /// Writes the report of what was measured last.
    Report(report::ReportArgs),
    /// Holds idle connections; `run` starts it.
    #[command(hide = true)]
    Hold(scenarios::HoldArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::List => {
            run::list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(args) => run::run(args).await,
        Command::Report(args) => report::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Hold(args) => scenarios::hold(args).await.map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
