//! Statement lines of guarded accounts, with the running balance.

use domain::Event;
use domain::account::AccountEvent;
use sqlx::PgConnection;

use super::copy::Rows;
use super::{ApplyError, Fact, ReadModel};

const COPY: &str = "COPY entries (account_id, sequence, transaction_id, posting, leg, kind, side, amount_minor, \
     booking_date, value_date, balance_minor, hold_released_minor, recorded_at, position) FROM STDIN (FORMAT binary)";
const ROW_BYTES: usize = 190;

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
        // In the order of the index: what goes into the same page of it comes together.
        self.posted.sort_unstable_by_key(|(fact, _)| (fact.id(), fact.sequence()));
        let mut rows = Rows::new(14, self.posted.len(), ROW_BYTES);
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
                rows.row()
                    .uuid(fact.id())
                    .bigint(fact.sequence())
                    .uuid(transaction_id.0)
                    .bigint(i64::from(*posting))
                    .integer(i32::from(*leg))
                    .text(kind.name())
                    .text(side.name())
                    .bigint(*amount_minor)
                    .date(*booking_date)
                    .date(*value_date)
                    .bigint(*balance_minor)
                    .bigint(*hold_released_minor)
                    .time(fact.recorded_at())
                    .bigint(fact.position());
            }
        }
        rows.write(connection, COPY).await
    }
}
