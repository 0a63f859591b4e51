//! The one form of every error a client sees: an RFC 9457 problem document.
//!
//! Invariants: `code` is stable and what programs act on; `detail` is for people and holds nothing
//! internal; `correlation_id`, `timestamp` and `path` are filled by the middleware of `http`, which
//! every reply passes, so that a handler only says what is wrong.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Seconds after which a client may try again when nothing better is known.
const RETRY_AFTER_DEFAULT_S: u64 = 1;

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Path of the field in the body, such as `legs[1].amount`, or the name of a header or
    /// parameter.
    #[schema(example = "legs[1].amount")]
    pub field: String,
    /// Stable code for programs.
    #[schema(value_type = String, example = "invalid_type")]
    pub code: Cow<'static, str>,
    /// Explanation for people.
    pub detail: String,
}

/// An RFC 9457 problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// URI of the kind of problem, from its code.
    #[serde(rename = "type")]
    #[schema(example = "urn:daybook:problem:unknown_field")]
    pub kind: String,
    /// The kind of problem in words.
    #[schema(value_type = String, example = "Bad Request")]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(example = 400)]
    pub status: u16,
    /// Stable code for programs.
    #[schema(value_type = String, example = "unknown_field")]
    pub code: Cow<'static, str>,
    /// What went wrong this time, for people.
    pub detail: String,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The request, as it is named in every log line and event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,
    /// When the reply was made (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timestamp: String,
    /// The path that was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Seconds after which trying again makes sense; sent as the header `Retry-After`.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A problem of any status and code; the title is the status in words.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            kind: format!("urn:daybook:problem:{code}"),
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            correlation_id: String::new(),
            timestamp: String::new(),
            path: String::new(),
            retry_after_seconds: None,
        }
    }

    /// 400: the request cannot be read.
    pub fn malformed(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404 `not_found`: nothing is there under this path or id.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405 `method_not_allowed`.
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not take this method; the header Allow names those it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// 409: the request contradicts what is there.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412 `precondition_failed`: the version is not the expected one.
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
    }

    /// 413 `payload_too_large`.
    pub fn payload_too_large() -> Self {
        let detail = "the body is larger than this path takes";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    }

    /// 415 `unsupported_media_type`.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", detail)
    }

    /// 422: the request was understood and a rule refuses it.
    pub fn unprocessable(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 429 `rate_limited`: wait so many seconds.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        let detail = "too many requests; wait as the header Retry-After says";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).with_retry_after(retry_after_seconds)
    }

    /// 500 `internal`: our fault, told in the log and not to the client.
    pub fn internal() -> Self {
        let detail = "an internal error; the log has it under this correlation id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// 503: not now; a second later is the default for trying again.
    pub fn unavailable(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(RETRY_AFTER_DEFAULT_S)
    }

    /// The same with another title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.title = title.into();
        self
    }

    /// The same with one more field's error.
    #[must_use]
    pub fn with_error(
        mut self,
        field: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        self.errors.push(FieldError { field: field.into(), code: code.into(), detail: detail.into() });
        self
    }

    /// The same with the seconds after which trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The status as axum's type.
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Problems that say no more than their status, for replies that were made elsewhere.
    pub(crate) fn of_status(status: StatusCode, detail: String) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => "malformed",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => return Self::method_not_allowed(),
            StatusCode::PAYLOAD_TOO_LARGE => return Self::payload_too_large(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::UNPROCESSABLE_ENTITY => "unprocessable",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            other if other.is_server_error() => {
                // What a library says about its failure is not for clients.
                let internal = Self::internal();
                return Self::new(other, "internal", internal.detail);
            }
            _ => "refused",
        };
        let detail = if detail.is_empty() { status.canonical_reason().unwrap_or("refused").to_owned() } else { detail };
        Self::new(status, code, detail)
    }

    /// The reply itself, with the document as its body.
    pub(crate) fn render(&self) -> Response {
        // A struct of texts and numbers always serializes; the status alone says enough if not.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mut response =
            (self.status_code(), [(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.status, self.code, self.detail)?;
        for error in &self.errors {
            write!(formatter, "; {}: {}", error.field, error.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    /// The reply, with the problem beside it so that the middleware can fill in the request.
    fn into_response(self) -> Response {
        let mut response = self.render();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;
    use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
    use axum::response::IntoResponse;
    use serde_json::json;

    #[test]
    fn a_problem_is_an_rfc_9457_document() {
        let problem = Problem::unprocessable("insufficient_funds", "the balance is too low").with_error(
            "legs[0].amount",
            "insufficient_funds",
            "more than is available",
        );
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            json!({
                "type": "urn:daybook:problem:insufficient_funds",
                "title": "Unprocessable Entity",
                "status": 422,
                "code": "insufficient_funds",
                "detail": "the balance is too low",
                "errors": [{
                    "field": "legs[0].amount",
                    "code": "insufficient_funds",
                    "detail": "more than is available",
                }],
            })
        );
    }

    #[test]
    fn the_reply_says_when_to_try_again() {
        let response = Problem::unavailable("behind", "not there yet").into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
