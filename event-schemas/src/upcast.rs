//! From any published version of an event to the current one.
//!
//! A published version is frozen. When a type changes, its version goes up and one [`Upcaster`]
//! is added to [`UPCASTERS`], from the version before to the new one; older versions get there
//! step by step. The log is never rewritten and the relay publishes the stored bytes, so every
//! reader goes through here. postgres-es reads through the same steps, by [`event_upcasters`].

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use domain::{Event, StreamKind};
use serde_json::Value;

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
    /// The payload names another type than the log does.
    #[error("the payload of `{event_type}` is a `{found}`")]
    TypeMismatch {
        /// The type that the log names.
        event_type: String,
        /// The type that the payload names.
        found: &'static str,
    },
    /// An upcaster could not make anything of the payload.
    #[error("`{event_type}` cannot be brought from version {from} to {to}: {reason}")]
    Upcast {
        /// The type.
        event_type: String,
        /// The version it has.
        from: &'static str,
        /// The version it should get.
        to: &'static str,
        /// Why not.
        reason: String,
    },
}

/// One step from a version of a type to a later one.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// On which kind of stream.
    pub kind: StreamKind,
    /// The type.
    pub event_type: &'static str,
    /// The version that it takes.
    pub from: &'static str,
    /// The version that it gives.
    pub to: &'static str,
    /// From the payload of the one to the payload of the other; or why that cannot be.
    pub upcast: fn(Value) -> Result<Value, String>,
}

/// A set of upcasters.
#[derive(Clone, Copy, Debug)]
pub struct Upcasters {
    steps: &'static [Upcaster],
}

/// The upcasters of all published versions. No type has a second version yet.
pub static UPCASTERS: Upcasters = Upcasters::new(&[]);

/// Reads a stored event of any published version as an event of the current one.
///
/// # Errors
/// Unknown type or version, or a payload that does not fit.
pub fn decode(kind: StreamKind, event_type: &str, event_version: &str, payload: &str) -> Result<Event, DecodeError> {
    UPCASTERS.decode(kind, event_type, event_version, payload)
}

/// The same upcasters for cqrs-es: pass them to `PersistedEventStore::with_upcasters`.
pub fn event_upcasters() -> Vec<Box<dyn EventUpcaster>> {
    UPCASTERS.for_framework()
}

/// The current version of a type, if the type is known on that kind of stream.
pub fn current_version(kind: StreamKind, event_type: &str) -> Option<&'static str> {
    domain::event::EVENT_TYPES
        .iter()
        .find(|(of, name, _)| *of == kind && *name == event_type)
        .map(|(_, _, version)| *version)
}

impl Upcasters {
    /// A set of these steps. [`Upcasters::faults`] tells whether it is sound.
    pub const fn new(steps: &'static [Upcaster]) -> Self {
        Self { steps }
    }

