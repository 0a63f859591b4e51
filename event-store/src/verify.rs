//! Verification of the whole log: what an auditor runs, and what must hold after every fault.
//!
//! One walk in position order checks that positions are gapless, that no event was recorded before
//! its predecessor, both hash chains, that sequences are contiguous, that every event decodes, that
//! every booking balances per currency, that each leg on a guarded account has exactly one equal
//! entry in the same command (and no entry is without its leg), that every balance after is the
//! fold's, and at the end that the head, every snapshot and every stored reply agree with the log.
//! It stops at the first fault and names its position.

use std::collections::{BTreeMap, HashMap};

use domain::account::AccountEvent;
use domain::transaction::{Leg, TransactionEvent};
use domain::words::LedgerCode;
use domain::{AccountId, Currency, Event, Side, StreamId, StreamKind, TransactionId};
use event_schemas::Recorded;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tokio::task::JoinHandle;

use crate::error::ReadError;
use crate::hash::{GENESIS, Hash, chain_hash, complete};
use crate::reader::LogReader;
use crate::snapshots::STATE_VERSION;
use crate::streams::{State, Stream};

mod pages;

use pages::{Checked, Pages};

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
    streams: HashMap<StreamId, Stream>,
    snapshots: HashMap<StreamId, Snapshot>,
    recorded_at_us: i64,
    /// Debits less credits by code and currency, as in [`Verified::trial_balance`].
    trial_balance: HashMap<LedgerCode, Vec<(Currency, i128)>>,
    command_id: String,
    /// By command that has ended: where, and under which client, key and request it was sent.
    command_ends_at: HashMap<String, (u64, Request)>,
    request: Request,
    /// Legs on guarded accounts of the present command that still lack their entry.
    open_legs: HashMap<(TransactionId, u32, u16), OpenLeg>,
}

