//! The routes. docs/bank-simulator.md describes them for whoever calls.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use chrono::{NaiveDate, TimeDelta, Utc};
use platform::extract::StrictPath;
use platform::{Problem, StrictJson};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::amount::Amount;
use crate::bank::Changed;
use crate::book::{Decision, OrderFault, Receipt};
use crate::entry::{Entry, Incoming};
use crate::faults::{Faults, Operation, RequestFault};
use crate::orders::{Held, Order};
use crate::rules::{Destination, Refusal};
use crate::{Shared, access, reply, statement};

const TEXT_LENGTH_MAX: usize = 140;
const ID_REUSED: (&str, &str) = ("id_reused", "this id belongs to something with another content");

type Bank = State<Arc<Shared>>;

/// All routes, wrapped in entry control and the form of problems.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/payments/{id}", put(pay).get(pay_status))
        .route("/payments/{id}/cancel", post(cancel))
        .route("/payments/{id}/return", post(send_back))
        .route("/returns/{id}", put(return_payment).get(return_status))
        .route("/incoming", post(receive))
        .route("/statements", get(statement::get))
        .route("/balance", get(balance))
        .route("/accounts/{bank_code}/{account_number}", put(mark_account))
        .route("/faults", get(faults).put(set_faults).delete(clear_faults))
        .fallback(async || Problem::not_found("nothing is there under this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), access::control))
        .layer(middleware::from_fn(reply::complete))
        .with_state(shared)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentBody {
    amount: Amount,
    to: Destination,
    reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReturnBody {
    amount: Amount,
    original_bank_reference: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IncomingBody {
    id: Option<Uuid>,
    amount: Amount,
    reference: String,
    from: Destination,
    booked_on: Option<NaiveDate>,
    value_date: Option<NaiveDate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    closed: bool,
}

async fn pay(State(shared): Bank, StrictPath(id): StrictPath<Uuid>, body: StrictJson<PaymentBody>) -> Response {
    let PaymentBody { amount, to, reference } = body.value;
    if let Err(problem) = text("reference", &reference) {
        return problem.into_response();
    }
    let fault = shared.faults.request(Operation::Pay, Some(&to.account_number));
    order(shared, id, Order::Payment { amount, to, reference }, fault).await
}

async fn return_payment(
    State(shared): Bank,
    StrictPath(id): StrictPath<Uuid>,
    body: StrictJson<ReturnBody>,
) -> Response {
    let ReturnBody { amount, original_bank_reference, reason } = body.value;
    if let Err(problem) =
        text("reason", &reason).and_then(|()| text("original_bank_reference", &original_bank_reference))
    {
        return problem.into_response();
    }
    let fault = shared.faults.request(Operation::Return, None);
    order(shared, id, Order::Return { amount, original_bank_reference, reason }, fault).await
}

/// Decides an order, and answers as the fault demands.
async fn order(shared: Arc<Shared>, id: Uuid, order: Order, fault: Option<RequestFault>) -> Response {
    let order_fault = match &fault {
        Some(RequestFault::Refuse { code }) => {
            OrderFault { refuse: Some(Refusal::new(code, "refused as a fault demands")), ..OrderFault::default() }
        }
        Some(RequestFault::StayAccepted { for_ms }) => {
            let on_its_way = TimeDelta::milliseconds(i64::try_from(*for_ms).unwrap_or(0));
            OrderFault { on_its_way, ..OrderFault::default() }
        }
        _ => OrderFault::default(),
    };
    answer(fault, move || {
        let changed = shared.bank.change(
            |book, rules| book.order(id, order, rules, Utc::now(), &order_fault),
            |book| book.held(id).cloned(),
        );
        reply::changed(changed, ID_REUSED, |held, status| reply::order(id, &held, status))
    })
    .await
}

async fn pay_status(State(shared): Bank, StrictPath(id): StrictPath<Uuid>) -> Response {
    status(shared, id, Operation::PayStatus).await
}

async fn return_status(State(shared): Bank, StrictPath(id): StrictPath<Uuid>) -> Response {
    status(shared, id, Operation::ReturnStatus).await
}

async fn status(shared: Arc<Shared>, id: Uuid, operation: Operation) -> Response {
    let is_payment = operation == Operation::PayStatus;
    let (held, barred) = shared.bank.look(|book| {
        let held = book.held(id).filter(|held| held.order.is_payment() == is_payment).cloned();
        (held, is_payment && book.is_barred(id))
    });
    let account_number = held.as_ref().and_then(|held| match &held.order {
        Order::Payment { to, .. } => Some(to.account_number.as_str()),
        Order::Return { .. } => None,
    });
    let fault = shared.faults.request(operation, account_number);
    answer(fault, move || match held {
        Some(held) => reply::order(id, &held, StatusCode::OK),
        None if barred => reply::barred(id, StatusCode::OK),
        None => {
            let detail = "the bank has never seen this id";
            Problem::new(StatusCode::NOT_FOUND, "unknown_payment", detail).into_response()
        }
    })
    .await
}

async fn cancel(State(shared): Bank, StrictPath(id): StrictPath<Uuid>) -> Response {
    let fault = shared.faults.request(Operation::Cancel, None);
    answer(fault, move || {
        let changed = shared.bank.change(|book, _| book.cancel(id), |book| Some(book.held(id).cloned()));
        reply::changed(changed, ID_REUSED, |held, status| match held {
            Some(held) => reply::order(id, &held, status),
            None => reply::barred(id, status),
        })
    })
    .await
}

/// Does what was asked, and answers as the fault demands: faults change what the client gets to
/// know. The work is a task of its own, so a client that goes away does not stop it.
async fn answer(fault: Option<RequestFault>, work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let wait_ms = match &fault {
        Some(RequestFault::DropBefore) => return reply::hang_up(),
        Some(RequestFault::ErrorBefore) => return Problem::internal().into_response(),
        Some(RequestFault::WorkLate { delay_ms }) => *delay_ms,
        _ => 0,
    };
    let worked = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        tokio::task::spawn_blocking(work).await
    });
    let Ok(Ok(response)) = worked.await else {
        return Problem::internal().into_response();
    };
    match fault {
        Some(RequestFault::DropAfter) => reply::hang_up(),
        Some(RequestFault::ErrorAfter) => Problem::internal().into_response(),
        Some(RequestFault::Garble) => reply::break_off(response).await,
        Some(RequestFault::AnswerLate { delay_ms }) => {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            response
        }
        _ => response,
    }
}

async fn send_back(State(shared): Bank, StrictPath(id): StrictPath<Uuid>, body: StrictJson<ReasonBody>) -> Response {
    let reason = body.value.reason;
    if let Err(problem) = text("reason", &reason) {
        return problem.into_response();
    }
    answer(None, move || {
        let changed = shared
            .bank
            .change(|book, _| book.send_back(id, reason, Utc::now().date_naive()), |book| book.held(id).cloned());
        let conflict = ("not_settled", "only a settled payment can be sent back");
        reply::changed(changed, conflict, |held: Held, status| reply::order(id, &held, status))
    })
    .await
}

async fn receive(State(shared): Bank, body: StrictJson<IncomingBody>) -> Response {
    let IncomingBody { id, amount, reference, from, booked_on, value_date } = body.value;
    if let Err(problem) = text("reference", &reference) {
        return problem.into_response();
    }
    if let Err(refusal) = shared.bank.rules().destination(&from) {
        return Problem::unprocessable(refusal.code, refusal.detail).into_response();
    }
    answer(None, move || {
        let booked_on = booked_on.unwrap_or_else(|| Utc::now().date_naive());
        let id = id.unwrap_or_else(Uuid::now_v7);
        let value_date = value_date.unwrap_or(booked_on);
        let receipt = Receipt { id, amount, reference, from, booked_on, value_date };
        let changed = shared.bank.change(|book, _| book.receive(receipt), |book| book.received(id).cloned());
        reply::changed(changed, ID_REUSED, |received: Incoming, status| (status, Json(received)).into_response())
    })
    .await
}

async fn balance(State(shared): Bank) -> Response {
    let body = shared.bank.look(|book| {
        let balances: Vec<_> = book
            .balances()
            .into_iter()
            .map(|(currency, amount)| json!({"amount": amount.to_string(), "currency": currency}))
            .collect();
        json!({
            "balances": balances,
            "movements": book.movements().len(),
            "orders_on_their_way": book.orders_on_their_way(),
            "webhooks_waiting": book.news_waiting(),
        })
    });
    Json(body).into_response()
}

async fn mark_account(
    State(shared): Bank,
    StrictPath((bank_code, account_number)): StrictPath<(String, String)>,
    body: StrictJson<AccountBody>,
) -> Response {
    let account = Destination { account_number, bank_code };
    if let Err(refusal) = shared.bank.rules().destination(&account) {
        return Problem::unprocessable(refusal.code, refusal.detail).into_response();
    }
    let closed = body.value.closed;
    answer(None, move || {
        let marked = Entry::AccountMarked { account, closed };
        match shared.bank.change(|_, _| Decision::New(vec![marked]), |_| Some(())) {
            Ok(Changed::New(()) | Changed::Known(()) | Changed::Conflict) => {
                Json(json!({"closed": closed})).into_response()
            }
            Err(problem) => problem.into_response(),
        }
    })
    .await
}

async fn faults(State(shared): Bank) -> Json<Faults> {
    Json(shared.faults.get())
}

async fn set_faults(State(shared): Bank, body: StrictJson<Faults>) -> Response {
    if let Err(detail) = body.value.check() {
        return Problem::malformed("invalid_value", detail).into_response();
    }
    shared.faults.set(body.value);
    Json(shared.faults.get()).into_response()
}

async fn clear_faults(State(shared): Bank) -> Json<Faults> {
    shared.faults.set(Faults::default());
    Json(Faults::default())
}

/// A text of a payment is one line of a bearable length.
fn text(field: &'static str, text: &str) -> Result<(), Problem> {
    if text.chars().count() <= TEXT_LENGTH_MAX && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let detail = format!("at most {TEXT_LENGTH_MAX} characters on one line");
    Err(Problem::malformed("invalid_value", detail.clone()).with_error(field, "invalid_value", detail))
}
