//! The time of a log line: RFC 3339, UTC, to the microsecond.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Tells the time. What lines of the same second have in common is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock;

thread_local! {
    /// A second since the epoch, and the text up to its decimals.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        // A clock before 1970 is not set at all.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        write_time(now.as_secs(), now.subsec_micros(), writer)
    }
}

fn write_time(seconds: u64, micros: u32, writer: &mut impl Write) -> fmt::Result {
    SECOND.with_borrow_mut(|(kept, text)| {
        if *kept != seconds {
            let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
            *text = time.unwrap_or_default().format("%Y-%m-%dT%H:%M:%S").to_string();
            *kept = seconds;
        }
        write!(writer, "{text}.{micros:06}Z")
    })
}

#[cfg(test)]
mod tests {
    use super::write_time;

    #[test]
    fn the_time_is_written_to_the_microsecond() {
        let time = |seconds, micros| {
            let mut text = String::new();
            write_time(seconds, micros, &mut text).unwrap();
            text
        };
        assert_eq!(time(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time(1_800_000_000, 42), "2027-01-15T08:00:00.000042Z");
        assert_eq!(time(1_800_000_000, 999_999), "2027-01-15T08:00:00.999999Z");
        assert_eq!(time(1_800_000_001, 1), "2027-01-15T08:00:01.000001Z");
    }
}
