//! The middleware: one function that every request passes, in the order it reads.

use super::arrival::Arrival;
use super::entry::Entry;
use super::holding::Holding;
use super::limits::{self, Limits, Rates, Standing};
use super::security;
use super::shedding::{Overloaded, Shedding};
use crate::auth::{Principal, Verifier};
use crate::config::HttpSettings;
use crate::http::measure::{self, Measured};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::telemetry::trace;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use chrono::{SecondsFormat, Utc};
use futures::FutureExt;
use ipnet::IpNet;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::layer::layer_fn;
use tower::{Service, service_fn};
use tracing::{Instrument, Span};
use uuid::Uuid;

/// The header that names a request, taken from the client or made here.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The header that says that a reply is that of an earlier, equal command.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CORRELATION_ID_LENGTH_MAX: usize = 128;
/// How many headers a reply gets here, and from the server behind.
const HEADERS_ADDED: usize = 10;
/// Of a reply that a library made, at most this much becomes the detail of a problem.
const FOREIGN_DETAIL_BYTES_MAX: usize = 4096;

/// How an API treats its requests.
#[derive(Debug, Clone)]
pub struct Options {
    entry: Entry,
    rates: Rates,
    trusted_proxies: Vec<IpNet>,
    cors_origins: Vec<String>,
    tls: bool,
    header_bytes_max: usize,
    headers_max: usize,
    /// Largest body in bytes.
    pub body_bytes_max: usize,
    /// How long a handler may take until its reply begins.
    pub timeout: Duration,
    /// How many requests may be at work at once; more are refused with 503 `overloaded`.
    pub concurrency_max: usize,
    overloaded: Option<Overloaded>,
}

impl Default for Options {
    /// Nobody gets in where a permission is needed; no rate limits, 1 MiB, 30 seconds, 10,000 at once.
    fn default() -> Self {
        Self {
            entry: Entry::Nobody,
            rates: Rates::default(),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            tls: false,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            body_bytes_max: 1024 * 1024,
            timeout: Duration::from_secs(30),
            concurrency_max: 10_000,
            overloaded: None,
        }
    }
}

impl Options {
    /// How a role serves: callers by their tokens, limits as the settings say.
    pub fn serving(settings: &HttpSettings, verifier: Verifier) -> Self {
        Self {
            entry: Entry::Token(verifier),
            rates: Rates {
                subject: settings.rate_per_subject,
                address: settings.rate_per_address,
                at_once_subject: settings.concurrency_per_subject,
                at_once_address: settings.concurrency_per_address,
            },
            trusted_proxies: settings.trusted_proxies.clone(),
            cors_origins: settings.cors_origins.clone(),
            tls: settings.tls.is_some(),
            header_bytes_max: settings.header_bytes_max,
            headers_max: settings.headers_max,
            body_bytes_max: settings.body_bytes_max,
            concurrency_max: settings.requests_max,
            ..Self::default()
        }
    }

    /// Everybody counts as this principal. For tests that call a router in their own process; a role
    /// that serves uses `serving`, which a test of the whole repository checks.
    pub fn everybody_is(principal: Principal) -> Self {
        Self { entry: Entry::Everybody(principal), ..Self::default() }
    }

    /// The same, refusing with 503 `overloaded` whatever comes while the check says so, which is told how many
    /// requests are at work, that one included. It is asked for each request before anything else, so it must cost
    /// nothing.
    #[must_use]
    pub fn refusing_when(self, is_overloaded: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        Self { overloaded: Some(Overloaded::when(is_overloaded)), ..self }
    }

