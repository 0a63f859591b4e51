//! Relay and projector on a real PostgreSQL and a real Kafka: nothing lost, nothing doubled, nothing
//! out of order, wherever they are stopped.
//!
//! Each test has databases and a topic of its own. `TEST_DATABASE_URL` is the administrator of a
//! cluster, `KAFKA_BROKERS` a broker; without them the tests fail and say so.

// A failure here is a failed test.
#![allow(clippy::unwrap_used)]

mod bank;
mod faults;
mod loan_bank;
mod loans;
mod place;
mod relays;
mod stalls;
mod whole_way;
