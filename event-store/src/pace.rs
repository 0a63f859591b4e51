//! How long a queue of commands takes, told from how long the last ones took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A batch with fewer commands says more of a commit's fixed cost than of a command's.
const TELLING_COMMANDS: usize = 100;
/// So many may always wait: they go with one commit.
const ALWAYS_WAITING: usize = 1_000;
/// A new measure counts for a fourth.
const SHARE: u64 = 4;

/// Nanoseconds that a command takes when many come. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<AtomicU64>);

impl Pace {
    /// A batch of so many commands was at work for so long. One that waited for the one before it was
    /// at work from that one's end on.
    pub(crate) fn measure(&self, commands: usize, began: Instant, before_ended: Option<Instant>) {
        if commands < TELLING_COMMANDS {
            return;
        }
        let at_work = began.max(before_ended.unwrap_or(began)).elapsed().as_nanos() / commands as u128;
        let (new, old) = (u64::try_from(at_work).unwrap_or(u64::MAX / SHARE), self.0.load(Ordering::Relaxed));
        let next = if old == 0 { new } else { old - old / SHARE + new / SHARE };
        self.0.store(next, Ordering::Relaxed);
    }

    /// For how long one more would wait behind so many; nothing while few wait, or as long as nothing
    /// is known.
    pub(crate) fn wait_for(&self, waiting: usize) -> Duration {
        if waiting < ALWAYS_WAITING {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(waiting as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_queue_waits_as_long_as_its_commands_take() {
        let pace = Pace::default();
        assert_eq!(pace.wait_for(5_000), Duration::ZERO, "nothing is known yet");
        let Some(began) = Instant::now().checked_sub(Duration::from_millis(100)) else { return };
        pace.measure(10, began, None);
        assert_eq!(pace.wait_for(5_000), Duration::ZERO, "a small batch tells nothing");
        pace.measure(1_000, began, None);
        let wait = pace.wait_for(5_000);
        assert!(wait >= Duration::from_millis(500), "100 µs each: {wait:?}");
        assert_eq!(pace.wait_for(999), Duration::ZERO, "one commit takes them all");
    }

    #[test]
    fn the_time_before_the_last_commit_was_that_commits() {
        let pace = Pace::default();
        let Some(began) = Instant::now().checked_sub(Duration::from_secs(3_600)) else { return };
        pace.measure(1_000, began, Some(Instant::now()));
        assert!(pace.wait_for(2_000) < Duration::from_secs(60), "{:?}", pace.wait_for(2_000));
    }
}
