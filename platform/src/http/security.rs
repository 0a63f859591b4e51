//! What browsers are told about replies, and which pages may call the APIs.

use std::time::Duration;

use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MATCH, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use tower_http::cors::CorsLayer;

use super::context::{CORRELATION_ID, IDEMPOTENCY_REPLAYED};
use super::limits::{LIMIT, REMAINING, RESET};

/// Replies hold data: nothing in them is to be run, and no page may frame them.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// The page that shows the API runs its own scripts and calls this origin.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// Adds what every reply tells browsers; `tls` adds that this host is to be called with TLS only.
pub(super) fn tell(response: &mut Response, path: &str, tls: bool) {
    let docs = path == "/docs" || path.starts_with("/docs/");
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, if docs { DOCS_POLICY } else { POLICY });
    if tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if !docs && !path.starts_with("/openapi") {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Lets pages of these origins call the APIs; `None` where there are none.
pub(super) fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            CORRELATION_ID,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            CORRELATION_ID,
            IDEMPOTENCY_REPLAYED,
            LIMIT,
            REMAINING,
            RESET,
            HeaderName::from_static("daybook-position"),
            HeaderName::from_static("daybook-parked"),
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(cors)
}
