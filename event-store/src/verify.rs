//! Verification of the whole log: what an auditor runs, and what must hold after every fault.
//!
//! One walk in position order checks that positions are gapless, that no event was recorded before
//! its predecessor, both hash chains, that sequences are contiguous, that every event decodes, that
//! every booking balances per currency, that each leg on a guarded account has exactly one equal
//! entry in the same command (and no entry is without its leg), that every balance after is the
//! fold's, and at the end that the head, every snapshot and every stored reply agree with the log.
//! It stops at the first fault and names its position.

use std::collections::BTreeMap;

use domain::account::AccountEvent;
use domain::ids::canonical_uuid;
use domain::transaction::{Leg, TransactionEvent};
use domain::words::LedgerCode;
use domain::{AccountId, Currency, Event, Side, StreamId, StreamKind, TransactionId};
use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use sqlx::Row;
use uuid::Uuid;

use crate::error::ReadError;
use crate::hash::{GENESIS, Hash, chain_hash, complete};
use crate::reader::LogReader;
use crate::snapshots::STATE_VERSION;
use crate::streams::State;

mod copied;
mod pages;
mod replies;

use pages::{Checked, Command, Pages};

/// What a clean walk found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// Events walked; the head's position.
    pub events: u64,
    /// Commands, accepted and rejected.
    pub commands: u64,
    /// Streams by kind.
    pub streams: BTreeMap<&'static str, u64>,
    /// Events by type.
    pub types: BTreeMap<String, u64>,
    /// Entries that were matched with their legs.
    pub entries: u64,
    /// Snapshots compared with a fold.
    pub snapshots: u64,
    /// The head's chain hash: the proof of the whole, to be kept elsewhere.
    pub chain_hash: Hash,
    /// Recorded balances of guarded accounts on their normal side, in minor units.
    pub balances: BTreeMap<AccountId, (Currency, i64)>,
    /// Debits less credits by ledger code and currency, in minor units.
    pub trial_balance: BTreeMap<(String, Currency), i128>,
}

struct Walk {
    verified: Verified,
    /// Events by type.
    types: HashMap<&'static str, u64>,
    streams: HashMap<StreamId, Folded>,
    snapshots: HashMap<StreamId, Snapshot>,
    recorded_at_us: i64,
    /// Debits less credits by code and currency, as in [`Verified::trial_balance`].
    trial_balance: HashMap<LedgerCode, Vec<(Currency, i128)>>,
    /// The present command's; none before the first.
    command_id: Option<CommandId>,
    /// By command that has ended: where, and under which client, key and request it was sent.
    command_ends_at: HashMap<CommandId, (u64, Request)>,
    request: Request,
    /// Legs on guarded accounts of the present command that still lack their entry.
    open_legs: HashMap<(TransactionId, u32, u16), OpenLeg>,
}

/// A stream so far. There are millions of them, so that a state is kept only where something is
/// compared with it: an account's, and one that a snapshot was made of.
struct Folded {
    version: u64,
    last_hash: Hash,
    compared: Option<Box<Compared>>,
}

struct Compared {
    state: State,
    /// Whether a snapshot is still to be met.
    has_snapshot: bool,
}

/// Daybook's own are UUIDs, kept as their bytes since there are millions of them; any other text is kept as it is.
#[derive(PartialEq, Eq, Hash)]
enum CommandId {
    Uuid(Uuid),
    Text(Box<str>),
}

impl CommandId {
    fn of(text: &str) -> Self {
        canonical_uuid(text).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }
}

/// Client, idempotency key and the request's HMAC, hashed.
type Request = [u8; 32];

/// Of so many events the streams and commands are made room for at once, some hundreds of megabytes.
const ROOM_EVENTS_MAX: u64 = 10_000_000;

struct OpenLeg {
    account_id: AccountId,
    side: Side,
    amount_minor: i64,
}

struct Snapshot {
    version: u64,
    hash: Vec<u8>,
    state: String,
}

