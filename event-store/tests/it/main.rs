//! The event store on a real PostgreSQL.
#![allow(clippy::unwrap_used)] // a test says by its panic what did not hold

mod append_only;
mod bank;
mod bulk;
mod conformance;
mod faults;
mod model;
mod outcomes;
mod overload;
mod sealing;
mod snapshots;
mod tampering;
mod two_writers;
