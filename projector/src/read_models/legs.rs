//! Every posted leg, one row each: the double entry itself.

use domain::Event;
use domain::transaction::{Leg, TransactionEvent};
use sqlx::PgConnection;

use chrono::NaiveDate;

use super::copy::Rows;
use super::{ApplyError, Fact, ReadModel};

const COPY: &str = "COPY legs (transaction_id, posting, leg, account_id, ledger_code, side, amount_minor, currency, \
     component, booking_date, value_date, recorded_at, position) FROM STDIN (FORMAT binary)";
const ROW_BYTES: usize = 170;

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
        // In the order of the log, in which ids grow that are made in time's order: neighbours in the index come together.
        self.postings.sort_unstable_by_key(|(fact, _)| fact.position());
        let mut rows = Rows::new(13, self.postings.len() * 2, ROW_BYTES);
        for (fact, posted) in self.postings.drain(..) {
            for leg in posted.legs {
                rows.row()
                    .uuid(fact.id())
                    .bigint(i64::from(posted.posting))
                    .integer(i32::from(leg.leg))
                    .uuid(leg.account_id.0)
                    .text(leg.ledger_code.as_str())
                    .text(leg.side.name())
                    .bigint(leg.amount_minor)
                    .text(leg.currency.code())
                    .maybe_text(leg.component.as_deref())
                    .date(posted.booking_date)
                    .date(posted.value_date)
                    .time(fact.recorded_at())
                    .bigint(fact.position());
            }
        }
        rows.write(connection, COPY).await
    }
}
