//! Every step twice, and runners killed anywhere: the log, the bank and the balances are as with once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::Days;
use domain::loan::{LoanEvent, LoanStatus};
use domain::saga::{SagaEvent, SagaStatus};
use domain::{Event, LoanId, SagaId};
use event_store::Store;
use serde_json::{Value, json};

use crate::disbursements::{order_of, said};
use crate::house::{Asked, House, days_ago, today};

/// What a set of sagas is to come to.
#[derive(Default)]
struct Work {
    /// Loans on their way to another bank, and whether their bank takes the money.
    payouts: Vec<(LoanId, SagaId, bool)>,
    /// Payments for active loans, and how much of each is too much.
    payments: Vec<(SagaId, i64)>,
    /// Loans whose first instalment is due.
    collections: Vec<LoanId>,
}

async fn work(house: &House, payouts: usize) -> Work {
    let mut work = Work::default();
    house.deposit(1_000_000).await;
    for at in 0..payouts {
        work.payouts.push(payout(house, at, at % 4 != 3).await);
    }
    for at in 0..payouts / 2 {
        work.payments.push(payment(house, at, if at % 2 == 0 { 2_500 } else { 0 }).await);
    }
    for at in 0..payouts / 4 {
        work.collections.push(collection(house, at).await);
    }
    work
}

/// A loan on its way to a bank that takes the money or does not.
async fn payout(house: &House, at: usize, taken: bool) -> (LoanId, SagaId, bool) {
    let number = format!("P{at}");
    if !taken {
        house.other_bank.closed(&number, true).await;
    }
    let (loan_id, saga_id) = house.disbursing(&number, &number).await;
    (loan_id, saga_id, taken)
}

/// A payment of all that a loan owes, and so much more.
async fn payment(house: &House, at: usize, too_much: i64) -> (SagaId, i64) {
    let number = format!("R{at}");
    house.active(&number, Asked::default(), today(), today() + Days::new(30)).await;
    (house.pays_us(100_000 + too_much, Some(&number)).await, too_much)
}

/// A loan whose first instalment is due.
async fn collection(house: &House, at: usize) -> LoanId {
    let (product, settlement) = (Some(house.collected), Some(house.settlement));
    let asked = Asked { product, settlement, rate: "12", ..Asked::default() };
    house.active(&format!("C{at}"), asked, days_ago(30), today()).await
}

/// Waits until every saga is over, or waits for its next due date.
async fn settled(house: &House, work: &Work) {
    for (_, saga_id, taken) in &work.payouts {
        let outcome = if *taken { "disbursed" } else { "cancelled" };
        assert_eq!(house.comes_to(*saga_id).await, said(SagaStatus::Completed, outcome));
    }
    for (saga_id, too_much) in &work.payments {
        let outcome = if *too_much > 0 { "returned" } else { "allocated" };
        assert_eq!(house.comes_to(*saga_id).await, said(SagaStatus::Completed, outcome));
    }
    for loan_id in &work.collections {
        house.until(SagaId::of_collection(*loan_id), "the collection", |saga| saga.entry == 1).await;
    }
}

/// Each thing happened once: at the bank, in the log, in the balances.
async fn check_once(house: &House, work: &Work) {
    for (loan_id, saga_id, taken) in &work.payouts {
        let moved = house.other_bank.movements_of(order_of(*saga_id)).await;
        assert_eq!(moved, if *taken { vec![-100_000] } else { vec![] });
        let status = if *taken { LoanStatus::Active } else { LoanStatus::Approved };
        assert_eq!(house.loan(*loan_id).await.status, status);
        let ends = count(house, *loan_id, |event| {
            matches!(event, LoanEvent::LoanDisbursed { .. } | LoanEvent::LoanDisbursementCancelled { .. })
        });
        assert_eq!(ends.await, 1, "one end of one payout");
    }
    for (saga_id, too_much) in &work.payments {
        assert_eq!(house.sent_back(*saga_id).await, if *too_much > 0 { vec![-too_much] } else { vec![] });
        let loan_id = house.saga(*saga_id).await.loan_id.unwrap();
        assert_eq!(count(house, loan_id, |event| matches!(event, LoanEvent::RepaymentReceived { .. })).await, 1);
        assert_eq!(house.loan(loan_id).await.status, LoanStatus::Repaid);
    }
    let mut taken = 0;
    for loan_id in &work.collections {
        assert_eq!(count(house, *loan_id, |event| matches!(event, LoanEvent::RepaymentReceived { .. })).await, 1);
        assert_eq!(count(house, *loan_id, |event| matches!(event, LoanEvent::InterestAccrued { .. })).await, 1);
        taken += i64::try_from(house.loan(*loan_id).await.instalments[0].due.total_minor()).unwrap();
    }
    let books = house.check().await;
    assert_eq!(books.posted[&house.suspense], 0);
    assert_eq!(books.posted[&house.settlement], -1_000_000 + taken);
    let paid_out = work.payouts.iter().filter(|(_, _, taken)| *taken).count();
    assert_eq!(books.posted[&house.nostro], (work.payments.len() as i64 - paid_out as i64) * 100_000);
    let mut ends: HashMap<SagaId, usize> = HashMap::new();
    for saga_id in books.sagas.keys() {
        let over = |event: &Event| matches!(event, Event::Saga(SagaEvent::SagaCompleted { .. }));
        let events = house.events_of(saga_id.stream()).await;
        *ends.entry(*saga_id).or_default() += events.iter().filter(|event| over(event)).count();
    }
    assert!(ends.values().all(|ends| *ends <= 1), "a saga ends once");
}

