//! What must be true of every plan before it is appended, whatever rules made it.
//!
//! The rules make sound plans; this says so a second time, from the plan alone, at the last moment
//! before it becomes history. An unsound plan is a fault of the program and never of a command.

use std::collections::{BTreeMap, VecDeque};

use crate::account::AccountEvent;
use crate::book::{Book, Missing, Plan};
use crate::event::Event;
use crate::ids::{AccountId, StreamId, TransactionId};
use crate::money::{AMOUNT_MINOR_MAX, Currency, Side};
use crate::transaction::{LEGS_MAX, Leg, TransactionEvent};

/// Why a plan must not be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// A plan begins with its subject's event.
    #[error("the plan of {subject} does not begin with an event of it")]
    SubjectNotFirst {
        /// The subject.
        subject: StreamId,
    },
    /// A booking has 1 to `LEGS_MAX` legs, each above zero and within the limit.
    #[error("transaction {transaction_id} has legs that are too few, too many or out of range")]
    Legs {
        /// The transaction.
        transaction_id: TransactionId,
    },
    /// Debits equal credits in every currency.
    #[error("transaction {transaction_id} does not balance in {currency}")]
    Unbalanced {
        /// The transaction.
        transaction_id: TransactionId,
        /// The currency.
        currency: Currency,
    },
    /// Each leg on a guarded account has exactly one equal entry or hold, in the order of the legs.
    #[error("a leg on account {account_id} has no equal entry or hold, or an entry or hold has no leg")]
    EntryAndLegDiffer {
        /// The account.
        account_id: AccountId,
    },
    /// The balance after an entry is the one before it changed by its amount.
    #[error("account {account_id}: the balance after is {balance_minor}, the entries give another")]
    BalanceAfter {
        /// The account.
        account_id: AccountId,
        /// The balance that the entry claims.
        balance_minor: i64,
    },
    /// An account of the plan is not in the book that it was decided on.
    #[error("account {account_id} is not in the book")]
    AccountUnknown {
        /// The account.
        account_id: AccountId,
    },
}

/// What a leg on a guarded account has to have in the account's stream; no posting: a hold.
#[derive(PartialEq)]
struct Due {
    account_id: AccountId,
    transaction_id: TransactionId,
    posting: Option<u32>,
    leg: u16,
    side: Side,
    amount_minor: i64,
}

impl Plan {
    /// Checks the plan against the book that it was decided on.
    ///
    /// # Errors
    /// The plan must not be appended: the rules have a fault.
    pub fn check(&self, book: &impl Book) -> Result<(), Unsound> {
        if self.events.first().is_none_or(|(stream, _)| *stream != self.subject) {
            return Err(Unsound::SubjectNotFirst { subject: self.subject });
        }
        let mut due = VecDeque::new();
        let mut balances: BTreeMap<AccountId, i64> = BTreeMap::new();
        for (stream, event) in &self.events {
            match event {
                Event::Transaction(event) => {
                    let (posting, legs) = match event {
                        TransactionEvent::TransactionPosted { legs, .. } => (Some(1), legs),
                        TransactionEvent::PendingPosted { posting, legs, .. } => (Some(*posting), legs),
                        TransactionEvent::TransactionPending { legs, .. } => (None, legs),
                        TransactionEvent::PendingVoided { .. }
                        | TransactionEvent::PendingExpired { .. }
                        | TransactionEvent::TransactionReversed { .. } => continue,
                    };
                    let transaction_id = TransactionId(stream.id);
                    check_legs(transaction_id, legs)?;
                    for leg in legs {
                        if guarded(leg.account_id, book)?.is_some() {
                            due.push_back(Due {
                                account_id: leg.account_id,
                                transaction_id,
                                posting,
                                leg: leg.leg,
                                side: leg.side,
                                amount_minor: leg.amount_minor,
                            });
                        }
                    }
                }
                Event::Account(event) => check_entry(AccountId(stream.id), event, &mut due, &mut balances, book)?,
                Event::Member(_)
                | Event::Ledger(_)
                | Event::Rejection(_)
                | Event::LoanProduct(_)
                | Event::Loan(_)
                | Event::Saga(_) => {}
            }
        }
        match due.front() {
            Some(Due { account_id, .. }) => Err(Unsound::EntryAndLegDiffer { account_id: *account_id }),
            None => Ok(()),
        }
    }
}

