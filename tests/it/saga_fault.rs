//! kill -9 of the runners of sagas, the command API, the other bank and PostgreSQL, under a load of
//! payouts and incoming payments through HTTP.
//!
//! Afterwards: no saga is left over but those that wait for a person for a reason, our books say what
//! the other bank says, suspense holds what waits and nothing else, the portfolio is what loans owe.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_store::LogReader;
use serde_json::{Value, json};
use test_place::{Place, eventually};
use uuid::Uuid;

use crate::client::{Client, id};
use crate::fault::Servers;
use crate::lenders::{Books, Lenders, czk};

/// What a loan of the load is about, in minor units.
const PRINCIPAL_MINOR: i64 = 10_000;
const PAYMENT_MINOR: i64 = 6_000;
const PAYERS: usize = 3;
const BORROWERS: usize = 4;
/// The sagas go on within this.
const PATIENCE: Duration = Duration::from_secs(180);

/// Clients that never give up.
struct Load {
    stop: Arc<AtomicBool>,
    /// The numbers of loans that are on their way to another bank.
    loans: Arc<Mutex<Vec<String>>>,
    payments: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client, lenders: &Lenders, product: &str, member: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (loans, payments) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for borrower in 0..BORROWERS {
            let (client, bank, stop, loans) = (client.clone(), lenders.bank(), stop.clone(), loans.clone());
            let (product, member, nostro) = (product.to_owned(), member.to_owned(), lenders.nostro.to_string());
            tasks.push(tokio::spawn(async move {
                for sent in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let number = format!("B{borrower}-{sent}");
                    // Every fourth payee's account is closed: such a payout comes to nothing.
                    if sent % 4 == 3 {
                        bank.insist("PUT", &format!("/accounts/YZ/{number}"), json!({"closed": true})).await;
                    }
                    let loan = Uuid::now_v7().to_string();
                    let body = json!({
                        "id": loan, "number": number, "member_id": member, "product_id": product,
                        "principal": money(PRINCIPAL_MINOR), "annual_rate": "0", "instalments": 2,
                    });
                    let to_bank = json!({"account_number": number, "bank_code": "YZ"});
                    for (path, body) in [
                        ("/v1/loans".to_owned(), body),
                        (format!("/v1/loans/{loan}/approve"), json!({})),
                        (
                            format!("/v1/loans/{loan}/disburse"),
                            json!({"funding_account_id": nostro, "to_bank": to_bank}),
                        ),
                    ] {
                        let answer = client.insist(&path, &format!("{path}/{number}"), &body).await;
                        assert!(answer.status.is_success(), "{path}: {answer:?}");
                    }
                    loans.lock().unwrap().push(number);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }));
        }
        for payer in 0..PAYERS {
            let (bank, stop, loans, payments) = (lenders.bank(), stop.clone(), loans.clone(), payments.clone());
            tasks.push(tokio::spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    // Twice for each loan, so that the second is too much; now and then for none at all.
                    let loan = loans.lock().unwrap().get(payer + PAYERS * (sent / 2)).cloned();
                    let reference = if sent % 7 == 6 { Some("thank you".to_owned()) } else { loan };
                    let Some(reference) = reference else { continue };
                    let body = json!({
                        "id": Uuid::now_v7(), "amount": money(PAYMENT_MINOR), "reference": reference,
                        "from": {"account_number": "55501", "bank_code": "AB"},
                    });
                    bank.insist("POST", "/incoming", body).await;
                    payments.fetch_add(1, Ordering::Relaxed);
                    sent += 1;
                }
            }));
        }
        Load { stop, loans, payments, tasks }
    }

    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.loans.lock().unwrap().len() as u64, self.payments.load(Ordering::Relaxed))
    }
}

