//! Every command, and the one function that decides it.

use crate::account::{self, AccountCommand};
use crate::book::{Book, Context, Missing, Plan, Stop};
use crate::ids::StreamId;
use crate::ledger::{self, LedgerCommand};
use crate::loan::{self, LoanCommand};
use crate::member::{self, MemberCommand};
use crate::product::{self, LoanProductCommand};
use crate::saga::{self, SagaCommand};
use crate::transaction::{self, TransactionCommand};

/// A command on any aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// On a member.
    Member(MemberCommand),
    /// On an account.
    Account(AccountCommand),
    /// On a transaction and the accounts it touches.
    Transaction(TransactionCommand),
    /// On currencies, ledger codes and periods.
    Ledger(LedgerCommand),
    /// On a loan product.
    LoanProduct(LoanProductCommand),
    /// On a loan, and the transaction and accounts that it moves.
    Loan(LoanCommand),
    /// On a saga.
    Saga(SagaCommand),
}

impl Command {
    /// The name, for logs and rejections.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Member(command) => command.name(),
            Command::Account(command) => command.name(),
            Command::Transaction(command) => command.name(),
            Command::Ledger(command) => command.name(),
            Command::LoanProduct(command) => command.name(),
            Command::Loan(command) => command.name(),
            Command::Saga(command) => command.name(),
        }
    }

    /// The stream that the command is about.
    pub fn target(&self) -> StreamId {
        match self {
            Command::Member(command) => command.target().stream(),
            Command::Account(command) => command.target().stream(),
            Command::Transaction(command) => command.target().stream(),
            Command::Ledger(_) => StreamId::LEDGER,
            Command::LoanProduct(command) => command.target().stream(),
            Command::Loan(command) => command.target().stream(),
            Command::Saga(command) => command.target().stream(),
        }
    }

    /// What its decision is known to need before anything is loaded; more may turn out on the way.
    pub fn needs(&self) -> Vec<Missing> {
        let mut needs = vec![Missing::Stream(StreamId::LEDGER), Missing::Stream(self.target())];
        match self {
            Command::Member(command) => command.needs(&mut needs),
            Command::Account(command) => command.needs(&mut needs),
            Command::Transaction(command) => command.needs(&mut needs),
            Command::Ledger(_) => {}
            Command::LoanProduct(command) => command.needs(&mut needs),
            Command::Loan(command) => command.needs(&mut needs),
            Command::Saga(command) => command.needs(&mut needs),
        }
        needs
    }
}

/// Decides a command on the states at the head: a plan of events, a rejection, or what is missing.
/// Pure: the same command, book and context give the same plan.
pub fn decide(command: &Command, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    match command {
        Command::Member(command) => member::decide(command, book, context),
        Command::Account(command) => account::decide(command, book, context),
        Command::Transaction(command) => transaction::decide(command, book, context),
        Command::Ledger(command) => ledger::decide(command, book),
        Command::LoanProduct(command) => product::decide(command, book),
        Command::Loan(command) => loan::decide(command, book, context),
        Command::Saga(command) => saga::decide(command, book, context),
    }
}
