//! What a process tells of itself as it works: log lines to standard error, as text for people or
//! JSON for collectors, and spans to a collector of traces where one is configured.
//!
//! Invariants: standard output stays free for what a tool prints; a line about a request has its
//! correlation id, its subject and its trace; spans go to the collector only, so that log lines cost
//! the same whether or not there is one; a collector that is away costs nothing and blocks nothing.

mod clock;
mod json;
mod otlp;
mod output;
mod text;
pub mod trace;

use crate::config::{Config, LogFormat};
use opentelemetry_sdk::trace::SdkTracerProvider;
use output::Output;
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::filter::{FilterExt, dynamic_filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How long the end of a process waits for its last spans to be taken.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why log lines or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not a list of directives.
    #[error("RUST_LOG is not valid: {0}")]
    Filter(tracing_subscriber::filter::ParseError),
    /// Something else has taken the process's log lines.
    #[error("log lines are already set up: {0}")]
    Taken(TryInitError),
    /// The collector's address cannot be used.
    #[error("DAYBOOK_OTLP_ENDPOINT cannot be used: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The thread that writes log lines cannot be started.
    #[error("log lines cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

/// What has to be ended with the process. Dropped, it writes the log lines that are gathered, and from
/// then on each is written at once.
#[must_use = "the last spans are sent by its shutdown, the last lines written when it is dropped"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    output: Output,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.output.end();
    }
}

impl Telemetry {
    /// Sends the last spans, for a second at most, and writes the last log lines.
    pub async fn shutdown(mut self) {
        let Some(traces) = self.traces.take() else { return };
        let flushed = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans were not taken");
        }
    }
}

/// Sets up the process's log lines, and its traces where a collector is configured. To be called
/// once, by `main`, inside the Tokio runtime.
///
/// # Errors
/// Directives that cannot be read, a collector's address that cannot be used, or a second call.
pub fn init(config: &Config, role: &'static str) -> Result<Telemetry, TelemetryError> {
    let output = Output::start(std::io::stderr())?;
    let mut layers = vec![lines(config.log_format(), config.log_filter(), output.clone())?];
    let traces = config.otlp().map(|collector| otlp::provider(collector, role)).transpose()?;
    if let Some(provider) = &traces {
        layers.push(otlp::layer(provider));
    }
    tracing_subscriber::registry().with(layers).try_init().map_err(TelemetryError::Taken)?;
    if traces.is_some() {
        trace::turn_on();
    }
    Ok(Telemetry { traces, output })
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn lines<W>(format: LogFormat, filter: &str, writer: W) -> Result<BoxedLayer, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?;
    // Spans for the collector alone are none of the log's, whatever its level. And a line that is
    // enabled is looked at anew each time: a library that only asks whether a line would be written
    // (`log_enabled!`, as sqlx does) otherwise leaves its answer to the next line on the thread.
    let filter = filter.and(dynamic_filter_fn(|metadata, _| metadata.target() != trace::TARGET));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match format {
        LogFormat::Text if std::io::stderr().is_terminal() => {
            lines.with_ansi(true).with_timer(clock::Clock).with_filter(filter).boxed()
        }
        LogFormat::Text => {
            let lines = lines.with_ansi(false).fmt_fields(text::Fields).event_format(text::Lines);
            lines.with_filter(filter).boxed()
        }
        LogFormat::Json => lines.fmt_fields(json::Fields).event_format(json::Lines).with_filter(filter).boxed(),
    })
}

#[cfg(test)]
mod tests {
    use super::json::tests::Buffer;
    use super::lines;
    use crate::config::LogFormat;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let Err(error) = lines(LogFormat::Text, "info,=,", std::io::stderr) else { panic!("it was taken") };
        let error = error.to_string();
        assert!(error.starts_with("RUST_LOG is not valid"), "{error}");
    }

    #[test]
    fn a_library_that_only_asks_whether_it_may_log_silences_nobody() {
        let buffer = Buffer::default();
        let layer = lines(LogFormat::Json, "info,noisy=warn", buffer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(vec![layer]), || {
            for round in 0..3 {
                // As the `log` crate asks for a library whose lines go through it.
                let noise = tracing::info_span!(target: "noisy", "noise");
                let metadata = noise.metadata().unwrap();
                tracing::dispatcher::get_default(|dispatch| dispatch.enabled(metadata));
                tracing::info!(round, "told");
            }
        });
        let text = buffer.text();
        assert_eq!(text.matches("told").count(), 3, "{text}");
    }

    #[test]
    fn without_a_collector_its_spans_are_none_and_never_logged() {
        for (filter, costs_nothing) in [("info", true), ("trace", false)] {
            let buffer = Buffer::default();
            let layer = lines(LogFormat::Text, filter, buffer.clone()).unwrap();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(vec![layer]), || {
                let span = tracing::debug_span!(target: super::trace::TARGET, "platform.http.request", position = 7);
                assert!(span.is_disabled() || !costs_nothing);
                span.in_scope(|| tracing::info!("told"));
                assert_eq!(super::trace::traceparent(&span), None);
            });
            let text = buffer.text();
            assert!(text.contains("told") && !text.contains("platform.http.request"), "{text}");
        }
    }
}
