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
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long one check may take; a readiness probe wants its answer soon.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Anybody may ask `/readyz` of an API, and no limit of rates counts it. So the checks run one round
/// at a time and no round sooner than this after the last: many who ask take no connections of pools.
const ROUND_AGAIN_AFTER: Duration = Duration::from_millis(100);

type Check = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// One thing that must work for the process to do its work, such as its database.
#[derive(Clone)]
pub struct ReadyCheck {
    name: &'static str,
    check: Arc<Check>,
    decisive: bool,
}

impl ReadyCheck {
    /// A check by name; its error is shown to whoever probes, so it holds nothing secret.
    pub fn new<F, R>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, check: Arc::new(move || check().boxed()), decisive: true }
    }

    /// The same check, of something without which the process still does most of its work: failing, it
    /// is told as `degraded` and the process stays ready, so that nobody takes it out of service for it.
    #[must_use]
    pub fn told_only(self) -> Self {
        Self { decisive: false, ..self }
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
#[derive(Clone, Serialize)]
pub(super) struct Readiness {
    status: &'static str,
    checks: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) told: BTreeMap<&'static str, String>,
}

/// `GET /healthz`, which answers 200 while the process lives, and `GET /readyz`, which runs all
/// checks at once and answers 200 if every decisive one passes, else 503; the body names each.
pub fn health(checks: Vec<ReadyCheck>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(serde_json::json!({"status": "ok"}))))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Rounds { checks, last: Mutex::new(None) }))
}

/// The checks, and when they were last run to which end.
struct Rounds {
    checks: Vec<ReadyCheck>,
    last: Mutex<Option<(Instant, Answered)>>,
}

type Answered = (StatusCode, Json<Readiness>);

async fn ready(State(rounds): State<Arc<Rounds>>) -> Answered {
    let mut last = rounds.last.lock().await;
    if let Some((at, answered)) = &*last
        && at.elapsed() < ROUND_AGAIN_AFTER
    {
        return answered.clone();
    }
    let answered = answers(&rounds.checks).await;
    *last = Some((Instant::now(), answered.clone()));
    answered
}

/// Runs all checks at once.
pub(super) async fn answers(checks: &[ReadyCheck]) -> Answered {
    let outcomes = join_all(checks.iter().map(ReadyCheck::run)).await;
    let failed = |decisive: bool| {
        outcomes.iter().zip(checks).any(|((_, outcome), check)| check.decisive == decisive && outcome != "ok")
    };
    let (code, status) = match (failed(true), failed(false)) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (false, true) => (StatusCode::OK, "degraded"),
        (false, false) => (StatusCode::OK, "ready"),
    };
    let checks: BTreeMap<_, _> = outcomes.into_iter().collect();
    (code, Json(Readiness { status, checks, told: BTreeMap::new() }))
}

#[cfg(test)]
mod tests {
    use super::{ReadyCheck, health};
    use axum::body::Body;
    use axum::http::Request;
    use futures::future::join_all;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};
    use tower::ServiceExt;

    #[tokio::test]
    async fn many_who_ask_at_once_are_told_of_one_round_of_checks() {
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rounds);
        let check = ReadyCheck::new("log", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        });
        let router = health(vec![check]);
        let ask = async || {
            let request = Request::get("/readyz").body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap().status()
        };
        let answers = join_all((0..500).map(|_| ask())).await;
        assert!(answers.iter().all(|status| *status == 200));
        let first = rounds.load(Ordering::Relaxed);
        assert!(first < 50, "{first} rounds for 500 who asked at once");
        let deadline = Instant::now() + Duration::from_secs(10);
        while rounds.load(Ordering::Relaxed) == first {
            assert!(Instant::now() < deadline, "later they are run anew");
            ask().await;
        }
    }
}
