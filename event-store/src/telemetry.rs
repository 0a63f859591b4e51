//! What is counted and traced of commands and commits.
//!
//! Names of metrics are those of the platform's table, which this crate may not use; a test compares
//! them. Spans for the collector have the target and the field names that the platform's layer looks
//! for; nobody listens to them where no collector is configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tracing::Span;

use crate::error::SubmitError;
use crate::submission::{Outcome, Reply, Submission};
use crate::writer::Waiting;

const COMMANDS: &str = "daybook_commands_total";
const REJECTIONS: &str = "daybook_command_rejections_total";
const CONNECTED: &str = "daybook_writer_connected";
const QUEUE_DEPTH: &str = "daybook_writer_queue_depth";
const QUEUE_CAPACITY: &str = "daybook_writer_queue_capacity";
const BATCH_COMMANDS: &str = "daybook_writer_batch_commands";
const BATCH_EVENTS: &str = "daybook_writer_batch_events";
const DECIDE_DURATION: &str = "daybook_writer_decide_duration_seconds";
const COMMIT_DURATION: &str = "daybook_writer_commit_duration_seconds";
const LOST_RACES: &str = "daybook_writer_lost_races_total";
const UNKNOWN_OUTCOMES: &str = "daybook_writer_unknown_outcomes_total";
const REFUSED_BATCHES: &str = "daybook_writer_refused_batches_total";
const CACHED_STREAMS: &str = "daybook_writer_cached_streams";
const EVENTS: &str = "daybook_log_events_total";
const HEAD_POSITION: &str = "daybook_log_head_position";

/// The names of all metrics of this crate.
pub const METRICS: [&str; 15] = [
    COMMANDS,
    REJECTIONS,
    CONNECTED,
    QUEUE_DEPTH,
    QUEUE_CAPACITY,
    BATCH_COMMANDS,
    BATCH_EVENTS,
    DECIDE_DURATION,
    COMMIT_DURATION,
    LOST_RACES,
    UNKNOWN_OUTCOMES,
    REFUSED_BATCHES,
    CACHED_STREAMS,
    EVENTS,
    HEAD_POSITION,
];

/// The target of spans for the collector.
pub const TRACE_TARGET: &str = "daybook::trace";

/// The span of a command from its submission to its outcome; none unless its trace is recorded.
pub(crate) fn command_span(submission: &Submission) -> Span {
    // The flags of a `traceparent` are its last two digits; the lowest bit says "recorded".
    let flags = submission.traceparent.as_ref().and_then(|traceparent| traceparent.bytes().last());
    let is_recorded = flags.and_then(|digit| char::from(digit).to_digit(16)).is_some_and(|flags| flags & 1 == 1);
    if !is_recorded {
        return Span::none();
    }
    tracing::debug_span!(
        target: TRACE_TARGET,
        "event_store.command.submit",
        command = submission.command.name(),
        command_id = %submission.command_id,
    )
}

/// The span of a batch, a trace of its own to which those of its commands have a link; none unless
/// one of them is recorded.
pub(crate) fn batch_span(waiting: &[Waiting]) -> Span {
    if waiting.iter().all(|waiting| waiting.span.is_disabled()) {
        return Span::none();
    }
    tracing::debug_span!(
        target: TRACE_TARGET,
        parent: None,
        "event_store.batch.commit",
        daybook.sampled = true,
        commands = waiting.len(),
        events = tracing::field::Empty,
        position = tracing::field::Empty,
        decide_us = tracing::field::Empty,
        commit_us = tracing::field::Empty,
    )
}

/// Counts an answer of the write door.
pub(crate) fn answered(command: &'static str, answer: &Result<Reply, SubmitError>) {
    counter!(COMMANDS, "command" => command, "outcome" => outcome(answer)).increment(1);
}

/// Counts the answers to commands that were sent together.
pub(crate) fn answered_together(command: &'static str, answers: &[Result<Reply, SubmitError>]) {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    answers.iter().for_each(|answer| *counts.entry(outcome(answer)).or_default() += 1);
    for (outcome, count) in counts {
        counter!(COMMANDS, "command" => command, "outcome" => outcome).increment(count);
    }
}

/// Counts commands that found no room together; they count as one.
pub(crate) fn not_queued(command: &'static str, error: &SubmitError) {
    counter!(COMMANDS, "command" => command, "outcome" => failure(error)).increment(1);
}

/// The outcome's label; a refusal is counted by its code besides.
fn outcome(answer: &Result<Reply, SubmitError>) -> &'static str {
    match answer {
        Ok(reply) if reply.replayed => "replayed",
        Ok(Reply { outcome: Outcome::Accepted(_), .. }) => "accepted",
        Ok(Reply { outcome: Outcome::Rejected(rejected), .. }) => {
            counter!(REJECTIONS, "code" => rejected.rejection.code()).increment(1);
            "rejected"
        }
        Err(error) => failure(error),
    }
}

fn failure(error: &SubmitError) -> &'static str {
    match error {
        SubmitError::KeyReused => "key_reused",
        SubmitError::Overloaded => "overloaded",
        SubmitError::Unavailable(_) => "unavailable",
    }
}

/// A batch that has committed.
pub(crate) struct Committed {
    pub(crate) commands: usize,
    pub(crate) events: usize,
    pub(crate) position: u64,
    pub(crate) decided_in: Duration,
    pub(crate) committed_in: Duration,
}

impl Committed {
    pub(crate) fn record(&self) {
        histogram!(BATCH_COMMANDS).record(number(self.commands as u64));
        histogram!(BATCH_EVENTS).record(number(self.events as u64));
        histogram!(DECIDE_DURATION).record(self.decided_in);
        histogram!(COMMIT_DURATION).record(self.committed_in);
        counter!(EVENTS).increment(self.events as u64);
        head(self.position);
        let span = Span::current();
        if span.has_field("decide_us") {
            span.record("events", self.events).record("position", self.position);
            span.record("decide_us", micros(self.decided_in)).record("commit_us", micros(self.committed_in));
        }
    }
}

pub(crate) fn head(position: u64) {
    gauge!(HEAD_POSITION).set(number(position));
}

pub(crate) fn connected(is_connected: bool) {
    gauge!(CONNECTED).set(if is_connected { 1.0 } else { 0.0 });
}

pub(crate) fn waiting(depth: usize, capacity: usize) {
    gauge!(QUEUE_DEPTH).set(number(depth as u64));
    gauge!(QUEUE_CAPACITY).set(number(capacity as u64));
}

pub(crate) fn cached(streams: usize) {
    gauge!(CACHED_STREAMS).set(number(streams as u64));
}

pub(crate) fn lost_race() {
    counter!(LOST_RACES).increment(1);
}

pub(crate) fn unknown_outcome() {
    counter!(UNKNOWN_OUTCOMES).increment(1);
}

pub(crate) fn refused_batch() {
    counter!(REFUSED_BATCHES).increment(1);
}

/// Exact up to 2^53.
fn number(count: u64) -> f64 {
    count as f64
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// When the writer last came round. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last_ms: Arc::new(AtomicU64::new(0)) }
    }

    pub(crate) fn beat(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
