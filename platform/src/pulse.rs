//! Signs of life of a loop: what tells a stuck task from one that waits for a database.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// When the first pulse of this process was made; times are counted from here.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn now_ms() -> u64 {
    u64::try_from(origin().elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// When a loop last came round. Cheap to clone and to beat; clones share it.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<AtomicU64>);

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulse {
    /// A pulse that beats now.
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(now_ms())))
    }

    /// The loop has come round.
    pub fn beat(&self) {
        self.0.store(now_ms(), Ordering::Relaxed);
    }

    /// Beats while something outside is waited for, such as a host that does not answer: the loop is
    /// not stuck then.
    pub async fn beating<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            self.beat();
            match tokio::time::timeout(BEAT_INTERVAL, wait.as_mut()).await {
                Ok(value) => return value,
                Err(_) => continue,
            }
        }
    }

    /// For how long it has not.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::Pulse;
    use std::time::Duration;

    #[test]
    fn silence_ends_with_a_beat_of_any_clone() {
        let pulse = Pulse::new();
        while pulse.silence() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        pulse.clone().beat();
        assert!(pulse.silence() < Duration::from_millis(20));
    }
}
