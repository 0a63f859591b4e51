//! Log lines: `tracing` events to standard error, as text for people or JSON for collectors.
//!
//! Invariant: standard output stays free for what a tool prints.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// Why log lines cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not a list of directives.
    #[error("RUST_LOG is not valid: {0}")]
    Filter(tracing_subscriber::filter::ParseError),
    /// Something else has taken the process's log lines.
    #[error("log lines are already set up: {0}")]
    Taken(TryInitError),
}

/// Sends the process's log lines to standard error; `filter` is a list of directives as in
/// `RUST_LOG`. To be called once, by `main`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let taken = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        }
    };
    taken.map_err(TelemetryError::Taken)
}

#[cfg(test)]
mod tests {
    use super::init;
    use crate::config::LogFormat;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let error = init(LogFormat::Text, "info,=,").unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG is not valid"), "{error}");
    }
}
