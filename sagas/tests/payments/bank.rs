//! The port against the bank simulator, over real sockets: whatever goes wrong on the way, the port
//! says what is known and nothing more, and money leaves once.

use std::time::Duration;

use crate::support::{Bank, config, eventually, money, pay_out};
use axum::http::StatusCode;
use sagas::payments::{PayOutOutcome, PaymentPort, PortError, ReturnPayment};
use uuid::Uuid;

/// What an answer was, in a word.
fn word<T>(answer: &Result<T, PortError>) -> &'static str {
    answer.as_ref().map_or_else(PortError::code, |_| "answered")
}

fn is_settled(outcome: &PayOutOutcome) -> bool {
    matches!(outcome, PayOutOutcome::Settled { .. })
}

#[tokio::test]
async fn a_payment_leaves_once_however_often_it_is_sent() {
    let bank = Bank::open().await;
    let order = pay_out("100.00");
    let first = bank.port.pay_out(&order).await.unwrap();
    assert!(is_settled(&first), "{first:?}");
    let again = futures::future::join_all((0..20).map(|_| bank.port.pay_out(&order))).await;
    assert!(again.into_iter().all(|answer| answer.as_ref() == Ok(&first)));
    assert_eq!(bank.port.pay_out_status(order.id).await, Ok(Some(first)));
    assert_eq!(bank.balance().await, "-100.00");

    let mut other = order.clone();
    other.amount = money("100.01");
    assert_eq!(word(&bank.port.pay_out(&other).await), "conflict");
    assert_eq!(bank.balance().await, "-100.00");
    assert_eq!(bank.port.pay_out_status(Uuid::now_v7()).await, Ok(None));
}

#[tokio::test]
async fn many_at_once_under_one_id_pay_once() {
    let bank = Bank::open().await;
    let order = pay_out("7.00");
    let answers = futures::future::join_all((0..50).map(|_| bank.port.pay_out(&order))).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1] && pair[0].is_ok()), "{answers:?}");
    assert_eq!(bank.balance().await, "-7.00");
}