fn money(amount_minor: i64) -> Value {
    json!({"amount": domain::Money::new(amount_minor, czk()).decimal(), "currency": "CZK"})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_of_sagas_killed_under_load_pays_nothing_twice_and_loses_nothing() {
    let rounds: u32 = std::env::var("TEST_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    // A server of its own, which may be killed; without one all but that is tried.
    let servers = Servers::postgres_only("faults-sagas");
    let place = match &servers {
        Some(servers) => Place::on(&servers.postgres_url(), None, "sagafault", 1).await.unwrap(),
        None => Place::fresh("sagafault").await.unwrap(),
    };
    let mut lenders = Lenders::start(&place).await;
    let client = lenders.client();
    let (product, member) = lenders.found(&client).await;
    let load = Load::start(&client, &lenders, &product, &member);
    lenders.progress(10).await;
    // Half of what make test gives to others: a round is five kills.
    for round in 1..=rounds.div_ceil(2) {
        for victim in ["sagas-1", "command-api", "bank", "sagas-2", "postgres"] {
            let began = Instant::now();
            match (victim, &servers) {
                ("postgres", Some(servers)) => servers.kill_postgres(),
                ("postgres", None) => continue,
                (role, _) => {
                    lenders.kill9(role);
                    lenders.start_role(role);
                }
            }
            lenders.progress(6).await;
            println!("round {round}: {victim} killed; payouts went on after {:.1} s", began.elapsed().as_secs_f32());
        }
    }
    let (loans, payments) = load.end().await;
    let began = Instant::now();
    let log = LogReader::new(sqlx::PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap());
    comes_to_rest(&log, &lenders).await;
    let books = Books::of(&log).await;
    let told = check(&books, &lenders, loans, payments).await;
    println!("{told}; at rest after {:.1} s", began.elapsed().as_secs_f32());
    println!("{}", lenders.succeed(&["audit", "verify"]).await);
    println!("{}", lenders.succeed(&["saga", "list", "--limit", "3"]).await);
    lenders.assert_no_panic();
    drop(lenders);
    place.discard().await.unwrap();
    drop(servers);
}

/// Waits until the bank has told everything, and no saga waits for anything but a person.
async fn comes_to_rest(log: &LogReader, lenders: &Lenders) {
    let waited = eventually("no saga is on its way", PATIENCE, || async {
        if lenders.bank().get("/balance").await?["webhooks_waiting"] != 0 {
            return Ok(None);
        }
        let fed: i64 = sqlx::query_scalar("SELECT position FROM saga_feed").fetch_one(log.pool()).await?;
        // What begins a saga, or makes one go on, and is not noted yet.
        let unnoted: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM events WHERE position > $1 \
             AND event_type IN ('LoanDisbursementStarted', 'LoanDisbursed', 'SagaStarted', 'SagaResumed')",
        )
        .bind(fed)
        .fetch_one(log.pool())
        .await?;
        let open = sagas::work::open(log.pool(), None, 100_000).await?;
        let on_their_way: Vec<_> =
            open.iter().filter(|open| open.status != "parked" || open.due_at.is_some()).collect();
        if !on_their_way.is_empty() || unnoted > 0 {
            anyhow::bail!(
                "{} sagas on their way, {unnoted} events not noted: {:?}",
                on_their_way.len(),
                on_their_way.first()
            );
        }
        Ok(Some(()))
    })
    .await;
    waited.unwrap_or_else(|error| panic!("{error:#}\n{}", lenders.logs()));
}

async fn check(books: &Books, lenders: &Lenders, loans: u64, payments: u64) -> String {
    let statement = lenders.bank().get("/statements?limit=10000").await.unwrap();
    let of_kind = |kind: &str| {
        let items = statement["items"].as_array().unwrap().iter();
        items.filter(|movement| movement["kind"] == kind).collect::<Vec<_>>()
    };
    let (paid, came, returned) = (of_kind("payment"), of_kind("incoming"), of_kind("return"));
    // Each payout of a loan at the bank once, and of no other.
    let mut orders: Vec<&str> = paid.iter().map(|movement| movement["id"].as_str().unwrap()).collect();
    orders.sort_unstable();
    let mut active: Vec<String> = books.paid_out.iter().map(ToString::to_string).collect();
    active.sort_unstable();
    assert_eq!(orders, active, "what the bank has paid and what the log says");
    assert_eq!(came.len() as u64, payments, "each payment came in once");
    assert_eq!(books.received as u64, payments, "and is in the log once");
    assert_eq!(books.loans.len() as u64, loans);
    let cancelled = loans - books.paid_out.len() as u64;
    assert!(cancelled > 0 && !returned.is_empty(), "{cancelled} cancelled, {} returned", returned.len());

    let posted = |account| books.posted.get(&domain::AccountId(account)).copied().unwrap_or(0);
    let at_the_bank = lenders.balance_minor().await;
    assert_eq!(posted(lenders.nostro), at_the_bank, "our books and the other bank's");
    let paid_minor = paid.len() as i64 * PRINCIPAL_MINOR;
    let returned_minor = -(posted(lenders.nostro) + paid_minor - payments as i64 * PAYMENT_MINOR);
    assert_eq!(returned_minor, books.returned_minor, "what went back");
    assert_eq!(posted(lenders.suspense), -books.parked_minor(), "suspense is what waits for a person");
    assert_eq!(posted(lenders.portfolio), books.outstanding_minor(), "the portfolio is what loans owe");
    assert_eq!(books.posted.values().sum::<i64>(), 0, "the trial balance");
    for (saga_id, saga) in books.sagas.iter().filter(|(_, saga)| !saga.status.has_ended()) {
        let code = saga.code.as_ref().map_or("", |code| code.as_str());
        let reasons = ["no_loan_number", "loan_number_unknown", "loan_approved", "loan_repaid", "loan_applied"];
        let reasons = [&reasons[..], &["loan_disbursing", "loan_status_conflict"]].concat();
        assert!(reasons.contains(&code), "{saga_id} waits for no reason: {saga:?}");
    }
    let parked = books.sagas.values().filter(|saga| !saga.status.has_ended()).count();
    format!(
        "{loans} payouts asked for, {} made, {cancelled} cancelled; {payments} payments in, {} returned; \
         {parked} sagas wait for a person",
        paid.len(),
        returned.len()
    )
}

impl Lenders {
    /// A chart of accounts, a product and a member; gives the product's and the member's id.
    async fn found(&self, client: &Client) -> (String, String) {
        client.post("/v1/ledger/currencies", json!({"code": "CZK", "minor_units": 2})).await;
        client.post("/v1/ledger/periods", json!({"id": "all", "from": "2020-01-01", "to": "2099-12-31"})).await;
        let internal = [
            ("1100", "asset", self.nostro),
            ("1200", "asset", self.portfolio),
            ("1210", "asset", Uuid::now_v7()),
            ("1220", "asset", Uuid::now_v7()),
            ("2900", "liability", self.suspense),
            ("4200", "income", Uuid::now_v7()),
            ("4210", "income", Uuid::now_v7()),
            ("4220", "income", Uuid::now_v7()),
            ("5100", "expense", Uuid::now_v7()),
        ];
        for (code, class, account) in internal {
            let body = json!({"code": code, "name": code, "class": class, "control": false});
            client.post("/v1/ledger/codes", body).await;
            let body = json!({
                "id": account, "number": format!("I{code}"), "product": "internal", "name": code,
                "currency": "CZK", "ledger_code": code,
            });
            client.post("/v1/accounts", body).await;
        }
        let account = |code: &str| internal.iter().find(|(of, ..)| *of == code).map(|(.., account)| *account).unwrap();
        let terms = json!({
            "principal_min": "1.00", "principal_max": "100000.00", "annual_rate_min": "0", "annual_rate_max": "20",
            "instalments_min": 1, "instalments_max": 60, "frequency": {"every": 1, "unit": "months"},
            "method": "reducing_balance", "amortization": "equal_instalments", "day_count": "thirty_360",
            "rounding": "half_even",
        });
        let accounts = json!({
            "portfolio_account_id": account("1200"), "interest_receivable_account_id": account("1210"),
            "charges_receivable_account_id": account("1220"), "interest_income_account_id": account("4200"),
            "fee_income_account_id": account("4210"), "penalty_income_account_id": account("4220"),
            "write_off_account_id": account("5100"),
        });
        let product =
            json!({"code": "LOAN", "name": "A loan", "currency": "CZK", "terms": terms, "accounts": accounts});
        let product = id(&client.post("/v1/loan-products", product).await);
        let member = json!({"number": "M1", "kind": "person", "name": "Ann Ášek", "birth_date": "1970-12-13"});
        let member = id(&client.post("/v1/members", member).await);
        client.post(&format!("/v1/members/{member}/verify"), json!({})).await;
        (product, member)
    }
}
