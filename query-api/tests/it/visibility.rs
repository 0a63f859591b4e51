//! A caller whose token is for some accounts reads those, and learns nothing of others.

use axum::Router;
use platform::http::{Options, layers};
use platform::{Permission, Principal};
use serde_json::json;
use uuid::Uuid;

use crate::bank::{ANNS, BOBS, Bank, CASH, get};

const NOBODYS: Uuid = Uuid::from_u128(0xdead);

/// The same databases as they are served to this caller.
fn served_to(bank: &Bank, caller: &Principal) -> Router {
    let api = query_api::start(&bank.place.config().unwrap()).unwrap();
    layers(query_api::router(api, None), Options::everybody_is(caller.clone()))
}

#[tokio::test]
async fn only_the_accounts_of_the_token_are_there() {
    let bank = Bank::found("visibility").await;
    let anybody = Principal::in_process("ann", Permission::ALL);
    let router = served_to(&bank, &anybody.limited_to([ANNS]));
    for part in ["", "/balance", "/entries", "/statement"] {
        let own = get(&router, &format!("/v1/accounts/{ANNS}{part}")).await;
        assert_eq!(own.status, 200, "{part}: {}", own.text);
        let everything = bank.get(&format!("/v1/accounts/{ANNS}{part}")).await;
        assert_eq!(own.json(), everything.json(), "{part}: all of it");
        let [other, nobodys] = [BOBS, NOBODYS].map(|id| format!("/v1/accounts/{id}{part}"));
        let (other, nobodys) = (get(&router, &other).await, get(&router, &nobodys).await);
        let told = |reply: &crate::bank::Reply| {
            let body = reply.json();
            (reply.status.as_u16(), body["code"].clone(), body["detail"].clone())
        };
        assert_eq!(told(&other).0, 404, "{part}");
        assert_eq!(told(&other), told(&nobodys), "{part}: one that is there is as one that is not");
    }
    let list = get(&router, "/v1/accounts").await.json();
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, [json!(ANNS)]);
    assert_eq!(get(&router, "/v1/accounts?guarded=false").await.json()["items"], json!([]));
    bank.close().await;
}

#[tokio::test]
async fn a_transaction_shows_the_legs_on_the_callers_accounts() {
    let bank = Bank::found("visible_legs").await;
    let anybody = Principal::in_process("ann", Permission::ALL);
    let router = served_to(&bank, &anybody.limited_to([ANNS]));
    let all = bank.read(&format!("/v1/transactions?account_id={ANNS}&limit=50")).await;
    let own = get(&router, &format!("/v1/transactions?account_id={ANNS}&limit=50")).await.json();
    assert_eq!(own["items"].as_array().unwrap().len(), all["items"].as_array().unwrap().len());
    assert!(own["items"].as_array().unwrap().len() > 1);
    for item in own["items"].as_array().unwrap() {
        for leg in item["legs"].as_array().unwrap() {
            assert_eq!(leg["account_id"], json!(ANNS));
        }
        let one = get(&router, &format!("/v1/transactions/{}", item["id"].as_str().unwrap())).await;
        assert_eq!(one.status, 200);
        assert!(!one.text.contains(&BOBS.to_string()) && !one.text.contains(&CASH.to_string()), "{}", one.text);
        if item["status"] == "posted" {
            assert!(!one.json()["postings"][0]["legs"].as_array().unwrap().is_empty());
        }
    }
    let bobs = bank.read(&format!("/v1/transactions?account_id={BOBS}&kind=deposit")).await;
    let bobs = bobs["items"][0]["id"].as_str().unwrap();
    let reply = get(&router, &format!("/v1/transactions/{bobs}")).await;
    assert_eq!((reply.status.as_u16(), reply.json()["code"].clone()), (404, json!("transaction_not_found")));
    for query in ["", &format!("?account_id={BOBS}"), &format!("?account_id={NOBODYS}")] {
        let reply = get(&router, &format!("/v1/transactions{query}")).await;
        assert_eq!((reply.status.as_u16(), reply.json()["code"].clone()), (403, json!("account_not_permitted")));
    }
    bank.close().await;
}

#[tokio::test]
async fn what_is_not_by_account_is_refused_to_a_limited_token() {
    let bank = Bank::found("beyond_accounts").await;
    let anybody = Principal::in_process("ann", Permission::ALL);
    let router = served_to(&bank, &anybody.limited_to([ANNS]));
    for path in ["/v1/members", "/v1/trial-balance", "/v1/events", "/v1/events/1", "/v1/projections"] {
        let reply = get(&router, path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["code"].clone()),
            (403, json!("account_not_permitted")),
            "{path}"
        );
    }
    assert_eq!(get(&router, "/v1/ledger/codes").await.status, 200, "the chart of accounts tells nothing of any");
    bank.close().await;
}
