//! Sends a request with its idempotency key, and again under the same key until there is an answer.
//!
//! Invariants: a request is repeated only with the same key and the same bytes, so a repetition
//! never does anything twice; what a rule refuses is an answer and not an error; an error means
//! that the outcome is not known, and starting the load again finds out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use platform::Secret;
use platform::backoff::Backoff;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// An internal error may pass, as when the server restarts; a lasting one is not worth the patience.
const INTERNAL_ERRORS_MAX: u32 = 5;

/// A command, ready to be sent as often as it takes.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The idempotency key.
    pub(crate) key: String,
    /// The path, from `/v1` on.
    pub(crate) path: String,
    /// Codes of refusals which say that it has been done before.
    settled_by: &'static [&'static str],
    body: Vec<u8>,
}

impl Request {
    /// A POST of that body under that key.
    pub(crate) fn new(key: String, path: &str, body: &Value) -> Self {
        Self { key, path: path.to_owned(), settled_by: &[], body: body.to_string().into_bytes() }
    }

    /// The same, done already where the refusal has one of these codes.
    #[must_use]
    pub(crate) fn settled_by(mut self, codes: &'static [&'static str]) -> Self {
        self.settled_by = codes;
        self
    }

    /// The body, for tests.
    #[cfg(test)]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// Whether the reply is the repetition of an earlier one.
    pub(crate) replayed: bool,
    /// From the last sending to the reply.
    pub(crate) latency: Duration,
    /// How often it was sent again.
    pub(crate) retries: u32,
}

/// Accepted, done before, or refused.
#[derive(Debug)]
pub(crate) enum Outcome {
    Accepted(Accepted),
    /// Refused because it has been done before, under another key or by another principal.
    Settled,
    Refused(Refusal),
}

/// The reply to a committed command.
#[derive(Debug, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) position: u64,
    #[serde(default)]
    pub(crate) balances: Vec<TouchedBalance>,
}

/// A balance that the command touched.
#[derive(Debug, Deserialize)]
pub(crate) struct TouchedBalance {
    pub(crate) account_id: uuid::Uuid,
    pub(crate) balance: String,
}

/// Why a command was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) detail: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    errors: Vec<ProblemField>,
}

#[derive(Deserialize)]
struct ProblemField {
    field: String,
    detail: String,
}

/// A client of the command API.
#[derive(Clone)]
pub(crate) struct CommandClient {
    http: reqwest::Client,
    base: String,
    patience: Duration,
    acknowledged: Arc<AtomicU64>,
}

impl CommandClient {
    /// A client of the API at that address, with that token, that keeps so many connections and
    /// waits so long for an answer to one request.
    pub(crate) fn try_new(base: &str, token: &Secret, connections: usize, patience: Duration) -> Result<Self> {
        let http = reqwest::Client::builder()
            .default_headers(authorization(token)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REPLY_TIMEOUT)
            .pool_max_idle_per_host(connections)
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { http, base, patience, acknowledged: Arc::default() })
    }

    /// The highest position of all replies.
    pub(crate) fn acknowledged(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.acknowledged)
    }

    /// Sends a request until it is answered. Idempotent by its key.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer> {
        let started = Instant::now();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut retries, mut internal_errors) = (0u32, 0u32);
        loop {
            let sent = Instant::now();
            let why = match self.send_once(request).await {
                Ok(Reply::Answer { outcome, replayed }) => {
                    return Ok(Answer { outcome, replayed, latency: sent.elapsed(), retries });
                }
                Ok(Reply::Later { status, wait }) => {
                    internal_errors += u32::from(status == StatusCode::INTERNAL_SERVER_ERROR);
                    if internal_errors > INTERNAL_ERRORS_MAX {
                        bail!("{} {}: the server answers {status} again and again", request.path, request.key);
                    }
                    tokio::time::sleep(wait.unwrap_or_default().min(LONGEST_RETRY_AFTER)).await;
                    format!("the server answers {status}")
                }
                Err(error) => format!("{error:#}"),
            };
            if started.elapsed() > self.patience {
                let waited_s = started.elapsed().as_secs();
                bail!("{} {}: no answer in {waited_s} s ({why}); start the load again", request.path, request.key);
            }
            retries += 1;
            backoff.wait().await;
        }
    }

    async fn send_once(&self, request: &Request) -> Result<Reply> {
        let response = self
            .http
            .post(format!("{}{}", self.base, request.path))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", &request.key)
            .body(request.body.clone())
            .send()
            .await?;
        let status = response.status();
        let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
        if status.is_success() {
            let body = response.bytes().await?;
            let accepted: Accepted = serde_json::from_slice(&body)
                .with_context(|| format!("{}: the reply to {} cannot be read", request.path, request.key))?;
            self.acknowledged.fetch_max(accepted.position, Ordering::Relaxed);
            return Ok(Reply::Answer { outcome: Outcome::Accepted(accepted), replayed });
        }
        if is_worth_waiting(status) {
            return Ok(Reply::Later { status, wait: retry_after(response.headers()) });
        }
        // A refusal by the rules is in the log as well, and says where.
        let position = response.headers().get("daybook-position").and_then(|position| position.to_str().ok());
        if let Some(position) = position.and_then(|position| position.parse().ok()) {
            self.acknowledged.fetch_max(position, Ordering::Relaxed);
        }
        let refusal = refusal(status, response).await?;
        let settled = request.settled_by.contains(&refusal.code.as_str());
        let outcome = if settled { Outcome::Settled } else { Outcome::Refused(refusal) };
        Ok(Reply::Answer { outcome, replayed })
    }
}

enum Reply {
    Answer { outcome: Outcome, replayed: bool },
    Later { status: StatusCode, wait: Option<Duration> },
}

/// The header that carries the token; it does not print.
pub(crate) fn authorization(token: &Secret) -> Result<HeaderMap> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).context("the token")?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

/// Whether the same request may be answered otherwise later.
fn is_worth_waiting(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

/// The wait that the server asks for, in seconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

async fn refusal(status: StatusCode, response: Response) -> Result<Refusal> {
    let body = response.bytes().await?;
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let code = if problem.code.is_empty() { format!("http_{}", status.as_u16()) } else { problem.code };
    let mut detail = problem.detail;
    for error in problem.errors {
        detail.push_str(&format!("; {}: {}", error.field, error.detail));
    }
    Ok(Refusal { status: status.as_u16(), code, detail })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
