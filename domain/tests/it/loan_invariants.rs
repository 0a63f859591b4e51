//! What must be true of loans and of the accounts that are kept for them.

use std::collections::BTreeMap;

use domain::forward::Shelf;
use domain::loan::{Allocation, Amounts, Loan, LoanEvent, LoanStatus};
use domain::product::Component;
use domain::{AccountId, Event, LoanId, Plan};

use crate::desk::Desk;
use crate::invariants::net_debits;

/// Of a plan, before it is applied: what a payment says it settles is what it settles, in the loan's order.
pub(crate) fn check_plan(shelf: &Shelf, plan: &Plan) {
    let mut loans: BTreeMap<LoanId, Loan> = BTreeMap::new();
    for (stream, event) in &plan.events {
        let Event::Loan(event) = event else { continue };
        let loan_id = LoanId(stream.id);
        let known = shelf.loans.iter().find(|(id, _)| *id == loan_id).map(|(_, loan)| loan.clone());
        let loan = loans.entry(loan_id).or_insert_with(|| known.unwrap_or_default());
        let before = loan.clone();
        loan.fold(event);
        match event {
            LoanEvent::RepaymentReceived { amount_minor, surplus_minor, allocation, outstanding, .. } => {
                assert_eq!(allocation.iter().map(|settled| settled.amount_minor).sum::<i64>(), *amount_minor);
                assert!(*surplus_minor >= 0 && allocation.iter().all(|settled| settled.amount_minor > 0));
                assert_eq!(*outstanding, loan.outstanding());
                assert!(*surplus_minor == 0 || outstanding.total_minor() == 0, "a surplus while something is owed");
                check_order(&before, loan, allocation);
            }
            LoanEvent::RepaymentReversed { outstanding, .. } => assert_eq!(*outstanding, loan.outstanding()),
            LoanEvent::LoanRepaid { .. } => assert_eq!(loan.outstanding(), Amounts::default()),
            LoanEvent::LoanDisbursed { principal_minor, schedule, .. } => {
                assert_eq!(schedule.iter().map(|due| due.principal_minor).sum::<i64>(), *principal_minor);
                assert!(schedule.windows(2).all(|pair| pair[0].due_on < pair[1].due_on));
            }
            LoanEvent::InterestAccrued { instalments, .. } => {
                let gained = loan.interest_receivable_minor() - before.interest_receivable_minor();
                assert_eq!(instalments.iter().map(|accrued| accrued.amount_minor).sum::<i64>(), gained);
            }
            LoanEvent::LoanWrittenOff { written_off, .. } => {
                let owed = before.outstanding();
                assert_eq!(
                    (written_off.principal_minor, written_off.fee_minor, written_off.penalty_minor),
                    (owed.principal_minor, owed.fee_minor, owed.penalty_minor)
                );
                assert!(written_off.interest_minor <= owed.interest_minor);
            }
            LoanEvent::LoanApplied { .. }
            | LoanEvent::LoanApproved { .. }
            | LoanEvent::LoanRejected { .. }
            | LoanEvent::LoanDisbursementStarted { .. }
            | LoanEvent::LoanDisbursementCancelled { .. }
            | LoanEvent::LoanCharged { .. }
            | LoanEvent::LoanClosed { .. } => {}
        }
    }
}

/// Nothing is settled while something before it is still owed.
fn check_order(before: &Loan, after: &Loan, allocation: &[Allocation]) {
    let slots = |loan: &Loan| -> Vec<(u16, Component, i64)> {
        let of = |instalment: &domain::loan::Instalment| {
            let slot =
                |component: &Component| (instalment.number, *component, instalment.outstanding_minor(*component));
            before.terms.allocation_order.iter().map(slot).collect::<Vec<_>>()
        };
        loan.instalments.iter().flat_map(of).collect()
    };
    let (owed, left) = (slots(before), slots(after));
    let settled: Vec<_> = allocation.iter().map(|settled| (settled.instalment, settled.component)).collect();
    let changed: Vec<_> =
        owed.iter().zip(&left).filter(|(was, is)| was.2 != is.2).map(|(was, _)| (was.0, was.1)).collect();
    assert_eq!(settled, changed, "what is named is what has changed, in the same order");
    if let Some(last) = settled.last() {
        let until = left.iter().take_while(|slot| (slot.0, slot.1) != *last);
        assert!(until.clone().all(|slot| slot.2 == 0), "settled out of order: {left:?}");
    }
}

/// Of the whole book: each loan holds together, and the accounts kept for loans are the sums of the loans.
pub(crate) fn check_desk(desk: &Desk) {
    let mut sums: BTreeMap<AccountId, i128> = BTreeMap::new();
    for (loan_id, loan) in &desk.shelf.loans {
        check_loan(*loan_id, loan);
        if loan.status == LoanStatus::Active {
            let owed = loan.outstanding();
            let accounts = &loan.accounts;
            *sums.entry(accounts.portfolio_account_id).or_default() += i128::from(owed.principal_minor);
            *sums.entry(accounts.interest_receivable_account_id).or_default() +=
                i128::from(loan.interest_receivable_minor());
            *sums.entry(accounts.charges_receivable_account_id).or_default() +=
                i128::from(owed.fee_minor) + i128::from(owed.penalty_minor);
        }
    }
    let mut nets: BTreeMap<AccountId, i128> = BTreeMap::new();
    for ((_, _, account_id), net) in net_debits(desk) {
        *nets.entry(account_id).or_default() += net;
    }
    for (account_id, account) in desk.shelf.accounts.iter().filter(|(_, account)| account.dedicated.is_some()) {
        let (net, sum) = (nets.get(account_id).copied(), sums.remove(account_id));
        assert_eq!(net.unwrap_or(0), sum.unwrap_or(0), "{:?}: the account and its loans", account.dedicated);
    }
    assert!(sums.values().all(|sum| *sum == 0), "loans on accounts that are not kept for them: {sums:?}");
}

fn check_loan(loan_id: LoanId, loan: &Loan) {
    let mut paid = BTreeMap::new();
    for settled in
        loan.repayments.iter().filter(|repayment| !repayment.reversed).flat_map(|repayment| &repayment.allocation)
    {
        *paid.entry((settled.instalment, settled.component)).or_insert(0) += settled.amount_minor;
    }
    for instalment in &loan.instalments {
        for component in Component::ALL {
            let (due, settled) = (instalment.due.of(component), instalment.paid.of(component));
            assert!((0..=due).contains(&settled), "{loan_id}: {instalment:?}");
            assert_eq!(settled, paid.remove(&(instalment.number, component)).unwrap_or(0), "{loan_id}: {instalment:?}");
        }
        let recognised = instalment.recognised_interest_minor;
        assert!((instalment.paid.interest_minor..=instalment.due.interest_minor).contains(&recognised));
    }
    assert!(paid.is_empty(), "{loan_id} was paid what it never asked for: {paid:?}");
    let owes = loan.outstanding().total_minor() > 0;
    match loan.status {
        LoanStatus::Active | LoanStatus::WrittenOff => assert!(owes, "{loan_id} owes nothing and is {}", loan.status),
        LoanStatus::Repaid => assert!(!owes, "{loan_id} owes something and is repaid"),
        LoanStatus::Applied | LoanStatus::Approved | LoanStatus::Rejected | LoanStatus::Disbursing => {
            assert!(loan.instalments.is_empty() && loan.disbursed_on.is_none());
        }
        LoanStatus::Closed => {}
    }
    assert_eq!(loan.payout.is_some(), loan.status == LoanStatus::Disbursing);
}
