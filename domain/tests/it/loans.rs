//! Loans: who may ask for what when, what a payment settles, what a reversal restores.

use std::collections::BTreeMap;

use domain::account::FreezeScope;
use domain::ledger::LedgerCommand;
use domain::loan::{Allocation, Amounts, LoanCommand, LoanEvent, LoanStatus};
use domain::money::AMOUNT_MINOR_MAX;
use domain::product::{Component, LoanProductCommand};
use domain::transaction::{TransactionEvent, TransactionKind};
use domain::words::ExternalReference;
use domain::{Event, LoanId, Plan, Rejection, StreamKind};

use crate::desk::{IntoCommand, czk, post_pending};
use crate::desk::{close, date, event_names, freeze, hold, period, reverse, through, transfer, void};
use crate::invariants::check_desk;
use crate::lending::{
    Lending, RATE, approve, cancel, close_loan, confirm, dated, leaving, rate, reject, terms, transaction_of,
};

/// 1,200.00 in three instalments: 396.03 + 12.00, 399.99 + 8.04, 403.98 + 4.04.
const PRINCIPAL: i64 = 120_000;
const SCHEDULE: [(&str, i64, i64); 3] =
    [("2026-03-10", 39_603, 1_200), ("2026-04-10", 39_999, 804), ("2026-05-10", 40_398, 404)];

fn loan_event(plan: &Plan) -> &LoanEvent {
    match &plan.events[0].1 {
        Event::Loan(event) => event,
        other => panic!("{other:?}"),
    }
}

/// What a payment settles: instalment, component, amount, and how much of it is earned with it.
fn settled(plan: &Plan) -> Vec<(u16, Component, i64, i64)> {
    let LoanEvent::RepaymentReceived { allocation, .. } = loan_event(plan) else { panic!("{plan:?}") };
    let row = |Allocation { instalment, component, amount_minor, income_minor }: &Allocation| {
        (*instalment, *component, *amount_minor, *income_minor)
    };
    allocation.iter().map(row).collect()
}

/// A loan in that status.
fn in_status(l: &mut Lending, status: LoanStatus) -> LoanId {
    match status {
        LoanStatus::Applied => l.applied(PRINCIPAL, RATE, 3),
        LoanStatus::Approved => l.approved(PRINCIPAL, RATE, 3),
        LoanStatus::Rejected => {
            let loan_id = l.applied(PRINCIPAL, RATE, 3);
            l.desk.ok(reject(loan_id));
            loan_id
        }
        LoanStatus::Disbursing => {
            let loan_id = l.approved(PRINCIPAL, RATE, 3);
            let command = l.start(loan_id);
            l.desk.ok(command);
            loan_id
        }
        LoanStatus::Active => l.active(PRINCIPAL, RATE, 3),
        LoanStatus::Repaid => {
            let loan_id = l.active(PRINCIPAL, RATE, 3);
            l.repaid(loan_id, 2 * PRINCIPAL);
            loan_id
        }
        LoanStatus::WrittenOff => {
            let loan_id = l.active(PRINCIPAL, RATE, 3);
            let command = l.write_off(loan_id);
            l.desk.ok(command);
            loan_id
        }
        LoanStatus::Closed => {
            let loan_id = in_status(l, LoanStatus::Repaid);
            l.desk.ok(close_loan(loan_id));
            loan_id
        }
    }
}

type Asked = fn(&mut Lending, LoanId) -> LoanCommand;

