//! Deciding a batch at the head, in memory: commands in, rows and replies out. No I/O here; what is
//! missing is named, loaded by the writer, and the batch goes on where it stopped.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use domain::rejection::RejectionEvent;
use domain::transaction::TransactionEvent;
use domain::{AccountId, Context, Missing, Plan, Rejection, Stop, StreamId, TransactionId, decide};
use event_schemas::Recorded;

use crate::bulk;
use crate::error::{StoreError, SubmitError};
use crate::hash::{Hash, chain_hash, event_hash};
use crate::load::{Decided, Key};
use crate::reader::Head;
use crate::sealing::Sealing;
use crate::streams::{BatchBook, State};
use crate::submission::{Accepted, Balance, Outcome, Rejected, Reply, Submission};

/// The rows that one commit writes.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) events: Vec<Recorded>,
    pub(crate) commands: Vec<CommandRow>,
    pub(crate) reservations: Vec<ReservationRow>,
}

pub(crate) struct CommandRow {
    pub(crate) client: String,
    pub(crate) idempotency_key: String,
    pub(crate) command_id: String,
    pub(crate) request_hmac: [u8; 32],
    pub(crate) position: u64,
    pub(crate) reply: String,
}

pub(crate) struct ReservationRow {
    pub(crate) kind: &'static str,
    pub(crate) value_hmac: [u8; 32],
    pub(crate) stream: String,
    pub(crate) position: u64,
}

