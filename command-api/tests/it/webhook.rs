//! The bank's calls: what proves them, and what they become.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use command_api::{AppState, Door};
use domain::Command;
use domain::saga::SagaCommand;
use event_store::SubmitError;
use platform::http::{Options, layers};
use platform::{Config, Secret, signature};
use serde_json::{Value, json};

use crate::bad_requests::{Shut, expect};
use crate::submissions::{Noted, Said, accepted};
use crate::{Answered, ask, post};

const PATH: &str = "/v1/webhooks/payments";
const BANK_ACCOUNT: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980";
const SUSPENSE: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981";

fn secret() -> Secret {
    Secret::new("the-second-secret-of-ours")
}

/// The API as a role serves it to somebody without any token.
pub(crate) fn served(door: impl Door, bank: &str, suspense: &str) -> Router {
    let values = [
        ("DAYBOOK_WEBHOOK_SECRETS", "the-first-secret-of-ours,the-second-secret-of-ours"),
        ("DAYBOOK_INCOMING_BANK_ACCOUNT", bank),
        ("DAYBOOK_INCOMING_SUSPENSE_ACCOUNT", suspense),
    ];
    let values: BTreeMap<String, String> =
        values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let config = Config::from_values(&values).unwrap();
    let state = AppState::new(door).hearing_of_payments(config.bank());
    layers(command_api::router(state, None), Options::default())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn news() -> Value {
    json!({
        "type": "payment_received", "bank_reference": "SIM-17", "booked_on": "2024-05-02", "value_date": "2024-05-01",
        "amount": {"amount": "2500.0", "currency": "CZK"}, "reference": "loan L-0001, Jana",
    })
}

/// Calls as the bank does: signed, without a token and without an idempotency key.
pub(crate) async fn call(api: &Router, body: &str) -> Answered {
    signed(api, body, &signature::sign(&[secret()], now_s(), body.as_bytes())).await
}

async fn signed(api: &Router, body: &str, header: &str) -> Answered {
    let mut request = post(PATH, body.to_owned());
    request.headers_mut().remove("idempotency-key");
    request.headers_mut().insert("daybook-signature", header.parse().unwrap());
    ask(api, request).await
}

#[tokio::test]
async fn a_call_that_proves_nothing_is_not_even_read() {
    let api = served(Shut, BANK_ACCOUNT, SUSPENSE);
    let body = news().to_string();
    let good = signature::sign(&[secret()], now_s(), body.as_bytes());
    let mut request = post(PATH, body.clone());
    request.headers_mut().insert("authorization", "Bearer x".parse().unwrap());
    let answered = ask(&api, request).await;
    expect(&answered, 401, "signature_missing", None, "no signature");
    assert_eq!(answered.headers["www-authenticate"], "Daybook-Signature");
    for (header, code) in [
        ("t=1,v1=x".to_owned(), "signature_malformed"),
        (signature::sign(&[Secret::new("a secret of somebody else")], now_s(), body.as_bytes()), "signature_wrong"),
        (signature::sign(&[secret()], now_s() - 301, body.as_bytes()), "signature_out_of_time"),
        (signature::sign(&[secret()], now_s(), b"{}"), "signature_wrong"),
    ] {
        expect(&signed(&api, &body, &header).await, 401, code, None, &header);
    }
    // One byte more or less is another message, and nonsense is not parsed before it is proved.
    expect(&signed(&api, &format!("{body} "), &good).await, 401, "signature_wrong", None, "another body");
    expect(&signed(&api, "nonsense", &good).await, 401, "signature_wrong", None, "nonsense");
    let mut twice = post(PATH, body);
    for _ in 0..2 {
        twice.headers_mut().append("daybook-signature", good.parse().unwrap());
    }
    expect(&ask(&api, twice).await, 401, "signature_malformed", None, "two headers");
}

#[tokio::test]
async fn what_the_bank_says_must_be_whole() {
    let api = served(Shut, BANK_ACCOUNT, SUSPENSE);
    let changed = |name: &str, value: Value| {
        let mut body = news();
        body[name] = value;
        body.to_string()
    };
    for (body, code, field) in [
        ("nonsense".to_owned(), "malformed_json", None),
        (changed("type", json!("payment_lost")), "invalid_value", Some("type")),
        (changed("urgent", json!(true)), "unknown_field", Some("urgent")),
        (changed("bank_reference", json!("")), "invalid_value", Some("bank_reference")),
        (changed("value_date", json!("soon")), "invalid_value", Some("value_date")),
        (changed("amount", json!({"amount": "0", "currency": "CZK"})), "amount_not_positive", Some("amount.amount")),
        (changed("reference", json!("x".repeat(1_001))), "invalid_value", Some("reference")),
    ] {
        expect(&call(&api, &body).await, 400, code, field, &body);
    }
    let answered = call(&served(Shut, "", ""), &news().to_string()).await;
    expect(&answered, 503, "not_configured", None, "without accounts");
    assert!(answered.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_payment_goes_into_suspense_under_the_banks_name_for_it() {
    let door = Noted::new(accepted);
    let api = served(door.clone(), BANK_ACCOUNT, SUSPENSE);
    let answered = call(&api, &news().to_string()).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    let submission = door.last();
    assert_eq!((submission.client.as_str(), submission.actor.as_str()), ("bank", "bank"));
    assert_eq!(submission.idempotency_key, "SIM-17");
    assert!(!format!("{submission:?}").contains("Jana"), "what a payer writes stays out of the log");
    let Command::Saga(SagaCommand::ReceivePayment {
        bank_account_id,
        suspense_account_id,
        amount,
        loan_number,
        booking_date,
        value_date,
        ..
    }) = submission.command
    else {
        panic!("another command");
    };
    assert_eq!((bank_account_id.to_string(), suspense_account_id.to_string()), (BANK_ACCOUNT.into(), SUSPENSE.into()));
    assert_eq!((amount.amount_minor, loan_number.map(String::from).as_deref()), (250_000, Some("L-0001")));
    assert_eq!((booking_date, value_date.unwrap().to_string().as_str()), (None, "2024-05-01"));

    // The same content is the same request, however it is written; another one is another.
    let first = submission.request_hmac;
    call(&api, &serde_json::to_string_pretty(&news()).unwrap()).await;
    assert_eq!(door.last().request_hmac, first);
    let mut more = news();
    more["amount"]["amount"] = json!("2500.1");
    call(&api, &more.to_string()).await;
    assert_ne!(door.last().request_hmac, first);
    assert_eq!(door.last().idempotency_key, "SIM-17");
}

#[tokio::test]
async fn each_call_is_counted_by_what_became_of_it() {
    platform::metrics::install("command-api").unwrap();
    let again: Said = || {
        let mut reply = accepted()?;
        reply.replayed = true;
        Ok(reply)
    };
    for says in [accepted, again] {
        let answered = call(&served(Noted::new(says), BANK_ACCOUNT, SUSPENSE), &news().to_string()).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
    }
    let refused = signed(&served(Shut, BANK_ACCOUNT, SUSPENSE), "{}", "t=1,v1=x").await;
    assert_eq!(refused.status, 401);
    let told = platform::metrics::render();
    for outcome in ["accepted", "replayed", "refused"] {
        let line = format!("daybook_payment_webhooks_total{{outcome=\"{outcome}\"}}");
        assert!(told.lines().any(|found| found.starts_with(&line)), "{outcome}: {told}");
    }
}

#[tokio::test]
async fn a_payout_that_came_back_is_for_a_person() {
    let door = Noted::new(accepted);
    let mut body = news();
    body["type"] = json!("payment_returned");
    body["payment_id"] = json!(SUSPENSE);
    body["reason"] = json!("account closed");
    let answered = call(&served(door.clone(), BANK_ACCOUNT, SUSPENSE), &body.to_string()).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    let Command::Saga(SagaCommand::ReceivePayment { loan_number, .. }) = door.last().command else {
        panic!("another command");
    };
    assert_eq!(loan_number, None);
}

#[tokio::test]
async fn what_is_not_taken_is_told_so_that_the_bank_tells_it_again() {
    let cases: [(Said, u16); 2] = [(|| Err(SubmitError::KeyReused), 409), (|| Err(SubmitError::Overloaded), 503)];
    for (says, status) in cases {
        let answered = call(&served(Noted::new(says), BANK_ACCOUNT, SUSPENSE), &news().to_string()).await;
        assert_eq!(answered.status, status, "{}", answered.body);
    }
}

/// A body of which nothing ever comes.
fn never() -> axum::body::Body {
    axum::body::Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

#[tokio::test]
async fn no_body_is_waited_for_in_vain_and_none_is_large() {
    let configured = served(Shut, BANK_ACCOUNT, SUSPENSE);
    for (api, status, code) in [(&served(Shut, "", ""), 503, "not_configured"), (&configured, 401, "signature_missing")]
    {
        let answered = tokio::time::timeout(std::time::Duration::from_secs(5), ask(api, post(PATH, never())));
        expect(&answered.await.unwrap(), status, code, None, "unread");
    }
    let large = " ".repeat(64 * 1024 + 1);
    expect(&call(&configured, &large).await, 413, "payload_too_large", None, "however well it is signed");
    expect(&call(&configured, &large[1..]).await, 400, "malformed_json", None, "64 KiB are read");
}
