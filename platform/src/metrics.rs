//! Every metric of the binary, in one table, and the recorder behind `/metrics`.
//!
//! Invariants: a metric is in this table or it is not exported (`render` shows nothing else of
//! ours); names, units and labels follow the conventions of Prometheus (seconds, bytes, `_total`);
//! a label's values are few and fixed by code or configuration, never taken from a request: no raw
//! path, no subject, no id; no metric tells an amount of money.
//!
//! A crate records with the `metrics` crate's macros under the names below. The event store, which
//! uses nothing of the platform, has its own copy of its names; `tests/it/telemetry.rs` compares.

use std::sync::OnceLock;

use ::metrics::{SetRecorderError, Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

mod process;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, in buckets of seconds.
    Seconds,
    /// Sizes of batches, in buckets of counts.
    Sizes,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Upper bounds of durations: from a commit's fraction of a millisecond to a saga's half minute.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of batches.
const SIZES: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0];

macro_rules! table {
    ($($(#[$section:meta])* $constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*

        /// Every metric of ours.
        pub const TABLE: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

// One row a metric: constant, kind, name, labels, what it says. Dashboards and alerts are checked against these lines.
table! {
    BUILD_INFO Gauge "daybook_build_info" ["version", "role"] "Always 1; which version and role this process is.";

    HTTP_REQUESTS Counter "daybook_http_requests_total" ["method", "route", "status"] "Requests answered; route is the template, status the class (2xx, 4xx, …).";
    HTTP_DURATION Seconds "daybook_http_request_duration_seconds" ["method", "route", "status"] "Time from a request's head to its reply's head.";
    HTTP_IN_FLIGHT Gauge "daybook_http_requests_in_flight" [] "Requests at work now.";
    HTTP_REFUSALS_HELD Gauge "daybook_http_refusals_held" [] "Refusals for overload that are held back now, so that who asks again at once asks rarely.";
    HTTP_SHED Counter "daybook_http_requests_shed_total" ["reason"] "Requests given up by the server; reason: overloaded, timeout, panic.";
    AUTH_REFUSALS Counter "daybook_auth_refusals_total" ["reason"] "Requests refused by entry control; reason is the problem's code, such as token_expired or permission_missing.";
    RATE_LIMITED Counter "daybook_http_rate_limited_total" ["scope"] "Requests over a limit of one caller, a second or at once; scope: subject, address.";

    POOL_CONNECTIONS Gauge "daybook_pool_connections" ["pool", "state"] "Connections of a pool; state: idle, used.";
    POOL_CONNECTIONS_MAX Gauge "daybook_pool_connections_max" ["pool"] "The most connections that a pool opens.";

    COMMANDS Counter "daybook_commands_total" ["command", "outcome"] "Commands answered by the write door; outcome: accepted, rejected, replayed, key_reused, overloaded, unavailable.";
    REJECTIONS Counter "daybook_command_rejections_total" ["code"] "Commands refused by a business rule, by the rejection's code; repetitions not counted.";
    WRITER_CONNECTED Gauge "daybook_writer_connected" [] "1 while the writer has its connection to the log.";
    WRITER_QUEUE_DEPTH Gauge "daybook_writer_queue_depth" [] "Commands that wait for the writer.";
    WRITER_QUEUE_CAPACITY Gauge "daybook_writer_queue_capacity" [] "How many may wait; one more is refused as overload.";
    WRITER_BATCH_COMMANDS Sizes "daybook_writer_batch_commands" [] "Commands of one commit.";
    WRITER_BATCH_EVENTS Sizes "daybook_writer_batch_events" [] "Events of one commit.";
    WRITER_DECIDE_DURATION Seconds "daybook_writer_decide_duration_seconds" [] "Time to look up keys, load streams and decide a batch.";
    WRITER_COMMIT_DURATION Seconds "daybook_writer_commit_duration_seconds" [] "Time of the statement that appends a batch and commits.";
    WRITER_LOST_RACES Counter "daybook_writer_lost_races_total" [] "Batches decided again because another writer had moved the head.";
    WRITER_UNKNOWN_OUTCOMES Counter "daybook_writer_unknown_outcomes_total" [] "Commits whose outcome had to be resolved on a new connection.";
    WRITER_REFUSED_BATCHES Counter "daybook_writer_refused_batches_total" [] "Batches that the database or a check refused; their commands were tried alone.";
    WRITER_CACHED_STREAMS Gauge "daybook_writer_cached_streams" [] "Streams that the writer keeps in memory.";
    LOG_EVENTS Counter "daybook_log_events_total" [] "Events appended by this process.";
    LOG_HEAD_POSITION Gauge "daybook_log_head_position" [] "Position of the last event of the log, as far as this process knows.";

    RELAY_LEADING Gauge "daybook_relay_leading" [] "1 while this relay leads; exactly one of all should.";
    RELAY_CONNECTED Gauge "daybook_relay_connected" [] "1 while this relay leads or stands by, 0 while it tries to.";
    RELAY_POSITION Gauge "daybook_relay_position" [] "Everything up to this position is acknowledged by Kafka; set by the leader.";
    RELAY_LAG_EVENTS Gauge "daybook_relay_lag_events" [] "Events of the log that Kafka has not acknowledged; 0 unless leading.";
    RELAY_LAG_SECONDS Gauge "daybook_relay_lag_seconds" [] "Age of the oldest event that Kafka has not acknowledged; 0 unless leading.";
    RELAY_IN_FLIGHT Gauge "daybook_relay_in_flight_events" [] "Events handed to the Kafka client and not acknowledged.";
    RELAY_EVENTS Counter "daybook_relay_published_events_total" [] "Events acknowledged by Kafka.";
    RELAY_FAILURES Counter "daybook_relay_failures_total" ["code"] "Times that publishing stopped; code: database, kafka, delivery, log_broken, beyond_head, other_history, …";

    PROJECTOR_OWNED Gauge "daybook_projector_partition_owned" ["projection", "partition"] "1 while this projector owns the partition; 0 once it has lost it.";
    PROJECTOR_STOPPED Gauge "daybook_projector_partition_stopped" ["projection", "partition"] "1 while the partition stands still because of what is in it.";
    PROJECTOR_APPLIED_POSITION Gauge "daybook_projector_applied_position" ["projection", "partition"] "Every event of the partition up to this position of the log is applied.";
    PROJECTOR_LAG_RECORDS Gauge "daybook_projector_lag_records" ["projection", "partition"] "Records of the partition not applied yet, events and watermarks; 0 if not owned.";
    PROJECTOR_LAG_SECONDS Gauge "daybook_projector_lag_seconds" ["projection", "partition"] "At most how long ago the oldest event not applied was recorded; 0 if caught up or not owned.";
    PROJECTOR_PARKED Gauge "daybook_projector_parked_streams" ["projection"] "Streams that stand still, of the partitions owned.";
    PROJECTOR_EVENTS Counter "daybook_projector_applied_events_total" ["projection"] "Events applied or parked.";
    PROJECTOR_BATCH_EVENTS Sizes "daybook_projector_batch_events" ["projection"] "Events of one write.";
    PROJECTOR_WRITE_DURATION Seconds "daybook_projector_write_duration_seconds" ["projection"] "Time of one write of rows and offsets.";
    PROJECTOR_EVENT_AGE Seconds "daybook_projector_event_age_seconds" ["projection"] "Age of the newest event of a write when it is visible: the way from the log to the view.";
    PROJECTOR_FAILURES Counter "daybook_projector_failures_total" ["projection", "reason"] "Writes dropped and begun again; reason: fenced, database, kafka, rebuild, stall.";

    SAGAS Gauge "daybook_saga_states" ["kind", "state"] "Sagas by kind and state.";
    SAGA_TIMERS_OVERDUE Gauge "daybook_saga_timers_overdue" ["kind"] "Timers of sagas that are due and not done.";
    SAGA_TIMERS_OLDEST Gauge "daybook_saga_timers_oldest_overdue_seconds" ["kind"] "For how long the oldest of them is due.";
    SAGA_STEPS Counter "daybook_saga_steps_total" ["kind", "step", "outcome"] "Steps of sagas tried; outcome: done, wait, retry, refused, unknown, failed.";
    SAGA_STEP_DURATION Seconds "daybook_saga_step_duration_seconds" ["kind", "step"] "Time of one try of a step.";
    SAGA_LAG_EVENTS Gauge "daybook_saga_lag_events" [] "Events of the log that the runner has not looked at.";
    PAYMENT_CALLS Counter "daybook_payment_calls_total" ["operation", "outcome"] "Calls of the payment port; outcome: accepted, settled, refused, not_sent, unknown, not_found, misconfigured.";
    PAYMENT_DURATION Seconds "daybook_payment_call_duration_seconds" ["operation", "outcome"] "Time of one call of the payment port.";
    PAYMENT_WEBHOOKS Counter "daybook_payment_webhooks_total" ["outcome"] "Webhooks of the bank received; outcome: accepted, replayed, refused.";

    PROCESS_CPU Counter "process_cpu_seconds_total" [] "Processor time of this process, user and system.";
    PROCESS_MEMORY Gauge "process_resident_memory_bytes" [] "Resident memory of this process.";
    PROCESS_VIRTUAL_MEMORY Gauge "process_virtual_memory_bytes" [] "Virtual memory of this process.";
    PROCESS_FDS Gauge "process_open_fds" [] "Open file descriptors of this process.";
    PROCESS_FDS_MAX Gauge "process_max_fds" [] "The most file descriptors that this process may open.";
    PROCESS_START Gauge "process_start_time_seconds" [] "When this process started, in seconds since the epoch.";
}

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder cannot be made.
    #[error("metrics: {0}")]
    Build(#[from] BuildError),
    /// Something else has taken the process's metrics.
    #[error("metrics are already recorded: {0}")]
    Taken(#[from] SetRecorderError<PrometheusRecorder>),
}

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts to record the process's metrics; before that, and in a process that never calls it,
/// recording costs next to nothing. Idempotent.
///
/// # Errors
/// Another recorder has been installed.
pub fn install(role: &'static str) -> Result<(), MetricsError> {
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let mut builder = PrometheusBuilder::new();
    for metric in TABLE {
        let matcher = || Matcher::Full(metric.name.to_owned());
        builder = match metric.kind {
            Kind::Seconds => builder.set_buckets_for_metric(matcher(), &SECONDS)?,
            Kind::Sizes => builder.set_buckets_for_metric(matcher(), &SIZES)?,
            Kind::Counter | Kind::Gauge => builder,
        };
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder)?;
    HANDLE.get_or_init(|| handle);
    for metric in TABLE {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Seconds => describe_histogram!(metric.name, Unit::Seconds, metric.help),
            Kind::Sizes => describe_histogram!(metric.name, Unit::Count, metric.help),
        }
    }
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "role" => role).set(1.0);
    Ok(())
}

/// Whether the process's metrics are recorded: only then may a metric's handle be kept.
pub(crate) fn is_installed() -> bool {
    HANDLE.get().is_some()
}

/// The metrics in the text format of Prometheus; empty before [`install`].
pub fn render() -> String {
    let Some(handle) = HANDLE.get() else { return String::new() };
    let mut text = handle.render();
    process::render_into(&mut text);
    text
}

/// Folds what was recorded since the last call into the buckets, so that the memory of a process
/// that nobody scrapes stays bounded. To be called every few seconds.
pub fn upkeep() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

/// Records how a pool's connections are used.
pub fn record_pool(name: &'static str, pool: &sqlx::PgPool) {
    let (size, idle) = (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
    ::metrics::gauge!(POOL_CONNECTIONS, "pool" => name, "state" => "idle").set(idle);
    ::metrics::gauge!(POOL_CONNECTIONS, "pool" => name, "state" => "used").set(size.saturating_sub(idle));
    ::metrics::gauge!(POOL_CONNECTIONS_MAX, "pool" => name).set(pool.options().get_max_connections());
}

/// A count as a gauge's value; exact up to 2^53.
#[allow(clippy::cast_precision_loss)] // a position beyond 2^53 is millennia away
pub fn gauge_value(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{Kind, TABLE, install, render};
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        let names: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for metric in TABLE {
            let name = metric.name;
            assert!(name.starts_with("daybook_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(metric.kind != Kind::Seconds || name.ends_with("_seconds"), "{name}");
            for label in metric.labels {
                assert!(!["path", "subject", "id", "amount", "correlation_id"].contains(label), "{name}: {label}");
            }
        }
    }

    #[test]
    fn what_is_recorded_is_rendered_with_its_help_and_its_buckets() {
        install("test").unwrap();
        install("test").unwrap();
        ::metrics::counter!(super::HTTP_SHED, "reason" => "timeout").increment(2);
        ::metrics::histogram!(super::WRITER_COMMIT_DURATION).record(0.003);
        let text = render();
        for line in [
            "# HELP daybook_http_requests_shed_total Requests given up by the server; reason: overloaded, timeout, panic.",
            "# TYPE daybook_http_requests_shed_total counter",
            "daybook_http_requests_shed_total{reason=\"timeout\"} 2",
            "daybook_writer_commit_duration_seconds_bucket{le=\"0.0025\"} 0",
            "daybook_writer_commit_duration_seconds_bucket{le=\"0.005\"} 1",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(resident.unwrap().parse::<u64>().unwrap() > 1_000_000, "{text}");
    }
}
