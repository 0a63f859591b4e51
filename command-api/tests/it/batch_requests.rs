//! Requests for many transactions: what is wrong with them, what they become, how much of them is taken in.

use axum::body::{Body, Bytes};
use axum::http::Request;
use domain::Command;
use domain::transaction::TransactionCommand;
use event_store::{Reply, SubmitError};
use futures::stream;
use platform::{Permission, Principal};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::bad_requests::{Shut, expect};
use crate::submissions::{Noted, Said, accepted, sent};
use crate::{Answered, api, api_for, ask, post};

const PATH: &str = "/v1/transactions/batch";

fn transfer() -> Value {
    json!({"kind": "transfer", "from_account_id": Uuid::from_u128(1), "to_account_id": Uuid::from_u128(2),
        "amount": {"amount": "5.00", "currency": "CZK"}})
}

fn batch(mode: &str, transactions: &[Value]) -> String {
    json!({"mode": mode, "transactions": transactions}).to_string()
}

/// A good list whose last one is spoilt.
fn spoilt(at: usize, field: &str, value: Value) -> String {
    let mut transactions = vec![transfer(); at + 1];
    transactions[at][field] = value;
    batch("independent", &transactions)
}

#[tokio::test]
async fn one_that_is_malformed_refuses_all_and_is_named() {
    let euro = json!({"amount": "1.234", "currency": "EUR"});
    let cases = [
        (spoilt(17, "amount", euro), "amount_too_precise", "transactions[17].amount.amount"),
        (spoilt(3, "kind", json!("gift")), "invalid_value", "transactions[3].kind"),
        (spoilt(2, "note", json!("x")), "unknown_field", "transactions[2].note"),
        (spoilt(1, "legs", json!([])), "ambiguous_legs", "transactions[1].legs"),
        (spoilt(1, "narrative", json!(" ")), "invalid_value", "transactions[1].narrative"),
        (batch("independent", &[]), "invalid_value", "transactions"),
        (batch("independent", &vec![transfer(); 10_001]), "invalid_value", "transactions"),
        (batch("atomic", &vec![transfer(); 501]), "leg_count", "transactions"),
        (batch("both", &[transfer()]), "invalid_value", "mode"),
        (json!({"transactions": [transfer()]}).to_string(), "missing_field", "mode"),
    ];
    for (body, code, field) in cases {
        let answered = ask(&api(Shut), post(PATH, body)).await;
        expect(&answered, 400, code, Some(field), field);
    }
    let two = batch("independent", &[spoilt_amount("0"), transfer(), spoilt_amount("-1")]);
    let answered = ask(&api(Shut), post(PATH, two)).await;
    let fields: Vec<&Value> = answered.body["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["transactions[0].amount.amount", "transactions[2].amount.amount"]);
}

fn spoilt_amount(amount: &str) -> Value {
    let mut transaction = transfer();
    transaction["amount"]["amount"] = json!(amount);
    transaction
}

#[tokio::test]
async fn its_headers_and_parameters_are_those_of_a_command_that_creates() {
    let good = batch("independent", &[transfer()]);
    let answered = ask(&api(Shut), post(&format!("{PATH}?balance=true"), good.clone())).await;
    expect(&answered, 400, "invalid_query", None, "an unknown parameter");
    let mut versioned = post(PATH, good.clone());
    versioned.headers_mut().insert("if-match", "\"1\"".parse().unwrap());
    expect(&ask(&api(Shut), versioned).await, 400, "if_match_not_applicable", Some("If-Match"), "if-match");
    let mut keyless = post(PATH, good.clone());
    keyless.headers_mut().remove("idempotency-key");
    expect(&ask(&api(Shut), keyless).await, 400, "idempotency_key_required", Some("Idempotency-Key"), "no key");
    let reader = Principal::in_process("reader", &[Permission::BalancesRead]);
    let answered = ask(&api_for(Shut, &reader), post(PATH, good)).await;
    expect(&answered, 403, "permission_missing", Some("permission"), "no permission");
}

#[tokio::test]
async fn a_token_for_some_accounts_moves_money_out_of_these_alone() {
    let teller = Principal::in_process("app", Permission::ALL);
    let ann = teller.limited_to([Uuid::from_u128(1)]);
    let mut anothers = transfer();
    anothers["from_account_id"] = json!(Uuid::from_u128(9));
    let body = batch("independent", &[transfer(), anothers]);
    let answered = ask(&api_for(Shut, &ann), post(PATH, body)).await;
    expect(&answered, 403, "account_not_permitted", Some("transactions[1]"), "another's account");
    let mut dated = transfer();
    dated["value_date"] = json!("2026-01-01");
    let answered = ask(&api_for(Shut, &ann), post(PATH, batch("atomic", &[dated]))).await;
    expect(&answered, 403, "account_not_permitted", Some("transactions[0].value_date"), "a date");
    let door = Noted::new(accepted);
    let answered = ask(&api_for(door.clone(), &ann), post(PATH, batch("independent", &[transfer()]))).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
}

#[tokio::test]
async fn each_becomes_a_command_under_a_key_of_its_own_for_one_request() {
    let door = Noted::new(accepted);
    let body = batch("independent", &vec![transfer(); 600]);
    let answered = sent(&door, PATH, &body).await;
    assert_eq!((answered.status.as_u16(), &answered.body["accepted"]), (200, &json!(600)));
    let submitted = door.submitted.lock().unwrap().clone();
    let keys: Vec<&str> = submitted.iter().map(|submission| submission.idempotency_key.as_str()).collect();
    assert_eq!((keys[0], keys[1], keys[599]), ("k-1", "k-1 1", "k-1 599"));
    assert!(submitted.iter().all(|submission| submission.request_hmac == submitted[0].request_hmac));
    assert!(submitted.iter().all(|submission| submission.command.name() == "PostTransaction"));
    let targets: std::collections::BTreeSet<_> = submitted.iter().map(|one| one.command.target()).collect();
    assert_eq!(targets.len(), 600);

    let door = Noted::new(accepted);
    sent(&door, PATH, &batch("atomic", &vec![transfer(); 500])).await;
    assert_eq!(door.submitted.lock().unwrap().len(), 1);
    let Command::Transaction(TransactionCommand::PostTransactions { transactions }) = door.last().command else {
        panic!("another command");
    };
    assert_eq!((transactions.len(), door.last().idempotency_key.as_str()), (500, "k-1"));
}

#[tokio::test]
async fn what_has_no_outcome_can_be_repeated() {
    let cases: [(Said, u16, &str); 3] = [
        (|| Err(SubmitError::KeyReused), 409, "idempotency_key_reused"),
        (|| Err(SubmitError::Overloaded), 503, "overloaded"),
        (|| Err(SubmitError::Unavailable("secret host".to_owned())), 503, "unavailable"),
    ];
    for (says, status, code) in cases {
        for mode in ["independent", "atomic"] {
            let answered = sent(&Noted::new(says), PATH, &batch(mode, &[transfer(), transfer()])).await;
            assert_eq!((answered.status.as_u16(), answered.body["code"].as_str()), (status, Some(code)));
            assert_eq!(answered.headers.get("retry-after").is_some(), status == 503);
            assert!(!answered.body.to_string().contains("secret host"));
        }
    }
}

#[tokio::test]
async fn narratives_are_sealed_and_one_that_cannot_be_refuses_a_request_not_begun() {
    let mut with_text = transfer();
    with_text["narrative"] = json!("for Jana");
    let body = batch("independent", &[transfer(), with_text]);
    let door = Noted::new(accepted);
    assert_eq!(sent(&door, PATH, &body).await.status, 200);
    assert!(!format!("{:?}", door.submitted.lock().unwrap()).contains("Jana"));
    for mode in ["independent", "atomic"] {
        let nobody = Noted { parties: false, ..Noted::new(accepted) };
        let answered = sent(&nobody, PATH, &body.replace("independent", mode)).await;
        expect(&answered, 400, "narrative_needs_member", Some("transactions[1].narrative"), mode);
        assert!(nobody.submitted.lock().unwrap().is_empty());
    }
}

/// A request that says how long its body is and does not send it.
fn slow(length: usize) -> Request<Body> {
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let mut request = post(PATH, body);
    request.headers_mut().insert("content-length", length.into());
    request
}

#[tokio::test]
async fn bodies_are_larger_than_others_and_no_more_than_there_is_room_for() {
    let mebi = 1 << 20;
    let long = " ".repeat(2 * mebi);
    expect(&ask(&api(Shut), post("/v1/transactions", long.clone())).await, 413, "payload_too_large", None, "single");
    let answered = ask(&api(Shut), post(PATH, long)).await;
    expect(&answered, 400, "malformed_json", None, "a batch may be that long");
    let too_long = " ".repeat(8 * mebi + 1);
    expect(&ask(&api(Shut), post(PATH, too_long)).await, 413, "payload_too_large", None, "8 MiB");

    let api = api(Noted::new(accepted));
    let mut held: Vec<_> = (0..3).map(|_| Box::pin(api.clone().oneshot(slow(8 * mebi)))).collect();
    for request in &mut held {
        assert!(futures::poll!(request).is_pending());
    }
    let good = batch("independent", &[transfer()]);
    let mut small = post(PATH, good.clone());
    small.headers_mut().insert("content-length", good.len().into());
    let refused: Answered = ask(&api, small).await;
    expect(&refused, 503, "overloaded", None, "no room");
    assert_eq!(refused.headers["retry-after"], "1");
    drop(held);
    assert_eq!(ask(&api, post(PATH, good)).await.status, 200, "room was given back");
}

#[tokio::test]
async fn what_an_account_has_is_for_those_who_may_see_it() {
    let said: Said = || {
        let mut reply: Reply = accepted()?;
        reply.replayed = true;
        Ok(reply)
    };
    let program = Principal::in_process("app", &[Permission::TransactionsPost]);
    let path = format!("{PATH}?balances=true");
    for mode in ["independent", "atomic"] {
        let body = batch(mode, &[transfer()]);
        let hidden = ask(&api_for(Noted::new(said), &program), post(&path, body.clone())).await;
        assert!(!hidden.body.to_string().contains("1234.56"), "{}", hidden.body);
        let shown = ask(&api(Noted::new(said)), post(&path, body.clone())).await;
        assert!(shown.body.to_string().contains("1234.56"), "{}", shown.body);
        let not_asked = ask(&api(Noted::new(said)), post(PATH, body)).await;
        assert!(!not_asked.body.to_string().contains("1234.56"), "{}", not_asked.body);
    }
}
