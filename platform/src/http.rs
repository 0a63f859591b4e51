//! What every HTTP API of the binary is wrapped in, and how it is served.
//!
//! Invariants: every request has a correlation id, in its reply and in every log line about it;
//! every error is a problem document; a handler that panics or takes too long answers like any
//! other; a server that is asked to stop finishes the requests it has, for a bounded time; who asks
//! is known before a handler runs, and how much one caller and one connection may ask is bounded.

mod arrival;
mod context;
mod entry;
mod health;
mod holding;
mod limits;
mod measure;
mod ops;
mod routes;
mod security;
mod serve;
mod shedding;
mod transport;

pub use context::{CORRELATION_ID, IDEMPOTENCY_REPLAYED, Options, RequestContext, layers};
pub use health::{ReadyCheck, health};
pub use ops::Ops;
pub use routes::Routes;
pub use serve::{DRAIN_TIMEOUT, bind, serve, serve_with};
pub use transport::{TlsError, Transport};