/// Walks the whole log up to the head as it is when the walk begins. `progress` is told the
/// position reached and the head's.
///
/// # Errors
/// The first fault, by position; or the database does not answer.
pub async fn verify(reader: &LogReader, mut progress: impl FnMut(u64, u64)) -> Result<Verified, ReadError> {
    let head = reader.head().await?;
    // A guess, so that the maps need not grow all the way: a transfer is three events, one of them a new stream.
    let room = head.position.min(ROOM_EVENTS_MAX) as usize / 3;
    let mut walk = Walk {
        verified: Verified { chain_hash: GENESIS, ..Verified::default() },
        types: HashMap::new(),
        streams: HashMap::with_capacity(room),
        snapshots: snapshots(reader).await?,
        recorded_at_us: 0,
        trial_balance: HashMap::new(),
        command_id: None,
        command_ends_at: HashMap::with_capacity(room),
        request: Request::default(),
        open_legs: HashMap::new(),
    };
    let mut pages = Pages::new(reader, head.position);
    while let Some(mut page) = pages.next().await? {
        for checked in page.events.drain(..) {
            walk.step(checked)?;
        }
        if let Some(fault) = page.fault {
            return Err(fault);
        }
        pages.take_back(page);
        progress(walk.verified.events, head.position);
    }
    if walk.verified.events < head.position {
        return Err(broken(walk.verified.events + 1, "missing below the head"));
    }
    walk.end_of_command(head.position + 1)?;
    if walk.verified.chain_hash != head.chain_hash {
        return Err(broken(head.position, "the head's chain hash is not the last event's"));
    }
    // The newest event first, then the head: a commit between the two only moves the head further.
    let last: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(reader.pool()).await?;
    let newest = reader.head().await?.position;
    if let Some(last) = last.map(|last| last as u64).filter(|last| *last > newest) {
        return Err(broken(last, "an event beyond the head"));
    }
    replies::compare(reader, &mut walk, head.position).await?;
    if let Some((id, left)) = walk.snapshots.iter().find(|(_, snapshot)| snapshot.version > 0) {
        // A snapshot of a version beyond the walk's head belongs to a commit after it began.
        let known = walk.streams.get(id).map_or(0, |stream| stream.version);
        if left.version <= known {
            return Err(broken(head.position, format!("the snapshot of {id} at {} was not met", left.version)));
        }
    }
    Ok(walk.end())
}

fn broken(position: u64, what: impl Into<String>) -> ReadError {
    ReadError::Broken { position, what: what.into() }
}

impl Walk {
    fn step(&mut self, checked: Checked) -> Result<(), ReadError> {
        let Checked { position, stream, event_hash, .. } = checked;
        if position != self.verified.events + 1 {
            return Err(broken(self.verified.events + 1, "missing"));
        }
        if checked.recorded_at_us < self.recorded_at_us {
            return Err(broken(position, "recorded before its predecessor"));
        }
        self.recorded_at_us = checked.recorded_at_us;
        let folded = self.streams.entry(stream).or_insert_with(|| {
            *self.verified.streams.entry(stream.kind.name()).or_default() += 1;
            Folded::new(stream, self.snapshots.contains_key(&stream))
        });
        if checked.sequence != folded.version + 1 {
            let what = format!("sequence {} of {stream} follows {}", checked.sequence, folded.version);
            return Err(broken(position, what));
        }
        let previous = (folded.version > 0).then_some(&folded.last_hash);
        if complete(checked.fields, previous) != event_hash {
            return Err(broken(position, "the event hash does not fit the event: it was changed after it was written"));
        }
        (folded.version, folded.last_hash) = (checked.sequence, event_hash);
        let before = &self.verified.chain_hash;
        if !checked.follows.unwrap_or_else(|| chain_hash(before, &event_hash) == checked.chain_hash) {
            return Err(broken(position, "the chain hash does not follow from its predecessor"));
        }
        let event = checked.event.map_err(|source| ReadError::Decode { position, source })?;
        if let Some(command) = checked.command.filter(|command| Some(&command.id) != self.command_id.as_ref()) {
            self.end_of_command(position)?;
            self.begin_command(position, command)?;
        }
        self.check_booking(position, stream, &event)?;
        self.fold(position, stream, &event)?;
        self.verified.events = position;
        self.verified.chain_hash = checked.chain_hash;
        *self.types.entry(event.name()).or_default() += 1;
        Ok(())
    }

