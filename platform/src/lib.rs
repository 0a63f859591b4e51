//! What every role of the binary stands on, free of business: configuration, telemetry, clients of
//! PostgreSQL and Kafka, HTTP middleware, problem replies, provisioning and shutdown.
//!
//! Invariants: nothing of ours is used here, so any crate may use this one; a secret never prints;
//! every error a client sees is one RFC 9457 problem document.

pub mod auth;
pub mod backoff;
pub mod config;
pub mod env_file;
pub mod extract;
pub mod http;
pub mod json;
pub mod kafka;
pub mod metrics;
pub mod postgres;
pub mod problem;
pub mod provision;
pub mod pulse;
pub mod secret;
pub mod shutdown;
pub mod signature;
pub mod telemetry;

pub use auth::{Permission, Principal, Role};
pub use config::{Config, ConfigError, LogFormat};
pub use http::RequestContext;
pub use json::StrictJson;
pub use problem::{FieldError, Problem};
pub use secret::Secret;
