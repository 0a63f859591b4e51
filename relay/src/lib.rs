//! Postgres → Kafka in position order. The events table is the outbox.
//!
//! Invariants:
//! - At least once, in order per stream, never a gap: a position counts as published only when it
//!   and everything before it are acknowledged.
//! - An event's ordinal is counted from the log, so whoever publishes it, a leader or one that only
//!   believes to lead, stamps the same; a repetition harms nothing.
//! - Before it publishes, a leader looks at the end of the topic: what is missing there is published
//!   again from the first position; a topic with another history is left alone.
//! - One relay leads at a time (an advisory lock of its session); the others stand by. What it
//!   stores is fenced by an epoch.
//! - Neither Kafka nor Postgres being away ends it; only a configuration that cannot be right does.

mod error;
mod leadership;
mod publisher;
mod run;
mod telemetry;
mod topic;

pub use error::RelayError;
pub use run::{Options, RelayStatus, run, run_with};
