//! The only write door to the log, and the ways to read it.

pub mod error;
pub mod hash;
pub mod reader;

pub use error::{ReadError, StoreError, SubmitError};
pub use reader::{Head, LogReader, NOTIFY_CHANNEL};