#[test]
fn each_command_is_taken_in_its_statuses_only() {
    use LoanStatus::{Active, Applied, Approved, Disbursing, Repaid, WrittenOff};
    let commands: [(&[LoanStatus], &str, Asked); 13] = [
        (&[Applied], "LoanApproved", |_, id| approve(id)),
        (&[Applied, Approved], "LoanRejected", |_, id| reject(id)),
        (&[Approved], "LoanDisbursed", Lending::disburse),
        (&[Approved], "LoanDisbursementStarted", Lending::start),
        (&[Disbursing], "LoanDisbursed", |_, id| confirm(id)),
        (&[Disbursing], "LoanDisbursementCancelled", |_, id| cancel(id)),
        (&[Active], "InterestAccrued", Lending::accrue),
        (&[Active], "LoanCharged", |l, id| l.charge(id, Component::Fee, 100)),
        (&[Active], "RepaymentReceived", |l, id| l.repay(id, 100)),
        (&[Active], "RepaymentReceived", Lending::collect),
        (&[Active, Repaid], "RepaymentReversed", |l, id| {
            let received = l.loan(id).repayments.first().map(|repayment| repayment.transaction_id);
            let received = received
                .unwrap_or_else(|| if l.loan(id).status == Active { l.repaid(id, 1) } else { Default::default() });
            l.reverse(id, received)
        }),
        (&[Active], "LoanWrittenOff", Lending::write_off),
        (&[Repaid, WrittenOff], "LoanClosed", |_, id| close_loan(id)),
    ];
    for status in LoanStatus::ALL {
        for (allowed, event, command) in commands {
            let mut l = Lending::new();
            let loan_id = in_status(&mut l, status);
            assert_eq!(l.loan(loan_id).status, status);
            let command = command(&mut l, loan_id);
            match (l.desk.submit(command.clone()), allowed.contains(&status)) {
                (Ok(plan), true) => assert_eq!(plan.events[0].1.name(), event, "{status}"),
                (Err(rejection), false) => {
                    assert_eq!(rejection, Rejection::LoanStatusConflict { loan_id, status }, "{}", command.name());
                }
                (other, _) => panic!("{} of a loan that is {status}: {other:?}", command.name()),
            }
            check_desk(&l.desk);
        }
    }
}

#[test]
fn a_payout_into_a_members_account_is_one_plan_with_the_schedule() {
    let mut l = Lending::new();
    let loan_id = l.approved(PRINCIPAL, RATE, 3);
    let command = l.disburse(loan_id);
    let plan = l.desk.ok(command);
    let kinds = [StreamKind::Loan, StreamKind::Transaction, StreamKind::Account];
    let names = ["LoanDisbursed", "TransactionPosted", "EntryPosted"];
    assert_eq!(event_names(&plan), kinds.into_iter().zip(names).collect::<Vec<_>>());
    let LoanEvent::LoanDisbursed { to_account_id, booking_date, disbursed_on, principal_minor, schedule, .. } =
        loan_event(&plan)
    else {
        panic!("{plan:?}")
    };
    assert_eq!((*to_account_id, *principal_minor), (Some(l.account), PRINCIPAL));
    assert_eq!((*booking_date, *disbursed_on), (date("2026-02-10"), date("2026-02-10")));
    let due: Vec<_> = schedule.iter().map(|due| (due.due_on, due.principal_minor, due.interest_minor)).collect();
    assert_eq!(due, SCHEDULE.map(|(on, principal, interest)| (date(on), principal, interest)));
    let Event::Transaction(TransactionEvent::TransactionPosted { kind, legs, .. }) = &plan.events[1].1 else {
        panic!()
    };
    assert_eq!(*kind, TransactionKind::LoanDisbursement);
    assert_eq!(legs.iter().map(|leg| leg.component.as_deref()).collect::<Vec<_>>(), [Some("principal"), None]);
    assert_eq!(l.net(l.accounts.portfolio_account_id), i128::from(PRINCIPAL));
}

