//! What is wrong without looking at any state: each gets its own clear error and leaves nothing
//! behind, which a door that panics when it is touched proves.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Method, Request};
use command_api::{Answer, Door, ManyAnswers, MaybeSealed, Narrative, SealError};
use domain::saga::Process;
use domain::words::Sealed;
use domain::{AccountId, Currency, LoanId, LoanProductId, MemberId, SagaId, TransactionId};
use event_store::{ReadError, Reply, Submission, SubmitError};

use crate::{Answered, api, ask, post};

/// A door that nothing may go through.
pub(crate) struct Shut;

impl Door for Shut {
    fn submit(&self, submission: Submission) -> Answer<'_, Result<Reply, SubmitError>> {
        panic!("a bad request was submitted: {submission:?}");
    }

    fn submit_many(&self, submissions: Vec<Submission>) -> Result<Answer<'static, ManyAnswers>, SubmitError> {
        panic!("a bad request was submitted: {submissions:?}");
    }

    fn replay_many<'a>(
        &'a self,
        _: &'a str,
        keys: &'a [String],
        _: &'a [u8; 32],
    ) -> Answer<'a, Result<Vec<Option<Reply>>, SubmitError>> {
        panic!("a bad request was looked up under {keys:?}");
    }

    fn seal_narratives<'a>(&'a self, _: &'a [Narrative<'a>]) -> Answer<'a, Result<Vec<MaybeSealed>, SealError>> {
        panic!("a bad request came to its sealing");
    }

    fn replay<'a>(
        &'a self,
        _: &'a str,
        key: &'a str,
        _: &'a [u8; 32],
    ) -> Answer<'a, Result<Option<Reply>, SubmitError>> {
        panic!("a bad request was looked up under {key}");
    }

    fn request_hmac(&self, _: &[&[u8]]) -> [u8; 32] {
        panic!("a bad request came to its HMAC");
    }

    fn seal_member(
        &self,
        _: MemberId,
        _: BTreeMap<&'static str, String>,
    ) -> Answer<'_, Result<BTreeMap<String, Sealed>, SealError>> {
        panic!("a bad request came to its sealing");
    }

    fn seal_narrative<'a>(
        &'a self,
        _: TransactionId,
        _: &'a [AccountId],
        _: &'a str,
    ) -> Answer<'a, Result<Option<Sealed>, SealError>> {
        panic!("a bad request came to its sealing");
    }

    fn seal_payout<'a>(&'a self, _: LoanId, _: &'a str) -> Answer<'a, Result<Option<Sealed>, SealError>> {
        panic!("a bad request came to its sealing");
    }

    /// The only thing that is looked at: what is malformed in terms depends on their currency.
    fn product_currency(&self, _: LoanProductId) -> Answer<'_, Result<Option<Currency>, ReadError>> {
        Box::pin(async { Ok("CZK".parse().ok()) })
    }

    fn saga_process(&self, _: SagaId) -> Answer<'_, Result<Option<(u64, Process)>, ReadError>> {
        panic!("a bad request was looked up");
    }

    fn is_ready(&self) -> bool {
        false
    }
}

const ID: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980";
const OTHER: &str = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981";

/// Checks status, code and the first field of a problem, and that it is a whole one.
pub(crate) fn expect(answered: &Answered, status: u16, code: &str, field: Option<&str>, told: &str) {
    let body = &answered.body;
    assert_eq!((answered.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{told}: {body}");
    assert_eq!(body["errors"][0]["field"].as_str(), field, "{told}: {body}");
    assert_eq!(answered.headers["content-type"], "application/problem+json", "{told}");
    assert_eq!(body["status"], status, "{told}: {body}");
    for member in ["type", "title", "detail", "correlation_id", "timestamp", "path"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{told}: {member} in {body}");
    }
}

async fn refused(path: &str, body: &str, code: &str, field: &str) {
    let answered = ask(&api(Shut), post(path, body.to_owned())).await;
    expect(&answered, 400, code, Some(field), &format!("{path} {body}"));
}

fn transfer(amount: &str, currency: &str) -> String {
    format!(
        r#"{{"kind":"transfer","from_account_id":"{ID}","to_account_id":"{OTHER}","amount":{{"amount":{amount},"currency":{currency}}}}}"#
    )
}

fn legs(second_amount: &str) -> String {
    format!(
        r#"{{"kind":"transfer","legs":[
            {{"account_id":"{ID}","side":"debit","amount":{{"amount":"1.00","currency":"CZK"}}}},
            {{"account_id":"{OTHER}","side":"credit","amount":{{"amount":"{second_amount}","currency":"CZK"}}}}]}}"#
    )
}

