//! Loans: applied for, approved, paid out, paid back; their schedule and what is left of it.
//!
//! A loan moves money together with its transaction, in one plan: what a loan says was paid is what
//! the portfolio and receivable accounts say. It keeps the terms of its product's version, so that
//! its stream replays by itself.

mod allocation;
mod command;
mod decide;
mod disbursement;
mod event;
mod legs;
mod repayment;
mod state;

pub use command::{LoanCommand, Surplus};
pub use decide::decide;
pub use event::{Allocation, Amounts, InstalmentInterest, LoanEvent, LoanTerms, ScheduledInstalment};
pub use state::{Instalment, Loan, LoanStatus, Repayment};
