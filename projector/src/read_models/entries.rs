//! Statement lines of guarded accounts, with the running balance.

use domain::Event;
use domain::account::AccountEvent;
use sqlx::PgConnection;

use super::{ApplyError, Fact, ReadModel};

#[derive(Default)]
pub(super) struct Entries<'a> {
    posted: Vec<(Fact<'a>, &'a AccountEvent)>,
}

impl<'a> ReadModel<'a> for Entries<'a> {
    const TABLES: &'static [&'static str] = &["entries"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Account(event @ AccountEvent::EntryPosted { .. }) = fact.event {
            self.posted.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let (mut accounts, mut sequences, mut transactions) = (vec![], vec![], vec![]);
        let (mut postings, mut legs, mut kinds, mut sides) = (vec![], vec![], vec![], vec![]);
        let (mut amounts, mut bookings, mut values, mut balances) = (vec![], vec![], vec![], vec![]);
        let (mut releases, mut times, mut positions) = (vec![], vec![], vec![]);
        for (fact, event) in self.posted.drain(..) {
            if let AccountEvent::EntryPosted {
                transaction_id,
                posting,
                leg,
                kind,
                side,
                amount_minor,
                booking_date,
                value_date,
                balance_minor,
                hold_released_minor,
            } = event
            {
                accounts.push(fact.id());
                sequences.push(fact.sequence());
                transactions.push(transaction_id.0);
                postings.push(i64::from(*posting));
                legs.push(i32::from(*leg));
                kinds.push(kind.name());
                sides.push(side.name());
                amounts.push(*amount_minor);
                bookings.push(*booking_date);
                values.push(*value_date);
                balances.push(*balance_minor);
                releases.push(*hold_released_minor);
                times.push(fact.recorded_at());
                positions.push(fact.position());
            }
        }
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO entries (account_id, sequence, transaction_id, posting, leg, kind, side, amount_minor, \
                 booking_date, value_date, balance_minor, hold_released_minor, recorded_at, position) \
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::int[], $6::text[], \
                 $7::text[], $8::bigint[], $9::date[], $10::date[], $11::bigint[], $12::bigint[], \
                 $13::timestamptz[], $14::bigint[])",
        )
        .bind(accounts)
        .bind(sequences)
        .bind(transactions)
        .bind(postings)
        .bind(legs)
        .bind(kinds)
        .bind(sides)
        .bind(amounts)
        .bind(bookings)
        .bind(values)
        .bind(balances)
        .bind(releases)
        .bind(times)
        .bind(positions)
        .execute(connection)
        .await?;
        Ok(())
    }
}
