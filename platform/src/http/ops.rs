//! The operations listener of a role: `/metrics`, `/healthz` and `/readyz`.
//!
//! `/healthz` says whether the process's own loops come round; a database or broker that is away is
//! no reason to fail it, since starting again would not bring it back. `/readyz` says whether the role
//! can do its work now, and what not. Once a shutdown is asked, it fails, so that nothing new is sent.
//!
//! Not for clients: no entry control, so it listens on an address of its own.

use super::health::{Readiness, ReadyCheck, answers};
use crate::config::OpsListen;
use crate::metrics;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often what is sampled, such as the use of pools, is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// The content type of Prometheus's text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Silence = dyn Fn() -> Duration + Send + Sync;
type Sample = dyn Fn() + Send + Sync;
type Tell = dyn Fn() -> String + Send + Sync;

/// A loop whose silence is looked at.
#[derive(Clone)]
struct Loop {
    name: &'static str,
    silence_max: Duration,
    silence: Arc<Silence>,
}

/// What is told beside the checks.
#[derive(Clone)]
struct Note {
    name: &'static str,
    text: Arc<Tell>,
}

/// What the roles of a process have to say to operators. Cheap to clone; roles add to it as they
/// start.
#[derive(Clone, Default)]
pub struct Ops {
    loops: Arc<Mutex<Vec<Loop>>>,
    checks: Arc<Mutex<Vec<ReadyCheck>>>,
    samples: Arc<Mutex<Vec<Arc<Sample>>>>,
    told: Arc<Mutex<Vec<Note>>>,
    stopping: CancellationToken,
}

impl fmt::Debug for Ops {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ops").field("checks", &copy(&self.checks)).finish_non_exhaustive()
    }
}

impl Ops {
    /// For a process that ends when the token is cancelled.
    pub fn new(stopping: CancellationToken) -> Self {
        Self { stopping, ..Self::default() }
    }

    /// A loop that comes round at least every `silence_max` unless it is stuck; `silence` says how
    /// long ago it last did.
    pub fn watch(
        &self,
        name: &'static str,
        silence_max: Duration,
        silence: impl Fn() -> Duration + Send + Sync + 'static,
    ) {
        locked(&self.loops).push(Loop { name, silence_max, silence: Arc::new(silence) });
    }

    /// Something that must work for the role to do its work.
    pub fn ready(&self, check: ReadyCheck) {
        locked(&self.checks).push(check);
    }

    /// Not ready before the role listens on its own address: cancel the token then. `name` is the check's.
    pub fn listening(&self, name: &'static str) -> CancellationToken {
        let listens = CancellationToken::new();
        let told = listens.clone();
        self.ready(ReadyCheck::new(name, move || {
            let outcome = if told.is_cancelled() { Ok(()) } else { Err("it does not listen yet".to_owned()) };
            std::future::ready(outcome)
        }));
        listens
    }

    /// Something that `/readyz` tells beside its checks and that is no reason to fail, such as a lag.
    pub fn tell(&self, name: &'static str, text: impl Fn() -> String + Send + Sync + 'static) {
        locked(&self.told).push(Note { name, text: Arc::new(text) });
    }

    /// Something that records gauges when called: every few seconds, and before each scrape.
    pub fn sample(&self, record: impl Fn() + Send + Sync + 'static) {
        locked(&self.samples).push(Arc::new(record));
    }

    /// Records the use of a pool from now on.
    pub fn pool(&self, name: &'static str, pool: &sqlx::PgPool) {
        let pool = pool.clone();
        self.sample(move || metrics::record_pool(name, &pool));
    }

    fn take_samples(&self) {
        for record in copy(&self.samples) {
            record();
        }
    }

