//! A log line as one JSON object: `timestamp`, `level`, `target`, `message`, the event's fields, and
//! the fields of every span it is in, so that a line about a request names it at the top level.

use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The format. What is nearer wins: the event's fields over those of its span, and these over those
/// of the spans around it.
pub(super) struct Lines;

impl<S> FormatEvent<S, JsonFields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<JsonFields>>()
                && let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields)
            {
                line.extend(fields.into_iter().filter(|(name, _)| !name.starts_with("otel.")));
            }
        }
        event.record(&mut Fields(&mut line));
        let metadata = event.metadata();
        // A line that came by the `log` crate says its own target in a field.
        let target = line.remove("log.target");
        line.retain(|name, _| !name.starts_with("log."));
        line.insert("target".to_owned(), target.unwrap_or_else(|| Value::from(metadata.target())));
        line.insert("level".to_owned(), Value::from(metadata.level().as_str()));
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        line.insert("timestamp".to_owned(), Value::from(now));
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

/// Writes an event's fields into a line.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        let name = field.name();
        self.0.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Lines;
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
        let layer = tracing_subscriber::fmt::layer().json().event_format(Lines).with_writer(buffer.clone());
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
}
