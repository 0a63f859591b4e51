//! Pending transactions: held, posted whole or in part, voided, expired.

use chrono::Duration;
use domain::account::{AccountEvent, HoldEnd};
use domain::transaction::{TransactionCommand, TransactionStatus};
use domain::{AccountId, Event, Rejection, StreamKind};

use crate::desk::{
    Desk, booked_on, credit, czk, debit, event_names, hold, legs, made_pending, part, post_pending, transfer, void,
};
use crate::invariants::check_desk;

const ENTRY: (StreamKind, &str) = (StreamKind::Account, "EntryPosted");
const POSTED: (StreamKind, &str) = (StreamKind::Transaction, "PendingPosted");
const RELEASED: (StreamKind, &str) = (StreamKind::Account, "HoldReleased");

fn two(desk: &mut Desk) -> (AccountId, AccountId) {
    (desk.savings(0, 1_000), desk.savings(0, 0))
}

#[test]
fn a_hold_takes_from_what_is_available_and_not_from_the_balance() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (1_000, 400));
    assert_eq!((desk.balance_minor(to), desk.available_minor(to)), (0, 0), "what may come in is not available");
    let transaction_id = desk.fresh_transaction();
    assert_eq!(
        desk.refused(transfer(transaction_id, from, to, czk(401))),
        Rejection::InsufficientFunds {
            account_id: from,
            available: czk(400),
            minimum_balance: czk(0),
            requested: czk(401),
        }
    );
    assert_eq!(desk.refused(hold(transaction_id, from, to, czk(401), None)).code(), "insufficient_funds");
    let plan = desk.ok(post_pending(pending, None, true));
    assert_eq!(event_names(&plan), [POSTED, ENTRY, ENTRY]);
    assert!(!plan.creates);
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (400, 400));
    assert_eq!(desk.balance_minor(to), 600);
    assert_eq!(desk.transaction(pending).status, TransactionStatus::Posted);
    check_desk(&desk);
}

#[test]
fn several_postings_end_with_the_one_that_leaves_nothing() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    desk.ok(post_pending(pending, part(&[(1, czk(100)), (2, czk(100))]), false));
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (900, 400));
    desk.ok(post_pending(pending, part(&[(2, czk(200)), (1, czk(200))]), false));
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (700, 400));
    assert_eq!(desk.transaction(pending).status, TransactionStatus::Pending);
    desk.ok(post_pending(pending, part(&[(1, czk(300)), (2, czk(300))]), false));
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (400, 400));
    assert_eq!(desk.transaction(pending).status, TransactionStatus::Posted);
    assert_eq!(desk.transaction(pending).postings, 3);
    assert_eq!(desk.refused(post_pending(pending, None, true)), Rejection::NotPending { transaction_id: pending });
    check_desk(&desk);
}

#[test]
fn a_final_posting_gives_back_the_rest() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    desk.ok(post_pending(pending, part(&[(1, czk(250)), (2, czk(250))]), true));
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (750, 750));
    assert!(desk.account(from).holds.is_empty() && desk.account(to).holds.is_empty());
    check_desk(&desk);
}

#[test]
fn a_final_posting_releases_the_legs_it_leaves_out() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let (also, cash) = (desk.savings(0, 500), desk.internal("1000", "CZK"));
    let transaction_id = desk.fresh_transaction();
    let inputs = vec![debit(from, czk(300)), credit(to, czk(300)), debit(also, czk(200)), credit(cash, czk(200))];
    desk.ok(made_pending(legs(transaction_id, inputs), None));
    let plan = desk.ok(post_pending(transaction_id, part(&[(1, czk(300)), (2, czk(300))]), true));
    assert_eq!(event_names(&plan), [POSTED, ENTRY, ENTRY, RELEASED]);
    assert_eq!((desk.balance_minor(also), desk.available_minor(also)), (500, 500));
    check_desk(&desk);
}

#[test]
fn a_hold_is_posted_even_where_the_minimum_was_raised_to_all_that_was_left() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    let limit = |minor| domain::account::AccountCommand::ChangeLimit { account_id: from, minimum_balance: czk(minor) };
    assert_eq!(desk.refused(limit(401)).code(), "limit_above_available", "what is held is not there for a minimum");
    desk.ok(limit(400));
    desk.ok(post_pending(pending, part(&[(1, czk(100)), (2, czk(100))]), false));
    desk.ok(post_pending(pending, None, false));
    assert_eq!(desk.balance_minor(from), 400);
    check_desk(&desk);
}

