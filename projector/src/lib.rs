//! Kafka → read models.
//!
//! Invariants:
//! - Exactly once: rows and offsets are written in one transaction, and the offset moves on only from
//!   the one its owner believes in, under the owner's epoch. Whoever is no longer the owner writes
//!   nothing.
//! - Nothing is missed unseen: ordinals of a partition are contiguous; a gap, an unknown type or an
//!   unknown version stops the partition and says so.
//! - What cannot be applied parks its stream, in order and visibly; the rest goes on.
//! - A row is written by one partition only, so that projectors never wait for each other.
//! - Rows follow from the events alone: no clock, no batch boundary and no number of projectors shows
//!   in them, so that a rebuild gives the same rows again.

mod batch;
mod claim;
mod consumer;
pub mod digest;
mod error;
mod flight;
mod flush;
mod parking;
mod progress;
mod read_models;
pub mod rebuild;
mod run;
pub mod status;
mod telemetry;
mod watchdog;

pub use error::ProjectorError;
pub use progress::APPLIED_CHANNEL;
pub use run::{Options, ProjectorStatus, run, run_with};

/// The projection that all read models belong to.
pub const CORE: &str = "core";
