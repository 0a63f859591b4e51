//! The port over HTTP: `PUT` and `GET` of `/payments/{id}` and `/returns/{id}`, and `POST` of
//! `/payments/{id}/cancel`.
//!
//! Invariants: redirects are not followed and no proxy of the environment is used, so an order goes
//! to the configured bank or nowhere; nothing waits or reads without a bound; neither the secret nor
//! a body is logged.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::Money;
use futures::future::{BoxFuture, FutureExt};
use platform::config::{BankAuth, BankConfig, ConfigError};
use platform::http::CORRELATION_ID;
use platform::metrics::{PAYMENT_CALLS, PAYMENT_DURATION};
use platform::{Secret, signature};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, InvalidHeaderValue};
use reqwest::{Client, Method, Request, Response, Url};
use serde::Serialize;
use uuid::Uuid;

use super::{Answer, PayOut, PayOutOutcome, PaymentPort, PortError, ReturnPayment, Status, reply};

const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Why the port cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum HttpBankError {
    /// A setting is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is not one of HTTP.
    #[error("DAYBOOK_BANK_URL is not an address of HTTP")]
    Address,
    /// A secret would go over the network as it is.
    #[error("DAYBOOK_BANK_AUTH=bearer needs an https address, but for a bank on this machine")]
    Insecure,
    /// The secret cannot be sent in a header.
    #[error("DAYBOOK_BANK_SECRET cannot be sent in a header")]
    Secret(#[from] InvalidHeaderValue),
    /// The client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// A bank behind HTTP.
#[derive(Debug, Clone)]
pub struct HttpBank {
    client: Client,
    /// Ends without a slash.
    url: String,
    access: Access,
}

#[derive(Debug, Clone)]
enum Access {
    Open,
    Bearer(HeaderValue),
    Hmac(Secret),
}

/// An amount as the bank reads it.
#[derive(Serialize)]
struct WireMoney {
    amount: String,
    currency: String,
}

impl From<&Money> for WireMoney {
    fn from(money: &Money) -> Self {
        Self { amount: money.decimal(), currency: money.currency.code().to_owned() }
    }
}

#[derive(Serialize)]
struct WireAccount<'a> {
    account_number: &'a str,
    bank_code: &'a str,
}

#[derive(Serialize)]
struct WirePayment<'a> {
    amount: WireMoney,
    to: WireAccount<'a>,
    reference: &'a str,
}

#[derive(Serialize)]
struct WireReturn<'a> {
    amount: WireMoney,
    original_bank_reference: &'a str,
    reason: &'a str,
}

impl HttpBank {
    /// The bank of the configuration; nothing is sent yet.
    ///
    /// # Errors
    /// `DAYBOOK_BANK_URL` is not set, or a bearer token would go over a network in the clear.
    pub fn new(config: &BankConfig) -> Result<Self, HttpBankError> {
        let url = config.url()?;
        let parsed = Url::parse(url).map_err(|_| HttpBankError::Address)?;
        let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let in_the_clear = parsed.scheme() != "https" && !here;
        let access = match (config.secret(), config.auth()) {
            (None, _) => Access::Open,
            (Some(_), BankAuth::Bearer) if in_the_clear => return Err(HttpBankError::Insecure),
            (Some(secret), BankAuth::Bearer) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", secret.expose()))?;
                value.set_sensitive(true);
                Access::Bearer(value)
            }
            (Some(secret), BankAuth::Hmac) => Access::Hmac(secret.clone()),
        };
        if in_the_clear {
            tracing::warn!("DAYBOOK_BANK_URL is not https: whoever is on the way reads payments");
        }
        let timeout = Duration::from_millis(u64::from(config.timeout_ms()));
        let client = Client::builder()
            .timeout(timeout)
            // Less than the whole, so that a bank that is not there is known not to have been reached.
            .connect_timeout((timeout / 2).min(CONNECT_TIMEOUT_MAX))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, url: url.to_owned(), access })
    }

    async fn order(&self, operation: &'static str, folder: &str, id: Uuid, body: &impl Serialize) -> Answer {
        let began = Instant::now();
        let answer = self.put(folder, id, body).await;
        measure(operation, began, answer.as_ref().map(outcome_label));
        answer
    }

    async fn put(&self, folder: &str, id: Uuid, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).map_err(|error| PortError::Misconfigured { detail: error.to_string() })?;
        let (status, reply) = self.call(Method::PUT, folder, id, "", body).await?;
        reply::of_order(id, status, &reply)
    }

    async fn ask(&self, operation: &'static str, folder: &str, id: Uuid) -> Status {
        let began = Instant::now();
        let answer = match self.call(Method::GET, folder, id, "", Vec::new()).await {
            Ok((status, reply)) => reply::of_status(id, status, &reply),
            Err(error) => Err(error),
        };
        let label = answer.as_ref().map(|outcome| outcome.as_ref().map_or("not_found", outcome_label));
        measure(operation, began, label);
        answer
    }

    async fn cancel(&self, id: Uuid) -> Answer {
        let began = Instant::now();
        let answer = match self.call(Method::POST, "payments", id, "/cancel", Vec::new()).await {
            Ok((status, reply)) => reply::of_order(id, status, &reply),
            Err(error) => Err(error),
        };
        measure("cancel_pay_out", began, answer.as_ref().map(outcome_label));
        answer
    }

    /// One request and its whole reply.
    async fn call(
        &self,
        method: Method,
        folder: &str,
        id: Uuid,
        verb: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), PortError> {
        let request = self.request(method, &format!("{folder}/{id}{verb}"), id, body)?;
        let response = self.client.execute(request).await.map_err(not_answered)?;
        let status = response.status().as_u16();
        Ok((status, read(response).await?))
    }

    fn request(&self, method: Method, path: &str, id: Uuid, body: Vec<u8>) -> Result<Request, PortError> {
        let misconfigured =
            |error: reqwest::Error| PortError::Misconfigured { detail: error.without_url().to_string() };
        let url = format!("{}/{path}", self.url);
        let mut builder = self.client.request(method.clone(), url).header(CORRELATION_ID, id.to_string());
        if !body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut request = builder.build().map_err(misconfigured)?;
        let header = match &self.access {
            Access::Open => None,
            Access::Bearer(value) => Some((AUTHORIZATION, value.clone())),
            Access::Hmac(secret) => {
                let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let message = signature::request_message(&method, request.url().path(), &body);
                let signed = signature::sign(std::slice::from_ref(secret), now_s, &message);
                let value = HeaderValue::try_from(signed)
                    .map_err(|error| PortError::Misconfigured { detail: error.to_string() })?;
                Some((signature::SIGNATURE, value))
            }
        };
        request.headers_mut().extend(header);
        Ok(request)
    }
}

