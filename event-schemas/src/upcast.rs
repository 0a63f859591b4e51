//! From any published version of an event to the current one.

use domain::{Event, StreamKind};

/// An event that this version of Daybook cannot read. Its reader stops; it is never skipped.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A type that is not known.
    #[error("unknown event type `{event_type}` on a {kind} stream")]
    UnknownType {
        /// The kind of stream.
        kind: &'static str,
        /// The type.
        event_type: String,
    },
    /// A version that is not known.
    #[error("unknown version `{event_version}` of `{event_type}`")]
    UnknownVersion {
        /// The type.
        event_type: String,
        /// The version.
        event_version: String,
    },
    /// A payload that does not fit its type and version.
    #[error("the payload of `{event_type}` version {event_version} does not fit: {source}")]
    Payload {
        /// The type.
        event_type: String,
        /// The version.
        event_version: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Reads a stored event of any published version as an event of the current one.
///
/// # Errors
/// Unknown type or version, or a payload that does not fit.
pub fn decode(kind: StreamKind, event_type: &str, event_version: &str, payload: &str) -> Result<Event, DecodeError> {
    let Some((_, _, current)) =
        domain::event::EVENT_TYPES.iter().find(|(of, name, _)| *of == kind && *name == event_type)
    else {
        return Err(DecodeError::UnknownType { kind: kind.name(), event_type: event_type.to_owned() });
    };
    if event_version != *current {
        return Err(DecodeError::UnknownVersion {
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
        });
    }
    Event::from_payload(kind, payload).map_err(|source| DecodeError::Payload {
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        source,
    })
}