#[test]
fn a_payout_keeps_the_rules_of_its_accounts_and_dates() {
    let mut l = Lending::new();
    let loan_id = l.approved(PRINCIPAL, RATE, 3);
    let code = |l: &mut Lending, booked, valued| {
        let command = l.disburse(loan_id);
        l.desk.refused(dated(command, booked, valued)).code()
    };
    assert_eq!(code(&mut l, Some("2026-01-10"), None), "period_closed");
    assert_eq!(code(&mut l, Some("2026-03-17"), None), "booking_date_in_future");
    l.desk.ok(freeze(l.account, FreezeScope::Credit));
    assert_eq!(code(&mut l, None, None), "account_frozen");
    let mut command = l.start(loan_id);
    if let LoanCommand::StartDisbursement { first_due_on, .. } = &mut command {
        *first_due_on = Some(date("2026-02-10"));
    }
    assert_eq!(l.desk.refused(command).code(), "schedule_impossible");
    let mut command = l.start(loan_id);
    if let LoanCommand::StartDisbursement { funding_account_id, .. } = &mut command {
        *funding_account_id = l.accounts.portfolio_account_id;
    }
    assert_eq!(l.desk.refused(command).code(), "account_dedicated");
    let mut command = l.start(loan_id);
    if let LoanCommand::StartDisbursement { funding_account_id, .. } = &mut command {
        *funding_account_id = l.account;
    }
    assert_eq!(l.desk.refused(command).code(), "account_not_internal");
    assert_eq!(l.loan(loan_id).status, LoanStatus::Approved);
}

#[test]
fn a_payout_that_was_cancelled_can_be_started_again_as_another_attempt() {
    let mut l = Lending::new();
    let loan_id = l.approved(PRINCIPAL, RATE, 3);
    for attempt in 1..=3 {
        let command = l.start(loan_id);
        let plan = l.desk.ok(command);
        let LoanEvent::LoanDisbursementStarted { attempt: told, .. } = loan_event(&plan) else { panic!() };
        assert_eq!(*told, attempt);
        assert_eq!(l.net(l.bank), 10_000_000, "nothing is booked");
        let plan = l.desk.ok(cancel(loan_id));
        let LoanEvent::LoanDisbursementCancelled { attempt: told, .. } = loan_event(&plan) else { panic!() };
        assert_eq!(*told, attempt);
    }
    let command = l.disburse(loan_id);
    l.desk.ok(command);
    check_desk(&l.desk);
}

#[test]
fn a_confirmation_is_booked_for_the_held_date_or_once_that_period_is_closed_today() {
    for closed in [false, true] {
        let mut l = Lending::new();
        let loan_id = l.approved(PRINCIPAL, RATE, 3);
        let command = l.start(loan_id);
        l.desk.ok(dated(command, Some("2026-02-20"), Some("2026-02-10")));
        if closed {
            l.desk.ok(LedgerCommand::ClosePeriod { period: period("2026-02") });
        }
        l.pass_days(30);
        let plan = l.desk.ok(confirm(loan_id));
        let booked = if closed { l.desk.today() } else { date("2026-02-20") };
        let LoanEvent::LoanDisbursed { booking_date, disbursed_on, to_account_id, schedule, .. } = loan_event(&plan)
        else {
            panic!()
        };
        assert_eq!((*booking_date, *disbursed_on, *to_account_id), (booked, date("2026-02-10"), None));
        assert_eq!(schedule[0].due_on, date("2026-03-10"), "interest counts from the agreed date");
        let Event::Transaction(TransactionEvent::PendingPosted { booking_date, value_date, .. }) = &plan.events[1].1
        else {
            panic!("{plan:?}")
        };
        assert_eq!((*booking_date, *value_date), (booked, date("2026-02-10")));
        check_desk(&l.desk);
    }
}

