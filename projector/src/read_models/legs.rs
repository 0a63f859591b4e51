//! Every posted leg, one row each: the double entry itself.

use domain::Event;
use domain::transaction::{Leg, TransactionEvent};
use sqlx::PgConnection;

use chrono::NaiveDate;

use super::{ApplyError, Fact, ReadModel};

/// The legs that an event posts, with their posting, booking date and value date; `None` for an
/// event that posts nothing.
pub(super) fn posted<'a>(fact: &Fact<'a>) -> Option<Posted<'a>> {
    let Event::Transaction(event) = fact.event else { return None };
    match event {
        TransactionEvent::TransactionPosted { booking_date, value_date, legs, .. } => {
            Some(Posted { posting: 1, booking_date: *booking_date, value_date: *value_date, legs })
        }
        TransactionEvent::PendingPosted { posting, booking_date, value_date, legs, .. } => {
            Some(Posted { posting: *posting, booking_date: *booking_date, value_date: *value_date, legs })
        }
        TransactionEvent::TransactionPending { .. }
        | TransactionEvent::PendingVoided { .. }
        | TransactionEvent::PendingExpired { .. }
        | TransactionEvent::TransactionReversed { .. } => None,
    }
}

/// What one posting puts into the books.
#[derive(Clone, Copy)]
pub(super) struct Posted<'a> {
    pub(super) posting: u32,
    pub(super) booking_date: NaiveDate,
    pub(super) value_date: NaiveDate,
    pub(super) legs: &'a [Leg],
}

#[derive(Default)]
pub(super) struct Legs<'a> {
    postings: Vec<(Fact<'a>, Posted<'a>)>,
}

impl<'a> ReadModel<'a> for Legs<'a> {
    const TABLES: &'static [&'static str] = &["legs"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Some(posted) = posted(fact) {
            self.postings.push((*fact, posted));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let (mut transactions, mut postings, mut numbers, mut accounts) = (vec![], vec![], vec![], vec![]);
        let (mut codes, mut sides, mut amounts, mut currencies) = (vec![], vec![], vec![], vec![]);
        let (mut components, mut bookings, mut values) = (vec![], vec![], vec![]);
        let (mut times, mut positions) = (vec![], vec![]);
        for (fact, posted) in self.postings.drain(..) {
            for leg in posted.legs {
                transactions.push(fact.id());
                postings.push(i64::from(posted.posting));
                numbers.push(i32::from(leg.leg));
                accounts.push(leg.account_id.0);
                codes.push(leg.ledger_code.as_str());
                sides.push(leg.side.name());
                amounts.push(leg.amount_minor);
                currencies.push(leg.currency.code());
                components.push(leg.component.as_deref());
                bookings.push(posted.booking_date);
                values.push(posted.value_date);
                times.push(fact.recorded_at());
                positions.push(fact.position());
            }
        }
        if transactions.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO legs (transaction_id, posting, leg, account_id, ledger_code, side, amount_minor, currency, \
                 component, booking_date, value_date, recorded_at, position) \
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::uuid[], $5::text[], $6::text[], \
                 $7::bigint[], $8::text[], $9::text[], $10::date[], $11::date[], $12::timestamptz[], $13::bigint[])",
        )
        .bind(transactions)
        .bind(postings)
        .bind(numbers)
        .bind(accounts)
        .bind(codes)
        .bind(sides)
        .bind(amounts)
        .bind(currencies)
        .bind(components)
        .bind(bookings)
        .bind(values)
        .bind(times)
        .bind(positions)
        .execute(connection)
        .await?;
        Ok(())
    }
}
