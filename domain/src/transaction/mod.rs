//! Transactions: the fact of double entry. All legs are in one event and balance in it, per
//! currency; a guarded account gets an entry (or a hold) in its own stream, in the same plan.

mod command;
mod decide;
mod event;
pub(crate) mod made;
mod pending;
mod posting;
mod reverse;
mod state;
mod together;

pub use command::{LegAmount, LegInput, Legs, NewTransaction, Pending, TransactionCommand};
pub use decide::decide;
pub use event::{Leg, LegReversal, Reverses, TransactionEvent, TransactionKind};
pub use state::{Transaction, TransactionLeg, TransactionStatus};

/// The most legs of one transaction, and of all transactions of one command.
pub const LEGS_MAX: usize = 1_000;