    /// The same with another patience with handlers.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
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
            .unwrap_or_else(|| Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned());
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

struct Wrapping {
    entry: Entry,
    limits: Limits,
    trusted_proxies: Vec<IpNet>,
    tls: bool,
    header_bytes_max: usize,
    headers_max: usize,
    body_bytes_max: usize,
    timeout: Duration,
    shedding: Shedding,
    holding: Holding,
}

/// Wraps a whole API: unknown paths (404) and methods (405), the limits of headers (431) and bodies
/// (413), the correlation id and trace context, who asks and how often (429), the limit of requests
/// at once and of their time (503), panics (500), the form of every error, what browsers are told,
/// and one log line a request. To be called last, once, on the router that is served.
pub fn layers(router: Router, options: Options) -> Router {
    let cors = security::cors(&options.cors_origins);
    let wrapping = Arc::new(Wrapping {
        entry: options.entry,
        limits: Limits::new(options.rates),
        trusted_proxies: options.trusted_proxies,
        tls: options.tls,
        header_bytes_max: options.header_bytes_max,
        headers_max: options.headers_max,
        body_bytes_max: options.body_bytes_max,
        timeout: options.timeout,
        shedding: Shedding::new(options.concurrency_max, options.overloaded),
        holding: Holding::new(),
    });
    // One layer, of a function: each more costs every request boxes and copies of its own.
    let wrapped = layer_fn(move |route: Route| {
        let wrapping = Arc::clone(&wrapping);
        service_fn(move |request: Request| wrap(Arc::clone(&wrapping), request, route.clone()))
    });
    let router = router.fallback(unknown_path).method_not_allowed_fallback(unknown_method).layer(wrapped);
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

async fn unknown_path() -> Problem {
    Problem::not_found("nothing is served under this path")
}

async fn unknown_method() -> Problem {
    Problem::method_not_allowed()
}

async fn wrap(wrapping: Arc<Wrapping>, mut request: Request, route: Route) -> Result<Response, Infallible> {
    let began = Instant::now();
    // Until the reply: what is refused has no more done for it than this.
    let _at_work = match wrapping.shedding.admit(request.uri().path(), wrapping.holding.is_crowded()) {
        Ok(permit) => permit,
        Err(problem) => {
            let refused = Refused::of(request, problem, began);
            drop(route);
            return Ok(refused.answer(&wrapping).await);
        }
    };
    let method = request.method().clone();
    let mut context = RequestContext::of(request.headers(), request.uri());
    let measured = Measured::begin(&request, &mut context);
    let span = tracing::info_span!(
        "platform.http.request",
        correlation_id = %context.correlation_id,
        subject = tracing::field::Empty,
        trace_id = context.traceparent.as_deref().and_then(trace::trace_id),
    );
    let entering = span.clone();
    request.extensions_mut().insert(context.clone());
    DefaultBodyLimit::max(wrapping.body_bytes_max).apply(&mut request);
    let traced = measured.span().clone();
    let answer = async {
        let mut standing = Standing::Unlimited;
        let response = answer(&wrapping, request, route, &entering, &mut standing).await;
        let mut response = fill(response, &context).await;
        response.headers_mut().reserve(HEADERS_ADDED);
        standing.tell(&mut response);
        name(&mut response, &context, wrapping.tls);
        log_line(&method, &context, response.status(), began.elapsed());
        measured.end(response.status(), began.elapsed());
        response
    };
    Ok(answer.instrument(span).instrument(traced).await)
}

/// What every reply says: the request's name, and what browsers need to know.
fn name(response: &mut Response, context: &RequestContext, tls: bool) {
    // Visible ASCII is always a header's value.
    if let Ok(id) = HeaderValue::from_str(&context.correlation_id) {
        response.headers_mut().insert(CORRELATION_ID, id);
    }
    security::tell(response, &context.path, tls);
}

/// What is kept of a request that is not let in, until it is told so.
struct Refused {
    context: RequestContext,
    method: Method,
    route: Option<MatchedPath>,
    arrival: Option<Arc<Arrival>>,
    problem: Problem,
    began: Instant,
}

impl Refused {
    fn of(mut request: Request, problem: Problem, began: Instant) -> Self {
        Self {
            context: RequestContext::of(request.headers(), request.uri()),
            method: request.method().clone(),
            route: request.extensions_mut().remove(),
            arrival: request.extensions_mut().remove(),
            problem,
            began,
        }
    }

    /// The reply, late where many are refused.
    async fn answer(self, wrapping: &Wrapping) -> Response {
        wrapping.holding.hold(self.arrival.as_ref().map(|arrival| &arrival.stopping)).await;
        let mut response = of_request(self.problem, &self.context).render();
        name(&mut response, &self.context, wrapping.tls);
        measure::refused_at_the_door(&self.method, self.route.as_ref(), response.status(), self.began.elapsed());
        response
    }
}

/// The handler's reply, or what stands for it: too slow, or a panic.
async fn answer(wrapping: &Wrapping, request: Request, route: Route, span: &Span, standing: &mut Standing) -> Response {
    // The state of a handler that panicked is dropped with it, so nothing half done is seen.
    let handler = AssertUnwindSafe(enter(wrapping, request, route, span, standing)).catch_unwind();
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

/// Lets a request in: its headers fit, and neither its address nor its subject asks too often or has
/// too much at work. Who asks is left with it; whether that is needed and enough is for the route to say.
async fn enter(
    wrapping: &Wrapping,
    mut request: Request,
    mut route: Route,
    span: &Span,
    standing: &mut Standing,
) -> Response {
    if let Err(problem) = limits::check_headers(request.headers(), wrapping.headers_max, wrapping.header_bytes_max) {
        return problem.into_response();
    }
    // Whether the process lives must not depend on how much somebody else asks.
    if measure::is_probe(request.uri().path()) {
        let Ok(response) = route.call(request).await;
        return response;
    }
    let address = limits::client_address(request.extensions(), request.headers(), &wrapping.trusted_proxies);
    *standing = wrapping.limits.count_address(address);
    if let Some(problem) = standing.refusal() {
        measure::rate_limited("address");
        return problem.into_response();
    }
    let Some(_of_address) = wrapping.limits.begin_from_address(address) else {
        return too_many_at_once("address");
    };
    let mut _of_subject = None;
    if let Ok(principal) = wrapping.entry.identify(&mut request).await {
        span.record("subject", principal.subject());
        *standing = standing.nearer(wrapping.limits.count_subject(principal.subject()));
        if let Some(problem) = standing.refusal() {
            measure::rate_limited("subject");
            return problem.into_response();
        }
        _of_subject = wrapping.limits.begin_of_subject(principal.subject());
        if _of_subject.is_none() {
            return too_many_at_once("subject");
        }
    }
    let Ok(response) = route.call(request).await;
    response
}

/// One caller may not have at work what is there for all.
fn too_many_at_once(scope: &'static str) -> Response {
    measure::rate_limited(scope);
    Problem::rate_limited(1).into_response()
}

/// Gives every error the form of a problem, with what is known of the request.
async fn fill(mut response: Response, context: &RequestContext) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if is_foreign_error(&response) => foreign(&mut response).await,
        None => return response,
    };
    let mut filled = of_request(problem, context).render();
    // What else a handler or a layer said (Allow, daybook-position) is kept.
    for (name, value) in response.headers() {
        if !filled.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            filled.headers_mut().append(name, value.clone());
        }
    }
    filled
}

