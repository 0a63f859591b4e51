//! The states of streams in memory: a bounded cache of what the head of the log is, and the overlay
//! in which a batch is decided.

use std::sync::LazyLock;

use domain::ids::StreamKind;
use domain::rejection::RejectionRecord;
use domain::{
    Account, AccountId, Book, Event, Ledger, Loan, LoanId, LoanProduct, LoanProductId, Member, MemberId, Missing,
    Reservation, Saga, SagaId, StreamId, Transaction, TransactionId,
};
use event_schemas::Recorded;
use hashbrown::HashMap;
use hashlink::LruCache;

use crate::error::ReadError;
use crate::hash::Hash;

/// The state of one stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Known to have no events.
    Absent,
    Member(Member),
    Account(Account),
    Transaction(Transaction),
    Ledger(Ledger),
    Rejection(RejectionRecord),
    LoanProduct(Box<LoanProduct>),
    Loan(Box<Loan>),
    Saga(Box<Saga>),
}

impl State {
    pub(crate) fn fold(&mut self, event: &Event) {
        if *self == State::Absent {
            *self = match event {
                Event::Member(_) => State::Member(Member::default()),
                Event::Account(_) => State::Account(Account::default()),
                Event::Transaction(_) => State::Transaction(Transaction::default()),
                Event::Ledger(_) => State::Ledger(Ledger::default()),
                Event::Rejection(_) => State::Rejection(RejectionRecord::default()),
                Event::LoanProduct(_) => State::LoanProduct(Box::default()),
                Event::Loan(_) => State::Loan(Box::default()),
                Event::Saga(_) => State::Saga(Box::default()),
            };
        }
        match (self, event) {
            (State::Member(state), Event::Member(event)) => state.fold(event),
            (State::Account(state), Event::Account(event)) => state.fold(event),
            (State::Transaction(state), Event::Transaction(event)) => state.fold(event),
            (State::Ledger(state), Event::Ledger(event)) => state.fold(event),
            (State::Rejection(state), Event::Rejection(event)) => state.fold(event),
            (State::LoanProduct(state), Event::LoanProduct(event)) => state.fold(event),
            (State::Loan(state), Event::Loan(event)) => state.fold(event),
            (State::Saga(state), Event::Saga(event)) => state.fold(event),
            // Events are read by their stream's kind, so a state never meets another kind's event.
            (state, event) => unreachable!("{} on the state {state:?}", event.name()),
        }
    }

    pub(crate) fn to_json(&self) -> Result<Option<String>, serde_json::Error> {
        Ok(Some(match self {
            State::Absent => return Ok(None),
            State::Member(state) => serde_json::to_string(state)?,
            State::Account(state) => serde_json::to_string(state)?,
            State::Transaction(state) => serde_json::to_string(state)?,
            State::Ledger(state) => serde_json::to_string(state)?,
            State::Rejection(state) => serde_json::to_string(state)?,
            State::LoanProduct(state) => serde_json::to_string(state)?,
            State::Loan(state) => serde_json::to_string(state)?,
            State::Saga(state) => serde_json::to_string(state)?,
        }))
    }

    pub(crate) fn from_json(kind: StreamKind, json: &str) -> Result<State, serde_json::Error> {
        Ok(match kind {
            StreamKind::Member => State::Member(serde_json::from_str(json)?),
            StreamKind::Account => State::Account(serde_json::from_str(json)?),
            StreamKind::Transaction => State::Transaction(serde_json::from_str(json)?),
            StreamKind::Ledger => State::Ledger(serde_json::from_str(json)?),
            StreamKind::Rejection => State::Rejection(serde_json::from_str(json)?),
            StreamKind::LoanProduct => State::LoanProduct(serde_json::from_str(json)?),
            StreamKind::Loan => State::Loan(serde_json::from_str(json)?),
            StreamKind::Saga => State::Saga(serde_json::from_str(json)?),
        })
    }
}

/// A stream at some version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    /// How many events it has; the last one's sequence.
    pub(crate) version: u64,
    /// The last event's hash; the next event's hash covers it.
    pub(crate) last_hash: Option<Hash>,
    /// The last event's position.
    pub(crate) position: u64,
    pub(crate) state: State,
    /// The version that the newest snapshot has.
    pub(crate) snapshot_version: u64,
}

impl Stream {
    pub(crate) const ABSENT: Stream =
        Stream { version: 0, last_hash: None, position: 0, state: State::Absent, snapshot_version: 0 };

