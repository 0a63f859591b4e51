//! The log itself, for auditors: the exact stored bytes, in order, never silently cut short.
//!
//! Invariants: a stream of events ends with a line that says how far it got, or with an error; what
//! is read without a filter, or by type, is checked to be contiguous; a stream's sequences are
//! checked; no transaction is held while a client reads. Personal data stays sealed as it is stored.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::StreamId;
use domain::event::EVENT_TYPES;
use event_store::{LogReader, ReadError};
use futures::stream;
use platform::Problem;
use platform::extract::StrictPath;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::parameters::{Freshness, Parameters};
use crate::reply::{Answer, Failure, Result, position_header, rfc3339};

/// Events that are read at once: a page is one short statement.
const PAGE_EVENTS: u32 = 1_000;

/// An event of the log with everything that its hash covers, and the two hashes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoggedEvent {
    /// Its place in the whole log, from 1, gapless.
    #[schema(example = 4711)]
    position: u64,
    /// When it was recorded (RFC 3339, microseconds, UTC).
    #[schema(example = "2026-01-31T12:00:00.123456Z")]
    recorded_at: String,
    /// Its stream.
    #[schema(example = "account/01890f3e-7b1c-7cc2-98c4-dc0c0c07398f")]
    stream: String,
    /// Its place in the stream, from 1, contiguous.
    #[schema(example = 3)]
    sequence: u64,
    /// The name of its type.
    #[serde(rename = "type")]
    #[schema(example = "EntryPosted")]
    event_type: String,
    /// The version of its type.
    #[schema(example = "1")]
    version: String,
    /// The command that caused it.
    command_id: String,
    /// SHA-256 over the event and the event hash of its stream's predecessor, in hex.
    event_hash: String,
    /// SHA-256 over the predecessor's chain hash and this event hash, in hex.
    chain_hash: String,
    /// The event, as the exact bytes that are stored and were hashed.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// Tenant, command, client, actor, …, as the exact bytes that are stored and were hashed.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
}

/// The recorded event as it is sent. A macro, since the type of a recorded event belongs to a crate
/// that this one does not use.
macro_rules! logged {
    ($event:expr) => {{
        let event = $event;
        let position = event.position;
        stored(position, event.metadata.clone()).and_then(|metadata| {
            Ok(LoggedEvent {
                position,
                recorded_at: rfc3339(event.recorded_at()),
                stream: event.stream.to_string(),
                sequence: event.sequence,
                event_type: event.event_type,
                version: event.event_version,
                command_id: event.command_id,
                event_hash: hex(&event.event_hash),
                chain_hash: hex(&event.chain_hash),
                payload: stored(position, event.payload)?,
                metadata,
            })
        })
    }};
}

/// The last line of a stream of events that is whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndLine {
    /// Where it ended.
    end: End,
}

/// The last line of a stream of events that could not be finished; what came before it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorLine {
    /// What went wrong.
    error: Problem,
}

/// Where a stream of events ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct End {
    /// Everything asked for up to here has been sent; go on with it as `after_position`.
    position: u64,
    /// How many events were sent.
    count: u64,
    /// The log's head when the request began.
    head: u64,
}

/// Which events.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventFilter {
    /// Only events after this position; 0 when left out.
    #[param(minimum = 0, example = 0, required = false)]
    after_position: u64,
    /// Only events of this stream.
    #[param(value_type = Option<String>, example = "ledger/main")]
    stream: Option<StreamId>,
    /// Only events of this type.
    #[param(value_type = Option<String>, example = "LedgerCodeDefined")]
    #[param(rename = "type")]
    event_type: Option<&'static str>,
    /// At most so many events; all up to the head when left out.
    #[param(minimum = 1, example = 100, required = false)]
    limit: u64,
}

