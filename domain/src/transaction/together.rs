//! Several transactions in one command: all of them or none.
//!
//! They are decided in order, each on what those before it leave, and each by the rules that hold for
//! it alone: an account's limit is checked for every transaction on its net, never on the net of them
//! all, so their order matters as it does for commands that follow each other. The first that is
//! refused refuses them all, and the refusal names its index, from 0.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::Account;
use crate::book::{Book, Context, Missing, Plan, Reservation, Stop};
use crate::event::Event;
use crate::ids::{AccountId, LoanId, LoanProductId, MemberId, SagaId, TransactionId};
use crate::ledger::Ledger;
use crate::loan::Loan;
use crate::member::Member;
use crate::product::LoanProduct;
use crate::rejection::Rejection;
use crate::saga::Saga;
use crate::transaction::{LEGS_MAX, NewTransaction, Transaction, decide};

/// Decides to post all of them.
pub(super) fn post(transactions: &[NewTransaction], book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let legs: usize = transactions.iter().map(|transaction| transaction.legs.count()).sum();
    let out_of_range = Rejection::LegCountOutOfRange { legs: legs as u64, legs_max: LEGS_MAX as u64 };
    let Some(first) = transactions.first().filter(|_| legs <= LEGS_MAX) else {
        return Err(out_of_range.into());
    };
    let mut overlay = Overlay::on(book);
    let mut events = Vec::with_capacity(transactions.len() + legs);
    let mut reservations = Vec::new();
    for (index, transaction) in (0u16..).zip(transactions) {
        let plan = decide::post(&transaction.into(), &overlay, context).map_err(|stop| match stop {
            Stop::Rejected(rejection) => {
                Stop::Rejected(Rejection::TransactionRefused { index, refusal: Box::new(rejection) })
            }
            Stop::Missing(missing) => Stop::Missing(missing),
        })?;
        overlay.apply(&plan)?;
        events.extend(plan.events);
        reservations.extend(plan.reservations);
    }
    Ok(Plan { subject: first.transaction_id.stream(), events, reservations, creates: true })
}

/// A book with what has been decided so far on top of it.
struct Overlay<'a, B> {
    below: &'a B,
    accounts: BTreeMap<AccountId, Account>,
    transactions: BTreeMap<TransactionId, Transaction>,
    reserved: BTreeSet<Reservation>,
}

impl<'a, B: Book> Overlay<'a, B> {
    fn on(below: &'a B) -> Self {
        Self { below, accounts: BTreeMap::new(), transactions: BTreeMap::new(), reserved: BTreeSet::new() }
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), Missing> {
        for (stream, event) in &plan.events {
            match event {
                Event::Transaction(event) => {
                    self.transactions.entry(TransactionId(stream.id)).or_default().fold(event);
                }
                Event::Account(event) => {
                    let id = AccountId(stream.id);
                    if !self.accounts.contains_key(&id) {
                        self.accounts.insert(id, self.below.account(id)?.cloned().unwrap_or_default());
                    }
                    self.accounts.entry(id).or_default().fold(event);
                }
                // A posting touches nothing else.
                Event::Member(_)
                | Event::Ledger(_)
                | Event::Rejection(_)
                | Event::LoanProduct(_)
                | Event::Loan(_)
                | Event::Saga(_) => {}
            }
        }
        self.reserved.extend(plan.reservations.iter().cloned());
        Ok(())
    }
}

impl<B: Book> Book for Overlay<'_, B> {
    fn member(&self, id: MemberId) -> Result<Option<&Member>, Missing> {
        self.below.member(id)
    }

    fn account(&self, id: AccountId) -> Result<Option<&Account>, Missing> {
        self.accounts.get(&id).map_or_else(|| self.below.account(id), |account| Ok(Some(account)))
    }

    fn transaction(&self, id: TransactionId) -> Result<Option<&Transaction>, Missing> {
        self.transactions.get(&id).map_or_else(|| self.below.transaction(id), |transaction| Ok(Some(transaction)))
    }

    fn loan_product(&self, id: LoanProductId) -> Result<Option<&LoanProduct>, Missing> {
        self.below.loan_product(id)
    }

    fn loan(&self, id: LoanId) -> Result<Option<&Loan>, Missing> {
        self.below.loan(id)
    }

    fn saga(&self, id: SagaId) -> Result<Option<&Saga>, Missing> {
        self.below.saga(id)
    }

    fn ledger(&self) -> Result<&Ledger, Missing> {
        self.below.ledger()
    }

    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing> {
        if self.reserved.contains(reservation) { Ok(true) } else { self.below.is_reserved(reservation) }
    }
}
