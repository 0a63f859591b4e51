//! Deciding a batch at the head, in memory: commands in, rows and replies out. No I/O here; what is
//! missing is named, loaded by the writer, and the batch goes on where it stopped.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::rejection::RejectionEvent;
use domain::transaction::TransactionEvent;
use domain::{AccountId, Context, Missing, Plan, Rejection, Stop, StreamId, TransactionId, decide};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::append::Append;
use crate::bulk;
use crate::error::{StoreError, SubmitError};
use crate::hash::{Hash, Hashed, chain_hash};
use crate::load::{Decided, Key};
use crate::reader::Head;
use crate::sealing::Sealing;
use crate::streams::{Base, BatchBook, Cache, Overlay, State};
use crate::submission::{Accepted, Balance, Outcome, Rejected, Reply, Submission};

/// The rows that one commit writes.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    pub(crate) events: Vec<EventRow>,
    pub(crate) commands: Vec<CommandRow>,
    pub(crate) reservations: Vec<ReservationRow>,
}

/// An event, without what it shares with the others of its command.
#[derive(Clone)]
pub(crate) struct EventRow {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) event_type: &'static str,
    pub(crate) event_version: &'static str,
    pub(crate) payload: String,
    /// The place of its command among the rows.
    pub(crate) command: usize,
    pub(crate) event_hash: Hash,
    pub(crate) chain_hash: Hash,
}

#[derive(Clone)]
pub(crate) struct CommandRow {
    pub(crate) client: String,
    pub(crate) idempotency_key: String,
    pub(crate) command_id: String,
    /// Of each of its events.
    pub(crate) metadata: String,
    pub(crate) request_hmac: [u8; 32],
    pub(crate) position: u64,
    pub(crate) reply: String,
    pub(crate) outcome: Outcome,
}

#[derive(Clone)]
pub(crate) struct ReservationRow {
    pub(crate) kind: &'static str,
    pub(crate) value_hmac: [u8; 32],
    pub(crate) stream: String,
    pub(crate) position: u64,
}

/// What a batch is decided in besides the states: whose log it is, and the keys of HMACs.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) sealing: &'a Sealing,
}

/// A batch being decided on top of a head. Its commands are decided in their order, as they come.
pub(crate) struct Batch {
    pub(crate) overlay: Overlay,
    /// Shared with the task that writes them, from when it is sent on; until then they are its own.
    pub(crate) rows: Arc<Rows>,
    /// The result of each command so far, in their order.
    pub(crate) replies: Vec<Result<Reply, SubmitError>>,
    /// What was decided before, as far as it was looked up.
    looked_up: HashMap<Key, Decided>,
    /// By key, the commands of `rows`.
    keys: HashTable<usize>,
    hasher: DefaultHashBuilder,
    before: Head,
    recorded_at: DateTime<Utc>,
    business_date: NaiveDate,
    position: u64,
    chain: Hash,
}

/// The batches that are on their way into the log, the newest first. The next one is decided on them.
#[derive(Clone, Copy, Default)]
pub(crate) struct OnTheWay<'a>(pub(crate) [Option<&'a Batch>; 2]);

impl<'a> OnTheWay<'a> {
    /// The head once they have committed, if there are any.
    pub(crate) fn after(self) -> Option<Head> {
        self.batches().next().map(Batch::after)
    }

    fn batches(self) -> impl Iterator<Item = &'a Batch> {
        self.0.into_iter().flatten()
    }

    fn under(self, cache: &'a Cache) -> Base<'a> {
        Base { cache, on_the_way: self.0.map(|batch| batch.map(|batch| &batch.overlay)) }
    }
}

/// What a command gives to each of its events.
#[derive(Clone, Copy)]
struct Of<'a> {
    metadata: &'a str,
    command_id: &'a str,
}

/// A command that was decided before.
struct Earlier<'a> {
    command_id: &'a str,
    request_hmac: &'a [u8],
    outcome: &'a Outcome,
}

