//! Reversals: whole, in part, never more than the original, through suspense where an account is gone.

use domain::transaction::{Legs, TransactionKind};
use domain::{AccountId, Rejection, Side, StreamKind, TransactionId};

use crate::desk::{
    Desk, close, credit, czk, debit, eur, event_names, legs, part, post, post_pending, reverse, through, void,
};
use crate::invariants::{check_desk, net_debits};

fn two(desk: &mut Desk) -> (AccountId, AccountId, TransactionId) {
    let (from, to) = (desk.savings(0, 1_000), desk.savings(0, 0));
    let transaction_id = desk.transferred(from, to, 700);
    (from, to, transaction_id)
}

#[test]
fn a_reversal_is_a_transaction_of_its_own_with_opposite_sides_and_a_link_both_ways() {
    let mut desk = Desk::new();
    let (from, to, original) = two(&mut desk);
    let reversal = desk.fresh_transaction();
    let plan = desk.ok(reverse(reversal, original, None));
    let entry = (StreamKind::Account, "EntryPosted");
    assert_eq!(
        event_names(&plan),
        [
            (StreamKind::Transaction, "TransactionPosted"),
            entry,
            entry,
            (StreamKind::Transaction, "TransactionReversed")
        ]
    );
    assert_eq!(plan.subject, reversal.stream());
    assert_eq!(plan.events[3].0, original.stream());
    assert_eq!((desk.balance_minor(from), desk.balance_minor(to)), (1_000, 0));
    let sides: Vec<_> = desk.transaction(reversal).legs.iter().map(|leg| leg.side).collect();
    assert_eq!(sides, [Side::Credit, Side::Debit]);
    let again = desk.fresh_transaction();
    assert_eq!(desk.refused(reverse(again, original, None)), Rejection::NothingToReverse { transaction_id: original });
    let reversed = Rejection::ReversalNotReversible { transaction_id: reversal };
    assert_eq!(desk.refused(reverse(again, reversal, None)), reversed);
    check_desk(&desk);
}

#[test]
fn parts_of_a_transaction_are_reversed_until_nothing_is_left() {
    let mut desk = Desk::new();
    let (from, to, original) = two(&mut desk);
    let mut undo = |amount: Option<i64>| {
        let reversal = desk.fresh_transaction();
        let legs = amount.and_then(|minor| part(&[(1, czk(minor)), (2, czk(minor))]));
        desk.submit(reverse(reversal, original, legs)).map(|_| ())
    };
    assert_eq!(undo(Some(200)), Ok(()));
    assert_eq!(undo(Some(501)), Err(Rejection::LegAmountExceeded { leg: 1, remaining: czk(500), requested: czk(501) }));
    assert_eq!(undo(Some(100)), Ok(()));
    assert_eq!(undo(None), Ok(()), "all that is left");
    assert_eq!(undo(None), Err(Rejection::NothingToReverse { transaction_id: original }));
    assert_eq!((desk.balance_minor(from), desk.balance_minor(to)), (1_000, 0));
    assert!(desk.transaction(original).legs.iter().all(|leg| leg.reversed_minor == 700));
    check_desk(&desk);
}

#[test]
fn a_part_of_one_leg_pair_leaves_the_others() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 1_000);
    let (cash, fees) = (desk.internal("1000", "CZK"), desk.internal("4000", "CZK"));
    let original = desk.fresh_transaction();
    let inputs = vec![debit(account, czk(500)), credit(cash, czk(480)), credit(fees, czk(20))];
    desk.ok(post(original, TransactionKind::Withdrawal, Legs::Explicit(inputs)));
    // The fee is given back; the withdrawal stands.
    let reversal = desk.fresh_transaction();
    desk.ok(reverse(reversal, original, part(&[(1, czk(20)), (3, czk(20))])));
    assert_eq!(desk.balance_minor(account), 520);
    let reversed: Vec<_> = desk.transaction(original).legs.iter().map(|leg| leg.reversed_minor).collect();
    assert_eq!(reversed, [20, 0, 20]);
    let numbers: Vec<_> = desk.transaction(reversal).legs.iter().map(|leg| leg.leg).collect();
    assert_eq!(numbers, [1, 2], "the reversal counts its own legs");
    let again = desk.fresh_transaction();
    assert_eq!(desk.refused(reverse(again, original, part(&[(1, czk(20)), (2, czk(10))]))).code(), "unbalanced");
    check_desk(&desk);
}

#[test]
fn what_has_been_spent_cannot_be_taken_back() {
    let mut desk = Desk::new();
    let (from, to, original) = two(&mut desk);
    desk.transferred(to, from, 600);
    let reversal = desk.fresh_transaction();
    let rejection = desk.refused(reverse(reversal, original, None));
    assert!(matches!(rejection, Rejection::InsufficientFunds { account_id, .. } if account_id == to));
    desk.ok(reverse(reversal, original, part(&[(1, czk(100)), (2, czk(100))])));
    check_desk(&desk);
}