impl EventFilter {
    fn read(parameters: &mut Parameters) -> Self {
        let types: Vec<&'static str> = EVENT_TYPES.iter().map(|(_, name, _)| *name).collect();
        Self {
            after_position: parameters.number("after_position", 0, i64::MAX as u64).unwrap_or(0),
            stream: parameters.parsed("stream"),
            event_type: parameters.choice("type", &types),
            limit: parameters.number("limit", 1, i64::MAX as u64).unwrap_or(u64::MAX),
        }
    }
}

/// Events of the log.
///
/// NDJSON: one event a line, in the order of the log; the last line is `{"end": …}` when everything
/// asked for up to the head was sent, else `{"error": …}`, a problem document.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", params(EventFilter, Freshness),
    responses(
        (status = 200, description = "Events, one a line, then one line with `end` or `error`",
            content_type = "application/x-ndjson", body = LoggedEvent),
    )
)]
pub(crate) async fn list_events(State(api): State<Api>, mut parameters: Parameters) -> Result<Response> {
    let freshness = parameters.freshness();
    let filter = EventFilter::read(&mut parameters);
    parameters.finish()?;
    let head = api.gate.head_at_least(&api.log, freshness).await?;
    let mut walk = Walk::new(api.log.clone(), filter, head);
    // The first page is read before the reply begins, so that most failures are a plain problem.
    let first = walk.page().await?;
    let rest = stream::unfold(Some(walk), async |walk| {
        let mut walk = walk?;
        if walk.ended {
            return None;
        }
        match walk.page().await {
            Ok(chunk) => Some((chunk, Some(walk))),
            Err(failure) => Some((error_line(failure.into_problem()), None)),
        }
    });
    let lines = stream::StreamExt::chain(stream::iter([first]), rest);
    let body = Body::from_stream(stream::StreamExt::map(lines, Ok::<Bytes, std::convert::Infallible>));
    Ok((position_header(head), [(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// One event of the log.
#[utoipa::path(
    get, path = "/v1/events/{position}", tag = "events",
    params(("position" = u64, Path, description = "Its place in the log", example = 4711), Freshness),
    responses((status = 200, description = "The event", body = LoggedEvent))
)]
pub(crate) async fn get_event(
    State(api): State<Api>,
    StrictPath(position): StrictPath<u64>,
    mut parameters: Parameters,
) -> Result<Answer<LoggedEvent>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let head = api.gate.head_at_least(&api.log, freshness).await?;
    let found = if (1..=head).contains(&position) { api.log.event_at(position).await? } else { None };
    match found {
        Some(event) => Ok(Answer::new(head, logged!(event)?)),
        None if (1..=head).contains(&position) => {
            Err(ReadError::Broken { position, what: "missing below the head".to_owned() }.into())
        }
        None => Err(Failure::not_found("event_not_found", "event with this position", head)),
    }
}

/// A walk over the log up to the head that it began with.
struct Walk {
    log: LogReader,
    filter: EventFilter,
    head: u64,
    /// Everything asked for up to here has been sent.
    position: u64,
    count: u64,
    /// Of the last event sent, if the walk is over one stream.
    sequence: Option<u64>,
    ended: bool,
}

impl Walk {
    fn new(log: LogReader, filter: EventFilter, head: u64) -> Self {
        let position = filter.after_position;
        Self { log, filter, head, position, count: 0, sequence: None, ended: false }
    }

    /// The lines of the next page; with the last of them the walk has ended.
    async fn page(&mut self) -> Result<Bytes> {
        let mut lines = Vec::new();
        match self.filter.stream {
            Some(stream) => self.page_of_stream(stream, &mut lines).await?,
            None => self.page_of_log(&mut lines).await?,
        }
        if self.position >= self.head || self.is_full() {
            self.ended = true;
            let end = End { position: self.position, count: self.count, head: self.head };
            push_line(&mut lines, &EndLine { end })?;
        }
        Ok(lines.into())
    }

    fn is_full(&self) -> bool {
        self.count >= self.filter.limit
    }

    /// All events, or those of a type: every event is read and its position checked, so that
    /// nothing can be missing without an error.
    async fn page_of_log(&mut self, lines: &mut Vec<u8>) -> Result<()> {
        let wanted = self.head.saturating_sub(self.position).min(PAGE_EVENTS.into());
        let wanted = match self.filter.event_type {
            None => wanted.min(self.filter.limit - self.count),
            Some(_) => wanted,
        };
        let events = self.log.events_after(self.position, u32::try_from(wanted).unwrap_or(PAGE_EVENTS)).await?;
        let found = events.len() as u64;
        for event in events {
            self.position = event.position;
            if self.filter.event_type.is_none_or(|wanted| wanted == event.event_type) {
                push_line(lines, &logged!(event)?)?;
                self.count += 1;
            }
            if self.is_full() {
                return Ok(());
            }
        }
        if found < wanted {
            return Err(broken(self.position + 1, "missing below the head"));
        }
        Ok(())
    }

    /// The events of one stream, found by its index; their sequences are checked, except where a
    /// type is asked for as well.
    async fn page_of_stream(&mut self, stream: StreamId, lines: &mut Vec<u8>) -> Result<()> {
        let wanted = (self.filter.limit - self.count).min(PAGE_EVENTS.into());
        let limit = u32::try_from(wanted).unwrap_or(PAGE_EVENTS);
        let events = self.log.events_matching(self.position, Some(stream), self.filter.event_type, limit).await?;
        let head = self.head;
        // Recorded after this walk began: they are another walk's, and nothing of this one is behind them.
        let is_beyond = events.last().is_some_and(|event| event.position > head);
        let is_last = (events.len() as u64) < wanted || is_beyond;
        for event in events.into_iter().take_while(|event| event.position <= head) {
            self.check_sequence(event.position, event.sequence)?;
            self.position = event.position;
            push_line(lines, &logged!(event)?)?;
            self.count += 1;
        }
        if is_last && !self.is_full() {
            self.position = self.position.max(self.head);
        }
        Ok(())
    }

    fn check_sequence(&mut self, position: u64, sequence: u64) -> Result<()> {
        if self.filter.event_type.is_some() {
            return Ok(());
        }
        let expected = match self.sequence {
            Some(last) => last + 1,
            // A walk from the very beginning sees the stream's first event first.
            None if self.filter.after_position == 0 => 1,
            None => sequence,
        };
        if sequence != expected {
            return Err(broken(position, &format!("sequence {sequence} where {expected} was expected")));
        }
        self.sequence = Some(sequence);
        Ok(())
    }
}

fn broken(position: u64, what: &str) -> Failure {
    ReadError::Broken { position, what: what.to_owned() }.into()
}

fn push_line(lines: &mut Vec<u8>, line: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *lines, line)?;
    lines.push(b'\n');
    Ok(())
}

/// The last line of a reply that could not be finished.
fn error_line(problem: Problem) -> Bytes {
    let mut line = Vec::new();
    match push_line(&mut line, &ErrorLine { error: problem }) {
        Ok(()) => line.into(),
        Err(_) => Bytes::from_static(b"{\"error\":{\"code\":\"internal\"}}\n"),
    }
}

/// Stored JSON to be sent byte for byte. What a line cannot carry so is an error: the log writes none.
fn stored(position: u64, text: String) -> std::result::Result<Box<RawValue>, ReadError> {
    let broken = |what: &str| ReadError::Broken { position, what: what.to_owned() };
    let length = text.len();
    if text.contains(['\n', '\r']) {
        return Err(broken("a line break between the tokens of the stored JSON"));
    }
    let raw = RawValue::from_string(text).map_err(|_| broken("the stored JSON cannot be read"))?;
    if raw.get().len() != length {
        return Err(broken("spaces around the stored JSON"));
    }
    Ok(raw)
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
