//! The bank's calls: payments that came in, and payouts that came back. No bearer token: a call
//! proves itself by its signature (`platform::signature`).
//!
//! Invariants: nothing of a body is read before its signature fits; a payment is named by the bank's
//! reference and taken once, however often and in whichever way it is told; free text of a payer does not
//! enter the log, only what can be a loan's number does.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use domain::saga::Process;
use domain::words::ExternalReference;
use domain::{AccountId, Money, Rejection, SagaId};
use event_store::{Accepted, Outcome, Rejected, Reply};
use platform::config::BankConfig;
use platform::extract::StrictQuery;
use platform::http::{IDEMPOTENCY_REPLAYED, Routes};
use platform::metrics::PAYMENT_WEBHOOKS;
use platform::signature::{self, SIGNATURE, SignatureError};
use platform::{Principal, Problem, RequestContext, Secret, json};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::Amount;
use crate::fault::{Fault, Faults};
use crate::payments::{Incoming, loan_number_in};
use crate::reply::{CommandReply, Subject};
use crate::request::{Caller, cannot_read};
use crate::wire::{Day, Nothing};

/// Under which name the idempotency keys of the bank's calls are kept, and who acts in their events.
const CLIENT: &str = "bank";
const PATH: &str = "/v1/webhooks/payments";
const TEXT_CHARS_MAX: usize = 1_000;
/// Anybody may send a body here, so little of it is taken before it is proven.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new().public(routes!(receive))
}

/// What taking the bank's calls needs.
#[derive(Debug)]
pub(crate) struct Webhook {
    secrets: Vec<Secret>,
    bank_account_id: AccountId,
    suspense_account_id: AccountId,
}

impl Webhook {
    /// As configured; `None` where secrets or accounts are not.
    pub(crate) fn new(bank: &BankConfig) -> Option<Self> {
        let accounts = bank.incoming().filter(|_| !bank.webhook_secrets().is_empty())?;
        Some(Self {
            secrets: bank.webhook_secrets().to_vec(),
            bank_account_id: AccountId(accounts.bank_account),
            suspense_account_id: AccountId(accounts.suspense_account),
        })
    }
}

/// What the bank tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NewsType {
    /// Somebody has paid us.
    PaymentReceived,
    /// A payment of ours has come back.
    PaymentReturned,
}

