//! Whether a process is alive, and whether it can do its work.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use futures::future::{BoxFuture, FutureExt, join_all};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long one check may take; a readiness probe wants its answer soon.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// One thing that must work for the process to do its work, such as its database.
#[derive(Clone)]
pub struct ReadyCheck {
    name: &'static str,
    check: Arc<Check>,
}

impl ReadyCheck {
    /// A check by name; its error is shown to whoever probes, so it holds nothing secret.
    pub fn new<F, R>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, check: Arc::new(move || check().boxed()) }
    }

    /// The check that a database answers.
    pub fn postgres(name: &'static str, pool: sqlx::PgPool) -> Self {
        Self::new(name, move || {
            let pool = pool.clone();
            async move {
                crate::postgres::ping(&pool).await.map_err(|error| {
                    tracing::warn!(database = name, %error, "not ready");
                    "the database does not answer".to_owned()
                })
            }
        })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self) -> (&'static str, String) {
        let outcome = match tokio::time::timeout(CHECK_TIMEOUT, (self.check)()).await {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer in time".to_owned(),
        };
        (self.name, outcome)
    }
}

impl fmt::Debug for ReadyCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ReadyCheck").field(&self.name).finish()
    }
}

/// The body of `/readyz`.
#[derive(Serialize)]
pub(super) struct Readiness {
    status: &'static str,
    checks: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) told: BTreeMap<&'static str, String>,
}

/// `GET /healthz`, which answers 200 while the process lives, and `GET /readyz`, which runs all
/// checks at once and answers 200 if every one passes, else 503; the body names each.
pub fn health(checks: Vec<ReadyCheck>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(serde_json::json!({"status": "ok"}))))
        .route("/readyz", get(ready))
        .with_state(Arc::<[ReadyCheck]>::from(checks))
}

async fn ready(State(checks): State<Arc<[ReadyCheck]>>) -> (StatusCode, Json<Readiness>) {
    answers(&checks).await
}

/// Runs all checks at once.
pub(super) async fn answers(checks: &[ReadyCheck]) -> (StatusCode, Json<Readiness>) {
    let checks: BTreeMap<_, _> = join_all(checks.iter().map(ReadyCheck::run)).await.into_iter().collect();
    let (code, status) = if checks.values().all(|outcome| outcome == "ok") {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    (code, Json(Readiness { status, checks, told: BTreeMap::new() }))
}
