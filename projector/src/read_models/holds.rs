//! What is left of each hold. A row goes when nothing is left; that it has expired is for the reader
//! to see, since no event may come for a while.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::Event;
use domain::account::AccountEvent;
use domain::money::Side;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel};

/// Account, transaction, leg.
type Key = (Uuid, Uuid, i32);

#[derive(Default)]
pub(super) struct Holds {
    /// Placed in this batch, with what is left of them.
    placed: BTreeMap<Key, Placed>,
    /// Taken off holds of earlier batches, in minor units.
    released: BTreeMap<Key, i64>,
}

struct Placed {
    side: Side,
    amount_minor: i64,
    expires_at: Option<DateTime<Utc>>,
    position: i64,
}

impl Holds {
    fn release(&mut self, key: Key, amount_minor: i64) {
        if amount_minor == 0 {
            return;
        }
        match self.placed.get_mut(&key) {
            Some(placed) if placed.amount_minor > amount_minor => placed.amount_minor -= amount_minor,
            Some(_) => {
                self.placed.remove(&key);
            }
            None => {
                let released = self.released.entry(key).or_insert(0);
                *released = released.saturating_add(amount_minor);
            }
        }
    }
}

impl<'a> ReadModel<'a> for Holds {
    const TABLES: &'static [&'static str] = &["holds"];

    fn collect(&mut self, fact: &Fact<'a>) {
        let Event::Account(event) = fact.event else { return };
        match event {
            AccountEvent::HoldPlaced { transaction_id, leg, side, amount_minor, expires_at } => {
                let placed = Placed {
                    side: *side,
                    amount_minor: *amount_minor,
                    expires_at: *expires_at,
                    position: fact.position(),
                };
                self.placed.insert((fact.id(), transaction_id.0, i32::from(*leg)), placed);
            }
            AccountEvent::EntryPosted { transaction_id, leg, hold_released_minor, .. } => {
                self.release((fact.id(), transaction_id.0, i32::from(*leg)), *hold_released_minor);
            }
            AccountEvent::HoldReleased { transaction_id, leg, amount_minor, .. } => {
                self.release((fact.id(), transaction_id.0, i32::from(*leg)), *amount_minor);
            }
            AccountEvent::AccountOpened { .. }
            | AccountEvent::HolderAdded { .. }
            | AccountEvent::HolderRemoved { .. }
            | AccountEvent::LimitChanged { .. }
            | AccountEvent::AccountFrozen { .. }
            | AccountEvent::AccountUnfrozen { .. }
            | AccountEvent::AccountMarkedDormant { .. }
            | AccountEvent::AccountReactivated {}
            | AccountEvent::AccountClosed { .. }
            | AccountEvent::AccountRetired { .. }
            | AccountEvent::AccountDedicated { .. } => {}
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        release(connection, &std::mem::take(&mut self.released)).await?;
        place(connection, &std::mem::take(&mut self.placed)).await
    }
}

async fn release(connection: &mut PgConnection, released: &BTreeMap<Key, i64>) -> Result<(), ApplyError> {
    if released.is_empty() {
        return Ok(());
    }
    // What is used up goes first, since a row of nothing is refused.
    for sql in [
        "DELETE FROM holds h USING unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[]) \
             AS u (account_id, transaction_id, leg, amount) \
         WHERE h.account_id = u.account_id AND h.transaction_id = u.transaction_id AND h.leg = u.leg \
           AND h.amount_minor <= u.amount",
        "UPDATE holds h SET amount_minor = h.amount_minor - u.amount \
         FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[]) AS u (account_id, transaction_id, leg, amount) \
         WHERE h.account_id = u.account_id AND h.transaction_id = u.transaction_id AND h.leg = u.leg",
    ] {
        sqlx::query(sql)
            .bind(released.keys().map(|key| key.0).collect::<Vec<_>>())
            .bind(released.keys().map(|key| key.1).collect::<Vec<_>>())
            .bind(released.keys().map(|key| key.2).collect::<Vec<_>>())
            .bind(released.values().copied().collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn place(connection: &mut PgConnection, placed: &BTreeMap<Key, Placed>) -> Result<(), ApplyError> {
    if placed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO holds (account_id, transaction_id, leg, side, amount_minor, expires_at, position) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::bigint[], $6::timestamptz[], \
                              $7::bigint[])",
    )
    .bind(placed.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(placed.keys().map(|key| key.1).collect::<Vec<_>>())
    .bind(placed.keys().map(|key| key.2).collect::<Vec<_>>())
    .bind(placed.values().map(|placed| placed.side.name()).collect::<Vec<_>>())
    .bind(placed.values().map(|placed| placed.amount_minor).collect::<Vec<_>>())
    .bind(placed.values().map(|placed| placed.expires_at).collect::<Vec<_>>())
    .bind(placed.values().map(|placed| placed.position).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
