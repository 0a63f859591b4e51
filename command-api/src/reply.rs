//! Outcomes as replies. The first time and every repetition go through here: a repetition is
//! rendered anew from the outcome that the log has, never from stored bytes, and for its own caller:
//! what an account has is shown to those only who may see it.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{SecondsFormat, Utc};
use domain::money::decimal;
use domain::rejection::RejectionClass;
use domain::{Currency, Rejection};
use event_store::{Accepted, Balance, Rejected};
use platform::http::IDEMPOTENCY_REPLAYED;
use platform::problem::PROBLEM_JSON;
use platform::{Permission, Principal, Problem, RequestContext};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// The header that says up to where the log is known to the caller now.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("daybook-position");

/// The amounts in a rejection that the request itself named.
const ASKED: [&str; 4] = ["requested", "amount", "debits", "credits"];
/// Room for the headers that a reply has in the end, those of the middleware included.
const HEADERS: usize = 16;
/// Room for a reply without its balances, and for each of these, in bytes.
const BODY_BYTES: usize = 128;
const BALANCE_BYTES: usize = 192;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What is said of a rejection whose amounts are not for the caller.
const HIDDEN: &str = "a rule refuses this; the amounts that it goes by are not for this caller to see";

/// What a command has done. A repetition of the request gets the same body again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980",
    "version": 1,
    "position": 4711,
    "balances": [{
        "account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
        "currency": "CZK",
        "balance": "1234.56",
        "available": "1034.56",
        "version": 7,
    }],
}))]
pub(crate) struct CommandReply {
    /// The id of what the command was about.
    id: String,
    /// Its version afterwards: the number of its events.
    version: u64,
    /// The position of the command's last event in the log; a read can wait for it with
    /// `min_position`.
    position: u64,
    /// The members' accounts that it touched and that the caller may see, as they were afterwards.
    balances: Vec<AccountBalance>,
    /// The transactions that it made besides what it was about: those of a loan or of an incoming payment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    transaction_ids: Vec<Uuid>,
}

/// A member's account after the command.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountBalance {
    /// The account.
    account_id: Uuid,
    /// Its currency.
    #[schema(value_type = String, example = "CZK")]
    currency: Currency,
    /// The balance on the account's normal side.
    #[schema(example = "1234.56")]
    balance: String,
    /// The balance less what is held.
    #[schema(example = "1034.56")]
    available: String,
    /// The account's version: the number of its events.
    version: u64,
}

impl From<&Balance> for AccountBalance {
    fn from(balance: &Balance) -> Self {
        let decimals = |minor: i64| decimal(minor.into(), balance.currency);
        Self {
            account_id: balance.account_id.0,
            currency: balance.currency,
            balance: decimals(balance.balance_minor),
            available: decimals(balance.available_minor),
            version: balance.version,
        }
    }
}

/// What a command was about, as far as its reply shows it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The path under which what was created can be read.
    collection: Option<&'static str>,
    /// The id that the reply names, where the log's stream has none of its own for it.
    name: Option<String>,
}

impl Subject {
    /// Something new, to be read under this path.
    pub(crate) fn created(collection: &'static str) -> Self {
        Self { collection: Some(collection), name: None }
    }

    /// Something that was there.
    pub(crate) fn changed() -> Self {
        Self { collection: None, name: None }
    }

    /// A part of the ledger's frame, which is one stream.
    pub(crate) fn of_ledger(name: String) -> Self {
        Self { collection: None, name: Some(name) }
    }

    /// Whether its stream begins with the command, so that no version can be expected of it.
    pub(crate) fn has_no_version_yet(&self) -> bool {
        self.collection.is_some()
    }
}

/// 201 for what was created, else 200.
pub(crate) fn accepted(accepted: &Accepted, replayed: bool, subject: Subject, caller: &Principal) -> Response {
    let id = subject.name.unwrap_or_else(|| accepted.id.clone());
    let mut headers = standing(accepted.position, replayed);
    headers.insert(CONTENT_TYPE, JSON);
    insert(&mut headers, ETAG, ["\"", &accepted.version.to_string(), "\""].concat());
    let status = if accepted.created { StatusCode::CREATED } else { StatusCode::OK };
    if let (true, Some(collection)) = (accepted.created, subject.collection) {
        insert(&mut headers, LOCATION, [collection, "/", &id].concat());
    }
    let shown = accepted.balances.iter().filter(|balance| caller.sees_balance(balance.account_id.0));
    let body = CommandReply {
        id,
        version: accepted.version,
        position: accepted.position,
        balances: shown.map(AccountBalance::from).collect(),
        transaction_ids: accepted.transaction_ids.iter().map(|id| id.0).collect(),
    };
    // A struct of texts and numbers always serialises; the status alone says enough if not.
    let body = platform::json::text(&body, BODY_BYTES + BALANCE_BYTES * body.balances.len()).unwrap_or_default();
    reply(status, headers, body)
}

