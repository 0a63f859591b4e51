//! What a client of any of the APIs sees, over a real connection.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use platform::extract::{StrictPath, StrictQuery};
use platform::http::{Options, ReadyCheck, bind, health, layers, serve};
use platform::{Permission, Principal, Problem, RequestContext, StrictJson};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
}

/// `/until-stopped` tells when it has begun, and ends once the server is asked to stop.
fn api(begun: Arc<Notify>, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/named", post(async |body: StrictJson<Named>| format!("{} {}", body.value.name, body.raw.len())))
        .route(
            "/who",
            get(async |who: Principal, context: RequestContext| {
                format!("{} {}", who.subject(), context.correlation_id)
            }),
        )
        .route("/panic", get(panics))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
        .route(
            "/until-stopped",
            get(async move || {
                begun.notify_one();
                shutdown.cancelled().await;
                "done"
            }),
        )
        .route("/id/{id}", get(async |StrictPath(id): StrictPath<uuid::Uuid>| id.to_string()))
        .route("/plain/{id}", get(async |Path(id): Path<u32>| id.to_string()))
        .route("/page", get(async |StrictQuery(page): StrictQuery<Page>| format!("{:?}", page.limit)))
        .route("/conflict", get(async || Problem::conflict("taken", "it is taken").with_error("id", "taken", "x")))
        .merge(health(vec![
            ReadyCheck::new("good", async || Ok(())),
            ReadyCheck::new("bad", async || Err("not yet".to_owned())),
        ]))
}

async fn panics() -> &'static str {
    panic!("a handler's own mistake")
}

struct Served {
    url: String,
    begun: Arc<Notify>,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serving() -> Served {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options = Options::everybody_is(Principal::in_process("dev", Permission::ALL));
    let mut options = options.with_timeout(Duration::from_millis(500));
    options.body_bytes_max = 1000;
    let shutdown = CancellationToken::new();
    let begun = Arc::new(Notify::new());
    let router = layers(api(Arc::clone(&begun), shutdown.clone()), options);
    let server = tokio::spawn(serve(listener, router, shutdown.clone()));
    Served { url, begun, shutdown, server }
}

async fn problem(response: reqwest::Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let id = response.headers()["x-correlation-id"].to_str().unwrap().to_owned();
    let length = response.content_length().unwrap();
    let text = response.bytes().await.unwrap();
    assert_eq!(length, text.len() as u64);
    let body: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["correlation_id"], id);
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    (status, body["code"].as_str().unwrap().to_owned(), body)
}

#[tokio::test]
async fn every_error_is_a_problem_of_its_own() {
    let served = serving().await;
    for (path, status, code) in [
        ("/nowhere", 404, "not_found"),
        ("/named", 405, "method_not_allowed"),
        ("/panic", 500, "internal"),
        ("/slow", 503, "timeout"),
        ("/id/7", 400, "invalid_path"),
        ("/plain/x", 400, "malformed"),
        ("/page?limit=x", 400, "invalid_query"),
        ("/page?limt=1", 400, "invalid_query"),
        ("/conflict", 409, "taken"),
    ] {
        let response = reqwest::get(format!("{}{path}", served.url)).await.unwrap();
        if status == 405 {
            assert_eq!(response.headers()["allow"], "POST");
        }
        assert_eq!(response.headers().contains_key("retry-after"), status == 503);
        let (seen_status, seen_code, body) = problem(response).await;
        assert_eq!((seen_status, seen_code.as_str()), (status, code), "{path}: {body}");
        assert_eq!(body["path"], path.split('?').next().unwrap());
    }
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let served = serving().await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(2000));
    for (kind, body, status, code) in [
        ("text/plain", "{\"name\":\"a\"}", 415, "unsupported_media_type"),
        ("application/json", "{\"name\":", 400, "malformed_json"),
        ("application/json", "{\"name\":\"a\",\"b\":1}", 400, "unknown_field"),
        ("application/json", "{}", 400, "missing_field"),
        ("application/json", "{\"name\":1}", 400, "invalid_type"),
        ("application/json", large.as_str(), 413, "payload_too_large"),
    ] {
        let request = reqwest::Client::new().post(format!("{}/named", served.url));
        let request = request.header("content-type", kind).body(body.to_owned());
        let (seen_status, seen_code, _) = problem(request.send().await.unwrap()).await;
        assert_eq!((seen_status, seen_code.as_str()), (status, code), "{body}");
    }
    let request = reqwest::Client::new().post(format!("{}/named", served.url));
    let request = request.header("content-type", "application/json; charset=utf-8");
    let response = request.body(" {\"name\":\"a\"} ").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "a 14");
}

#[tokio::test]
async fn a_request_keeps_its_name() {
    let served = serving().await;
    let request = reqwest::Client::new().get(format!("{}/who", served.url));
    let response = request.header("x-correlation-id", "abc").send().await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"], "abc");
    assert_eq!(response.text().await.unwrap(), "dev abc");
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let served = serving().await;
    let alive = reqwest::get(format!("{}/healthz", served.url)).await.unwrap();
    assert_eq!(alive.status(), 200);
    let ready = reqwest::get(format!("{}/readyz", served.url)).await.unwrap();
    assert_eq!(ready.status(), 503);
    let body: Value = ready.json().await.unwrap();
    assert_eq!(body["checks"]["good"], "ok");
    assert_eq!(body["checks"]["bad"], "not yet");
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_has() {
    let served = serving().await;
    let url = format!("{}/until-stopped", served.url);
    let asked = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    served.begun.notified().await;
    served.shutdown.cancel();
    assert_eq!(asked.await.unwrap(), "done");
    served.server.await.unwrap().unwrap();
    assert!(reqwest::get(format!("{}/healthz", served.url)).await.is_err());
}