    fn begin_command(&mut self, position: u64, command: Command) -> Result<(), ReadError> {
        self.verified.commands += 1;
        self.request = command.request?;
        if self.command_ends_at.contains_key(&command.id) {
            return Err(broken(position, "the events of a command are apart, or it was applied twice"));
        }
        self.command_id = Some(command.id);
        Ok(())
    }

    fn end_of_command(&mut self, position: u64) -> Result<(), ReadError> {
        if let Some(((transaction, posting, leg), _)) = self.open_legs.iter().next() {
            let what = format!("leg {leg} of posting {posting} of transaction {transaction} has no entry");
            return Err(broken(position - 1, what));
        }
        if let Some(ended) = self.command_id.take() {
            self.command_ends_at.insert(ended, (position - 1, self.request));
        }
        Ok(())
    }

    /// Legs balance, and each on a guarded account gets its entry in the same command.
    fn check_booking(&mut self, position: u64, stream: StreamId, event: &Event) -> Result<(), ReadError> {
        match event {
            Event::Transaction(TransactionEvent::TransactionPosted { legs, .. }) => {
                self.book(position, stream, 1, legs)
            }
            Event::Transaction(TransactionEvent::PendingPosted { posting, legs, .. }) => {
                self.book(position, stream, *posting, legs)
            }
            Event::Transaction(TransactionEvent::TransactionPending { legs, .. }) => balanced(position, legs),
            Event::Account(AccountEvent::EntryPosted { transaction_id, posting, leg, side, amount_minor, .. }) => {
                let account_id = AccountId(stream.id);
                let matches = self.open_legs.remove(&(*transaction_id, *posting, *leg)).is_some_and(|open| {
                    open.account_id == account_id && open.side == *side && open.amount_minor == *amount_minor
                });
                if !matches {
                    return Err(broken(position, "an entry without an equal leg in the same command"));
                }
                self.verified.entries += 1;
                Ok(())
            }
            Event::Transaction(
                TransactionEvent::PendingVoided { .. }
                | TransactionEvent::PendingExpired { .. }
                | TransactionEvent::TransactionReversed { .. },
            )
            | Event::Account(_)
            | Event::Member(_)
            | Event::Ledger(_)
            | Event::Rejection(_)
            | Event::LoanProduct(_)
            | Event::Loan(_)
            | Event::Saga(_) => Ok(()),
        }
    }