/// The refusal as a problem whose members say what it is about.
pub(crate) fn rejected(rejected: &Rejected, replayed: bool, context: &RequestContext, caller: &Principal) -> Response {
    let Told { status, code, detail, about } = told(&rejected.rejection, caller);
    let mut problem = Problem::new(status, code, detail);
    problem.correlation_id.clone_from(&context.correlation_id);
    problem.timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    problem.path.clone_from(&context.path);
    // A struct and an enum of texts and numbers always serialise; the status alone says enough if not.
    let mut body = members(&problem);
    for (name, value) in about {
        body.entry(name).or_insert(value);
    }
    let mut headers = standing(rejected.position, replayed);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    reply(status, headers, Value::Object(body).to_string().into_bytes())
}

/// A body with its headers, which name its kind.
pub(crate) fn reply(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What a caller is told of a refusal.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    /// What it is about.
    pub(crate) about: Map<String, Value>,
}

/// Of transactions that were to be posted together it is the refusal of the one that was refused, and
/// the member `index` says which it was.
pub(crate) fn told(rejection: &Rejection, caller: &Principal) -> Told {
    let (index, rejection) = rejection.cause();
    let mut about = extensions(rejection);
    let detail = if hide_amounts(&mut about, caller) { HIDDEN.to_owned() } else { rejection.to_string() };
    about.extend(index.map(|index| ("index".to_owned(), Value::from(index))));
    // Told by its own name.
    about.remove("code");
    Told { status: status_of(rejection), code: rejection.code(), detail, about }
}

/// A refusal that no command was needed for: told as any other, but not recorded.
pub(crate) fn unrecorded(rejection: &Rejection) -> Problem {
    Problem::new(status_of(rejection), rejection.code(), rejection.to_string())
}

