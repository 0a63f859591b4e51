//! Sagas: every way through the steps of each process, and what a person may do on it.

use chrono::{DateTime, Duration, Utc};
use domain::saga::{Process, Resolution, Saga, SagaCommand, SagaStatus, Step, Transition};
use domain::words::ExternalReference;
use domain::{AccountId, Book, LoanId, Plan, Rejection, SagaId};

use crate::desk::{czk, date, event_names, reason};
use crate::invariants::{check_desk, check_snapshots};
use crate::lending::{Lending, RATE};

use SagaStatus::{Abandoned, Compensating, Completed, Parked, Running, Unknown};

/// A saga on a lending desk.
struct Story {
    l: Lending,
    saga_id: SagaId,
}

impl Story {
    fn of(process: Process) -> Self {
        let mut l = Lending::new();
        let saga_id = SagaId(l.desk.fresh());
        l.desk.ok(SagaCommand::StartSaga { saga_id, process });
        Self { l, saga_id }
    }

    fn disbursement() -> Self {
        Self::of(Process::Disbursement { loan_id: LoanId::default(), attempt: 1 })
    }

    fn collection() -> Self {
        Self::of(Process::Collection { loan_id: LoanId::default() })
    }

    /// 500.00 that wait in suspense.
    fn payment() -> Self {
        let mut l = Lending::new();
        let saga_id = SagaId(l.desk.fresh());
        let command = receive(&mut l, saga_id, "BS-1", 50_000);
        l.desk.ok(command);
        Self { l, saga_id }
    }

    fn saga(&self) -> &Saga {
        self.l.desk.shelf.saga(self.saga_id).unwrap().unwrap()
    }

    /// Status, step, entry and tries written down.
    fn at(&self) -> (SagaStatus, Step, u32, u32) {
        let saga = self.saga();
        (saga.status, saga.step, saga.entry, saga.attempts)
    }

    fn later(&self) -> DateTime<Utc> {
        self.l.desk.now + Duration::minutes(10)
    }

    /// What became of the next try of the present step.
    #[track_caller]
    fn tried(&mut self, transition: Transition) -> Plan {
        let (step, attempt) = (self.saga().step, self.saga().attempts + 1);
        let plan = self.l.desk.ok(SagaCommand::AdvanceSaga { saga_id: self.saga_id, step, attempt, transition });
        check_desk(&self.l.desk);
        check_snapshots(&self.l.desk.shelf);
        plan
    }

    #[track_caller]
    fn succeeded(&mut self) -> Plan {
        self.tried(done())
    }

    #[track_caller]
    fn failed(&mut self) {
        let retry_at = self.later();
        self.tried(Transition::Failed { code: reason("bank_busy"), retry_at });
        assert_eq!(self.saga().wake_at, Some(retry_at));
    }

    #[track_caller]
    fn unknown(&mut self) {
        let ask_at = self.later();
        self.tried(Transition::Unknown { code: reason("timeout"), ask_at });
        assert_eq!((self.saga().status, self.saga().wake_at), (Unknown, Some(ask_at)));
    }

    #[track_caller]
    fn turned_down(&mut self) {
        self.tried(Transition::Refused { code: reason("account_unknown") });
        assert_eq!(self.saga().code, Some(reason("account_unknown")));
    }

    #[track_caller]
    fn resumed(&mut self, resolution: Option<Resolution>) {
        self.l.desk.ok(SagaCommand::ResumeSaga { saga_id: self.saga_id, resolution });
        assert_eq!(self.saga().wake_at, None, "at once");
    }

    fn abandon(&mut self) -> Result<Plan, Rejection> {
        self.l.desk.submit(SagaCommand::AbandonSaga { saga_id: self.saga_id, reason: reason("settled_by_hand") })
    }

    #[track_caller]
    fn ended(&mut self, status: SagaStatus, outcome: &str) {
        assert_eq!((self.saga().status, self.saga().code.clone()), (status, Some(reason(outcome))));
        assert!(self.saga().wake_at.is_none() && status.has_ended());
        let saga_id = self.saga_id;
        let (step, attempt) = (self.saga().step, self.saga().attempts + 1);
        for command in [
            SagaCommand::AdvanceSaga { saga_id, step, attempt, transition: done() },
            SagaCommand::ResumeSaga { saga_id, resolution: None },
            SagaCommand::AbandonSaga { saga_id, reason: reason("twice") },
        ] {
            assert_eq!(self.l.desk.refused(command), Rejection::SagaEnded { saga_id });
        }
    }
}

