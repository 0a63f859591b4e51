//! An event as a Kafka record: CloudEvents 1.0, binary mode.
//!
//! The record's value is the payload's stored bytes and one header holds the metadata's stored
//! bytes, so a consumer has everything that the hashes cover and can verify them. Nothing is
//! re-serialised on either side. A watermark is a record without a key that says how far its
//! partition is.
//!
//! Reading is strict: what was not written by [`headers`] is refused with an error that names the
//! header, and no input panics.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use domain::{StreamId, StreamKind};
use serde::{Deserialize, Serialize};

use crate::Recorded;

/// The version of CloudEvents, always `1.0`.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// `{tenant}/{position}`, or `{tenant}/watermark/{partition}/{position}`.
pub const CE_ID: &str = "ce_id";
/// `/daybook/{tenant}`.
pub const CE_SOURCE: &str = "ce_source";
/// `daybook.{aggregate type}.{event type}.v{version}`, or [`WATERMARK_TYPE`].
pub const CE_TYPE: &str = "ce_type";
/// The stream, `{aggregate type}/{aggregate id}`; the record's key as well.
pub const CE_SUBJECT: &str = "ce_subject";
/// When the event was recorded, RFC 3339 in UTC with six decimals.
pub const CE_TIME: &str = "ce_time";
/// The media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// The place in the whole log, from 1.
pub const CE_POSITION: &str = "ce_position";
/// The place in the stream, from 1.
pub const CE_SEQUENCE: &str = "ce_sequence";
/// The place among the events of the partition, from 1, without gaps.
pub const CE_ORDINAL: &str = "ce_ordinal";
/// The event hash, in hexadecimal.
pub const CE_EVENTHASH: &str = "ce_eventhash";
/// The chain hash, in hexadecimal.
pub const CE_CHAINHASH: &str = "ce_chainhash";
/// The command that caused the event.
pub const CE_COMMANDID: &str = "ce_commandid";
/// The trace of that command, where there was one.
pub const CE_TRACEPARENT: &str = "ce_traceparent";
/// The metadata's stored bytes.
pub const METADATA: &str = "daybook-metadata";

/// The `ce_type` of a watermark.
pub const WATERMARK_TYPE: &str = "daybook.watermark.v1";

const SPECVERSION: &str = "1.0";
const JSON: &str = "application/json";
const SOURCE_PREFIX: &str = "/daybook/";
/// The name of the metadata's field; a writer that escapes letters of it is not ours.
const TRACEPARENT_FIELD: &str = "\"traceparent\"";

/// A record of the topic, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // nearly every record is an event: boxing it would only cost
pub enum KafkaRecord {
    /// An event of the log.
    Event {
        /// The event, byte for byte as the log has it.
        recorded: Recorded,
        /// Its place among the events of its partition, from 1.
        ordinal: u64,
        /// The tenant whose log it is.
        tenant: String,
    },
    /// Every event of this partition up to a position has been published.
    Watermark {
        /// The position in the whole log.
        position: u64,
        /// The ordinal of the partition's last event up to there; 0 when there is none.
        ordinal: u64,
    },
}

