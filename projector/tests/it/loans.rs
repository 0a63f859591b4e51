//! Loans and sagas: the rows say what the folds of their streams say, whatever happened to them.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::loan::{Loan, LoanCommand};
use domain::product::{Component, LoanProductCommand};
use domain::saga::{Process, SagaCommand, Step, Transition};
use domain::words::{ExternalReference, Number};
use domain::{LoanId, SagaId, TransactionId};
use sqlx::Row;
use uuid::Uuid;

use crate::loan_bank::{BANK, LoanBank, PORTFOLIO, PRODUCT, SUSPENSE, money, reason, terms};
use crate::place::Place;

const FOREVER: &str = "9223372036854775807";

#[tokio::test(flavor = "multi_thread")]
async fn a_loans_rows_are_the_fold_of_its_stream() {
    let mut place = Place::new(4).await;
    let mut bank = LoanBank::open(&place.config).await;
    let (relay, projector) = (place.relay(), place.projector());
    let loans = bank.lives(20, 600).await;
    let head = bank.head().await;
    place.applied(head).await;
    assert_eq!(place.ask("SELECT count(*) FROM parked_events").await, "0");
    let (mut statuses, mut reversed) = (BTreeMap::new(), 0);
    for loan_id in &loans {
        let loan = bank.folded(*loan_id).await;
        *statuses.entry(loan.status.name()).or_insert(0) += 1;
        reversed += loan.repayments.iter().filter(|repayment| repayment.reversed).count();
        assert_rows(&place, *loan_id, &loan).await;
        for days in [0, 30, 90, 200] {
            assert_as_of(&place, *loan_id, &loan, bank.today - Days::new(days)).await;
        }
    }
    assert!(reversed > 5 && statuses.len() >= 3, "not much of a life: {reversed} {statuses:?}");

    // The portfolio account, by value date, is the sum of the loans: on every day, not only now.
    for days in [0, 1, 10, 45, 100, 250, 340] {
        let day = bank.today - Days::new(days);
        let account = format!(
            "SELECT COALESCE(sum(debit_minor - credit_minor), 0) FROM account_daily \
             WHERE account_id = '{PORTFOLIO}' AND value_date <= '{day}'"
        );
        let sum = format!("SELECT COALESCE(sum(principal_outstanding_minor), 0) FROM loans_as_of('{day}', {FOREVER})");
        assert_eq!(place.ask(&account).await, place.ask(&sum).await, "{day}");
    }

    let before = place.digest().await;
    assert!(before["loan_allocations"] != before["loan_write_offs"]);
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    place.applied(head).await;
    assert_eq!(place.digest().await, before);
    projector.stop().await;
    // In batches of another size, from the beginning.
    assert_eq!(place.replayed(head).await, before);
    relay.stop().await;
    bank.store.shutdown().await;
    place.discard().await;
}

/// The loan's row and its instalments, against the fold.
async fn assert_rows(place: &Place, loan_id: LoanId, loan: &Loan) {
    let sql = "SELECT status, principal_minor, principal_outstanding_minor, interest_outstanding_minor, \
               fee_outstanding_minor, penalty_outstanding_minor, annual_rate::text, disbursed_on \
               FROM loans WHERE loan_id = $1";
    let row = sqlx::query(sql).bind(loan_id.0).fetch_one(&place.views).await.unwrap();
    let owed = loan.outstanding();
    assert_eq!(row.get::<String, _>(0), loan.status.name());
    assert_eq!(row.get::<i64, _>(1), loan.principal_minor);
    let columns = [Component::Principal, Component::Interest, Component::Fee, Component::Penalty];
    for (column, component) in (2..).zip(columns) {
        assert_eq!(row.get::<i64, usize>(column), owed.of(component), "{loan_id} {component}");
    }
    assert_eq!(row.get::<String, _>(6), "12.000000");
    assert_eq!(row.get::<Option<NaiveDate>, _>(7), loan.disbursed_on);
    let sql = "SELECT due_on, principal_due_minor, interest_due_minor, fee_due_minor, penalty_due_minor, \
               principal_paid_minor, interest_paid_minor, fee_paid_minor, penalty_paid_minor \
               FROM loan_instalments WHERE loan_id = $1 ORDER BY instalment";
    let rows = sqlx::query(sql).bind(loan_id.0).fetch_all(&place.views).await.unwrap();
    assert_eq!(rows.len(), loan.instalments.len());
    for (row, instalment) in rows.iter().zip(&loan.instalments) {
        assert_eq!(row.get::<NaiveDate, _>(0), instalment.due_on);
        for (column, component) in (1..).zip(columns) {
            assert_eq!(row.get::<i64, usize>(column), instalment.due.of(component), "{loan_id} {component}");
            assert_eq!(row.get::<i64, usize>(column + 4), instalment.paid.of(component), "{loan_id} {component}");
        }
    }
}