impl PaymentPort for HttpBank {
    fn pay_out<'a>(&'a self, pay_out: &'a PayOut) -> BoxFuture<'a, Answer> {
        async move {
            let to = &pay_out.to;
            let body = WirePayment {
                amount: WireMoney::from(&pay_out.amount),
                to: WireAccount { account_number: &to.account_number, bank_code: &to.bank_code },
                reference: &pay_out.reference,
            };
            self.order("pay_out", "payments", pay_out.id, &body).await
        }
        .boxed()
    }

    fn pay_out_status(&self, id: Uuid) -> BoxFuture<'_, Status> {
        self.ask("pay_out_status", "payments", id).boxed()
    }

    fn cancel_pay_out(&self, id: Uuid) -> BoxFuture<'_, Answer> {
        self.cancel(id).boxed()
    }

    fn return_payment<'a>(&'a self, order: &'a ReturnPayment) -> BoxFuture<'a, Answer> {
        async move {
            let body = WireReturn {
                amount: WireMoney::from(&order.amount),
                original_bank_reference: &order.original_bank_reference,
                reason: &order.reason,
            };
            self.order("return_payment", "returns", order.id, &body).await
        }
        .boxed()
    }

    fn return_status(&self, id: Uuid) -> BoxFuture<'_, Status> {
        self.ask("return_status", "returns", id).boxed()
    }
}

/// What a request without a reply means. Only while the connection was being made is it certain
/// that nothing was sent; a deadline, a reset or an end in between may hide a payment.
fn not_answered(error: reqwest::Error) -> PortError {
    let (connecting, building) = (error.is_connect(), error.is_builder());
    let reason = in_words(&error.without_url());
    if connecting {
        PortError::NotSent { reason }
    } else if building {
        PortError::Misconfigured { detail: reason }
    } else {
        PortError::Unknown { reason }
    }
}

/// An error with its causes, which is where a library says what has happened.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The reply's body; one that breaks off or is larger than any of ours leaves the outcome unknown.
async fn read(mut response: Response) -> Result<Vec<u8>, PortError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| {
        // Even an error that says otherwise came after the request had been sent.
        PortError::Unknown { reason: in_words(&error.without_url()) }
    })? {
        if body.len() + piece.len() > REPLY_BYTES_MAX {
            return Err(PortError::Unknown { reason: "the reply is too large".to_owned() });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn outcome_label(outcome: &PayOutOutcome) -> &'static str {
    match outcome {
        PayOutOutcome::Accepted => "accepted",
        PayOutOutcome::Settled { .. } => "settled",
        PayOutOutcome::Refused { .. } => "refused",
    }
}

fn measure(operation: &'static str, began: Instant, label: Result<&'static str, &PortError>) {
    let outcome = label.unwrap_or_else(|error| match error {
        // One label for all that a person must mend, so that one alert has them.
        PortError::Conflict { .. } | PortError::Unauthorized => "misconfigured",
        PortError::NotSent { .. } | PortError::Unknown { .. } | PortError::Misconfigured { .. } => error.code(),
    });
    metrics::counter!(PAYMENT_CALLS, "operation" => operation, "outcome" => outcome).increment(1);
    metrics::histogram!(PAYMENT_DURATION, "operation" => operation, "outcome" => outcome).record(began.elapsed());
}
