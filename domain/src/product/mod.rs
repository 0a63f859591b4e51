//! Loan products: the terms that loans are given on, by version, and the accounts that they post to.
//!
//! A revision is a new version and never touches a loan: a loan keeps the terms that it was applied
//! for. The accounts belong to the product for life, and the portfolio and receivable accounts take
//! entries of loans only, so that each equals the sum of its loans.

mod command;
mod decide;
mod event;
mod state;

pub use command::LoanProductCommand;
pub use decide::decide;
pub(crate) use decide::offered;
pub use event::{CollectionPolicy, Component, LoanAccounts, LoanProductEvent, ProductTerms};
pub use state::LoanProduct;
