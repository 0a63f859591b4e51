//! Members, accounts, transactions and the ledger's frame: by id, as lists, filtered.

use serde_json::{Value, json};

use crate::bank::{ANN, ANNS, BOB, BOBS, Bank, Booking, CASH};

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn texts(uuids: &[uuid::Uuid]) -> Vec<String> {
    uuids.iter().map(uuid::Uuid::to_string).collect()
}

#[tokio::test]
async fn a_member_is_shown_sealed() {
    let bank = Bank::found("member").await;
    let reply = bank.get(&format!("/v1/members/{ANN}")).await;
    assert_eq!(reply.headers["etag"], "\"2\"");
    assert_eq!(reply.position(), 100);
    assert!(!reply.headers.contains_key("daybook-parked"));
    assert_eq!(
        reply.json(),
        json!({
            "id": ANN, "number": "M-1", "kind": "person", "kyc": "verified", "status": "active", "branch": "praha",
            "personal": {"name": {"sealed": "AQAB"}}, "registered_at": "2026-01-02T08:00:00.123456Z",
            "updated_at": "2026-01-03T00:00:00.000000Z", "version": 2, "position": 6, "parked": false,
        })
    );
    for (filter, found) in [
        ("", vec![ANN, BOB]),
        ("number=M-2", vec![BOB]),
        ("kind=person", vec![ANN]),
        ("kyc=pending&status=suspended", vec![BOB]),
        ("branch=praha", vec![ANN]),
        ("branch=brno", vec![]),
    ] {
        assert_eq!(ids(&bank.walk(&format!("/v1/members?{filter}"), 1).await), texts(&found), "{filter}");
    }
    bank.close().await;
}

#[tokio::test]
async fn an_account_is_shown_with_balance_holds_and_holders() {
    let bank = Bank::found("account").await;
    let reply = bank.get(&format!("/v1/accounts/{ANNS}")).await;
    assert_eq!(reply.headers["etag"], "\"4\"");
    let amount = |amount: &str| json!({"amount": amount, "currency": "CZK"});
    assert_eq!(
        reply.json(),
        json!({
            "id": ANNS, "number": "1001", "product": "current", "currency": "CZK", "normal_side": "credit",
            "ledger_code": "2100", "guarded": true, "status": "open", "frozen": "debit", "dormant": false,
            "status_reason": "court_order", "branch": "praha", "opened_on": "2026-01-01",
            "balance": "750.00", "held": "100.00", "available": "650.00", "minimum_balance": "-500.00",
            "holders": [{"member_id": ANN, "role": "owner"}, {"member_id": BOB, "role": "disponent"}],
            "holds": [
                {"transaction_id": uuid::Uuid::from_u128(5), "leg": 1, "side": "debit", "amount": amount("100.00"), "counts": true},
                {"transaction_id": uuid::Uuid::from_u128(6), "leg": 1, "side": "debit", "amount": amount("30.00"),
                 "expires_at": "2026-01-09T00:00:00.000000Z", "counts": false},
                {"transaction_id": uuid::Uuid::from_u128(7), "leg": 2, "side": "credit", "amount": amount("7.00"), "counts": false},
            ],
            "opened_at": "2026-01-02T00:00:00.000000Z", "updated_at": "2026-01-31T10:00:00.000000Z",
            "version": 4, "position": 9, "parked": false,
        })
    );
    let cash = bank.read(&format!("/v1/accounts/{CASH}")).await;
    assert_eq!(cash["balance"], "1450.00");
    assert_eq!(
        (&cash["available"], &cash["minimum_balance"], &cash["version"]),
        (&Value::Null, &Value::Null, &json!(1))
    );
    for (filter, found) in [
        ("", vec![CASH, ANNS, BOBS]),
        ("number=1002", vec![BOBS]),
        ("product=current", vec![ANNS]),
        ("currency=CZK&ledger_code=2100", vec![ANNS, BOBS]),
        ("currency=EUR", vec![]),
        (&format!("holder={ANN}"), vec![ANNS]),
        (&format!("holder={BOB}"), vec![ANNS, BOBS]),
        ("guarded=false", vec![CASH]),
        ("status=closed", vec![]),
    ] {
        for limit in [1, 2, 500] {
            let items = bank.walk(&format!("/v1/accounts?{filter}"), limit).await;
            assert_eq!(ids(&items), texts(&found), "{filter}");
        }
    }
    let list = bank.read("/v1/accounts?holder=00000000-0000-0000-0000-0000000000b1").await;
    assert_eq!(list["items"][0]["holders"].as_array().unwrap().len(), 2);
    assert_eq!((&list["items"][1]["balance"], &list["items"][0]["holds"]), (&json!("700.00"), &Value::Null));
    bank.close().await;
}