/// Client, idempotency key and the request's HMAC, hashed.
type Request = [u8; 32];

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
    let mut walk = Walk {
        verified: Verified { chain_hash: GENESIS, ..Verified::default() },
        streams: HashMap::new(),
        snapshots: snapshots(reader).await?,
        recorded_at_us: 0,
        trial_balance: HashMap::new(),
        command_id: String::new(),
        command_ends_at: HashMap::new(),
        request: Request::default(),
        open_legs: HashMap::new(),
    };
    let mut pages = Pages::new(reader, head.position);
    while let Some(page) = pages.next().await? {
        for checked in page {
            walk.step(checked)?;
        }
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
    replies(reader, &walk, head.position).await?;
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
        let Checked { recorded, event, fields, follows, request } = checked;
        let position = recorded.position;
        if position != self.verified.events + 1 {
            return Err(broken(self.verified.events + 1, "missing"));
        }
        if recorded.recorded_at_us < self.recorded_at_us {
            return Err(broken(position, "recorded before its predecessor"));
        }
        self.recorded_at_us = recorded.recorded_at_us;
        let stream = self.streams.entry(recorded.stream).or_insert_with(|| {
            *self.verified.streams.entry(recorded.stream.kind.name()).or_default() += 1;
            Stream::ABSENT
        });
        if recorded.sequence != stream.version + 1 {
            let what = format!("sequence {} of {} follows {}", recorded.sequence, recorded.stream, stream.version);
            return Err(broken(position, what));
        }
        if complete(fields, stream.last_hash.as_ref()) != recorded.event_hash {
            return Err(broken(position, "the event hash does not fit the event: it was changed after it was written"));
        }
        let before = &self.verified.chain_hash;
        if !follows.unwrap_or_else(|| chain_hash(before, &recorded.event_hash) == recorded.chain_hash) {
            return Err(broken(position, "the chain hash does not follow from its predecessor"));
        }
        let event = event.map_err(|source| ReadError::Decode { position, source })?;
        if recorded.command_id != self.command_id {
            self.end_of_command(position)?;
            self.begin_command(&recorded, request)?;
        }
        self.check_booking(&recorded, &event)?;
        self.fold(&recorded, &event)?;
        self.verified.events = position;
        self.verified.chain_hash = recorded.chain_hash;
        match self.verified.types.get_mut(&recorded.event_type) {
            Some(count) => *count += 1,
            None => {
                self.verified.types.insert(recorded.event_type, 1);
            }
        }
        Ok(())
    }

    fn begin_command(
        &mut self,
        recorded: &Recorded,
        request: Option<Result<Request, ReadError>>,
    ) -> Result<(), ReadError> {
        self.command_id.clone_from(&recorded.command_id);
        self.verified.commands += 1;
        self.request =
            request.unwrap_or_else(|| Err(broken(recorded.position, "the command's request is not known")))?;
        if self.command_ends_at.contains_key(&recorded.command_id) {
            return Err(broken(recorded.position, "the events of a command are apart, or it was applied twice"));
        }
        Ok(())
    }

    fn end_of_command(&mut self, position: u64) -> Result<(), ReadError> {
        if let Some(((transaction, posting, leg), _)) = self.open_legs.drain().next() {
            let what = format!("leg {leg} of posting {posting} of transaction {transaction} has no entry");
            return Err(broken(position - 1, what));
        }
        if !self.command_id.is_empty() {
            self.command_ends_at.insert(std::mem::take(&mut self.command_id), (position - 1, self.request));
        }
        Ok(())
    }

    /// Legs balance, and each on a guarded account gets its entry in the same command.
    fn check_booking(&mut self, recorded: &Recorded, event: &Event) -> Result<(), ReadError> {
        match event {
            Event::Transaction(TransactionEvent::TransactionPosted { legs, .. }) => self.book(recorded, 1, legs),
            Event::Transaction(TransactionEvent::PendingPosted { posting, legs, .. }) => {
                self.book(recorded, *posting, legs)
            }
            Event::Transaction(TransactionEvent::TransactionPending { legs, .. }) => balanced(recorded.position, legs),
            Event::Account(AccountEvent::EntryPosted { transaction_id, posting, leg, side, amount_minor, .. }) => {
                let account_id = AccountId(recorded.stream.id);
                let matches = self.open_legs.remove(&(*transaction_id, *posting, *leg)).is_some_and(|open| {
                    open.account_id == account_id && open.side == *side && open.amount_minor == *amount_minor
                });
                if !matches {
                    return Err(broken(recorded.position, "an entry without an equal leg in the same command"));
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

    fn book(&mut self, recorded: &Recorded, posting: u32, legs: &[Leg]) -> Result<(), ReadError> {
        balanced(recorded.position, legs)?;
        for leg in legs {
            let change = match leg.side {
                Side::Debit => i128::from(leg.amount_minor),
                Side::Credit => -i128::from(leg.amount_minor),
            };
            self.add(&leg.ledger_code, leg.currency, change);
            let Some(State::Account(account)) = self.streams.get(&leg.account_id.stream()).map(|s| &s.state) else {
                return Err(broken(recorded.position, format!("a leg on account {}, not opened", leg.account_id)));
            };
            if account.currency != leg.currency || account.ledger_code != leg.ledger_code {
                return Err(broken(recorded.position, "a leg whose currency or code is not its account's"));
            }
            if account.guarded {
                let open = OpenLeg { account_id: leg.account_id, side: leg.side, amount_minor: leg.amount_minor };
                let key = (TransactionId(recorded.stream.id), posting, leg.leg);
                if self.open_legs.insert(key, open).is_some() {
                    return Err(broken(recorded.position, format!("leg {} is there twice", leg.leg)));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, code: &LedgerCode, currency: Currency, change: i128) {
        if !self.trial_balance.contains_key(code) {
            self.trial_balance.insert(code.clone(), Vec::new());
        }
        let Some(sums) = self.trial_balance.get_mut(code) else { return };
        match sums.iter_mut().find(|(of, _)| *of == currency) {
            Some((_, sum)) => *sum += change,
            None => sums.push((currency, change)),
        }
    }

    fn fold(&mut self, recorded: &Recorded, event: &Event) -> Result<(), ReadError> {
        let Some(stream) = self.streams.get_mut(&recorded.stream) else {
            return Err(broken(recorded.position, "its stream is not known"));
        };
        if let (
            Event::Account(AccountEvent::EntryPosted { side, amount_minor, balance_minor, .. }),
            State::Account(account),
        ) = (event, &stream.state)
        {
            let after = account.balance_minor.checked_add(side.change_minor(*amount_minor, account.normal_side));
            if after != Some(*balance_minor) {
                let what = format!("the balance after is {balance_minor}, the entries before it give {after:?}");
                return Err(broken(recorded.position, what));
            }
        }
        stream.state.fold(event);
        stream.version = recorded.sequence;
        stream.last_hash = Some(recorded.event_hash);
        if self.snapshots.get(&recorded.stream).is_some_and(|snapshot| snapshot.version == stream.version) {
            let snapshot = self.snapshots.remove(&recorded.stream);
            let state = snapshot.as_ref().and_then(|s| State::from_json(recorded.stream.kind, &s.state).ok());
            if state.as_ref() != Some(&stream.state)
                || snapshot.is_none_or(|snapshot| snapshot.hash != recorded.event_hash)
            {
                return Err(broken(recorded.position, format!("the snapshot of {} is not the fold", recorded.stream)));
            }
            self.verified.snapshots += 1;
        }
        if recorded.stream.kind == StreamKind::Rejection {
            // One event, and never looked at again.
            stream.state = State::Absent;
        }
        Ok(())
    }
}

impl Walk {
    /// What was found, with what every account and every code ended at.
    fn end(mut self) -> Verified {
        for (id, stream) in &self.streams {
            if let State::Account(account) = &stream.state
                && account.guarded
            {
                self.verified.balances.insert(AccountId(id.id), (account.currency, account.balance_minor));
            }
        }
        for (code, sums) in self.trial_balance {
            for (currency, sum) in sums {
                self.verified.trial_balance.insert((code.to_string(), currency), sum);
            }
        }
        self.verified
    }
}

fn balanced(position: u64, legs: &[Leg]) -> Result<(), ReadError> {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for leg in legs {
        if leg.amount_minor < 1 {
            return Err(broken(position, format!("leg {} has the amount {}", leg.leg, leg.amount_minor)));
        }
        let amount_minor = i128::from(leg.amount_minor);
        *sums.entry(leg.currency).or_default() += if leg.side == Side::Debit { amount_minor } else { -amount_minor };
    }
    match sums.into_iter().find(|(_, sum)| *sum != 0) {
        None => Ok(()),
        Some((currency, sum)) => Err(broken(position, format!("the legs differ by {sum} minor units of {currency}"))),
    }
}

fn request(client: &str, key: &str, hmac: &str) -> Request {
    let mut hasher = Sha256::new();
    for text in [client, key, hmac] {
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

/// Every stored reply belongs to a command of the log and ends where that command ends, and every
/// command of the log has one.
async fn replies(reader: &LogReader, walk: &Walk, head: u64) -> Result<(), ReadError> {
    let (mut met, mut next) = (0_u64, replies_after(reader.pool().clone(), String::new(), String::new()));
    loop {
        let rows = next.await.map_err(|_| ReadError::Database(sqlx::Error::WorkerCrashed))??;
        let Some(last) = rows.last() else { break };
        // The next page is read while this one is compared.
        next = replies_after(reader.pool().clone(), last.try_get("client")?, last.try_get("idempotency_key")?);
        for row in &rows {
            let position = row.try_get::<i64, _>(4)? as u64;
            if position > head {
                continue;
            }
            met += 1;
            let hmac = hex::encode(row.try_get::<&[u8], _>(3)?);
            let request = request(row.try_get(0)?, row.try_get(1)?, &hmac);
            if walk.command_ends_at.get(row.try_get::<&str, _>(2)?) != Some(&(position, request)) {
                return Err(broken(position, "a stored reply is not that of its command: another end, key or request"));
            }
        }
    }
    if met != walk.verified.commands {
        return Err(broken(head, format!("{} commands in the log, {met} stored replies", walk.verified.commands)));
    }
    Ok(())
}

/// Begins to read the stored replies after one.
fn replies_after(pool: PgPool, client: String, key: String) -> JoinHandle<Result<Vec<PgRow>, sqlx::Error>> {
    tokio::spawn(async move {
        sqlx::query(
            "SELECT client, idempotency_key, command_id, request_hmac, position FROM commands \
             WHERE (client, idempotency_key) > ($1, $2) ORDER BY client, idempotency_key LIMIT 20000",
        )
        .bind(client)
        .bind(key)
        .fetch_all(&pool)
        .await
    })
}
