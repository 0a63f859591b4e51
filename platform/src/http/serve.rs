//! Serving until asked to stop.

use axum::Router;
use axum::serve::ListenerExt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests that are at work when the server is asked to stop may take to finish.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Opens an address for serving; the error names it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Serves the router (wrapped by `layers`) until the token is cancelled; then takes no more
/// connections, finishes the requests it has, for `DRAIN_TIMEOUT` at most, and returns. Replies
/// are sent without waiting for more to send (`TCP_NODELAY`).
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with Nagle's algorithm");
        }
    });
    let drained = shutdown.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).into_future();
    tokio::select! {
        served = server => served,
        () = too_late(drained) => {
            tracing::warn!(
                timeout_s = DRAIN_TIMEOUT.as_secs(),
                "some requests did not finish in time and are dropped"
            );
            Ok(())
        }
    }
}

async fn too_late(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}
