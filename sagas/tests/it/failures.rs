//! A failing at every step: whatever goes wrong between us and the bank, or on our own side, money
//! leaves once or not at all, and our books say the same as the bank's.

use std::time::Duration;

use domain::loan::LoanStatus;
use domain::saga::Resolution;
use domain::saga::SagaStatus::{Completed, Parked};
use serde_json::{Value, json};

use crate::disbursements::{order_of, said};
use crate::house::{DEADLINE, House};

/// What can go wrong with one call, and stays right when it is made again.
fn faults() -> Vec<Value> {
    vec![
        json!({"kind": "drop_before"}),
        json!({"kind": "drop_after"}),
        json!({"kind": "error_before"}),
        json!({"kind": "error_after"}),
        json!({"kind": "garble"}),
        json!({"kind": "answer_late", "delay_ms": 900}),
        json!({"kind": "work_late", "delay_ms": 900}),
        json!({"kind": "stay_accepted", "for_ms": 300}),
    ]
}

fn rule(operation: &str, account_number: Option<&str>, times: u64, fault: &Value) -> Value {
    let mut rule = json!({"operation": operation, "times": times, "fault": fault});
    if let Some(account_number) = account_number {
        rule["account_number"] = json!(account_number);
    }
    rule
}

/// Each fault at the order, alone and followed by one at the question what became of it; and each at
/// the cancellation of an order that the bank has refused.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_at_the_bank_a_loan_is_paid_out_once_or_not_at_all() {
    let house = House::open("atthebank").await;
    let mut rules = Vec::new();
    let mut loans = Vec::new();
    for (at, fault) in faults().iter().enumerate() {
        let (once, again, closed) = (format!("1{at}"), format!("2{at}"), format!("3{at}"));
        rules.push(rule("pay", Some(&once), 1, fault));
        rules.push(rule("pay", Some(&again), 1, fault));
        rules.push(rule("pay_status", Some(&again), 1, fault));
        house.other_bank.closed(&closed, true).await;
        rules.push(rule("cancel", None, 1, fault));
        for (account_number, paid) in [(once, true), (again, true), (closed, false)] {
            loans.push((house.disbursing(&account_number, &account_number).await, account_number, paid));
        }
    }
    house.other_bank.faults(json!({"requests": rules})).await;
    let runner = house.runner();
    for ((loan_id, saga_id), account_number, paid) in &loans {
        let (outcome, status, moved) = match paid {
            true => ("disbursed", LoanStatus::Active, vec![-100_000]),
            false => ("cancelled", LoanStatus::Approved, vec![]),
        };
        assert_eq!(house.comes_to(*saga_id).await, said(Completed, outcome), "{account_number}");
        assert_eq!(house.loan(*loan_id).await.status, status, "{account_number}");
        assert_eq!(house.other_bank.movements_of(order_of(*saga_id)).await, moved, "{account_number}");
    }
    // What was done late would be here by now, had it not been the same order.
    let paid = loans.iter().filter(|(_, _, paid)| *paid).count();
    assert_eq!(house.other_bank.statement().await.len(), paid);
    house.check().await;
    runner.stop().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_at_a_return_it_is_made_once() {
    let house = House::open("returns").await;
    let runner = house.runner();
    for fault in faults() {
        house.other_bank.faults(json!({"requests": []})).await;
        let saga_id = house.pays_us(7_000, None).await;
        assert_eq!(house.comes_to(saga_id).await, said(Parked, "no_loan_number"));
        let rules = [rule("return", None, 1, &fault), rule("return_status", None, 1, &fault)];
        house.other_bank.faults(json!({"requests": rules})).await;
        house.resume(saga_id, Some(Resolution::ReturnPayment)).await.unwrap();
        house.until(saga_id, "the return", |saga| saga.status == Completed).await;
        assert_eq!(house.sent_back(saga_id).await, [-7_000], "{fault}");
    }
    assert_eq!(house.other_bank.balance_minor().await, 0);
    let books = house.check().await;
    assert_eq!(books.posted[&house.suspense], 0);
    runner.stop().await;
    house.close().await;
}

/// Nobody can connect to a database for a while, and who was connected is thrown out: the sagas stop
/// where they are and go on afterwards, by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_keys_may_go_away_at_any_time() {
    let house = House::open("gone").await;
    let mut sagas = Vec::new();
    for at in 0..12 {
        let account_number = format!("4{at}");
        sagas.push(house.disbursing(&account_number, &account_number).await);
    }
    let late = json!({"operation": "pay", "every": 3, "fault": {"kind": "answer_late", "delay_ms": 300}});
    house.other_bank.faults(json!({"requests": [late]})).await;
    let runner = house.runner();
    for database in ["log", "keys", "log"] {
        house.lock_out(database, true).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        house.lock_out(database, false).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let began = std::time::Instant::now();
    while !house.store.ready() {
        assert!(began.elapsed() < DEADLINE, "the log is there again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (loan_id, saga_id) in &sagas {
        house.break_leases().await;
        assert_eq!(house.comes_to(*saga_id).await, said(Completed, "disbursed"));
        assert_eq!(house.loan(*loan_id).await.status, LoanStatus::Active);
        assert_eq!(house.other_bank.movements_of(order_of(*saga_id)).await, [-100_000]);
    }
    house.check().await;
    runner.stop().await;
    house.close().await;
}