fn check_legs(transaction_id: TransactionId, legs: &[Leg]) -> Result<(), Unsound> {
    let in_range = |leg: &Leg| (1..=AMOUNT_MINOR_MAX).contains(&leg.amount_minor);
    if !(1..=LEGS_MAX).contains(&legs.len()) || !legs.iter().all(in_range) {
        return Err(Unsound::Legs { transaction_id });
    }
    let mut net_minor: BTreeMap<Currency, i128> = BTreeMap::new();
    for leg in legs {
        let change = i128::from(leg.side.change_minor(leg.amount_minor, Side::Debit));
        *net_minor.entry(leg.currency).or_default() += change;
    }
    match net_minor.into_iter().find(|(_, net)| *net != 0) {
        Some((currency, _)) => Err(Unsound::Unbalanced { transaction_id, currency }),
        None => Ok(()),
    }
}

fn check_entry(
    account_id: AccountId,
    event: &AccountEvent,
    due: &mut VecDeque<Due>,
    balances: &mut BTreeMap<AccountId, i64>,
    book: &impl Book,
) -> Result<(), Unsound> {
    let found = match event {
        AccountEvent::EntryPosted { transaction_id, posting, leg, side, amount_minor, balance_minor, .. } => {
            let Some((normal_side, recorded_minor)) = guarded(account_id, book)? else {
                return Err(Unsound::EntryAndLegDiffer { account_id });
            };
            let before_minor = balances.get(&account_id).copied().unwrap_or(recorded_minor);
            if before_minor.checked_add(side.change_minor(*amount_minor, normal_side)) != Some(*balance_minor) {
                return Err(Unsound::BalanceAfter { account_id, balance_minor: *balance_minor });
            }
            balances.insert(account_id, *balance_minor);
            let (transaction_id, leg, side, amount_minor) = (*transaction_id, *leg, *side, *amount_minor);
            Due { account_id, transaction_id, posting: Some(*posting), leg, side, amount_minor }
        }
        AccountEvent::HoldPlaced { transaction_id, leg, side, amount_minor, .. } => {
            let (transaction_id, leg, side, amount_minor) = (*transaction_id, *leg, *side, *amount_minor);
            Due { account_id, transaction_id, posting: None, leg, side, amount_minor }
        }
        AccountEvent::AccountOpened { .. }
        | AccountEvent::HolderAdded { .. }
        | AccountEvent::HolderRemoved { .. }
        | AccountEvent::LimitChanged { .. }
        | AccountEvent::AccountFrozen { .. }
        | AccountEvent::AccountUnfrozen { .. }
        | AccountEvent::AccountMarkedDormant { .. }
        | AccountEvent::AccountReactivated {}
        | AccountEvent::AccountClosed { .. }
        | AccountEvent::AccountRetired { .. }
        | AccountEvent::AccountDedicated { .. }
        | AccountEvent::HoldReleased { .. } => return Ok(()),
    };
    if due.pop_front() == Some(found) { Ok(()) } else { Err(Unsound::EntryAndLegDiffer { account_id }) }
}

/// Of a guarded account, its normal side and recorded balance; of an internal one, nothing.
fn guarded(account_id: AccountId, book: &impl Book) -> Result<Option<(Side, i64)>, Unsound> {
    match book.account(account_id) {
        Ok(Some(account)) => Ok(account.guarded.then_some((account.normal_side, account.balance_minor))),
        Ok(None) | Err(Missing::Stream(_) | Missing::Reservation(_)) => Err(Unsound::AccountUnknown { account_id }),
    }
}