#[test]
fn parts_must_balance_and_be_there() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    let mut refused = |amounts: &[(u16, domain::Money)]| desk.refused(post_pending(pending, part(amounts), true));
    assert_eq!(refused(&[(1, czk(10)), (2, czk(11))]).code(), "unbalanced");
    assert_eq!(refused(&[(1, czk(10))]).code(), "unbalanced");
    assert_eq!(refused(&[(1, czk(10)), (1, czk(10))]), Rejection::LegRepeated { leg: 1 });
    assert_eq!(refused(&[(3, czk(10))]), Rejection::LegNotFound { transaction_id: pending, leg: 3 });
    assert_eq!(refused(&[(0, czk(10))]), Rejection::LegNotFound { transaction_id: pending, leg: 0 });
    assert_eq!(
        refused(&[(1, czk(601)), (2, czk(601))]),
        Rejection::LegAmountExceeded { leg: 1, remaining: czk(600), requested: czk(601) }
    );
    assert_eq!(refused(&[(1, crate::desk::eur(10))]).code(), "currency_mismatch");
    // Nothing is no part: a final posting of nothing would be a void that does not say so.
    assert_eq!(refused(&[]), Rejection::LegCountOutOfRange { legs: 0, legs_max: 1_000 });
    assert_eq!(refused(&[(1, czk(0)), (2, czk(0))]), Rejection::AmountOutOfRange { amount: czk(0) });
    assert_eq!(refused(&[(1, czk(-5)), (2, czk(-5))]), Rejection::AmountOutOfRange { amount: czk(-5) });
}

#[test]
fn a_void_gives_everything_back_and_keeps_what_was_posted() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    desk.ok(post_pending(pending, part(&[(1, czk(100)), (2, czk(100))]), false));
    let plan = desk.ok(void(pending));
    assert_eq!(event_names(&plan), [(StreamKind::Transaction, "PendingVoided"), RELEASED, RELEASED]);
    for (_, event) in &plan.events[1..] {
        let released = matches!(event, Event::Account(AccountEvent::HoldReleased { amount_minor: 500, reason, .. }) if *reason == HoldEnd::Voided);
        assert!(released, "{event:?}");
    }
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (900, 900));
    assert_eq!(desk.refused(void(pending)).code(), "not_pending");
    check_desk(&desk);
}

#[test]
fn a_hold_no_longer_counts_from_its_expiry_on_before_anyone_writes_it_down() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let until = desk.now + Duration::hours(1);
    let pending = desk.held(from, to, 600, Some(until));
    let expire = TransactionCommand::ExpirePending { transaction_id: pending };
    desk.now = until - Duration::microseconds(1);
    assert_eq!(desk.available_minor(from), 400);
    assert_eq!(desk.refused(expire.clone()), Rejection::NotExpired { transaction_id: pending });
    desk.now = until;
    assert_eq!(desk.available_minor(from), 1_000, "no event, and yet it is free");
    let expired = Rejection::PendingExpired { transaction_id: pending, expires_at: until };
    assert_eq!(desk.refused(post_pending(pending, None, true)), expired);
    assert_eq!(desk.refused(void(pending)), expired);
    desk.transferred(from, to, 1_000);
    let plan = desk.ok(expire.clone());
    assert_eq!(event_names(&plan), [(StreamKind::Transaction, "PendingExpired"), RELEASED, RELEASED]);
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (0, 0));
    assert_eq!(desk.refused(expire).code(), "not_pending");
    check_desk(&desk);
}

#[test]
fn without_an_expiry_a_hold_stays() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let pending = desk.held(from, to, 600, None);
    desk.pass(Duration::days(60));
    assert_eq!(desk.available_minor(from), 400);
    let expire = TransactionCommand::ExpirePending { transaction_id: pending };
    assert_eq!(desk.refused(expire).code(), "not_expired");
    let transaction_id = desk.fresh_transaction();
    let now = desk.now;
    assert_eq!(
        desk.refused(hold(transaction_id, from, to, czk(1), Some(now))),
        Rejection::ExpiryNotInFuture { expires_at: now }
    );
    // It is booked when it is posted, not when it was made.
    assert_eq!(
        desk.refused(booked_on(post_pending(pending, None, true), "2026-05-16")).code(),
        "booking_date_in_future"
    );
    desk.ok(post_pending(pending, None, true));
    check_desk(&desk);
}

#[test]
fn an_account_on_both_sides_is_held_for_all_it_would_pay() {
    let mut desk = Desk::new();
    let (from, to) = two(&mut desk);
    let transaction_id = desk.fresh_transaction();
    let inputs = vec![debit(from, czk(900)), credit(to, czk(900)), debit(to, czk(1)), credit(from, czk(1))];
    // What comes in with the same transaction is not there yet.
    let command = made_pending(legs(transaction_id, inputs), None);
    assert!(matches!(desk.refused(command), Rejection::InsufficientFunds { account_id, .. } if account_id == to));
    let inputs = vec![debit(from, czk(500)), debit(from, czk(500)), credit(to, czk(1_000))];
    desk.ok(made_pending(legs(transaction_id, inputs), None));
    assert_eq!((desk.available_minor(from), desk.account(from).holds.len()), (0, 2));
    desk.ok(post_pending(transaction_id, None, true));
    assert_eq!((desk.balance_minor(from), desk.balance_minor(to)), (0, 1_000));
    check_desk(&desk);
}
