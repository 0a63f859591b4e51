//! The events as bytes: the recorded form, the CloudEvents envelope, schemas, upcasters, golden samples.

pub mod recorded;
pub mod upcast;

pub use recorded::Recorded;
pub use upcast::DecodeError;
