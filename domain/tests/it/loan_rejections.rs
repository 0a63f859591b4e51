//! Every way to be refused about loans, loan products and sagas; `rejections` asks that none is left out.

use domain::account::{AccountCommand, HolderRole};
use domain::ledger::LedgerClass;
use domain::loan::LoanCommand;
use domain::product::{Component, LoanProductCommand};
use domain::saga::{Process, Resolution, SagaCommand, Step, Transition};
use domain::{AccountId, LoanId, LoanProductId, Rejection, SagaId, TransactionId};

use crate::desk::{currency, czk, date, number, owner, reason, reverse, transfer};
use crate::lending::{
    Lending, approve, confirm, dated, define, in_currency, loan_accounts, rate, terms, transaction_of,
};

pub(crate) type LoanCase = (&'static str, fn(&mut Lending) -> Rejection);

/// A product on the lending desk's terms, changed.
fn defined(l: &mut Lending, change: impl FnOnce(&mut LoanProductCommand)) -> LoanProductCommand {
    let accounts = loan_accounts(&mut l.desk, "CZK");
    let mut command = define(LoanProductId(l.desk.fresh()), "OTHER", accounts);
    change(&mut command);
    command
}

fn collection_saga(l: &mut Lending) -> SagaId {
    let saga_id = SagaId(l.desk.fresh());
    let loan_id = LoanId(l.desk.fresh());
    l.desk.ok(SagaCommand::StartSaga { saga_id, process: Process::Collection { loan_id } });
    saga_id
}

fn disbursement_saga(l: &mut Lending) -> SagaId {
    let saga_id = SagaId(l.desk.fresh());
    let loan_id = LoanId(l.desk.fresh());
    l.desk.ok(SagaCommand::StartSaga { saga_id, process: Process::Disbursement { loan_id, attempt: 1 } });
    saga_id
}

fn done() -> Transition {
    Transition::Succeeded { loan_id: None, bank_reference: None, left_minor: None, next_at: None }
}

pub(crate) const LOANS: &[LoanCase] = &[
    ("loan_product_not_found", |l| {
        let product_id = LoanProductId(l.desk.fresh());
        l.desk.refused(LoanProductCommand::RetireLoanProduct { product_id, reason: None })
    }),
    ("loan_not_found", |l| {
        let loan_id = LoanId(l.desk.fresh());
        l.desk.refused(approve(loan_id))
    }),
    ("repayment_not_found", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let command = l.reverse(loan_id, TransactionId::default());
        l.desk.refused(command)
    }),
    ("saga_not_found", |l| {
        let saga_id = SagaId(l.desk.fresh());
        l.desk.refused(SagaCommand::ResumeSaga { saga_id, resolution: None })
    }),
    ("loan_product_code_taken", |l| {
        let accounts = l.accounts;
        let product_id = LoanProductId(l.desk.fresh());
        l.desk.refused(define(product_id, "LOAN", accounts))
    }),
    ("loan_number_taken", |l| {
        let mut twice = [l.apply(12_000, "12", 12), l.apply(12_000, "12", 12)];
        for command in &mut twice {
            let LoanCommand::ApplyForLoan { number: text, .. } = command else { panic!() };
            *text = number("twice");
        }
        let [first, second] = twice;
        l.desk.ok(first);
        l.desk.refused(second)
    }),
    ("account_not_internal", |l| {
        let account = l.account;
        let command = defined(l, |command| {
            let LoanProductCommand::DefineLoanProduct { accounts, .. } = command else { panic!() };
            accounts.portfolio_account_id = account;
        });
        l.desk.refused(command)
    }),
    ("account_of_other_class", |l| {
        let suspense = l.suspense;
        let command = defined(l, |command| {
            let LoanProductCommand::DefineLoanProduct { accounts, .. } = command else { panic!() };
            accounts.write_off_account_id = suspense;
        });
        let rejection = l.desk.refused(command);
        let Rejection::AccountOfOtherClass { needed, .. } = rejection else { panic!("{rejection:?}") };
        assert_eq!(needed, LedgerClass::Expense);
        rejection
    }),
    ("account_dedicated", |l| {
        let id = l.desk.fresh_transaction();
        l.desk.refused(transfer(id, l.accounts.portfolio_account_id, l.account, czk(1)))
    }),
    ("transaction_of_loan", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let repayment = l.repaid(loan_id, 1_000);
        let id = l.desk.fresh_transaction();
        l.desk.refused(reverse(id, repayment, None))
    }),
    ("not_the_members_account", |l| {
        let loan_id = l.approved(12_000, "12", 12);
        let stranger = l.desk.guarded("2100", domain::account::Product::Current, "CZK", 0, 0);
        let mut command = l.disburse(loan_id);
        let LoanCommand::DisburseLoan { to_account_id, .. } = &mut command else { panic!() };
        *to_account_id = stranger;
        l.desk.refused(command)
    }),
    ("loan_product_retired", |l| {
        l.desk.ok(LoanProductCommand::RetireLoanProduct { product_id: l.product, reason: None });
        let command = l.apply(12_000, "12", 12);
        l.desk.refused(command)
    }),
    ("product_terms_invalid", |l| {
        let command = defined(l, |command| {
            let LoanProductCommand::DefineLoanProduct { terms, .. } = command else { panic!() };
            terms.allocation_order.truncate(3);
        });
        l.desk.refused(command)
    }),
    ("loan_term_out_of_range", |l| {
        let command = l.apply(99, "12", 12);
        l.desk.refused(command)
    }),
    ("loan_currency_mismatch", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let command = l.repay(loan_id, 1_000);
        l.desk.refused(in_currency(command, currency("EUR")))
    }),
    ("schedule_impossible", |l| {
        // 1.00 in 60 instalments at 50 %: the interest is more than the instalment.
        let command = l.apply(100, "50", 60);
        l.desk.refused(command)
    }),
    ("loan_status_conflict", |l| {
        let loan_id = l.applied(12_000, "12", 12);
        l.desk.refused(confirm(loan_id))
    }),
    ("not_a_charge", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let command = l.charge(loan_id, Component::Principal, 1);
        l.desk.refused(command)
    }),
    ("before_disbursement", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let command = l.repay(loan_id, 1_000);
        l.desk.refused(dated(command, None, Some("2026-02-09")))
    }),
    ("overpayment_without_account", |l| {
        let loan_id = l.unsettled(12_000);
        let command = l.repay(loan_id, 12_001);
        l.desk.refused(command)
    }),
    ("no_settlement_account", |l| {
        let loan_id = l.unsettled(12_000);
        let command = l.collect(loan_id);
        l.desk.refused(command)
    }),
    ("nothing_due", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let command = l.collect(loan_id);
        l.desk.refused(dated(command, Some("2026-03-09"), None))
    }),
    ("nothing_to_accrue", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let command = l.accrue(loan_id);
        l.desk.refused(dated(command, Some("2026-03-09"), None))
    }),
    ("nothing_to_write_off", |l| {
        let mut terms = terms();
        terms.allocation_order.reverse();
        l.desk.ok(LoanProductCommand::ReviseLoanProduct { product_id: l.product, terms });
        let loan_id = l.active(12_000, "12", 1);
        l.repaid(loan_id, 12_000);
        let command = l.write_off(loan_id);
        l.desk.refused(command)
    }),
    ("repayment_reversed", |l| {
        let loan_id = l.active(12_000, "12", 12);
        let repayment = l.repaid(loan_id, 1_000);
        let command = l.reverse(loan_id, repayment);
        l.desk.ok(command);
        let command = l.reverse(loan_id, repayment);
        l.desk.refused(command)
    }),
    ("saga_ended", |l| {
        let saga_id = collection_saga(l);
        l.desk.ok(SagaCommand::AbandonSaga { saga_id, reason: reason("settled_by_hand") });
        l.desk.refused(SagaCommand::ResumeSaga { saga_id, resolution: None })
    }),
    ("saga_step_out_of_turn", |l| {
        let saga_id = collection_saga(l);
        l.desk.refused(SagaCommand::AdvanceSaga { saga_id, step: Step::Collect, attempt: 2, transition: done() })
    }),
    ("saga_not_parked", |l| {
        let saga_id = collection_saga(l);
        l.desk.refused(SagaCommand::ResumeSaga { saga_id, resolution: Some(Resolution::ReturnPayment) })
    }),
    ("saga_past_pivot", |l| {
        let saga_id = disbursement_saga(l);
        l.desk.ok(SagaCommand::AdvanceSaga { saga_id, step: Step::PayOut, attempt: 1, transition: done() });
        l.desk.refused(SagaCommand::AbandonSaga { saga_id, reason: reason("settled_by_hand") })
    }),
    ("saga_outcome_unknown", |l| {
        let saga_id = disbursement_saga(l);
        let transition = Transition::Unknown { code: reason("timeout"), ask_at: l.desk.now };
        l.desk.ok(SagaCommand::AdvanceSaga { saga_id, step: Step::PayOut, attempt: 1, transition });
        l.desk.refused(SagaCommand::AbandonSaga { saga_id, reason: reason("settled_by_hand") })
    }),
];

