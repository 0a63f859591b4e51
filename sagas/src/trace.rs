//! Traces through sagas: a saga goes on with the trace of the event that began it, so that a payout is
//! in the trace of the request that asked for it. Nothing is read or made while traces are off.

use domain::SagaId;
use event_schemas::Recorded;
use event_store::Store;
use platform::telemetry::trace;
use serde::Deserialize;
use tracing::Span;

#[derive(Deserialize)]
struct Trace {
    traceparent: Option<String>,
}

/// What follows from an event, as a child of what recorded it; no span unless its trace is recorded.
pub(crate) fn following(recorded: &Recorded) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    // Metadata that is not ours has no trace.
    let parent = serde_json::from_str::<Trace>(&recorded.metadata).ok().and_then(|metadata| metadata.traceparent);
    let Some(parent) = parent.filter(|parent| trace::is_recorded(Some(parent))) else { return Span::none() };
    let span = tracing::debug_span!(
        target: trace::TARGET,
        parent: None,
        "sagas.saga.step",
        stream = %recorded.stream,
        correlation_id = %recorded.stream.id_text(),
    );
    trace::continue_from(&span, &parent);
    span
}

/// A turn of a saga, as a child of what began it.
pub(crate) async fn turn(store: &Store, saga_id: SagaId) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    match store.reader().stream_after(saga_id.stream(), 0, 1).await {
        Ok(events) => events.first().map_or_else(Span::none, following),
        // The turn itself will tell of a log that cannot be read.
        Err(_) => Span::none(),
    }
}

/// The trace that a command of the present span belongs to.
pub(crate) fn of_command() -> Option<String> {
    trace::traceparent(&Span::current())
}