/// The problem with what is known of the request.
fn of_request(problem: Problem, context: &RequestContext) -> Problem {
    Problem {
        correlation_id: context.correlation_id.clone(),
        timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        path: context.path.clone(),
        ..problem
    }
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
    if measure::is_probe(path) {
        tracing::debug!(%method, path, status, duration_us, "request");
    } else {
        tracing::info!(%method, path, status, duration_us, "request");
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{HeaderMap, HeaderValue, Uri};
    use futures::FutureExt;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::*;

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

    /// An API that is always full, asked until it holds a refusal back: few go at once.
    fn held(stopping: &CancellationToken) -> impl Future<Output = Response> + use<> {
        let api = layers(Router::new(), Options { concurrency_max: 0, ..Options::default() });
        for _ in 0..100_000 {
            let mut request = Request::new(Body::empty());
            let peer = ([127, 0, 0, 1], 1).into();
            request.extensions_mut().insert(Arc::new(Arrival { peer, stopping: stopping.clone() }));
            let mut refused = Box::pin(api.clone().oneshot(request));
            match (&mut refused).now_or_never() {
                Some(answer) => assert_eq!(answer.unwrap().status(), 503),
                None => return refused.map(Result::unwrap),
            }
        }
        panic!("all are refused at once");
    }

    #[tokio::test]
    async fn who_asks_again_at_once_is_refused_late_but_is() {
        let began = Instant::now();
        let answer = held(&CancellationToken::new()).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &HeaderValue::from_static("1")));
        assert!(began.elapsed() >= Duration::from_millis(500));
    }

    #[tokio::test]
    async fn refusals_that_are_held_go_when_the_server_stops() {
        let stopping = CancellationToken::new();
        let held = held(&stopping);
        stopping.cancel();
        assert_eq!(held.now_or_never().map(|answer| answer.status().as_u16()), Some(503));
    }
}
