//! One phase of a load: many requests sent, counted and timed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::client::{Answer, CommandClient, Outcome, Refusal, Request};
use super::dispatch::in_lanes;
use super::progress::{Progress, per_second};

/// The key was used before, for a request with another body.
const KEY_REUSED: &str = "idempotency_key_reused";

/// What became of a phase's requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) name: &'static str,
    pub(crate) sent: u64,
    /// Accepted, now or before.
    pub(crate) accepted: u64,
    /// Of these: done before under another key or by another principal.
    pub(crate) settled: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    /// Replies, of either kind, that repeated an earlier one.
    pub(crate) replayed: u64,
    /// How often a request was sent again for want of an answer.
    pub(crate) retries: u64,
    pub(crate) elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Tally {
    fn count(&mut self, answer: &Answer) {
        self.sent += 1;
        self.retries += u64::from(answer.retries);
        self.replayed += u64::from(answer.replayed);
        self.latencies.push(answer.latency);
        match &answer.outcome {
            Outcome::Accepted(_) => self.accepted += 1,
            Outcome::Settled => {
                self.accepted += 1;
                self.settled += 1;
            }
            Outcome::Refused(refusal) => *self.refused.entry(refusal.code.clone()).or_default() += 1,
        }
    }

    /// How many were refused.
    pub(crate) fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Commands a second.
    pub(crate) fn rate(&self) -> u64 {
        per_second(self.sent, self.elapsed)
    }

    /// The latency that so many of a thousand requests did not exceed.
    pub(crate) fn latency(&self, per_mille: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let rank = (self.latencies.len() * per_mille).div_ceil(1000).saturating_sub(1).min(last);
        self.latencies.get(rank).copied().unwrap_or_default()
    }
}

/// A request with what it is for, in its lane.
pub(crate) struct Job<T> {
    /// Jobs of one lane are sent one after another.
    pub(crate) lane: u64,
    pub(crate) subject: T,
    pub(crate) request: Request,
}

/// Sends all jobs of a phase, at most so many at once, and hands each answer on.
///
/// # Errors
/// When a request gets no answer, or one that every other would get as well.
pub(crate) async fn run<T: Send + 'static>(
    name: &'static str,
    length: usize,
    jobs: impl IntoIterator<Item = Job<T>>,
    sender: &Sender,
    mut answered: impl FnMut(T, Answer),
) -> Result<Tally> {
    let started = Instant::now();
    let mut tally = Tally { name, ..Tally::default() };
    let mut progress = Progress::start(name, u64::try_from(length).unwrap_or(u64::MAX));
    let client = sender.client.clone();
    let send = move |job: Job<T>| {
        let client = client.clone();
        async move {
            let answer = client.send(&job.request).await?;
            stop_at_a_general_refusal(&job.request, &answer)?;
            Ok((job.subject, answer))
        }
    };
    let jobs = jobs.into_iter().map(|job| (job.lane, job));
    in_lanes(jobs, sender.in_flight, send, |(subject, answer)| {
        tally.count(&answer);
        progress.step();
        answered(subject, answer);
        Ok(())
    })
    .await?;
    progress.finish();
    tally.elapsed = started.elapsed();
    tally.latencies.sort_unstable();
    Ok(tally)
}

/// By whom and how many at once.
pub(crate) struct Sender {
    pub(crate) client: CommandClient,
    /// Not zero.
    pub(crate) in_flight: usize,
}

/// Some refusals are not about the row: going on would only collect thousands of them.
fn stop_at_a_general_refusal(request: &Request, answer: &Answer) -> Result<()> {
    let Outcome::Refused(Refusal { status, code, detail }) = &answer.outcome else { return Ok(()) };
    if code == KEY_REUSED {
        bail!(
            "{} was used for another request before: this ledger holds another data set of the same shape \
             ({code}: {detail})",
            request.key
        );
    }
    if matches!(status, 401 | 403 | 405 | 413 | 415) || code == "not_found" {
        bail!("{} {}: {status} {code}: {detail}", request.path, request.key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let mut tally = Tally::default();
        assert_eq!(tally.latency(500), Duration::ZERO);
        tally.latencies = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(tally.latency(500), Duration::from_millis(100));
        assert_eq!(tally.latency(990), Duration::from_millis(198));
        assert_eq!(tally.latency(1000), Duration::from_millis(200));
    }
}
