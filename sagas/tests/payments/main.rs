//! The port to other banks, against the bank simulator.
#![allow(clippy::unwrap_used)] // a test says by its panic what did not hold

mod bank;
mod support;
mod webhooks;