fn done() -> Transition {
    Transition::Succeeded { loan_id: None, bank_reference: None, left_minor: None, next_at: None }
}

fn left(left_minor: i64) -> Transition {
    Transition::Succeeded { loan_id: None, bank_reference: None, left_minor: Some(left_minor), next_at: None }
}

fn receive(l: &mut Lending, saga_id: SagaId, reference: &str, amount_minor: i64) -> SagaCommand {
    SagaCommand::ReceivePayment {
        saga_id,
        transaction_id: l.desk.fresh_transaction(),
        bank_account_id: l.bank,
        suspense_account_id: l.suspense,
        amount: czk(amount_minor),
        bank_reference: ExternalReference::try_new(reference).unwrap(),
        loan_number: None,
        booking_date: Some(date("2026-03-14")),
        value_date: Some(date("2026-03-13")),
    }
}

#[test]
fn a_disbursement_pays_out_and_confirms() {
    let mut s = Story::disbursement();
    assert_eq!(s.at(), (Running, Step::PayOut, 0, 0));
    let paid = Transition::Succeeded {
        loan_id: None,
        bank_reference: Some(ExternalReference::try_new("BS-7").unwrap()),
        left_minor: None,
        next_at: None,
    };
    s.tried(paid);
    assert_eq!(s.at(), (Running, Step::Confirm, 1, 0));
    let plan = s.succeeded();
    assert_eq!(
        event_names(&plan).iter().map(|(_, name)| *name).collect::<Vec<_>>(),
        ["StepSucceeded", "SagaCompleted"]
    );
    assert_eq!(s.saga().bank_reference, Some(ExternalReference::try_new("BS-7").unwrap()));
    s.ended(Completed, "disbursed");
}

#[test]
fn a_try_that_failed_is_made_again_as_the_next_one() {
    let mut s = Story::disbursement();
    for tries in 1..=3 {
        s.failed();
        assert_eq!(s.at(), (Running, Step::PayOut, 0, tries));
    }
    // A try that was written down already is not written down again, nor one that has not been made.
    for attempt in [0, 1, 3, 5] {
        let command = SagaCommand::AdvanceSaga { saga_id: s.saga_id, step: Step::PayOut, attempt, transition: done() };
        assert_eq!(s.l.desk.refused(command), Rejection::SagaStepOutOfTurn { saga_id: s.saga_id }, "{attempt}");
    }
    let command = SagaCommand::AdvanceSaga { saga_id: s.saga_id, step: Step::Confirm, attempt: 4, transition: done() };
    assert_eq!(s.l.desk.refused(command).code(), "saga_step_out_of_turn");
    s.resumed(None);
    assert_eq!(s.at(), (Running, Step::PayOut, 0, 3), "sooner, and the same try as before");
    s.succeeded();
    assert_eq!(s.at(), (Running, Step::Confirm, 1, 0), "tries are counted anew in a new step");
}

#[test]
fn an_unknown_outcome_is_asked_until_it_is_known() {
    // It happened.
    let mut s = Story::disbursement();
    s.unknown();
    s.unknown();
    assert_eq!(s.at(), (Unknown, Step::PayOut, 0, 2));
    s.resumed(None);
    assert_eq!(s.at(), (Unknown, Step::PayOut, 0, 2), "a person can hurry it and not end the doubt");
    s.succeeded();
    assert_eq!(s.at(), (Running, Step::Confirm, 1, 0));
    // It did not, and is tried again.
    let mut s = Story::disbursement();
    s.unknown();
    s.failed();
    assert_eq!(s.at(), (Running, Step::PayOut, 0, 2));
    // It will never.
    let mut s = Story::disbursement();
    s.unknown();
    s.turned_down();
    assert_eq!(s.at(), (Compensating, Step::Cancel, 1, 0));
}

#[test]
fn what_the_other_bank_refuses_before_the_pivot_is_undone() {
    let mut s = Story::disbursement();
    s.turned_down();
    assert_eq!(s.at(), (Compensating, Step::Cancel, 1, 0));
    s.failed();
    assert_eq!(s.at(), (Compensating, Step::Cancel, 1, 1));
    s.unknown();
    s.failed();
    assert_eq!(s.at(), (Compensating, Step::Cancel, 1, 3), "it is still undoing");
    s.turned_down();
    assert_eq!(s.at(), (Parked, Step::Cancel, 1, 3));
    s.resumed(None);
    assert_eq!(s.at(), (Compensating, Step::Cancel, 2, 0));
    assert_eq!(s.abandon().unwrap_err().code(), "saga_past_pivot");
    s.succeeded();
    s.ended(Completed, "cancelled");
}