    fn book(&mut self, position: u64, stream: StreamId, posting: u32, legs: &[Leg]) -> Result<(), ReadError> {
        balanced(position, legs)?;
        for leg in legs {
            let change = match leg.side {
                Side::Debit => i128::from(leg.amount_minor),
                Side::Credit => -i128::from(leg.amount_minor),
            };
            self.add(&leg.ledger_code, leg.currency, change);
            let folded = self.streams.get(&leg.account_id.stream());
            let Some(State::Account(account)) = folded.and_then(Folded::state) else {
                return Err(broken(position, format!("a leg on account {}, not opened", leg.account_id)));
            };
            if account.currency != leg.currency || account.ledger_code != leg.ledger_code {
                return Err(broken(position, "a leg whose currency or code is not its account's"));
            }
            if account.guarded {
                let open = OpenLeg { account_id: leg.account_id, side: leg.side, amount_minor: leg.amount_minor };
                let key = (TransactionId(stream.id), posting, leg.leg);
                if self.open_legs.insert(key, open).is_some() {
                    return Err(broken(position, format!("leg {} is there twice", leg.leg)));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, code: &LedgerCode, currency: Currency, change: i128) {
        let Some(sums) = self.trial_balance.get_mut(code) else {
            self.trial_balance.insert(code.clone(), vec![(currency, change)]);
            return;
        };
        match sums.iter_mut().find(|(of, _)| *of == currency) {
            Some((_, sum)) => *sum += change,
            None => sums.push((currency, change)),
        }
    }

    fn fold(&mut self, position: u64, id: StreamId, event: &Event) -> Result<(), ReadError> {
        if !Folded::is_compared(id) && self.snapshots.is_empty() {
            return Ok(());
        }
        let Some(folded) = self.streams.get_mut(&id) else {
            return Err(broken(position, "its stream is not known"));
        };
        let Some(Compared { state, has_snapshot }) = folded.compared.as_deref_mut() else { return Ok(()) };
        if let (
            Event::Account(AccountEvent::EntryPosted { side, amount_minor, balance_minor, .. }),
            State::Account(account),
        ) = (event, &*state)
        {
            let after = account.balance_minor.checked_add(side.change_minor(*amount_minor, account.normal_side));
            if after != Some(*balance_minor) {
                let what = format!("the balance after is {balance_minor}, the entries before it give {after:?}");
                return Err(broken(position, what));
            }
        }
        state.fold(event);
        if *has_snapshot && self.snapshots.get(&id).is_some_and(|snapshot| snapshot.version == folded.version) {
            let snapshot = self.snapshots.remove(&id);
            let stored = snapshot.as_ref().and_then(|s| State::from_json(id.kind, &s.state).ok());
            if stored.as_ref() != Some(state) || snapshot.is_none_or(|snapshot| snapshot.hash != folded.last_hash) {
                return Err(broken(position, format!("the snapshot of {id} is not the fold")));
            }
            self.verified.snapshots += 1;
            *has_snapshot = false;
            if !Folded::is_compared(id) {
                folded.compared = None;
            }
        }
        Ok(())
    }
}

impl Folded {
    fn new(id: StreamId, has_snapshot: bool) -> Self {
        let compared =
            (has_snapshot || Self::is_compared(id)).then(|| Box::new(Compared { state: State::Absent, has_snapshot }));
        Self { version: 0, last_hash: Hash::default(), compared }
    }

    fn state(&self) -> Option<&State> {
        self.compared.as_deref().map(|compared| &compared.state)
    }

    /// Whether the stream's events are compared with its state.
    fn is_compared(id: StreamId) -> bool {
        id.kind == StreamKind::Account
    }
}

impl Walk {
    /// What was found, with what every account and every code ended at.
    fn end(mut self) -> Verified {
        for (id, stream) in &self.streams {
            if let Some(State::Account(account)) = stream.state()
                && account.guarded
            {
                self.verified.balances.insert(AccountId(id.id), (account.currency, account.balance_minor));
            }
        }
        self.verified.types = self.types.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        for (code, sums) in self.trial_balance {
            for (currency, sum) in sums {
                self.verified.trial_balance.insert((code.to_string(), currency), sum);
            }
        }
        self.verified
    }
}

fn balanced(position: u64, legs: &[Leg]) -> Result<(), ReadError> {
    // Nearly always one currency; seldom more than two.
    let mut sums: Vec<(Currency, i128)> = Vec::with_capacity(1);
    for leg in legs {
        if leg.amount_minor < 1 {
            return Err(broken(position, format!("leg {} has the amount {}", leg.leg, leg.amount_minor)));
        }
        let amount_minor = i128::from(leg.amount_minor);
        let change = if leg.side == Side::Debit { amount_minor } else { -amount_minor };
        match sums.iter_mut().find(|(currency, _)| *currency == leg.currency) {
            Some((_, sum)) => *sum += change,
            None => sums.push((leg.currency, change)),
        }
    }
    match sums.into_iter().filter(|(_, sum)| *sum != 0).min() {
        None => Ok(()),
        Some((currency, sum)) => Err(broken(position, format!("the legs differ by {sum} minor units of {currency}"))),
    }
}

fn request(client: &[u8], key: &[u8], hmac_hex: &[u8]) -> Request {
    let mut hasher = Sha256::new();
    for text in [client, key, hmac_hex] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

async fn snapshots(reader: &LogReader) -> Result<HashMap<StreamId, Snapshot>, ReadError> {
    let rows = sqlx::query(
        "SELECT aggregate_type, aggregate_id, sequence, event_hash, state::text AS state FROM snapshots \
         WHERE state_version = $1",
    )
    .bind(STATE_VERSION)
    .fetch_all(reader.pool())
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = StreamId::from_parts(row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
        let id = id.ok_or_else(|| broken(0, "a snapshot of no stream"))?;
        let snapshot = Snapshot {
            version: row.try_get::<i64, _>("sequence")? as u64,
            hash: row.try_get("event_hash")?,
            state: row.try_get("state")?,
        };
        found.insert(id, snapshot);
    }
    Ok(found)
}
