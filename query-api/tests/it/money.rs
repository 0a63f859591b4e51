//! Balances as of three dates, entries, statements, the trial balance.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::bank::{ANNS, BOBS, Bank, Booking, CASH};

fn later(id: u128, position: i64, debit: Uuid, credit: Uuid) -> Booking<'static> {
    Booking {
        id,
        kind: "deposit",
        booking_date: "2026-01-31",
        value_date: "2026-01-31",
        recorded_at: "2026-02-02 10:00:00+00",
        position,
        partition: 0,
        debit,
        credit,
        amount_minor: 1_234,
    }
}

#[tokio::test]
async fn balances_as_of_each_of_the_three_dates() {
    let bank = Bank::found("dates").await;
    for (account, query, balance) in [
        (ANNS, "", "750.00"),
        (BOBS, "", "700.00"),
        (CASH, "", "1450.00"),
        (ANNS, "booking_date=2026-01-04", "0.00"),
        (ANNS, "booking_date=2026-01-05", "1000.00"),
        (ANNS, "booking_date=2026-01-08", "800.00"),
        (ANNS, "booking_date=2026-01-31", "750.00"),
        (ANNS, "value_date=2026-01-14", "1000.00"),
        (ANNS, "value_date=2026-01-31", "800.00"),
        (ANNS, "recorded_at=2026-01-20T09:59:59Z", "1000.00"),
        (ANNS, "recorded_at=2026-01-20T10:00:00Z", "800.00"),
        (ANNS, "booking_date=2026-01-08&recorded_at=2026-01-19T00:00:00Z", "1000.00"),
        (ANNS, "booking_date=2026-01-31&value_date=2026-01-31&recorded_at=2026-01-31T23:00:00Z", "800.00"),
        (BOBS, "booking_date=2026-01-09", "200.00"),
        (CASH, "booking_date=2026-01-09", "1000.00"),
        (CASH, "value_date=2026-01-11", "1000.00"),
        (CASH, "value_date=2026-01-31", "1500.00"),
        (CASH, "recorded_at=2026-01-05T10:00:00Z", "1000.00"),
        (CASH, "recorded_at=2026-01-05T09:59:59.999999Z", "0.00"),
        (CASH, "booking_date=2026-01-31&value_date=2026-01-31&recorded_at=2026-01-06T00:00:00Z", "1000.00"),
    ] {
        let body = bank.read(&format!("/v1/accounts/{account}/balance?{query}")).await;
        assert_eq!(body["balance"], balance, "{account} {query}");
        assert_eq!(body["available"].is_string(), account != CASH && query.is_empty(), "{account} {query}");
    }
    let reply = bank.get(&format!("/v1/accounts/{ANNS}/balance?recorded_at=2026-01-20T12:00:00%2B02:00")).await;
    assert_eq!(reply.headers["etag"], "\"4\"");
    assert_eq!(
        reply.json(),
        json!({"account_id": ANNS, "currency": "CZK", "normal_side": "credit", "balance": "800.00", "version": 4,
               "as_of": {"recorded_at": "2026-01-20T10:00:00.000000Z"}, "parked": false})
    );
    let now = bank.read(&format!("/v1/accounts/{ANNS}/balance")).await;
    assert_eq!((&now["held"], &now["available"]), (&json!("100.00"), &json!("650.00")));
    bank.close().await;
}