#[test]
fn after_the_pivot_only_a_person_helps_and_the_way_is_forward() {
    let mut s = Story::disbursement();
    s.succeeded();
    s.turned_down();
    assert_eq!(s.at(), (Parked, Step::Confirm, 1, 0));
    assert_eq!(s.abandon().unwrap_err(), Rejection::SagaPastPivot { saga_id: s.saga_id });
    let command = SagaCommand::AdvanceSaga { saga_id: s.saga_id, step: Step::Confirm, attempt: 1, transition: done() };
    assert_eq!(s.l.desk.refused(command).code(), "saga_step_out_of_turn", "it waits");
    let resolution = Some(Resolution::ReturnPayment);
    let command = SagaCommand::ResumeSaga { saga_id: s.saga_id, resolution };
    assert_eq!(s.l.desk.refused(command), Rejection::SagaNotParked { saga_id: s.saga_id });
    s.resumed(None);
    // Another entry, so that its command is another one than that which was refused.
    assert_eq!(s.at(), (Running, Step::Confirm, 2, 0));
    s.succeeded();
    s.ended(Completed, "disbursed");
}

#[test]
fn a_disbursement_is_given_up_by_undoing_it() {
    let mut s = Story::disbursement();
    s.failed();
    s.abandon().unwrap();
    assert_eq!(s.at(), (Compensating, Step::Cancel, 1, 0));
    s.succeeded();
    s.ended(Completed, "cancelled");
    let mut s = Story::disbursement();
    s.unknown();
    assert_eq!(s.abandon().unwrap_err(), Rejection::SagaOutcomeUnknown { saga_id: s.saga_id });
}

#[test]
fn a_payment_waits_in_suspense_from_the_same_plan_on() {
    let mut l = Lending::new();
    let before = l.net(l.bank);
    let saga_id = SagaId(l.desk.fresh());
    let command = receive(&mut l, saga_id, "BS-1", 50_000);
    let plan = l.desk.ok(command);
    assert_eq!(
        event_names(&plan).iter().map(|(_, name)| *name).collect::<Vec<_>>(),
        ["SagaStarted", "TransactionPosted"]
    );
    assert_eq!((l.net(l.bank) - before, l.net(l.suspense)), (50_000, -50_000));
    let saga = l.desk.shelf.saga(saga_id).unwrap().unwrap();
    assert_eq!((saga.left_minor, saga.loan_id), (50_000, None));
    let Some(Process::IncomingPayment { value_date, .. }) = saga.process else { panic!() };
    assert_eq!(value_date, date("2026-03-13"));
    // The same payment told again, by whatever id, is told apart by the bank's reference.
    let again = SagaId(l.desk.fresh());
    let command = receive(&mut l, again, "BS-1", 50_000);
    assert_eq!(l.desk.refused(command).code(), "external_reference_taken");
    let command = receive(&mut l, saga_id, "BS-2", 50_000);
    assert_eq!(l.desk.refused(command).code(), "id_taken");
    let cases: [Wrong; 5] = [
        ("amount_out_of_range", |command, _| *parts(command).1 = czk(0)),
        ("amount_out_of_range", |command, _| *parts(command).1 = czk(-1)),
        ("same_account", |command, l| *parts(command).0 = l.bank),
        ("account_not_internal", |command, l| *parts(command).0 = l.account),
        ("account_dedicated", |command, l| *parts(command).0 = l.accounts.portfolio_account_id),
    ];
    for (code, change) in cases {
        let mut command = receive(&mut l, again, "BS-3", 1);
        change(&mut command, &l);
        assert_eq!(l.desk.refused(command).code(), code);
    }
}

