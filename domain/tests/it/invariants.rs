//! What must be true of every plan, and of the whole book after each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use domain::account::{Account, AccountEvent};
use domain::event::EVENT_TYPES;
use domain::forward::Shelf;
use domain::money::AMOUNT_MINOR_MAX;
use domain::rejection::{REJECTION_CODES, RejectionEvent};
use domain::transaction::{LEGS_MAX, Leg, TransactionEvent, TransactionStatus};
use domain::words::LedgerCode;
use domain::{AccountId, Book, Command, Currency, Event, Plan, Rejection, Side, StreamKind, TransactionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::desk::{Desk, fold_into};

/// Of a plan, before it is applied.
pub(crate) fn check_plan(shelf: &Shelf, plan: &Plan) {
    assert_eq!(plan.events.first().map(|(stream, _)| *stream), Some(plan.subject), "the subject's event is the first");
    for (stream, event) in &plan.events {
        check_bytes(stream.kind, event);
    }
    check_existence(shelf, plan);
    let mut entries = Vec::new();
    let mut holds = Vec::new();
    for (stream, event) in &plan.events {
        if let Event::Transaction(event) = event {
            let (posting, legs) = match event {
                TransactionEvent::TransactionPosted { legs, .. } => (Some(1), legs),
                TransactionEvent::PendingPosted { posting, legs, .. } => (Some(*posting), legs),
                TransactionEvent::TransactionPending { legs, .. } => (None, legs),
                TransactionEvent::PendingVoided { .. }
                | TransactionEvent::PendingExpired { .. }
                | TransactionEvent::TransactionReversed { .. } => continue,
            };
            check_legs(legs);
            let guarded = legs.iter().filter(|leg| account(shelf, leg.account_id).guarded);
            let keys =
                guarded.map(|leg| (leg.account_id, TransactionId(stream.id), leg.leg, leg.side, leg.amount_minor));
            match posting {
                Some(posting) => entries.extend(keys.map(|key| (posting, key))),
                None => holds.extend(keys),
            }
        }
    }
    check_account_events(shelf, plan, entries, holds);
    crate::loan_invariants::check_plan(shelf, plan);
    check_entries_tell_the_same(shelf, plan);
}

/// An entry says of its transaction what the transaction says itself: kind and dates.
fn check_entries_tell_the_same(shelf: &Shelf, plan: &Plan) {
    let mut told = None;
    for (stream, event) in &plan.events {
        match event {
            Event::Transaction(TransactionEvent::TransactionPosted { kind, booking_date, value_date, .. }) => {
                told = Some((TransactionId(stream.id), *kind, *booking_date, *value_date));
            }
            Event::Transaction(TransactionEvent::PendingPosted { booking_date, value_date, .. }) => {
                let id = TransactionId(stream.id);
                let kind = shelf.transaction(id).unwrap().unwrap().kind;
                told = Some((id, kind, *booking_date, *value_date));
            }
            Event::Account(AccountEvent::EntryPosted { transaction_id, kind, booking_date, value_date, .. }) => {
                assert_eq!(told, Some((*transaction_id, *kind, *booking_date, *value_date)));
            }
            Event::Transaction(_)
            | Event::Account(_)
            | Event::Member(_)
            | Event::Ledger(_)
            | Event::Rejection(_)
            | Event::LoanProduct(_)
            | Event::Loan(_)
            | Event::Saga(_) => {}
        }
    }
}

fn check_existence(shelf: &Shelf, plan: &Plan) {
    let id = plan.subject.id;
    let exists = match plan.subject.kind {
        StreamKind::Member => shelf.members.iter().any(|(key, _)| key.0 == id),
        StreamKind::Account => shelf.accounts.iter().any(|(key, _)| key.0 == id),
        StreamKind::Transaction => shelf.transactions.iter().any(|(key, _)| key.0 == id),
        StreamKind::LoanProduct => shelf.loan_products.iter().any(|(key, _)| key.0 == id),
        StreamKind::Loan => shelf.loans.iter().any(|(key, _)| key.0 == id),
        StreamKind::Saga => shelf.sagas.iter().any(|(key, _)| key.0 == id),
        StreamKind::Ledger | StreamKind::Rejection => return,
    };
    assert_eq!(exists, !plan.creates, "a plan creates what is not there and changes what is");
}

fn check_legs(legs: &[Leg]) {
    assert!((2..=LEGS_MAX).contains(&legs.len()), "{} legs", legs.len());
    let mut numbers = BTreeSet::new();
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for leg in legs {
        assert!(numbers.insert(leg.leg), "leg {} twice", leg.leg);
        assert!((1..=AMOUNT_MINOR_MAX).contains(&leg.amount_minor), "leg of {}", leg.amount_minor);
        *sums.entry(leg.currency).or_default() += signed(leg.side, leg.amount_minor);
    }
    assert!(sums.values().all(|sum| *sum == 0), "the legs balance in each currency: {sums:?}");
}

type LegKey = (AccountId, TransactionId, u16, Side, i64);

/// Each guarded leg has exactly one equal entry or hold in the same plan, no other account has one,
/// and each entry's balance is the one before it changed by its amount.
fn check_account_events(shelf: &Shelf, plan: &Plan, mut entries: Vec<(u32, LegKey)>, mut holds: Vec<LegKey>) {
    let mut balances: BTreeMap<AccountId, i128> = BTreeMap::new();
    for (stream, event) in &plan.events {
        let Event::Account(event) = event else { continue };
        let account_id = AccountId(stream.id);
        match event {
            AccountEvent::EntryPosted { transaction_id, posting, leg, side, amount_minor, balance_minor, .. } => {
                let key = (*posting, (account_id, *transaction_id, *leg, *side, *amount_minor));
                let at = entries.iter().position(|expected| *expected == key);
                entries.swap_remove(at.expect("an entry has its leg"));
                let account = account(shelf, account_id);
                let balance = balances.entry(account_id).or_insert(account.balance_minor.into());
                *balance += i128::from(side.change_minor(*amount_minor, account.normal_side));
                assert_eq!(*balance, i128::from(*balance_minor), "the balance after is the fold");
            }
            AccountEvent::HoldPlaced { transaction_id, leg, side, amount_minor, .. } => {
                let key = (account_id, *transaction_id, *leg, *side, *amount_minor);
                let at = holds.iter().position(|expected| *expected == key);
                holds.swap_remove(at.expect("a hold has its leg"));
            }
            AccountEvent::HoldReleased { .. } => assert!(account(shelf, account_id).guarded),
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
            | AccountEvent::AccountDedicated { .. } => {}
        }
    }
    assert!(entries.is_empty() && holds.is_empty(), "guarded legs without an entry or hold: {entries:?} {holds:?}");
}

fn check_bytes(kind: StreamKind, event: &Event) {
    assert!(EVENT_TYPES.contains(&(kind, event.name(), event.version())), "{} is not a type of {kind:?}", event.name());
    let payload = serde_json::to_string(event).unwrap();
    assert!(payload.starts_with(&format!("{{\"type\":\"{}\"", event.name())), "{payload}");
    assert_eq!(&Event::from_payload(kind, &payload).unwrap(), event);
    check_round_trip(event);
}

fn check_round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
    // The same bytes again, or a hash would differ.
    assert_eq!(serde_json::to_string(&serde_json::from_str::<T>(&text).unwrap()).unwrap(), text);
}