#[test]
fn a_payment_settles_each_instalment_in_the_order_of_its_terms() {
    use Component::{Fee, Interest, Penalty, Principal};
    // 10.00 fee and 5.00 penalty with the first instalment; the payment is 420.00.
    let cases = [
        (
            [Penalty, Fee, Interest, Principal],
            vec![(1, Penalty, 500, 0), (1, Fee, 1_000, 0), (1, Interest, 1_200, 1_200), (1, Principal, 39_300, 0)],
        ),
        (
            [Principal, Interest, Fee, Penalty],
            vec![(1, Principal, 39_603, 0), (1, Interest, 1_200, 1_200), (1, Fee, 1_000, 0), (1, Penalty, 197, 0)],
        ),
        (
            [Interest, Principal, Penalty, Fee],
            vec![(1, Interest, 1_200, 1_200), (1, Principal, 39_603, 0), (1, Penalty, 500, 0), (1, Fee, 697, 0)],
        ),
    ];
    for (order, expected) in cases {
        let mut terms = terms();
        terms.allocation_order = order.to_vec();
        let mut l = Lending::with(terms);
        let loan_id = l.active(PRINCIPAL, RATE, 3);
        for (component, amount_minor) in [(Fee, 1_000), (Penalty, 500)] {
            let command = l.charge(loan_id, component, amount_minor);
            l.desk.ok(dated(command, Some("2026-03-01"), None));
        }
        let command = l.repay(loan_id, 42_000);
        let plan = l.desk.ok(command);
        assert_eq!(settled(&plan), expected, "{order:?}");
        check_desk(&l.desk);
    }
}

#[test]
fn a_payment_in_advance_goes_on_to_later_instalments_and_the_exact_rest_repays() {
    use Component::{Interest, Principal};
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let command = l.repay(loan_id, 40_803 + 900);
    let plan = l.desk.ok(command);
    let expected =
        [(1, Interest, 1_200, 1_200), (1, Principal, 39_603, 0), (2, Interest, 804, 804), (2, Principal, 96, 0)];
    assert_eq!(settled(&plan), expected);
    assert_eq!(l.loan(loan_id).next_due_on(), Some(date("2026-04-10")));
    let rest = 40_803 + 40_803 + 40_802 - 40_803 - 900;
    let command = l.repay(loan_id, rest);
    let plan = l.desk.ok(dated(command, None, Some("2026-03-14")));
    let Some((_, Event::Loan(LoanEvent::LoanRepaid { repaid_on }))) = plan.events.last() else { panic!("{plan:?}") };
    assert_eq!(*repaid_on, date("2026-03-14"));
    assert_eq!((l.loan(loan_id).status, l.loan(loan_id).next_due_on()), (LoanStatus::Repaid, None));
    assert_eq!(l.net(l.accounts.portfolio_account_id), 0);
    check_desk(&l.desk);
}

#[test]
fn what_is_too_much_goes_where_it_was_told_to() {
    // 600.00 at no interest; 700.00 come in.
    let told = |plan: &Plan| match loan_event(plan) {
        LoanEvent::RepaymentReceived { amount_minor, surplus_minor, surplus_account_id, .. } => {
            (*amount_minor, *surplus_minor, *surplus_account_id)
        }
        other => panic!("{other:?}"),
    };
    let mut l = Lending::new();
    let (before, suspense, account) = (l.desk.balance_minor(l.account), l.suspense, l.account);
    // From the settlement account: it stays there.
    let loan_id = l.active(60_000, "0", 2);
    let command = l.repay(loan_id, 70_000);
    assert_eq!(told(&l.desk.ok(command)), (60_000, 10_000, None));
    assert_eq!(l.desk.balance_minor(l.account), before);
    // From suspense: to the settlement account.
    let loan_id = l.active(60_000, "0", 2);
    let command = l.repay_from(suspense, loan_id, 70_000);
    assert_eq!(told(&l.desk.ok(command)), (60_000, 10_000, Some(account)));
    assert_eq!((l.desk.balance_minor(account), l.net(suspense)), (before + 70_000, 70_000));
    // Or left in suspense, if so asked.
    let loan_id = l.active(60_000, "0", 2);
    let command = l.repay_from(suspense, loan_id, 70_000);
    assert_eq!(told(&l.desk.ok(leaving(command))), (60_000, 10_000, None));
    assert_eq!(l.net(suspense), 130_000);
    // Without a settlement account only the exact amount, or leaving the rest.
    let loan_id = l.unsettled(60_000);
    let command = l.repay_from(suspense, loan_id, 70_000);
    let rejection = l.desk.refused(command);
    assert_eq!(rejection, Rejection::OverpaymentWithoutAccount { loan_id, surplus: czk(10_000) });
    let command = l.repay_from(suspense, loan_id, 70_000);
    assert_eq!(told(&l.desk.ok(leaving(command))), (60_000, 10_000, None));
    check_desk(&l.desk);
}

