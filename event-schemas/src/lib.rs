//! The events as bytes: the recorded form, the CloudEvents envelope, schemas, upcasters, golden samples.

pub mod cloud_events;
pub mod recorded;
pub mod upcast;

pub use cloud_events::{EnvelopeError, KafkaRecord};
pub use recorded::Recorded;
pub use upcast::DecodeError;
