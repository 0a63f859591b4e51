//! Loans and sagas over HTTP: commands that the real rules decide, through the log, Kafka and the
//! projector to the replies.

use axum::Router;
use chrono::{Days, NaiveDate};
use domain::loan::LoanCommand;
use domain::product::{Component, LoanProductCommand, ProductTerms};
use domain::saga::{Process, SagaCommand, Step, Transition};
use domain::words::{ExternalReference, Number};
use domain::{LoanId, SagaId, TransactionId};
use serde_json::{Value, json};
use test_place::Place;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bank::{Reply, get, layered};
use crate::loan_bank::{BANK, LoanBank, MEMBER, PORTFOLIO, PRODUCT, SAVINGS, SUSPENSE, money, reason, terms};

/// The whole way of a bank that lends.
struct Lender {
    place: Place,
    bank: LoanBank,
    router: Router,
    shutdown: CancellationToken,
    roles: Vec<tokio::task::JoinHandle<()>>,
}

impl Lender {
    async fn open(name: &str) -> Self {
        let place = Place::fresh(&format!("query_{name}")).await.unwrap();
        let config = place.config().unwrap();
        let bank = LoanBank::open(&config).await;
        let shutdown = CancellationToken::new();
        let (relay, token) = (relay::Options::from_config(&config).unwrap(), shutdown.clone());
        let relay = async move { relay::run_with(relay, watch::channel(Default::default()).0, token).await.unwrap() };
        let (views, token) = (projector::Options::from_config(&config).unwrap(), shutdown.clone());
        let views =
            async move { projector::run_with(views, watch::channel(Default::default()).0, token).await.unwrap() };
        let roles = vec![tokio::spawn(relay), tokio::spawn(views)];
        let router = layered(query_api::start(&config).unwrap());
        Self { place, bank, router, shutdown, roles }
    }

    /// A read of everything that was written.
    async fn get(&self, path: &str) -> Reply {
        let separator = if path.contains('?') { '&' } else { '?' };
        let head = self.bank.head().await;
        let reply = get(&self.router, &format!("{path}{separator}min_position={head}&wait_ms=30000")).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert!(reply.position() >= head);
        reply
    }

    async fn read(&self, path: &str) -> Value {
        self.get(path).await.json()
    }

