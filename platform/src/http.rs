//! What every HTTP API of the binary is wrapped in, and how it is served.
//!
//! Invariants: every request has a correlation id, in its reply and in every log line about it;
//! every error is a problem document; a handler that panics or takes too long answers like any
//! other; a server that is asked to stop finishes the requests it has, for a bounded time.

mod context;
mod health;
mod measure;
mod ops;
mod serve;

pub use context::{CORRELATION_ID, IDEMPOTENCY_REPLAYED, Options, Principal, RequestContext, layers};
pub use health::{ReadyCheck, health};
pub use ops::Ops;
pub use serve::{DRAIN_TIMEOUT, bind, serve};
