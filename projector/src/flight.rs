//! A write that is under way while the consumer reads on.
//!
//! Invariants: there is one at most, so that writes keep their order; it owns what it writes, and
//! gives it back when it lands. One that is forgotten still ends, written or not: a new claim waits for
//! it at the rows of its partitions, and knows afterwards.
//!
//! A large one, as in a rebuild, is written in lanes: transactions side by side, each of partitions of its own. They
//! touch no row in common, as projectors do not that share the partitions. If one fails, another may have
//! written all the same: the flight has failed, and the next claim finds out.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::batch::Load;
use crate::flush::{FlushError, flush};
use crate::parking::ParkedStreams;
use crate::run::Options;

/// How long the next write rests from the beginning of one, for each of its events and at most: what comes
/// meanwhile shares a transaction and its statements, and an event that comes alone waits for nothing.
const REST_PER_EVENT: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(30);

/// How long after the beginning of a write of so many events the next one begins at the earliest.
pub(crate) fn rest_after(events: usize) -> Duration {
    REST_PER_EVENT.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX)).min(REST_MAX)
}

/// Most transactions of a flight at once: one connection of the pool each.
pub(crate) const LANES_MAX: usize = 2;

/// A write that is under way.
#[derive(Debug)]
pub(crate) struct Flight {
    landing: Receiver<Landed>,
}

/// What is left of a write.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) outcome: Result<(), FlushError>,
    pub(crate) loads: Vec<Load>,
    pub(crate) parked: ParkedStreams,
    pub(crate) took: Duration,
}

impl Flight {
    /// Begins to write.
    pub(crate) fn start(handle: &Handle, pool: &PgPool, options: &Options, load: Load, parked: ParkedStreams) -> Self {
        let (lands, landing) = sync_channel(1);
        let (pool, projection) = (pool.clone(), options.projection.clone());
        let lanes = (load.events.len() / options.lane_events_min.max(1)).clamp(1, LANES_MAX);
        handle.spawn(async move {
            // Nobody listens any more where it was forgotten.
            let _ = lands.send(fly(&pool, &projection, load.split(lanes), parked).await);
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

/// Writes each load in a lane of its own. It ends when all of them have.
async fn fly(pool: &PgPool, projection: &str, loads: Vec<Load>, parked: ParkedStreams) -> Landed {
    let began = Instant::now();
    let mut flushes = JoinSet::new();
    for load in loads {
        let (pool, projection, mut parked) = (pool.clone(), projection.to_owned(), parked.clone());
        flushes.spawn(async move {
            let outcome = flush(&pool, &projection, &load, &mut parked).await;
            (outcome, load, parked)
        });
    }
    let mut landed = Landed { outcome: Ok(()), loads: Vec::new(), parked, took: Duration::ZERO };
    while let Some(flushed) = flushes.join_next().await {
        match flushed {
            Ok((outcome, load, parked)) => {
                // A lane parks streams of its own partitions only.
                landed.parked.extend(parked);
                landed.outcome = landed.outcome.and(outcome);
                landed.loads.push(load);
            }
            Err(_) => landed.outcome = Err(FlushError::Database(sqlx::Error::WorkerCrashed)),
        }
    }
    Landed { took: began.elapsed(), ..landed }
}

impl Landed {
    /// How many events were to be written.
    pub(crate) fn events(&self) -> usize {
        self.loads.iter().map(|load| load.events.len()).sum()
    }

    /// By partition, when its newest event was recorded.
    pub(crate) fn newest_us(&self) -> BTreeMap<i32, i64> {
        self.loads.iter().flat_map(Load::newest_us).collect()
    }

    /// Of a task that ended without an answer: whether it has written, the next claim finds out.
    fn lost() -> Self {
        let outcome = Err(FlushError::Database(sqlx::Error::WorkerCrashed));
        Self { outcome, loads: Vec::new(), parked: ParkedStreams::new(), took: Duration::ZERO }
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