impl Batch {
    pub(crate) fn new(head: &Head, recorded_at: DateTime<Utc>, business_date: NaiveDate) -> Self {
        Self {
            overlay: Overlay::default(),
            rows: Arc::default(),
            replies: Vec::new(),
            looked_up: HashMap::new(),
            keys: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            before: *head,
            recorded_at,
            business_date,
            position: head.position,
            chain: head.chain_hash,
        }
    }

    /// What it writes.
    pub(crate) fn append(&self) -> Append {
        Append { before: self.before, after: self.after(), rows: Arc::clone(&self.rows) }
    }

    /// The head after this batch has committed.
    pub(crate) fn after(&self) -> Head {
        Head {
            batch: self.before.batch + 1,
            position: self.position,
            recorded_at_us: self.recorded_at.timestamp_micros(),
            chain_hash: self.chain,
        }
    }

    /// Adds what is in the log already.
    pub(crate) fn know(&mut self, decided: HashMap<Key, Decided>) {
        self.looked_up.extend(decided);
    }

    fn earlier(&self, client: &str, key: &str) -> Option<Earlier<'_>> {
        let hash = self.hasher.hash_one((client, key));
        let own = self.keys.find(hash, |at| {
            self.rows.commands.get(*at).is_some_and(|row| row.idempotency_key == key && row.client == client)
        });
        own.and_then(|at| self.rows.commands.get(*at)).map(|row| Earlier {
            command_id: &row.command_id,
            request_hmac: &row.request_hmac,
            outcome: &row.outcome,
        })
    }

    /// The first command under a key, of those that are known: in the log, being committed, of this batch.
    fn decided<'a>(&'a self, on_the_way: OnTheWay<'a>, client: &str, key: &str) -> Option<Earlier<'a>> {
        let mut batches = [self].into_iter().chain(on_the_way.batches());
        batches.find_map(|batch| batch.earlier(client, key)).or_else(|| {
            if self.looked_up.is_empty() {
                return None;
            }
            let decided = self.looked_up.get(&(client.to_owned(), key.to_owned()))?;
            Some(Earlier {
                command_id: &decided.command_id,
                request_hmac: &decided.request_hmac,
                outcome: &decided.outcome,
            })
        })
    }

    /// Decides the next command; what it lacks is the error, and the same command is decided again
    /// once that is loaded.
    pub(crate) fn decide_next(
        &mut self,
        submission: &Submission,
        cache: &Cache,
        on_the_way: OnTheWay<'_>,
        frame: Frame<'_>,
    ) -> Result<(), NotDecided> {
        let (client, key) = (submission.client.as_str(), submission.idempotency_key.as_str());
        if let Some(earlier) = self.decided(on_the_way, client, key) {
            let reply = if earlier.request_hmac == submission.request_hmac {
                // The same id: this very submission, written by a commit whose answer was lost.
                let replayed = earlier.command_id != submission.command_id.to_string();
                Ok(Reply { replayed, outcome: earlier.outcome.clone() })
            } else {
                Err(SubmitError::KeyReused)
            };
            self.replies.push(reply);
            return Ok(());
        }
        if self.is_part_of_another_request(on_the_way, submission) {
            self.replies.push(Err(SubmitError::KeyReused));
            return Ok(());
        }
        if submission.target_is_new {
            self.overlay.set_absent(submission.command.target());
        }
        let base = on_the_way.under(cache);
        let context = Context {
            recorded_at: self.recorded_at,
            business_date: self.business_date,
            command_id: submission.command_id,
        };
        let book = BatchBook { base, overlay: &self.overlay };
        let decision = match check_version(submission, book) {
            Ok(()) => decide(&submission.command, &book, &context),
            Err(stop) => Err(stop),
        };
        let (metadata, command_id) = (metadata(submission, frame.tenant)?, submission.command_id.to_string());
        let of = Of { metadata: &metadata, command_id: &command_id };
        let outcome = match decision {
            Ok(plan) => self.accept(&plan, of, base, frame)?,
            Err(Stop::Rejected(rejection)) => self.reject(submission, rejection, of, base)?,
            Err(Stop::Missing(missing)) => return Err(NotDecided::Missing(missing)),
        };
        let hash = self.hasher.hash_one((client, key));
        let (commands, hasher) = (&self.rows.commands, &self.hasher);
        self.keys.insert_unique(hash, commands.len(), |at| {
            commands.get(*at).map_or(0, |row| hasher.hash_one((row.client.as_str(), row.idempotency_key.as_str())))
        });
        Arc::make_mut(&mut self.rows).commands.push(CommandRow {
            client: submission.client.clone(),
            idempotency_key: submission.idempotency_key.clone(),
            command_id,
            metadata,
            request_hmac: submission.request_hmac,
            position: self.position,
            reply: serde_json::to_string(&outcome)?,
            outcome: outcome.clone(),
        });
        self.replies.push(Ok(Reply { replayed: false, outcome }));
        Ok(())
    }

    /// What a command would lack if it were decided now.
    pub(crate) fn lacks(&self, command: &domain::Command, cache: &Cache, on_the_way: OnTheWay<'_>) -> Option<Missing> {
        let context =
            Context { recorded_at: self.recorded_at, business_date: self.business_date, command_id: uuid::Uuid::nil() };
        match decide(command, &self.book(cache, on_the_way), &context) {
            Err(Stop::Missing(missing)) => Some(missing),
            Err(Stop::Rejected(_)) | Ok(_) => None,
        }
    }

    /// The states in which the next command is decided.
    pub(crate) fn book<'a>(&'a self, cache: &'a Cache, on_the_way: OnTheWay<'a>) -> BatchBook<'a> {
        BatchBook { base: on_the_way.under(cache), overlay: &self.overlay }
    }

    /// Whether the key of the request that it is a later part of was used for another one.
    fn is_part_of_another_request(&self, on_the_way: OnTheWay<'_>, submission: &Submission) -> bool {
        let Some(request_key) = bulk::request_key(&submission.idempotency_key) else { return false };
        let first = self.decided(on_the_way, &submission.client, request_key);
        first.is_some_and(|first| first.request_hmac != submission.request_hmac)
    }

    fn accept(&mut self, plan: &Plan, of: Of<'_>, base: Base<'_>, frame: Frame<'_>) -> Result<Outcome, StoreError> {
        plan.check(&BatchBook { base, overlay: &self.overlay })?;
        let mut touched: Vec<AccountId> = Vec::new();
        for (stream, event) in &plan.events {
            self.record(base, *stream, event, of)?;
            if let (domain::StreamKind::Account, id) = (stream.kind, AccountId(stream.id))
                && !touched.contains(&id)
            {
                touched.push(id);
            }
        }
        for reservation in &plan.reservations {
            self.overlay.set_reserved(reservation.clone(), true);
            Arc::make_mut(&mut self.rows).reservations.push(ReservationRow {
                kind: reservation.kind.name(),
                value_hmac: frame.sealing.reservation_hmac(reservation),
                stream: plan.taker(reservation).to_string(),
                position: self.position,
            });
        }
        let transaction_ids = plan.events.iter().filter_map(|(stream, event)| made_transaction(plan, *stream, event));
        let transaction_ids = transaction_ids.collect();
        let book = BatchBook { base, overlay: &self.overlay };
        let balances = touched.into_iter().filter_map(|id| self.balance(book, id)).collect();
        let version = book.stream(&plan.subject).map_or(0, |stream| stream.version);
        Ok(Outcome::Accepted(Accepted {
            id: plan.subject.id_text(),
            version,
            position: self.position,
            created: plan.creates,
            balances,
            transaction_ids,
        }))
    }

    fn reject(
        &mut self,
        submission: &Submission,
        rejection: Rejection,
        of: Of<'_>,
        base: Base<'_>,
    ) -> Result<Outcome, StoreError> {
        let event = RejectionEvent::CommandRejected {
            command: submission.command.name().to_owned(),
            target: submission.command.target(),
            rejection: rejection.clone(),
        };
        let stream = StreamId::rejection(submission.command_id);
        self.record(base, stream, &event.into(), of)?;
        Ok(Outcome::Rejected(Rejected { position: self.position, rejection }))
    }

    fn record(&mut self, base: Base<'_>, id: StreamId, event: &domain::Event, of: Of<'_>) -> Result<(), StoreError> {
        let payload = serde_json::to_string(event)?;
        let stream = base.change(&mut self.overlay, id);
        self.position += 1;
        let (kind, id, sequence) = (id.kind.name(), id.id_text(), stream.version + 1);
        let (event_type, event_version) = (event.name(), event.version());
        let hashed = Hashed {
            position: self.position,
            recorded_at_us: self.recorded_at.timestamp_micros(),
            kind,
            id: &id,
            sequence,
            event_type,
            event_version,
            payload: &payload,
            metadata: of.metadata,
            command_id: of.command_id,
        };
        let event_hash = hashed.hash(stream.last_hash.as_ref());
        self.chain = chain_hash(&self.chain, &event_hash);
        stream.state.fold(event);
        stream.version = sequence;
        stream.last_hash = Some(event_hash);
        stream.position = self.position;
        let command = self.rows.commands.len();
        Arc::make_mut(&mut self.rows).events.push(EventRow {
            kind,
            id,
            sequence,
            event_type,
            event_version,
            payload,
            command,
            event_hash,
            chain_hash: self.chain,
        });
        Ok(())
    }

    fn balance(&self, book: BatchBook<'_>, account_id: AccountId) -> Option<Balance> {
        let stream = book.stream(&account_id.stream())?;
        let State::Account(account) = &stream.state else { return None };
        let available_minor = account.money(account.available_minor(self.recorded_at)).amount_minor;
        account.guarded.then_some(Balance {
            account_id,
            currency: account.currency,
            balance_minor: account.balance_minor,
            available_minor,
            version: stream.version,
        })
    }
}

