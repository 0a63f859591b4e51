//! What a reply shows of accounts depends on who reads it, the first time and at every repetition.
//! Needs `TEST_DATABASE_URL`.

use axum::Router;
use command_api::AppState;
use platform::http::{Options, layers};
use platform::{Permission, Principal, Role};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::real_log::{Bank, place};
use crate::{Answered, ask, post};

fn served_to(bank: &Bank, caller: &Principal) -> Router {
    let router = command_api::router(AppState::new(bank.store.clone()), None);
    layers(router, Options::everybody_is(caller.clone()))
}

async fn send(router: &Router, key: &str, path: &str, body: &Value) -> Answered {
    let mut request = post(path, body.to_string());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    ask(router, request).await
}

fn accounts_shown(answered: &Answered) -> Vec<String> {
    let balances = answered.body["balances"].as_array().unwrap();
    balances.iter().map(|balance| balance["account_id"].as_str().unwrap().to_owned()).collect()
}

fn code(answered: &Answered) -> (u16, &str) {
    (answered.status.as_u16(), answered.body["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_payees_balance_is_not_the_payers_business() {
    let Some(place) = place("visibility").await else { return };
    let bank = Bank::open(&place).await;
    let [payer, payee] = bank.accounts;
    bank.done("/v1/transactions", bank.moved(bank.cash, payer, "100.00")).await;
    // Two people and a program at one client: the idempotency keys are the client's.
    let teller = Principal::in_process("app", Permission::ALL);
    let ann = teller.acting_as("ann").limited_to([payer]);
    let program = Principal::in_process("app", &[Permission::TransactionsPost]);
    let [to_teller, to_ann, to_program] = [&teller, &ann, &program].map(|caller| served_to(&bank, caller));

    let transfer = bank.moved(payer, payee, "40.00");
    let first = send(&to_ann, "t", "/v1/transactions", &transfer).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(accounts_shown(&first), [payer.to_string()]);
    assert_eq!(first.body["balances"][0]["balance"], "60.00");
    let both = send(&to_teller, "t", "/v1/transactions", &transfer).await;
    assert_eq!(both.headers["idempotency-replayed"], "true");
    assert_eq!(both.body["id"], first.body["id"]);
    let mut shown = accounts_shown(&both);
    shown.sort();
    let mut expected = [payer, payee].map(|id| id.to_string());
    expected.sort();
    assert_eq!(shown, expected, "the same outcome, shown to somebody who may see both");
    let none = send(&to_program, "t", "/v1/transactions", &transfer).await;
    assert_eq!((none.status.as_u16(), &none.body["balances"]), (201, &json!([])));
    assert_eq!(none.headers["idempotency-replayed"], "true");
    let again = send(&to_ann, "t", "/v1/transactions", &transfer).await;
    assert_eq!(again.body, first.body, "and again as it was");

    let first = send(&to_teller, "other", "/v1/transactions", &bank.moved(payer, payee, "10.00")).await;
    assert_eq!(accounts_shown(&first).len(), 2);
    let again = send(&to_ann, "other", "/v1/transactions", &bank.moved(payer, payee, "10.00")).await;
    assert_eq!(accounts_shown(&again), [payer.to_string()], "seen by another first");
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_tells_no_balance_to_those_who_may_not_see_it() {
    let Some(place) = place("refusals").await else { return };
    let bank = Bank::open(&place).await;
    let [payer, payee] = bank.accounts;
    bank.done("/v1/transactions", bank.moved(bank.cash, payer, "12.34")).await;
    let teller = Principal::in_process("app", Permission::ALL);
    let program = Principal::in_process("app", &[Permission::TransactionsPost]);
    let (to_teller, to_program) = (served_to(&bank, &teller), served_to(&bank, &program));
    let too_much = bank.moved(payer, payee, "99.00");
    let asked = json!({"amount": "99.00", "currency": "CZK"});

    let blind = send(&to_program, "w", "/v1/transactions", &too_much).await;
    assert_eq!(code(&blind), (422, "insufficient_funds"));
    assert_eq!(blind.body["requested"], asked, "what it asked it knows");
    assert!(blind.body.get("available").is_none() && blind.body.get("minimum_balance").is_none());
    assert!(!blind.body.to_string().contains("12.34"), "{}", blind.body);
    let seeing = send(&to_teller, "w", "/v1/transactions", &too_much).await;
    assert_eq!(seeing.headers["idempotency-replayed"], "true");
    assert_eq!(seeing.body["available"], json!({"amount": "12.34", "currency": "CZK"}));
    assert!(seeing.body["detail"].as_str().unwrap().contains("12.34"));
    let blind_again = send(&to_program, "w", "/v1/transactions", &too_much).await;
    assert!(!blind_again.body.to_string().contains("12.34"), "{}", blind_again.body);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_some_accounts_moves_money_out_of_those_alone() {
    let Some(place) = place("movers").await else { return };
    let bank = Bank::open(&place).await;
    let [own, other] = bank.accounts;
    for account in bank.accounts {
        bank.done("/v1/transactions", bank.moved(bank.cash, account, "100.00")).await;
    }
    let ann = Principal::in_process("ann", Permission::ALL).limited_to([own]);
    let router = served_to(&bank, &ann);
    let head = bank.store.reader().head().await.unwrap().position;
    let amount = json!({"amount": "1.00", "currency": "CZK"});
    let legs = json!({"kind": "transfer", "legs": [
        {"account_id": own, "side": "debit", "amount": amount}, {"account_id": other, "side": "credit", "amount": amount}]});
    let id = Uuid::now_v7();
    let refused = [
        ("/v1/transactions".to_owned(), bank.moved(other, own, "1.00")),
        ("/v1/transactions".to_owned(), legs),
        (format!("/v1/transactions/{id}/post"), json!({})),
        (format!("/v1/transactions/{id}/void"), json!({"reason": "mistake"})),
        (format!("/v1/transactions/{id}/reverse"), json!({"reason": "mistake"})),
        (format!("/v1/accounts/{own}/freeze"), json!({"scope": "both", "reason": "lost_card"})),
        ("/v1/ledger/codes".to_owned(), json!({"code": "9", "name": "Mine", "class": "asset"})),
    ];
    let told_too_much = [
        ("kind", json!("fee")),
        ("id", json!(Uuid::new_v5(&Uuid::NAMESPACE_OID, b"a payment to come"))),
        ("booking_date", json!("2024-01-02")),
        ("value_date", json!("2020-01-01")),
        ("external_reference", json!("SIM1-00000018")),
        ("pending", json!({})),
    ];
    for (field, value) in told_too_much {
        let mut body = bank.moved(own, other, "1.00");
        body[field] = value;
        let answered = send(&router, "k", "/v1/transactions", &body).await;
        assert_eq!(code(&answered), (403, "account_not_permitted"), "{body}");
        assert_eq!(answered.body["errors"][0]["field"], field, "{}", answered.body);
    }
    for (path, body) in refused {
        let answered = send(&router, "k", &path, &body).await;
        assert_eq!(code(&answered), (403, "account_not_permitted"), "{path} {body}");
    }
    assert_eq!(bank.store.reader().head().await.unwrap().position, head, "nothing was left behind");
    let moved = send(&router, "k", "/v1/transactions", &bank.moved(own, other, "1.00")).await;
    assert_eq!(moved.status, 201, "the key is free still: {}", moved.body);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_line_is_granted_by_those_who_may_at_the_opening_too() {
    let Some(place) = place("credit_lines").await else { return };
    let bank = Bank::open(&place).await;
    let clerk = served_to(&bank, &Principal::new("ann", "desk", [Role::Clerk], None));
    let line = json!({"credit_line": {"amount": "1000000.00", "currency": "CZK"}, "number": "A-9",
        "product": "current", "currency": "CZK", "ledger_code": "2010", "holders": []});
    let answered = send(&clerk, "k", "/v1/accounts", &line).await;
    assert_eq!(code(&answered), (403, "permission_missing"), "{}", answered.body);
    assert_eq!(answered.body["errors"][0]["detail"], "accounts:limit");
    let mut plain = line;
    plain.as_object_mut().unwrap().remove("credit_line");
    let answered = send(&clerk, "k", "/v1/accounts", &plain).await;
    assert_ne!(answered.status, 403, "{}", answered.body);
    bank.close(place).await;
}