#[test]
fn a_payment_needs_an_amount_an_account_with_money_and_a_reference_that_is_new() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    for amount_minor in [0, -1, i64::MIN, AMOUNT_MINOR_MAX + 1, i64::MAX] {
        let command = l.repay(loan_id, amount_minor);
        assert_eq!(l.desk.refused(command.clone()).code(), "amount_out_of_range", "{amount_minor}");
        assert_eq!(l.desk.refused(leaving(command)).code(), "amount_out_of_range", "{amount_minor}");
    }
    let poor = l.current(l.member, 50);
    let command = l.repay_from(poor, loan_id, 51);
    assert_eq!(l.desk.refused(command).code(), "insufficient_funds");
    let command = l.repay_from(l.accounts.interest_receivable_account_id, loan_id, 51);
    assert_eq!(l.desk.refused(command).code(), "account_dedicated");
    let referring = |l: &mut Lending| {
        let mut command = l.repay(loan_id, 100);
        if let LoanCommand::RepayLoan { external_reference, .. } = &mut command {
            *external_reference = Some(ExternalReference::try_new("UVER-1").unwrap());
        }
        command
    };
    let (first, second) = (referring(&mut l), referring(&mut l));
    l.desk.ok(first);
    assert_eq!(l.desk.refused(second).code(), "external_reference_taken");
}

#[test]
fn interest_is_earned_once_whether_it_is_paid_before_or_after_its_accrual() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let income = |l: &Lending| -l.net(l.accounts.interest_income_account_id);
    let receivable = |l: &Lending| l.net(l.accounts.interest_receivable_account_id);
    // 5.00 of the 12.00 before the accrual, 7.00 and the principal after it.
    let early = l.repaid(loan_id, 500);
    assert_eq!((income(&l), receivable(&l)), (500, 0));
    let command = l.accrue(loan_id);
    let plan = l.desk.ok(command);
    let LoanEvent::InterestAccrued { instalments, .. } = loan_event(&plan) else { panic!() };
    assert_eq!(instalments.iter().map(|of| (of.instalment, of.amount_minor)).collect::<Vec<_>>(), [(1, 700)]);
    assert_eq!((income(&l), receivable(&l)), (1_200, 700));
    l.repaid(loan_id, 40_303);
    assert_eq!((income(&l), receivable(&l)), (1_200, 0));
    // Taking the early payment back takes back what was earned with it; the accrual finds it again.
    let command = l.reverse(loan_id, early);
    l.desk.ok(command);
    assert_eq!((income(&l), receivable(&l), l.owed(loan_id).interest_minor), (700, 0, 500 + 804 + 404));
    let command = l.accrue(loan_id);
    l.desk.ok(command);
    assert_eq!((income(&l), receivable(&l)), (1_200, 500));
    check_desk(&l.desk);
    // All of April's, once April has come.
    l.pass_days(30);
    let command = l.accrue(loan_id);
    l.desk.ok(command);
    assert_eq!((income(&l), receivable(&l)), (2_004, 1_304));
}

