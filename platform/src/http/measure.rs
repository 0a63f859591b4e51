//! What is counted and traced of a request, by its route's template and never by its path.

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use std::time::Duration;
use tracing::Span;

use super::context::RequestContext;
use crate::metrics::{AUTH_REFUSALS, HTTP_DURATION, HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SHED, RATE_LIMITED};
use crate::telemetry::trace;

/// The route of what no route matches.
const UNMATCHED: &str = "unmatched";

/// A request at work. Dropped without an end, it was given up by its client.
pub(super) struct Measured {
    method: &'static str,
    route: Option<MatchedPath>,
    span: Span,
}

impl Measured {
    /// Begins; where traces are on, the request's span continues its caller's trace, and what the
    /// request causes continues the request's.
    pub(super) fn begin(request: &Request, context: &mut RequestContext) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = method(request.method());
        ::metrics::gauge!(HTTP_IN_FLIGHT).increment(1.0);
        let mut span = Span::none();
        if trace::is_on() && !is_probe(&context.path) {
            span = tracing::debug_span!(target: trace::TARGET, "platform.http.request", otel.kind = "server");
            if let Some(callers) = &context.traceparent {
                trace::continue_from(&span, callers);
            }
            if let Some(ours) = trace::traceparent(&span) {
                trace::describe(&span, "http.request.method", method);
                trace::describe(&span, "http.route", name(route.as_ref()).to_owned());
                trace::describe(&span, "daybook.correlation_id", context.correlation_id.clone());
                context.traceparent = Some(ours);
            }
        }
        Self { method, route, span }
    }

    /// The collector's span of the request; none where nobody records it.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn end(&self, status: StatusCode, took: Duration) {
        let route = name(self.route.as_ref()).to_owned();
        let labels = [
            ("method", self.method.into()),
            ("route", ::metrics::SharedString::from(route)),
            ("status", class(status).into()),
        ];
        ::metrics::counter!(HTTP_REQUESTS, &labels).increment(1);
        ::metrics::histogram!(HTTP_DURATION, &labels).record(took);
        trace::describe(&self.span, "http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            trace::fail(&self.span, class(status));
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        ::metrics::gauge!(HTTP_IN_FLIGHT).decrement(1.0);
    }
}

/// Counts a request that the server gave up.
pub(super) fn shed(reason: &'static str) {
    ::metrics::counter!(HTTP_SHED, "reason" => reason).increment(1);
}

/// Counts a request that entry control refused, by the problem's code.
pub(super) fn refused(code: &'static str) {
    ::metrics::counter!(AUTH_REFUSALS, "reason" => code).increment(1);
}

/// Counts a request over a limit, a second or at once: of its subject or of its address.
pub(super) fn rate_limited(scope: &'static str) {
    ::metrics::counter!(RATE_LIMITED, "scope" => scope).increment(1);
}

/// Probes come every few seconds and tell nothing in a trace.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// The probe that asks nothing of anybody else.
pub(super) fn is_liveness(path: &str) -> bool {
    path == "/healthz"
}

fn name(route: Option<&MatchedPath>) -> &str {
    route.map_or(UNMATCHED, MatchedPath::as_str)
}

/// A client may make methods up; a label may not.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
