//! A payment comes in from another bank: it finds its loan, or waits for a person; what is too much goes on or back.

use domain::Command;
use domain::loan::LoanStatus;
use domain::saga::Resolution;
use domain::saga::SagaStatus::{Abandoned, Completed, Parked};
use serde_json::json;

use crate::desk::{close_period, open_period};
use crate::disbursements::said;
use crate::house::{Asked, House, days_ago, today};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_settles_what_its_loan_owes_and_the_rest_goes_on_or_back() {
    let house = House::open("allocated").await;
    let runner = house.runner();
    let due = today() + chrono::Days::new(30);
    // 1,000.00 at 0 % in two instalments; with and without an account for what is too much.
    let asked = Asked { settlement: Some(house.settlement), ..Asked::default() };
    let with_account = house.active("L1", asked, today(), due).await;
    let without = house.active("L2", Asked::default(), today(), due).await;

    let partial = house.pays_us(30_000, Some("L1")).await;
    assert_eq!(house.comes_to(partial).await, said(Completed, "allocated"));
    assert_eq!(house.loan(with_account).await.outstanding().principal_minor, 70_000);
    let overpaid = house.pays_us(75_000, Some("L1")).await;
    assert_eq!(house.comes_to(overpaid).await, said(Completed, "allocated"));
    assert_eq!(house.loan(with_account).await.status, LoanStatus::Repaid);
    assert_eq!(house.posted_minor(house.settlement).await, -5_000, "the member has what was too much");

    let exact = house.pays_us(50_000, Some("L2")).await;
    assert_eq!(house.comes_to(exact).await, said(Completed, "allocated"));
    let returned = house.pays_us(60_000, Some("L2")).await;
    assert_eq!(house.comes_to(returned).await, said(Completed, "returned"));
    assert_eq!(house.loan(without).await.status, LoanStatus::Repaid);
    assert_eq!(house.sent_back(returned).await, [-10_000], "the payer has what was too much, once");

    let books = house.check().await;
    assert_eq!(books.posted.get(&house.suspense), Some(&0));
    assert_eq!(books.posted[&house.nostro], 30_000 + 75_000 + 50_000 + 60_000 - 10_000);
    assert_eq!(books.on_their_way(), 0);
    runner.stop().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_loan_waits_for_a_person() {
    let house = House::open("unmatched").await;
    let runner = house.runner();
    let due = today() + chrono::Days::new(30);
    let loan_id = house.active("L1", Asked::default(), today(), due).await;
    house.approved("L2", Asked::default()).await;

    let nameless = house.pays_us(1_000, None).await;
    let unknown = house.pays_us(2_000, Some("NOBODY")).await;
    let not_owed = house.pays_us(3_000, Some("L2")).await;
    assert_eq!(house.comes_to(nameless).await, said(Parked, "no_loan_number"));
    assert_eq!(house.comes_to(unknown).await, said(Parked, "loan_number_unknown"));
    assert_eq!(house.comes_to(not_owed).await, said(Parked, "loan_approved"));
    assert_eq!(house.posted_minor(house.suspense).await, -6_000, "it waits in suspense");
    house.check().await;

    // The same payment heard of again is the same one, and refused as such.
    let bank_reference = match house.saga(nameless).await.process {
        Some(domain::saga::Process::IncomingPayment { bank_reference, .. }) => bank_reference,
        other => panic!("{other:?}"),
    };
    let again = house.send(house.receive(1_000, None, bank_reference)).await.unwrap_err();
    assert_eq!(again.code(), "external_reference_taken");

    house.resume(nameless, Some(Resolution::AssignLoan { loan_id })).await.unwrap();
    house.until(nameless, "the assigned payment", |saga| saga.status == Completed).await;
    assert_eq!(house.loan(loan_id).await.outstanding().principal_minor, 99_000);
    house.resume(unknown, Some(Resolution::ReturnPayment)).await.unwrap();
    house.until(unknown, "the returned payment", |saga| saga.status == Completed).await;
    assert_eq!(house.state(unknown).await, said(Completed, "returned"));
    house.abandon(not_owed).await.unwrap();
    assert_eq!(house.state(not_owed).await, said(Abandoned, "customer_withdrew"));
    assert_eq!(house.posted_minor(house.suspense).await, -3_000, "what was given up stays for a person to book");
    assert_eq!(house.resume(not_owed, None).await.unwrap_err().code(), "saga_ended");
    house.check().await;
    runner.stop().await;
    house.close().await;
}

/// A loan on its way is waited for; a payment that its loan does not take waits for a person; a
/// period that closed in between moves the booking to today.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_comes_before_its_loan_after_its_loan_and_across_a_closed_period() {
    let house = House::found("odd").await;
    house.ok(open_period("past", days_ago(900), days_ago(1))).await;
    house.ok(open_period("present", today(), today() + chrono::Days::new(30))).await;
    let due = today() + chrono::Days::new(30);
    house.other_bank.faults(json!({"requests": [{"fault": {"kind": "stay_accepted", "for_ms": 700}}]})).await;
    let (early_loan, payout) = house.disbursing("L1", "1001").await;
    let early = house.pays_us(20_000, Some("L1")).await;
    let late_loan = house.active("L2", Asked::default(), days_ago(2), due).await;
    let mut last_week = house.receive(30_000, Some("L2"), house.other_bank.pays_us(30_000, "L2").await);
    let Command::Saga(domain::saga::SagaCommand::ReceivePayment { saga_id, booking_date, value_date, .. }) =
        &mut last_week
    else {
        unreachable!()
    };
    let late = *saga_id;
    (*booking_date, *value_date) = (Some(days_ago(1)), Some(days_ago(1)));
    house.ok(last_week).await;
    house.ok(close_period("past")).await;

    let runner = house.runner();
    house.until(early, "a loan that is not there yet", |saga| saga.attempts > 0).await;
    house.until(payout, "the payout", |saga| saga.status == Completed).await;
    let (status, code) = house.comes_to(early).await;
    if status == Parked {
        // Resumed more often than the bank was quick: as a person would, once the loan is there.
        assert_eq!(code, "loan_disbursing");
        house.resume(early, None).await.unwrap();
        house.until(early, "the allocation", |saga| saga.status == Completed).await;
    }
    assert_eq!(house.loan(early_loan).await.outstanding().principal_minor, 80_000);

    assert_eq!(house.comes_to(late).await, said(Completed, "allocated"));
    let loan = house.loan(late_loan).await;
    assert_eq!((loan.outstanding().principal_minor, loan.repayments[0].value_date), (70_000, days_ago(1)));

    // More than a frozen settlement account can take: parked, and the money is still there.
    let frozen = Asked { settlement: Some(house.settlement), ..Asked::default() };
    let frozen_loan = house.active("L3", frozen, today(), due).await;
    house.freeze(house.settlement).await;
    let too_much = house.pays_us(100_001, Some("L3")).await;
    assert_eq!(house.comes_to(too_much).await, said(Parked, "account_frozen"));
    assert_eq!(house.loan(frozen_loan).await.outstanding().principal_minor, 100_000);
    assert_eq!(house.posted_minor(house.suspense).await, -100_001);
    house.resume(too_much, Some(Resolution::ReturnPayment)).await.unwrap();
    house.until(too_much, "the return", |saga| saga.status == Completed).await;
    assert_eq!(house.posted_minor(house.suspense).await, 0);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

/// The bank refuses to take a payment back: it waits for a person, and its money in suspense.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_return_waits_for_a_person() {
    let house = House::open("norefund").await;
    let runner = house.runner();
    let refuse = json!({"operation": "return", "fault": {"kind": "refuse", "code": "payer_gone"}});
    house.other_bank.faults(json!({"requests": [refuse]})).await;
    let saga_id = house.pays_us(4_000, None).await;
    assert_eq!(house.comes_to(saga_id).await, said(Parked, "no_loan_number"));
    house.resume(saga_id, Some(Resolution::ReturnPayment)).await.unwrap();
    house.until(saga_id, "the refusal", |saga| saga.step == domain::saga::Step::Return && saga.status == Parked).await;
    assert_eq!(house.state(saga_id).await, said(Parked, "payer_gone"));
    let undecided = house.resume(saga_id, Some(Resolution::ReturnPayment)).await.unwrap_err();
    assert_eq!(undecided.code(), "saga_not_parked");
    assert_eq!(house.posted_minor(house.suspense).await, -4_000);
    house.check().await;
    // It is asked again as another order, for the bank has refused the first one for ever.
    house.other_bank.faults(json!({})).await;
    house.resume(saga_id, None).await.unwrap();
    house.until(saga_id, "the return", |saga| saga.status == Completed).await;
    assert_eq!(house.sent_back(saga_id).await, [-4_000]);
    assert_eq!(house.posted_minor(house.suspense).await, 0);
    house.check().await;
    runner.stop().await;
    house.close().await;
}
