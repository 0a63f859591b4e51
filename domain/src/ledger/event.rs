//! What became true of the ledger's frame.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::{Currency, Side};
use crate::words::{LedgerCode, PeriodId, Title};

/// The class of a ledger code; it gives the normal side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerClass {
    /// What the institution owns or is owed.
    #[default]
    Asset,
    /// What it owes, its members' deposits above all.
    Liability,
    /// What belongs to its owners.
    Equity,
    /// What it has earned.
    Income,
    /// What it has spent.
    Expense,
}

impl LedgerClass {
    /// The side on which an account of this class grows.
    pub const fn normal_side(self) -> Side {
        match self {
            LedgerClass::Asset | LedgerClass::Expense => Side::Debit,
            LedgerClass::Liability | LedgerClass::Equity | LedgerClass::Income => Side::Credit,
        }
    }
}

impl std::fmt::Display for LedgerClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LedgerClass::Asset => "asset",
            LedgerClass::Liability => "liability",
            LedgerClass::Equity => "equity",
            LedgerClass::Income => "income",
            LedgerClass::Expense => "expense",
        })
    }
}

/// An event of the ledger's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LedgerEvent {
    /// Accounts may be kept in this currency.
    CurrencyDefined {
        /// The code of ISO 4217.
        currency: Currency,
        /// How many decimals an amount has.
        minor_units: u8,
    },
    /// A code of the chart of accounts.
    LedgerCodeDefined {
        /// The code.
        ledger_code: LedgerCode,
        /// What people call it.
        name: Title,
        /// Its class.
        class: LedgerClass,
        /// The side on which its accounts grow.
        normal_side: Side,
        /// Whether members' accounts hang on it, and only those.
        control: bool,
    },
    /// A period takes bookings.
    PeriodOpened {
        /// Its id.
        period: PeriodId,
        /// First day.
        from: NaiveDate,
        /// Last day.
        to: NaiveDate,
    },
    /// A period takes nothing more.
    PeriodClosed {
        /// Its id.
        period: PeriodId,
    },
}
