//! What a request may say, and what it is told when it says something else.

use serde_json::Value;

use crate::bank::{ANNS, Bank};

/// Every documented parameter is taken and no other is, on every path.
#[tokio::test]
async fn what_is_documented_is_taken_and_nothing_else() {
    let bank = Bank::found("documented").await;
    let api = serde_json::to_value(query_api::openapi()).unwrap();
    for (path, item) in api["paths"].as_object().unwrap() {
        let id = match path.split('/').nth(2).unwrap() {
            "members" => crate::bank::ANN,
            "transactions" => uuid::Uuid::from_u128(1),
            "loan-products" | "loans" | "sagas" => crate::bank::LENT,
            _ => ANNS,
        };
        let path = path.replace("{id}", &id.to_string()).replace("{position}", "1");
        for parameter in item["get"]["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] == "path" || name == "cursor" {
                continue;
            }
            let example = match (name, &parameter["example"]) {
                ("min_position", _) => "0".to_owned(),
                ("holder" | "account_id", _) => ANNS.to_string(),
                ("guarded" | "control", _) => "true".to_owned(),
                ("on", Value::String(text)) => text.clone(),
                (_, Value::String(text)) => text.clone(),
                (_, Value::Number(number)) => number.to_string(),
                other => panic!("{path}: {other:?} has no example"),
            };
            let reply = bank.get(&format!("{path}?{name}={example}")).await;
            let missing = path == "/v1/events/1" && reply.status == 404;
            assert!(reply.status == 200 || missing, "{path}?{name}={example}: {}", reply.text);
            let (status, code) = bank.refused(&format!("{path}?{name}={example}&{name}={example}")).await;
            assert_eq!((status, code.as_str()), (400, "invalid_value"), "{path} {name} twice");
        }
        let reply = bank.get(&format!("{path}?colour=red&min_position=x")).await;
        let body = reply.json();
        assert_eq!((reply.status.as_u16(), &body["code"]), (400, &"unknown_parameter".into()), "{path}");
        let fields: Vec<_> = body["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
        assert_eq!(fields, ["min_position", "colour"], "{path}");
    }
    bank.close().await;
}

#[tokio::test]
async fn faults_have_their_codes() {
    let bank = Bank::found("faults").await;
    for (path, status, code) in [
        ("/v1/accounts?limit=0", 400, "invalid_value"),
        ("/v1/accounts?limit=501", 400, "invalid_value"),
        ("/v1/accounts?cursor=abc", 400, "invalid_cursor"),
        ("/v1/accounts?cursor=", 400, "invalid_cursor"),
        ("/v1/accounts?currency=XXX", 400, "invalid_value"),
        ("/v1/accounts?status=frozen", 400, "invalid_value"),
        ("/v1/accounts?wait_ms=30001", 400, "invalid_value"),
        ("/v1/accounts/7", 400, "invalid_path"),
        ("/v1/accounts/00000000-0000-0000-0000-000000000000", 404, "account_not_found"),
        ("/v1/accounts/00000000-0000-0000-0000-000000000000/balance", 404, "account_not_found"),
        ("/v1/accounts/00000000-0000-0000-0000-000000000000/entries", 404, "account_not_found"),
        ("/v1/accounts/00000000-0000-0000-0000-000000000000/statement", 404, "account_not_found"),
        ("/v1/members/00000000-0000-0000-0000-000000000000", 404, "member_not_found"),
        ("/v1/transactions/00000000-0000-0000-0000-000000000000", 404, "transaction_not_found"),
        ("/v1/transactions?from=2026-02-01&to=2026-01-01", 400, "invalid_value"),
        ("/v1/loan-products/00000000-0000-0000-0000-000000000000", 404, "loan_product_not_found"),
        ("/v1/loans/00000000-0000-0000-0000-000000000000", 404, "loan_not_found"),
        ("/v1/loans/00000000-0000-0000-0000-000000000000/schedule", 404, "loan_not_found"),
        ("/v1/loans/00000000-0000-0000-0000-000000000000/repayments", 404, "loan_not_found"),
        ("/v1/loans/00000000-0000-0000-0000-000000000000/arrears", 404, "loan_not_found"),
        ("/v1/sagas/00000000-0000-0000-0000-000000000000", 404, "saga_not_found"),
        ("/v1/loans/late", 400, "invalid_path"),
        ("/v1/loans?status=lent", 400, "invalid_value"),
        ("/v1/loans/arrears?as_of=2026-1-1", 400, "invalid_value"),
        ("/v1/loans/arrears?min_days=-1", 400, "invalid_value"),
        ("/v1/sagas?process=onboarding", 400, "invalid_value"),
        ("/v1/events/0", 404, "event_not_found"),
        ("/v1/events/-1", 400, "invalid_path"),
        ("/v1/events?stream=account/x", 400, "invalid_value"),
        ("/v1/events?type=Nonsense", 400, "invalid_value"),
        ("/v1/nowhere", 404, "not_found"),
    ] {
        assert_eq!(bank.refused(path).await, (status, code.to_owned()), "{path}");
    }
    let reply = bank.get("/v1/members/00000000-0000-0000-0000-000000000000").await;
    assert_eq!(reply.position(), 100);
    assert!(reply.text.contains("up to position 100"), "{}", reply.text);
    // A cursor of another list, or of another order of the same list.
    let page = bank.read("/v1/transactions?limit=1&order=oldest").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in ["/v1/transactions", "/v1/accounts", "/v1/transactions?order=newest"] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let refused = bank.refused(&format!("{path}{separator}cursor={cursor}")).await;
        assert_eq!(refused, (400, "invalid_cursor".to_owned()), "{path}");
    }
    bank.close().await;
}

#[tokio::test]
async fn the_description_and_its_page_are_served() {
    let bank = Bank::found("docs").await;
    for path in ["/openapi.json", query_api::SPECIFICATION_PATH] {
        assert!(bank.read(path).await["paths"]["/v1/accounts/{id}/balance"].is_object(), "{path}");
    }
    let page = bank.get("/docs/").await;
    assert!(page.status == 200 && page.text.contains("swagger"), "{}", page.text);
    assert_eq!(bank.get("/readyz").await.status, 200);
    bank.close().await;
}

/// The committed description is that of the code; `cargo run -p daybook -- openapi` writes it anew.
#[test]
fn the_committed_description_is_current() {
    let mut generated = query_api::openapi().to_pretty_json().unwrap();
    generated.push('\n');
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
    assert!(committed == generated, "query-api/openapi.json is not what the code says");
}