fn check_version(submission: &Submission, book: BatchBook<'_>) -> Result<(), Stop> {
    let Some(expected) = submission.expected_version else { return Ok(()) };
    let target = submission.command.target();
    let stream = book.stream(&target).ok_or(Missing::Stream(target))?;
    // A stream that is not there has a better answer than a wrong version.
    if stream.version == expected || stream.version == 0 {
        return Ok(());
    }
    Err(Rejection::VersionMismatch { expected, actual: stream.version }.into())
}

/// A flat map of strings, so that postgres-es reads it, and with all that `commands` holds, so that it
/// can be rebuilt from the log. In the order of the names.
#[derive(serde::Serialize)]
struct Metadata<'a> {
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<&'a str>,
    client: &'a str,
    command_id: &'a str,
    correlation_id: &'a str,
    idempotency_key: &'a str,
    request_hmac: &'a str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

fn metadata(submission: &Submission, tenant: &str) -> Result<String, serde_json::Error> {
    let mut command_id = uuid::Uuid::encode_buffer();
    serde_json::to_string(&Metadata {
        actor: &submission.actor,
        branch: submission.branch.as_deref(),
        client: &submission.client,
        command_id: submission.command_id.hyphenated().encode_lower(&mut command_id),
        correlation_id: &submission.correlation_id,
        idempotency_key: &submission.idempotency_key,
        request_hmac: &hex::encode(submission.request_hmac),
        tenant,
        traceparent: submission.traceparent.as_deref(),
    })
}

/// The transaction that this event of a plan brings into being, unless the reply names it already.
fn made_transaction(plan: &Plan, stream: StreamId, event: &domain::Event) -> Option<TransactionId> {
    match event {
        domain::Event::Transaction(
            TransactionEvent::TransactionPosted { .. } | TransactionEvent::TransactionPending { .. },
        ) if stream != plan.subject => Some(TransactionId(stream.id)),
        _ => None,
    }
}

/// Why a command of a batch could not be decided yet.
pub(crate) enum NotDecided {
    Missing(Missing),
    Failed(StoreError),
}

impl From<StoreError> for NotDecided {
    fn from(error: StoreError) -> Self {
        NotDecided::Failed(error)
    }
}

impl From<serde_json::Error> for NotDecided {
    fn from(error: serde_json::Error) -> Self {
        NotDecided::Failed(error.into())
    }
}
