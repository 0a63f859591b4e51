//! What is due is collected from the member's account on its day; on later days where there is not enough.

use chrono::{Days, NaiveTime};
use domain::loan::{LoanCommand, LoanStatus, Surplus};
use domain::saga::SagaStatus::{Completed, Parked, Running};
use domain::{Command, LoanId, SagaId, TransactionId};
use uuid::Uuid;

use crate::desk::{money, moved};
use crate::disbursements::said;
use crate::house::{Asked, House, days_ago, today};

/// 1,000.00 at 12 % in two months; the interest of a first period of 30 days is 10.00.
fn asked(house: &House) -> Asked {
    let (product, settlement) = (Some(house.collected), Some(house.settlement));
    Asked { product, settlement, rate: "12", ..Asked::default() }
}

fn repay(house: &House, loan_id: LoanId, amount_minor: i64) -> Command {
    Command::Loan(LoanCommand::RepayLoan {
        loan_id,
        transaction_id: TransactionId(Uuid::now_v7()),
        from_account_id: house.current,
        amount: money(amount_minor),
        surplus: Surplus::ToSettlementAccount,
        booking_date: None,
        value_date: None,
        external_reference: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_instalment_is_collected_the_next_one_waited_for_and_a_repaid_loan_left_alone() {
    let house = House::open("collected").await;
    house.deposit(100_000).await;
    let loan_id = house.active("L1", asked(&house), days_ago(30), today()).await;
    let runner = house.runner();
    let saga_id = SagaId::of_collection(loan_id);
    let saga = house.until(saga_id, "the next due date", |saga| saga.wake_at.is_some()).await;
    let loan = house.loan(loan_id).await;
    assert_eq!(saga.status, Running);
    assert_eq!(saga.wake_at.unwrap(), loan.instalments[1].due_on.and_time(NaiveTime::MIN).and_utc());
    assert_eq!(loan.instalments[0].total_outstanding_minor(), 0);
    let taken = i64::try_from(loan.instalments[0].due.total_minor()).unwrap();
    assert_eq!(house.posted_minor(house.settlement).await, -100_000 + taken);
    assert_eq!(house.posted_minor(house.accounts.interest_income_account_id).await, -1_000);
    house.check().await;

    // Paid early: nothing is left to collect, and the saga does not wait for a date that is no more.
    house.ok(repay(&house, loan_id, i64::try_from(loan.outstanding().total_minor()).unwrap())).await;
    assert_eq!(house.comes_to(saga_id).await, said(Completed, "repaid"));
    house.check().await;
    repaid_before_the_first_due_date(&house).await;
    runner.stop().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enough_money_it_is_tried_on_later_days_then_a_person_has_to_look() {
    let house = House::open("later").await;
    let loan_id = house.active("L1", asked(&house), days_ago(30), today()).await;
    let runner = house.runner();
    let saga_id = SagaId::of_collection(loan_id);
    let saga = house.until(saga_id, "a later day", |saga| saga.attempts == 1).await;
    assert_eq!((saga.status, saga.code.unwrap().as_str()), (Running, "insufficient_funds"));
    let tomorrow = (today() + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
    assert_eq!(saga.wake_at, Some(tomorrow), "the first day of the policy");
    let due_at: chrono::DateTime<chrono::Utc> = house.due_at(saga_id, tomorrow).await;
    assert_eq!(due_at, tomorrow, "the table of work says the same");
    assert_eq!(house.posted_minor(house.accounts.interest_receivable_account_id).await, 1_000);
    assert_eq!(house.posted_minor(house.accounts.interest_income_account_id).await, -1_000);
    house.check().await;

    // Tried again without money: nothing is earned twice.
    house.resume(saga_id, None).await.unwrap();
    house.until(saga_id, "another try", |saga| saga.attempts == 2).await;
    assert_eq!(house.posted_minor(house.accounts.interest_income_account_id).await, -1_000);
    house.deposit(60_000).await;
    house.resume(saga_id, None).await.unwrap();
    house.until(saga_id, "the money", |saga| saga.entry == 1 && saga.wake_at.is_some()).await;
    let loan = house.loan(loan_id).await;
    assert_eq!(loan.instalments[0].total_outstanding_minor(), 0);
    assert_eq!(house.posted_minor(house.accounts.interest_receivable_account_id).await, 0);
    assert_eq!(house.posted_minor(house.accounts.interest_income_account_id).await, -1_000);
    house.check().await;
    no_day_is_left(&house).await;
    runner.stop().await;
    house.close().await;
}

/// Before anything was due, nothing is written down but the table of work waits: paid by then, it ends.
async fn repaid_before_the_first_due_date(house: &House) {
    let loan_id = house.active("L2", asked(house), today(), today() + Days::new(30)).await;
    let saga_id = SagaId::of_collection(loan_id);
    let first_due = (today() + Days::new(30)).and_time(NaiveTime::MIN).and_utc();
    assert_eq!(house.due_at(saga_id, first_due).await, first_due);
    let owed = house.loan(loan_id).await.outstanding().total_minor();
    house.deposit(10_000).await;
    house.ok(moved(house.settlement, house.current, 10_000)).await;
    house.ok(repay(house, loan_id, i64::try_from(owed).unwrap())).await;
    assert_eq!(house.comes_to(saga_id).await, said(Completed, "repaid"));
    house.check().await;
}

/// All dates and days of the policy have passed: a person has to look. Then all is collected at
/// once, and the saga is over.
async fn no_day_is_left(house: &House) {
    let loan_id = house.active("L2", asked(house), days_ago(100), days_ago(70)).await;
    let before = house.posted_minor(house.settlement).await;
    let saga_id = SagaId::of_collection(loan_id);
    assert_eq!(house.comes_to(saga_id).await, said(Parked, "insufficient_funds"));
    house.deposit(200_000).await;
    house.resume(saga_id, None).await.unwrap();
    house.until(saga_id, "the collection", |saga| saga.status == Completed).await;
    assert_eq!(house.state(saga_id).await, said(Completed, "repaid"));
    assert_eq!(house.loan(loan_id).await.status, LoanStatus::Repaid);
    let loan = house.loan(loan_id).await;
    let all: i64 = loan.instalments.iter().map(|one| i64::try_from(one.due.total_minor()).unwrap()).sum();
    assert!(all > 101_000, "with its interest: {all}");
    assert_eq!(house.posted_minor(house.settlement).await, before - 200_000 + all);
    assert_eq!(house.work(saga_id).await, None, "no work is left over");
    house.check().await;
}