#[test]
fn a_closed_account_is_reached_through_suspense_only() {
    let mut desk = Desk::new();
    let (from, to, original) = two(&mut desk);
    desk.transferred(to, from, 700);
    desk.ok(close(to));
    let (suspense, other) = (desk.internal("2900", "CZK"), desk.savings(0, 0));
    let euro = desk.internal("2900", "EUR");
    let reversal = desk.fresh_transaction();
    let undo = reverse(reversal, original, None);
    assert_eq!(desk.refused(undo.clone()), Rejection::AccountClosed { account_id: to });
    assert_eq!(desk.refused(through(undo.clone(), other)), Rejection::SuspenseNotInternal { account_id: other });
    assert_eq!(desk.refused(through(undo.clone(), euro)).code(), "currency_mismatch");
    let unknown = AccountId(desk.fresh());
    assert_eq!(desk.refused(through(undo.clone(), unknown)), Rejection::AccountNotFound { account_id: unknown });
    desk.ok(through(undo, suspense));
    assert_eq!((desk.balance_minor(from), desk.balance_minor(to)), (1_700, 0), "the closed account is untouched");
    let key = (crate::desk::word("2900"), crate::desk::currency("CZK"), suspense);
    assert_eq!(net_debits(&desk)[&key], 700, "suspense is owed what the closed account owes");
    check_desk(&desk);
}

#[test]
fn a_retired_internal_account_is_reached_through_suspense_too() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 1_000);
    let fees = desk.internal("4000", "CZK");
    let original = desk.transferred(account, fees, 30);
    desk.ok(close(fees));
    let suspense = desk.internal("2900", "CZK");
    let reversal = desk.fresh_transaction();
    let undo = reverse(reversal, original, None);
    assert_eq!(desk.refused(undo.clone()), Rejection::AccountRetired { account_id: fees });
    desk.ok(through(undo, suspense));
    assert_eq!(desk.balance_minor(account), 1_000);
    check_desk(&desk);
}

#[test]
fn suspense_stands_in_only_where_an_account_is_gone() {
    let mut desk = Desk::new();
    let (from, to, original) = two(&mut desk);
    let suspense = desk.internal("2900", "CZK");
    let reversal = desk.fresh_transaction();
    desk.ok(through(reverse(reversal, original, None), suspense));
    let accounts: Vec<_> = desk.transaction(reversal).legs.iter().map(|leg| leg.account_id).collect();
    assert_eq!(accounts, [from, to]);
    check_desk(&desk);
}

#[test]
fn of_a_pending_transaction_only_what_was_posted_is_reversed() {
    let mut desk = Desk::new();
    let (from, to) = (desk.savings(0, 1_000), desk.savings(0, 0));
    let pending = desk.held(from, to, 600, None);
    let reversal = desk.fresh_transaction();
    let nothing = Rejection::NothingToReverse { transaction_id: pending };
    assert_eq!(desk.refused(reverse(reversal, pending, None)), nothing);
    desk.ok(post_pending(pending, part(&[(1, czk(250)), (2, czk(250))]), false));
    desk.ok(reverse(reversal, pending, None));
    assert_eq!((desk.balance_minor(from), desk.available_minor(from)), (1_000, 650), "the rest is still held");
    desk.ok(post_pending(pending, part(&[(1, czk(50)), (2, czk(50))]), false));
    desk.ok(void(pending));
    let second = desk.fresh_transaction();
    desk.ok(reverse(second, pending, None));
    assert_eq!((desk.balance_minor(from), desk.balance_minor(to)), (1_000, 0));
    check_desk(&desk);
}

#[test]
fn a_reversal_in_two_currencies_balances_in_each() {
    let mut desk = Desk::new();
    let koruna = desk.savings(0, 50_000);
    let euro = desk.guarded("2200", domain::account::Product::Savings, "EUR", 0, 0);
    let (position_czk, position_eur) = (desk.internal("1300", "CZK"), desk.internal("1300", "EUR"));
    let original = desk.fresh_transaction();
    let inputs = vec![
        debit(koruna, czk(25_000)),
        credit(position_czk, czk(25_000)),
        debit(position_eur, eur(1_000)),
        credit(euro, eur(1_000)),
    ];
    desk.ok(legs(original, inputs));
    let reversal = desk.fresh_transaction();
    let one_side = part(&[(1, czk(2_500)), (2, czk(2_500))]);
    desk.ok(reverse(reversal, original, one_side));
    let reversal = desk.fresh_transaction();
    desk.ok(reverse(reversal, original, None));
    assert_eq!((desk.balance_minor(koruna), desk.balance_minor(euro)), (50_000, 0));
    check_desk(&desk);
}

#[test]
fn a_reversal_keeps_the_kind_of_its_original() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 1_000);
    let fees = desk.internal("4000", "CZK");
    let original = desk.fresh_transaction();
    desk.ok(post(original, TransactionKind::Fee, Legs::Move { from: account, to: fees, amount: czk(30) }));
    let reversal = desk.fresh_transaction();
    desk.ok(reverse(reversal, original, None));
    assert_eq!(desk.transaction(reversal).kind, TransactionKind::Fee);
    // So a dormant account gives back interest that was paid in error, and keeps a transfer.
    let interest = desk.internal("5000", "CZK");
    let paid = desk.fresh_transaction();
    desk.ok(post(paid, TransactionKind::Interest, Legs::Move { from: interest, to: account, amount: czk(7) }));
    let other = desk.savings(0, 100);
    let moved = desk.transferred(other, account, 50);
    desk.ok(domain::account::AccountCommand::MarkAccountDormant {
        account_id: account,
        reason: crate::desk::reason("no_activity"),
    });
    let (first, second) = (desk.fresh_transaction(), desk.fresh_transaction());
    desk.ok(reverse(first, paid, None));
    assert_eq!(desk.refused(reverse(second, moved, None)), Rejection::AccountDormant { account_id: account });
    check_desk(&desk);
}