#[tokio::test]
async fn each_fault_ends_in_what_is_known_and_the_next_try_pays_once() {
    // Fault, what the try says, whether the bank has done it by then.
    let cases = [
        (r#"{"kind":"drop_before"}"#, "unknown", false),
        (r#"{"kind":"drop_after"}"#, "unknown", true),
        (r#"{"kind":"error_before"}"#, "unknown", false),
        (r#"{"kind":"error_after"}"#, "unknown", true),
        (r#"{"kind":"garble"}"#, "unknown", true),
        (r#"{"kind":"answer_late","delay_ms":60000}"#, "unknown", true),
    ];
    for (fault, said, done) in cases {
        let bank = Bank::open().await;
        let order = pay_out("10.00");
        bank.faults(&format!(r#"{{"requests":[{{"operation":"pay","times":1,"fault":{fault}}}]}}"#)).await;
        let answer = bank.port.pay_out(&order).await;
        assert_eq!(word(&answer), said, "{fault}: {answer:?}");
        assert!(answer.unwrap_err().may_have_happened(), "{fault}");
        let known = bank.port.pay_out_status(order.id).await.unwrap();
        assert_eq!(known.as_ref().is_some_and(is_settled), done, "{fault}: {known:?}");
        let again = bank.port.pay_out(&order).await.unwrap();
        assert!(is_settled(&again), "{fault}: {again:?}");
        assert_eq!(bank.balance().await, "-10.00", "{fault}");
    }
}

#[tokio::test]
async fn a_payment_that_the_bank_makes_after_we_gave_up_is_found_by_its_id() {
    let bank = Bank::open().await;
    let order = pay_out("10.00");
    bank.faults(r#"{"requests":[{"operation":"pay","times":1,"fault":{"kind":"work_late","delay_ms":4000}}]}"#).await;
    assert_eq!(word(&bank.port.pay_out(&order).await), "unknown");
    // Not seen yet, but on its way: why `None` must never be taken for "will not happen".
    assert_eq!(bank.port.pay_out_status(order.id).await, Ok(None));
    eventually("the late payment", async || {
        bank.port.pay_out_status(order.id).await.unwrap().is_some_and(|outcome| is_settled(&outcome))
    })
    .await;
    assert!(bank.port.pay_out(&order).await.is_ok());
    assert_eq!(bank.balance().await, "-10.00");
}

#[tokio::test]
async fn a_payment_that_was_cancelled_is_not_made_however_late_it_comes() {
    let bank = Bank::open().await;
    let order = pay_out("10.00");
    let cancelled = |answer: Result<PayOutOutcome, PortError>| match answer {
        Ok(PayOutOutcome::Refused { code, .. }) => assert_eq!(code, "cancelled"),
        other => panic!("{other:?}"),
    };
    bank.faults(r#"{"requests":[{"operation":"pay","times":1,"fault":{"kind":"work_late","delay_ms":4000}}]}"#).await;
    assert_eq!(word(&bank.port.pay_out(&order).await), "unknown");
    assert_eq!(bank.port.pay_out_status(order.id).await, Ok(None));
    // The order is still on its way. Now the bank is told, and keeps it over a restart.
    for _ in 0..2 {
        cancelled(bank.port.cancel_pay_out(order.id).await);
        cancelled(bank.port.pay_out_status(order.id).await.map(Option::unwrap));
    }
    eventually("the late order has come", async || {
        let journal = std::fs::read_to_string(bank.journal()).unwrap();
        journal.contains("order_refused")
    })
    .await;
    let bank = bank.restart().await;
    cancelled(bank.port.pay_out(&order).await);
    assert_eq!(bank.balance().await, "0");

    // What has been paid is told, and stays.
    let paid = pay_out("5.00");
    let outcome = bank.port.pay_out(&paid).await;
    assert_eq!(bank.port.cancel_pay_out(paid.id).await, outcome);
    assert_eq!(bank.balance().await, "-5.00");
}

#[tokio::test]
async fn a_bank_that_does_not_listen_has_certainly_got_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let port = config(&url, &[]);
    let answer = port.pay_out(&pay_out("1.00")).await;
    assert_eq!(word(&answer), "not_sent", "{answer:?}");
    assert!(!answer.unwrap_err().may_have_happened());
    assert_eq!(word(&port.pay_out_status(Uuid::now_v7()).await), "not_sent");
}

#[tokio::test]
async fn a_bank_that_cannot_prove_its_name_gets_no_byte_of_a_payment() {
    let (url, handshakes) = crate::support::impostor().await;
    let answer = config(&url, &[]).pay_out(&pay_out("1.00")).await;
    assert_eq!(word(&answer), "not_sent", "{answer:?}");
    eventually("the handshake is over", async || !handshakes.lock().unwrap().is_empty()).await;
    assert!(handshakes.lock().unwrap().iter().all(|done| !done), "a handshake with an impostor was finished");
}

#[tokio::test]
async fn a_peer_that_is_silent_or_endless_leaves_the_outcome_unknown() {
    for (what, reply) in [
        ("silence", String::new()),
        ("a closed connection", "close".to_owned()),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("a reply without end", format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(200_000))),
        ("a redirect", "HTTP/1.1 303 See Other\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned()),
    ] {
        let url = crate::support::peer(reply).await;
        let answer = config(&url, &[]).pay_out(&pay_out("1.00")).await;
        assert_eq!(word(&answer), "unknown", "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn refusals_are_the_last_word_of_an_id() {
    let bank = Bank::open().await;
    let refused = async |order| match bank.port.pay_out(&order).await {
        Ok(PayOutOutcome::Refused { code, .. }) => (code, order.id),
        other => panic!("{other:?}"),
    };
    let mut unknown_bank = pay_out("1.00");
    unknown_bank.to.bank_code = "ZZ".to_owned();
    assert_eq!(refused(unknown_bank).await.0, "unknown_bank");
    assert_eq!(refused(pay_out("10000000.01")).await.0, "amount_over_limit");
    bank.put("/accounts/YZ/87144583", r#"{"closed":true}"#, StatusCode::OK).await;
    let order = pay_out("1.00");
    let (code, id) = refused(order.clone()).await;
    assert_eq!(code, "account_closed");
    // The account opens again, but this id stays refused: a new try is a new payment.
    bank.put("/accounts/YZ/87144583", r#"{"closed":false}"#, StatusCode::OK).await;
    assert!(matches!(bank.port.pay_out_status(id).await, Ok(Some(PayOutOutcome::Refused { .. }))));
    assert!(matches!(bank.port.pay_out(&order).await, Ok(PayOutOutcome::Refused { .. })));
    assert!(is_settled(&bank.port.pay_out(&pay_out("1.00")).await.unwrap()));
    bank.faults(r#"{"requests":[{"every":2,"fault":{"kind":"refuse","code":"sanctions"}}]}"#).await;
    assert!(is_settled(&bank.port.pay_out(&pay_out("1.00")).await.unwrap()));
    assert_eq!(refused(pay_out("1.00")).await.0, "sanctions");
    assert_eq!(bank.balance().await, "-2.00");
}

#[tokio::test]
async fn a_payment_on_its_way_is_settled_later_or_refused_after_all() {
    let bank = Bank::open().await;
    bank.faults(r#"{"requests":[{"operation":"pay","fault":{"kind":"stay_accepted","for_ms":2000}}]}"#).await;
    let (settles, refused) = (pay_out("5.00"), pay_out("6.00"));
    for order in [&settles, &refused] {
        assert_eq!(bank.port.pay_out(order).await, Ok(PayOutOutcome::Accepted));
        assert_eq!(bank.port.pay_out(order).await, Ok(PayOutOutcome::Accepted));
    }
    assert_eq!(bank.balance().await, "0");
    eventually("the payment settles", async || {
        bank.port.pay_out_status(settles.id).await.unwrap().is_some_and(|outcome| is_settled(&outcome))
    })
    .await;
    let third = pay_out("7.00");
    assert_eq!(bank.port.pay_out(&third).await, Ok(PayOutOutcome::Accepted));
    bank.put("/accounts/YZ/87144583", r#"{"closed":true}"#, StatusCode::OK).await;
    eventually("the third is refused", async || {
        let outcome = bank.port.pay_out_status(third.id).await.unwrap();
        matches!(outcome, Some(PayOutOutcome::Refused { code, .. }) if code == "account_closed")
    })
    .await;
    assert_eq!(bank.balance().await, "-11.00");
}

#[tokio::test]
async fn what_came_in_goes_back_once_and_never_more_than_came() {
    let bank = Bank::open().await;
    let reference = bank.receive(r#"{"amount":{"amount":"50.00","currency":"CZK"},"reference":"loan 7","from":{"account_number":"1","bank_code":"AB"}}"#).await;
    let back = |amount| ReturnPayment {
        id: Uuid::now_v7(),
        original_bank_reference: reference.clone(),
        amount: money(amount),
        reason: "more than was due".to_owned(),
    };
    let first = back("20.00");
    assert!(is_settled(&bank.port.return_payment(&first).await.unwrap()));
    assert!(is_settled(&bank.port.return_payment(&first).await.unwrap()));
    assert!(bank.port.return_status(first.id).await.unwrap().is_some_and(|outcome| is_settled(&outcome)));
    assert_eq!(bank.port.pay_out_status(first.id).await, Ok(None), "a return is no payment");
    assert_eq!(bank.balance().await, "30.00");
    let too_much = bank.port.return_payment(&back("30.01")).await;
    assert!(
        matches!(too_much, Ok(PayOutOutcome::Refused { ref code, .. }) if code == "more_than_received"),
        "{too_much:?}"
    );
    assert!(is_settled(&bank.port.return_payment(&back("30.00")).await.unwrap()));
    let mut unknown = back("1.00");
    unknown.original_bank_reference = "nothing".to_owned();
    let unknown = bank.port.return_payment(&unknown).await;
    assert!(matches!(unknown, Ok(PayOutOutcome::Refused { ref code, .. }) if code == "unknown_payment"), "{unknown:?}");
    assert_eq!(bank.balance().await, "0.00");
}

#[tokio::test]
async fn the_bank_knows_its_client_by_signature_or_token_and_nobody_else() {
    let secret = "the-secret-of-client-and-bank";
    let bank = Bank::with_secret(secret).await;
    let right = [("DAYBOOK_BANK_SECRET", secret)];
    let bearer = [("DAYBOOK_BANK_SECRET", secret), ("DAYBOOK_BANK_AUTH", "bearer")];
    for settings in [&right[..], &bearer[..]] {
        let port = config(&bank.url, settings);
        assert!(is_settled(&port.pay_out(&pay_out("1.00")).await.unwrap()));
        assert_eq!(port.pay_out_status(Uuid::now_v7()).await, Ok(None));
    }
    let wrong = [("DAYBOOK_BANK_SECRET", "another-secret-than-theirs")];
    let wrong_bearer = [("DAYBOOK_BANK_SECRET", "another-secret-than-theirs"), ("DAYBOOK_BANK_AUTH", "bearer")];
    for settings in [&wrong[..], &wrong_bearer[..], &[]] {
        let port = config(&bank.url, settings);
        assert_eq!(port.pay_out(&pay_out("1.00")).await, Err(PortError::Unauthorized));
        assert_eq!(port.pay_out_status(Uuid::now_v7()).await, Err(PortError::Unauthorized));
    }
    let movements = bank.get_authorized("/statements", secret).await;
    assert_eq!(movements["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_bearer_token_never_goes_over_a_network_in_the_clear() {
    let settings = [("DAYBOOK_BANK_SECRET", "the-secret-of-client-and-bank"), ("DAYBOOK_BANK_AUTH", "bearer")];
    let refused = |url: &str| crate::support::try_config(url, &settings).err().map(|error| error.to_string());
    assert!(refused("http://bank.example").unwrap().contains("https"));
    assert!(refused("http://10.0.0.1:7403").unwrap().contains("https"));
    assert_eq!(refused("https://bank.example"), None);
    assert_eq!(refused("http://[::1]:7403"), None);
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_settles_what_was_on_its_way() {
    let bank = Bank::open().await;
    let settled = pay_out("1.00");
    bank.port.pay_out(&settled).await.unwrap();
    bank.faults(r#"{"requests":[{"fault":{"kind":"stay_accepted","for_ms":300}}]}"#).await;
    let on_its_way = pay_out("2.00");
    assert_eq!(bank.port.pay_out(&on_its_way).await, Ok(PayOutOutcome::Accepted));
    let bank = bank.restart().await;
    assert!(bank.port.pay_out_status(settled.id).await.unwrap().is_some_and(|outcome| is_settled(&outcome)));
    eventually("what was on its way settles", async || bank.balance().await == "-3.00").await;
    assert!(is_settled(&bank.port.pay_out(&on_its_way).await.unwrap()));
    assert_eq!(bank.balance().await, "-3.00");
    tokio::time::timeout(Duration::from_secs(5), bank.close()).await.unwrap();
}
