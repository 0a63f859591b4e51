//! One narrow row an account: balance and version after its last event.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::Event;
use domain::account::AccountEvent;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel};

#[derive(Default)]
pub(super) struct Balances {
    last: BTreeMap<Uuid, Last>,
}

/// What the last events of the batch say of an account.
struct Last {
    opened: bool,
    /// `None` where there was no entry.
    balance_minor: Option<i64>,
    version: i64,
    position: i64,
    recorded_at: DateTime<Utc>,
}

impl<'a> ReadModel<'a> for Balances {
    const TABLES: &'static [&'static str] = &["account_balances"];

    fn collect(&mut self, fact: &Fact<'a>) {
        let Event::Account(event) = fact.event else { return };
        let last = self.last.entry(fact.id()).or_insert_with(|| Last {
            opened: false,
            balance_minor: None,
            version: 0,
            position: 0,
            recorded_at: DateTime::UNIX_EPOCH,
        });
        last.version = fact.sequence();
        last.position = fact.position();
        last.recorded_at = fact.recorded_at();
        last.opened |= matches!(event, AccountEvent::AccountOpened { .. });
        if let AccountEvent::EntryPosted { balance_minor, .. } = event {
            last.balance_minor = Some(*balance_minor);
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let (opened, known): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.last).into_iter().partition(|(_, last)| last.opened);
        let insert = "INSERT INTO account_balances (account_id, balance_minor, version, updated_position, updated_at) \
             SELECT u.id, COALESCE(u.balance, 0), u.version, u.position, u.at \
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[]) \
                  AS u (id, balance, version, position, at)";
        let update = "UPDATE account_balances b SET balance_minor = COALESCE(u.balance, b.balance_minor), \
                 version = u.version, updated_position = u.position, updated_at = u.at \
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[]) \
                  AS u (id, balance, version, position, at) \
             WHERE b.account_id = u.id";
        write(connection, insert, &opened).await?;
        write(connection, update, &known).await
    }
}

async fn write(connection: &mut PgConnection, sql: &str, last: &BTreeMap<Uuid, Last>) -> Result<(), ApplyError> {
    if last.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(sql)
        .bind(last.keys().copied().collect::<Vec<_>>())
        .bind(last.values().map(|last| last.balance_minor).collect::<Vec<_>>())
        .bind(last.values().map(|last| last.version).collect::<Vec<_>>())
        .bind(last.values().map(|last| last.position).collect::<Vec<_>>())
        .bind(last.values().map(|last| last.recorded_at).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    if done.rows_affected() != last.len() as u64 {
        return Err(ApplyError::Poison("an event of an account that is not in the read model".to_owned()));
    }
    Ok(())
}
