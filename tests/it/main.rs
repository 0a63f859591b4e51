//! The whole way on real parts: processes of the one binary, PostgreSQL, Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says by its panic what did not hold

mod arrows;
mod bank;
mod batch_fault;
mod client;
mod collector;
mod entry;
mod fault;
mod lenders;
mod processes;
mod requests;
mod saga_fault;
mod telemetry;
mod whole_way;
