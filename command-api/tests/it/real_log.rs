//! The way through to a real log: what only it can show. Needs `TEST_DATABASE_URL`.

use std::time::{Duration, Instant};

use axum::Router;
use command_api::{AppState, start_store, sweeper};
use domain::transaction::TransactionEvent;
use domain::{AccountId, Event, TransactionId};
use event_store::Store;
use platform::http::{Options, layers};
use platform::{Permission, Principal};
use serde_json::{Value, json};
use test_place::Place;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Answered, ask, post};

const PATIENCE: Duration = Duration::from_secs(30);

/// A bank with two members, an account each, and cash.
pub(crate) struct Bank {
    api: Router,
    pub(crate) store: Store,
    pub(crate) members: [Uuid; 2],
    pub(crate) accounts: [Uuid; 2],
    pub(crate) cash: Uuid,
}

impl Bank {
    pub(crate) async fn open(place: &Place) -> Bank {
        let store = start_store(&place.config().unwrap()).await.unwrap();
        let began = Instant::now();
        while !store.ready() {
            assert!(began.elapsed() < PATIENCE, "the store does not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let router = command_api::router(AppState::new(store.clone()), None);
        let api = layers(router, Options::everybody_is(Principal::in_process("tester", Permission::ALL)));
        let ids = [0; 5].map(|_| Uuid::now_v7());
        let bank = Bank { api, store, members: [ids[0], ids[1]], accounts: [ids[2], ids[3]], cash: ids[4] };
        bank.done("/v1/ledger/currencies", json!({"code": "CZK", "minor_units": 2})).await;
        bank.done("/v1/ledger/codes", json!({"code": "1010", "name": "Cash", "class": "asset"})).await;
        let deposits = json!({"code": "2010", "name": "Deposits", "class": "liability", "control": true});
        bank.done("/v1/ledger/codes", deposits).await;
        bank.done("/v1/ledger/periods", json!({"id": "all", "from": "2000-01-01", "to": "2199-12-31"})).await;
        let cash = json!({"id": bank.cash, "number": "CASH", "product": "internal", "name": "Cash",
            "currency": "CZK", "ledger_code": "1010"});
        bank.done("/v1/accounts", cash).await;
        for (at, (member, account)) in bank.members.into_iter().zip(bank.accounts).enumerate() {
            let person = json!({"id": member, "number": format!("M-{at}"), "kind": "person", "name": "Jana Nováková",
                "birth_date": "1961-04-05", "contact": {"email": "jana@example.org"}});
            let registered = bank.done("/v1/members", person).await;
            assert!(!registered.body.to_string().contains("Jana"));
            bank.done(&format!("/v1/members/{member}/verify"), json!({})).await;
            let body = json!({"id": account, "number": format!("A-{at}"), "product": "current", "currency": "CZK",
                "ledger_code": "2010", "holders": [{"member_id": member, "role": "owner"}]});
            bank.done("/v1/accounts", body).await;
        }
        bank
    }

    pub(crate) async fn send(&self, key: &str, path: &str, body: &Value) -> Answered {
        let body = body.to_string();
        let length = body.len();
        let mut request = post(path, body);
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        request.headers_mut().insert("content-length", length.into());
        ask(&self.api, request).await
    }

    /// Sends a command that must be accepted.
    pub(crate) async fn done(&self, path: &str, body: Value) -> Answered {
        let answered = self.send(&Uuid::now_v7().to_string(), path, &body).await;
        assert!(answered.status.is_success(), "{path} {body}: {}", answered.body);
        answered
    }

    pub(crate) fn moved(&self, from: Uuid, to: Uuid, amount: &str) -> Value {
        json!({"kind": "transfer", "from_account_id": from, "to_account_id": to,
            "amount": {"amount": amount, "currency": "CZK"}})
    }

    pub(crate) async fn close(self, place: Place) {
        self.store.shutdown().await;
        place.discard().await.unwrap();
    }

    async fn events_of(&self, transaction: Uuid) -> Vec<TransactionEvent> {
        let stream = TransactionId(transaction).stream();
        let recorded = self.store.reader().stream_after(stream, 0, 100).await.unwrap();
        let events = recorded.iter().map(|event| match event.event().unwrap() {
            Event::Transaction(event) => event,
            other => panic!("{other:?} on a transaction's stream"),
        });
        events.collect()
    }
}

pub(crate) async fn place(name: &str) -> Option<Place> {
    if std::env::var_os("TEST_DATABASE_URL").is_none() {
        eprintln!("NOT RUN: TEST_DATABASE_URL is not set");
        return None;
    }
    Some(Place::fresh(name).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_gets_the_first_reply_again() {
    let Some(place) = place("replies").await else { return };
    let bank = Bank::open(&place).await;
    let [first, second] = bank.accounts;
    let deposit = bank.moved(bank.cash, first, "100.00");
    let once = bank.send("d", "/v1/transactions", &deposit).await;
    assert_eq!(once.status, 201, "{}", once.body);
    assert_eq!(once.body["balances"].as_array().unwrap().len(), 1);
    assert_eq!(once.body["balances"][0]["balance"], "100.00");
    bank.done("/v1/transactions", bank.moved(first, second, "40.00")).await;
    let again = bank.send("d", "/v1/transactions", &deposit).await;
    assert_eq!((again.status, &again.body), (once.status, &once.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["location"], once.headers["location"]);
    let other = bank.send("d", "/v1/transactions", &bank.moved(bank.cash, first, "100.01")).await;
    assert_eq!((other.status.as_u16(), other.body["code"].as_str()), (409, Some("idempotency_key_reused")));

    let too_much = bank.moved(first, second, "60.01");
    let refused = bank.send("w", "/v1/transactions", &too_much).await;
    assert_eq!((refused.status.as_u16(), refused.body["code"].as_str()), (422, Some("insufficient_funds")));
    assert_eq!(refused.body["available"], json!({"amount": "60.00", "currency": "CZK"}));
    // The money has come meanwhile, but what was refused stays refused under its key.
    bank.done("/v1/transactions", bank.moved(bank.cash, first, "500.00")).await;
    let still = bank.send("w", "/v1/transactions", &too_much).await;
    assert_eq!((still.status, &still.body["available"]), (refused.status, &refused.body["available"]));
    assert_eq!(still.headers["idempotency-replayed"], "true");
    assert_eq!(still.headers["daybook-position"], refused.headers["daybook-position"]);

    let mut request = post(&format!("/v1/accounts/{second}/close"), "{}");
    request.headers_mut().insert("if-match", "\"77\"".parse().unwrap());
    let answered = ask(&bank.api, request).await;
    assert_eq!((answered.status.as_u16(), answered.body["code"].as_str()), (412, Some("version_mismatch")));
    assert_eq!(answered.body["expected"], 77);
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrative_is_sealed_for_all_who_hold_an_account() {
    let Some(place) = place("narrative").await else { return };
    let bank = Bank::open(&place).await;
    let ([first, second], [owner, other]) = (bank.accounts, bank.members);
    bank.done("/v1/transactions", bank.moved(bank.cash, first, "100.00")).await;
    let guest = Uuid::now_v7();
    bank.done("/v1/members", json!({"id": guest, "number": "G", "kind": "person", "name": "Guest"})).await;
    bank.done(&format!("/v1/members/{guest}/verify"), json!({})).await;
    for (held, gone) in [(first, guest), (second, owner)] {
        let holder = json!({"member_id": gone, "role": "disponent"});
        bank.done(&format!("/v1/accounts/{held}/holders"), holder).await;
    }
    bank.done(&format!("/v1/accounts/{first}/holders/remove"), json!({"member_id": guest})).await;

    let mut body = bank.moved(first, second, "1.00");
    body["narrative"] = json!("the rent of May");
    let id = Uuid::now_v7();
    body["id"] = json!(id);
    bank.done("/v1/transactions", body.clone()).await;
    let events = bank.events_of(id).await;
    let [TransactionEvent::TransactionPosted { narrative: Some(sealed), .. }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert!(!format!("{events:?}").contains("rent"));
    let sealing = bank.store.sealing();
    assert_eq!(sealing.open_narrative(TransactionId(id), sealed).await.unwrap(), "the rent of May");
    // Who has left is not party to it; each of the two who are can be erased, and it with them.
    sealing.destroy_key(domain::MemberId(guest)).await.unwrap();
    assert!(sealing.open_narrative(TransactionId(id), sealed).await.is_ok());
    sealing.destroy_key(domain::MemberId(other)).await.unwrap();
    assert!(sealing.open_narrative(TransactionId(id), sealed).await.is_err());
    let erased = bank
        .send("e", "/v1/transactions", &{
            body["id"] = json!(Uuid::now_v7());
            body.clone()
        })
        .await;
    assert_eq!((erased.status.as_u16(), erased.body["code"].as_str()), (422, Some("member_erased")));

    let mut internal = bank.moved(bank.cash, bank.cash, "1.00");
    internal["narrative"] = json!("for nobody");
    let refused = bank.send("i", "/v1/transactions", &internal).await;
    assert_eq!((refused.status.as_u16(), refused.body["code"].as_str()), (400, Some("narrative_needs_member")));
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_gets_the_first_reply_though_its_member_has_been_erased() {
    let Some(place) = place("erased").await else { return };
    let bank = Bank::open(&place).await;
    let ([first, second], [_, other]) = (bank.accounts, bank.members);
    bank.done("/v1/transactions", bank.moved(bank.cash, first, "100.00")).await;
    let gone = Uuid::now_v7();
    let person = json!({"id": gone, "number": "G", "kind": "person", "name": "Guest"});
    let registered = bank.send("register", "/v1/members", &person).await;
    assert_eq!(registered.status, 201, "{}", registered.body);
    let mut rent = bank.moved(first, second, "40.00");
    rent["narrative"] = json!("the rent of May");
    let paid = bank.send("rent", "/v1/transactions", &rent).await;
    assert_eq!(paid.status, 201, "{}", paid.body);
    let mut more = bank.moved(first, second, "60.01");
    more["narrative"] = json!("too much rent");
    let refused = bank.send("more", "/v1/transactions", &more).await;
    assert_eq!(refused.body["code"], "insufficient_funds");

    let sealing = bank.store.sealing();
    for member in [gone, other] {
        sealing.destroy_key(domain::MemberId(member)).await.unwrap();
    }
    let head = bank.store.reader().head().await.unwrap();
    let requests = [
        ("register", "/v1/members", &person, &registered),
        ("rent", "/v1/transactions", &rent, &paid),
        ("more", "/v1/transactions", &more, &refused),
    ];
    for (key, path, body, earlier) in requests {
        let again = bank.send(key, path, body).await;
        assert_eq!(again.status, earlier.status, "{key}: {}", again.body);
        assert_eq!(again.headers["idempotency-replayed"], "true");
        for header in ["location", "daybook-position", "etag"] {
            assert_eq!(again.headers.get(header), earlier.headers.get(header), "{key}: {header}");
        }
        if earlier.status.is_success() {
            assert_eq!(again.body, earlier.body, "{key}");
        } else {
            assert_eq!(again.body["available"], earlier.body["available"], "{key}");
        }
        let new = bank.send(&format!("new-{key}"), path, body).await;
        assert_eq!((new.status.as_u16(), new.body["code"].as_str()), (422, Some("member_erased")), "{key}");
    }
    more["narrative"] = json!("another text");
    let other_request = bank.send("rent", "/v1/transactions", &more).await;
    assert_eq!(other_request.body["code"], "idempotency_key_reused", "{}", other_request.body);
    assert_eq!(bank.store.reader().head().await.unwrap(), head, "none of it leaves anything");
    bank.close(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sweepers_write_each_expiry_once() {
    let Some(place) = place("sweeper").await else { return };
    let bank = Bank::open(&place).await;
    let [first, second] = bank.accounts;
    bank.done("/v1/transactions", bank.moved(bank.cash, first, "100.00")).await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(1);
    let (expiring, voided, lasting) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for (id, pending) in [
        (expiring, json!({"expires_at": soon.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)})),
        (voided, json!({"expires_at": soon.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)})),
        (lasting, json!({})),
    ] {
        let mut body = bank.moved(first, second, "10.00");
        body["id"] = json!(id);
        body["pending"] = pending;
        bank.done("/v1/transactions", body).await;
    }
    bank.done(&format!("/v1/transactions/{voided}/void"), json!({"reason": "cancelled"})).await;
    let stop = CancellationToken::new();
    let sweepers = [0; 2].map(|_| tokio::spawn(sweeper::run(bank.store.clone(), stop.clone())));
    let began = Instant::now();
    while bank.events_of(expiring).await.len() < 2 {
        assert!(began.elapsed() < PATIENCE, "the expiry is not written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The other sweeper has had its turn as well before it is asked to stop.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop.cancel();
    for sweeper in sweepers {
        sweeper.await.unwrap();
    }
    let events = bank.events_of(expiring).await;
    assert!(matches!(events.as_slice(), [_, TransactionEvent::PendingExpired { .. }]), "{events:?}");
    assert!(matches!(bank.events_of(voided).await.as_slice(), [_, TransactionEvent::PendingVoided { .. }]));
    assert_eq!(bank.events_of(lasting).await.len(), 1);
    let released = bank.done("/v1/transactions", bank.moved(bank.cash, first, "1.00")).await;
    assert_eq!(released.body["balances"][0]["account_id"], json!(AccountId(first)));
    assert_eq!(released.body["balances"][0]["available"], "91.00");
    bank.close(place).await;
}
