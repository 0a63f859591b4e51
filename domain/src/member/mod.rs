//! Members: persons, groups and businesses that the institution serves.

mod command;
mod decide;
mod event;
mod state;

pub use command::MemberCommand;
pub(crate) use decide::active;
pub use decide::decide;
pub use event::{MemberEvent, MemberKind};
pub use state::{Kyc, Member, MemberStatus};
