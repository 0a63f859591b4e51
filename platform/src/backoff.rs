//! Waiting between tries: exponential, with jitter, with a cap.
//!
//! Invariant: a wait is never longer than the cap and never zero, so a loop over it neither spins
//! nor goes silent.

use std::time::Duration;

/// The waits between the tries of one operation.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits that start at `first` and double up to `cap`; both are at least a millisecond.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        let cap = cap.max(first);
        Self { first, cap, next: first }
    }

    /// The next wait: between half of the current step and all of it, so that many callers that
    /// failed together do not come back together.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.cap);
        let half_us = u64::try_from(step.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half_us.saturating_add(random_below(half_us.saturating_add(1))))
    }

    /// Sleeps for the next wait.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

fn random_below(bound: u64) -> u64 {
    // Without entropy the jitter is lost, not the back-off.
    getrandom::u64().map_or(0, |random| random % bound.max(1))
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn waits_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for step_ms in [100, 200, 400, 400] {
            let wait = backoff.next_wait();
            assert!(wait >= Duration::from_millis(step_ms / 2), "{wait:?}");
            assert!(wait <= Duration::from_millis(step_ms), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
