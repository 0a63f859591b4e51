//! A log line as text for people: time, level, the spans it is in with their fields, target, message and
//! fields, as `tracing_subscriber`'s own format has it, at a third of the cost.
//!
//! Invariant: nothing in a value can end the line, move a terminal's cursor or colour it.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::clock::Clock;

/// The format.
pub(super) struct Lines;

/// Fields as text: `name=value`, with spaces between.
pub(super) struct Fields;

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
        let mut said = Said { text: String::with_capacity(256), target: None, result: Ok(()) };
        event.record(&mut said);
        said.result?;
        Clock.format_time(&mut writer)?;
        let metadata = event.metadata();
        writer.write_str(level(*metadata.level()))?;
        let mut is_in_span = false;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            is_in_span = true;
            writer.write_str(span.metadata().name())?;
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<Fields>>().filter(|fields| !fields.is_empty()) {
                writer.write_char('{')?;
                writer.write_str(&fields.fields)?;
                writer.write_char('}')?;
            }
            writer.write_char(':')?;
        }
        if is_in_span {
            writer.write_char(' ')?;
        }
        writer.write_str(said.target.as_deref().unwrap_or(metadata.target()))?;
        writer.write_str(": ")?;
        writer.write_str(&said.text)?;
        writer.write_char('\n')
    }
}

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut said = Said { text: String::with_capacity(128), target: None, result: Ok(()) };
        fields.record(&mut said);
        said.result?;
        writer.write_str(&said.text)
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        if !current.fields.is_empty() {
            current.fields.push(' ');
        }
        self.format_fields(current.as_writer(), fields)
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => " ERROR ",
        Level::WARN => "  WARN ",
        Level::INFO => "  INFO ",
        Level::DEBUG => " DEBUG ",
        Level::TRACE => " TRACE ",
    }
}

/// What the fields say.
struct Said {
    text: String,
    /// A line that came by the `log` crate says its own target in a field.
    target: Option<String>,
    result: fmt::Result,
}

impl Said {
    /// Begins a field; the message is one without a name.
    fn begin(&mut self, field: &Field) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let name = field.name();
        if name != "message" {
            self.text.push_str(name.strip_prefix("r#").unwrap_or(name));
            self.text.push('=');
        }
    }
}

impl Visit for Said {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with("log.") {
            self.begin(field);
            self.text.push_str(&value.to_string());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" || field.name().starts_with("log.") || !is_plain(value) {
            let message = format_args!("{value}");
            let value: &dyn Debug = if field.name() == "message" { &message } else { &value };
            return self.record_debug(field, value);
        }
        self.begin(field);
        self.text.push('"');
        self.text.push_str(value);
        self.text.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "log.target" => self.target = Some(format!("{value:?}").trim_matches('"').to_owned()),
            name if name.starts_with("log.") => {}
            _ => {
                self.begin(field);
                self.result = self.result.and(write!(Escaping(&mut self.text), "{value:?}"));
            }
        }
    }
}

/// Whether `Debug` would write a text as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\')
}

/// Writes control characters as their escapes.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            self.0.push_str(text);
            return Ok(());
        }
        for character in text.chars() {
            // A line of several lines, such as a panic's, stays one that people can read.
            if character.is_control() && !matches!(character, '\n' | '\t') {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Fields, Lines};
    use crate::telemetry::json::tests::Buffer;

    fn tell() {
        let request = tracing::info_span!("request", correlation_id = %"c-1", subject = tracing::field::Empty);
        tracing::info!("outside");
        request.record("subject", "ann \"the\" Ášek");
        let _request = request.enter();
        tracing::info!(method = %"POST", path = "/v1/x", status = 201, ratio = 0.5, r#type = ?Some(1), "request");
        let _inner = tracing::warn_span!("inner").entered();
        tracing::error!(error = "tab\tline\n", ok = true, "it failed: {}", "\u{1b}[31m");
        tracing::debug!(target: "elsewhere", nothing = ?());
    }

    fn told<S: tracing::Subscriber + Send + Sync>(subscriber: S, buffer: &Buffer) -> Vec<String> {
        tracing::subscriber::with_default(subscriber, tell);
        buffer.text().lines().map(|line| line.split_once('Z').map_or(line, |(_, rest)| rest).to_owned()).collect()
    }

    #[test]
    fn a_line_is_as_that_of_the_subscriber() {
        let (ours, theirs) = (Buffer::default(), Buffer::default());
        let layer = tracing_subscriber::fmt::layer().with_ansi(false);
        let layer = layer.fmt_fields(Fields).event_format(Lines).with_writer(ours.clone());
        let our_lines = told(tracing_subscriber::registry().with(layer), &ours);
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(theirs.clone());
        let their_lines = told(tracing_subscriber::registry().with(layer), &theirs);
        let spelled: Vec<String> = their_lines.iter().map(|line| line.replace("\\x1b", "\\u{1b}")).collect();
        assert_eq!(our_lines, spelled);
        assert_eq!(our_lines.len(), 4);
        assert!(!ours.text().contains('\u{1b}'));
    }
}
