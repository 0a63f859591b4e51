//! Accounts: members' (guarded: they have a limit, holds and a state to protect) and internal ones.
//!
//! A guarded account's stream has an entry for each leg on it. An internal account's stream holds
//! only its life; its balance derives from the legs of transactions.

mod command;
mod decide;
mod event;
mod state;

pub use command::AccountCommand;
pub use decide::decide;
pub(crate) use decide::{existing, open, open_internal};
pub use event::{AccountEvent, Dedication, FreezeScope, HoldEnd, Holder, HolderRole, Product};
pub use state::{Account, AccountStatus, Hold};