type Wrong = (&'static str, fn(&mut SagaCommand, &Lending));

/// The suspense account and the amount of a payment.
fn parts(command: &mut SagaCommand) -> (&mut AccountId, &mut domain::Money) {
    let SagaCommand::ReceivePayment { suspense_account_id, amount, .. } = command else { panic!("no payment") };
    (suspense_account_id, amount)
}

#[test]
fn a_payment_finds_its_loan_and_is_allocated() {
    let mut s = Story::payment();
    assert_eq!(s.at(), (Running, Step::Match, 0, 0));
    let loan_id = LoanId(s.l.desk.fresh());
    s.tried(Transition::Succeeded { loan_id: Some(loan_id), bank_reference: None, left_minor: None, next_at: None });
    assert_eq!((s.at(), s.saga().loan_id), ((Running, Step::Allocate, 1, 0), Some(loan_id)));
    s.tried(left(0));
    s.ended(Completed, "allocated");
    assert_eq!(s.saga().step, Step::Allocate, "nothing was returned");
}

#[test]
fn what_the_loan_does_not_take_goes_back() {
    let mut s = Story::payment();
    s.succeeded();
    s.tried(left(700));
    assert_eq!((s.at(), s.saga().left_minor), ((Running, Step::Return, 2, 0), 700));
    s.unknown();
    s.failed();
    s.succeeded();
    assert_eq!(s.at(), (Running, Step::BookReturn, 3, 0));
    assert_eq!(s.abandon().unwrap_err().code(), "saga_past_pivot");
    s.succeeded();
    s.ended(Completed, "returned");
}

#[test]
fn a_payment_that_fits_no_loan_is_decided_about_by_a_person() {
    let parked = || {
        let mut s = Story::payment();
        s.turned_down();
        assert_eq!(s.at(), (Parked, Step::Match, 0, 0));
        s
    };
    let mut s = parked();
    let loan_id = s.l.active(60_000, RATE, 2);
    s.resumed(Some(Resolution::AssignLoan { loan_id }));
    assert_eq!((s.at(), s.saga().loan_id), ((Running, Step::Allocate, 1, 0), Some(loan_id)));
    // The loan does not take it after all: another one may, or nobody.
    s.turned_down();
    assert_eq!(s.at(), (Parked, Step::Allocate, 1, 0));
    s.resumed(None);
    assert_eq!(s.at(), (Running, Step::Allocate, 2, 0));
    s.turned_down();
    s.resumed(Some(Resolution::ReturnPayment));
    assert_eq!((s.at(), s.saga().left_minor), ((Running, Step::Return, 3, 0), 50_000));
    s.turned_down();
    assert_eq!(s.at(), (Parked, Step::Return, 3, 0));
    let again = SagaCommand::ResumeSaga { saga_id: s.saga_id, resolution: Some(Resolution::ReturnPayment) };
    assert_eq!(s.l.desk.refused(again).code(), "saga_not_parked", "it is decided already");
    s.abandon().unwrap();
    s.ended(Abandoned, "settled_by_hand");

    let mut s = parked();
    let nobody = Some(Resolution::AssignLoan { loan_id: LoanId::default() });
    let command = SagaCommand::ResumeSaga { saga_id: s.saga_id, resolution: nobody };
    assert_eq!(s.l.desk.refused(command).code(), "loan_not_found");
    s.resumed(None);
    assert_eq!(s.at(), (Running, Step::Match, 1, 0), "it looks again");
    let command = SagaCommand::ResumeSaga { saga_id: s.saga_id, resolution: Some(Resolution::ReturnPayment) };
    assert_eq!(s.l.desk.refused(command).code(), "saga_not_parked", "it is on its way");
    s.abandon().unwrap();
    s.ended(Abandoned, "settled_by_hand");
}

#[test]
fn a_collection_goes_from_due_date_to_due_date_until_nothing_is_left() {
    let mut s = Story::collection();
    for entry in 0..3 {
        assert_eq!(s.at(), (Running, Step::Collect, entry, 0));
        s.failed();
        let next_at = Some(s.later());
        s.tried(Transition::Succeeded { loan_id: None, bank_reference: None, left_minor: None, next_at });
        assert_eq!((s.saga().wake_at, s.saga().code.clone()), (next_at, None));
    }
    s.turned_down();
    assert_eq!(s.at(), (Parked, Step::Collect, 3, 0));
    s.resumed(None);
    assert_eq!(s.at(), (Running, Step::Collect, 4, 0));
    s.tried(Transition::Finished { outcome: reason("repaid") });
    s.ended(Completed, "repaid");
    let mut s = Story::collection();
    s.abandon().unwrap();
    s.ended(Abandoned, "settled_by_hand");
}

#[test]
fn a_saga_that_is_not_there_does_nothing_and_one_that_is_there_does_not_begin_again() {
    let mut s = Story::collection();
    let process = Process::Collection { loan_id: LoanId::default() };
    let twice = SagaCommand::StartSaga { saga_id: s.saga_id, process };
    assert_eq!(s.l.desk.refused(twice).code(), "id_taken");
    let saga_id = SagaId(s.l.desk.fresh());
    for command in [
        SagaCommand::AdvanceSaga { saga_id, step: Step::Collect, attempt: 1, transition: done() },
        SagaCommand::ResumeSaga { saga_id, resolution: None },
        SagaCommand::AbandonSaga { saga_id, reason: reason("x") },
    ] {
        assert_eq!(s.l.desk.refused(command), Rejection::SagaNotFound { saga_id });
    }
}