    /// Applies an event read from the log; one that it has already is passed over.
    pub(crate) fn fold_recorded(&mut self, recorded: &Recorded) -> Result<(), ReadError> {
        if recorded.sequence <= self.version {
            return Ok(());
        }
        if recorded.sequence != self.version + 1 {
            return Err(ReadError::Broken {
                position: recorded.position,
                what: format!("sequence {} of {} follows {}", recorded.sequence, recorded.stream, self.version),
            });
        }
        let event = recorded.event().map_err(|source| ReadError::Decode { position: recorded.position, source })?;
        self.state.fold(&event);
        self.version = recorded.sequence;
        self.last_hash = Some(recorded.event_hash);
        self.position = recorded.position;
        Ok(())
    }
}

/// Streams as they are at the head that the writer believes in. Bounded: [`Cache::trim`] evicts the
/// least recently used ones between batches.
///
/// Transactions and sagas come in great numbers and are seldom looked at again, so they have a small
/// part of their own: in one with the accounts they would drive those out.
pub(crate) struct Cache {
    standing: LruCache<StreamId, Stream>,
    passing: LruCache<StreamId, Stream>,
    capacity: usize,
}

/// Of so many streams in memory one is a transaction or a saga.
const PASSING_PART: usize = 8;

const fn is_passing(id: &StreamId) -> bool {
    matches!(id.kind, StreamKind::Transaction | StreamKind::Saga | StreamKind::Rejection)
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { standing: LruCache::new_unbounded(), passing: LruCache::new_unbounded(), capacity }
    }

    pub(crate) fn len(&self) -> usize {
        self.standing.len() + self.passing.len()
    }

    fn part(&mut self, id: &StreamId) -> &mut LruCache<StreamId, Stream> {
        if is_passing(id) { &mut self.passing } else { &mut self.standing }
    }

    pub(crate) fn peek(&self, id: &StreamId) -> Option<&Stream> {
        if is_passing(id) { self.passing.peek(id) } else { self.standing.peek(id) }
    }

    pub(crate) fn insert(&mut self, id: StreamId, stream: Stream) {
        self.part(&id).insert(id, stream);
    }

    pub(crate) fn get_mut(&mut self, id: &StreamId) -> Option<&mut Stream> {
        self.part(id).get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &StreamId) {
        self.part(id).remove(id);
    }

    pub(crate) fn clear(&mut self) {
        self.standing.clear();
        self.passing.clear();
    }

    /// The streams that have so many events more than their newest snapshot, the last used first; without those that
    /// are seldom looked at again.
    pub(crate) fn ahead_of_snapshots(&self, events: u64) -> Vec<(StreamId, &Stream)> {
        let is_ahead = |stream: &Stream| stream.version >= stream.snapshot_version + events;
        let used_last_first = self.standing.iter().rev();
        used_last_first.filter(|(_, stream)| is_ahead(stream)).map(|(id, stream)| (*id, stream)).collect()
    }

    /// Evicts down to the capacity and returns what was evicted. The ledger's frame stays.
    pub(crate) fn trim(&mut self) -> Vec<(StreamId, Stream)> {
        let mut evicted = Vec::new();
        while self.passing.len() > self.capacity / PASSING_PART {
            evicted.extend(self.passing.remove_lru());
        }
        while self.standing.len() > self.capacity - self.capacity / PASSING_PART {
            match self.standing.remove_lru() {
                Some((StreamId::LEDGER, stream)) => {
                    self.standing.insert(StreamId::LEDGER, stream);
                }
                Some(pair) => evicted.push(pair),
                None => break,
            }
        }
        evicted
    }
}

/// What a batch has changed or found out, on top of what lies under it. Dropped on anything but a
/// commit.
#[derive(Default)]
pub(crate) struct Overlay {
    streams: HashMap<StreamId, Stream>,
    reservations: HashMap<Reservation, bool>,
}

impl Overlay {
    /// The batch has committed: what it changed is the head now.
    pub(crate) fn commit(self, cache: &mut Cache) -> Vec<StreamId> {
        let mut changed = Vec::with_capacity(self.streams.len());
        for (id, mut stream) in self.streams {
            // The batch before may have had a snapshot made when this one was decided on it already.
            let snapshot_version = cache.peek(&id).map_or(0, |cached| cached.snapshot_version);
            stream.snapshot_version = stream.snapshot_version.max(snapshot_version);
            // Nothing is ever decided on a refusal again; what was refused has brought nothing into being.
            if id.kind != StreamKind::Rejection && stream.version > 0 {
                cache.insert(id, stream);
                changed.push(id);
            }
        }
        changed
    }