/// What was due as of a day, against the fold with the payments that counted by then only.
async fn assert_as_of(place: &Place, loan_id: LoanId, loan: &Loan, day: NaiveDate) {
    if loan.disbursed_on.is_none_or(|disbursed_on| disbursed_on > day) || loan.status.name() == "written_off" {
        return;
    }
    let mut then = loan.clone();
    for instalment in &mut then.instalments {
        instalment.paid = Default::default();
    }
    for repayment in loan.repayments.iter().filter(|repayment| !repayment.reversed && repayment.value_date <= day) {
        for settled in &repayment.allocation {
            let instalment = then.instalments.iter_mut().find(|one| one.number == settled.instalment).unwrap();
            *instalment.paid.of_mut(settled.component) += settled.amount_minor;
        }
    }
    let oldest = then.next_due_on().filter(|due_on| *due_on <= day);
    let sql = format!(
        "SELECT outstanding_minor::text, due_minor::text, days_past_due, principal_outstanding_minor::text \
         FROM loans_as_of($1, {FOREVER}) WHERE loan_id = $2 AND NOT written_off"
    );
    let row = sqlx::query(&sql).bind(day).bind(loan_id.0).fetch_optional(&place.views).await.unwrap();
    let Some(row) = row else {
        // Written off and closed.
        assert_eq!(loan.status.name(), "closed");
        return;
    };
    assert_eq!(row.get::<String, _>(0), then.outstanding().total_minor().to_string(), "{loan_id} as of {day}");
    assert_eq!(row.get::<String, _>(1), then.due_until(day).total_minor().to_string(), "{loan_id} as of {day}");
    assert_eq!(i64::from(row.get::<i32, _>(2)), oldest.map_or(0, |oldest| (day - oldest).num_days()));
    assert_eq!(row.get::<String, _>(3), then.outstanding().principal_minor.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn products_and_sagas_have_rows_and_a_timeline() {
    let mut place = Place::new(3).await;
    let bank = LoanBank::open(&place.config).await;
    let (relay, projector) = (place.relay(), place.projector());
    let revised = domain::product::ProductTerms { instalments_max: 60, ..terms() };
    bank.accepted(LoanProductCommand::ReviseLoanProduct { product_id: PRODUCT, terms: revised }).await;
    let loan_id = bank.approved("L-1", 100_000, 12).await;
    bank.disburse(loan_id, bank.today - Days::new(10), None).await;

    let (paid, collected) = (SagaId(Uuid::now_v7()), SagaId::of_collection(loan_id));
    bank.accepted(SagaCommand::ReceivePayment {
        saga_id: paid,
        transaction_id: TransactionId(Uuid::now_v7()),
        bank_account_id: BANK,
        suspense_account_id: SUSPENSE,
        amount: money(5_000),
        bank_reference: ExternalReference::try_new("ref-1").unwrap(),
        loan_number: Some(Number::try_new("L-1").unwrap()),
        booking_date: None,
        value_date: None,
    })
    .await;
    bank.accepted(SagaCommand::StartSaga { saga_id: collected, process: Process::Collection { loan_id } }).await;
    // Between two batches, so that rows are read back.
    place.applied(bank.head().await).await;
    let retry_at = DateTime::<Utc>::from_timestamp(4_000_000_000, 0).unwrap();
    let succeeded =
        |loan_id, left_minor| Transition::Succeeded { loan_id, bank_reference: None, left_minor, next_at: None };
    let steps = [
        (paid, Step::Match, 1, Transition::Failed { code: reason("not_yet"), retry_at }),
        (paid, Step::Match, 2, succeeded(Some(loan_id), None)),
        (paid, Step::Allocate, 1, succeeded(None, Some(0))),
        (collected, Step::Collect, 1, Transition::Refused { code: reason("no_account") }),
    ];
    for (saga_id, step, attempt, transition) in steps {
        bank.accepted(SagaCommand::AdvanceSaga { saga_id, step, attempt, transition }).await;
    }
    bank.accepted(LoanProductCommand::RetireLoanProduct { product_id: PRODUCT, reason: Some(reason("old")) }).await;
    let head = bank.head().await;
    place.applied(head).await;

    let saga = |saga_id: SagaId| {
        format!(
            "SELECT concat_ws(' ', process, status, step, attempts, code, loan_id = '{loan_id}', left_minor, \
             payment_reference, ended_at IS NOT NULL) FROM sagas WHERE saga_id = '{saga_id}'"
        )
    };
    assert_eq!(place.ask(&saga(paid)).await, "incoming_payment completed allocate 0 allocated t 0 ref-1 t");
    assert_eq!(place.ask(&saga(collected)).await, "collection parked collect 0 no_account t f");
    let lines = format!(
        "SELECT string_agg(concat_ws(' ', what, step, attempt, code, until), ', ' ORDER BY sequence) \
         FROM saga_timeline WHERE saga_id = '{paid}'"
    );
    let expected = "SagaStarted match, StepFailed match 1 not_yet 2096-10-02 07:06:40+00, StepSucceeded match 2, \
                    StepSucceeded allocate 1, SagaCompleted allocated";
    assert_eq!(place.ask(&lines).await, expected);
    let product = "SELECT concat_ws(' ', code, status, status_reason, terms_version, version, (SELECT count(*) \
                   FROM loan_product_versions v WHERE v.product_id = p.product_id)) FROM loan_products p";
    assert_eq!(place.ask(product).await, "PERSONAL retired old 2 3 2");
    let maximum = "SELECT string_agg(terms->>'instalments_max', ' ' ORDER BY terms_version) FROM loan_product_versions";
    assert_eq!(place.ask(maximum).await, "120 60");

    // Analysts see all of it in views, and may ask as of a day.
    let analyst = platform::postgres::pool(place.config.analyst().unwrap().expose(), 1, "test").unwrap();
    for from in ["loans", "loan_instalments", "loan_charges", "loan_write_offs", "sagas", "saga_timeline"] {
        sqlx::query(&format!("SELECT * FROM analysis.{from}")).fetch_all(&analyst).await.unwrap();
        sqlx::query(&format!("SELECT * FROM public.{from}")).fetch_all(&analyst).await.unwrap_err();
    }
    let sql = "SELECT principal_outstanding::text FROM analysis.loans_as_of(CURRENT_DATE)";
    let (owed,): (String,) = sqlx::query_as(sql).fetch_one(&analyst).await.unwrap();
    assert_eq!(owed, "1000.00");
    analyst.close().await;
    projector.stop().await;
    relay.stop().await;
    assert_eq!(place.digest().await, place.replayed(head).await);
    bank.store.shutdown().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_counts_from_its_value_date_and_a_reversed_one_never() {
    let place = Place::new(2).await;
    let bank = LoanBank::open(&place.config).await;
    let (relay, projector) = (place.relay(), place.projector());
    let (lent_on, paid_on) = (bank.today - Days::new(100), bank.today - Days::new(50));
    let loan_id = bank.approved("L-1", 1_200_000, 12).await;
    bank.disburse(loan_id, lent_on, None).await;
    let owed_minor = bank.folded(loan_id).await.outstanding().total_minor();
    bank.pay(loan_id, 10_000, paid_on).await;
    let before = bank.head().await;
    let second = bank.pay(loan_id, 7_000, paid_on).await;
    let paid = bank.head().await;
    bank.reverse(loan_id, second).await;
    let head = bank.head().await;
    place.applied(head).await;
    let owed = async |day: NaiveDate, at: u64| {
        let sql = format!("SELECT outstanding_minor FROM loans_as_of('{day}', {at}) WHERE loan_id = '{loan_id}'");
        place.ask(&sql).await.parse::<i128>().unwrap()
    };
    assert_eq!(owed(paid_on - Days::new(1), head).await, owed_minor);
    assert_eq!(owed(paid_on, head).await, owed_minor - 10_000);
    assert_eq!(owed(bank.today, head).await, owed_minor - 10_000);
    // As it was known at earlier positions of the log.
    assert_eq!(owed(paid_on, paid).await, owed_minor - 17_000);
    assert_eq!(owed(paid_on, before).await, owed_minor - 10_000);
    let uncharged = bank.head().await;
    let fees = LoanCommand::ChargeLoan {
        loan_id,
        transaction_id: TransactionId(Uuid::now_v7()),
        component: Component::Penalty,
        amount: money(300),
        reason: reason("late"),
        booking_date: None,
    };
    let charged = bank.accepted(fees).await;
    place.applied(charged).await;
    assert_eq!(owed(bank.today, charged).await, owed_minor - 10_000 + 300);
    assert_eq!(owed(bank.today, uncharged).await, owed_minor - 10_000);
    projector.stop().await;
    relay.stop().await;
    bank.store.shutdown().await;
    place.discard().await;
}
