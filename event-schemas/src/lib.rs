//! The events as bytes: the recorded form, the CloudEvents envelope, schemas, upcasters, golden samples.
//!
//! What is written once is read for ever. So a published version of an event is frozen, a change
//! is a new version with an upcaster, and an unknown type or version is an error, never skipped.

pub mod cloud_events;
pub mod committed;
pub mod compatibility;
pub mod metadata;
pub mod recorded;
pub mod schema;
pub mod upcast;

pub use cloud_events::{EnvelopeError, KafkaRecord};
pub use metadata::Metadata;
pub use recorded::Recorded;
pub use schema::generate;
pub use upcast::DecodeError;
