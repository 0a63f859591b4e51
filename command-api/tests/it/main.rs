//! The API from outside, on the real router with its real middleware. Where the log is not needed,
//! the doors in these tests either prove that nothing went through them, or show what did; `real_log`
//! goes the whole way to a real one.

#![allow(clippy::unwrap_used)] // a test's helpers may, as its functions may

mod bad_requests;
mod batch_requests;
mod batches;
mod description;
mod lending;
mod lending_requests;
mod real_log;
mod submissions;
mod visibility;
mod webhook;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use command_api::{AppState, Door};
use platform::http::{Options, layers};
use platform::{Permission, Principal};
use serde_json::Value;
use tower::ServiceExt;

/// A reply, read whole.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

/// The served API on that door.
fn api(door: impl Door) -> Router {
    api_for(door, &Principal::in_process("tester", Permission::ALL))
}

/// The same, where everybody is this one.
fn api_for(door: impl Door, principal: &Principal) -> Router {
    layers(command_api::router(AppState::new(door), None), Options::everybody_is(principal.clone()))
}

/// A good request, to be spoilt.
fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::new(body.into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request.headers_mut().insert("idempotency-key", "k-1".parse().unwrap());
    request
}

async fn ask(api: &Router, request: Request<Body>) -> Answered {
    let response = api.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 22).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answered { status: parts.status, headers: parts.headers, body }
}