    /// `/metrics`, `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics_text))
            .route("/healthz", get(health))
            .route("/readyz", get(ready))
            .with_state(self.clone())
    }

    /// Serves them until `end`, which comes after the shutdown of the role, so that the last of it
    /// can be watched; `usual` is the role's port. Also samples every few seconds, served or not.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn serve(&self, listen: OpsListen, usual: u16, end: CancellationToken) -> io::Result<()> {
        let address = match listen {
            OpsListen::Usual => Some(SocketAddr::from(([127, 0, 0, 1], usual))),
            OpsListen::At(address) => Some(address),
            OpsListen::Off => None,
        };
        let ops = self.clone();
        let sampled = end.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(SAMPLE_INTERVAL);
            loop {
                tokio::select! {
                    () = sampled.cancelled() => return,
                    _ = every.tick() => {}
                }
                ops.take_samples();
                metrics::upkeep();
            }
        });
        let Some(address) = address else { return Ok(()) };
        let listener = super::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "metrics and probes are served");
        let server = axum::serve(listener, self.router());
        tokio::spawn(async move {
            tokio::select! {
                served = server.into_future() => {
                    if let Err(error) = served {
                        tracing::error!(%error, "metrics and probes are no longer served");
                    }
                }
                () = end.cancelled() => {}
            }
        });
        Ok(())
    }
}

fn locked<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy<T: Clone>(shared: &Mutex<Vec<T>>) -> Vec<T> {
    locked(shared).clone()
}

async fn metrics_text(State(ops): State<Ops>) -> Response {
    ops.take_samples();
    ([(CONTENT_TYPE, METRICS_TEXT)], metrics::render()).into_response()
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    loops: BTreeMap<&'static str, String>,
}

async fn health(State(ops): State<Ops>) -> (StatusCode, Json<Health>) {
    let mut stuck = false;
    let loops = copy(&ops.loops).into_iter().map(|watched| {
        let silence = (watched.silence)();
        if silence <= watched.silence_max {
            return (watched.name, "ok".to_owned());
        }
        stuck = true;
        (watched.name, format!("has not come round for {} s", silence.as_secs()))
    });
    let loops = loops.collect();
    let (code, status) = if stuck { (StatusCode::SERVICE_UNAVAILABLE, "stuck") } else { (StatusCode::OK, "ok") };
    (code, Json(Health { status, loops }))
}

async fn ready(State(ops): State<Ops>) -> (StatusCode, Json<Readiness>) {
    let mut checks = copy(&ops.checks);
    if ops.stopping.is_cancelled() {
        checks = vec![ReadyCheck::new("process", || async { Err("it is shutting down".to_owned()) })];
    }
    let (code, Json(mut readiness)) = answers(&checks).await;
    readiness.told = copy(&ops.told).into_iter().map(|note| (note.name, (note.text)())).collect();
    (code, Json(readiness))
}

#[cfg(test)]
mod tests {
    use super::Ops;
    use crate::config::OpsListen;
    use crate::http::ReadyCheck;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    async fn get(ops: &Ops, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = ops.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_loop_that_is_stuck_fails_health_and_not_readiness() {
        let silence = Arc::new(AtomicU64::new(0));
        let ops = Ops::default();
        let told = silence.clone();
        ops.watch("writer", Duration::from_secs(60), move || Duration::from_secs(told.load(Ordering::Relaxed)));
        assert_eq!(get(&ops, "/healthz").await.0, StatusCode::OK);
        silence.store(61, Ordering::Relaxed);
        let (status, body) = get(&ops, "/healthz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""writer":"has not come round for 61 s""#), "{body}");
        assert_eq!(get(&ops, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_database_that_is_away_fails_readiness_and_not_health() {
        let works = Arc::new(AtomicBool::new(false));
        let stopping = CancellationToken::new();
        let ops = Ops::new(stopping.clone());
        let asked = works.clone();
        ops.ready(ReadyCheck::new("log", move || {
            let works = asked.load(Ordering::Relaxed);
            async move { if works { Ok(()) } else { Err("away".to_owned()) } }
        }));
        let (status, body) = get(&ops, "/readyz").await;
        assert_eq!((status, body.contains(r#""log":"away""#)), (StatusCode::SERVICE_UNAVAILABLE, true), "{body}");
        assert_eq!(get(&ops, "/healthz").await.0, StatusCode::OK);
        works.store(true, Ordering::Relaxed);
        ops.tell("lag", || "9 s".to_owned());
        let (status, body) = get(&ops, "/readyz").await;
        assert_eq!((status, body.contains(r#""told":{"lag":"9 s"}"#)), (StatusCode::OK, true), "{body}");
        stopping.cancel();
        assert_eq!(get(&ops, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_said_at_the_start() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = OpsListen::At(taken.local_addr().unwrap());
        let error = Ops::default().serve(at, 0, CancellationToken::new()).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
        Ops::default().serve(OpsListen::Off, 0, CancellationToken::new()).await.unwrap();
    }
}
