//! What is counted and traced of a request, by its route's template and never by its path.

use ::metrics::{Counter, Gauge, Histogram, SharedString};
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;
use tracing::Span;

use super::context::RequestContext;
use crate::metrics::{
    AUTH_REFUSALS, HTTP_DURATION, HTTP_IN_FLIGHT, HTTP_REFUSALS_HELD, HTTP_REQUESTS, HTTP_SHED, RATE_LIMITED,
};
use crate::telemetry::trace;

/// The route of what no route matches.
const UNMATCHED: &str = "unmatched";

/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a route's requests with one method are recorded under, by the class of their status.
type Series = [Option<(Counter, Histogram)>; CLASSES.len()];

/// Those of a route, by method.
type Methods = Vec<(&'static str, Series)>;

thread_local! {
    /// A metric's handle is kept, since finding it by its labels costs more than to record. Bounded by
    /// the routes that there are.
    static SERIES: RefCell<HashMap<Box<str>, Methods>> = RefCell::default();
}

/// A request at work. Dropped without an end, it was given up by its client.
pub(super) struct Measured {
    in_flight: Option<&'static Gauge>,
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
        let in_flight = in_flight();
        if let Some(in_flight) = in_flight {
            in_flight.increment(1.0);
        }
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
        Self { in_flight, method, route, span }
    }

    /// The collector's span of the request; none where nobody records it.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn end(&self, status: StatusCode, took: Duration) {
        record(self.method, name(self.route.as_ref()), status, took);
        trace::describe(&self.span, "http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            trace::fail(&self.span, CLASSES[class(status)]);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some(in_flight) = self.in_flight {
            in_flight.decrement(1.0);
        }
    }
}

/// The gauge of requests at work.
fn in_flight() -> Option<&'static Gauge> {
    static IN_FLIGHT: OnceLock<Gauge> = OnceLock::new();
    gauge(HTTP_IN_FLIGHT, &IN_FLIGHT)
}

/// A gauge, kept where it is; none while metrics are not recorded.
fn gauge(name: &'static str, kept: &'static OnceLock<Gauge>) -> Option<&'static Gauge> {
    crate::metrics::is_installed().then(|| kept.get_or_init(|| ::metrics::gauge!(name)))
}

fn record(method: &'static str, route: &str, status: StatusCode, took: Duration) {
    // Handles from before would record nothing for ever.
    if !crate::metrics::is_installed() {
        return;
    }
    SERIES.with_borrow_mut(|routes| {
        if !routes.contains_key(route) {
            routes.insert(route.into(), Methods::new());
        }
        let Some(methods) = routes.get_mut(route) else { return };
        let at = methods.iter().position(|(name, _)| *name == method).unwrap_or_else(|| {
            methods.push((method, Series::default()));
            methods.len() - 1
        });
        let (series, class) = (&mut methods[at].1, class(status));
        let (requests, durations) = series[class].get_or_insert_with(|| {
            let labels = [
                ("method", method.into()),
                ("route", SharedString::from(route.to_owned())),
                ("status", CLASSES[class].into()),
            ];
            (::metrics::counter!(HTTP_REQUESTS, &labels), ::metrics::histogram!(HTTP_DURATION, &labels))
        });
        requests.increment(1);
        durations.record(took);
    });
}

/// Counts a request that was not let in.
pub(super) fn refused_at_the_door(asked: &Method, route: Option<&MatchedPath>, status: StatusCode, took: Duration) {
    record(method(asked), name(route), status, took);
}

/// A refusal that is held back, until this is dropped.
pub(super) struct Held(Option<&'static Gauge>);

impl Held {
    pub(super) fn begin() -> Self {
        static HELD: OnceLock<Gauge> = OnceLock::new();
        let held = gauge(HTTP_REFUSALS_HELD, &HELD);
        if let Some(held) = held {
            held.increment(1.0);
        }
        Self(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self(Some(held)) = self {
            held.decrement(1.0);
        }
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

/// The class of a status, as its place in `CLASSES`.
fn class(status: StatusCode) -> usize {
    match status.as_u16() {
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}