/// News of money that has come to our account at the bank.
// No `Debug`: a payer writes what they like.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "type": "payment_received",
    "bank_reference": "SIM1-00000017",
    "booked_on": "2024-05-02",
    "value_date": "2024-05-02",
    "amount": {"amount": "2500.00", "currency": "CZK"},
    "reference": "L-0001",
}))]
struct PaymentNews {
    /// What happened.
    #[serde(rename = "type")]
    kind: NewsType,
    /// The bank's reference; it names this news for ever.
    #[schema(value_type = String, max_length = 64, pattern = "^[!-~]+$", example = "SIM1-00000017")]
    bank_reference: ExternalReference,
    /// The bank's date of it. We book it on the business date on which we hear of it.
    #[allow(dead_code)] // read so that the body is known to be whole
    booked_on: Day,
    /// From when it counts.
    value_date: Day,
    /// How much.
    amount: Amount,
    /// What the payer wrote; may be empty. Its one word with a digit is taken as the loan's number.
    #[schema(max_length = 1000)]
    reference: String,
    /// The payment of ours that came back.
    #[allow(dead_code)] // as above
    payment_id: Option<String>,
    /// Why it came back.
    #[allow(dead_code)] // as above
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

impl PaymentNews {
    /// The payment and its loan's number: that of a payout that came back is for a person to judge,
    /// whatever its reference says.
    fn read(self, webhook: &Webhook) -> Result<Incoming, Problem> {
        let long = |text: &str| text.chars().count() > TEXT_CHARS_MAX;
        if long(&self.reference) {
            return Err(Fault::invalid("reference", format!("at most {TEXT_CHARS_MAX} characters")).into());
        }
        let mut faults = Faults::default();
        let Some(amount) = faults.at(|| "amount".to_owned(), self.amount.positive()) else {
            return Err(faults.into_problem());
        };
        let loan_number = match self.kind {
            NewsType::PaymentReceived => loan_number_in(&self.reference),
            NewsType::PaymentReturned => None,
        };
        Ok(Incoming {
            bank_account_id: webhook.bank_account_id,
            suspense_account_id: webhook.suspense_account_id,
            amount,
            bank_reference: self.bank_reference,
            loan_number,
            booking_date: None,
            value_date: Some(self.value_date.0),
        })
    }
}

/// Take news of a payment from the bank.
///
/// Signed with one of the agreed secrets in the header `daybook-signature`. The same news may come
/// any number of times and is taken once; the reply is about the saga that finds the payment's loan.
/// A body may have 64 KiB.
#[utoipa::path(
    post, path = "/v1/webhooks/payments", tag = "payments", operation_id = "receivePaymentWebhook",
    params(("daybook-signature" = String, Header, description = "`t=SECONDS,v1=HEX`: HMAC-SHA256 of `{t}.{body}`.")),
    request_body = PaymentNews,
    responses(
        (status = 200, description = "The payment is taken, now or before.", body = CommandReply),
        (status = 401, description = "The signature is not there, not well formed, too old, or not the bank's: \
            `signature_missing`, `signature_malformed`, `signature_out_of_time`, `signature_wrong`.",
            body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`not_configured`, or not now: to be sent again.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn receive(
    State(state): State<AppState>,
    StrictQuery(Nothing {}): StrictQuery<Nothing>,
    context: RequestContext,
    request: Request,
) -> Result<Response, Response> {
    let answered = take(&state, context, request).await;
    count(answered.as_ref().unwrap_or_else(|refused| refused));
    answered
}

/// What the bank sends again by itself, as it was, is not counted as an outcome.
fn count(response: &Response) {
    let outcome = match response.status() {
        status if status.is_server_error() => return,
        status if status.is_client_error() => "refused",
        _ if response.headers().contains_key(IDEMPOTENCY_REPLAYED) => "replayed",
        _ => "accepted",
    };
    metrics::counter!(PAYMENT_WEBHOOKS, "outcome" => outcome).increment(1);
}

async fn take(state: &AppState, context: RequestContext, mut request: Request) -> Result<Response, Response> {
    let Some(webhook) = state.webhook() else {
        let detail = "payments by webhook are not configured here";
        return Err(Problem::unavailable("not_configured", detail).into_response());
    };
    let header = signature_of(request.headers()).map_err(refused)?;
    DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut request);
    let raw = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
    verify(webhook, &header, &raw).map_err(refused)?;
    let mut response = hear(state, webhook, context, &raw).await.map_err(|problem| {
        tracing::warn!(code = %problem.code, "the bank told of a payment that could not be taken");
        problem.into_response()
    })?;
    if response.status().is_success() {
        // The bank asks whether it may forget the news, not what was made of it.
        *response.status_mut() = StatusCode::OK;
    }
    Ok(response)
}

/// What is done about a proven call.
///
/// A refusal counts for ever under its key, but money that came in cannot be refused for ever: what
/// stood in its way (no open period, an account that was not there) may be gone. So it is decided
/// anew, once an hour, when the bank tells it again.
async fn hear(state: &AppState, webhook: &Webhook, context: RequestContext, raw: &[u8]) -> Result<Response, Problem> {
    let news: PaymentNews = json::parse(raw)?;
    let payment = news.read(webhook)?;
    let reference = payment.bank_reference.clone();
    let bank = Principal::new(CLIENT, CLIENT, [], None);
    let mut caller = Caller::signed(bank, context, reference.to_string(), PATH, raw)?;
    let mut reply = caller.submit(state, payment.clone().into()).await?;
    if let Some(known) = taken_another_way(state, &payment, &reply).await? {
        return Ok(caller.render(&known, Subject::changed()));
    }
    if reply.replayed && matches!(reply.outcome, Outcome::Rejected(_)) {
        caller = caller.under(format!("{reference}@{}", Utc::now().format("%Y-%m-%dT%H")));
        reply = caller.submit(state, payment.into()).await?;
    }
    if let Outcome::Rejected(rejected) = &reply.outcome {
        let code = rejected.rejection.code();
        tracing::warn!(code, bank_reference = %reference, "the bank told of a payment that the rules refuse");
    }
    Ok(caller.render(&reply, Subject::created("/v1/sagas")))
}

/// The payment as it was taken another way (by hand, from a file) before the bank told of it: the
/// same reference for the same amount. Another amount is another payment, and a person must look.
async fn taken_another_way(state: &AppState, payment: &Incoming, reply: &Reply) -> Result<Option<Reply>, Problem> {
    let Outcome::Rejected(Rejected { rejection: Rejection::ExternalReferenceTaken, .. }) = &reply.outcome else {
        return Ok(None);
    };
    let saga_id = SagaId::of_incoming_payment(&payment.bank_reference);
    let process = state.door().saga_process(saga_id).await.map_err(|error| cannot_read(&error))?;
    let Some((position, Process::IncomingPayment { transaction_id, amount_minor, currency, .. })) = process else {
        return Ok(None);
    };
    if Money::new(amount_minor, currency) != payment.amount {
        return Ok(None);
    }
    let accepted = Accepted {
        id: saga_id.to_string(),
        version: 1,
        position,
        created: false,
        balances: Vec::new(),
        transaction_ids: vec![transaction_id],
    };
    Ok(Some(Reply { replayed: true, outcome: Outcome::Accepted(accepted) }))
}

/// The header, given once; without it a body is not even taken from the wire.
fn signature_of(headers: &HeaderMap) -> Result<String, SignatureError> {
    let mut given = headers.get_all(SIGNATURE).iter();
    let header = given.next().ok_or(SignatureError::Missing)?.to_str().map_err(|_| SignatureError::Malformed)?;
    if given.next().is_some() {
        return Err(SignatureError::Malformed);
    }
    Ok(header.to_owned())
}

fn verify(webhook: &Webhook, header: &str, raw: &[u8]) -> Result<(), SignatureError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    signature::verify(&webhook.secrets, header, raw, now_s).map(|_| ())
}

fn refused(error: SignatureError) -> Response {
    tracing::warn!(%error, "a call in the bank's name was refused");
    let problem = Problem::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string());
    let mut response = problem.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Daybook-Signature"));
    response
}