#[test]
fn a_reversal_restores_exactly_what_the_payment_settled() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let command = l.accrue(loan_id);
    l.desk.ok(command);
    let command = l.charge(loan_id, Component::Penalty, 500);
    l.desk.ok(command);
    let nets = |l: &Lending| -> BTreeMap<_, _> {
        l.accounts.all().into_iter().chain([l.account, l.suspense]).map(|id| (id, l.net(id))).collect()
    };
    let (before, books) = (l.loan(loan_id).clone(), nets(&l));
    // Less than all, all, and more than all.
    for amount_minor in [1, 41_000, 122_908, 200_000] {
        let command = l.repay_from(l.suspense, loan_id, amount_minor);
        let plan = l.desk.ok(command);
        let command = l.reverse(loan_id, transaction_of(&plan));
        let plan = l.desk.ok(command);
        let after = l.loan(loan_id);
        assert_eq!((after.status, &after.instalments), (LoanStatus::Active, &before.instalments), "{amount_minor}");
        assert_eq!(nets(&l), books, "{amount_minor}");
        assert!(plan.events.iter().any(|(_, event)| event.name() == "TransactionReversed"));
        check_desk(&l.desk);
    }
}

#[test]
fn the_earlier_of_two_payments_can_be_reversed_and_the_later_one_stays() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let first = l.repaid(loan_id, 40_803);
    l.repaid(loan_id, 40_803);
    let command = l.reverse(loan_id, first);
    l.desk.ok(command);
    let paid: Vec<_> = l.loan(loan_id).instalments.iter().map(|instalment| instalment.paid.total_minor()).collect();
    assert_eq!(paid, [0, 40_803, 0]);
    assert_eq!(l.loan(loan_id).next_due_on(), Some(date("2026-03-10")), "the first is in arrears again");
    let command = l.repay(loan_id, 100);
    let plan = l.desk.ok(command);
    assert_eq!(settled(&plan), [(1, Component::Interest, 100, 100)], "and is settled first");
    check_desk(&l.desk);
}

#[test]
fn a_surplus_that_is_gone_keeps_a_payment_from_being_reversed() {
    let mut l = Lending::new();
    let command = l.apply(60_000, "0", 2);
    let loan_id = command.target();
    let settlement = l.current(l.member, 0);
    let mut command = command;
    if let LoanCommand::ApplyForLoan { settlement_account_id, .. } = &mut command {
        *settlement_account_id = Some(settlement);
    }
    l.desk.ok(command);
    l.desk.ok(approve(loan_id));
    let command = l.disburse(loan_id);
    l.desk.ok(command);
    let command = l.repay_from(l.suspense, loan_id, 70_000);
    let plan = l.desk.ok(command);
    let repayment = transaction_of(&plan);
    l.desk.transferred(settlement, l.account, 1);
    let command = l.reverse(loan_id, repayment);
    assert_eq!(l.desk.refused(command.clone()).code(), "insufficient_funds");
    assert_eq!(l.loan(loan_id).status, LoanStatus::Repaid, "nothing of it has happened");
    l.desk.transferred(l.account, settlement, 1);
    l.desk.ok(command);
    assert_eq!(l.loan(loan_id).status, LoanStatus::Active);
}

#[test]
fn a_charge_is_due_with_the_next_instalment_or_at_once_after_the_last() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    for (booked, instalment) in [("2026-03-10", 1), ("2026-03-11", 2), ("2026-03-16", 2)] {
        let command = l.charge(loan_id, Component::Fee, 100);
        let plan = l.desk.ok(dated(command, Some(booked), None));
        let LoanEvent::LoanCharged { instalment: told, .. } = loan_event(&plan) else { panic!() };
        assert_eq!(*told, instalment, "{booked}");
    }
    l.pass_days(90);
    let command = l.charge(loan_id, Component::Penalty, 100);
    let plan = l.desk.ok(command);
    let LoanEvent::LoanCharged { instalment, .. } = loan_event(&plan) else { panic!() };
    assert_eq!(*instalment, 3);
    assert_eq!(
        l.owed(loan_id),
        Amounts { principal_minor: PRINCIPAL, interest_minor: 2_408, fee_minor: 300, penalty_minor: 100 }
    );
    for (amount_minor, code) in
        [(0, "amount_out_of_range"), (-5, "amount_out_of_range"), (AMOUNT_MINOR_MAX, "balance_overflow")]
    {
        let command = l.charge(loan_id, Component::Fee, amount_minor);
        assert_eq!(l.desk.refused(command).code(), code, "{amount_minor}");
    }
    check_desk(&l.desk);
}

