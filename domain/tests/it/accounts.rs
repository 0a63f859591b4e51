//! Accounts' lives, and what freezes, dormancy, limits and closing mean for their money.

use domain::account::{AccountCommand, AccountStatus, FreezeScope, Product};
use domain::transaction::{Legs, TransactionKind};
use domain::{Rejection, Side, StreamKind};

use crate::desk::{Desk, close, czk, event_names, freeze, post, reason, transfer, void};
use crate::invariants::check_desk;

#[test]
fn an_account_keeps_its_minimum() {
    let mut desk = Desk::new();
    let (account, other) = (desk.savings(5_000, 20_000), desk.savings(0, 0));
    desk.transferred(account, other, 15_000);
    let transaction_id = desk.fresh_transaction();
    assert_eq!(
        desk.refused(transfer(transaction_id, account, other, czk(1))),
        Rejection::InsufficientFunds {
            account_id: account,
            available: czk(5_000),
            minimum_balance: czk(5_000),
            requested: czk(1),
        }
    );
    check_desk(&desk);
}

#[test]
fn a_credit_line_lets_the_balance_go_below_zero_to_the_line() {
    let mut desk = Desk::new();
    let (account, other) = (desk.savings(-10_000, 0), desk.savings(0, 0));
    desk.transferred(account, other, 10_000);
    assert_eq!(desk.balance_minor(account), -10_000);
    let transaction_id = desk.fresh_transaction();
    assert_eq!(desk.refused(transfer(transaction_id, account, other, czk(1))).code(), "insufficient_funds");
    // Taking the line away from someone who uses it would put the account in breach at once.
    let none = AccountCommand::ChangeLimit { account_id: account, minimum_balance: czk(0) };
    assert_eq!(desk.refused(none.clone()).code(), "limit_above_available");
    desk.transferred(other, account, 10_000);
    desk.ok(none);
    check_desk(&desk);
}

#[test]
fn money_in_is_taken_even_where_it_stays_below_the_minimum() {
    let mut desk = Desk::new();
    let account = desk.savings(10_000, 0);
    let other = desk.savings(0, 3_000);
    desk.transferred(other, account, 3_000);
    assert_eq!(desk.balance_minor(account), 3_000);
    let transaction_id = desk.fresh_transaction();
    assert_eq!(desk.refused(transfer(transaction_id, account, other, czk(1))).code(), "insufficient_funds");
}

#[test]
fn a_minimum_that_is_not_met_may_be_lowered_but_not_raised() {
    let mut desk = Desk::new();
    let account = desk.savings(10_000, 3_000);
    let limit = |minor| AccountCommand::ChangeLimit { account_id: account, minimum_balance: czk(minor) };
    assert_eq!(desk.refused(limit(10_001)).code(), "limit_above_available");
    desk.ok(limit(5_000));
    desk.ok(limit(5_000));
    assert_eq!(desk.refused(limit(5_001)).code(), "limit_above_available");
    assert_eq!(desk.account(account).minimum_balance_minor, 5_000);
}

#[test]
fn a_freeze_may_grow_and_shrink() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 0);
    let unfreeze = |scope| AccountCommand::UnfreezeAccount { account_id: account, scope };
    desk.ok(freeze(account, FreezeScope::Debit));
    desk.ok(freeze(account, FreezeScope::Both));
    assert_eq!(desk.refused(freeze(account, FreezeScope::Both)).code(), "account_frozen_already");
    desk.ok(unfreeze(FreezeScope::Debit));
    assert!(desk.account(account).is_frozen(Side::Credit) && !desk.account(account).is_frozen(Side::Debit));
    desk.ok(unfreeze(FreezeScope::Both));
    assert_eq!(desk.refused(unfreeze(FreezeScope::Both)).code(), "account_not_frozen");
}

#[test]
fn a_limit_is_checked_once_on_the_net() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 1_000);
    let (cash, fees) = (desk.internal("1000", "CZK"), desk.internal("4000", "CZK"));
    let swing = |desk: &mut Desk, net: i64| {
        let legs = vec![
            crate::desk::debit(account, czk(5_000)),
            crate::desk::credit(fees, czk(5_000)),
            crate::desk::debit(cash, czk(5_000 + net)),
            crate::desk::credit(account, czk(5_000 + net)),
        ];
        let transaction_id = desk.fresh_transaction();
        desk.submit(crate::desk::legs(transaction_id, legs)).map(|plan| event_names(&plan))
    };
    let names = swing(&mut desk, -1_000).unwrap();
    let entry = (StreamKind::Account, "EntryPosted");
    assert_eq!(names, [(StreamKind::Transaction, "TransactionPosted"), entry, entry]);
    assert_eq!(desk.balance_minor(account), 0);
    assert_eq!(swing(&mut desk, -1).unwrap_err().code(), "insufficient_funds");
    check_desk(&desk);
}

#[test]
fn a_freeze_refuses_its_side_and_only_that() {
    let mut desk = Desk::new();
    let other = desk.savings(0, 100_000);
    for (scope, debits, credits) in
        [(FreezeScope::Debit, false, true), (FreezeScope::Credit, true, false), (FreezeScope::Both, false, false)]
    {
        let account = desk.savings(0, 1_000);
        desk.ok(freeze(account, scope));
        for (from, to, side, taken) in [(account, other, Side::Debit, debits), (other, account, Side::Credit, credits)]
        {
            let transaction_id = desk.fresh_transaction();
            let result = desk.submit(transfer(transaction_id, from, to, czk(10))).map(|_| ());
            let refusal = Rejection::AccountFrozen { account_id: account, side };
            assert_eq!(result, if taken { Ok(()) } else { Err(refusal) }, "{scope:?}");
        }
        desk.ok(AccountCommand::UnfreezeAccount { account_id: account, scope: FreezeScope::Both });
        desk.transferred(account, other, 10);
        desk.transferred(other, account, 10);
    }
    check_desk(&desk);
}

