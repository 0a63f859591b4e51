//! Replies: orders as they are, problems in Daybook's form, and connections that end instead.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{NaiveDate, SecondsFormat, Utc};
use futures::stream;
use platform::Problem;
use platform::http::CORRELATION_ID;
use serde::Serialize;
use uuid::Uuid;

use crate::bank::Changed;
use crate::orders::{Held, State};
use crate::rules::Refusal;

const REPLY_BYTES_MAX: usize = 1024 * 1024;
const CORRELATION_ID_LENGTH_MAX: usize = 128;

/// Marks a response that is not to be sent: the connection ends instead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp;

/// The end of the connection, as a response.
pub(crate) fn hang_up() -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(HangUp);
    response
}

/// The same response, breaking off in the middle of its body.
pub(crate) async fn break_off(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, REPLY_BYTES_MAX).await else {
        return hang_up();
    };
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    let half = bytes.slice(..bytes.len() / 2);
    let pieces = [Ok(half), Err(std::io::Error::other("the reply breaks off"))];
    Response::from_parts(head, Body::from_stream(stream::iter(pieces)))
}

/// An order as a client sees it.
#[derive(Debug, Serialize)]
struct OrderView<'a> {
    id: Uuid,
    state: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    bank_reference: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_on: Option<NaiveDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned_by: Option<&'a str>,
}

/// An order, with 201 where it was new.
pub(crate) fn order(id: Uuid, held: &Held, status: StatusCode) -> Response {
    let (state, settled_on, refusal) = match &held.state {
        State::Accepted { .. } => ("accepted", None, None),
        State::Settled { settled_on } => ("settled", Some(*settled_on), None),
        State::Refused(refusal) => ("refused", None, Some(refusal)),
    };
    let view = OrderView {
        id,
        state,
        bank_reference: &held.bank_reference,
        settled_on,
        code: refusal.map(|refusal| refusal.code.as_str()),
        detail: refusal.map(|refusal| refusal.detail.as_str()),
        returned_by: held.returned.as_deref(),
    };
    (status, Json(view)).into_response()
}

/// An order that was cancelled before it came.
pub(crate) fn barred(id: Uuid, status: StatusCode) -> Response {
    let Refusal { code, detail } = Refusal::cancelled();
    let view = OrderView {
        id,
        state: "refused",
        bank_reference: "",
        settled_on: None,
        code: Some(&code),
        detail: Some(&detail),
        returned_by: None,
    };
    (status, Json(view)).into_response()
}

/// What a change came to, rendered by `view`; the id with another content is 409.
pub(crate) fn changed<T>(
    changed: Result<Changed<T>, Problem>,
    conflict: (&'static str, &'static str),
    view: impl FnOnce(T, StatusCode) -> Response,
) -> Response {
    match changed {
        Ok(Changed::New(told)) => view(told, StatusCode::CREATED),
        Ok(Changed::Known(told)) => view(told, StatusCode::OK),
        Ok(Changed::Conflict) => Problem::conflict(conflict.0, conflict.1).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Fills in what a problem says of its request.
pub(crate) async fn complete(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let given = request.headers().get(CORRELATION_ID).and_then(|id| id.to_str().ok());
    let correlation_id = given
        .filter(|id| (1..=CORRELATION_ID_LENGTH_MAX).contains(&id.len()))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Problem>() {
        Some(mut problem) => {
            problem.path = path;
            problem.correlation_id = correlation_id;
            problem.timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            problem.into_response()
        }
        None => response,
    }
}
