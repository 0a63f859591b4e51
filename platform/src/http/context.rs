//! The middleware: one function that every request passes, in the order it reads.

use crate::problem::{PROBLEM_JSON, Problem};
use crate::telemetry::trace;
use crate::http::measure::{self, Measured};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use chrono::{SecondsFormat, Utc};
use futures::FutureExt;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tracing::Instrument;
use uuid::Uuid;

/// The header that names a request, taken from the client or made here.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The header that says that a reply is that of an earlier, equal command.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CORRELATION_ID_LENGTH_MAX: usize = 128;
/// Of a reply that a library made, at most this much becomes the detail of a problem.
const FOREIGN_DETAIL_BYTES_MAX: usize = 4096;

/// How an API treats its requests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who every request counts as, until entry control comes; `None` lets nobody in where a
    /// handler asks for a principal.
    pub principal: Option<Principal>,
    /// Largest body in bytes.
    pub body_bytes_max: usize,
    /// How long a handler may take until its reply begins.
    pub timeout: Duration,
    /// How many requests may be at work at once; more are refused with 503 `overloaded`.
    pub concurrency_max: usize,
}

impl Default for Options {
    /// Nobody, 1 MiB, 30 seconds, 8,192 at once.
    fn default() -> Self {
        Self { principal: None, body_bytes_max: 1024 * 1024, timeout: Duration::from_secs(30), concurrency_max: 8_192 }
    }
}

impl Options {
    /// The defaults with everyone counting as the development principal of this name.
    pub fn development(name: &str) -> Self {
        Self { principal: Some(Principal::development(name)), ..Self::default() }
    }
}

/// Who asks: the person or service, and the client software that acts for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The person or service that acts.
    pub subject: String,
    /// The client under whose name idempotency keys are kept.
    pub client: String,
}

impl Principal {
    /// The principal that stands in until entry control comes.
    pub fn development(name: &str) -> Self {
        Self { subject: name.to_owned(), client: name.to_owned() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Self>().cloned();
        principal.ok_or_else(|| Problem::unauthorized("it is not known who asks"))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// What is known of a request apart from what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Name of the request in the reply, in log lines and in events: 1 to 128 visible ASCII
    /// characters.
    pub correlation_id: String,
    /// The caller's W3C trace context, if it sent a valid one.
    pub traceparent: Option<String>,
    /// The path that was asked for.
    pub path: String,
}

impl RequestContext {
    fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        let given = headers.get(CORRELATION_ID).map(HeaderValue::as_bytes);
        let correlation_id = given
            .filter(|id| (1..=CORRELATION_ID_LENGTH_MAX).contains(&id.len()))
            .filter(|id| id.iter().all(u8::is_ascii_graphic))
            .and_then(|id| String::from_utf8(id.to_vec()).ok())
            .unwrap_or_else(|| Uuid::now_v7().to_string());
        let traceparent = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .filter(|value| trace::is_traceparent(value))
            .map(str::to_owned);
        Self { correlation_id, traceparent, path: uri.path().to_owned() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Self::of(&parts.headers, &parts.uri)))
    }
}

#[derive(Clone)]
struct Wrapping {
    principal: Option<Principal>,
    timeout: Duration,
    permits: Arc<Semaphore>,
}

/// Wraps a whole API: unknown paths (404) and methods (405), the limit of bodies (413), the
/// correlation id and trace context, the development principal, the limit of requests at once and
/// of their time (503), panics (500), the form of every error, and one log line a request.
/// To be called last, once, on the router that is served.
pub fn layers(router: Router, options: Options) -> Router {
    let wrapping = Wrapping {
        principal: options.principal,
        timeout: options.timeout,
        permits: Arc::new(Semaphore::new(options.concurrency_max.min(Semaphore::MAX_PERMITS))),
    };
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(options.body_bytes_max))
        .layer(from_fn_with_state(wrapping, wrap))
}

async fn unknown_path() -> Problem {
    Problem::not_found("nothing is served under this path")
}

async fn unknown_method() -> Problem {
    Problem::method_not_allowed()
}

