//! The fold of the ledger's events.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::ledger::{LedgerClass, LedgerEvent};
use crate::money::{Currency, Side};
use crate::words::{LedgerCode, PeriodId};

/// A code of the chart of accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerCodeState {
    /// Its class.
    pub class: LedgerClass,
    /// The side on which its accounts grow.
    pub normal_side: Side,
    /// Whether members' accounts hang on it, and only those.
    pub control: bool,
}

/// An accounting period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Period {
    /// First day.
    pub from: NaiveDate,
    /// Last day.
    pub to: NaiveDate,
    /// Whether it takes nothing more.
    pub closed: bool,
}

/// Currencies, ledger codes, periods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// The currencies that accounts may be kept in.
    pub currencies: Vec<Currency>,
    /// The chart of accounts.
    pub codes: BTreeMap<LedgerCode, LedgerCodeState>,
    /// The periods; they do not overlap.
    pub periods: BTreeMap<PeriodId, Period>,
}

impl Ledger {
    /// Applies an event.
    pub fn fold(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::CurrencyDefined { currency, .. } => self.currencies.push(*currency),
            LedgerEvent::LedgerCodeDefined { ledger_code, class, normal_side, control, .. } => {
                let state = LedgerCodeState { class: *class, normal_side: *normal_side, control: *control };
                self.codes.insert(ledger_code.clone(), state);
            }
            LedgerEvent::PeriodOpened { period, from, to } => {
                self.periods.insert(period.clone(), Period { from: *from, to: *to, closed: false });
            }
            LedgerEvent::PeriodClosed { period } => {
                if let Some(state) = self.periods.get_mut(period) {
                    state.closed = true;
                }
            }
        }
    }
}