#[tokio::test]
async fn a_transaction_is_shown_with_legs_and_postings() {
    let bank = Bank::found("transaction").await;
    let shown = bank.read(&format!("/v1/transactions/{}", uuid::Uuid::from_u128(3))).await;
    let amount = json!({"amount": "200.00", "currency": "CZK"});
    let leg = |leg: i32, account_id, side| json!({"leg": leg, "account_id": account_id, "ledger_code": "2100", "side": side, "amount": amount});
    let stands = |mut leg: Value| {
        leg["pending"] = json!("0.00");
        leg["posted"] = json!("200.00");
        leg["reversed"] = json!("0.00");
        leg
    };
    assert_eq!(
        shown,
        json!({
            "id": uuid::Uuid::from_u128(3), "kind": "transfer", "status": "posted", "booking_date": "2026-01-08",
            "value_date": "2026-01-15", "external_reference": "ref-3", "reversed_by": [],
            "legs": [stands(leg(1, ANNS, "debit")), stands(leg(2, BOBS, "credit"))], "posting_count": 1,
            "postings": [{"posting": 1, "booking_date": "2026-01-08", "value_date": "2026-01-15",
                          "recorded_at": "2026-01-20T10:00:00.000000Z", "position": 40,
                          "legs": [leg(1, ANNS, "debit"), leg(2, BOBS, "credit")]}],
            "recorded_at": "2026-01-20T10:00:00.000000Z", "updated_at": "2026-01-20T10:00:00.000000Z",
            "version": 1, "position": 40, "parked": false,
        })
    );
    let pending = bank.read(&format!("/v1/transactions/{}", uuid::Uuid::from_u128(5))).await;
    assert_eq!((&pending["legs"][0]["pending"], &pending["postings"]), (&json!("100.00"), &json!([])));
    assert_eq!(pending["narrative"], json!({"sealed": "AQID"}));
    for (filter, found) in [
        ("", vec![5_u128, 4, 3, 2, 1]),
        ("order=oldest", vec![1, 2, 3, 4, 5]),
        ("kind=deposit", vec![2, 1]),
        ("status=pending", vec![5]),
        ("external_reference=ref-2", vec![2]),
        ("from=2026-01-06&to=2026-01-10", vec![3, 2]),
        // The pending one has posted nothing yet, and is found by its legs all the same.
        (&format!("account_id={ANNS}"), vec![5, 4, 3, 1]),
        (&format!("account_id={BOBS}&order=oldest"), vec![2, 3]),
    ] {
        let found: Vec<_> = found.into_iter().map(uuid::Uuid::from_u128).collect();
        for limit in [1, 2, 500] {
            let items = bank.walk(&format!("/v1/transactions?{filter}"), limit).await;
            assert_eq!(ids(&items), texts(&found), "{filter}");
        }
    }
    bank.close().await;
}

/// One partition is ahead of the other: what is beyond the applied position might be joined by
/// something before it, so lists leave it out; by id it is shown.
#[tokio::test]
async fn lists_end_at_the_applied_position() {
    let mut bank = Bank::found("ahead").await;
    let ahead = Booking {
        id: 9,
        kind: "deposit",
        booking_date: "2026-02-02",
        value_date: "2026-02-02",
        recorded_at: "2026-02-02 10:00:00+00",
        position: 110,
        partition: 0,
        debit: CASH,
        credit: BOBS,
        amount_minor: 1,
    };
    bank.book(&ahead).await;
    bank.execute("UPDATE projection_progress SET watermark = 120 WHERE partition = 0").await;
    assert_eq!(bank.walk("/v1/transactions", 2).await.len(), 5);
    let reply = bank.get(&format!("/v1/transactions/{}", uuid::Uuid::from_u128(9))).await;
    assert_eq!((reply.status.as_u16(), reply.position()), (200, 100));
    bank.execute("UPDATE projection_progress SET watermark = 120 WHERE partition = 1").await;
    assert_eq!(bank.walk("/v1/transactions", 2).await.len(), 6);
    bank.close().await;
}

