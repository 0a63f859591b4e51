//! News of incoming money: signed, sent until taken, and the same in the file as in the webhook.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Bank, eventually, pay_out};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Router, body::Bytes};
use bank_simulator::Webhook;
use platform::Secret;
use platform::signature::{self, SIGNATURE, SignatureError, TOLERANCE_S};
use sagas::payments::PaymentPort;
use sagas::payments::file::IncomingFile;

const SECRET: &str = "whsec-0123456789abcdef";

/// What a receiver has got: bodies with their signatures, in the order of their coming.
#[derive(Default)]
struct Inbox {
    calls: Mutex<Vec<(String, Vec<u8>)>>,
    /// So many calls are answered with 503 before one is taken.
    refusals: Mutex<u32>,
}

impl Inbox {
    async fn open(refusals: u32) -> (Arc<Self>, String) {
        let inbox = Arc::new(Self { calls: Mutex::default(), refusals: Mutex::new(refusals) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let router = Router::new().route("/webhook", post(take)).with_state(Arc::clone(&inbox));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (inbox, url)
    }

    fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn bodies(&self) -> Vec<serde_json::Value> {
        self.calls.lock().unwrap().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = headers[SIGNATURE].to_str().unwrap().to_owned();
    inbox.calls.lock().unwrap().push((header, body.to_vec()));
    let mut refusals = inbox.refusals.lock().unwrap();
    if *refusals > 0 {
        *refusals -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::OK
}

fn webhook(url: String) -> Webhook {
    Webhook { url, secrets: vec![Secret::new(SECRET)] }
}

fn incoming(amount: &str, reference: &str) -> String {
    serde_json::json!({
        "amount": {"amount": amount, "currency": "CZK"},
        "reference": reference,
        "from": {"account_number": "62457513", "bank_code": "KL"},
        "booked_on": "2026-01-30",
        "value_date": "2026-02-01",
    })
    .to_string()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_webhook_is_taken_by_its_signature_and_not_when_it_is_changed_or_old() {
    let (inbox, url) = Inbox::open(0).await;
    let bank = Bank::with_webhook(webhook(url)).await;
    let reference = bank.receive(&incoming("500.00", "loan 7")).await;
    eventually("the webhook", async || inbox.count() == 1).await;
    let (header, body) = inbox.calls.lock().unwrap()[0].clone();
    let secrets = [Secret::new("the-next-secret-of-the-bank"), Secret::new(SECRET)];
    let at_s = signature::verify(&secrets, &header, &body, now_s()).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "type": "payment_received",
        "bank_reference": reference,
        "booked_on": "2026-01-30",
        "value_date": "2026-02-01",
        "amount": {"amount": "500.00", "currency": "CZK"},
        "reference": "loan 7",
    });
    assert_eq!(told, expected);

    let wrong = [Secret::new("another-secret-altogether")];
    assert_eq!(signature::verify(&wrong, &header, &body, now_s()), Err(SignatureError::Wrong));
    let changed = String::from_utf8(body.clone()).unwrap().replace("500.00", "900.00");
    assert_eq!(signature::verify(&secrets, &header, changed.as_bytes(), now_s()), Err(SignatureError::Wrong));
    // Caught on the way and sent again later: as it was, and with a newer time put in.
    let later_s = at_s + TOLERANCE_S + 1;
    assert_eq!(signature::verify(&secrets, &header, &body, later_s), Err(SignatureError::OutOfTime));
    let renewed = header.replace(&format!("t={at_s}"), &format!("t={later_s}"));
    assert_eq!(signature::verify(&secrets, &renewed, &body, later_s), Err(SignatureError::Wrong));
}

#[tokio::test]
async fn news_is_sent_until_it_is_taken_and_then_no_more() {
    let (inbox, url) = Inbox::open(2).await;
    let bank = Bank::with_webhook(webhook(url)).await;
    bank.receive(&incoming("1.00", "a")).await;
    eventually("it is taken", async || bank.get("/balance").await["webhooks_waiting"] == 0).await;
    assert_eq!(inbox.count(), 3);
    let bodies = inbox.bodies();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    // What was taken is not sent again after a restart; what comes then is.
    let bank = bank.restart().await;
    bank.receive(&incoming("2.00", "b")).await;
    eventually("the next is taken", async || bank.get("/balance").await["webhooks_waiting"] == 0).await;
    let references: Vec<_> = inbox.bodies().iter().map(|body| body["reference"].as_str().unwrap().to_owned()).collect();
    assert_eq!(references, ["a", "a", "a", "b"]);
}

#[tokio::test]
async fn news_from_before_a_restart_is_sent_after_it() {
    // Nobody takes anything at first.
    let (inbox, url) = Inbox::open(1_000).await;
    let bank = Bank::with_webhook(webhook(url)).await;
    for reference in ["a", "b", "c"] {
        bank.receive(&incoming("1.00", reference)).await;
    }
    eventually("one was tried", async || inbox.count() > 0).await;
    let bank = bank.restart().await;
    *inbox.refusals.lock().unwrap() = 0;
    inbox.calls.lock().unwrap().clear();
    eventually("all are taken", async || bank.get("/balance").await["webhooks_waiting"] == 0).await;
    let references: Vec<_> = inbox.bodies().iter().map(|body| body["reference"].as_str().unwrap().to_owned()).collect();
    assert_eq!(references, ["a", "b", "c"]);
}

#[tokio::test]
async fn news_may_come_twice_and_in_another_order_but_none_is_lost() {
    let (inbox, url) = Inbox::open(0).await;
    let bank = Bank::with_webhook(webhook(url)).await;
    bank.faults(
        r#"{"seed":3,"webhooks":[{"every":4,"fault":{"kind":"duplicate","copies":2}},{"fault":{"kind":"shuffle","within_ms":300}}]}"#,
    )
    .await;
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(bank.receive(&incoming("1.00", &number.to_string())).await);
    }
    // 15 once, 5 three times.
    eventually("all calls", async || inbox.count() == 30).await;
    let got: Vec<_> = inbox.bodies().iter().map(|body| body["bank_reference"].as_str().unwrap().to_owned()).collect();
    let mut times = BTreeMap::new();
    for reference in &got {
        *times.entry(reference.clone()).or_insert(0) += 1;
    }
    assert_eq!(times.keys().cloned().collect::<Vec<_>>(), sent);
    assert_eq!(times.values().filter(|count| **count == 3).count(), 5);
    assert!(!got.is_sorted(), "{got:?}");
    eventually("all are taken", async || bank.get("/balance").await["webhooks_waiting"] == 0).await;
}

#[tokio::test]
async fn a_payment_that_the_payees_bank_sends_back_is_news_too() {
    let (inbox, url) = Inbox::open(0).await;
    let bank = Bank::with_webhook(webhook(url)).await;
    let order = pay_out("40.00");
    let path = format!("/payments/{}/return", order.id);
    let reason = r#"{"reason":"account closed last week"}"#;
    bank.post(&path, reason, StatusCode::CONFLICT).await;
    bank.port.pay_out(&order).await.unwrap();
    bank.post(&path, reason, StatusCode::CREATED).await;
    bank.post(&path, reason, StatusCode::OK).await;
    assert_eq!(bank.balance().await, "0.00");
    eventually("the webhook", async || inbox.count() == 1).await;
    let told = &inbox.bodies()[0];
    assert_eq!(told["type"], "payment_returned");
    assert_eq!(told["payment_id"], order.id.to_string());
    assert_eq!(told["reason"], "account closed last week");
}

#[tokio::test]
async fn the_banks_file_holds_what_its_webhooks_told() {
    let bank = Bank::open().await;
    bank.port.pay_out(&pay_out("3.00")).await.unwrap();
    let first = bank.receive(&incoming("100.00", "loan 7")).await;
    let second = bank.receive(&incoming("0.50", "of \"A, B\"")).await;
    let file = bank.text("/statements?format=csv").await;
    let payments: Vec<_> = IncomingFile::new(file.as_bytes()).map(Result::unwrap).collect();
    let summary: Vec<_> = payments
        .iter()
        .map(|payment| {
            format!("{} {} {} {}", payment.bank_reference, payment.value_date, payment.amount, payment.reference)
        })
        .collect();
    let expected =
        [format!("{first} 2026-02-01 100.00 CZK loan 7"), format!("{second} 2026-02-01 0.50 CZK of \"A, B\"")];
    assert_eq!(summary, expected);
    let rest = bank.text("/statements?format=csv&after=2").await;
    assert_eq!(IncomingFile::new(rest.as_bytes()).count(), 1);
}

#[tokio::test]
async fn the_bank_reads_strictly_and_answers_with_problems() {
    let bank = Bank::open().await;
    let problem = bank.post("/incoming", r#"{"amount":{"amount":"1","currency":"CZK"},"reference":"","from":{"account_number":"1","bank_code":"AB"},"x":1}"#, StatusCode::BAD_REQUEST).await;
    assert_eq!((problem["code"].as_str(), problem["path"].as_str()), (Some("unknown_field"), Some("/incoming")));
    assert!(problem["correlation_id"].is_string() && problem["timestamp"].is_string());
    let body = incoming("1.00", "x").replace("KL", "ZZ");
    let problem = bank.post("/incoming", &body, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_eq!(problem["code"], "unknown_bank");
    let faults = r#"{"requests":[{"every":0,"fault":{"kind":"drop_before"}}]}"#;
    assert_eq!(bank.put("/faults", faults, StatusCode::BAD_REQUEST).await["code"], "invalid_value");
    let with_id = incoming("1.00", "x").replacen('{', r#"{"id":"0198c0de-0000-7000-8000-000000000001","#, 1);
    let first = bank.post("/incoming", &with_id, StatusCode::CREATED).await;
    assert_eq!(bank.post("/incoming", &with_id, StatusCode::OK).await, first);
    let other = with_id.replace("1.00", "2.00");
    assert_eq!(bank.post("/incoming", &other, StatusCode::CONFLICT).await["code"], "id_reused");
    assert_eq!(bank.balance().await, "1.00");
}
