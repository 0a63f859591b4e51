//! Sagas on a real PostgreSQL and against the real bank simulator over sockets.
//!
//! No test waits for a saga's own timers: what waits is resumed, as a person would.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says by its panic what did not hold

mod collections;
mod desk;
mod disbursements;
mod failures;
mod feeding;
mod house;
mod incoming_payments;
mod simulator;
mod twice;