#[tokio::test]
async fn the_ledgers_frame_is_listed() {
    let bank = Bank::found("frame").await;
    let codes = bank.walk("/v1/ledger/codes", 1).await;
    assert_eq!(
        codes[1],
        json!({"code": "2100", "name": "Members' current accounts", "class": "liability", "normal_side": "credit",
               "control": true, "defined_at": "2026-01-01T00:00:00.000000Z", "position": 3})
    );
    assert_eq!(bank.walk("/v1/ledger/codes?control=false&class=asset", 5).await.len(), 1);
    assert_eq!(bank.walk("/v1/ledger/currencies", 5).await[0]["minor_units"], 2);
    assert_eq!(ids(&bank.walk("/v1/ledger/periods", 1).await), ["2026-01", "2026-02"]);
    let closed = bank.walk("/v1/ledger/periods?status=closed&on=2026-01-31", 5).await;
    assert_eq!(
        (&closed[0]["to"], &closed[0]["closed_at"]),
        (&json!("2026-01-31"), &json!("2026-02-03T00:00:00.000000Z"))
    );
    bank.close().await;
}

/// Events that could not be applied: whatever they belong to says that it may be behind.
#[tokio::test]
async fn what_stands_still_says_so() {
    let bank = Bank::found("parked").await;
    let park = |position: i64, stream: &str, payload: &str| {
        format!(
            "INSERT INTO parked_events (projection, position, partition, ordinal, kafka_offset, stream, sequence, \
             event_type, event_version, recorded_at, command_id, payload, metadata, error) VALUES \
             ('core', {position}, 0, 1, 1, '{stream}', 2, 'X', '1', now(), 'c', '{payload}', '{{}}', 'of no use')"
        )
    };
    bank.execute(&park(70, &format!("account/{BOBS}"), "{}")).await;
    bank.execute(&park(71, &format!("transaction/{CASH}"), &format!("{{\"account_id\":\"{CASH}\"}}"))).await;
    bank.execute(&park(72, "member/00000000-0000-0000-0000-0000000000ff", "{}")).await;
    for (path, parked) in [
        (format!("/v1/accounts/{BOBS}"), true),
        (format!("/v1/accounts/{BOBS}/balance"), true),
        (format!("/v1/accounts/{BOBS}/entries"), true),
        (format!("/v1/accounts/{BOBS}/statement"), true),
        (format!("/v1/accounts/{ANNS}"), false),
        (format!("/v1/accounts/{ANNS}/balance"), false),
        // A transaction that names it is parked: a leg may be missing.
        (format!("/v1/accounts/{CASH}"), true),
        (format!("/v1/accounts/{CASH}/balance?booking_date=2026-01-31"), true),
        (format!("/v1/members/{ANN}"), false),
        ("/v1/trial-balance".to_owned(), true),
    ] {
        let reply = bank.get(&path).await;
        assert_eq!(reply.json()["parked"], parked, "{path}");
        assert_eq!(reply.headers.get("daybook-parked").is_some_and(|value| value == "true"), parked, "{path}");
    }
    let missing = bank.get("/v1/members/00000000-0000-0000-0000-0000000000ff").await;
    assert_eq!((missing.status.as_u16(), &missing.headers["daybook-parked"]), (404, &"true".parse().unwrap()));
    let list = bank.read("/v1/accounts").await;
    let parked: Vec<_> = list["items"].as_array().unwrap().iter().map(|account| account["parked"] == true).collect();
    assert_eq!(parked, [true, false, true]);
    let projections = bank.read("/v1/projections").await;
    assert_eq!(projections["items"][0]["parked_streams"], 3);
    assert_eq!(projections["parked"][0]["stream"], format!("account/{BOBS}"));
    assert_eq!(projections["items"][0]["partitions"][1]["watermark"], 100);
    bank.close().await;
}