/// A record that is no event and no watermark of Daybook. Its reader stops there.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// A header that must be there is not.
    #[error("the record has no header `{header}`")]
    MissingHeader {
        /// Which.
        header: &'static str,
    },
    /// A header's bytes are no text.
    #[error("the header `{header}` is not UTF-8")]
    HeaderNotUtf8 {
        /// Which.
        header: &'static str,
    },
    /// A header that says something else than it must.
    #[error("the header `{header}` must be {expected}, not `{found}`")]
    MalformedHeader {
        /// Which.
        header: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// Two parts of the record contradict each other.
    #[error("the header `{header}` is `{found}`, the rest of the record says `{expected}`")]
    Contradiction {
        /// Which header.
        header: &'static str,
        /// What follows from the rest of the record.
        expected: String,
        /// What the header says, shortened.
        found: String,
    },
    /// An event without a key.
    #[error("the record has no key")]
    MissingKey,
    /// The key is not the stream that the headers name.
    #[error("the record's key is `{key}`, its subject is `{subject}`")]
    WrongKey {
        /// The key, shortened.
        key: String,
        /// The subject.
        subject: String,
    },
    /// No value: a deletion, which this topic never has.
    #[error("the record has no value")]
    MissingValue,
    /// The value is no text, hence no JSON.
    #[error("the record's value is not UTF-8")]
    ValueNotUtf8,
    /// A watermark's value is not a position and an ordinal.
    #[error("the watermark's value does not fit: {source}")]
    WatermarkValue {
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watermark {
    position: u64,
    ordinal: u64,
}

/// The one field of the metadata that becomes a header.
#[derive(Deserialize)]
struct Trace {
    traceparent: Option<String>,
}

/// The headers of an event's record. The key is the stream's text, the value the payload's bytes.
///
/// `ordinal` is the event's place among those of its partition, from 1.
pub fn headers<'a>(recorded: &'a Recorded, tenant: &str, ordinal: u64) -> Vec<(&'static str, Cow<'a, str>)> {
    let mut headers = Vec::with_capacity(16);
    headers.extend([
        (CE_SPECVERSION, Cow::Borrowed(SPECVERSION)),
        (CE_ID, event_id(tenant, recorded.position).into()),
        (CE_SOURCE, source(tenant).into()),
        (CE_TYPE, event_ce_type(recorded.stream.kind, &recorded.event_type, &recorded.event_version).into()),
        (CE_SUBJECT, recorded.stream.to_string().into()),
        (CE_TIME, time_text(recorded.recorded_at_us).into()),
        (CONTENT_TYPE, Cow::Borrowed(JSON)),
        (CE_POSITION, recorded.position.to_string().into()),
        (CE_SEQUENCE, recorded.sequence.to_string().into()),
        (CE_ORDINAL, ordinal.to_string().into()),
        (CE_EVENTHASH, hash_text(&recorded.event_hash).into()),
        (CE_CHAINHASH, hash_text(&recorded.chain_hash).into()),
        (CE_COMMANDID, Cow::Borrowed(recorded.command_id.as_str())),
    ]);
    // Most commands have no trace, and what does not name one is not parsed.
    if recorded.metadata.contains(TRACEPARENT_FIELD)
        && let Ok(Trace { traceparent: Some(traceparent) }) = serde_json::from_str(&recorded.metadata)
    {
        headers.push((CE_TRACEPARENT, Cow::Owned(traceparent)));
    }
    headers.push((METADATA, Cow::Borrowed(recorded.metadata.as_str())));
    headers
}

/// The headers of a watermark's record. It has no key.
pub fn watermark_headers(tenant: &str, partition: i32, position: u64) -> Vec<(&'static str, String)> {
    vec![
        (CE_SPECVERSION, SPECVERSION.to_owned()),
        (CE_ID, format!("{tenant}/watermark/{partition}/{position}")),
        (CE_SOURCE, source(tenant)),
        (CE_TYPE, WATERMARK_TYPE.to_owned()),
        (CONTENT_TYPE, JSON.to_owned()),
    ]
}

/// The value of a watermark's record, for example `{"position":9,"ordinal":4}`.
pub fn watermark_value(position: u64, ordinal: u64) -> String {
    format!("{{\"position\":{position},\"ordinal\":{ordinal}}}")
}

/// Reads a record back. `header` looks a header up by its name.
///
/// # Errors
/// A header, key or value that is missing, malformed or contradicts another.
pub fn from_kafka<'a>(
    header: impl Fn(&str) -> Option<&'a [u8]>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<KafkaRecord, EnvelopeError> {
    let text = |name: &'static str| -> Result<&'a str, EnvelopeError> {
        let bytes = header(name).ok_or(EnvelopeError::MissingHeader { header: name })?;
        std::str::from_utf8(bytes).map_err(|_| EnvelopeError::HeaderNotUtf8 { header: name })
    };
    constant(CE_SPECVERSION, text(CE_SPECVERSION)?, SPECVERSION)?;
    constant(CONTENT_TYPE, text(CONTENT_TYPE)?, JSON)?;
    let tenant = text(CE_SOURCE)?;
    let tenant = tenant
        .strip_prefix(SOURCE_PREFIX)
        .filter(|tenant| !tenant.is_empty())
        .ok_or_else(|| malformed(CE_SOURCE, "`/daybook/` and a tenant", tenant))?;
    let value = value.ok_or(EnvelopeError::MissingValue)?;
    let ce_type = text(CE_TYPE)?;
    if ce_type == WATERMARK_TYPE {
        read_watermark(text(CE_ID)?, tenant, value)
    } else {
        read_event(text, tenant, key, value)
    }
}