fn balances(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["balance"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn entries_run_in_both_directions() {
    let bank = Bank::found("entries").await;
    for (account, oldest_first) in [
        (ANNS, vec!["1000.00", "800.00", "750.00"]),
        (BOBS, vec!["500.00", "700.00"]),
        (CASH, vec!["1000.00", "1500.00", "1450.00"]),
    ] {
        let newest_first: Vec<&str> = oldest_first.iter().rev().copied().collect();
        for limit in [1, 2, 500] {
            let path = format!("/v1/accounts/{account}/entries");
            let items = bank.walk(&format!("{path}?order=oldest"), limit).await;
            assert_eq!(balances(&items), oldest_first, "{account} {limit}");
            assert_eq!(balances(&bank.walk(&path, limit).await), newest_first, "{account} {limit}");
        }
    }
    // The balance runs over the lines that the filter leaves out, too.
    for limit in [1, 500] {
        for order in ["oldest", "newest"] {
            let path = format!("/v1/accounts/{CASH}/entries?from=2026-01-31&order={order}");
            assert_eq!(balances(&bank.walk(&path, limit).await), ["1450.00"], "{order}");
            let path = format!("/v1/accounts/{CASH}/entries?to=2026-01-09&order={order}");
            assert_eq!(balances(&bank.walk(&path, limit).await), ["1000.00"], "{order}");
        }
    }
    let page = bank.read(&format!("/v1/accounts/{ANNS}/entries?from=2026-01-09&to=2026-01-31")).await;
    assert_eq!(page["opening_balance"], "800.00");
    assert_eq!(
        page["items"],
        json!([{
            "transaction_id": Uuid::from_u128(4), "posting": 1, "leg": 1, "kind": "withdrawal", "side": "debit",
            "amount": {"amount": "50.00", "currency": "CZK"}, "balance": "750.00", "booking_date": "2026-01-31",
            "value_date": "2026-02-01", "recorded_at": "2026-01-31T10:00:00.000000Z", "position": 51, "sequence": 4,
        }])
    );
    bank.close().await;
}

/// The internal account's lines end at the applied position: beyond it some may be missing still.
#[tokio::test]
async fn an_internal_accounts_lines_are_exact_up_to_the_position() {
    let mut bank = Bank::found("exact").await;
    let path = format!("/v1/accounts/{CASH}/entries");
    let first = bank.read(&format!("{path}?limit=1")).await;
    bank.book(&later(8, 110, CASH, BOBS)).await;
    bank.execute("UPDATE projection_progress SET watermark = 120 WHERE partition = 0").await;
    assert_eq!(balances(&bank.walk(&path, 2).await), ["1450.00", "1500.00", "1000.00"]);
    assert_eq!(bank.read(&format!("/v1/accounts/{CASH}/balance")).await["balance"], "1450.00");
    let statement = bank.read(&format!("/v1/accounts/{CASH}/statement?from=2026-01-10")).await;
    assert_eq!((&statement["opening_balance"], &statement["closing_balance"]), (&json!("1000.00"), &json!("1450.00")));
    bank.execute("UPDATE projection_progress SET watermark = 120").await;
    assert_eq!(bank.read(&format!("/v1/accounts/{CASH}/balance")).await["balance"], "1462.34");
    assert_eq!(balances(&bank.walk(&path, 2).await)[0], "1462.34");
    // A walk that began before goes on where it was.
    let rest = bank.read(&format!("{path}?cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(balances(rest["items"].as_array().unwrap()), ["1500.00", "1000.00"]);
    bank.close().await;
}

#[tokio::test]
async fn a_statement_runs_by_booking_date() {
    let bank = Bank::found("statement").await;
    let statement = bank.read(&format!("/v1/accounts/{BOBS}/statement?from=2026-01-01&to=2026-01-31")).await;
    let lines = statement["lines"].as_array().unwrap();
    assert_eq!(balances(lines), ["200.00", "700.00"], "the transfer was booked for the earlier day");
    assert_eq!(
        (
            &statement["opening_balance"],
            &statement["total_debit"],
            &statement["total_credit"],
            &statement["closing_balance"]
        ),
        (&json!("0.00"), &json!("0.00"), &json!("700.00"), &json!("700.00"))
    );
    for (account, range, opening, closing, count) in [
        (ANNS, "from=2026-01-08&to=2026-01-30", "1000.00", "800.00", 1),
        (ANNS, "", "0.00", "750.00", 3),
        (CASH, "from=2026-01-06&to=2026-01-31", "1000.00", "1450.00", 2),
        (CASH, "from=2026-02-01", "1450.00", "1450.00", 0),
    ] {
        let statement = bank.read(&format!("/v1/accounts/{account}/statement?{range}")).await;
        assert_eq!(
            (&statement["opening_balance"], &statement["closing_balance"]),
            (&json!(opening), &json!(closing)),
            "{range}"
        );
        assert_eq!(statement["lines"].as_array().unwrap().len(), count, "{range}");
    }
    bank.close().await;
}

#[tokio::test]
async fn the_trial_balance_balances_as_of_each_date() {
    let bank = Bank::found("trial").await;
    let body = bank.read("/v1/trial-balance").await;
    assert_eq!(
        body,
        json!({
            "as_of": {},
            "lines": [
                {"ledger_code": "1000", "name": "Cash", "class": "asset", "normal_side": "debit", "control": false,
                 "currency": "CZK", "debit": "1500.00", "credit": "50.00", "balance": "1450.00"},
                {"ledger_code": "2100", "name": "Members' current accounts", "class": "liability", "normal_side": "credit",
                 "control": true, "currency": "CZK", "debit": "250.00", "credit": "1700.00", "balance": "1450.00",
                 "accounts_balance": "1450.00", "agrees": true},
            ],
            "totals": [{"currency": "CZK", "debit": "1750.00", "credit": "1750.00", "balanced": true}],
            "parked": false,
        })
    );
    for (query, cash, members) in [
        ("booking_date=2026-01-09", "1000.00", "1000.00"),
        ("value_date=2026-01-31", "1500.00", "1500.00"),
        ("recorded_at=2026-01-10T10:00:00Z", "1500.00", "1500.00"),
        ("recorded_at=2026-01-10T09:59:59Z&booking_date=2026-01-31", "1000.00", "1000.00"),
    ] {
        let body = bank.read(&format!("/v1/trial-balance?{query}")).await;
        assert_eq!(
            (&body["lines"][0]["balance"], &body["lines"][1]["balance"]),
            (&json!(cash), &json!(members)),
            "{query}"
        );
        assert_eq!(
            (&body["lines"][1]["agrees"], &body["totals"][0]["balanced"]),
            (&json!(true), &json!(true)),
            "{query}"
        );
    }
    let empty = bank.read("/v1/trial-balance?booking_date=2025-12-31").await;
    assert_eq!((&empty["lines"], &empty["totals"]), (&json!([]), &json!([])));
    bank.close().await;
}

/// The transactions' partition is ahead, the accounts' is not, then the other way round: the trial
/// balance is that of the position all the same, and the control code equals its accounts.
#[tokio::test]
async fn the_trial_balance_stands_for_exactly_its_position() {
    let mut bank = Bank::found("cut").await;
    let before = bank.read("/v1/trial-balance").await;
    let as_of_before = bank.read("/v1/trial-balance?booking_date=2026-01-31").await;
    bank.book(&later(8, 110, CASH, BOBS)).await;
    assert_eq!(bank.read("/v1/trial-balance").await, before);
    assert_eq!(bank.read("/v1/trial-balance?booking_date=2026-01-31").await, as_of_before);
    bank.execute(
        "DELETE FROM legs WHERE position = 110; DELETE FROM transactions WHERE position = 110; \
                  DELETE FROM ledger_daily WHERE booking_date = '2026-01-31' AND partition = 0",
    )
    .await;
    assert_eq!(bank.read("/v1/trial-balance").await, before, "the entry alone is beyond the position too");
    bank.execute("UPDATE projection_progress SET watermark = 120").await;
    let broken = bank.read("/v1/trial-balance").await;
    assert_eq!(broken["lines"][1]["agrees"], false, "entries without their legs are found out");
    bank.close().await;
}

/// Sums are wider than one amount may be.
#[tokio::test]
async fn large_sums_are_exact() {
    let bank = Bank::found("large").await;
    bank.execute(&format!(
        "UPDATE account_daily SET debit_minor = 90071992547409919007199254740991 \
         WHERE account_id = '{CASH}' AND booking_date = '2026-01-05'"
    ))
    .await;
    let body = bank.read(&format!("/v1/accounts/{CASH}/balance")).await;
    assert_eq!(body["balance"], "900719925474099190071992547859.91");
    bank.close().await;
}
