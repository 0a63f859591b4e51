//! Writing a batch: rows and offsets in one transaction.
//!
//! A batch is applied as a whole. Only if the database finds something in it that can never be
//! applied is it applied again in halves, under savepoints, until the one event is found and parked.

use sqlx::{Acquire, PgConnection, PgPool};

use crate::batch::{Delivered, Load};
use crate::parking::{self, ParkedStreams};
use crate::progress;
use crate::read_models::{ApplyError, Core};

/// Why a batch was not written. Nothing of it was, unless the connection went away at the commit:
/// then the database knows, and a new claim asks it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlushError {
    /// Somebody else owns a partition by now.
    #[error("somebody else owns a partition of the batch, or the projection is being rebuilt")]
    Fenced,
    /// The database did not answer, or refused for a reason that is not in the events.
    #[error("the database of the read models: {0}")]
    Database(#[from] sqlx::Error),
}

/// Writes what was handed over. On an error everything that was taken is to be dropped.
pub(crate) async fn flush(
    pool: &PgPool,
    projection: &str,
    load: &Load,
    parked: &mut ParkedStreams,
) -> Result<(), FlushError> {
    if load.advances.is_empty() {
        return Ok(());
    }
    // At first as if nothing could be wrong; with a savepoint only when something was.
    for careful in [false, true] {
        let mut tx = pool.begin().await?;
        if !progress::advance_in_tx(&mut tx, projection, &load.advances).await? {
            return Err(FlushError::Fenced);
        }
        let mut writer = Writer { projection, parked, careful };
        if writer.apply(&mut tx, &load.events).await? == Outcome::Poisoned {
            tx.rollback().await?;
            continue;
        }
        progress::announce_in_tx(&mut tx, projection).await?;
        tx.commit().await?;
        break;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Outcome {
    /// Everything is applied or parked.
    Done,
    /// Something can never be applied, and the transaction is lost.
    Poisoned,
}

struct Writer<'a> {
    projection: &'a str,
    parked: &'a mut ParkedStreams,
    careful: bool,
}

impl Writer<'_> {
    async fn apply(&mut self, tx: &mut PgConnection, events: &[Delivered]) -> Result<Outcome, FlushError> {
        if self.careful {
            self.apply_or_split(tx, events).await?;
            return Ok(Outcome::Done);
        }
        match self.apply_live(tx, events).await {
            Ok(()) => {}
            Err(ApplyError::Poison(_)) => return Ok(Outcome::Poisoned),
            Err(ApplyError::Database(error)) => return Err(error.into()),
        }
        self.park_behind(tx, events).await?;
        Ok(Outcome::Done)
    }

    /// Applies what is not of a parked stream.
    async fn apply_live(&self, tx: &mut PgConnection, events: &[Delivered]) -> Result<(), ApplyError> {
        let mut models = Core::default();
        for delivered in events.iter().filter(|delivered| !self.parked.contains(&delivered.recorded.stream)) {
            let fact = delivered.fact().map_err(|reason| ApplyError::Poison(reason.to_owned()))?;
            models.collect(&fact);
        }
        models.flush_in_tx(tx).await
    }

    /// Parks what is of a parked stream.
    async fn park_behind(&self, tx: &mut PgConnection, events: &[Delivered]) -> Result<(), FlushError> {
        for delivered in events.iter().filter(|delivered| self.parked.contains(&delivered.recorded.stream)) {
            parking::park_in_tx(tx, self.projection, delivered, None).await?;
        }
        Ok(())
    }

    /// Applies a part of the batch, or finds out which of its events cannot be applied. The parts
    /// come in order, so what follows a parked event in its stream is parked behind it.
    async fn apply_or_split(&mut self, tx: &mut PgConnection, events: &[Delivered]) -> Result<(), FlushError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut savepoint = tx.begin().await?;
        let reason = match self.apply_live(&mut savepoint, events).await {
            Ok(()) => {
                self.park_behind(&mut savepoint, events).await?;
                return Ok(savepoint.commit().await?);
            }
            Err(ApplyError::Poison(reason)) => reason,
            Err(ApplyError::Database(error)) => return Err(error.into()),
        };
        savepoint.rollback().await?;
        if let [delivered] = events {
            return self.park(tx, delivered, &reason).await;
        }
        let (first, second) = events.split_at(events.len() / 2);
        Box::pin(self.apply_or_split(tx, first)).await?;
        Box::pin(self.apply_or_split(tx, second)).await
    }

    async fn park(&mut self, tx: &mut PgConnection, delivered: &Delivered, reason: &str) -> Result<(), FlushError> {
        let recorded = &delivered.recorded;
        tracing::error!(
            projection = self.projection,
            stream = %recorded.stream,
            position = recorded.position,
            event_type = recorded.event_type,
            error = reason,
            "an event cannot be applied: its stream is parked"
        );
        parking::park_in_tx(tx, self.projection, delivered, Some(reason)).await?;
        self.parked.insert(recorded.stream);
        Ok(())
    }
}