#[test]
fn a_collection_takes_what_is_due_and_no_more() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    l.repaid(loan_id, 10_000);
    let taken = |plan: &Plan| match loan_event(plan) {
        LoanEvent::RepaymentReceived { amount_minor, surplus_minor, .. } => (*amount_minor, *surplus_minor),
        other => panic!("{other:?}"),
    };
    // A date that has not come collects no more than today.
    let command = l.collect(loan_id);
    assert_eq!(taken(&l.desk.ok(dated(command, Some("2026-12-31"), None))), (30_803, 0));
    let command = l.collect(loan_id);
    assert_eq!(l.desk.refused(command).code(), "nothing_due");
    // Two missed due dates are collected together.
    l.pass_days(60);
    let command = l.collect(loan_id);
    let plan = l.desk.ok(command);
    assert_eq!(taken(&plan), (40_803 + 40_802, 0));
    assert_eq!(plan.events.last().unwrap().1.name(), "LoanRepaid");
    check_desk(&l.desk);
}

#[test]
fn a_write_off_loses_what_is_in_the_books_and_ends_the_loan() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let command = l.accrue(loan_id);
    l.desk.ok(command);
    let command = l.charge(loan_id, Component::Fee, 300);
    l.desk.ok(command);
    let command = l.write_off(loan_id);
    let plan = l.desk.ok(command);
    let LoanEvent::LoanWrittenOff { written_off, .. } = loan_event(&plan) else { panic!() };
    let lost = Amounts { principal_minor: PRINCIPAL, interest_minor: 1_200, fee_minor: 300, penalty_minor: 0 };
    assert_eq!(*written_off, lost);
    assert_eq!(l.net(l.accounts.write_off_account_id), lost.total_minor());
    l.desk.ok(close_loan(loan_id));
    check_desk(&l.desk);
}

#[test]
fn only_a_loans_command_changes_its_transactions_and_its_accounts() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let repayment = l.repaid(loan_id, 1_000);
    let held = l.approved(PRINCIPAL, RATE, 3);
    let command = l.start(held);
    let plan = l.desk.ok(command);
    let payout = transaction_of(&plan);
    let id = l.desk.fresh_transaction();
    for command in [reverse(id, repayment, None), post_pending(payout, None, true), void(payout)] {
        assert_eq!(l.desk.refused(command).code(), "transaction_of_loan");
    }
    for (account_id, _) in l.accounts.dedicated() {
        assert_eq!(l.desk.refused(transfer(id, l.account, account_id, czk(1))).code(), "account_dedicated");
        assert_eq!(l.desk.refused(hold(id, account_id, l.bank, czk(1), None)).code(), "account_dedicated");
        assert_eq!(l.desk.refused(close(account_id)).code(), "account_dedicated");
    }
    // Nor does a reversal reach them by the way of suspense.
    let gone = l.current(l.member, 0);
    let original = l.desk.transferred(l.account, gone, 10);
    l.desk.transferred(gone, l.account, 10);
    l.desk.ok(close(gone));
    let command = through(reverse(id, original, None), l.accounts.portfolio_account_id);
    assert_eq!(l.desk.refused(command).code(), "account_dedicated");
    l.desk.ok(confirm(held));
    check_desk(&l.desk);
}

