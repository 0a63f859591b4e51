//! What is counted and traced of a projector.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use event_schemas::Recorded;
use event_schemas::cloud_events::CE_TRACEPARENT;
use metrics::{counter, gauge, histogram};
use platform::metrics::{
    PROJECTOR_APPLIED_POSITION, PROJECTOR_BATCH_EVENTS, PROJECTOR_EVENT_AGE, PROJECTOR_EVENTS, PROJECTOR_FAILURES,
    PROJECTOR_LAG_RECORDS, PROJECTOR_LAG_SECONDS, PROJECTOR_OWNED, PROJECTOR_PARKED, PROJECTOR_STOPPED,
    PROJECTOR_WRITE_DURATION, gauge_value,
};
use platform::telemetry::trace;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tracing::Span;

/// How often lags are told, and the client is asked for the ends of the partitions.
pub(crate) const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);

/// The header of the record's publication; see the relay.
const TRACEPARENT: &str = "traceparent";

/// The span of an event from when it was taken until it is visible; none unless its trace is
/// recorded. It continues the publication, or the request where the publication was not traced.
pub(crate) fn apply_span(message: &BorrowedMessage<'_>, recorded: &Recorded) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    let header = |name: &str| {
        let found = message.headers()?.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok()
    };
    let Some(traceparent) = header(TRACEPARENT).or_else(|| header(CE_TRACEPARENT)).filter(|t| trace::is_sampled(t))
    else {
        return Span::none();
    };
    let span = tracing::debug_span!(
        target: trace::TARGET,
        parent: None,
        "projector.event.apply",
        otel.kind = "consumer",
        event_type = recorded.event_type,
        position = recorded.position,
        partition = message.partition(),
    );
    trace::continue_from(&span, traceparent);
    span
}

/// A partition as its owner sees its lag.
#[derive(Debug)]
struct Lag {
    caught_up_at: Instant,
    /// When the last event was applied, and when that was recorded.
    applied: Option<(Instant, i64)>,
}

impl Lag {
    /// At most how long ago the oldest event that is not applied was recorded. Whatever is not
    /// applied came after the partition was last seen caught up, and after what was applied last.
    fn seconds(&self, now: Instant, now_us: i64) -> Duration {
        match self.applied {
            Some((at, recorded_at_us)) if at >= self.caught_up_at => {
                Duration::from_micros(u64::try_from(now_us - recorded_at_us).unwrap_or_default())
            }
            _ => now.saturating_duration_since(self.caught_up_at),
        }
    }
}

/// The gauges of a projector, kept so that those of a partition that is lost go back to zero.
#[derive(Debug)]
pub(crate) struct Gauges {
    projection: String,
    owned: BTreeMap<i32, Lag>,
    told: BTreeSet<i32>,
    observed_at: Instant,
}

impl Gauges {
    pub(crate) fn new(projection: &str) -> Self {
        Self {
            projection: projection.to_owned(),
            owned: BTreeMap::new(),
            told: BTreeSet::new(),
            observed_at: Instant::now(),
        }
    }

    /// These partitions are owned from now on, and no others.
    pub(crate) fn own(&mut self, partitions: &[i32], parked: usize) {
        let now = Instant::now();
        self.owned =
            partitions.iter().map(|partition| (*partition, Lag { caught_up_at: now, applied: None })).collect();
        self.told.extend(partitions);
        for partition in &self.told {
            let owned = if self.owned.contains_key(partition) { 1.0 } else { 0.0 };
            self.set(PROJECTOR_OWNED, *partition, owned);
            self.set(PROJECTOR_STOPPED, *partition, 0.0);
            self.set(PROJECTOR_LAG_RECORDS, *partition, 0.0);
            self.set(PROJECTOR_LAG_SECONDS, *partition, 0.0);
        }
        self.parked(parked);
    }

    pub(crate) fn stopped(&self, partition: i32, is_stopped: bool) {
        self.set(PROJECTOR_STOPPED, partition, if is_stopped { 1.0 } else { 0.0 });
    }

