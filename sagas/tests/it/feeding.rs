//! The table of work follows from the log: killed, emptied or shared, it comes out the same.

use std::time::{Duration, Instant};

use chrono::Days;
use domain::saga::SagaStatus::{Completed, Parked};
use domain::saga::{Process, SagaCommand, SagaEvent};
use domain::{Command, Event, SagaId};
use serde_json::json;
use sqlx::Row;
use uuid::Uuid;

use crate::disbursements::{order_of, said};
use crate::house::{Asked, DEADLINE, House, days_ago, today};

/// Emptied, with the feed at the beginning of the log: made anew, and nothing happens twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_work_is_made_anew_from_the_log() {
    let house = House::open("anew").await;
    let runner = house.runner();
    house.deposit(100_000).await;
    let asked = Asked { product: Some(house.collected), settlement: Some(house.settlement), ..Asked::default() };
    let collected = house.active("C1", asked, days_ago(30), today()).await;
    let collection = SagaId::of_collection(collected);
    let (_, paid) = house.disbursing("L1", "1001").await;
    let parked = house.pays_us(500, None).await;
    assert_eq!(house.comes_to(paid).await, said(Completed, "disbursed"));
    assert_eq!(house.comes_to(parked).await, said(Parked, "no_loan_number"));
    let saga = house.until(collection, "the next due date", |saga| saga.wake_at.is_some()).await;
    runner.stop().await;
    // One that no runner has seen yet: the feed was killed before it, or after it was started.
    let (_, unseen) = house.disbursing("L2", "1002").await;
    let before = house.store.reader().head().await.unwrap().position;

    sqlx::query("DELETE FROM saga_work").execute(house.pool()).await.unwrap();
    sqlx::query("UPDATE saga_feed SET position = 0").execute(house.pool()).await.unwrap();
    let runner = house.runner();
    assert_eq!(house.comes_to(unseen).await, said(Completed, "disbursed"));
    assert_eq!(house.due_at(collection, saga.wake_at.unwrap()).await, saga.wake_at.unwrap());
    let waits = house.work(parked).await.unwrap();
    assert_eq!((waits.due_at, waits.status.as_str()), (None, "parked"), "a person is still waited for");
    assert_eq!(house.work(paid).await, None, "what is over is no work");
    assert_eq!(house.other_bank.movements_of(order_of(paid)).await, [-100_000]);
    let mut events = 0;
    for recorded in house.store.reader().events_after(before, 1_000).await.unwrap() {
        let id = recorded.stream.id;
        assert!(id != collection.0 && id != parked.0 && id != paid.0, "nothing new about {:?}", recorded.event());
        events += 1;
    }
    assert!(events > 0, "the unseen one went its way");
    house.check().await;
    runner.stop().await;
    house.close().await;
}