/// The desk on which each case begins is a sound one.
#[test]
fn a_lending_desk_is_sound() {
    let mut lending = Lending::new();
    let holder = domain::account::Holder { member_id: lending.desk.member(), role: HolderRole::Disponent };
    lending.desk.ok(AccountCommand::AddHolder { account_id: lending.account, holder });
    assert_ne!(lending.account, AccountId::default());
    assert_eq!(rate("12").to_string(), "12");
    assert_eq!(owner(lending.member).role, HolderRole::Owner);
    assert!(lending.desk.today() > date("2026-02-10"));
    let loan_id = lending.approved(12_000, "12", 12);
    let command = lending.start(loan_id);
    let plan = lending.desk.ok(command);
    assert_eq!(lending.desk.transaction(transaction_of(&plan)).legs.len(), 2);
    crate::invariants::check_desk(&lending.desk);
}

/// Whoever may dispose of another's account cannot have a loan paid into it or collected from it.
#[test]
fn a_disponents_account_is_not_the_borrowers() {
    let mut lending = Lending::new();
    let loan_id = lending.approved(12_000, "12", 12);
    let others = lending.desk.guarded("2100", domain::account::Product::Current, "CZK", 0, 0);
    let holder = domain::account::Holder { member_id: lending.member, role: HolderRole::Disponent };
    lending.desk.ok(AccountCommand::AddHolder { account_id: others, holder });
    let mut command = lending.disburse(loan_id);
    let LoanCommand::DisburseLoan { to_account_id, .. } = &mut command else { panic!() };
    *to_account_id = others;
    assert_eq!(lending.desk.refused(command).code(), "not_the_members_account");
}

/// Neither a charge nor a write-off is booked before the loan was paid out.
#[test]
fn nothing_is_booked_on_a_loan_before_its_disbursement() {
    let mut lending = Lending::new();
    let loan_id = lending.active(12_000, "12", 12);
    let disbursed_on = lending.desk.shelf.loans.iter().find(|(id, _)| *id == loan_id).unwrap().1.disbursed_on.unwrap();
    let (transaction_id, booking_date) = (lending.desk.fresh_transaction(), disbursed_on.pred_opt());
    let write_off = LoanCommand::WriteOffLoan { loan_id, transaction_id, reason: reason("lost"), booking_date };
    assert_eq!(lending.desk.refused(write_off).code(), "before_disbursement");
    let charge = LoanCommand::ChargeLoan {
        loan_id,
        transaction_id,
        component: domain::product::Component::Fee,
        amount: domain::Money::new(100, "CZK".parse().unwrap()),
        reason: reason("late"),
        booking_date,
    };
    assert_eq!(lending.desk.refused(charge).code(), "before_disbursement");
}
