//! The only write door to the log, and the ways to read it.
//!
//! `store` takes commands, `writer` decides batches of them at the head (`ahead`, `deciding`, `batch`, on the
//! states in `streams`, loaded by `load`) and commits them (`in_flight`, `append`). `reader` is the read half. Nothing but
//! `append` writes events. Commands that are sent together are `bulk`'s.

mod ahead;
mod append;
mod batch;
mod bulk;
mod deciding;
pub mod error;
pub mod hash;
mod in_flight;
pub mod json;
mod load;
mod pace;
pub mod reader;
pub mod sealing;
mod snapshots;
mod store;
mod streams;
pub mod submission;
pub mod telemetry;
pub mod verify;
mod writer;

pub use bulk::{Answer, part_key};
pub use error::{ReadError, StoreError, SubmitError};
pub use reader::{Head, LogReader, NOTIFY_CHANNEL};
pub use sealing::{MemberKeys, Sealing, SealingError};
pub use store::{Store, StoreConfig};
pub use submission::{Accepted, Balance, Outcome, Rejected, Reply, Submission};
