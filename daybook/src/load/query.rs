//! Reads from the query API as a client does, and watches how far it is behind while a load runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use platform::Secret;
use platform::backoff::Backoff;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{authorization, retry_after};

const PAGE_LIMIT: &str = "500";
/// How long one request lets the API wait for a position, in milliseconds.
const WAIT_MS: &str = "10000";
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(100);
const POSITION: &str = "daybook-position";
/// A read that costs little, for its position.
const CHEAP_READ: &str = "/v1/accounts";

/// A client of the query API.
#[derive(Clone)]
pub(crate) struct QueryClient {
    http: reqwest::Client,
    base: String,
    patience: Duration,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct List<T> {
    items: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl QueryClient {
    /// A client of the API at that address, with that token, that waits so long for an answer.
    pub(crate) fn try_new(base: &str, token: &Secret, patience: Duration) -> Result<Self> {
        let http = reqwest::Client::builder().default_headers(authorization(token)?).timeout(REPLY_TIMEOUT);
        let http = http.tcp_nodelay(true).no_proxy().build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), patience })
    }

    /// Waits until everything up to that position is applied.
    pub(crate) async fn await_position(&self, position: u64) -> Result<()> {
        let text = position.to_string();
        let parameters = [("limit", "1"), ("min_position", text.as_str()), ("wait_ms", WAIT_MS)];
        self.get::<serde_json::Value>(CHEAP_READ, &parameters).await.map(drop)
    }

    /// The position up to which everything is applied now.
    async fn position(&self) -> Result<u64> {
        let url = format!("{}{CHEAP_READ}", self.base);
        let response = self.http.get(url).query(&[("limit", "1")]).send().await?;
        let position = response.headers().get(POSITION).context("the reply names no position")?;
        Ok(position.to_str()?.parse()?)
    }

    /// Every item of a list, page by page.
    pub(crate) async fn all<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut parameters = parameters.to_vec();
            parameters.push(("limit", PAGE_LIMIT));
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: List<T> = self.get(path, &parameters).await?;
            items.extend(page.items);
            match page.next_cursor {
                Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
                Some(_) => bail!("{path}: the list does not go on from its cursor"),
                None => return Ok(items),
            }
        }
    }

    /// One document; waits where the API asks for it.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T> {
        let started = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let why = match self.http.get(format!("{}{path}", self.base)).query(parameters).send().await {
                Ok(response) if response.status().is_success() => {
                    let body = response.bytes().await?;
                    return serde_json::from_slice(&body).with_context(|| format!("{path}: the reply cannot be read"));
                }
                Ok(response) => {
                    let (status, wait) = (response.status(), retry_after(response.headers()));
                    let text = response.text().await.unwrap_or_default();
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        bail!("{path}: {status} {text}");
                    }
                    tokio::time::sleep(wait.unwrap_or_default().min(Duration::from_secs(10))).await;
                    format!("{status} {text}")
                }
                Err(error) => format!("{:#}", anyhow::Error::from(error)),
            };
            if started.elapsed() > self.patience {
                bail!("{}{path}: no answer in {} s ({why})", self.base, started.elapsed().as_secs());
            }
            backoff.wait().await;
        }
    }
}

/// How far the read models were behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    /// Most events between the last reply of the command API and what the query API had.
    pub(crate) events_max: u64,
    /// Longest time from a reply of the command API to its being visible.
    pub(crate) time_max: Duration,
    /// How often it was looked at.
    pub(crate) looks: u64,
}

/// Watches the lag until it is told to stop.
pub(crate) struct LagWatch {
    stop: CancellationToken,
    watching: JoinHandle<Lag>,
}

impl LagWatch {
    /// Starts to compare the acknowledged position with what the query API has.
    pub(crate) fn start(query: QueryClient, acknowledged: Arc<AtomicU64>) -> Self {
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(query, acknowledged, stop.clone()));
        Self { stop, watching }
    }

    /// Stops, and tells the largest lag seen.
    pub(crate) async fn stop(self) -> Result<Lag> {
        self.stop.cancel();
        Ok(self.watching.await?)
    }
}

async fn watch(query: QueryClient, acknowledged: Arc<AtomicU64>, stop: CancellationToken) -> Lag {
    let mut gauge = LagGauge::default();
    loop {
        // The acknowledged position is read first, so that the lag is never made smaller.
        gauge.acknowledged(acknowledged.load(Ordering::Relaxed), Instant::now());
        if let Ok(applied) = query.position().await {
            gauge.applied(applied, Instant::now());
        }
        tokio::select! {
            () = stop.cancelled() => return gauge.lag,
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
    }
}

/// What is acknowledged and not visible yet, with the times of the acknowledgements.
#[derive(Default)]
struct LagGauge {
    lag: Lag,
    waiting: VecDeque<(u64, Instant)>,
}

impl LagGauge {
    fn acknowledged(&mut self, position: u64, now: Instant) {
        if self.waiting.back().is_none_or(|(last, _)| *last < position) {
            self.waiting.push_back((position, now));
        }
    }

    fn applied(&mut self, position: u64, now: Instant) {
        self.lag.looks += 1;
        if let Some((last, _)) = self.waiting.back() {
            self.lag.events_max = self.lag.events_max.max(last.saturating_sub(position));
        }
        while let Some((waiting, since)) = self.waiting.front().copied() {
            if waiting > position {
                self.lag.time_max = self.lag.time_max.max(now - since);
                break;
            }
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_most_events_and_the_longest_wait() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut gauge = LagGauge::default();
        gauge.acknowledged(100, at(0));
        gauge.applied(100, at(1));
        assert_eq!((gauge.lag.events_max, gauge.lag.time_max), (0, Duration::ZERO));
        gauge.acknowledged(500, at(100));
        gauge.applied(150, at(110));
        gauge.acknowledged(800, at(200));
        gauge.applied(480, at(300));
        gauge.applied(800, at(400));
        assert_eq!((gauge.lag.events_max, gauge.lag.time_max), (350, Duration::from_millis(200)));
        assert!(gauge.waiting.is_empty());
    }
}
