//! What is wrong with a request gets its own clear error and leaves nothing behind.

use reqwest::Method;
use serde_json::{Value, json};
use test_place::Place;

use crate::client::{Client, id, moved};
use crate::processes::Processes;

/// Refused without state: 400, nothing in the log. Refused by the rules: 404, 409 or 422, and the
/// refusal alone is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_has_its_own_error_and_leaves_nothing_behind() {
    let place = Place::fresh("requests").await.unwrap();
    let processes = Processes::start(&place).await;
    let client = Client::new(&processes.command_url, &processes.query_url, &processes.token);
    let (cash, accounts) = client.found_bank(2).await;
    let (from, to) = (accounts[0].as_str(), accounts[1].as_str());
    let head = head(&place).await;

    let legs = |debit: &str, credit: &str| {
        json!({"kind": "transfer", "legs": [
            {"account_id": from, "side": "debit", "amount": {"amount": debit, "currency": "CZK"}},
            {"account_id": to, "side": "credit", "amount": {"amount": credit, "currency": "CZK"}},
        ]})
    };
    let with = |name: &str, value: Value| {
        let mut body = moved("transfer", from, to, "1.00");
        body[name] = value;
        body
    };
    let stateless: Vec<(&str, Value, &str)> = vec![
        ("unknown field", with("amout", json!(1)), "unknown_field"),
        ("wrong type", with("kind", json!(7)), "invalid_type"),
        ("huge", with("amount", json!({"amount": "9".repeat(60), "currency": "CZK"})), "amount_too_large"),
        ("negative", with("amount", json!({"amount": "-1.00", "currency": "CZK"})), "amount_not_positive"),
        ("zero", with("amount", json!({"amount": "0.00", "currency": "CZK"})), "amount_not_positive"),
        ("over-precise", with("amount", json!({"amount": "1.001", "currency": "CZK"})), "amount_too_precise"),
        ("exponent", with("amount", json!({"amount": "1e3", "currency": "CZK"})), "amount_malformed"),
        ("a number", with("amount", json!({"amount": 1.5, "currency": "CZK"})), "invalid_type"),
        ("no such currency", with("amount", json!({"amount": "1.00", "currency": "QQQ"})), "unknown_currency"),
        ("wrong id", with("from_account_id", json!("17")), "invalid_value"),
    ];
    for (what, body, code) in stateless {
        let answer = client.try_post("/v1/transactions", "bad", &body).await.unwrap();
        let codes: Vec<&str> =
            answer.body["errors"].as_array().into_iter().flatten().filter_map(|e| e["code"].as_str()).collect();
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(answer.code() == code || codes.contains(&code), "{what}: {answer:?}");
        for member in ["title", "detail", "correlation_id", "timestamp", "path"] {
            assert!(answer.body[member].is_string(), "{what}: no {member} in {answer:?}");
        }
    }
    let raw = |body: &'static str| {
        client
            .raw(Method::POST, "/v1/transactions")
            .header("Idempotency-Key", "bad")
            .header("content-type", "application/json")
            .body(body)
    };
    for body in ["", "{", "[]", "{\"kind\": \"transfer\",}", "\u{feff}{}", "{} {}"] {
        let answer = raw(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body:?}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let no_key = client.raw(Method::POST, "/v1/transactions").json(&legs("1.00", "1.00")).send().await.unwrap();
    assert_eq!(no_key.status(), 400);
    assert_eq!(no_key.json::<Value>().await.unwrap()["code"], "idempotency_key_required");
    assert_eq!(self::head(&place).await, head, "nothing was left behind");

    let ruled = [
        ("unbalanced", legs("1.00", "2.00"), 422, "unbalanced"),
        ("too much", moved("transfer", from, to, "1000.01"), 422, "insufficient_funds"),
        (
            "no such account",
            moved("transfer", from, "01890000-0000-7000-8000-000000000000", "1.00"),
            404,
            "account_not_found",
        ),
        ("not enabled", with("amount", json!({"amount": "1.00", "currency": "EUR"})), 422, "currency_mismatch"),
        ("tomorrow", with("booking_date", json!("2098-01-01")), 422, "booking_date_in_future"),
        ("no period", with("booking_date", json!("2001-01-01")), 422, "no_period"),
    ];
    for (at, (what, body, status, code)) in ruled.into_iter().enumerate() {
        let key = format!("ruled-{at}");
        let answer = client.try_post("/v1/transactions", &key, &body).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{what}: {answer:?}");
        let again = client.try_post("/v1/transactions", &key, &body).await.unwrap();
        assert_eq!((again.code(), again.replayed), (code, true), "{what}: its first outcome again");
        assert_eq!(self::head(&place).await, head + 1 + at as u64, "{what}: the refusal and nothing else");
    }

    let body = moved("transfer", from, to, "10.00");
    let first = client.try_post("/v1/transactions", "once", &body).await.unwrap();
    assert_eq!(first.status, 201);
    let again = client.try_post("/v1/transactions", "once", &body).await.unwrap();
    assert_eq!((again.status, again.replayed, &again.body), (first.status, true, &first.body));
    let other = client.try_post("/v1/transactions", "once", &moved("transfer", from, to, "10.01")).await.unwrap();
    assert_eq!((other.status.as_u16(), other.code()), (409, "idempotency_key_reused"));
    let taken = with("id", json!(id(&first)));
    let taken = client.try_post("/v1/transactions", "taken", &taken).await.unwrap();
    assert_eq!((taken.status.as_u16(), taken.code()), (409, "id_taken"));

    let balance = client.get(&format!("/v1/accounts/{from}?min_position={}", first.position())).await;
    assert_eq!(balance["balance"], "990.00");
    assert!(!cash.is_empty());
    processes.succeed(&["audit", "verify"]).await;
    processes.assert_no_panic();
    drop(processes);
    place.discard().await.unwrap();
}

/// The log's head, read past all roles.
async fn head(place: &Place) -> u64 {
    let pool = sqlx::PgPool::connect(place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    event_store::LogReader::new(pool).head().await.unwrap().position
}