fn status_of(rejection: &Rejection) -> StatusCode {
    match rejection.class() {
        RejectionClass::NotFound => StatusCode::NOT_FOUND,
        RejectionClass::Conflict => StatusCode::CONFLICT,
        RejectionClass::Precondition => StatusCode::PRECONDITION_FAILED,
        RejectionClass::Rule => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// The headers that every outcome has.
pub(crate) fn standing(position: u64, replayed: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(POSITION, HeaderValue::from(position));
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Ids and numbers are visible ASCII, so they are always a header's value.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// What a rejection is about, with amounts as the API writes them.
fn extensions(rejection: &Rejection) -> Map<String, Value> {
    if let Rejection::Unbalanced { currency, debit_minor, credit_minor } = rejection {
        let sum = |minor: &str| match minor.parse() {
            Ok(minor) => amount(&decimal(minor, *currency), *currency),
            Err(_) => Value::Null,
        };
        return [("debits".to_owned(), sum(debit_minor)), ("credits".to_owned(), sum(credit_minor))]
            .into_iter()
            .collect();
    }
    members(rejection).into_iter().map(|(name, value)| (name, with_decimals(value))).collect()
}

/// Takes out the amounts that this caller may not see, and says whether there were any. What was
/// asked for is the caller's own; all else tells what an account has, or is told to those only who
/// may see every account.
fn hide_amounts(about: &mut Map<String, Value>, caller: &Principal) -> bool {
    let account = about.get("account_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let sees = match account {
        Some(account) => caller.sees_balance(account),
        None => caller.accounts().is_none() && caller.may(Permission::BalancesRead),
    };
    if sees {
        return false;
    }
    let before = about.len();
    about.retain(|name, value| ASKED.contains(&name.as_str()) || value.get("amount").is_none());
    about.len() < before
}

fn members(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Money of the domain (minor units) as an amount of the API (a decimal).
fn with_decimals(value: Value) -> Value {
    let money = match (value.get("amount_minor").and_then(Value::as_i64), value.get("currency").and_then(Value::as_str))
    {
        (Some(minor), Some(code)) => code.parse::<Currency>().ok().map(|currency| (minor, currency)),
        _ => None,
    };
    match money {
        Some((minor, currency)) => amount(&decimal(minor.into(), currency), currency),
        None => value,
    }
}

fn amount(decimal: &str, currency: Currency) -> Value {
    json!({"amount": decimal, "currency": currency.code()})
}

#[cfg(test)]
mod tests {
    use domain::{AccountId, Money};

    use super::*;

    fn czk() -> Currency {
        "CZK".parse().unwrap()
    }

    fn anybody() -> Principal {
        Principal::in_process("tester", Permission::ALL)
    }

    fn context() -> RequestContext {
        RequestContext { correlation_id: "c-1".to_owned(), traceparent: None, path: "/v1/transactions".to_owned() }
    }

    #[test]
    fn what_was_created_says_where_it_is() {
        let outcome = Accepted {
            id: "7".to_owned(),
            version: 1,
            position: 9,
            created: true,
            balances: Vec::new(),
            transaction_ids: Vec::new(),
        };
        let response = accepted(&outcome, true, Subject::created("/v1/members"), &anybody());
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()[LOCATION], "/v1/members/7");
        assert_eq!(response.headers()[ETAG], "\"1\"");
        assert_eq!(response.headers()[POSITION], "9");
        assert_eq!(response.headers()["idempotency-replayed"], "true");
        let again = Accepted { created: false, ..outcome };
        let response = accepted(&again, false, Subject::changed(), &anybody());
        assert_eq!(response.status(), 200);
        assert!(response.headers().get(LOCATION).is_none());
        assert!(response.headers().get("idempotency-replayed").is_none());
    }

    #[test]
    fn balances_are_decimals() {
        let balance = Balance {
            account_id: AccountId(Uuid::from_u128(1)),
            currency: czk(),
            balance_minor: -5,
            available_minor: 123_450,
            version: 3,
        };
        let shown = serde_json::to_value(AccountBalance::from(&balance)).unwrap();
        assert_eq!(shown["balance"], "-0.05");
        assert_eq!(shown["available"], "1234.50");
        assert_eq!(shown["currency"], "CZK");
    }

    #[test]
    fn each_class_has_its_status() {
        let account_id = AccountId(Uuid::from_u128(1));
        let cases = [
            (Rejection::AccountNotFound { account_id }, 404),
            (Rejection::AccountNumberTaken, 409),
            (Rejection::VersionMismatch { expected: 1, actual: 2 }, 412),
            (Rejection::AccountClosed { account_id }, 422),
        ];
        for (rejection, status) in cases {
            let outcome = Rejected { position: 3, rejection };
            let response = rejected(&outcome, false, &context(), &anybody());
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[POSITION], "3");
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        }
    }

    #[test]
    fn amounts_are_for_those_who_may_see_the_account() {
        let account_id = AccountId(Uuid::from_u128(1));
        let rejection = Rejection::InsufficientFunds {
            account_id,
            available: Money::new(1_000, czk()),
            minimum_balance: Money::new(0, czk()),
            requested: Money::new(2_000, czk()),
        };
        let hidden = |rejection: &Rejection, caller: &Principal| {
            let mut about = extensions(rejection);
            hide_amounts(&mut about, caller).then_some(about)
        };
        assert_eq!(hidden(&rejection, &anybody()), None);
        assert_eq!(hidden(&rejection, &anybody().limited_to([account_id.0])), None);
        for caller in [anybody().limited_to([Uuid::from_u128(2)]), Principal::in_process("tester", &[])] {
            let about = hidden(&rejection, &caller).unwrap();
            assert_eq!(about["requested"], json!({"amount": "20.00", "currency": "CZK"}));
            assert!(about.contains_key("account_id"));
            assert!(!about.contains_key("available") && !about.contains_key("minimum_balance"));
        }
        let part =
            Rejection::LegAmountExceeded { leg: 1, remaining: Money::new(1, czk()), requested: Money::new(2, czk()) };
        assert_eq!(hidden(&part, &anybody()), None);
        assert!(!hidden(&part, &anybody().limited_to([account_id.0])).unwrap().contains_key("remaining"));
        let closed = Rejection::AccountClosed { account_id };
        assert_eq!(hidden(&closed, &Principal::in_process("tester", &[])), None, "it names no amount");
    }

    #[test]
    fn a_rejection_says_what_it_is_about() {
        let rejection = Rejection::InsufficientFunds {
            account_id: AccountId(Uuid::from_u128(1)),
            available: Money::new(1_000, czk()),
            minimum_balance: Money::new(-50, czk()),
            requested: Money::new(2_000, czk()),
        };
        let shown = extensions(&rejection);
        assert_eq!(shown["available"], json!({"amount": "10.00", "currency": "CZK"}));
        assert_eq!(shown["minimum_balance"], json!({"amount": "-0.50", "currency": "CZK"}));
        let unbalanced =
            Rejection::Unbalanced { currency: czk(), debit_minor: "100".to_owned(), credit_minor: "90".to_owned() };
        let expected = json!({
            "debits": {"amount": "1.00", "currency": "CZK"},
            "credits": {"amount": "0.90", "currency": "CZK"},
        });
        assert_eq!(Value::Object(extensions(&unbalanced)), expected);
    }
}
