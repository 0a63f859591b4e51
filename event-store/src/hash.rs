//! The two hashes of an event, over values in one documented encoding. Frozen.
//!
//! `event_hash` is the SHA-256 of these fields, each preceded by its length in bytes as a
//! big-endian `u32`: the tag `daybook.event.1`; the position (big-endian `u64`); `recorded_at` in
//! microseconds since the Unix epoch (big-endian `i64`); aggregate type; aggregate id; sequence
//! (big-endian `u64`); event type; event version; payload; metadata; command id (all UTF-8, payload
//! and metadata as stored); and the `event_hash` of the same stream's predecessor (32 bytes, or
//! none for the first event of a stream).
//!
//! `chain_hash` is the SHA-256 of the predecessor's `chain_hash` (32 zero bytes before the first
//! event) followed by this `event_hash`.

use event_schemas::Recorded;
use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The chain hash before the first event.
pub const GENESIS: Hash = [0; 32];

const TAG: &[u8] = b"daybook.event.1";

/// What is hashed of an event: all but its two hashes.
pub(crate) struct Hashed<'a> {
    pub(crate) position: u64,
    pub(crate) recorded_at_us: i64,
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) sequence: u64,
    pub(crate) event_type: &'a str,
    pub(crate) event_version: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) metadata: &'a str,
    pub(crate) command_id: &'a str,
}

impl Hashed<'_> {
    /// The fields that the event itself has; the predecessor's hash is still to come.
    pub(crate) fn fields(&self) -> Sha256 {
        let texts = [self.event_type, self.event_version, self.payload, self.metadata, self.command_id];
        // One piece is hashed faster than two dozen; the lengths, numbers and names make up the rest.
        let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len()).sum::<usize>() + 160);
        let mut field = |value: &[u8]| {
            bytes.extend_from_slice(&length(value));
            bytes.extend_from_slice(value);
        };
        field(TAG);
        field(&self.position.to_be_bytes());
        field(&self.recorded_at_us.to_be_bytes());
        field(self.kind.as_bytes());
        field(self.id.as_bytes());
        field(&self.sequence.to_be_bytes());
        for text in texts {
            field(text.as_bytes());
        }
        Sha256::new_with_prefix(bytes)
    }

    /// The hash of these fields and the stream's predecessor.
    pub(crate) fn hash(&self, previous: Option<&Hash>) -> Hash {
        complete(self.fields(), previous)
    }
}

/// The hash of an event's fields (its own two hashes are not read) and its stream's predecessor.
pub fn event_hash(event: &Recorded, previous: Option<&Hash>) -> Hash {
    complete(hash_fields(event), previous)
}

/// All fields that the event itself has; the predecessor's hash is still to come.
pub(crate) fn hash_fields(event: &Recorded) -> Sha256 {
    let hashed = Hashed {
        position: event.position,
        recorded_at_us: event.recorded_at_us,
        kind: event.stream.kind.name(),
        id: &event.stream.id_text(),
        sequence: event.sequence,
        event_type: &event.event_type,
        event_version: &event.event_version,
        payload: &event.payload,
        metadata: &event.metadata,
        command_id: &event.command_id,
    };
    hashed.fields()
}

/// The event hash, once the predecessor's is known.
pub(crate) fn complete(mut fields: Sha256, previous: Option<&Hash>) -> Hash {
    let previous = previous.map_or(&[][..], |hash| hash.as_slice());
    fields.update(length(previous));
    fields.update(previous);
    fields.finalize().into()
}

/// A field of 4 GiB cannot occur: bodies are limited to megabytes.
fn length(field: &[u8]) -> [u8; 4] {
    (field.len() as u32).to_be_bytes()
}

/// The next link of the chain over the whole log.
pub fn chain_hash(previous: &Hash, event_hash: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(event_hash);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{StreamId, StreamKind};
    use uuid::Uuid;

    fn event() -> Recorded {
        Recorded {
            position: 7,
            recorded_at_us: 1_700_000_000_000_001,
            stream: StreamId { kind: StreamKind::Account, id: Uuid::from_u128(1) },
            sequence: 2,
            event_type: "AccountFrozen".into(),
            event_version: "1".into(),
            payload: "{\"type\":\"AccountFrozen\",\"scope\":\"both\",\"reason\":\"court_order\"}".into(),
            metadata: "{}".into(),
            command_id: "c".into(),
            event_hash: [0; 32],
            chain_hash: [0; 32],
        }
    }

    /// The encoding is frozen: these values were computed once, by hand-written Python, and must
    /// never change.
    #[test]
    fn the_encoding_is_frozen() {
        let first = event_hash(&event(), None);
        let second = event_hash(&event(), Some(&first));
        assert_eq!(hex::encode(first), FIRST);
        assert_eq!(hex::encode(second), SECOND);
        assert_eq!(hex::encode(chain_hash(&GENESIS, &first)), CHAIN);
    }

    const FIRST: &str = "7307fee620df4e2abf11aca78b501194dc8a900c4a33da80095346991da9d709";
    const SECOND: &str = "9e1c62fea5e7f9b44183894d779bc08ca9492f3991cb64f1ff9e378b6cad843f";
    const CHAIN: &str = "fdb2691ed1ad5374ce3644b39afafa2484f7bd2e93aedff7e99f105f550f3b05";

    #[test]
    fn every_field_counts() {
        let original = event_hash(&event(), None);
        let changes: [fn(&mut Recorded); 9] = [
            |e| e.position += 1,
            |e| e.recorded_at_us += 1,
            |e| e.stream.id = Uuid::from_u128(2),
            |e| e.sequence += 1,
            |e| e.event_type.push('x'),
            |e| e.event_version.push('x'),
            |e| e.payload.push(' '),
            |e| e.metadata.push(' '),
            |e| e.command_id.push('x'),
        ];
        for change in changes {
            let mut changed = event();
            change(&mut changed);
            assert_ne!(event_hash(&changed, None), original);
        }
    }
}