#[test]
fn a_revision_of_the_product_touches_no_loan() {
    let mut l = Lending::new();
    let (waiting, running) = (l.applied(PRINCIPAL, RATE, 3), l.active(PRINCIPAL, RATE, 3));
    let kept = l.loan(running).clone();
    let mut dearer = terms();
    (dearer.annual_rate_min, dearer.annual_rate_max) = (rate("20"), rate("30"));
    dearer.allocation_order.reverse();
    l.desk.ok(LoanProductCommand::ReviseLoanProduct { product_id: l.product, terms: dearer });
    assert_eq!(*l.loan(running), kept);
    // As asked for it is approved still; on other terms it has to fit the new ones.
    let on_terms = |percent: &str| {
        let mut command = approve(waiting);
        if let LoanCommand::ApproveLoan { annual_rate, .. } = &mut command {
            *annual_rate = Some(rate(percent));
        }
        command
    };
    assert_eq!(l.desk.refused(on_terms("11")).code(), "loan_term_out_of_range");
    l.desk.ok(approve(waiting));
    assert_eq!(l.loan(waiting).terms.allocation_order, Component::ALL, "it keeps the order it was asked for under");
    assert_eq!(l.loan(waiting).annual_rate, rate(RATE));
    let command = l.apply(PRINCIPAL, RATE, 3);
    assert_eq!(l.desk.refused(command).code(), "loan_term_out_of_range");
    // Nor does the product's end: what was asked for goes its way.
    l.desk.ok(LoanProductCommand::RetireLoanProduct { product_id: l.product, reason: None });
    let command = l.disburse(waiting);
    l.desk.ok(command);
    l.repaid(running, 500);
    check_desk(&l.desk);
}

#[test]
fn an_approval_may_grant_less_than_was_asked_for() {
    let mut l = Lending::new();
    let loan_id = l.applied(PRINCIPAL, RATE, 3);
    l.desk.ok(LoanCommand::ApproveLoan {
        loan_id,
        principal: Some(czk(60_000)),
        annual_rate: Some(rate("0")),
        instalments: Some(2),
        approved_on: Some(date("2026-03-15")),
    });
    let command = l.disburse(loan_id);
    l.desk.ok(command);
    let due: Vec<_> = l.loan(loan_id).instalments.iter().map(|instalment| instalment.due.total_minor()).collect();
    assert_eq!(due, [30_000, 30_000]);
    assert_eq!(l.net(l.accounts.portfolio_account_id), 60_000);
}

#[test]
fn an_id_of_a_transaction_is_used_once_by_loans_as_by_anybody() {
    let mut l = Lending::new();
    let loan_id = l.active(PRINCIPAL, RATE, 3);
    let used = l.repaid(loan_id, 100);
    let commands = [
        l.accrue(loan_id),
        l.charge(loan_id, Component::Fee, 1),
        l.repay(loan_id, 1),
        l.collect(loan_id),
        l.reverse(loan_id, used),
        l.write_off(loan_id),
    ];
    for mut command in commands {
        match &mut command {
            LoanCommand::AccrueInterest { transaction_id, .. }
            | LoanCommand::ChargeLoan { transaction_id, .. }
            | LoanCommand::RepayLoan { transaction_id, .. }
            | LoanCommand::CollectDue { transaction_id, .. }
            | LoanCommand::ReverseRepayment { transaction_id, .. }
            | LoanCommand::WriteOffLoan { transaction_id, .. } => *transaction_id = used,
            other => panic!("{}", other.name()),
        }
        assert_eq!(l.desk.refused(command.clone()).code(), "id_taken", "{}", command.into_command().name());
    }
    let again = match l.apply(PRINCIPAL, RATE, 3) {
        LoanCommand::ApplyForLoan { number, member_id, product_id, principal, annual_rate, instalments, .. } => {
            LoanCommand::ApplyForLoan {
                loan_id,
                number,
                member_id,
                product_id,
                principal,
                annual_rate,
                instalments,
                settlement_account_id: None,
                purpose: None,
                branch: None,
                applied_on: None,
            }
        }
        other => other,
    };
    assert_eq!(l.desk.refused(again).code(), "id_taken");
}