    pub(crate) fn failed(&self, reason: &'static str) {
        counter!(PROJECTOR_FAILURES, "projection" => self.projection.clone(), "reason" => reason).increment(1);
    }

    fn parked(&self, streams: usize) {
        gauge!(PROJECTOR_PARKED, "projection" => self.projection.clone()).set(gauge_value(streams as u64));
    }

    /// A batch is written: by partition, when its newest event was recorded.
    pub(crate) fn written(&mut self, events: usize, newest_us: &BTreeMap<i32, i64>, took: Duration, parked: usize) {
        let projection = || self.projection.clone();
        counter!(PROJECTOR_EVENTS, "projection" => projection()).increment(events as u64);
        if events > 0 {
            histogram!(PROJECTOR_BATCH_EVENTS, "projection" => projection()).record(gauge_value(events as u64));
        }
        histogram!(PROJECTOR_WRITE_DURATION, "projection" => projection()).record(took);
        let (now, now_us) = (Instant::now(), chrono::Utc::now().timestamp_micros());
        if let Some(newest) = newest_us.values().max() {
            let age = Duration::from_micros(u64::try_from(now_us - newest).unwrap_or_default());
            histogram!(PROJECTOR_EVENT_AGE, "projection" => projection()).record(age);
        }
        for (partition, recorded_at_us) in newest_us {
            if let Some(lag) = self.owned.get_mut(partition) {
                lag.applied = Some((now, *recorded_at_us));
            }
        }
        self.parked(parked);
    }

    /// Tells the lags, if it is time to: where each partition is, and its end as Kafka said last.
    /// Gives how many records all of them lack together.
    pub(crate) fn observe(
        &mut self,
        places: impl Iterator<Item = Place>,
        ends: impl FnOnce() -> BTreeMap<i32, i64>,
    ) -> Option<u64> {
        if self.observed_at.elapsed() < OBSERVE_INTERVAL {
            return None;
        }
        let mut records_behind = 0;
        self.observed_at = Instant::now();
        let ends = ends();
        let (now, now_us) = (Instant::now(), chrono::Utc::now().timestamp_micros());
        for place in places {
            let records = ends.get(&place.partition).map_or(0, |end| (end - place.next_offset).max(0));
            let Some(lag) = self.owned.get_mut(&place.partition) else { continue };
            records_behind += records.unsigned_abs();
            if records == 0 {
                lag.caught_up_at = now;
            }
            let behind = if records == 0 { Duration::ZERO } else { lag.seconds(now, now_us) };
            self.set(PROJECTOR_LAG_RECORDS, place.partition, gauge_value(records.unsigned_abs()));
            self.set(PROJECTOR_LAG_SECONDS, place.partition, behind.as_secs_f64());
            self.set(PROJECTOR_APPLIED_POSITION, place.partition, gauge_value(place.watermark.unsigned_abs()));
        }
        Some(records_behind)
    }

    fn set(&self, name: &'static str, partition: i32, value: f64) {
        gauge!(name, "projection" => self.projection.clone(), "partition" => partition.to_string()).set(value);
    }
}

/// How far a partition is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) next_offset: i64,
    pub(crate) watermark: i64,
}

#[cfg(test)]
mod tests {
    use super::Lag;
    use std::time::{Duration, Instant};

    #[test]
    fn a_lag_is_that_of_the_oldest_event_that_can_be_missing() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        // Nothing applied since the partition was caught up: what is missing is younger than that.
        let idle = Lag { caught_up_at: now - Duration::from_secs(2), applied: Some((start, 0)) };
        assert_eq!(idle.seconds(now, 3_600_000_000), Duration::from_secs(2));
        let new = Lag { caught_up_at: now - Duration::from_secs(2), applied: None };
        assert_eq!(new.seconds(now, 0), Duration::from_secs(2));
        // A rebuild is at events of an hour ago, however recently it began.
        let rebuild = Lag { caught_up_at: start, applied: Some((now, 0)) };
        assert_eq!(rebuild.seconds(now, 3_600_000_000), Duration::from_secs(3600));
    }
}
