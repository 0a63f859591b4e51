//! Serving until asked to stop.
//!
//! Invariants: a client that says nothing, or says it too slowly, loses its connection and nobody
//! else's; connections are bounded; one that misbehaves ends alone.

use super::arrival::Arrival;
use super::transport::Transport;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long requests that are at work when the server is asked to stop may take to finish.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before accepting again when the system has no more to give (file descriptors).
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A request's head in bytes at most, before the middleware measures it.
const HEAD_BYTES_MAX: u32 = 80 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How many connections may wait to be taken; the system's own limit (`somaxconn`) holds besides. With
/// the usual 1,024 a crowd that comes at once finds itself turned away by the system, without an answer.
const BACKLOG: u32 = 16_384;

/// Opens an address for serving; the error names it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As the standard library does: a port that was ours a moment ago is ours again.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Serves the router (wrapped by `layers`) without TLS until the token is cancelled; then takes no
/// more connections, finishes the requests it has, for `DRAIN_TIMEOUT` at most, and returns.
/// Replies are sent without waiting for more to send (`TCP_NODELAY`).
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    serve_with(listener, router, Transport::default(), shutdown).await
}

/// The same under these conditions.
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    transport: Transport,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(transport.connections_max.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let serving = Serving { builder: builder(&transport), router, transport, stopping: shutdown.clone() };
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&connections).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = serving.clone().connection(stream, peer, graceful.watcher());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken now");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(timeout_s = DRAIN_TIMEOUT.as_secs(), "some requests did not finish in time and are dropped");
    }
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn builder(transport: &Transport) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(transport.next_request_timeout)
        // Replies are small: one copy costs less than to gather the parts of each.
        .writev(false)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX);
    builder
}

/// What every connection needs.
#[derive(Clone)]
struct Serving {
    builder: Builder<TokioExecutor>,
    router: Router,
    transport: Transport,
    stopping: CancellationToken,
}

impl Serving {
    /// Serves one connection to its end.
    async fn connection(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with Nagle's algorithm");
        }
        let Some(acceptor) = self.transport.tls.as_ref().map(|tls| tls.acceptor()) else {
            return self.requests(stream, peer, watcher).await;
        };
        let handshake = tokio::time::timeout(self.transport.first_request_timeout, acceptor.accept(stream));
        let handshake = tokio::select! {
            () = self.stopping.cancelled() => return,
            handshake = handshake => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.requests(stream, peer, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn requests<I>(self, stream: I, peer: SocketAddr, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = Arc::new(AtomicBool::new(false));
        let first_heard = Arc::clone(&heard);
        let (router, arrival) = (self.router, Arc::new(Arrival { peer, stopping: self.stopping }));
        let service = service_fn(move |mut request: Request<Incoming>| {
            first_heard.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(Arc::clone(&arrival));
            router.clone().call(request.map(Body::new))
        });
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let mut patience = pin!(tokio::time::sleep(self.transport.first_request_timeout));
        // Of a client that was heard nobody looks at the timer any more.
        let silent =
            poll_fn(
                |context| {
                    if heard.load(Ordering::Relaxed) { Poll::Pending } else { patience.as_mut().poll(context) }
                },
            );
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended badly");
                }
            }
            () = silent => tracing::debug!("a connection said nothing for too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_request_is_told_when_the_server_stops() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let until_then = async |Extension(arrival): Extension<Arc<Arrival>>| {
            arrival.stopping.cancel();
            arrival.stopping.cancelled().await;
        };
        let router = Router::new().route("/", get(until_then));
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));
        assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
        assert!(shutdown.is_cancelled(), "it is the server's own token");
        server.await.unwrap().unwrap();
    }
}