/// Of a refusal: it can be recorded, and its code is in the table with its class.
pub(crate) fn check_rejection(command: &Command, rejection: &Rejection) {
    assert!(REJECTION_CODES.contains(&(rejection.code(), rejection.class())), "{rejection:?}");
    let event = RejectionEvent::CommandRejected {
        command: command.name().to_owned(),
        target: command.target(),
        rejection: rejection.clone(),
    };
    check_bytes(StreamKind::Rejection, &Event::Rejection(event));
}

/// Of the whole book: it is what a replay gives, and it balances.
pub(crate) fn check_desk(desk: &Desk) {
    check_replay(desk);
    check_balances(desk);
    check_holds(desk);
    crate::loan_invariants::check_desk(desk);
}

fn check_replay(desk: &Desk) {
    let mut replayed = Shelf::default();
    let mut sequences = BTreeMap::new();
    for (stream, sequence, event) in &desk.log {
        let last = sequences.entry(*stream).or_insert(0);
        *last += 1;
        assert_eq!(*sequence, *last, "sequences of {stream} are contiguous from 1");
        fold_into(&mut replayed, *stream, event);
    }
    assert_eq!(replayed.members, desk.shelf.members);
    assert_eq!(replayed.accounts, desk.shelf.accounts);
    assert_eq!(replayed.transactions, desk.shelf.transactions);
    assert_eq!(replayed.loan_products, desk.shelf.loan_products);
    assert_eq!(replayed.loans, desk.shelf.loans);
    assert_eq!(replayed.sagas, desk.shelf.sagas);
    assert_eq!(replayed.ledger, desk.shelf.ledger);
}

