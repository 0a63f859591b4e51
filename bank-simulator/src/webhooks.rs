//! News for Daybook, sent as signed webhooks until it is taken: at least once, in no promised order.
//!
//! Invariant: news stays in the journal until a call was answered with 2xx, so neither a restart of
//! this side nor of the other loses any; what was taken just before a kill is sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use platform::backoff::Backoff;
use platform::{Secret, signature};
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::now_s;
use crate::amount::Amount;
use crate::book::Book;
use crate::movement::{Kind, Movement};
use crate::{Shared, Webhook};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// What a webhook's body says.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Names this news for ever; a call that comes again has the same.
    bank_reference: &'a str,
    booked_on: chrono::NaiveDate,
    value_date: chrono::NaiveDate,
    amount: &'a Amount,
    reference: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<uuid::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Carries news to one address.
pub(crate) struct Courier {
    url: String,
    secrets: Vec<Secret>,
    client: reqwest::Client,
    shared: Arc<Shared>,
    /// All news up to this number has been put into the queue.
    planned: u64,
    queue: BTreeMap<(Instant, u64), Delivery>,
    tickets: u64,
}

struct Delivery {
    number: u64,
    /// A duplicate that a fault demands: it is sent once and counts for nothing.
    copy: bool,
    retry: Backoff,
}

impl Courier {
    pub(crate) fn new(webhook: Webhook, shared: Arc<Shared>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (url, secrets) = (webhook.url, webhook.secrets);
        Ok(Self { url, secrets, client, shared, planned: 0, queue: BTreeMap::new(), tickets: 0 })
    }

    /// Sends news until the token is cancelled; what is left is sent after the next start.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        loop {
            self.plan();
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = shared.bank.news.notified() => {}
                () = due(next) => {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.deliver_next() => {}
                    }
                }
            }
        }
    }

    /// Puts new news into the queue, as the faults in force demand.
    fn plan(&mut self) {
        let news: Vec<u64> = self.shared.bank.look(|book| book.news_after(self.planned).collect());
        for number in news {
            for (index, wait_ms) in self.shared.faults.deliveries().into_iter().enumerate() {
                let at = Instant::now() + Duration::from_millis(wait_ms);
                self.put(at, Delivery { number, copy: index > 0, retry: Backoff::new(RETRY_FIRST, RETRY_CAP) });
            }
            self.planned = number;
        }
    }

    fn put(&mut self, at: Instant, delivery: Delivery) {
        self.tickets += 1;
        self.queue.insert((at, self.tickets), delivery);
    }

    async fn deliver_next(&mut self) {
        let Some((_, mut delivery)) = self.queue.pop_first() else { return };
        let number = delivery.number;
        let Some(body) = self.shared.bank.look(|book| body(book, number)) else { return };
        let taken = self.call(body).await;
        if delivery.copy {
            return;
        }
        let kept = match taken {
            Ok(()) => self.keep(number).await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = kept {
            tracing::warn!(number, reason, "a webhook was not taken; it will be sent again");
            let at = Instant::now() + delivery.retry.next_wait();
            self.put(at, delivery);
        }
    }

    async fn call(&self, body: Vec<u8>) -> Result<(), String> {
        let signed = signature::sign(&self.secrets, now_s(), &body);
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(signature::SIGNATURE, signed)
            .body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answered with {}", response.status().as_u16())),
            // Without the address, which may hold what is not for logs.
            Err(error) => Err(in_words(&error.without_url())),
        }
    }

    async fn keep(&self, number: u64) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.bank.take_news(number)).await {
            Ok(kept) => kept.map_err(|problem| problem.to_string()),
            Err(error) => Err(error.to_string()),
        }
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

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn body(book: &Book, number: u64) -> Option<Vec<u8>> {
    let movement: &Movement = book.movement(number)?;
    let (kind, payment_id) = match movement.kind {
        Kind::Incoming => ("payment_received", None),
        Kind::PaymentReturned => ("payment_returned", Some(movement.id)),
        Kind::Payment | Kind::Return => return None,
    };
    let body = Body {
        kind,
        bank_reference: &movement.bank_reference,
        booked_on: movement.booked_on,
        value_date: movement.value_date,
        amount: &movement.amount,
        reference: &movement.reference,
        payment_id,
        reason: book.reason(number),
    };
    serde_json::to_vec(&body).ok()
}
