//! A log line as one JSON object: `timestamp`, `level`, `message`, the event's fields, the fields of every
//! span it is in, so that a line about a request names it at the top level, and `target`.
//!
//! A line costs what it takes to write it: no tree of values is made, and a span's fields become JSON
//! once, when they are recorded.

use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::clock::Clock;

/// The format. What is nearer wins: the event's fields over those of its span, and these over those
/// of the spans around it.
pub(super) struct Lines;

/// The fields of a span as text: of each its name, a tab, its value as JSON, an end of line. No value as
/// JSON has either of these, and no name.
pub(super) struct Fields;

/// What a line says itself, whatever an event or a span calls its fields.
const OWN: [&str; 3] = ["timestamp", "level", "target"];

impl<S> FormatEvent<S, Fields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Fields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        Clock.format_time(&mut writer)?;
        let metadata = event.metadata();
        write!(writer, "\",\"level\":\"{}\"", metadata.level().as_str())?;
        let mut line = Line { writer, names: Vec::with_capacity(16), target: None, result: Ok(()) };
        line.names.extend(OWN);
        event.record(&mut line);
        let Line { mut writer, mut names, target, result } = line;
        result?;
        // From the event's own span outwards; of a field that was recorded twice, the later value.
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<FormattedFields<Fields>>() else { continue };
            for (name, value) in fields.fields.lines().rev().filter_map(|field| field.split_once('\t')) {
                if names.contains(&name) || name.starts_with("otel.") {
                    continue;
                }
                write!(writer, ",\"{name}\":{value}")?;
                names.extend(span.metadata().fields().iter().map(|field| plain(&field)).find(|known| *known == name));
            }
        }
        writer.write_str(",\"target\":")?;
        match target {
            Some(target) => writer.write_str(&target)?,
            None => write_text(&mut writer, metadata.target())?,
        }
        writer.write_str("}\n")
    }
}

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut kept = Kept { writer, result: Ok(()) };
        fields.record(&mut kept);
        kept.result
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

/// Writes an event's fields into its line.
struct Line<'a> {
    writer: Writer<'a>,
    /// Which fields the line has.
    names: Vec<&'static str>,
    /// A line that came by the `log` crate says its own target in a field; as JSON.
    target: Option<String>,
    result: fmt::Result,
}

/// Writes a span's fields to be kept.
struct Kept<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

/// Takes a field with its value as JSON.
trait Members {
    fn member(&mut self, field: &Field, write: impl Fn(&mut dyn Write) -> fmt::Result);
}

impl Members for Line<'_> {
    fn member(&mut self, field: &Field, write: impl Fn(&mut dyn Write) -> fmt::Result) {
        let name = plain(field);
        if self.result.is_err() || self.names.contains(&name) {
            return;
        }
        self.result = if name == "log.target" {
            write(self.target.insert(String::new()))
        } else if name.starts_with("log.") {
            Ok(())
        } else {
            self.names.push(name);
            write!(self.writer, ",\"{name}\":").and_then(|()| write(&mut self.writer))
        };
    }
}

impl Members for Kept<'_> {
    fn member(&mut self, field: &Field, write: impl Fn(&mut dyn Write) -> fmt::Result) {
        if self.result.is_ok() {
            let name = write!(self.writer, "{}\t", plain(field));
            self.result = name.and_then(|()| write(&mut self.writer)).and_then(|()| self.writer.write_char('\n'));
        }
    }
}

macro_rules! visits {
    ($($kind:ident),*) => {
        $(impl Visit for $kind<'_> {
            fn record_f64(&mut self, field: &Field, value: f64) {
                // JSON has no infinities.
                self.member(field, |to| if value.is_finite() { write!(to, "{value:?}") } else { to.write_str("null") });
            }

            fn record_i64(&mut self, field: &Field, value: i64) {
                self.member(field, |to| write!(to, "{value}"));
            }

            fn record_u64(&mut self, field: &Field, value: u64) {
                self.member(field, |to| write!(to, "{value}"));
            }

            fn record_bool(&mut self, field: &Field, value: bool) {
                self.member(field, |to| write!(to, "{value}"));
            }

            fn record_str(&mut self, field: &Field, value: &str) {
                self.member(field, |to| write_text(to, value));
            }

            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.member(field, |to| write_debug(to, value));
            }
        })*
    };
}

visits!(Line, Kept);

fn plain(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

fn write_text(to: &mut dyn Write, text: &str) -> fmt::Result {
    to.write_char('"')?;
    Escaping(to).write_str(text)?;
    to.write_char('"')
}

fn write_debug(to: &mut dyn Write, value: &dyn fmt::Debug) -> fmt::Result {
    to.write_char('"')?;
    write!(Escaping(to), "{value:?}")?;
    to.write_char('"')
}

/// Escapes what is written as JSON has it within a text.
struct Escaping<'a>(&'a mut dyn Write);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut characters = from.chars();
            match characters.next() {
                Some('"') => self.0.write_str("\\\"")?,
                Some('\\') => self.0.write_str("\\\\")?,
                Some('\n') => self.0.write_str("\\n")?,
                Some(other) => write!(self.0, "\\u{:04x}", u32::from(other))?,
                None => {}
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Fields, Lines};
    use serde_json::Value;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Buffer;

        fn make_writer(&'a self) -> Buffer {
            self.clone()
        }
    }

    #[test]
    fn a_line_names_its_request_at_the_top_however_deep_it_is() {
        let buffer = Buffer::default();
        let layer = tracing_subscriber::fmt::layer().fmt_fields(Fields).event_format(Lines).with_writer(buffer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let request = tracing::info_span!(
                "request",
                correlation_id = "c-1",
                subject = tracing::field::Empty,
                otel.kind = "x"
            );
            request.record("subject", "ann");
            let _request = request.enter();
            let _inner = tracing::info_span!("inner", step = 2).entered();
            tracing::warn!(error = %"it \"broke\"", "twice");
        });
        let line: Value = serde_json::from_str(&buffer.text()).unwrap();
        assert_eq!(line["correlation_id"], "c-1");
        assert_eq!(line["subject"], "ann");
        assert_eq!(line["step"], 2);
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("WARN"), Some("twice")));
        assert_eq!(line["error"], "it \"broke\"");
        assert_eq!(line.get("otel.kind"), None);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn what_is_nearer_or_later_wins_and_no_text_breaks_the_line() {
        let buffer = Buffer::default();
        let layer = tracing_subscriber::fmt::layer().fmt_fields(Fields).event_format(Lines).with_writer(buffer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let outer = tracing::info_span!("outer", a = 1, b = "outer", c = true);
            let _outer = outer.enter();
            let inner = tracing::info_span!("inner", b = "first", level = "mine", r#type = 3);
            inner.record("b", "tab\tquote\" back\\ line\n bell\u{7} é");
            let _inner = inner.enter();
            tracing::info!(a = -2, ratio = 0.5, odd = f64::NAN, text = ?"q\"", "said");
        });
        let line: Value = serde_json::from_str(&buffer.text()).unwrap();
        assert_eq!((line["a"].as_i64(), line["c"].as_bool(), line["type"].as_i64()), (Some(-2), Some(true), Some(3)));
        assert_eq!(line["b"], "tab\tquote\" back\\ line\n bell\u{7} é");
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some("said")));
        assert_eq!((line["ratio"].as_f64(), &line["odd"]), (Some(0.5), &Value::Null));
        assert_eq!(line["text"], "\"q\\\"\"");
        assert_eq!(buffer.text().lines().count(), 1);
        assert_eq!(buffer.text().matches("\"b\":").count(), 1);
    }
}