/// Of every state: its snapshot reads back.
pub(crate) fn check_snapshots(shelf: &Shelf) {
    shelf.members.iter().for_each(|(_, state)| check_round_trip(state));
    shelf.accounts.iter().for_each(|(_, state)| check_round_trip(state));
    shelf.transactions.iter().for_each(|(_, state)| check_round_trip(state));
    shelf.loan_products.iter().for_each(|(_, state)| check_round_trip(state));
    shelf.loans.iter().for_each(|(_, state)| check_round_trip(state));
    shelf.sagas.iter().for_each(|(_, state)| check_round_trip(state));
    check_round_trip(&shelf.ledger);
}

/// Debits less credits of every posted leg, by account.
pub(crate) fn net_debits(desk: &Desk) -> BTreeMap<(LedgerCode, Currency, AccountId), i128> {
    let mut sums = BTreeMap::new();
    for (_, _, event) in &desk.log {
        let Event::Transaction(
            TransactionEvent::TransactionPosted { legs, .. } | TransactionEvent::PendingPosted { legs, .. },
        ) = event
        else {
            continue;
        };
        for leg in legs {
            let key = (leg.ledger_code.clone(), leg.currency, leg.account_id);
            *sums.entry(key).or_default() += signed(leg.side, leg.amount_minor);
        }
    }
    sums
}

/// The trial balance is zero in each currency, and a control code is the sum of its accounts.
fn check_balances(desk: &Desk) {
    let mut by_currency: BTreeMap<Currency, i128> = BTreeMap::new();
    let mut by_code: BTreeMap<(LedgerCode, Currency), i128> = BTreeMap::new();
    for ((ledger_code, currency, account_id), sum) in net_debits(desk) {
        *by_currency.entry(currency).or_default() += sum;
        *by_code.entry((ledger_code.clone(), currency)).or_default() += sum;
        let account = desk.account(account_id);
        assert_eq!((&account.ledger_code, account.currency), (&ledger_code, currency));
        if account.guarded {
            assert_eq!(sum, signed(account.normal_side, 1) * i128::from(account.balance_minor), "{account_id}");
        }
    }
    assert!(by_currency.values().all(|sum| *sum == 0), "the trial balance: {by_currency:?}");
    for ((ledger_code, currency), sum) in by_code {
        let code = &desk.shelf.ledger.codes[&ledger_code];
        if code.control {
            let accounts = desk.shelf.accounts.iter().map(|(_, account)| account);
            let on_it = accounts.filter(|account| account.ledger_code == ledger_code && account.currency == currency);
            let sub_ledger: i128 = on_it.map(|account| i128::from(account.balance_minor)).sum();
            assert_eq!(signed(code.normal_side, 1) * sum, sub_ledger, "control code {ledger_code} {currency}");
        }
    }
}

/// Holds and what is pending are the same thing from two sides, and nothing is spent that is not there.
fn check_holds(desk: &Desk) {
    let mut pending = BTreeMap::new();
    for (transaction_id, transaction) in &desk.shelf.transactions {
        for leg in &transaction.legs {
            assert!(leg.pending_minor >= 0 && leg.posted_minor >= 0 && leg.reversed_minor >= 0, "{leg:?}");
            assert!(leg.reversed_minor <= leg.posted_minor, "{leg:?}");
            if leg.pending_minor > 0 {
                assert_eq!(transaction.status, TransactionStatus::Pending);
                if desk.account(leg.account_id).guarded {
                    pending.insert((leg.account_id, *transaction_id, leg.leg), (leg.side, leg.pending_minor));
                }
            }
        }
    }
    for (account_id, account) in &desk.shelf.accounts {
        for hold in &account.holds {
            let left = pending.remove(&(*account_id, hold.transaction_id, hold.leg));
            assert_eq!(left, Some((hold.side, hold.amount_minor)), "a hold is what is pending");
        }
        let floor_minor = i128::from(account.minimum_balance_minor.min(0));
        assert!(!account.guarded || account.available_minor(desk.now) >= floor_minor, "overdrawn: {account:?}");
        assert!(account.guarded || (account.balance_minor == 0 && account.holds.is_empty()), "{account:?}");
    }
    assert!(pending.is_empty(), "pending legs without a hold: {pending:?}");
}

fn signed(side: Side, amount_minor: i64) -> i128 {
    match side {
        Side::Debit => i128::from(amount_minor),
        Side::Credit => -i128::from(amount_minor),
    }
}

fn account(shelf: &Shelf, account_id: AccountId) -> &Account {
    shelf.account(account_id).unwrap().unwrap()
}
