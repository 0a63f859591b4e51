//! The rules of the ledger's frame.

use chrono::NaiveDate;

use crate::book::{Book, Plan, Stop};
use crate::ids::StreamId;
use crate::ledger::{Ledger, LedgerCommand, LedgerEvent};
use crate::rejection::Rejection;

/// Decides a command on the ledger.
pub fn decide(command: &LedgerCommand, book: &impl Book) -> Result<Plan, Stop> {
    let ledger = book.ledger()?;
    let event = match command {
        LedgerCommand::DefineCurrency { currency } => {
            if ledger.currencies.contains(currency) {
                return Err(Rejection::CurrencyExists { currency: *currency }.into());
            }
            LedgerEvent::CurrencyDefined { currency: *currency, minor_units: currency.minor_units() }
        }
        LedgerCommand::DefineLedgerCode { ledger_code, name, class, control } => {
            if ledger.codes.contains_key(ledger_code) {
                return Err(Rejection::LedgerCodeExists { ledger_code: ledger_code.clone() }.into());
            }
            LedgerEvent::LedgerCodeDefined {
                ledger_code: ledger_code.clone(),
                name: name.clone(),
                class: *class,
                normal_side: class.normal_side(),
                control: *control,
            }
        }
        LedgerCommand::OpenPeriod { period, from, to } => {
            if ledger.periods.contains_key(period) {
                return Err(Rejection::PeriodExists { period: period.clone() }.into());
            }
            if to < from {
                return Err(Rejection::PeriodEndsBeforeStart.into());
            }
            let overlapping = ledger.periods.iter().find(|(_, other)| *from <= other.to && other.from <= *to);
            if let Some((other, _)) = overlapping {
                return Err(Rejection::PeriodOverlaps { period: other.clone() }.into());
            }
            LedgerEvent::PeriodOpened { period: period.clone(), from: *from, to: *to }
        }
        LedgerCommand::ClosePeriod { period } => match ledger.periods.get(period) {
            None => return Err(Rejection::PeriodNotFound { period: period.clone() }.into()),
            Some(state) if state.closed => return Err(Rejection::PeriodClosed { period: period.clone() }.into()),
            Some(_) => LedgerEvent::PeriodClosed { period: period.clone() },
        },
    };
    let plan = Plan::one(StreamId::LEDGER, event);
    // A currency, a code and a period are brought into being; a close changes one that is there.
    Ok(match command {
        LedgerCommand::DefineCurrency { .. }
        | LedgerCommand::DefineLedgerCode { .. }
        | LedgerCommand::OpenPeriod { .. } => plan.creating(),
        LedgerCommand::ClosePeriod { .. } => plan,
    })
}

/// Refuses a booking date in the future, in no period, or in a closed one.
pub(crate) fn open_period(ledger: &Ledger, booking_date: NaiveDate, business_date: NaiveDate) -> Result<(), Rejection> {
    if booking_date > business_date {
        return Err(Rejection::BookingDateInFuture { booking_date, business_date });
    }
    match ledger.periods.iter().find(|(_, period)| period.from <= booking_date && booking_date <= period.to) {
        None => Err(Rejection::NoPeriod { booking_date }),
        Some((id, period)) if period.closed => Err(Rejection::PeriodClosed { period: id.clone() }),
        Some(_) => Ok(()),
    }
}