    /// One field of each item of a list, walked page by page.
    async fn walk(&self, path: &str, limit: u32, field: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let body = self.read(&format!("{path}{separator}limit={limit}{cursor}")).await;
            found.extend(body["items"].as_array().unwrap().iter().map(|item| item[field].clone()));
            match body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Stops the relay and the projector.
    async fn stand_still(&mut self) {
        self.shutdown.cancel();
        for role in self.roles.drain(..) {
            role.await.unwrap();
        }
    }

    async fn close(mut self) {
        self.stand_still().await;
        self.bank.store.shutdown().await;
        drop(self.router);
        self.place.discard().await.unwrap();
    }
}

fn ids(loans: &[LoanId]) -> Vec<Value> {
    loans.iter().map(|loan_id| json!(loan_id.0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_is_shown_with_schedule_payments_and_arrears() {
    let lender = Lender::open("loan").await;
    let bank = &lender.bank;
    let lent_on = bank.today - Days::new(100);
    let first_due_on = lent_on + Days::new(30);
    let loan_id = bank.approved("L-1", 1_200_000, 12).await;
    let asked = lender.read(&format!("/v1/loans/{loan_id}/schedule")).await;
    assert_eq!((&asked["instalments"], &asked["schedule_version"]), (&json!([]), &json!(0)));
    bank.disburse(loan_id, lent_on, Some(first_due_on)).await;
    let loan = bank.folded(loan_id).await;
    let paid_on = first_due_on + Days::new(10);
    let first_minor = i64::try_from(loan.instalments[0].due.total_minor()).unwrap();
    let penalty = LoanCommand::ChargeLoan {
        loan_id,
        transaction_id: TransactionId(Uuid::now_v7()),
        component: Component::Penalty,
        amount: money(5_000),
        reason: reason("late"),
        booking_date: Some(first_due_on),
    };
    bank.accepted(penalty).await;
    bank.pay(loan_id, 5_000 + first_minor + 10_000, paid_on).await;
    let bounced = bank.pay(loan_id, 77_700, paid_on + Days::new(1)).await;
    bank.reverse(loan_id, bounced).await;

    let reply = lender.get(&format!("/v1/loans/{loan_id}")).await;
    let shown = reply.json();
    let loan = bank.folded(loan_id).await;
    let owed = loan.outstanding();
    let total = money(i64::try_from(owed.total_minor()).unwrap()).decimal();
    assert_eq!(reply.headers["etag"], "\"7\"");
    assert_eq!(
        shown["outstanding"],
        json!({"principal": money(owed.principal_minor).decimal(), "interest": money(owed.interest_minor).decimal(),
               "fee": "0.00", "penalty": "0.00", "total": total})
    );
    let expected = json!({"number": "L-1", "member_id": MEMBER, "product_id": PRODUCT, "status": "active",
        "principal": "12000.00", "annual_rate": "12", "instalments": 12, "settlement_account_id": SAVINGS,
        "disbursed_on": lent_on, "next_due_on": loan.instalments[1].due_on, "portfolio_account_id": PORTFOLIO,
        "purpose": "home", "disbursed_to_account_id": SAVINGS, "parked": false});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert_eq!(shown["terms"]["allocation_order"], json!(["penalty", "fee", "interest", "principal"]));

    // The first instalment on the eve of its due date, on it, after it, and when the payment counts.
    let at = async |day: NaiveDate| {
        let schedule = lender.read(&format!("/v1/loans/{loan_id}/schedule?as_of={day}")).await;
        let arrears = lender.read(&format!("/v1/loans/{loan_id}/arrears?as_of={day}")).await;
        let first = &schedule["instalments"][0];
        (
            first["status"].clone(),
            first["days_past_due"].clone(),
            arrears["days_past_due"].clone(),
            arrears["due"]["total"].clone(),
        )
    };
    let first = json!(money(first_minor + 5_000).decimal());
    let none = json!("0.00");
    assert_eq!(at(first_due_on - Days::new(1)).await, (json!("pending"), json!(0), json!(0), none.clone()));
    assert_eq!(at(first_due_on).await, (json!("due"), json!(0), json!(0), first.clone()));
    assert_eq!(at(first_due_on + Days::new(1)).await, (json!("overdue"), json!(1), json!(1), first.clone()));
    assert_eq!(at(paid_on - Days::new(1)).await, (json!("overdue"), json!(9), json!(9), first));
    assert_eq!(at(paid_on).await, (json!("paid"), json!(0), json!(0), none));
    let schedule = lender.read(&format!("/v1/loans/{loan_id}/schedule?as_of={paid_on}")).await;
    assert_eq!(schedule["instalments"][1]["status"], "partial");
    assert_eq!(schedule["instalments"][1]["paid"]["interest"], "100.00");
    assert_eq!(schedule["totals"]["outstanding"]["total"], json!(total));
    assert_eq!(schedule["instalments"].as_array().unwrap().len(), 12);

    let repayments = lender.read(&format!("/v1/loans/{loan_id}/repayments")).await;
    let first = &repayments["items"][0];
    assert_eq!(first["amount"], json!({"amount": money(first_minor + 15_000).decimal(), "currency": "CZK"}));
    assert_eq!(first["allocation"][0]["instalment"], 1);
    assert_eq!((&first["reversed"], &first["value_date"]), (&Value::Null, &json!(paid_on)));
    assert_eq!(repayments["items"][1]["reversed"]["reason"], "bounced");
    let walked = lender.walk(&format!("/v1/loans/{loan_id}/repayments"), 1, "transaction_id").await;
    assert_eq!(walked.len(), 2);
    assert_eq!(walked[1], json!(bounced));
    lender.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_portfolio_at_risk_has_sharp_edges_and_equals_its_account() {
    let lender = Lender::open("risk").await;
    let bank = &lender.bank;
    let first_due_on = bank.today - Days::new(200);
    let loan_id = bank.approved("L-1", 100_000, 1).await;
    bank.disburse(loan_id, first_due_on - Days::new(30), Some(first_due_on)).await;
    let good = bank.approved("L-2", 300_000, 1).await;
    bank.disburse(good, first_due_on - Days::new(30), Some(bank.today + Days::new(300))).await;
    let lost = bank.approved("L-3", 50_000, 1).await;
    bank.disburse(lost, first_due_on - Days::new(30), Some(first_due_on)).await;
    let transaction_id = TransactionId(Uuid::now_v7());
    let written_off_on = first_due_on + Days::new(5);
    let booking_date = Some(written_off_on);
    bank.accepted(LoanCommand::WriteOffLoan { loan_id: lost, transaction_id, reason: reason("dead"), booking_date })
        .await;
    bank.approved("L-4", 1_000, 1).await;

    let risk = async |day: NaiveDate| lender.read(&format!("/v1/loans/portfolio-at-risk?as_of={day}")).await;
    for (days, bucket, over_30) in [
        (6, "1-30", "0.0000"),
        (30, "1-30", "0.0000"),
        (31, "31-60", "0.2500"),
        (60, "31-60", "0.2500"),
        (61, "61-90", "0.2500"),
        (90, "61-90", "0.2500"),
        (91, "over-90", "0.2500"),
    ] {
        let table = risk(first_due_on + Days::new(days)).await;
        let lines = table["currencies"][0]["lines"].as_array().unwrap();
        assert_eq!(lines.len(), 5);
        for line in lines {
            let (loans, principal, share) = match line["bucket"].as_str().unwrap() {
                "current" => (1, "3000.00", "0.7500"),
                found if found == bucket => (1, "1000.00", "0.2500"),
                _ => (0, "0.00", "0.0000"),
            };
            let expected = (json!(loans), json!(principal), json!(share));
            assert_eq!(
                (line["loans"].clone(), line["outstanding_principal"].clone(), line["share"].clone()),
                expected,
                "{days} {line}"
            );
        }
        assert_eq!(table["currencies"][0]["at_risk_over_30_share"], over_30, "{days}");
        assert_eq!(table["currencies"][0]["at_risk_share"], "0.2500");
        assert_eq!(
            table["portfolio_accounts"],
            json!([{"account_id": PORTFOLIO, "currency": "CZK", "ledger_balance": "4000.00", "loans_principal": "4000.00", "agrees": true}])
        );
    }
    // Before the write-off, and on the due date itself, when nothing is late yet.
    let table = risk(written_off_on - Days::new(1)).await;
    assert_eq!(table["portfolio_accounts"][0]["ledger_balance"], "4500.00");
    assert_eq!(table["portfolio_accounts"][0]["agrees"], true);
    assert_eq!(risk(first_due_on).await["currencies"][0]["lines"][0]["loans"], 3);
    let statuses = |table: &Value| {
        let pair = |one: &Value| (one["status"].as_str().unwrap().to_owned(), one["loans"].as_i64().unwrap());
        table["statuses"].as_array().unwrap().iter().map(pair).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&table), [("active".to_owned(), 3), ("approved".to_owned(), 1)]);
    let later = [("active".to_owned(), 2), ("approved".to_owned(), 1), ("written_off".to_owned(), 1)];
    assert_eq!(statuses(&risk(written_off_on).await), later);
    let before = lender.read(&format!("/v1/loans/portfolio-at-risk?as_of={}", first_due_on - Days::new(60))).await;
    assert_eq!(
        (&before["currencies"], before["portfolio_accounts"][0]["ledger_balance"].as_str()),
        (&json!([]), Some("0.00"))
    );
    let none = lender.read("/v1/loans/portfolio-at-risk?currency=EUR").await;
    assert_eq!(
        (&none["currencies"], &none["portfolio_accounts"], &none["statuses"]),
        (&json!([]), &json!([]), &json!([]))
    );

    // What is late, by days.
    let day = first_due_on + Days::new(31);
    for (filter, found) in [
        (format!("as_of={day}"), vec![loan_id]),
        (format!("as_of={day}&min_days=31"), vec![loan_id]),
        (format!("as_of={day}&min_days=32"), vec![]),
        (format!("as_of={day}&min_days=0"), vec![loan_id, good]),
        (format!("as_of={first_due_on}"), vec![]),
        (format!("as_of={}", first_due_on + Days::new(1)), vec![loan_id, lost]),
    ] {
        for limit in [1, 50] {
            let late = lender.walk(&format!("/v1/loans/arrears?{filter}"), limit, "loan_id").await;
            assert_eq!(late, ids(&found), "{filter}");
        }
    }
    // Today is the default.
    let late = lender.read("/v1/loans/arrears").await;
    assert_eq!((&late["items"][0]["days_past_due"], &late["items"][0]["as_of"]), (&json!(200), &json!(bank.today)));
    bank.pay(loan_id, 60_000, bank.today).await;
    let today = risk(bank.today).await;
    let account = &today["portfolio_accounts"][0];
    assert_eq!(
        (&account["agrees"], &account["loans_principal"]),
        (&json!(true), &today["currencies"][0]["outstanding_principal"])
    );
    assert_ne!(account["ledger_balance"], "4000.00");
    lender.close().await;
}

/// While one partition is ahead of another, the loans and the account are still told of one position.
#[tokio::test(flavor = "multi_thread")]
async fn the_portfolio_is_cut_at_the_position_of_the_reply() {
    let mut lender = Lender::open("risk_cut").await;
    let bank = &lender.bank;
    let loan_id = bank.approved("L-1", 100_000, 1).await;
    bank.disburse(loan_id, bank.today - Days::new(60), None).await;
    bank.pay(loan_id, 30_000, bank.today).await;
    let (path, position) = ("/v1/loans/portfolio-at-risk", bank.head().await);
    let before = lender.read(path).await;
    bank.pay(loan_id, 40_000, bank.today).await;
    let other = bank.approved("L-2", 200_000, 1).await;
    bank.disburse(other, bank.today, None).await;
    let after = lender.read(path).await;
    assert_ne!(after["currencies"], before["currencies"]);
    assert_eq!(after["portfolio_accounts"][0]["agrees"], true);
    lender.stand_still().await;
    let views = sqlx::PgPool::connect(lender.place.get("DAYBOOK_VIEWS_OWNER_URL")).await.unwrap();
    let behind = "UPDATE projection_progress SET watermark = $1 WHERE partition = 1";
    sqlx::query(behind).bind(i64::try_from(position).unwrap()).execute(&views).await.unwrap();
    views.close().await;
    let reply = get(&lender.router, path).await;
    assert_eq!((reply.status.as_u16(), reply.position()), (200, position));
    assert_eq!(reply.json(), before);
    lender.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loans_products_and_sagas_are_listed_by_filter() {
    let lender = Lender::open("loan_lists").await;
    let bank = &lender.bank;
    let mut loans = Vec::new();
    for number in 1..=5 {
        loans.push(bank.approved(&format!("L-{number}"), 100_000 * number, 12).await);
    }
    bank.disburse(loans[1], bank.today - Days::new(40), None).await;
    bank.disburse(loans[3], bank.today - Days::new(40), None).await;
    bank.accepted(LoanCommand::RejectLoan { loan_id: loans[4], reason: reason("moved_away") }).await;
    for (filter, found) in [
        (String::new(), loans.clone()),
        ("number=L-3".to_owned(), vec![loans[2]]),
        ("status=active".to_owned(), vec![loans[1], loans[3]]),
        ("status=rejected".to_owned(), vec![loans[4]]),
        (format!("member_id={MEMBER}&status=approved"), vec![loans[0], loans[2]]),
        (format!("member_id={PRODUCT}"), vec![]),
        (format!("product_id={PRODUCT}"), loans.clone()),
        (format!("settlement_account_id={SAVINGS}"), loans.clone()),
        (format!("settlement_account_id={PORTFOLIO}"), vec![]),
    ] {
        for limit in [1, 2, 500] {
            assert_eq!(lender.walk(&format!("/v1/loans?{filter}"), limit, "id").await, ids(&found), "{filter}");
        }
    }
    let rejected = lender.read("/v1/loans?status=rejected").await;
    assert_eq!(
        (&rejected["items"][0]["status_reason"], &rejected["items"][0]["terms"]),
        (&json!("moved_away"), &Value::Null)
    );

    let revised = ProductTerms { instalments_max: 60, ..terms() };
    bank.accepted(LoanProductCommand::ReviseLoanProduct { product_id: PRODUCT, terms: revised }).await;
    let product = lender.read(&format!("/v1/loan-products/{PRODUCT}")).await;
    let terms = &product["terms"];
    assert_eq!((&terms["principal_min"], &terms["principal_max"]), (&json!("0.01"), &json!("10000000.00")), "{terms}");
    assert_eq!(terms, &product["versions"][1]["terms"]);
    assert_eq!((&product["code"], &product["terms_version"]), (&json!("PERSONAL"), &json!(2)));
    assert_eq!((&product["terms"]["instalments_max"], product["versions"].as_array().unwrap().len()), (&json!(60), 2));
    assert_eq!(product["versions"][0]["terms"]["instalments_max"], 120);
    assert_eq!(product["accounts"]["portfolio_account_id"], json!(PORTFOLIO));
    for (filter, found) in
        [("code=PERSONAL&currency=CZK", 1), ("status=offered", 1), ("status=retired", 0), ("currency=EUR", 0)]
    {
        let list = lender.walk(&format!("/v1/loan-products?{filter}"), 1, "id").await;
        assert_eq!(list.len(), found, "{filter}");
    }

    let (paid, collected) = (SagaId(Uuid::now_v7()), SagaId::of_collection(loans[1]));
    bank.accepted(SagaCommand::ReceivePayment {
        saga_id: paid,
        transaction_id: TransactionId(Uuid::now_v7()),
        bank_account_id: BANK,
        suspense_account_id: SUSPENSE,
        amount: money(5_000),
        bank_reference: ExternalReference::try_new("ref-1").unwrap(),
        loan_number: Some(Number::try_new("L-9").unwrap()),
        booking_date: None,
        value_date: None,
    })
    .await;
    let process = Process::Collection { loan_id: loans[1] };
    bank.accepted(SagaCommand::StartSaga { saga_id: collected, process }).await;
    let transition = Transition::Refused { code: reason("loan_unknown") };
    bank.accepted(SagaCommand::AdvanceSaga { saga_id: paid, step: Step::Match, attempt: 1, transition }).await;
    for (filter, found) in [
        (String::new(), vec![paid, collected]),
        ("status=parked".to_owned(), vec![paid]),
        ("process=collection&status=running".to_owned(), vec![collected]),
        (format!("loan_id={}", loans[1]), vec![collected]),
        (format!("loan_id={}", loans[0]), vec![]),
    ] {
        let found: Vec<Value> = found.iter().map(|saga_id| json!(saga_id.0)).collect();
        assert_eq!(lender.walk(&format!("/v1/sagas?{filter}"), 1, "id").await, found, "{filter}");
    }
    let saga = lender.read(&format!("/v1/sagas/{paid}")).await;
    let expected = json!({"process": "incoming_payment", "status": "parked", "step": "match", "attempts": 0,
        "code": "loan_unknown", "amount": {"amount": "50.00", "currency": "CZK"}, "left": "50.00",
        "payment_reference": "ref-1", "loan_number": "L-9", "version": 2});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&saga[field], value, "{field}");
    }
    let timeline = saga["timeline"].as_array().unwrap();
    assert_eq!((timeline.len(), &timeline[0]["what"]), (2, &json!("SagaStarted")));
    assert_eq!((&timeline[1]["what"], &timeline[1]["code"]), (&json!("SagaParked"), &json!("loan_unknown")));
    lender.close().await;
}
