//! How a request came in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::Extensions;
use tokio_util::sync::CancellationToken;

/// What the requests of one connection have in common; as an `Arc`, an extension of each that came over a connection.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    /// Cancelled when the server is asked to stop.
    pub(super) stopping: CancellationToken,
}

impl Arrival {
    /// Of that request, if it is served over a connection.
    pub(super) fn of(extensions: &Extensions) -> Option<&Arc<Self>> {
        extensions.get()
    }
}
