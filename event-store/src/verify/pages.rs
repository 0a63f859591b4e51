//! The log in pages that are read and looked at ahead of the walk, several at once.
//!
//! Whatever can be said of an event without the state of its stream is found out here: what it decodes
//! to, the hash of its fields, whether its chain hash follows from the event before it. Pages come in
//! order, and a page ends at what cannot be read, so that the first fault is still the first.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use domain::{Event, StreamId};
use event_schemas::{DecodeError, upcast};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use sha2::Sha256;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::copied::{copy, number, text};
use super::{CommandId, Request, broken, request};
use crate::error::ReadError;
use crate::hash::{Hash, Hashed, chain_hash};
use crate::reader::{COLUMNS, LogReader};

/// So many that to plan their reading costs nothing beside it, some megabytes.
const PAGE_EVENTS: u64 = 5_000;
/// How many pages are read ahead: enough to keep two connections busy while one page is walked.
pub(super) const PAGES_AHEAD: usize = 4;
/// From the Unix epoch to 1 January 2000, from which PostgreSQL counts.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// An event, and what it says by itself.
pub(super) struct Checked {
    pub(super) position: u64,
    pub(super) recorded_at_us: i64,
    pub(super) stream: StreamId,
    pub(super) sequence: u64,
    pub(super) event: Result<Event, DecodeError>,
    /// Over its fields; only the hash of its stream's predecessor is missing.
    pub(super) fields: Sha256,
    pub(super) event_hash: Hash,
    pub(super) chain_hash: Hash,
    /// Whether its chain hash follows from the event before it in the page; `None` for the page's first.
    pub(super) follows: Option<bool>,
    /// Its command, unless it is that of the event before it in the page.
    pub(super) command: Option<Command>,
}

/// What caused an event.
pub(super) struct Command {
    pub(super) id: CommandId,
    /// Under which client, key and request it was sent.
    pub(super) request: Result<Request, ReadError>,
}

/// Some events in order, and what came instead of the next one if that could not be read.
#[derive(Default)]
pub(super) struct Page {
    pub(super) events: Vec<Checked>,
    pub(super) fault: Option<ReadError>,
}

/// The pages up to a position.
pub(super) struct Pages {
    pool: PgPool,
    next: u64,
    through: u64,
    ahead: VecDeque<JoinHandle<Page>>,
    /// Walked pages, for their room: new memory for megabytes costs as much as some of the checks.
    spare: Vec<Page>,
}

impl Pages {
    pub(super) fn new(reader: &LogReader, through: u64) -> Self {
        Self { pool: reader.pool().clone(), next: 0, through, ahead: VecDeque::new(), spare: Vec::new() }
    }

    /// The next page; `None` after the last. Pages that are under way when the walk stops are read to their end. A page
    /// that lacks events at its end is shorter than it should be.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, ReadError> {
        while self.next < self.through && self.ahead.len() < PAGES_AHEAD {
            let (pool, after) = (self.pool.clone(), self.next);
            let through = self.through.min(after + PAGE_EVENTS);
            self.next = through;
            let page = self.spare.pop().unwrap_or_default();
            self.ahead.push_back(tokio::spawn(async move {
                // The bounds let the planner prune partitions and keep it on the primary key.
                let query = format!(
                    "SELECT {COLUMNS} FROM events WHERE position > {after} AND position <= {through} ORDER BY position"
                );
                page.read(&pool, &query, after).await
            }));
        }
        let Some(page) = self.ahead.pop_front() else { return Ok(None) };
        page.await.map(Some).map_err(|_| ReadError::Database(sqlx::Error::WorkerCrashed))
    }

    /// A page that was walked.
    pub(super) fn take_back(&mut self, page: Page) {
        self.spare.push(page);
    }
}

impl Page {
    /// Looks at the rows of that query while they come: those after that position.
    async fn read(mut self, pool: &PgPool, query: &str, after: u64) -> Self {
        self.events.clear();
        let mut command_before = String::new();
        let read = copy(pool, query, |row| {
            let expected = after + 1 + self.events.len() as u64;
            let (checked, command_id) = looked_at(expected, row, self.events.last(), &command_before)?;
            if checked.command.is_some() {
                command_before.clear();
                command_before.push_str(command_id);
            }
            self.events.push(checked);
            Ok(())
        });
        self.fault = read.await.err();
        self
    }
}

/// The event of a row that has the [`COLUMNS`], and the id of its command; `expected` is the position that comes next.
fn looked_at<'a>(
    expected: u64,
    row: [&'a [u8]; 12],
    before: Option<&Checked>,
    command_before: &str,
) -> Result<(Checked, &'a str), ReadError> {
    let [position, recorded_at, kind, id, sequence, event_type, version, payload, metadata, command_id, hash, chain] =
        row;
    let position = number(position)? as u64;
    if position != expected {
        return Err(broken(expected, format!("missing; the next event found is {position}")));
    }
    let (kind, id) = (text(kind)?, text(id)?);
    let stream =
        StreamId::from_parts(kind, id).ok_or_else(|| broken(position, format!("no such stream: {kind}/{id}")))?;
    let as_hash = |field: &[u8], name: &str| {
        Hash::try_from(field).map_err(|_| broken(position, format!("{name} is not 32 bytes")))
    };
    let (event_hash, chain_hash_stored) = (as_hash(hash, "event_hash")?, as_hash(chain, "chain_hash")?);
    let hashed = Hashed {
        position,
        recorded_at_us: number(recorded_at)?.saturating_add(POSTGRES_EPOCH_US),
        kind,
        id,
        sequence: number(sequence)? as u64,
        event_type: text(event_type)?,
        event_version: text(version)?,
        payload: text(payload)?,
        metadata: text(metadata)?,
        command_id: text(command_id)?,
    };
    let command = (before.is_none() || command_before != hashed.command_id)
        .then(|| Command { id: CommandId::of(hashed.command_id), request: request_of(position, hashed.metadata) });
    let checked = Checked {
        position,
        recorded_at_us: hashed.recorded_at_us,
        stream,
        sequence: hashed.sequence,
        event: upcast::decode(stream.kind, hashed.event_type, hashed.event_version, hashed.payload),
        fields: hashed.fields(),
        event_hash,
        chain_hash: chain_hash_stored,
        follows: before.map(|before| chain_hash(&before.chain_hash, &event_hash) == chain_hash_stored),
        command,
    };
    Ok((checked, hashed.command_id))
}

/// Under which client, key and request a command was sent, from its events' metadata.
fn request_of(position: u64, metadata: &str) -> Result<Request, ReadError> {
    let sent: Sent<'_> = serde_json::from_str(metadata)
        .map_err(|error| broken(position, format!("the metadata is no map of texts: {error}")))?;
    let [client, key, hmac] = [sent.client, sent.idempotency_key, sent.request_hmac];
    Ok(request(client.as_bytes(), key.as_bytes(), hmac.as_bytes()))
}

/// What a map of texts says of a request; whatever else is in it is read as texts, too.
#[derive(Default)]
struct Sent<'a> {
    client: Cow<'a, str>,
    idempotency_key: Cow<'a, str>,
    request_hmac: Cow<'a, str>,
}

/// Text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Sent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Sent<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Sent<'de>, M::Error> {
                let mut sent = Sent::default();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    match name.as_ref() {
                        "client" => sent.client = value,
                        "idempotency_key" => sent.idempotency_key = value,
                        "request_hmac" => sent.request_hmac = value,
                        _ => {}
                    }
                }
                Ok(sent)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
