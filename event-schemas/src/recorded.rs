//! An event as the log holds it.

use chrono::{DateTime, Utc};
use domain::{Event, StreamId};

/// An event of the log with everything that its hash covers, and the two hashes.
///
/// Payload and metadata are the exact bytes that were hashed; they are never re-serialised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the whole log, from 1, gapless.
    pub position: u64,
    /// When it was recorded, in microseconds since the Unix epoch.
    pub recorded_at_us: i64,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream, from 1, contiguous.
    pub sequence: u64,
    /// The name of its type, for example `EntryPosted`.
    pub event_type: String,
    /// The version of its type.
    pub event_version: String,
    /// The event as JSON.
    pub payload: String,
    /// A flat JSON object of strings: tenant, command id, client, actor, …
    pub metadata: String,
    /// The command that caused it.
    pub command_id: String,
    /// Over all of the above and the event hash of the stream's predecessor.
    pub event_hash: [u8; 32],
    /// Over the predecessor's chain hash and this event hash.
    pub chain_hash: [u8; 32],
}

impl Recorded {
    /// When it was recorded.
    pub fn recorded_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.recorded_at_us).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// The event itself, upcast to its current version.
    ///
    /// # Errors
    /// An unknown type or version, or a payload that does not fit: the reader must stop there.
    pub fn event(&self) -> Result<Event, crate::DecodeError> {
        crate::upcast::decode(self.stream.kind, &self.event_type, &self.event_version, &self.payload)
    }
}
