//! The ledger's frame: currencies, the chart of accounts, accounting periods. One stream, `main`.

mod command;
mod decide;
mod event;
mod state;

pub use command::LedgerCommand;
pub use decide::decide;
pub(crate) use decide::open_period;
pub use event::{LedgerClass, LedgerEvent};
pub use state::{Ledger, LedgerCodeState, Period};