    pub(crate) fn set_reserved(&mut self, reservation: Reservation, reserved: bool) {
        self.reservations.insert(reservation, reserved);
    }

    /// Nothing can be in the log of a stream whose id was just made.
    pub(crate) fn set_absent(&mut self, id: StreamId) {
        self.streams.entry(id).or_insert(Stream::ABSENT);
    }
}

/// What lies under a batch: the head that the writer believes in, and on it the batches that are on their
/// way into the log, the newest first.
#[derive(Clone, Copy)]
pub(crate) struct Base<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) on_the_way: [Option<&'a Overlay>; 2],
}

impl<'a> Base<'a> {
    fn stream(&self, id: &StreamId) -> Option<&'a Stream> {
        let mut overlays = self.on_the_way.into_iter().flatten();
        overlays.find_map(|overlay| overlay.streams.get(id)).or_else(|| self.cache.peek(id))
    }

    /// The stream in a batch's overlay, to be changed.
    pub(crate) fn change<'o>(&self, overlay: &'o mut Overlay, id: StreamId) -> &'o mut Stream {
        overlay.streams.entry(id).or_insert_with(|| self.stream(&id).cloned().unwrap_or(Stream::ABSENT))
    }
}

/// The states in which a batch is decided.
#[derive(Clone, Copy)]
pub(crate) struct BatchBook<'a> {
    pub(crate) base: Base<'a>,
    pub(crate) overlay: &'a Overlay,
}

impl<'a> BatchBook<'a> {
    pub(crate) fn stream(&self, id: &StreamId) -> Option<&'a Stream> {
        self.overlay.streams.get(id).or_else(|| self.base.stream(id))
    }

    fn known(&self, id: StreamId) -> Result<&'a Stream, Missing> {
        self.stream(&id).ok_or(Missing::Stream(id))
    }

    fn reserved(&self, reservation: &Reservation) -> Option<bool> {
        let mut overlays = [Some(self.overlay)].into_iter().chain(self.base.on_the_way).flatten();
        overlays.find_map(|overlay| overlay.reservations.get(reservation)).copied()
    }

    pub(crate) fn has(&self, missing: &Missing) -> bool {
        match missing {
            Missing::Stream(id) => self.stream(id).is_some(),
            Missing::Reservation(reservation) => self.reserved(reservation).is_some(),
        }
    }
}

/// Reads as empty where no event has defined anything yet.
static EMPTY_LEDGER: LazyLock<Ledger> = LazyLock::new(Ledger::default);

/// The state of that kind, or none: absent. A stream's state is always of its stream's kind.
macro_rules! of_kind {
    ($book:expr, $id:expr, $kind:ident) => {
        match &$book.known($id.stream())?.state {
            State::$kind(state) => Ok(Some(state)),
            _ => Ok(None),
        }
    };
}

impl Book for BatchBook<'_> {
    fn member(&self, id: MemberId) -> Result<Option<&Member>, Missing> {
        of_kind!(self, id, Member)
    }

    fn account(&self, id: AccountId) -> Result<Option<&Account>, Missing> {
        of_kind!(self, id, Account)
    }

    fn transaction(&self, id: TransactionId) -> Result<Option<&Transaction>, Missing> {
        of_kind!(self, id, Transaction)
    }

    fn loan_product(&self, id: LoanProductId) -> Result<Option<&LoanProduct>, Missing> {
        of_kind!(self, id, LoanProduct)
    }

    fn loan(&self, id: LoanId) -> Result<Option<&Loan>, Missing> {
        of_kind!(self, id, Loan)
    }

    fn saga(&self, id: SagaId) -> Result<Option<&Saga>, Missing> {
        of_kind!(self, id, Saga)
    }

    fn ledger(&self) -> Result<&Ledger, Missing> {
        match &self.known(StreamId::LEDGER)?.state {
            State::Ledger(ledger) => Ok(ledger),
            _ => Ok(&EMPTY_LEDGER),
        }
    }

    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing> {
        self.reserved(reservation).ok_or_else(|| Missing::Reservation(reservation.clone()))
    }
}
