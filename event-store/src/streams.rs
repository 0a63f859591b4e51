//! The states of streams in memory: a bounded cache of what the head of the log is, and the overlay
//! in which a batch is decided.

use std::collections::HashMap;

use domain::ids::StreamKind;
use domain::rejection::RejectionRecord;
use domain::{
    Account, AccountId, Book, Event, Ledger, Loan, LoanId, LoanProduct, LoanProductId, Member, MemberId, Missing,
    Reservation, Saga, SagaId, StreamId, Transaction, TransactionId,
};
use event_schemas::Recorded;
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
pub(crate) struct Cache {
    streams: LruCache<StreamId, Stream>,
    capacity: usize,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { streams: LruCache::new_unbounded(), capacity }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn peek(&self, id: &StreamId) -> Option<&Stream> {
        self.streams.peek(id)
    }

    pub(crate) fn insert(&mut self, id: StreamId, stream: Stream) {
        self.streams.insert(id, stream);
    }

    pub(crate) fn get_mut(&mut self, id: &StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &StreamId) {
        self.streams.remove(id);
    }

    pub(crate) fn clear(&mut self) {
        self.streams.clear();
    }

    /// Evicts down to the capacity and returns what was evicted. The ledger's frame stays.
    pub(crate) fn trim(&mut self) -> Vec<(StreamId, Stream)> {
        let mut evicted = Vec::new();
        while self.streams.len() > self.capacity {
            match self.streams.remove_lru() {
                Some((StreamId::LEDGER, stream)) => {
                    self.streams.insert(StreamId::LEDGER, stream);
                }
                Some(pair) => evicted.push(pair),
                None => break,
            }
        }
        evicted
    }
}

/// The states in which a batch is decided: the cache, and on top what the batch itself has changed.
/// Dropped on anything but a commit.
pub(crate) struct BatchBook<'a> {
    cache: &'a mut Cache,
    overlay: HashMap<StreamId, Stream>,
    reservations: HashMap<Reservation, bool>,
    empty_ledger: Ledger,
}

impl<'a> BatchBook<'a> {
    pub(crate) fn new(cache: &'a mut Cache) -> Self {
        Self { cache, overlay: HashMap::new(), reservations: HashMap::new(), empty_ledger: Ledger::default() }
    }

    pub(crate) fn stream(&self, id: &StreamId) -> Option<&Stream> {
        self.overlay.get(id).or_else(|| self.cache.peek(id))
    }

    fn known(&self, id: StreamId) -> Result<&Stream, Missing> {
        self.stream(&id).ok_or(Missing::Stream(id))
    }

    /// The stream in the overlay, to be changed.
    pub(crate) fn change(&mut self, id: StreamId) -> &mut Stream {
        let cache = &self.cache;
        self.overlay.entry(id).or_insert_with(|| cache.peek(&id).cloned().unwrap_or(Stream::ABSENT))
    }

    pub(crate) fn loaded(&mut self, id: StreamId, stream: Stream) {
        self.cache.insert(id, stream);
    }

    pub(crate) fn has(&self, missing: &Missing) -> bool {
        match missing {
            Missing::Stream(id) => self.stream(id).is_some(),
            Missing::Reservation(reservation) => self.reservations.contains_key(reservation),
        }
    }

    pub(crate) fn set_reserved(&mut self, reservation: Reservation, reserved: bool) {
        self.reservations.insert(reservation, reserved);
    }

    /// The batch has committed: what it changed is the head now.
    pub(crate) fn commit(self) -> Vec<StreamId> {
        let mut changed = Vec::with_capacity(self.overlay.len());
        for (id, stream) in self.overlay {
            // Nothing is ever decided on a refusal again.
            if id.kind != StreamKind::Rejection {
                self.cache.insert(id, stream);
                changed.push(id);
            }
        }
        changed
    }
}

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
            _ => Ok(&self.empty_ledger),
        }
    }

    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing> {
        self.reservations.get(reservation).copied().ok_or_else(|| Missing::Reservation(reservation.clone()))
    }
}
