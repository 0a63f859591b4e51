//! The model: the pure rules on states in memory, one command after the other. No batches, no cache,
//! no snapshots, no second writer: what the event store must be indistinguishable from.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use chrono_tz::Europe::Prague;
use domain::rejection::RejectionEvent;
use domain::{
    Account, AccountId, Book, Context, Event, Ledger, Loan, LoanId, LoanProduct, LoanProductId, Member, MemberId,
    Missing, Plan, Rejection, Reservation, Saga, SagaId, Stop, StreamId, StreamKind, Transaction, TransactionId,
    decide,
};
use event_store::{Accepted, Balance, Outcome, Rejected, Submission};

/// Every state there is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) members: HashMap<MemberId, Member>,
    pub(super) accounts: HashMap<AccountId, Account>,
    pub(super) transactions: HashMap<TransactionId, Transaction>,
    pub(super) ledger: Ledger,
    /// How many events each stream has.
    pub(super) versions: HashMap<StreamId, u64>,
    /// How many events there are.
    pub(super) position: u64,
    reserved: HashSet<Reservation>,
    /// Codes of the refusals so far.
    pub(super) refusals: BTreeSet<&'static str>,
}

/// An event with its stream and its sequence in it.
pub(super) type Appended = (StreamId, u64, Event);

impl Model {
    /// Decides one command and applies it: the events that the log must have, and the outcome.
    pub(super) fn submit(&mut self, sent: &Submission, recorded_at: DateTime<Utc>) -> (Vec<Appended>, Outcome) {
        let business_date = recorded_at.with_timezone(&Prague).date_naive();
        let context = Context { recorded_at, business_date, command_id: sent.command_id };
        match self.version_expected(sent).and_then(|()| self.decide(sent, &context)) {
            Ok(plan) => self.accept(&plan, recorded_at),
            Err(rejection) => {
                let event = RejectionEvent::CommandRejected {
                    command: sent.command.name().to_owned(),
                    target: sent.command.target(),
                    rejection: rejection.clone(),
                };
                self.refusals.insert(rejection.code());
                let appended = self.append(StreamId::rejection(sent.command_id), &event.into());
                (vec![appended], Outcome::Rejected(Rejected { position: self.position, rejection }))
            }
        }
    }

    fn decide(&self, sent: &Submission, context: &Context) -> Result<Plan, Rejection> {
        match decide(&sent.command, self, context) {
            Ok(plan) => Ok(plan),
            Err(Stop::Rejected(rejection)) => Err(rejection),
            Err(Stop::Missing(missing)) => panic!("nothing can be missing from the model, but {missing:?} was"),
        }
    }

    fn version_expected(&self, sent: &Submission) -> Result<(), Rejection> {
        let actual = self.version(sent.command.target());
        match sent.expected_version {
            Some(expected) if actual != 0 && expected != actual => Err(Rejection::VersionMismatch { expected, actual }),
            Some(_) | None => Ok(()),
        }
    }

    fn accept(&mut self, plan: &Plan, recorded_at: DateTime<Utc>) -> (Vec<Appended>, Outcome) {
        let appended: Vec<_> = plan.events.iter().map(|(stream, event)| self.append(*stream, event)).collect();
        self.reserved.extend(plan.reservations.iter().cloned());
        let mut touched: Vec<StreamId> = Vec::new();
        for (stream, ..) in &appended {
            if stream.kind == StreamKind::Account && !touched.contains(stream) {
                touched.push(*stream);
            }
        }
        let balance = |stream: StreamId| {
            let account_id = AccountId(stream.id);
            let account = self.accounts.get(&account_id).filter(|account| account.guarded)?;
            Some(Balance {
                account_id,
                currency: account.currency,
                balance_minor: account.balance_minor,
                available_minor: i64::try_from(account.available_minor(recorded_at)).unwrap(),
                version: self.version(stream),
            })
        };
        let accepted = Accepted {
            id: plan.subject.id_text(),
            version: self.version(plan.subject),
            position: self.position,
            created: plan.creates,
            balances: touched.into_iter().filter_map(balance).collect(),
            transaction_ids: Vec::new(),
        };
        (appended, Outcome::Accepted(accepted))
    }

    fn append(&mut self, stream: StreamId, event: &Event) -> Appended {
        self.fold(stream, event);
        (stream, self.version(stream), event.clone())
    }

    /// Applies an event.
    pub(super) fn fold(&mut self, stream: StreamId, event: &Event) {
        match event {
            Event::Member(event) => self.members.entry(MemberId(stream.id)).or_default().fold(event),
            Event::Account(event) => self.accounts.entry(AccountId(stream.id)).or_default().fold(event),
            Event::Transaction(event) => {
                self.transactions.entry(TransactionId(stream.id)).or_default().fold(event);
            }
            Event::Ledger(event) => self.ledger.fold(event),
            Event::Rejection(_) => {}
            Event::LoanProduct(_) | Event::Loan(_) | Event::Saga(_) => panic!("this model makes no loans"),
        }
        *self.versions.entry(stream).or_default() += 1;
        self.position += 1;
    }

    pub(super) fn version(&self, stream: StreamId) -> u64 {
        self.versions.get(&stream).copied().unwrap_or(0)
    }

    /// The same states and versions; what only this model was told aside.
    #[track_caller]
    pub(super) fn assert_same_states(&self, other: &Model) {
        assert_eq!(self.members, other.members);
        assert_eq!(self.accounts, other.accounts);
        assert_eq!(self.transactions, other.transactions);
        assert_eq!(self.ledger, other.ledger);
        assert_eq!(self.versions, other.versions);
        assert_eq!(self.position, other.position);
    }
}

impl Book for Model {
    fn member(&self, id: MemberId) -> Result<Option<&Member>, Missing> {
        Ok(self.members.get(&id))
    }

    fn account(&self, id: AccountId) -> Result<Option<&Account>, Missing> {
        Ok(self.accounts.get(&id))
    }

    fn transaction(&self, id: TransactionId) -> Result<Option<&Transaction>, Missing> {
        Ok(self.transactions.get(&id))
    }

    fn loan_product(&self, _: LoanProductId) -> Result<Option<&LoanProduct>, Missing> {
        Ok(None)
    }

    fn loan(&self, _: LoanId) -> Result<Option<&Loan>, Missing> {
        Ok(None)
    }

    fn saga(&self, _: SagaId) -> Result<Option<&Saga>, Missing> {
        Ok(None)
    }

    fn ledger(&self) -> Result<&Ledger, Missing> {
        Ok(&self.ledger)
    }

    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing> {
        Ok(self.reserved.contains(reservation))
    }
}