/// A batch being decided on top of a head.
pub(crate) struct Batch<'a> {
    pub(crate) book: BatchBook<'a>,
    pub(crate) rows: Rows,
    /// The result of each command so far, in their order.
    pub(crate) replies: Vec<Result<Reply, SubmitError>>,
    decided: HashMap<Key, Decided>,
    tenant: &'a str,
    recorded_at: DateTime<Utc>,
    business_date: NaiveDate,
    position: u64,
    chain: Hash,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        book: BatchBook<'a>,
        decided: HashMap<Key, Decided>,
        head: &Head,
        tenant: &'a str,
        recorded_at: DateTime<Utc>,
        business_date: NaiveDate,
    ) -> Self {
        Self {
            book,
            rows: Rows::default(),
            replies: Vec::new(),
            decided,
            tenant,
            recorded_at,
            business_date,
            position: head.position,
            chain: head.chain_hash,
        }
    }

    /// The head after this batch has committed.
    pub(crate) fn head_after(&self, before: &Head) -> Head {
        Head {
            batch: before.batch + 1,
            position: self.position,
            recorded_at_us: self.recorded_at.timestamp_micros(),
            chain_hash: self.chain,
        }
    }

    /// Decides the next command; what it lacks is the error, and the same command is decided again
    /// once that is loaded.
    pub(crate) fn decide_next(&mut self, submission: &Submission, sealing: &Sealing) -> Result<(), NotDecided> {
        let key = (submission.client.clone(), submission.idempotency_key.clone());
        if let Some(earlier) = self.decided.get(&key) {
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
        if self.is_part_of_another_request(submission) {
            self.replies.push(Err(SubmitError::KeyReused));
            return Ok(());
        }
        let context = Context {
            recorded_at: self.recorded_at,
            business_date: self.business_date,
            command_id: submission.command_id,
        };
        let decision = match self.check_version(submission) {
            Ok(()) => decide(&submission.command, &self.book, &context),
            Err(stop) => Err(stop),
        };
        let outcome = match decision {
            Ok(plan) => self.accept(submission, &plan, sealing)?,
            Err(Stop::Rejected(rejection)) => self.reject(submission, rejection)?,
            Err(Stop::Missing(missing)) => return Err(NotDecided::Missing(missing)),
        };
        self.rows.commands.push(CommandRow {
            client: submission.client.clone(),
            idempotency_key: submission.idempotency_key.clone(),
            command_id: submission.command_id.to_string(),
            request_hmac: submission.request_hmac,
            position: self.position,
            reply: serde_json::to_string(&outcome)?,
        });
        let decided = Decided {
            command_id: submission.command_id.to_string(),
            request_hmac: submission.request_hmac.to_vec(),
            outcome: outcome.clone(),
        };
        self.decided.insert(key, decided);
        self.replies.push(Ok(Reply { replayed: false, outcome }));
        Ok(())
    }

    /// What a command would lack if it were decided now.
    pub(crate) fn lacks(&self, command: &domain::Command) -> Option<Missing> {
        let context =
            Context { recorded_at: self.recorded_at, business_date: self.business_date, command_id: uuid::Uuid::nil() };
        match decide(command, &self.book, &context) {
            Err(Stop::Missing(missing)) => Some(missing),
            Err(Stop::Rejected(_)) | Ok(_) => None,
        }
    }

    /// Whether the key of the request that it is a later part of was used for another one.
    fn is_part_of_another_request(&self, submission: &Submission) -> bool {
        let Some(request_key) = bulk::request_key(&submission.idempotency_key) else { return false };
        let first = self.decided.get(&(submission.client.clone(), request_key.to_owned()));
        first.is_some_and(|first| first.request_hmac != submission.request_hmac)
    }

    fn check_version(&self, submission: &Submission) -> Result<(), Stop> {
        let Some(expected) = submission.expected_version else { return Ok(()) };
        let target = submission.command.target();
        let stream = self.book.stream(&target).ok_or(Missing::Stream(target))?;
        // A stream that is not there has a better answer than a wrong version.
        if stream.version == expected || stream.version == 0 {
            return Ok(());
        }
        Err(Rejection::VersionMismatch { expected, actual: stream.version }.into())
    }

    fn accept(&mut self, submission: &Submission, plan: &Plan, sealing: &Sealing) -> Result<Outcome, StoreError> {
        plan.check(&self.book)?;
        let metadata = self.metadata(submission)?;
        let command_id = submission.command_id.to_string();
        let mut touched: Vec<AccountId> = Vec::new();
        for (stream, event) in &plan.events {
            self.append(*stream, event, &metadata, &command_id)?;
            if let (domain::StreamKind::Account, id) = (stream.kind, AccountId(stream.id))
                && !touched.contains(&id)
            {
                touched.push(id);
            }
        }
        for reservation in &plan.reservations {
            self.book.set_reserved(reservation.clone(), true);
            self.rows.reservations.push(ReservationRow {
                kind: reservation.kind.name(),
                value_hmac: sealing.reservation_hmac(reservation),
                stream: plan.taker(reservation).to_string(),
                position: self.position,
            });
        }
        let transaction_ids = plan.events.iter().filter_map(|(stream, event)| made_transaction(plan, *stream, event));
        let transaction_ids = transaction_ids.collect();
        let balances = touched.into_iter().filter_map(|id| self.balance(id)).collect();
        let version = self.book.stream(&plan.subject).map_or(0, |stream| stream.version);
        Ok(Outcome::Accepted(Accepted {
            id: plan.subject.id_text(),
            version,
            position: self.position,
            created: plan.creates,
            balances,
            transaction_ids,
        }))
    }

    fn reject(&mut self, submission: &Submission, rejection: Rejection) -> Result<Outcome, StoreError> {
        let metadata = self.metadata(submission)?;
        let event = RejectionEvent::CommandRejected {
            command: submission.command.name().to_owned(),
            target: submission.command.target(),
            rejection: rejection.clone(),
        };
        let stream = StreamId::rejection(submission.command_id);
        self.append(stream, &event.into(), &metadata, &submission.command_id.to_string())?;
        Ok(Outcome::Rejected(Rejected { position: self.position, rejection }))
    }

    fn append(
        &mut self,
        id: StreamId,
        event: &domain::Event,
        metadata: &str,
        command_id: &str,
    ) -> Result<(), StoreError> {
        let payload = serde_json::to_string(event)?;
        let stream = self.book.change(id);
        self.position += 1;
        let mut recorded = Recorded {
            position: self.position,
            recorded_at_us: self.recorded_at.timestamp_micros(),
            stream: id,
            sequence: stream.version + 1,
            event_type: event.name().to_owned(),
            event_version: event.version().to_owned(),
            payload,
            metadata: metadata.to_owned(),
            command_id: command_id.to_owned(),
            event_hash: [0; 32],
            chain_hash: [0; 32],
        };
        recorded.event_hash = event_hash(&recorded, stream.last_hash.as_ref());
        recorded.chain_hash = chain_hash(&self.chain, &recorded.event_hash);
        self.chain = recorded.chain_hash;
        stream.state.fold(event);
        stream.version = recorded.sequence;
        stream.last_hash = Some(recorded.event_hash);
        stream.position = recorded.position;
        self.rows.events.push(recorded);
        Ok(())
    }

    fn balance(&self, account_id: AccountId) -> Option<Balance> {
        let stream = self.book.stream(&account_id.stream())?;
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

    /// A flat map of strings, so that postgres-es reads it, and with all that `commands` holds, so
    /// that it can be rebuilt from the log.
    fn metadata(&self, submission: &Submission) -> Result<String, serde_json::Error> {
        let command_id = submission.command_id.to_string();
        let request_hmac = hex::encode(submission.request_hmac);
        let mut metadata: BTreeMap<&str, &str> = BTreeMap::from([
            ("tenant", self.tenant),
            ("command_id", command_id.as_str()),
            ("client", submission.client.as_str()),
            ("idempotency_key", submission.idempotency_key.as_str()),
            ("request_hmac", request_hmac.as_str()),
            ("actor", submission.actor.as_str()),
            ("correlation_id", submission.correlation_id.as_str()),
        ]);
        if let Some(branch) = &submission.branch {
            metadata.insert("branch", branch);
        }
        if let Some(traceparent) = &submission.traceparent {
            metadata.insert("traceparent", traceparent);
        }
        serde_json::to_string(&metadata)
    }
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
