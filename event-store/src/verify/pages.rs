//! The log in pages that are read and looked at ahead of the walk, several at once.
//!
//! Whatever can be said of an event without the state of its stream is found out here: what it decodes
//! to, the hash of its fields, whether its chain hash follows from the event before it. Pages come in
//! order, so that the first fault is still the first.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use domain::Event;
use event_schemas::{DecodeError, Recorded};
use serde::Deserialize;
use sha2::Sha256;
use tokio::task::JoinHandle;

use super::{Request, broken, request};
use crate::error::ReadError;
use crate::hash::{chain_hash, hash_fields};
use crate::reader::LogReader;

const PAGE_EVENTS: u64 = 2_000;
/// How many pages are read ahead: enough to keep two connections busy while one page is walked.
pub(super) const PAGES_AHEAD: usize = 4;

/// An event, and what it says by itself.
pub(super) struct Checked {
    pub(super) recorded: Recorded,
    pub(super) event: Result<Event, DecodeError>,
    /// Over its fields; only the hash of its stream's predecessor is missing.
    pub(super) fields: Sha256,
    /// Whether its chain hash follows from the event before it in the page; `None` for the page's first.
    pub(super) follows: Option<bool>,
    /// Under which client, key and request its command was sent, if the command may begin with it.
    pub(super) request: Option<Result<Request, ReadError>>,
}

/// The pages up to a position.
pub(super) struct Pages {
    reader: LogReader,
    next: u64,
    through: u64,
    ahead: VecDeque<JoinHandle<Result<Vec<Checked>, ReadError>>>,
}

impl Pages {
    pub(super) fn new(reader: &LogReader, through: u64) -> Self {
        Self { reader: reader.clone(), next: 0, through, ahead: VecDeque::new() }
    }

    /// The next page; `None` after the last. A page that lacks events is shorter than it should be.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Checked>>, ReadError> {
        while self.next < self.through && self.ahead.len() < PAGES_AHEAD {
            let (reader, after) = (self.reader.clone(), self.next);
            let limit = PAGE_EVENTS.min(self.through - after);
            self.next += limit;
            self.ahead.push_back(tokio::spawn(async move {
                // Below the size of a page, and so of a u32.
                let events = reader.events_after(after, limit as u32).await?;
                Ok(check(events))
            }));
        }
        let Some(page) = self.ahead.pop_front() else { return Ok(None) };
        page.await.map_err(|_| ReadError::Database(sqlx::Error::WorkerCrashed))?.map(Some)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for page in &self.ahead {
            page.abort();
        }
    }
}

fn check(events: Vec<Recorded>) -> Vec<Checked> {
    let mut checked: Vec<Checked> = Vec::with_capacity(events.len());
    for recorded in events {
        let before = checked.last().map(|before| &before.recorded);
        let follows = before.map(|before| chain_hash(&before.chain_hash, &recorded.event_hash) == recorded.chain_hash);
        let begins = before.is_none_or(|before| before.command_id != recorded.command_id);
        let request = begins.then(|| request_of(&recorded));
        let (event, fields) = (recorded.event(), hash_fields(&recorded));
        checked.push(Checked { event, fields, follows, request, recorded });
    }
    checked
}

/// Text, borrowed where it has no escapes.
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Under which client, key and request a command was sent, from its events' metadata.
fn request_of(recorded: &Recorded) -> Result<Request, ReadError> {
    let metadata: HashMap<Text<'_>, Text<'_>> = serde_json::from_str(&recorded.metadata)
        .map_err(|error| broken(recorded.position, format!("the metadata is no map of texts: {error}")))?;
    let field = |name| metadata.get(&Text(Cow::Borrowed(name))).map_or("", |text| text.0.as_ref());
    Ok(request(field("client"), field("idempotency_key"), field("request_hmac")))
}
