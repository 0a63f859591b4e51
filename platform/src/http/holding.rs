//! Refusals that are held back. A client that asks again as soon as it is refused, whatever Retry-After says, costs
//! more than the requests that were let in can spare; where many are refused, each is therefore told late, and what
//! asks in a loop asks once or twice a second.
//!
//! Invariants: a held refusal goes within the second that Retry-After names, and at once when the server is asked to
//! stop; few are never held, and never more than there is room for. What is held is no request at work: of it there
//! is a timer and the name of the request.

use std::future::pending;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::measure::Held;

/// So many a second go at once: a client that meets a short peak is not kept.
const AT_ONCE_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// So many are held at a time; of HTTP/1 there is one a connection.
const HELD_MAX: usize = 20_000;
/// So many held are a crowd.
const CROWD: usize = 1_000;
/// For how long, evenly spread, so that those refused together do not come back together.
const HELD_MS_MIN: u64 = 500;
const HELD_MS_MAX: u64 = 1_000;
/// From one to the next; it has no factor in common with the span, so that all its values come.
const STEP_MS: u64 = 197;

/// Where refusals wait.
pub(super) struct Holding {
    at_once: DefaultDirectRateLimiter,
    room: Semaphore,
    held_max: usize,
    number: AtomicU64,
}

impl Holding {
    pub(super) fn new() -> Self {
        Self::with(AT_ONCE_PER_SECOND, HELD_MAX)
    }

    fn with(at_once_per_second: NonZeroU32, held_max: usize) -> Self {
        Self {
            at_once: RateLimiter::direct(Quota::per_second(at_once_per_second)),
            room: Semaphore::new(held_max),
            held_max,
            number: AtomicU64::new(0),
        }
    }

    /// Returns when a refusal may go: at once when that server stops.
    pub(super) async fn hold(&self, stopping: Option<&CancellationToken>) {
        if self.at_once.check().is_ok() {
            return;
        }
        let Ok(_room) = self.room.try_acquire() else { return };
        let _held = Held::begin();
        let stopped = async {
            match stopping {
                Some(stopping) => stopping.cancelled().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(self.next_delay()) => {}
            () = stopped => {}
        }
    }

    /// Whether so many are held that fewer should be let in: a short peak leaves none here, and clients in a loop who
    /// are fewer than this could be served.
    pub(super) fn is_crowded(&self) -> bool {
        self.held_max - self.room.available_permits() >= CROWD.min(self.held_max)
    }

    fn next_delay(&self) -> Duration {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Duration::from_millis(HELD_MS_MIN + number.wrapping_mul(STEP_MS) % (HELD_MS_MAX - HELD_MS_MIN))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn one_at_once(held_max: usize) -> Holding {
        Holding::with(NonZeroU32::MIN, held_max)
    }

    /// Whether it goes at once.
    fn goes(holding: &Holding) -> bool {
        holding.hold(None).now_or_never().is_some()
    }

    #[tokio::test]
    async fn few_go_at_once() {
        let holding = Holding::new();
        assert!((0..1_000).all(|_| goes(&holding)));
    }

    #[tokio::test]
    async fn more_come_late_but_come() {
        let (holding, began) = (one_at_once(1_000), Instant::now());
        assert!(goes(&holding));
        join_all((0..100).map(|_| holding.hold(None))).await;
        assert!(began.elapsed() >= Duration::from_millis(HELD_MS_MIN));
    }

    #[test]
    fn delays_are_spread_evenly_and_within_a_second() {
        let holding = Holding::new();
        let delays: BTreeSet<Duration> = (0..500).map(|_| holding.next_delay()).collect();
        assert_eq!(delays.len(), 500, "each millisecond once");
        assert!(delays.iter().all(|delay| (500..1_000).contains(&delay.as_millis())));
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_goes_at_once() {
        let holding = one_at_once(10);
        assert!(goes(&holding));
        let mut held: Vec<_> = (0..10).map(|_| Box::pin(holding.hold(None))).collect();
        assert!(held.iter_mut().all(|held| held.now_or_never().is_none()));
        assert!(goes(&holding) && holding.is_crowded());
        drop(held.pop());
        assert!(!holding.is_crowded());
        drop(held);
        assert!(!goes(&holding), "a client that has gone leaves its room");
    }

    #[tokio::test]
    async fn nobody_waits_while_the_server_stops() {
        let (holding, token) = (one_at_once(10), CancellationToken::new());
        assert!(goes(&holding));
        let mut held = Box::pin(holding.hold(Some(&token)));
        assert!((&mut held).now_or_never().is_none());
        token.cancel();
        assert!(held.now_or_never().is_some());
    }
}