fn read_event<'a>(
    text: impl Fn(&'static str) -> Result<&'a str, EnvelopeError>,
    tenant: &str,
    key: Option<&[u8]>,
    value: &[u8],
) -> Result<KafkaRecord, EnvelopeError> {
    let (kind, event_type, event_version) = parse_ce_type(text(CE_TYPE)?)?;
    let stream = parse_subject(text(CE_SUBJECT)?)?;
    if stream.kind != kind {
        return Err(contradiction(CE_TYPE, stream.kind.name(), kind.name()));
    }
    let key = key.ok_or(EnvelopeError::MissingKey)?;
    // A subject is read only in its one form, so that the header is what the stream is written as.
    let subject = text(CE_SUBJECT)?;
    if key != subject.as_bytes() {
        let subject = subject.to_owned();
        return Err(EnvelopeError::WrongKey { key: shortened(&String::from_utf8_lossy(key)), subject });
    }
    let position_text = text(CE_POSITION)?;
    let position = parse_count(CE_POSITION, position_text)?;
    let id = text(CE_ID)?;
    let names_it = id.strip_prefix(tenant).and_then(|rest| rest.strip_prefix('/')) == Some(position_text);
    if !names_it {
        return Err(contradiction(CE_ID, &event_id(tenant, position), id));
    }
    let command_id = text(CE_COMMANDID)?;
    if command_id.is_empty() {
        return Err(malformed(CE_COMMANDID, "the id of a command", command_id));
    }
    let recorded = Recorded {
        position,
        recorded_at_us: parse_time(text(CE_TIME)?)?,
        stream,
        sequence: parse_count(CE_SEQUENCE, text(CE_SEQUENCE)?)?,
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        payload: std::str::from_utf8(value).map_err(|_| EnvelopeError::ValueNotUtf8)?.to_owned(),
        metadata: text(METADATA)?.to_owned(),
        command_id: command_id.to_owned(),
        event_hash: parse_hash(CE_EVENTHASH, text(CE_EVENTHASH)?)?,
        chain_hash: parse_hash(CE_CHAINHASH, text(CE_CHAINHASH)?)?,
    };
    let ordinal = parse_count(CE_ORDINAL, text(CE_ORDINAL)?)?;
    Ok(KafkaRecord::Event { recorded, ordinal, tenant: tenant.to_owned() })
}

fn read_watermark(id: &str, tenant: &str, value: &[u8]) -> Result<KafkaRecord, EnvelopeError> {
    let Watermark { position, ordinal } =
        serde_json::from_slice(value).map_err(|source| EnvelopeError::WatermarkValue { source })?;
    let names_a_partition = id
        .strip_prefix(tenant)
        .and_then(|rest| rest.strip_prefix("/watermark/"))
        .and_then(|rest| rest.split_once('/'))
        .filter(|(partition, _)| partition.parse::<u32>().is_ok_and(|number| number.to_string() == *partition));
    match names_a_partition {
        Some((_, of)) if of == position.to_string() => Ok(KafkaRecord::Watermark { position, ordinal }),
        _ => Err(contradiction(CE_ID, &format!("{tenant}/watermark/…/{position}"), id)),
    }
}

/// The `ce_type` of an event.
pub fn event_ce_type(kind: StreamKind, event_type: &str, event_version: &str) -> String {
    format!("daybook.{}.{event_type}.v{event_version}", kind.name())
}

fn event_id(tenant: &str, position: u64) -> String {
    format!("{tenant}/{position}")
}

fn source(tenant: &str) -> String {
    format!("{SOURCE_PREFIX}{tenant}")
}

/// A time that RFC 3339 cannot express is written as it is, so that its reader refuses it rather
/// than taking it for another.
fn time_text(recorded_at_us: i64) -> String {
    match DateTime::<Utc>::from_timestamp_micros(recorded_at_us) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
        None => recorded_at_us.to_string(),
    }
}