#[test]
fn a_freeze_keeps_holds_from_being_placed_and_posted_but_not_from_being_given_up() {
    let mut desk = Desk::new();
    let (account, other) = (desk.savings(0, 1_000), desk.savings(0, 0));
    let pending = desk.held(account, other, 400, None);
    desk.ok(freeze(account, FreezeScope::Debit));
    let transaction_id = desk.fresh_transaction();
    let refusal = Rejection::AccountFrozen { account_id: account, side: Side::Debit };
    assert_eq!(desk.refused(crate::desk::hold(transaction_id, account, other, czk(1), None)), refusal);
    assert_eq!(desk.refused(crate::desk::post_pending(pending, None, true)), refusal);
    desk.ok(void(pending));
    assert_eq!(desk.available_minor(account), 1_000);
    check_desk(&desk);
}

#[test]
fn a_dormant_account_takes_credits_and_the_institutions_own_debits() {
    let mut desk = Desk::new();
    let (account, other) = (desk.savings(0, 1_000), desk.savings(0, 1_000));
    let fees = desk.internal("4000", "CZK");
    desk.ok(AccountCommand::MarkAccountDormant { account_id: account, reason: reason("no_activity") });
    desk.transferred(other, account, 10);
    for kind in TransactionKind::ALL {
        let transaction_id = desk.fresh_transaction();
        let command = post(transaction_id, kind, Legs::Move { from: account, to: fees, amount: czk(5) });
        let result = desk.submit(command).map(|_| ());
        let own = matches!(kind, TransactionKind::Fee | TransactionKind::Interest | TransactionKind::Adjustment);
        let refusal = Rejection::AccountDormant { account_id: account };
        assert_eq!(result, if own { Ok(()) } else { Err(refusal) }, "{kind:?}");
    }
    desk.ok(AccountCommand::ReactivateAccount { account_id: account });
    desk.transferred(account, other, 10);
    check_desk(&desk);
}

#[test]
fn closing_needs_a_zero_balance_and_nothing_pending() {
    let mut desk = Desk::new();
    let (account, other) = (desk.savings(0, 1_000), desk.savings(0, 0));
    assert_eq!(desk.refused(close(account)), Rejection::BalanceNotZero { account_id: account, balance: czk(1_000) });
    desk.transferred(account, other, 1_000);
    // Money that is about to come in refers to the account as well.
    let pending = desk.held(other, account, 10, None);
    assert_eq!(desk.refused(close(account)), Rejection::HoldsRemain { account_id: account, holds: 1 });
    desk.ok(void(pending));
    desk.ok(close(account));
    let closed = Rejection::AccountClosed { account_id: account };
    assert_eq!(desk.refused(close(account)), closed);
    assert_eq!(desk.refused(freeze(account, FreezeScope::Both)), closed);
    let transaction_id = desk.fresh_transaction();
    assert_eq!(desk.refused(transfer(transaction_id, other, account, czk(1))), closed);
    check_desk(&desk);
}

#[test]
fn an_expired_hold_refers_to_its_account_until_the_expiry_is_written_down() {
    let mut desk = Desk::new();
    let (account, other) = (desk.savings(0, 0), desk.savings(0, 1_000));
    let until = desk.now + chrono::Duration::hours(1);
    let pending = desk.held(other, account, 10, Some(until));
    desk.pass(chrono::Duration::hours(2));
    assert_eq!(desk.refused(close(account)).code(), "holds_remain");
    desk.ok(domain::transaction::TransactionCommand::ExpirePending { transaction_id: pending });
    desk.ok(close(account));
    check_desk(&desk);
}

#[test]
fn an_internal_account_is_retired_and_finishes_what_was_pending() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 1_000);
    let cash = desk.internal("1000", "CZK");
    let pending = desk.held(account, cash, 400, None);
    let plan = desk.ok(close(cash));
    assert_eq!(event_names(&plan), [(StreamKind::Account, "AccountRetired")]);
    assert_eq!(desk.account(cash).status, AccountStatus::Retired);
    let retired = Rejection::AccountRetired { account_id: cash };
    let transaction_id = desk.fresh_transaction();
    assert_eq!(desk.refused(transfer(transaction_id, account, cash, czk(1))), retired);
    assert_eq!(desk.refused(crate::desk::hold(transaction_id, account, cash, czk(1), None)), retired);
    assert_eq!(desk.refused(close(cash)), retired);
    desk.ok(crate::desk::post_pending(pending, None, true));
    assert_eq!(desk.balance_minor(account), 600);
    check_desk(&desk);
}

#[test]
fn a_debit_balance_account_grows_on_the_debit_side() {
    let mut desk = Desk::new();
    // Room for loans: a guarded account under an asset control code.
    let claim = desk.guarded("1400", Product::Current, "CZK", 0, 0);
    let account = desk.savings(0, 0);
    desk.transferred(claim, account, 5_000);
    assert_eq!((desk.balance_minor(claim), desk.balance_minor(account)), (5_000, 5_000));
    // It cannot be paid back by more than is owed.
    let over = desk.fresh_transaction();
    assert_eq!(
        desk.refused(crate::desk::legs(
            over,
            vec![crate::desk::debit(account, czk(5_001)), crate::desk::credit(claim, czk(5_001))],
        ))
        .code(),
        "insufficient_funds"
    );
    check_desk(&desk);
}
