//! A loan is paid out to another bank: held, paid once, confirmed; or given up without a trace.

use domain::LoanId;
use domain::loan::{LoanCommand, LoanEvent, LoanStatus};
use domain::saga::SagaStatus::{Completed, Parked, Unknown};
use domain::saga::{Process, SagaCommand, SagaStatus, Step};
use domain::transaction::TransactionEvent;
use domain::{Command, Event, SagaId};
use reqwest::Method;
use serde_json::json;

use crate::desk::{close_period, open_period};
use crate::house::{Asked, House, days_ago, today};
use crate::simulator::wire;

pub(crate) fn order_of(saga_id: SagaId) -> uuid::Uuid {
    domain::ids::derived(saga_id.0, "pay_out")
}

pub(crate) fn said(status: SagaStatus, code: &str) -> (SagaStatus, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_money_is_held_paid_out_once_and_the_loan_becomes_active() {
    let house = House::open("paid").await;
    let (loan_id, saga_id) = house.disbursing("L1", "1001").await;
    assert_eq!(house.posted_minor(house.nostro).await, 0, "held and not posted");
    assert_eq!(house.loan(loan_id).await.status, LoanStatus::Disbursing);
    house.check().await;

    let runner = house.runner();
    assert_eq!(house.comes_to(saga_id).await, said(Completed, "disbursed"));
    assert_eq!(house.other_bank.movements_of(order_of(saga_id)).await, [-100_000]);
    let loan = house.loan(loan_id).await;
    assert_eq!((loan.status, loan.instalments.len()), (LoanStatus::Active, 2));
    let told = house.events_of(loan_id.stream()).await.into_iter().find_map(|event| match event {
        Event::Loan(LoanEvent::LoanDisbursed { bank_reference, to_account_id, .. }) => {
            Some((bank_reference, to_account_id))
        }
        _ => None,
    });
    let (bank_reference, to_account_id) = told.unwrap();
    assert_eq!(bank_reference, house.saga(saga_id).await.bank_reference, "the loan names what the bank calls it");
    assert!(bank_reference.is_some() && to_account_id.is_none());
    assert_eq!(house.posted_minor(house.nostro).await, -100_000);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_payout_leaves_no_trace_in_balances_and_can_be_tried_again() {
    let house = House::open("refused").await;
    house.other_bank.closed("1001", true).await;
    let (loan_id, first) = house.disbursing("L1", "1001").await;
    let runner = house.runner();
    assert_eq!(house.comes_to(first).await, said(Completed, "cancelled"));
    let loan = house.loan(loan_id).await;
    assert_eq!((loan.status, loan.payout), (LoanStatus::Approved, None));
    let books = house.check().await;
    assert!(books.posted.is_empty(), "{:?}", books.posted);
    let why = house.events_of(loan_id.stream()).await.into_iter().find_map(|event| match event {
        Event::Loan(LoanEvent::LoanDisbursementCancelled { reason, attempt: 1, .. }) => Some(reason),
        _ => None,
    });
    assert_eq!(why.unwrap().as_str(), "account_closed");

    let second = house.start_payout(loan_id, "1002").await;
    assert_ne!(first, second);
    assert_eq!(house.comes_to(second).await, said(Completed, "disbursed"));
    assert_eq!(house.other_bank.movements_of(order_of(first)).await, Vec::<i64>::new());
    assert_eq!(house.other_bank.movements_of(order_of(second)).await, [-100_000]);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_is_not_there_is_waited_for_and_a_person_may_give_up_meanwhile() {
    let mut house = House::open("away").await;
    house.other_bank.stop().await;
    let (patient, patient_saga) = house.disbursing("L1", "1001").await;
    let (withdrawn, withdrawn_saga) = house.disbursing("L2", "1002").await;
    let runner = house.runner();
    for saga_id in [patient_saga, withdrawn_saga] {
        let saga = house.until(saga_id, "a call that was not sent", |saga| saga.attempts >= 2).await;
        assert_eq!(saga.step, Step::PayOut);
    }
    // Nothing has gone out, which is certain: it may be given up, and is once the bank can be asked.
    let given_up = house.until(withdrawn_saga, "no doubt", |saga| saga.status == SagaStatus::Running).await;
    assert_eq!(given_up.code.unwrap().as_str(), "not_sent");
    while let Err(rejection) = house.abandon(withdrawn_saga).await {
        assert_eq!(rejection.code(), "saga_outcome_unknown", "only while it sends");
    }
    house.other_bank.start().await;
    assert_eq!(house.comes_to(withdrawn_saga).await, said(Completed, "cancelled"));
    assert_eq!(house.comes_to(patient_saga).await, said(Completed, "disbursed"));
    assert_eq!(house.loan(withdrawn).await.status, LoanStatus::Approved);
    assert_eq!(house.loan(patient).await.status, LoanStatus::Active);
    assert_eq!(house.other_bank.balance_minor().await, -100_000);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

/// While the outcome is unknown nobody can give it up; when the bank has the money, the loan stands.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_left_cannot_be_given_up_and_what_has_left_counts() {
    let house = House::open("doubt").await;
    let accepted = json!({"requests": [{"fault": {"kind": "stay_accepted", "for_ms": 1_500}}]});
    house.other_bank.faults(accepted).await;
    let (_, doubted) = house.disbursing("L1", "1001").await;
    let runner = house.runner();
    house
        .until(doubted, "an order on its way", |saga| {
            saga.code.as_ref().is_some_and(|code| code.as_str() == "accepted")
        })
        .await;
    assert_eq!(house.saga(doubted).await.status, Unknown);
    assert_eq!(house.abandon(doubted).await.unwrap_err().code(), "saga_outcome_unknown");
    assert_eq!(house.comes_to(doubted).await, said(Completed, "disbursed"));
    assert_eq!(house.abandon(doubted).await.unwrap_err().code(), "saga_ended");
    runner.stop().await;

    // The payout reached the bank, our word of it was lost, and a person gave it up.
    house.other_bank.faults(json!({})).await;
    let (paid, paid_saga) = house.disbursing("L2", "1002").await;
    let process = Process::Disbursement { loan_id: paid, attempt: 1 };
    house.ok(Command::Saga(SagaCommand::StartSaga { saga_id: paid_saga, process })).await;
    house.abandon(paid_saga).await.unwrap();
    let order = json!({
        "amount": wire(100_000), "to": {"account_number": "1002", "bank_code": "YZ"}, "reference": format!("{paid}/1"),
    });
    house.other_bank.call(Method::PUT, &format!("/payments/{}", order_of(paid_saga)), order).await;
    let runner = house.runner();
    assert_eq!(house.comes_to(paid_saga).await, said(Completed, "disbursed"));
    assert_eq!(house.loan(paid).await.status, LoanStatus::Active);
    assert_eq!(house.other_bank.movements_of(order_of(paid_saga)).await, [-100_000]);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

/// Our own rules refuse the posting after the money has left: forward only, then a person.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_pivot_it_only_goes_forward() {
    let house = House::found("forward").await;
    house.ok(open_period("past", days_ago(900), days_ago(1))).await;
    let loan_id = house.approved("L1", Asked::default()).await;
    let LoanCommand::StartDisbursement { loan_id, transaction_id, funding_account_id, destination, .. } =
        house.payout(loan_id, "1001").await
    else {
        unreachable!()
    };
    let (booking_date, disbursed_on, first_due_on) = (Some(days_ago(5)), Some(days_ago(5)), None);
    house
        .ok(Command::Loan(LoanCommand::StartDisbursement {
            loan_id,
            transaction_id,
            funding_account_id,
            destination,
            booking_date,
            disbursed_on,
            first_due_on,
        }))
        .await;
    // The period of the hold closes while the money is on its way, and today has none.
    house.ok(close_period("past")).await;
    let saga_id = SagaId::of_disbursement(loan_id, 1);
    let runner = house.runner();
    assert_eq!(house.comes_to(saga_id).await, said(Parked, "no_period"));
    assert_eq!(house.saga(saga_id).await.step, Step::Confirm);
    assert_eq!(house.abandon(saga_id).await.unwrap_err().code(), "saga_past_pivot");
    assert_eq!(house.loan(loan_id).await.status, LoanStatus::Disbursing);

    house.ok(open_period("present", today(), today())).await;
    house.resume(saga_id, None).await.unwrap();
    house.until(saga_id, "the posting", |saga| saga.status == Completed).await;
    assert_eq!(house.loan(loan_id).await.status, LoanStatus::Active);
    let booked = booked_on(&house, loan_id).await;
    assert_eq!(booked, today(), "what was held in a closed period is posted today");
    assert_eq!(house.other_bank.movements_of(order_of(saga_id)).await, [-100_000]);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

async fn booked_on(house: &House, loan_id: LoanId) -> chrono::NaiveDate {
    let told = house.events_of(loan_id.stream()).await.into_iter().find_map(|event| match event {
        Event::Loan(LoanEvent::LoanDisbursed { booking_date, transaction_id, .. }) => {
            Some((booking_date, transaction_id))
        }
        _ => None,
    });
    let (booking_date, transaction_id) = told.unwrap();
    let posted = house.events_of(transaction_id.stream()).await.into_iter().find_map(|event| match event {
        Event::Transaction(TransactionEvent::PendingPosted { booking_date, .. }) => Some(booking_date),
        _ => None,
    });
    assert_eq!(posted, Some(booking_date));
    booking_date
}

/// A member whose key was destroyed has no account to pay to any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_be_opened_is_never_guessed() {
    let house = House::open("erased").await;
    let (untouched, untouched_saga) = house.disbursing("L1", "1001").await;
    let (doubted, doubted_saga) = house.disbursing("L2", "1002").await;
    // One order reaches the bank, and the bank then answers nothing for a while.
    house
        .other_bank
        .faults(json!({"requests": [
            {"account_number": "1002", "operation": "pay", "fault": {"kind": "drop_before"}},
            {"operation": "pay_status", "times": 1, "fault": {"kind": "error_before"}},
            {"account_number": "1001", "fault": {"kind": "drop_before"}}]}))
        .await;
    let runner = house.runner();
    let in_doubt = |saga: &domain::Saga| saga.status == Unknown && saga.attempts >= 2;
    house.until(doubted_saga, "a doubt", in_doubt).await;
    house.until(untouched_saga, "a doubt", in_doubt).await;
    house.store.sealing().destroy_key(house.member).await.unwrap();
    for saga_id in [untouched_saga, doubted_saga] {
        assert_eq!(house.comes_to(saga_id).await, said(Parked, "destination_unreadable"));
        house.abandon(saga_id).await.unwrap();
        assert_eq!(house.comes_to(saga_id).await, said(Completed, "cancelled"));
    }
    for loan_id in [untouched, doubted] {
        assert_eq!(house.loan(loan_id).await.status, LoanStatus::Approved);
    }
    assert_eq!(house.other_bank.balance_minor().await, 0);
    house.check().await;
    runner.stop().await;
    house.close().await;
}
