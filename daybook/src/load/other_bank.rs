//! Pays into our account at the bank simulator, as customers of other banks do: so that Daybook hears
//! of it by the bank's signed webhook.
//!
//! Invariant: a payment has the id that follows from its reference, so that the bank takes it once,
//! however often it is sent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use domain::SagaId;
use domain::words::ExternalReference;
use platform::Secret;
use platform::backoff::Backoff;
use reqwest::StatusCode;
use sagas::payments::file::IncomingPayment;
use serde::Deserialize;
use serde_json::json;

use super::client::authorization;

const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The payer's account is made up: nothing here depends on it.
const PAYER_BANK: &str = "AB";
const PAYER_ACCOUNT: &str = "10000001";

/// A client of the bank simulator.
#[derive(Clone)]
pub(super) struct OtherBank {
    http: reqwest::Client,
    base: String,
    patience: Duration,
}

#[derive(Deserialize)]
struct Received {
    bank_reference: String,
}

impl OtherBank {
    /// A client of the bank at that address, with the secret that we share with it, that waits so
    /// long for an answer.
    pub(super) fn try_new(base: &str, secret: Option<&Secret>, patience: Duration) -> Result<Self> {
        let mut http = reqwest::Client::builder().timeout(REPLY_TIMEOUT).tcp_nodelay(true).no_proxy();
        if let Some(secret) = secret {
            http = http.default_headers(authorization(secret)?);
        }
        Ok(Self { http: http.build()?, base: base.trim_end_matches('/').to_owned(), patience })
    }

    /// Pays, now or before; gives the bank's own reference, by which its webhook names the payment.
    pub(super) async fn pay_in(&self, payment: &IncomingPayment) -> Result<String> {
        let reference = ExternalReference::try_new(&payment.bank_reference).context("bank_reference")?;
        let body = json!({
            "id": SagaId::of_incoming_payment(&reference).0,
            "amount": {"amount": payment.amount.decimal(), "currency": payment.amount.currency.code()},
            "reference": payment.reference,
            "from": {"account_number": PAYER_ACCOUNT, "bank_code": PAYER_BANK},
            "booked_on": payment.booked_on, "value_date": payment.value_date,
        });
        let (started, url) = (Instant::now(), format!("{}/incoming", self.base));
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let why = match self.http.post(&url).json(&body).send().await {
                Ok(response) if response.status().is_success() => {
                    let received: Received = response.json().await.context("the bank's reply")?;
                    return Ok(received.bank_reference);
                }
                Ok(response) => {
                    let (status, text) = (response.status(), response.text().await.unwrap_or_default());
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        bail!("{url}: {}: {status} {text}", payment.bank_reference);
                    }
                    format!("{status} {text}")
                }
                Err(error) => format!("{:#}", anyhow::Error::from(error)),
            };
            if started.elapsed() > self.patience {
                bail!("{url}: no answer in {} s ({why}); start the load again", started.elapsed().as_secs());
            }
            backoff.wait().await;
        }
    }
}