async fn count(house: &House, loan_id: LoanId, which: fn(&LoanEvent) -> bool) -> usize {
    let events = house.events_of(loan_id.stream()).await;
    events.iter().filter(|event| matches!(event, Event::Loan(event) if which(event))).count()
}

fn some_of_all_faults(seed: u64) -> Value {
    let fault = |percent: u64, fault: Value| json!({"percent": percent, "fault": fault});
    json!({"seed": seed, "requests": [
        fault(8, json!({"kind": "drop_before"})),
        fault(8, json!({"kind": "drop_after"})),
        fault(8, json!({"kind": "error_after"})),
        fault(8, json!({"kind": "work_late", "delay_ms": 700})),
        fault(8, json!({"kind": "answer_late", "delay_ms": 700})),
        fault(8, json!({"kind": "stay_accepted", "for_ms": 200})),
    ]})
}

/// Three runners with doors of their own have every saga at the same time: each step is taken up to
/// three times at once.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_taken_by_three_runners_at_once_happens_once() {
    let house = House::open("thrice").await;
    let work = work(&house, 12).await;
    let late = json!({"percent": 30, "fault": {"kind": "answer_late", "delay_ms": 100}});
    house.other_bank.faults(json!({"seed": 1, "requests": [late]})).await;
    let stores = [house.another_store().await, house.another_store().await];
    let runners = [house.runner(), house.runner_on(stores[0].clone()), house.runner_on(stores[1].clone())];
    let breaking = tokio::spawn({
        let pool = house.pool().clone();
        async move {
            loop {
                let sql = "UPDATE saga_work SET leased_until = now() - interval '1 second'";
                sqlx::query(sql).execute(&pool).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    settled(&house, &work).await;
    breaking.abort();
    check_once(&house, &work).await;
    for runner in runners {
        runner.stop().await;
    }
    for store in stores {
        store.shutdown().await;
    }
    house.close().await;
}

/// A small generator of numbers, so that a run can be had again by its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Two runners, killed at any moment and started anew, with a bank at which every other call goes
/// wrong. `TEST_SAGA_SEEDS` gives more runs than one.
#[tokio::test(flavor = "multi_thread")]
async fn runners_killed_anywhere_pay_out_once_or_not_at_all() {
    let seeds: u64 = std::env::var("TEST_SAGA_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    for seed in 1..=seeds {
        println!("seed {seed}");
        let house = House::open("killed").await;
        let work = work(&house, 16).await;
        house.other_bank.faults(some_of_all_faults(seed)).await;
        let other = house.another_store().await;
        let kills = kill_at_random(&house, &other, &mut Chance(seed)).await;
        house.other_bank.faults(json!({})).await;
        let runners = [house.runner(), house.runner_on(other.clone())];
        house.break_leases().await;
        settled(&house, &work).await;
        check_once(&house, &work).await;
        println!("seed {seed}: {kills} kills");
        for runner in runners {
            runner.stop().await;
        }
        other.shutdown().await;
        house.close().await;
    }
}

async fn kill_at_random(house: &House, other: &Store, chance: &mut Chance) -> usize {
    let began = Instant::now();
    let mut kills = 0;
    let mut runners = vec![house.runner(), house.runner_on(other.clone())];
    while began.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(chance.below(120))).await;
        let at = usize::try_from(chance.below(2)).unwrap();
        runners.remove(at).kill().await;
        kills += 1;
        // What it had is another's at once; its own commands and calls may still be on their way.
        house.break_leases().await;
        let books = house.books().await;
        for (saga_id, saga) in &books.sagas {
            // A few waits are cut short, as by people who are impatient.
            if !saga.status.has_ended() && chance.below(10) == 0 {
                let _ = house.resume(*saga_id, None).await;
            }
        }
        let store = if chance.below(2) == 0 { house.store.clone() } else { other.clone() };
        runners.insert(0, house.runner_on(store));
    }
    for runner in runners {
        runner.kill().await;
    }
    kills
}

/// People give payouts up at any moment: the loan is as the bank says, either way.
#[tokio::test(flavor = "multi_thread")]
async fn a_payout_given_up_at_any_moment_is_made_or_not_and_never_both() {
    let house = House::open("givenup").await;
    house.other_bank.faults(some_of_all_faults(7)).await;
    let other = house.another_store().await;
    let runners = [house.runner(), house.runner_on(other.clone())];
    let mut chance = Chance(3);
    let mut payouts = Vec::new();
    for at in 0..24 {
        let number = format!("P{at}");
        let (loan_id, saga_id) = house.disbursing(&number, &number).await;
        payouts.push((loan_id, saga_id));
        tokio::time::sleep(Duration::from_millis(chance.below(25))).await;
        let _ = house.abandon(saga_id).await;
        house.break_leases().await;
    }
    let (mut paid, mut given_up) = (0, 0);
    for (loan_id, saga_id) in payouts {
        let (status, outcome) = house.comes_to(saga_id).await;
        assert_eq!(status, SagaStatus::Completed, "{outcome}: {:#?}", house.events_of(saga_id.stream()).await);
        let moved = house.other_bank.movements_of(order_of(saga_id)).await;
        let loan = house.loan(loan_id).await.status;
        match outcome.as_str() {
            "disbursed" => assert_eq!((moved, loan), (vec![-100_000], LoanStatus::Active)),
            "cancelled" => assert_eq!((moved, loan), (vec![], LoanStatus::Approved)),
            other => panic!("{other}"),
        }
        if loan == LoanStatus::Active { paid += 1 } else { given_up += 1 }
    }
    println!("{paid} paid out, {given_up} given up");
    assert!(paid > 0 && given_up > 0, "both happen, or nothing is shown: {paid} {given_up}");
    // What the bank does late comes to nothing where it was told never to do it.
    tokio::time::sleep(Duration::from_millis(800)).await;
    house.check().await;
    for runner in runners {
        runner.stop().await;
    }
    other.shutdown().await;
    house.close().await;
}

/// A runner that is killed after each single event: between a command and the word about it, between
/// the announcement of an order and the order, between the order and its outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_killed_after_every_event_goes_on_where_it_was() {
    let house = House::open("eachevent").await;
    house.deposit(1_000_000).await;
    let (mut all, mut kills) = (Work::default(), 0);
    // One after the other, so that no two of their events share a commit by chance.
    for at in 0..4 {
        let mut one = Work::default();
        match at {
            0 => one.payouts.push(payout(&house, at, true).await),
            1 => one.payouts.push(payout(&house, at, false).await),
            2 => one.payments.push(payment(&house, at, 2_500).await),
            _ => one.collections.push(collection(&house, at).await),
        }
        kills += kill_after_every_event(&house).await;
        let runner = house.runner();
        settled(&house, &one).await;
        runner.kill().await;
        all.payouts.extend(one.payouts);
        all.payments.extend(one.payments);
        all.collections.extend(one.collections);
    }
    println!("{kills} kills");
    assert!(kills > 8, "{kills}");
    check_once(&house, &all).await;
    house.close().await;
}

async fn kill_after_every_event(house: &House) -> usize {
    let mut kills = 0;
    loop {
        let before = house.store.reader().head().await.unwrap().position;
        let runner = house.runner();
        let began = Instant::now();
        while house.store.reader().head().await.unwrap().position == before {
            if began.elapsed() > Duration::from_millis(700) {
                runner.kill().await;
                house.break_leases().await;
                return kills;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        runner.kill().await;
        house.break_leases().await;
        kills += 1;
    }
}
