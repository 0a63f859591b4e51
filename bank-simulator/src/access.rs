//! Who may ask, where the bank has a secret with its client: the secret itself as a bearer token, or
//! a signature over the request. Only `/healthz` is open.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use platform::{Problem, Secret, signature};

use crate::Shared;

/// The largest body that is taken, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Lets a request in or refuses it.
pub(crate) async fn control(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Problem::payload_too_large().into_response();
    };
    if let Some(secret) = &shared.secret
        && head.uri.path() != "/healthz"
    {
        let path_and_query = head.uri.path_and_query().map_or("/", |path| path.as_str());
        if let Err(problem) = known(secret, &head.headers, &head.method, path_and_query, &body) {
            return problem.into_response();
        }
    }
    next.run(Request::from_parts(head, Body::from(body))).await
}

fn known(secret: &Secret, headers: &HeaderMap, method: &Method, path: &str, body: &[u8]) -> Result<(), Problem> {
    if let Some(given) = headers.get(AUTHORIZATION) {
        let token = given.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
        if signature::is_secret(secret, token) {
            return Ok(());
        }
        return Err(unauthorized("this is not the secret of this bank's client"));
    }
    let header = headers.get(signature::SIGNATURE).and_then(|value| value.to_str().ok());
    let header = header.ok_or_else(|| unauthorized("a bearer token or a signature is needed"))?;
    let message = signature::request_message(method, path, body);
    signature::verify(std::slice::from_ref(secret), header, &message, now_s())
        .map(|_| ())
        .map_err(|error| unauthorized(error.to_string()))
}

fn unauthorized(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

/// Seconds since the epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