async fn wrap(State(wrapping): State<Wrapping>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let mut context = RequestContext::of(request.headers(), request.uri());
    let measured = Measured::begin(&request, &mut context);
    let span = tracing::info_span!(
        "platform.http.request",
        correlation_id = %context.correlation_id,
        subject = tracing::field::Empty,
        trace_id = context.traceparent.as_deref().and_then(trace::trace_id),
    );
    request.extensions_mut().insert(context.clone());
    if let Some(principal) = &wrapping.principal {
        span.record("subject", &principal.subject);
        request.extensions_mut().insert(principal.clone());
    }
    let traced = measured.span().clone();
    let answer = async {
        let response = answer(&wrapping, request, next).await;
        let mut response = fill(response, &context).await;
        // Visible ASCII is always a header's value.
        if let Ok(id) = HeaderValue::from_str(&context.correlation_id) {
            response.headers_mut().insert(CORRELATION_ID, id);
        }
        log_line(&method, &context, response.status(), began.elapsed());
        measured.end(response.status(), began.elapsed());
        response
    };
    answer.instrument(span).instrument(traced).await
}

/// The handler's reply, or what stands for it: too many at once, too slow, or a panic.
async fn answer(wrapping: &Wrapping, request: Request, next: Next) -> Response {
    let Ok(_permit) = wrapping.permits.try_acquire() else {
        measure::shed("overloaded");
        let detail = "too many requests are at work; try again as the header Retry-After says";
        return Problem::unavailable("overloaded", detail).into_response();
    };
    // The state of a handler that panicked is dropped with it, so nothing half done is seen.
    let handler = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(wrapping.timeout, handler).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("without a message");
            tracing::error!(error = message, "a handler panicked");
            measure::shed("panic");
            Problem::internal().into_response()
        }
        Err(_) => {
            measure::shed("timeout");
            let detail = "the request took too long; its outcome is not known here, so repeat it \
                          as it was";
            Problem::unavailable("timeout", detail).into_response()
        }
    }
}

/// Gives every error the form of a problem, with what is known of the request.
async fn fill(mut response: Response, context: &RequestContext) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if is_foreign_error(&response) => foreign(&mut response).await,
        None => return response,
    };
    let problem = Problem {
        correlation_id: context.correlation_id.clone(),
        timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        path: context.path.clone(),
        ..problem
    };
    let mut filled = problem.render();
    // What else a handler or a layer said (Allow, daybook-position) is kept.
    for (name, value) in response.headers() {
        if !filled.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            filled.headers_mut().append(name, value.clone());
        }
    }
    filled
}

/// An error that a library answered, in plain text or with no body.
fn is_foreign_error(response: &Response) -> bool {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return false;
    }
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain") && kind.as_bytes() != PROBLEM_JSON.as_bytes())
}

async fn foreign(response: &mut Response) -> Problem {
    let body = std::mem::replace(response.body_mut(), Body::empty());
    let detail = to_bytes(body, FOREIGN_DETAIL_BYTES_MAX).await;
    let detail = detail.map_or_else(|_| String::new(), |detail| String::from_utf8_lossy(&detail).into_owned());
    Problem::of_status(response.status(), detail)
}

fn log_line(method: &Method, context: &RequestContext, status: StatusCode, took: Duration) {
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let (path, status) = (context.path.as_str(), status.as_u16());
    if path == "/healthz" || path == "/readyz" {
        tracing::debug!(%method, path, status, duration_us, "request");
    } else {
        tracing::info!(%method, path, status, duration_us, "request");
    }
}

#[cfg(test)]
mod tests {
    use super::RequestContext;
    use axum::http::{HeaderMap, HeaderValue, Uri};

    fn context(id: &'static [u8]) -> RequestContext {
        let mut headers = HeaderMap::new();
        headers.insert("x-correlation-id", HeaderValue::from_bytes(id).unwrap());
        RequestContext::of(&headers, &Uri::from_static("/v1/x?y=z"))
    }

    #[test]
    fn a_clients_correlation_id_is_taken_if_it_can_be_printed() {
        assert_eq!(context(b"abc-1").correlation_id, "abc-1");
        assert_eq!(context(b"abc-1").path, "/v1/x");
        for bad in [&b""[..], b"two words", b"\xc3\xa9", &[b'x'; 129]] {
            let minted = context(bad).correlation_id;
            assert_eq!(minted.len(), 36, "{bad:?} became {minted}");
        }
    }
}
