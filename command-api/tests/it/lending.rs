//! Loans, the whole way to a real log: a loan's life, what it refuses, payouts to another bank,
//! payments that come in. Needs `TEST_DATABASE_URL`.

use chrono::{Days, NaiveDate, Utc};
use domain::loan::LoanEvent;
use domain::{Event, LoanId, MemberId, SagaId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Answered;
use crate::real_log::{Bank, place};
use crate::webhook::{call, news, served};

/// A bank that lends: its product, and the accounts that it posts to.
struct Lender {
    bank: Bank,
    product: Uuid,
    accounts: Value,
    at_bank: Uuid,
    suspense: Uuid,
}

fn day(before_today: u64) -> NaiveDate {
    Utc::now().date_naive() - Days::new(before_today)
}

fn czk(amount: &str) -> Value {
    json!({"amount": amount, "currency": "CZK"})
}

fn terms() -> Value {
    json!({
        "principal_min": "100.00", "principal_max": "5000.00", "annual_rate_min": "12", "annual_rate_max": "24",
        "instalments_min": 2, "instalments_max": 12, "frequency": {"every": 1, "unit": "months"},
        "method": "reducing_balance", "amortization": "equal_instalments", "day_count": "thirty_360",
        "rounding": "half_even",
    })
}

/// Minor units of a decimal.
fn minor(decimal: &Value) -> i64 {
    decimal.as_str().unwrap().replace('.', "").parse().unwrap()
}

impl Lender {
    async fn open(bank: Bank) -> Self {
        let mut accounts = serde_json::Map::new();
        let uses = [
            ("portfolio", "1200", "asset"),
            ("interest_receivable", "1210", "asset"),
            ("charges_receivable", "1220", "asset"),
            ("interest_income", "4200", "income"),
            ("fee_income", "4210", "income"),
            ("penalty_income", "4220", "income"),
            ("write_off", "5100", "expense"),
            ("at_bank", "1100", "asset"),
            ("suspense", "2900", "liability"),
        ];
        for (name, code, class) in uses {
            bank.done("/v1/ledger/codes", json!({"code": code, "name": name, "class": class})).await;
            let id = Uuid::now_v7();
            let body = json!({"id": id, "number": code, "product": "internal", "name": name, "currency": "CZK",
                "ledger_code": code});
            bank.done("/v1/accounts", body).await;
            accounts.insert(format!("{name}_account_id"), json!(id));
        }
        let mut take = |name: &str| accounts.remove(name).unwrap().as_str().unwrap().parse().unwrap();
        let (at_bank, suspense) = (take("at_bank_account_id"), take("suspense_account_id"));
        let accounts = Value::Object(accounts);
        let product = Uuid::now_v7();
        let body = json!({"id": product, "code": "PERSONAL", "name": "Personal loan", "currency": "CZK",
            "terms": terms(), "accounts": accounts});
        let defined = bank.done("/v1/loan-products", body).await;
        assert_eq!(
            (defined.status.as_u16(), defined.headers["location"].to_str().unwrap()),
            (201, &*format!("/v1/loan-products/{product}"))
        );
        Self { bank, product, accounts, at_bank, suspense }
    }

    fn application(&self, number: &str) -> Value {
        json!({"number": number, "member_id": self.bank.members[0], "product_id": self.product,
            "principal": czk("3000.00"), "instalments": 3})
    }

    /// Applied for and approved as asked for.
    async fn approved(&self, application: Value) -> Uuid {
        let applied = self.bank.done("/v1/loans", application).await;
        let loan: Uuid = applied.body["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            (applied.status.as_u16(), applied.headers["location"].to_str().unwrap()),
            (201, &*format!("/v1/loans/{loan}"))
        );
        self.bank.done(&format!("/v1/loans/{loan}/approve"), json!({})).await;
        loan
    }

    async fn act(&self, loan: Uuid, verb: &str, body: Value) -> Answered {
        self.bank.done(&format!("/v1/loans/{loan}/{verb}"), body).await
    }

    async fn refuse(&self, path: &str, body: Value, status: u16, code: &str) -> Answered {
        let answered = self.bank.send(&Uuid::now_v7().to_string(), path, &body).await;
        assert_eq!(
            (answered.status.as_u16(), answered.body["code"].as_str()),
            (status, Some(code)),
            "{path} {body}: {}",
            answered.body
        );
        answered
    }

    async fn refuse_act(&self, loan: Uuid, verb: &str, body: Value, status: u16, code: &str) -> Answered {
        self.refuse(&format!("/v1/loans/{loan}/{verb}"), body, status, code).await
    }

    /// What each instalment of a loan like ours comes to, in minor units.
    async fn instalments(&self, disbursed_on: NaiveDate) -> Vec<i64> {
        let body = json!({"principal": czk("3000.00"), "annual_rate": "12", "instalments": 3, "disbursed_on": disbursed_on,
            "terms": {"frequency": {"every": 1, "unit": "months"}, "method": "reducing_balance",
                "amortization": "equal_instalments", "day_count": "thirty_360", "rounding": "half_even"}});
        let preview = self.bank.done("/v1/loan-schedules/preview", body).await;
        preview.body["instalments"].as_array().unwrap().iter().map(|one| minor(&one["due"])).collect()
    }
}

fn only_transaction(answered: &Answered) -> String {
    let made = answered.body["transaction_ids"].as_array().unwrap();
    assert_eq!(made.len(), 1, "{}", answered.body);
    made[0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loan_is_paid_out_and_paid_back() {
    let Some(place) = place("loan").await else { return };
    let lender = Lender::open(Bank::open(&place).await).await;
    let (bank, [account, _]) = (&lender.bank, lender.bank.accounts);
    let mut application = lender.application("L-1");
    application["settlement_account_id"] = json!(account);
    let loan = lender.approved(application).await;
    let today = json!({"to_account_id": account, "disbursed_on": day(70), "booking_date": day(70)});
    let paid_out = lender.act(loan, "disburse", today).await;
    assert_eq!((paid_out.status.as_u16(), paid_out.body["id"].as_str()), (200, Some(&*loan.to_string())));
    assert_eq!(paid_out.body["balances"][0]["account_id"], json!(account));
    assert_eq!(paid_out.body["balances"][0]["balance"], "3000.00");
    only_transaction(&paid_out);

    let due = lender.instalments(day(70)).await;
    let collected = bank.send("collect", &format!("/v1/loans/{loan}/collect"), &json!({})).await;
    let left = 300_000 - due[0] - due[1];
    assert_eq!(minor(&collected.body["balances"][0]["balance"]), left, "two instalments are due: {}", collected.body);
    let again = bank.send("collect", &format!("/v1/loans/{loan}/collect"), &json!({})).await;
    assert_eq!((&again.body, again.headers["idempotency-replayed"].to_str().unwrap()), (&collected.body, "true"));
    lender.refuse_act(loan, "collect", json!({}), 422, "nothing_due").await;

    // A payment that was none is undone, and is owed again.
    let chosen = Uuid::now_v7();
    let mistaken = json!({"from_account_id": account, "amount": czk("10.00"), "transaction_id": chosen});
    let mistaken = lender.act(loan, "repayments", mistaken).await;
    assert_eq!(only_transaction(&mistaken), chosen.to_string());
    assert_eq!(minor(&mistaken.body["balances"][0]["balance"]), left - 1_000);
    let undo = format!("repayments/{chosen}/reverse");
    let undone = lender.act(loan, &undo, json!({"reason": "booked_twice"})).await;
    assert_eq!(minor(&undone.body["balances"][0]["balance"]), left);
    assert_ne!(only_transaction(&undone), chosen.to_string());
    lender.refuse_act(loan, &undo, json!({"reason": "booked_twice"}), 422, "repayment_reversed").await;
    let unknown = format!("repayments/{}/reverse", Uuid::now_v7());
    lender.refuse_act(loan, &unknown, json!({"reason": "booked_twice"}), 404, "repayment_not_found").await;

    let fee = json!({"component": "fee", "amount": czk("5.00"), "reason": "dunning"});
    only_transaction(&lender.act(loan, "charges", fee).await);
    let last = json!({"from_account_id": bank.cash, "amount": czk("2000.00"), "external_reference": "CASH-1"});
    let last = lender.act(loan, "repayments", last).await;
    // What is too much is on the settlement account, and the reply shows it.
    assert_eq!(minor(&last.body["balances"][0]["balance"]), left + 200_000 - due[2] - 500);
    let more = json!({"from_account_id": bank.cash, "amount": czk("1.00")});
    let repaid = lender.refuse_act(loan, "repayments", more, 422, "loan_status_conflict").await;
    assert_eq!(repaid.body["status"], 422);
    lender.act(loan, "close", json!({})).await;
    lender.refuse_act(loan, "close", json!({}), 422, "loan_status_conflict").await;
    bank.store.shutdown().await;
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loan_refuses_what_its_rules_refuse() {
    let Some(place) = place("loan_refusals").await else { return };
    let lender = Lender::open(Bank::open(&place).await).await;
    let bank = &lender.bank;
    let [account, others] = bank.accounts;
    let asked = |name: &str, value: Value| {
        let mut body = lender.application("L-2");
        body[name] = value;
        body
    };
    let loan = lender.approved(lender.application("L-1")).await;
    for (body, status, code) in [
        (lender.application("L-1"), 409, "loan_number_taken"),
        (asked("id", json!(loan)), 409, "id_taken"),
        (asked("product_id", json!(Uuid::now_v7())), 404, "loan_product_not_found"),
        (asked("member_id", json!(Uuid::now_v7())), 404, "member_not_found"),
        (asked("principal", czk("99.99")), 422, "loan_term_out_of_range"),
        (asked("principal", json!({"amount": "1000.00", "currency": "EUR"})), 422, "loan_currency_mismatch"),
        (asked("settlement_account_id", json!(others)), 422, "not_the_members_account"),
    ] {
        lender.refuse("/v1/loans", body, status, code).await;
    }
    lender.refuse_act(Uuid::now_v7(), "approve", json!({}), 404, "loan_not_found").await;
    lender.refuse_act(loan, "approve", json!({}), 422, "loan_status_conflict").await;
    lender.refuse_act(loan, "disburse", json!({"to_account_id": others}), 422, "not_the_members_account").await;
    let early = json!({"to_account_id": account, "first_due_on": day(1)});
    let early = lender.refuse_act(loan, "disburse", early, 422, "schedule_impossible").await;
    assert_eq!(early.body["cause"], "first_due_not_after_disbursement");
    let body = json!({"to_account_id": account, "booking_date": day(40)});
    only_transaction(&lender.act(loan, "disburse", body).await);

    let too_much = json!({"from_account_id": bank.cash, "amount": czk("4000.00")});
    let too_much = lender.refuse_act(loan, "repayments", too_much, 422, "overpayment_without_account").await;
    let owed: i64 = lender.instalments(day(40)).await.iter().sum();
    assert_eq!(minor(&too_much.body["surplus"]["amount"]), 400_000 - owed);
    let early = json!({"from_account_id": bank.cash, "amount": czk("1.00"), "value_date": day(41)});
    lender.refuse_act(loan, "repayments", early, 422, "before_disbursement").await;
    lender.refuse_act(loan, "collect", json!({}), 422, "no_settlement_account").await;
    only_transaction(&lender.act(loan, "accrue", json!({})).await);
    lender.refuse_act(loan, "accrue", json!({}), 422, "nothing_to_accrue").await;

    // What a loan has booked changes with the loan only.
    let paid = lender.act(loan, "repayments", json!({"from_account_id": bank.cash, "amount": czk("1.00")})).await;
    let path = format!("/v1/transactions/{}/reverse", only_transaction(&paid));
    lender.refuse(&path, json!({"reason": "x"}), 422, "transaction_of_loan").await;
    let portfolio = lender.accounts["portfolio_account_id"].as_str().unwrap().parse().unwrap();
    lender.refuse("/v1/transactions", bank.moved(portfolio, account, "1.00"), 422, "account_dedicated").await;
    only_transaction(&lender.act(loan, "write-off", json!({"reason": "insolvency"})).await);
    lender.act(loan, "close", json!({})).await;

    let turned_down = bank.done("/v1/loans", lender.application("L-3")).await;
    let turned_down: Uuid = turned_down.body["id"].as_str().unwrap().parse().unwrap();
    lender.refuse_act(turned_down, "disburse", json!({"to_account_id": account}), 422, "loan_status_conflict").await;
    lender.act(turned_down, "reject", json!({"reason": "income_too_low"})).await;
    bank.store.shutdown().await;
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_has_versions_and_an_end() {
    let Some(place) = place("loan_products").await else { return };
    let lender = Lender::open(Bank::open(&place).await).await;
    let product = |code: &str, name: &str, value: Value| {
        let mut body = json!({"code": code, "name": "Another", "currency": "CZK", "terms": terms(),
            "accounts": lender.accounts});
        body[name] = value;
        body
    };
    let mut accounts = lender.accounts.clone();
    accounts["write_off_account_id"] = json!(lender.bank.cash);
    let mut wide = terms();
    wide["principal_min"] = json!("6000.00");
    for (body, status, code) in [
        (product("PERSONAL", "name", json!("x")), 409, "loan_product_code_taken"),
        (product("P-2", "currency", json!("EUR")), 422, "currency_not_defined"),
        (product("P-2", "accounts", accounts), 422, "account_of_other_class"),
        (product("P-2", "terms", wide.clone()), 422, "product_terms_invalid"),
    ] {
        lender.refuse("/v1/loan-products", body, status, code).await;
    }
    let path = |verb: &str| format!("/v1/loan-products/{}/{verb}", lender.product);
    lender.refuse(&path("revise"), json!({"terms": wide}), 422, "product_terms_invalid").await;
    let unknown = format!("/v1/loan-products/{}/revise", Uuid::now_v7());
    let head = lender.bank.store.reader().head().await.unwrap();
    lender.refuse(&unknown, json!({"terms": terms()}), 404, "loan_product_not_found").await;
    assert_eq!(lender.bank.store.reader().head().await.unwrap(), head, "no command was made of it");
    let mut dearer = terms();
    dearer["annual_rate_min"] = json!("18");
    let revised = lender.bank.done(&path("revise"), json!({"terms": dearer})).await;
    assert_eq!(revised.body["version"], 2);
    let mut old = lender.application("L-1");
    old["annual_rate"] = json!("12");
    lender.refuse("/v1/loans", old, 422, "loan_term_out_of_range").await;
    lender.bank.done(&path("retire"), json!({"reason": "replaced"})).await;
    lender.refuse("/v1/loans", lender.application("L-1"), 422, "loan_product_retired").await;
    lender.refuse(&path("revise"), json!({"terms": terms()}), 422, "loan_product_retired").await;
    lender.bank.store.shutdown().await;
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_to_another_bank_is_sealed_for_the_sagas() {
    let Some(place) = place("payout").await else { return };
    let lender = Lender::open(Bank::open(&place).await).await;
    let (store, member) = (&lender.bank.store, MemberId(lender.bank.members[0]));
    let loan = lender.approved(lender.application("L-1")).await;
    let path = format!("/v1/loans/{loan}/disburse");
    let body = json!({"funding_account_id": lender.at_bank,
        "to_bank": {"account_number": "19-2000145399", "bank_code": "AB"}});
    let nobodys = format!("/v1/loans/{}/disburse", Uuid::now_v7());
    lender.refuse(&nobodys, body.clone(), 404, "loan_not_found").await;
    let mut of_others = body.clone();
    of_others["funding_account_id"] = json!(lender.bank.accounts[0]);
    lender.refuse(&path, of_others, 422, "account_not_internal").await;
    let started = lender.bank.send("payout", &path, &body).await;
    assert_eq!(started.status, 200, "{}", started.body);
    only_transaction(&started);

    let events = store.reader().events_of(LoanId(loan).stream()).await.unwrap();
    let Some(Event::Loan(LoanEvent::LoanDisbursementStarted { destination, .. })) = events.last() else {
        panic!("{events:?}");
    };
    assert!(!serde_json::to_string(events.last().unwrap()).unwrap().contains("2000145399"));
    let opened = store.sealing().open_field(member, &format!("payout/{loan}"), destination).await.unwrap();
    let opened: Value = serde_json::from_str(&opened).unwrap();
    assert_eq!(opened, json!({"account_number": "19-2000145399", "bank_code": "AB"}));
    lender.refuse(&path, body.clone(), 422, "loan_status_conflict").await;

    // A repetition gets the first reply, though nothing can be sealed for the member any more.
    store.sealing().destroy_key(member).await.unwrap();
    let again = lender.bank.send("payout", &path, &body).await;
    assert_eq!((again.status, &again.body), (started.status, &started.body));
    lender.refuse(&path, body, 422, "member_erased").await;
    store.shutdown().await;
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_came_in_is_taken_once_however_it_is_heard_of() {
    let Some(place) = place("incoming").await else { return };
    let lender = Lender::open(Bank::open(&place).await).await;
    let store = &lender.bank.store;
    let by_webhook = served(store.clone(), &lender.at_bank.to_string(), &lender.suspense.to_string());
    let told = call(&by_webhook, &news().to_string()).await;
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(told.headers.get("idempotency-replayed").is_none());
    only_transaction(&told);
    let again = call(&by_webhook, &news().to_string()).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &told.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let mut other = news();
    other["amount"]["amount"] = json!("2500.01");
    let other = call(&by_webhook, &other.to_string()).await;
    assert_eq!((other.status.as_u16(), other.body["code"].as_str()), (409, Some("idempotency_key_reused")));

    let by_hand = |reference: &str| {
        json!({"bank_account_id": lender.at_bank, "suspense_account_id": lender.suspense, "amount": czk("2500.00"),
            "bank_reference": reference, "loan_number": "L-0001"})
    };
    lender.refuse("/v1/incoming-payments", by_hand("SIM-17"), 409, "external_reference_taken").await;
    let received = lender.bank.done("/v1/incoming-payments", by_hand("SIM-18")).await;
    let saga = received.body["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (received.status.as_u16(), received.headers["location"].to_str().unwrap()),
        (201, &*format!("/v1/sagas/{saga}"))
    );
    let events = store.reader().events_of(SagaId(saga.parse().unwrap()).stream()).await.unwrap();
    assert_eq!(events.len(), 1, "{events:?}");

    // What was handed in before the bank told of it is known as the same payment, unless the amounts differ.
    let mut late = news();
    late["bank_reference"] = json!("SIM-18");
    let known = call(&by_webhook, &late.to_string()).await;
    assert_eq!((known.status.as_u16(), &known.body["id"]), (200, &received.body["id"]), "{}", known.body);
    assert_eq!(known.headers["idempotency-replayed"], "true");
    lender.bank.done("/v1/incoming-payments", by_hand("SIM-19")).await;
    late["bank_reference"] = json!("SIM-19");
    late["amount"]["amount"] = json!("2500.01");
    let differs = call(&by_webhook, &late.to_string()).await;
    assert_eq!((differs.status.as_u16(), differs.body["code"].as_str()), (409, Some("external_reference_taken")));

    let resume = format!("/v1/sagas/{saga}/resume");
    let goes_back = json!({"resolution": {"return_payment": {}}});
    lender.refuse(&resume, goes_back, 422, "saga_not_parked").await;
    lender.bank.done(&resume, json!({})).await;
    let unknown = format!("/v1/sagas/{}/resume", Uuid::now_v7());
    lender.refuse(&unknown, json!({}), 404, "saga_not_found").await;
    lender.bank.done(&format!("/v1/sagas/{saga}/abandon"), json!({"reason": "settled_by_hand"})).await;
    lender.refuse(&resume, json!({}), 422, "saga_ended").await;
    store.shutdown().await;
    place.discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_could_not_be_booked_is_taken_once_it_can_be() {
    let Some(place) = place("refused_news").await else { return };
    let lender = Lender::open(Bank::open(&place).await).await;
    let later = Uuid::now_v7();
    let by_webhook = served(lender.bank.store.clone(), &lender.at_bank.to_string(), &later.to_string());
    for _ in 0..2 {
        let refused = call(&by_webhook, &news().to_string()).await;
        assert_eq!((refused.status.as_u16(), refused.body["code"].as_str()), (404, Some("account_not_found")));
    }
    // Told again within the hour, it is not decided again, so that a bank that insists fills no log.
    let again = call(&by_webhook, &news().to_string()).await;
    assert_eq!((again.status.as_u16(), again.headers["idempotency-replayed"].to_str().unwrap()), (404, "true"));
    // Another payment, refused once, gets this hour's decision when what stood in its way is gone.
    let mut next = news();
    next["bank_reference"] = json!("SIM-18");
    assert_eq!(call(&by_webhook, &next.to_string()).await.status, 404);
    let suspense = json!({"id": later, "number": "LATER", "product": "internal", "name": "Suspense", "currency": "CZK",
        "ledger_code": "2900"});
    lender.bank.done("/v1/accounts", suspense).await;
    let taken = call(&by_webhook, &next.to_string()).await;
    assert_eq!(taken.status, 200, "{}", taken.body);
    let again = call(&by_webhook, &next.to_string()).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &taken.body));
    lender.bank.store.shutdown().await;
    place.discard().await.unwrap();
}
