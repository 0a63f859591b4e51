//! What is counted and traced of publishing.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use event_schemas::Recorded;
use event_schemas::cloud_events::CE_TRACEPARENT;
use metrics::{counter, gauge};
use platform::metrics::{
    RELAY_CONNECTED, RELAY_EVENTS, RELAY_FAILURES, RELAY_IN_FLIGHT, RELAY_LAG_EVENTS, RELAY_LAG_SECONDS, RELAY_LEADING,
    RELAY_POSITION, gauge_value,
};
use platform::telemetry::trace;
use tracing::Span;

/// How often the gauges are set while leading.
pub(crate) const OBSERVE_INTERVAL: Duration = Duration::from_millis(250);

/// The header that W3C names for a message's own trace context: that of its publication. The event's
/// own is `ce_traceparent`, the same whoever publishes it.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The span of an event's publication, from its hand-over to its acknowledgement; none unless its
/// trace is recorded.
pub(crate) fn publish_span(recorded: &Recorded, headers: &[(&'static str, Cow<'_, str>)]) -> Option<Span> {
    if !trace::is_on() {
        return None;
    }
    let (_, traceparent) = headers.iter().find(|(name, _)| *name == CE_TRACEPARENT)?;
    if !trace::is_sampled(traceparent) {
        return None;
    }
    let span = tracing::debug_span!(
        target: trace::TARGET,
        parent: None,
        "relay.event.publish",
        otel.kind = "producer",
        event_type = recorded.event_type,
        position = recorded.position,
    );
    trace::continue_from(&span, traceparent);
    Some(span)
}

/// How far a leader is.
pub(crate) struct Observation {
    pub(crate) head: u64,
    pub(crate) published: u64,
    pub(crate) in_flight: usize,
    /// When the oldest event that Kafka has not acknowledged was recorded, if there is one.
    pub(crate) oldest_recorded_at_us: Option<i64>,
}

impl Observation {
    pub(crate) fn record(&self) {
        let age_us = self.oldest_recorded_at_us.map_or(0, |at| chrono::Utc::now().timestamp_micros() - at);
        let age = Duration::from_micros(u64::try_from(age_us).unwrap_or_default());
        gauge!(RELAY_POSITION).set(gauge_value(self.published));
        gauge!(RELAY_LAG_EVENTS).set(gauge_value(self.head.saturating_sub(self.published)));
        gauge!(RELAY_LAG_SECONDS).set(age);
        gauge!(RELAY_IN_FLIGHT).set(gauge_value(self.in_flight as u64));
    }
}

/// Whether this relay leads, stands by, or neither.
pub(crate) fn state(connected: bool, leading: bool) {
    gauge!(RELAY_CONNECTED).set(if connected { 1.0 } else { 0.0 });
    gauge!(RELAY_LEADING).set(if leading { 1.0 } else { 0.0 });
    if !leading {
        gauge!(RELAY_LAG_EVENTS).set(0.0);
        gauge!(RELAY_LAG_SECONDS).set(0.0);
        gauge!(RELAY_IN_FLIGHT).set(0.0);
    }
}

pub(crate) fn acknowledged(events: usize) {
    counter!(RELAY_EVENTS).increment(events as u64);
}

pub(crate) fn failed(code: &'static str) {
    counter!(RELAY_FAILURES, "code" => code).increment(1);
}

/// When the gauges are to be set next, and the head as it was last asked for.
pub(crate) struct Observed {
    pub(crate) at: Instant,
    pub(crate) head: u64,
    pub(crate) head_asked_at: Option<Instant>,
}

impl Observed {
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), head: 0, head_asked_at: None }
    }
}
