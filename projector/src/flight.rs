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
