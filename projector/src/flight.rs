//! A write that is under way while the consumer reads on.
//!
//! Invariants: there is one at most, so that writes keep their order; it owns what it writes, and
//! gives it back when it lands. One that is forgotten still ends, written or not: a new claim waits for
//! it at the rows of its partitions, and knows afterwards.

use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::runtime::Handle;

use crate::batch::Load;
use crate::flush::{FlushError, flush};
use crate::parking::ParkedStreams;

/// How long the next write rests from the beginning of one, for each of its events and at most: what comes
/// meanwhile shares a transaction and its statements, and an event that comes alone waits for nothing.
const REST_PER_EVENT: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(30);

/// How long after the beginning of a write of so many events the next one begins at the earliest.
pub(crate) fn rest_after(events: usize) -> Duration {
    REST_PER_EVENT.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX)).min(REST_MAX)
}

/// A write that is under way.
#[derive(Debug)]
pub(crate) struct Flight {
    landing: Receiver<Landed>,
}

/// What is left of a write.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) outcome: Result<(), FlushError>,
    pub(crate) load: Load,
    pub(crate) parked: ParkedStreams,
    pub(crate) took: Duration,
}

impl Flight {
    /// Begins to write.
    pub(crate) fn start(handle: &Handle, pool: &PgPool, projection: &str, load: Load, parked: ParkedStreams) -> Self {
        let (lands, landing) = sync_channel(1);
        let (pool, projection, mut parked) = (pool.clone(), projection.to_owned(), parked);
        handle.spawn(async move {
            let began = Instant::now();
            let outcome = flush(&pool, &projection, &load, &mut parked).await;
            // Nobody listens any more where it was forgotten.
            let _ = lands.send(Landed { outcome, load, parked, took: began.elapsed() });
        });
        Self { landing }
    }

    /// What is left of it, if it has landed.
    pub(crate) fn landed(&self) -> Option<Landed> {
        match self.landing.try_recv() {
            Ok(landed) => Some(landed),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Landed::lost()),
        }
    }

    /// Waits until it has landed.
    pub(crate) fn wait(self) -> Landed {
        self.landing.recv().unwrap_or_else(|_| Landed::lost())
    }
}

impl Landed {
    /// Of a task that ended without an answer: whether it has written, the next claim finds out.
    fn lost() -> Self {
        let outcome = Err(FlushError::Database(sqlx::Error::WorkerCrashed));
        Self { outcome, load: Load::default(), parked: ParkedStreams::new(), took: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::{REST_MAX, rest_after};
    use std::time::Duration;

    #[test]
    fn rests_follow_the_load_and_are_bounded() {
        assert_eq!(rest_after(0), Duration::ZERO, "watermarks alone never keep the events behind them waiting");
        assert!(rest_after(3) < Duration::from_millis(5), "one transfer does not keep the next one waiting");
        assert!(rest_after(10) > rest_after(3));
        for events in [1_000, usize::MAX] {
            assert_eq!(rest_after(events), REST_MAX);
        }
    }
}