    /// What is wrong with the set, as sentences; empty if it is sound. Every step must be of a
    /// known type, no two may start at the same version, and all must lead to the current one.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let (event_type, from, to) = (step.event_type, step.from, step.to);
            let Some(current) = current_version(step.kind, event_type) else {
                faults.push(format!("no {} stream has events of type `{event_type}`", step.kind.name()));
                continue;
            };
            if self.steps[..index].iter().any(|other| other.starts_at(step.kind, event_type, from)) {
                faults.push(format!("two upcasters of `{event_type}` start at version {from}"));
            }
            if from == current {
                faults.push(format!("an upcaster of `{event_type}` starts at its current version {from}"));
            }
            // Each step of a sound chain is used once, so that a longer walk is a circle.
            let mut version = to;
            for _ in 0..self.steps.len() {
                version = self.step(step.kind, event_type, version).map_or(version, |next| next.to);
            }
            if version != current {
                faults.push(format!("from version {from} of `{event_type}` no upcasters lead to version {current}"));
            }
        }
        faults
    }

    /// Whether an event of this type and version can be read.
    pub fn reads(&self, kind: StreamKind, event_type: &str, event_version: &str) -> bool {
        current_version(kind, event_type)
            .is_some_and(|current| current == event_version || self.step(kind, event_type, event_version).is_some())
    }

    /// Reads a stored event of any of these versions as an event of the current one.
    ///
    /// # Errors
    /// As for [`decode`].
    pub fn decode(
        &self,
        kind: StreamKind,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Event, DecodeError> {
        let misfit = |source| DecodeError::Payload {
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
            source,
        };
        // The way of nearly every event: nothing is parsed twice.
        let event = if current_version(kind, event_type) == Some(event_version) {
            Event::from_payload_of_type(kind, event_type, payload)
        } else {
            let stored = serde_json::from_str(payload).map_err(misfit)?;
            Event::from_payload(kind, &self.upcast(kind, event_type, event_version, stored)?.to_string())
        }
        .map_err(misfit)?;
        if event.name() != event_type {
            return Err(DecodeError::TypeMismatch { event_type: event_type.to_owned(), found: event.name() });
        }
        Ok(event)
    }

    /// The payload in the current version of its type.
    ///
    /// # Errors
    /// Unknown type or version, or an upcaster that cannot make anything of the payload.
    pub fn upcast(
        &self,
        kind: StreamKind,
        event_type: &str,
        event_version: &str,
        payload: Value,
    ) -> Result<Value, DecodeError> {
        let Some(current) = current_version(kind, event_type) else {
            return Err(DecodeError::UnknownType { kind: kind.name(), event_type: event_type.to_owned() });
        };
        let unknown = || DecodeError::UnknownVersion {
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
        };
        let (mut payload, mut version) = (payload, event_version);
        // At most one walk over all the steps: a circle must not keep a reader for ever.
        for _ in 0..self.steps.len() {
            if version == current {
                break;
            }
            let step = self.step(kind, event_type, version).ok_or_else(unknown)?;
            payload = (step.upcast)(payload).map_err(|reason| DecodeError::Upcast {
                event_type: event_type.to_owned(),
                from: step.from,
                to: step.to,
                reason,
            })?;
            version = step.to;
        }
        if version == current { Ok(payload) } else { Err(unknown()) }
    }

    /// These upcasters for cqrs-es. Its trait has no way to fail, so what cannot be read becomes a
    /// payload that fits no type and whose type names the reason: the framework's load fails with it.
    pub fn for_framework(&self) -> Vec<Box<dyn EventUpcaster>> {
        vec![Box::new(ForFramework(*self))]
    }

    fn step(&self, kind: StreamKind, event_type: &str, from: &str) -> Option<&'static Upcaster> {
        self.steps.iter().find(|step| step.starts_at(kind, event_type, from))
    }
}

impl Upcaster {
    fn starts_at(&self, kind: StreamKind, event_type: &str, from: &str) -> bool {
        self.kind == kind && self.event_type == event_type && self.from == from
    }
}

/// All steps as one upcaster of the framework, so that their order there does not matter.
struct ForFramework(Upcasters);

impl EventUpcaster for ForFramework {
    /// Whatever is not current: also a version that nobody knows, which must not be read as current.
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        !domain::event::EVENT_TYPES.iter().any(|(_, name, current)| *name == event_type && *current == event_version)
    }

    fn upcast(&self, event: SerializedEvent) -> SerializedEvent {
        let Some(kind) = StreamKind::from_name(&event.aggregate_type) else {
            let reason = format!("unknown aggregate type `{}`", event.aggregate_type);
            return SerializedEvent { payload: unreadable(&reason), ..event };
        };
        match self.0.upcast(kind, &event.event_type, &event.event_version, event.payload) {
            Ok(payload) => {
                let current = current_version(kind, &event.event_type).unwrap_or_default();
                SerializedEvent { payload, event_version: current.to_owned(), ..event }
            }
            Err(error) => SerializedEvent { payload: unreadable(&error.to_string()), ..event },
        }
    }
}

fn unreadable(reason: &str) -> Value {
    serde_json::json!({ "type": format!("unreadable: {reason}") })
}
