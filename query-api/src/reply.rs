//! What a read answers: data or a problem, and in both cases the position it stands for.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::ReadError;
use platform::Problem;
use platform::postgres::is_connection_lost;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::cursor;

/// Everything up to this position is in the answer; read in the same snapshot as the data.
pub const POSITION: HeaderName = HeaderName::from_static("daybook-position");
/// The thing asked for has events that could not be applied, so it may be behind the position.
pub const PARKED: HeaderName = HeaderName::from_static("daybook-parked");

/// Room for the headers that a reply has in the end, those of the middleware included.
const HEADERS: usize = 16;
/// Room for the body of most replies, in bytes.
const BODY_BYTES: usize = 512;

/// What a handler returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Data with the position it stands for.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// The applied position.
    pub(crate) position: u64,
    /// The version, for the header `ETag`, where there is one.
    pub(crate) version: Option<i64>,
    /// Whether the thing's events are parked.
    pub(crate) parked: bool,
    /// The body.
    pub(crate) body: T,
}

impl<T> Answer<T> {
    /// Data that has neither a version nor a stream that could be parked.
    pub(crate) fn new(position: u64, body: T) -> Self {
        Self { position, version: None, parked: false, body }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        // Several times faster than into a buffer that grows.
        let mut body = Vec::with_capacity(BODY_BYTES);
        if let Err(error) = serde_json::to_writer(&mut body, &self.body) {
            return Failure::from(error).into_response();
        }
        let mut headers = position_header(self.position);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.parked {
            headers.insert(PARKED, HeaderValue::from_static("true"));
        }
        if let Some(Ok(etag)) = self.version.map(|version| HeaderValue::try_from(format!("\"{version}\""))) {
            headers.insert(ETAG, etag);
        }
        let mut response = Response::new(Body::from(body));
        *response.headers_mut() = headers;
        response
    }
}

/// A time as the APIs write it: RFC 3339, microseconds, UTC.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A time as a field.
pub(crate) fn serialize_time<S: Serializer>(
    time: &DateTime<Utc>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A time as a field that may be absent.
pub(crate) fn serialize_optional_time<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}

/// The header that says up to which position was looked.
pub(crate) fn position_header(position: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(POSITION, HeaderValue::from(position));
    headers
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The items, in the list's stable order.
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of what was selected: one more than `limit` was asked for, so as to know whether
    /// there is a next page. `key` gives an item's sort key.
    pub(crate) fn of<K: Serialize>(
        mut items: Vec<T>,
        limit: u32,
        list: &str,
        key: impl FnOnce(&T) -> K,
    ) -> std::result::Result<Self, serde_json::Error> {
        let limit = limit as usize;
        let is_last = items.len() <= limit;
        items.truncate(limit);
        let next_cursor = match items.last() {
            Some(item) if !is_last => Some(cursor::write(list, &key(item))?),
            _ => None,
        };
        Ok(Self { items, next_cursor })
    }
}

/// A read that cannot be answered, with the position that was looked at where one is known.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    problem: Box<Problem>,
    position: Option<u64>,
    parked: bool,
}

impl Failure {
    /// 404 with a code of its own, such as `account_not_found`; says up to which position was looked.
    pub(crate) fn not_found(code: &'static str, what: &str, position: u64) -> Self {
        let detail = format!("there is no {what} in the events up to position {position}");
        Self::at(Problem::new(axum::http::StatusCode::NOT_FOUND, code, detail), position)
    }

    /// A problem found at a position.
    pub(crate) fn at(problem: Problem, position: u64) -> Self {
        Self { problem: Box::new(problem), position: Some(position), parked: false }
    }

    /// The same, saying that the thing's events are parked: it may be missing only because of that.
    pub(crate) fn parked(mut self, parked: bool) -> Self {
        self.parked = parked;
        self
    }

    /// The problem.
    pub(crate) fn into_problem(self) -> Problem {
        *self.problem
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), position: None, parked: false }
    }
}

impl From<sqlx::Error> for Failure {
    /// Logged here, once: a database that is away is 503, one that took too long is 503, the rest
    /// is our fault.
    fn from(error: sqlx::Error) -> Self {
        let cancelled =
            error.as_database_error().and_then(|refusal| refusal.code()).is_some_and(|code| code == "57014");
        if cancelled {
            tracing::warn!(%error, "a read took too long");
            return Problem::unavailable("timeout", "the read took too long; ask for less at once").into();
        }
        if is_connection_lost(&error) {
            tracing::warn!(%error, "the database does not answer");
            return Problem::unavailable("database_unavailable", "the database does not answer now").into();
        }
        tracing::error!(%error, "a read failed");
        Problem::internal().into()
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            ReadError::Broken { .. } | ReadError::Decode { .. } => {
                tracing::error!(%error, "the log is not what it must be");
                let detail = format!("{error}; run `daybook audit verify`");
                Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "log_broken", detail).into()
            }
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        tracing::error!(%error, "a reply could not be written as JSON");
        Problem::internal().into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut headers = self.position.map(position_header).unwrap_or_default();
        if self.parked {
            headers.insert(PARKED, HeaderValue::from_static("true"));
        }
        (headers, *self.problem).into_response()
    }
}