/// More sagas than one runner takes at once: others take the rest. Each saga is started once.
#[tokio::test(flavor = "multi_thread")]
async fn runners_share_the_work() {
    let house = House::open("shared").await;
    let late = json!({"operation": "pay", "fault": {"kind": "answer_late", "delay_ms": 400}});
    house.other_bank.faults(json!({"requests": [late]})).await;
    let mut sagas = Vec::new();
    for at in 0..100 {
        let number = format!("P{at}");
        sagas.push(house.disbursing(&number, &number).await.1);
    }
    let stores = [house.another_store().await, house.another_store().await];
    let runners = [house.runner(), house.runner_on(stores[0].clone()), house.runner_on(stores[1].clone())];
    let (began, mut most) = (Instant::now(), 0_i64);
    while most < 2 {
        let sql = "SELECT count(DISTINCT leased_by) FROM saga_work WHERE leased_until > now()";
        most = most.max(sqlx::query(sql).fetch_one(house.pool()).await.unwrap().get(0));
        assert!(began.elapsed() < DEADLINE, "two runners at work at once");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for saga_id in &sagas {
        assert_eq!(house.comes_to(*saga_id).await, said(Completed, "disbursed"));
    }
    let books = house.check().await;
    assert_eq!((books.sagas.len(), books.on_their_way()), (100, 0));
    assert_eq!(books.posted[&house.nostro], -100 * 100_000);
    for saga_id in sagas {
        let events = house.events_of(saga_id.stream()).await;
        let begun = events.iter().filter(|event| matches!(event, Event::Saga(SagaEvent::SagaStarted { .. }))).count();
        assert_eq!(begun, 1);
    }
    for runner in runners {
        runner.stop().await;
    }
    for store in stores {
        store.shutdown().await;
    }
    house.close().await;
}

/// A runner keeps what it has while it lives; what a dead one had is another's once its lease is out.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_runners_sagas_are_taken_over_and_a_living_ones_are_not() {
    let house = House::open("leases").await;
    let slow = json!({"operation": "pay", "times": 1, "fault": {"kind": "answer_late", "delay_ms": 60_000}});
    house.other_bank.faults(json!({"requests": [slow]})).await;
    let (_, saga_id) = house.disbursing("L1", "1001").await;
    // Its port waits long: the runner lives, and hangs at the bank.
    let first = house.patient_runner(60_000);
    let leased_until = || async {
        let sql = "SELECT leased_until FROM saga_work WHERE saga_id = $1";
        let row = sqlx::query(sql).bind(saga_id.0).fetch_optional(house.pool()).await.unwrap();
        row.and_then(|row| row.get::<Option<chrono::DateTime<chrono::Utc>>, _>(0))
    };
    let began = Instant::now();
    let taken = loop {
        if let Some(until) = leased_until().await {
            break until;
        }
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(taken < chrono::Utc::now() + Duration::from_secs(20), "a dead runner's sagas are not away for long");
    let second = house.runner();
    let renewed = loop {
        match leased_until().await {
            Some(until) if until > taken => break until,
            _ => assert!(began.elapsed() < DEADLINE, "the lease is renewed"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let sending = house.saga(saga_id).await;
    assert_eq!((sending.attempts, sending.code.unwrap().as_str()), (1, "sending"), "nobody else has taken it");
    first.kill().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(leased_until().await, Some(renewed), "the dead renew nothing");
    house.break_leases().await;
    assert_eq!(house.comes_to(saga_id).await, said(Completed, "disbursed"));
    assert_eq!(house.other_bank.movements_of(order_of(saga_id)).await, [-100_000]);
    house.check().await;
    second.stop().await;
    house.close().await;
}

/// The answer to a taking or to a giving back may be lost on its way: the database then says that a
/// runner has a saga of which the runner knows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_its_living_runner_does_not_know_of_runs_out() {
    let house = House::open("lost").await;
    let slow = json!({"operation": "pay", "times": 1, "fault": {"kind": "answer_late", "delay_ms": 60_000}});
    house.other_bank.faults(json!({"requests": [slow]})).await;
    let (_, known) = house.disbursing("L1", "1001").await;
    let runner = house.patient_runner(60_000);
    let began = Instant::now();
    // It hangs at the bank with the one; the other is as if it had been taken and nobody had heard of it.
    let unknown = uuid::Uuid::now_v7();
    let lost = "INSERT INTO saga_work (saga_id, process, status, step, due_at, leased_by, leased_until) \
         SELECT $2, process, status, step, now(), leased_by, now() + interval '7 seconds' FROM saga_work \
         WHERE saga_id = $1 AND leased_by IS NOT NULL";
    while sqlx::query(lost).bind(known.0).bind(unknown).execute(house.pool()).await.unwrap().rows_affected() == 0 {
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Taken again, it is found to have no history, which is a failure that is noted.
    let failures = "SELECT failures FROM saga_work WHERE saga_id = $1";
    while sqlx::query(failures).bind(unknown).fetch_one(house.pool()).await.unwrap().get::<i32, _>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "its lease has run out and it was taken again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    runner.kill().await;
    house.close().await;
}

/// A loan without collection has no collection saga, and one that is paid out into an account no payout.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_is_started_and_only_the_step_whose_turn_it_is_taken() {
    let house = House::open("asked").await;
    let runner = house.runner();
    let due = today() + Days::new(30);
    let with = |product, settlement| Asked { product: Some(product), settlement, ..Asked::default() };
    let plain = house.active("L1", with(house.plain, Some(house.settlement)), today(), due).await;
    let nowhere = house.active("L2", with(house.collected, None), today(), due).await;
    let collected = house.active("L3", with(house.collected, Some(house.settlement)), today(), due).await;
    let saga_id = SagaId::of_collection(collected);
    house.until(saga_id, "the collection", |saga| saga.process.is_some()).await;
    let first_due = due.and_time(chrono::NaiveTime::MIN).and_utc();
    assert_eq!(house.due_at(saga_id, first_due).await, first_due, "it waits for the due date, and writes nothing");
    assert_eq!(house.events_of(saga_id.stream()).await.len(), 1);
    let books = house.books().await;
    assert_eq!(books.sagas.len(), 1);
    assert_eq!(books.sagas[&saga_id].process, Some(Process::Collection { loan_id: collected }));
    for loan_id in [plain, nowhere] {
        assert!(!books.sagas.contains_key(&SagaId::of_collection(loan_id)));
    }
    house.check().await;
    runner.stop().await;
    a_step_that_is_not_its_turn_is_refused(&house).await;
    house.close().await;
}

/// A word about a step that comes twice, or late, or from nowhere, changes nothing.
async fn a_step_that_is_not_its_turn_is_refused(house: &House) {
    let (loan_id, saga_id) = house.disbursing("T1", "1001").await;
    let process = Process::Disbursement { loan_id, attempt: 1 };
    house.ok(Command::Saga(SagaCommand::StartSaga { saga_id, process: process.clone() })).await;
    let again = SagaCommand::StartSaga { saga_id, process };
    assert_eq!(house.send(Command::Saga(again)).await.unwrap_err().code(), "id_taken");
    let done =
        domain::saga::Transition::Succeeded { loan_id: None, bank_reference: None, left_minor: None, next_at: None };
    for (step, attempt) in [
        (domain::saga::Step::Confirm, 1),
        (domain::saga::Step::PayOut, 2),
        (domain::saga::Step::PayOut, 0),
        (domain::saga::Step::Cancel, 1),
    ] {
        let advance = SagaCommand::AdvanceSaga { saga_id, step, attempt, transition: done.clone() };
        assert_eq!(house.send(Command::Saga(advance)).await.unwrap_err().code(), "saga_step_out_of_turn");
    }
    let nobody = SagaId(Uuid::now_v7());
    assert_eq!(house.resume(nobody, None).await.unwrap_err().code(), "saga_not_found");
    house.check().await;
}