#[tokio::test]
async fn amounts_that_are_none() {
    let huge = format!("\"{}\"", "9".repeat(400));
    let cases = [
        (r#""-5.00""#, r#""CZK""#, "amount_not_positive", "amount.amount"),
        (r#""0""#, r#""CZK""#, "amount_not_positive", "amount.amount"),
        (r#""1.234""#, r#""CZK""#, "amount_too_precise", "amount.amount"),
        (huge.as_str(), r#""CZK""#, "amount_too_large", "amount.amount"),
        (r#""90071992547409.92""#, r#""CZK""#, "amount_too_large", "amount.amount"),
        (r#""1e3""#, r#""CZK""#, "amount_malformed", "amount.amount"),
        (r#""1,000""#, r#""CZK""#, "amount_malformed", "amount.amount"),
        (r#""NaN""#, r#""CZK""#, "amount_malformed", "amount.amount"),
        (r#""""#, r#""CZK""#, "amount_malformed", "amount.amount"),
        ("5", r#""CZK""#, "invalid_type", "amount.amount"),
        ("null", r#""CZK""#, "invalid_type", "amount.amount"),
        (r#""5""#, r#""XYZ""#, "unknown_currency", "amount.currency"),
        (r#""5""#, r#""czk""#, "unknown_currency", "amount.currency"),
        (r#""5""#, "203", "invalid_type", "amount.currency"),
    ];
    for (amount, currency, code, field) in cases {
        refused("/v1/transactions", &transfer(amount, currency), code, field).await;
    }
    refused("/v1/transactions", &legs("1.001"), "amount_too_precise", "legs[1].amount.amount").await;
    refused("/v1/transactions", &legs("-1"), "amount_not_positive", "legs[1].amount.amount").await;
}

#[tokio::test]
async fn bodies_that_do_not_fit() {
    let member = |rest: &str| format!(r#"{{"number":"M-1","kind":"person","name":"A"{rest}}}"#);
    let account =
        |rest: &str| format!(r#"{{"number":"1","product":"savings","currency":"CZK","ledger_code":"2010"{rest}}}"#);
    let act = |noun: &str, verb: &str| format!("/v1/{noun}/{ID}/{verb}");
    let cases = [
        ("/v1/members".to_owned(), member(r#","nick":"x""#), "unknown_field", "nick"),
        ("/v1/members".to_owned(), member(r#","contact":{"fax":"1"}"#), "unknown_field", "contact.fax"),
        ("/v1/members".to_owned(), member(r#","id":"7""#), "invalid_value", "id"),
        ("/v1/members".to_owned(), member(r#","id":"00000000-0000-0000-0000-000000000000""#), "invalid_value", "id"),
        ("/v1/members".to_owned(), member(r#","birth_date":"1961-02-30""#), "invalid_value", "birth_date"),
        ("/v1/members".to_owned(), member(r#","branch":"no spaces""#), "invalid_value", "branch"),
        ("/v1/members".to_owned(), r#"{"number":"M-1","kind":"person"}"#.to_owned(), "missing_field", "name"),
        ("/v1/members".to_owned(), r#"{"number":"","kind":"person","name":"A"}"#.to_owned(), "invalid_value", "number"),
        ("/v1/members".to_owned(), r#"{"number":"1","kind":"cat","name":"A"}"#.to_owned(), "invalid_value", "kind"),
        ("/v1/members".to_owned(), r#"{"number":"1","kind":"person","name":""}"#.to_owned(), "invalid_value", "name"),
        (act("members", "reject"), "{}".to_owned(), "missing_field", "reason"),
        (act("members", "suspend"), r#"{"reason":"He stole"}"#.to_owned(), "invalid_value", "reason"),
        (act("members", "verify"), r#"{"sure":true}"#.to_owned(), "unknown_field", "sure"),
        (
            "/v1/accounts".to_owned(),
            account(r#","holders":[{"member_id":"x","role":"owner"}]"#),
            "invalid_value",
            "holders[0].member_id",
        ),
        ("/v1/accounts".to_owned(), account(r#","name":"Jana""#), "invalid_value", "name"),
        ("/v1/accounts".to_owned(), account(r#","opened_on":"yesterday""#), "invalid_value", "opened_on"),
        (act("accounts", "freeze"), r#"{"scope":"all","reason":"x"}"#.to_owned(), "invalid_value", "scope"),
        (act("accounts", "limits"), "{}".to_owned(), "missing_field", "minimum_balance"),
        (
            act("accounts", "limits"),
            r#"{"minimum_balance":{"amount":"-1","currency":"CZK"}}"#.to_owned(),
            "amount_negative",
            "minimum_balance.amount",
        ),
        ("/v1/transactions".to_owned(), r#"{"kind":"transfer"}"#.to_owned(), "missing_field", "legs"),
        ("/v1/transactions".to_owned(), r#"{"kind":"transfer","legs":[]}"#.to_owned(), "leg_count", "legs"),
        (
            "/v1/transactions".to_owned(),
            legs("1.00").replace("}]}", &format!("}}],\"from_account_id\":\"{ID}\"}}")),
            "ambiguous_legs",
            "legs",
        ),
        ("/v1/transactions".to_owned(), legs("1.00").replace("debit", "left"), "invalid_value", "legs[0].side"),
        (
            "/v1/transactions".to_owned(),
            legs("1.00").replace("}]}", r#"}],"pending":{"expires_at":"tomorrow"}}"#),
            "invalid_value",
            "pending.expires_at",
        ),
        (
            "/v1/transactions".to_owned(),
            legs("1.00").replace("}]}", r#"}],"narrative":" "}"#),
            "invalid_value",
            "narrative",
        ),
        (
            act("transactions", "post"),
            r#"{"legs":[{"leg":-1,"amount":{"amount":"1","currency":"CZK"}}]}"#.to_owned(),
            "invalid_value",
            "legs[0].leg",
        ),
        (act("transactions", "post"), r#"{"final":"no"}"#.to_owned(), "invalid_type", "final"),
        (act("transactions", "reverse"), r#"{"legs":[],"reason":"x"}"#.to_owned(), "leg_count", "legs"),
        ("/v1/ledger/currencies".to_owned(), r#"{"code":"ZZZ"}"#.to_owned(), "unknown_currency", "code"),
        (
            "/v1/ledger/currencies".to_owned(),
            r#"{"code":"CZK","minor_units":3}"#.to_owned(),
            "invalid_value",
            "minor_units",
        ),
        (
            "/v1/ledger/codes".to_owned(),
            r#"{"code":"1","name":"x","class":"odd"}"#.to_owned(),
            "invalid_value",
            "class",
        ),
        (
            "/v1/ledger/periods".to_owned(),
            r#"{"id":"1993 01","from":"1993-01-01","to":"1993-01-31"}"#.to_owned(),
            "invalid_value",
            "id",
        ),
        (
            "/v1/ledger/periods".to_owned(),
            r#"{"id":"1993-01","from":"1993-01-01","to":"1993-01-32"}"#.to_owned(),
            "invalid_value",
            "to",
        ),
    ];
    for (path, body, code, field) in cases {
        refused(&path, &body, code, field).await;
    }
}

#[tokio::test]
async fn an_unknown_variant_names_the_known_ones() {
    let body = legs("1.00").replace("\"transfer\"", "\"gift\"");
    let answered = ask(&api(Shut), post("/v1/transactions", body)).await;
    let detail = answered.body["detail"].as_str().unwrap();
    assert!(detail.contains("deposit") && detail.contains("loan_repayment"), "{detail}");
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let api = api(Shut);
    for body in ["", "{", "{\"kind\":}", "nonsense", &(legs("1.00") + "{}")] {
        let answered = ask(&api, post("/v1/transactions", body.to_owned())).await;
        expect(&answered, 400, "malformed_json", None, body);
    }
    for body in ["[]", "7", "null", "\"{}\""] {
        expect(&ask(&api, post("/v1/transactions", body)).await, 400, "invalid_type", Some(""), body);
    }
    let path = format!("/v1/accounts/{ID}/holders");
    for (path, body) in
        [(path.as_str(), format!(r#"["{OTHER}","owner"]"#)), ("/v1/ledger/currencies", "[\"CZK\"]".to_owned())]
    {
        expect(&ask(&api, post(path, body)).await, 400, "invalid_type", Some(""), "an array where an object is due");
    }
    let answered = ask(&api, post("/v1/transactions", vec![0xff, 0xfe])).await;
    assert_eq!(answered.status, 400);
    let large = format!(r#"{{"number":"{}"}}"#, "x".repeat(2 * 1024 * 1024));
    expect(&ask(&api, post("/v1/members", large)).await, 413, "payload_too_large", None, "2 MiB");
}

#[tokio::test]
async fn headers_that_are_missing_or_wrong() {
    let api = api(Shut);
    let changed = |change: &dyn Fn(&mut Request<Body>)| {
        let mut request = post(&format!("/v1/members/{ID}/verify"), "{}");
        change(&mut request);
        request
    };
    let request = changed(&|request| drop(request.headers_mut().remove("idempotency-key")));
    expect(&ask(&api, request).await, 400, "idempotency_key_required", Some("Idempotency-Key"), "no key");
    let request = changed(&|request| drop(request.headers_mut().insert("idempotency-key", "a b".parse().unwrap())));
    expect(&ask(&api, request).await, 400, "idempotency_key_invalid", Some("Idempotency-Key"), "a key with a space");
    for version in ["*", "W/\"5\"", "\"5\", \"6\"", "five", "-1"] {
        let request = changed(&|request| drop(request.headers_mut().insert("if-match", version.parse().unwrap())));
        expect(&ask(&api, request).await, 400, "if_match_invalid", Some("If-Match"), version);
    }
    let mut request = post("/v1/transactions", legs("1.00"));
    request.headers_mut().insert("if-match", "\"5\"".parse().unwrap());
    expect(&ask(&api, request).await, 400, "if_match_not_applicable", Some("If-Match"), "nothing to match yet");
    let request = changed(&|request| drop(request.headers_mut().remove("content-type")));
    expect(&ask(&api, request).await, 415, "unsupported_media_type", None, "no content type");
    let request = changed(&|request| drop(request.headers_mut().insert("content-type", "text/plain".parse().unwrap())));
    expect(&ask(&api, request).await, 415, "unsupported_media_type", None, "text/plain");
}

#[tokio::test]
async fn paths_that_lead_nowhere() {
    let api = api(Shut);
    for id in ["7", "not-a-uuid", "00000000-0000-0000-0000-000000000000", "0190a5d07c3e7b1a9f2e3d4c5b6a7980"] {
        let answered = ask(&api, post(&format!("/v1/accounts/{id}/close"), "{}")).await;
        expect(&answered, 400, "invalid_value", Some("id"), id);
    }
    let answered = ask(&api, post("/v1/ledger/periods/19930123456789012/close", "{}")).await;
    expect(&answered, 400, "invalid_value", Some("id"), "a long period");
    expect(&ask(&api, post("/v1/nothing", "{}")).await, 404, "not_found", None, "no such route");
    expect(&ask(&api, post(&format!("/v1/accounts/{ID}/melt"), "{}")).await, 404, "not_found", None, "no such verb");
    let mut request = post("/v1/accounts", "{}");
    *request.method_mut() = Method::DELETE;
    expect(&ask(&api, request).await, 405, "method_not_allowed", None, "DELETE");
    let answered = ask(&api, post(&format!("/v1/members/{ID}/verify?dry_run=true"), "{}")).await;
    expect(&answered, 400, "invalid_query", None, "a query");
}

#[tokio::test]
async fn a_request_of_nobody_is_not_let_in() {
    let router = command_api::router(command_api::AppState::new(Shut), None);
    let api = platform::http::layers(router, platform::http::Options::default());
    let answered = ask(&api, post(&format!("/v1/members/{ID}/verify"), "{}")).await;
    expect(&answered, 401, "token_missing", None, "nobody");
}

#[tokio::test]
async fn it_is_alive_but_not_ready() {
    let api = api(Shut);
    let get = |path: &str| Request::get(path.to_owned()).body(Body::empty()).unwrap();
    assert_eq!(ask(&api, get("/healthz")).await.status, 200);
    assert_eq!(ask(&api, get("/readyz")).await.status, 503);
    let description = ask(&api, get("/openapi.json")).await;
    assert_eq!(description.status, 200);
    assert!(description.body["paths"]["/v1/transactions"]["post"].is_object());
    assert_eq!(ask(&api, get("/docs/")).await.status, 200);
}
