//! What may be asked about the ledger's frame.

use chrono::NaiveDate;

use crate::ledger::LedgerClass;
use crate::money::Currency;
use crate::words::{LedgerCode, PeriodId, Title};

/// A command on the ledger.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum LedgerCommand {
    /// Keep accounts in this currency from now on.
    DefineCurrency { currency: Currency },
    /// Add a code to the chart of accounts.
    DefineLedgerCode { ledger_code: LedgerCode, name: Title, class: LedgerClass, control: bool },
    /// Open a period, from its first to its last day.
    OpenPeriod { period: PeriodId, from: NaiveDate, to: NaiveDate },
    /// Close a period: it takes nothing more.
    ClosePeriod { period: PeriodId },
}

impl LedgerCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            LedgerCommand::DefineCurrency { .. } => "DefineCurrency",
            LedgerCommand::DefineLedgerCode { .. } => "DefineLedgerCode",
            LedgerCommand::OpenPeriod { .. } => "OpenPeriod",
            LedgerCommand::ClosePeriod { .. } => "ClosePeriod",
        }
    }
}
