//! Traces across processes: W3C trace context in, out, and around a span.
//!
//! A span for the collector is a `tracing` span with the target [`TARGET`], at the level debug; where
//! no collector is configured nothing listens to it, and it costs a look at a cached flag. One trace
//! goes the whole way: request, command, batch, event (its metadata's `traceparent` is the request's
//! span), publication, record (`ce_traceparent`, and `traceparent` of the publication), view.
//!
//! Only events of sampled traces make spans behind the log.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, trace::Status};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans for the collector alone.
pub const TARGET: &str = "daybook::trace";

/// A root span with this field, set to true, is recorded whatever the sampled share: for work that is
/// done for several traces of which one is sampled.
pub const FORCED: &str = "daybook.sampled";

static ON: AtomicBool = AtomicBool::new(false);

pub(super) fn turn_on() {
    ON.store(true, Ordering::Relaxed);
}

/// Whether spans go to a collector.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Whether a text is a W3C `traceparent` of version 00: four fields of lower-case hex, neither id
/// all zero.
pub fn is_traceparent(text: &str) -> bool {
    parse(text).is_some()
}

/// Whether a `traceparent` says that its trace is recorded.
pub fn is_sampled(traceparent: &str) -> bool {
    parse(traceparent).is_some_and(|context| context.is_sampled())
}

/// Whether an event or record with this `traceparent` makes spans here: traces are on, and its trace
/// is recorded.
pub fn is_recorded(traceparent: Option<&str>) -> bool {
    is_on() && traceparent.is_some_and(is_sampled)
}

/// The trace id in a `traceparent`.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.get(3..35)
}

/// Makes a span, which must not have been entered, a child of the one that a `traceparent` names.
/// One that is not valid changes nothing.
pub fn continue_from(span: &Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent).filter(|_| is_on()) {
        // A span that nobody listens to has no parent.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// The `traceparent` of a span, for whom it calls; nothing unless the span is recorded.
pub fn traceparent(span: &Span) -> Option<String> {
    if !is_on() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    let recorded = context.is_valid() && context.is_sampled();
    recorded.then(|| format!("00-{}-{}-01", context.trace_id(), context.span_id()))
}

/// Adds a fact to a recorded span.
pub fn describe(span: &Span, name: &'static str, value: impl Into<opentelemetry::Value>) {
    if is_on() {
        span.set_attribute(name, value);
    }
}

/// Marks a recorded span as failed.
pub fn fail(span: &Span, reason: &'static str) {
    if is_on() {
        span.set_status(Status::error(reason));
    }
}

fn parse(text: &str) -> Option<SpanContext> {
    let fields: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = fields.as_slice() else {
        return None;
    };
    let is_hex = |field: &str, length: usize| {
        field.len() == length && field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if *version != "00" || !is_hex(trace, 32) || !is_hex(parent, 16) || !is_hex(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    Some(SpanContext::new(trace, parent, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::{is_sampled, is_traceparent, trace_id};

    #[test]
    fn a_traceparent_is_four_fields_of_hex() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        assert_eq!(trace_id(good), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    #[test]
    fn the_lowest_bit_of_the_flags_says_that_it_is_recorded() {
        let with = |flags| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        assert!(is_sampled(&with("01")) && is_sampled(&with("03")));
        assert!(!is_sampled(&with("00")) && !is_sampled(&with("02")) && !is_sampled("x"));
    }
}