/// Only the one form that is written is read, so that no two texts mean the same time.
fn parse_time(text: &str) -> Result<i64, EnvelopeError> {
    usual_time(text)
        .or_else(|| {
            let time = DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
            (time_text(time) == text).then_some(time)
        })
        .ok_or_else(|| malformed(CE_TIME, "a time such as 2026-01-31T09:30:00.000000Z", text))
}

/// The time of a text with each digit at its place, as all are up to the year 9999. Such a text has one
/// form only: nothing needs to be written again to compare it.
fn usual_time(text: &str) -> Option<i64> {
    const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
    let text: &[u8; 27] = text.as_bytes().try_into().ok()?;
    let fits = |(form, byte): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { form == byte };
    if !FORM.iter().zip(text).all(fits) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let [year, month, day] = [&text[0..4], &text[5..7], &text[8..10]].map(number);
    let [hour, minute, second, micro] = [&text[11..13], &text[14..16], &text[17..19], &text[20..26]].map(number);
    let day = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    Some(day.and_hms_micro_opt(hour, minute, second, micro)?.and_utc().timestamp_micros())
}

fn parse_ce_type(text: &str) -> Result<(StreamKind, &str, &str), EnvelopeError> {
    let parts = || {
        let (kind, rest) = text.strip_prefix("daybook.")?.split_once('.')?;
        let (event_type, event_version) = rest.split_once(".v")?;
        let kind = StreamKind::from_name(kind)?;
        (!event_type.is_empty() && !event_version.is_empty()).then_some((kind, event_type, event_version))
    };
    parts().ok_or_else(|| malformed(CE_TYPE, "`daybook.{aggregate type}.{event type}.v{version}`", text))
}

fn parse_subject(text: &str) -> Result<StreamId, EnvelopeError> {
    text.parse::<StreamId>()
        .ok()
        .filter(|stream| is_written_as(stream, text))
        .ok_or_else(|| malformed(CE_SUBJECT, "a stream such as `account/…`", text))
}

fn is_written_as(stream: &StreamId, text: &str) -> bool {
    match stream.kind {
        StreamKind::Ledger => text == stream.to_string(),
        // An id has one form, which is written without asking for memory.
        StreamKind::Member
        | StreamKind::Account
        | StreamKind::Transaction
        | StreamKind::Rejection
        | StreamKind::LoanProduct
        | StreamKind::Loan
        | StreamKind::Saga => {
            let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
            let id = stream.id.hyphenated().encode_lower(&mut id);
            text.strip_prefix(stream.kind.name()).and_then(|rest| rest.strip_prefix('/')) == Some(id)
        }
    }
}

/// Reads a number that counts from 1, in its one form: no sign, no leading zero.
fn parse_count(header: &'static str, text: &str) -> Result<u64, EnvelopeError> {
    text.parse::<u64>()
        .ok()
        .filter(|number| *number > 0 && !text.starts_with(['+', '0']))
        .ok_or_else(|| malformed(header, "a whole number from 1", text))
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hash_text(hash: &[u8; 32]) -> String {
    let digit = |nibble: u8| char::from(HEX_DIGITS[usize::from(nibble & 15)]);
    let mut text = String::with_capacity(2 * hash.len());
    for byte in hash {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}

fn parse_hash(header: &'static str, text: &str) -> Result<[u8; 32], EnvelopeError> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => u8::MAX,
    };
    let malformed = || malformed(header, "64 lower-case hexadecimal digits", text);
    let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| malformed())?;
    let (mut hash, mut wrong) = ([0; 32], false);
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        wrong |= high > 15 || low > 15;
        *byte = high << 4 | low & 15;
    }
    if wrong { Err(malformed()) } else { Ok(hash) }
}

fn constant(header: &'static str, found: &str, expected: &'static str) -> Result<(), EnvelopeError> {
    if found == expected { Ok(()) } else { Err(malformed(header, expected, found)) }
}

fn malformed(header: &'static str, expected: &'static str, found: &str) -> EnvelopeError {
    EnvelopeError::MalformedHeader { header, expected, found: shortened(found) }
}

fn contradiction(header: &'static str, expected: &str, found: &str) -> EnvelopeError {
    EnvelopeError::Contradiction { header, expected: expected.to_owned(), found: shortened(found) }
}

/// Errors are logged: a hostile record must not fill the log.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
#[path = "cloud_events_tests.rs"]
mod tests;
