//! Transactions and what became of them. Their posted legs have rows of their own; the row here keeps
//! the legs as first made, each with what is pending, posted and reversed of it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use domain::Event;
use domain::transaction::{Leg, TransactionEvent};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::copy::Rows;
use super::{ApplyError, Fact, ReadModel, missing};

const COPY: &str = "COPY transactions (transaction_id, kind, status, booking_date, value_date, expires_at, \
     external_reference, narrative, reverses_id, reverses_reason, void_reason, postings, legs, reversed_by, \
     position, recorded_at, version, updated_position, updated_at) FROM STDIN (FORMAT binary)";
const ROW_BYTES: usize = 700;

#[derive(Default)]
pub(super) struct Transactions<'a> {
    changes: Vec<(Fact<'a>, &'a TransactionEvent)>,
}

/// A leg as the read model keeps it. The fields are in the order in which `jsonb` keeps keys, by length and then by
/// letters, so that the database finds them sorted.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LegState {
    leg: u16,
    side: String,
    currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    account_id: Uuid,
    ledger_code: String,
    amount_minor: i64,
    posted_minor: i64,
    pending_minor: i64,
    reversed_minor: i64,
}

/// What changes after the first event.
struct State {
    status: &'static str,
    /// Of the last posting; before it, those that the pending transaction was made for.
    booking_date: NaiveDate,
    value_date: NaiveDate,
    void_reason: Option<String>,
    postings: i64,
    legs: Vec<LegState>,
    reversed_by: Vec<Uuid>,
    version: i64,
    updated_position: i64,
    updated_at: DateTime<Utc>,
}

impl State {
    /// The state after a first event; `None` for one that is not a first event.
    fn first(fact: &Fact<'_>, event: &TransactionEvent) -> Option<Self> {
        let (pending, booking_date, value_date, legs) = match event {
            TransactionEvent::TransactionPosted { booking_date, value_date, legs, .. } => {
                (false, booking_date, value_date, legs)
            }
            TransactionEvent::TransactionPending { booking_date, value_date, legs, .. } => {
                (true, booking_date, value_date, legs)
            }
            TransactionEvent::PendingPosted { .. }
            | TransactionEvent::PendingVoided { .. }
            | TransactionEvent::PendingExpired { .. }
            | TransactionEvent::TransactionReversed { .. } => return None,
        };
        Some(Self {
            status: if pending { "pending" } else { "posted" },
            booking_date: *booking_date,
            value_date: *value_date,
            void_reason: None,
            postings: i64::from(!pending),
            legs: legs.iter().map(|leg| LegState::first(leg, pending)).collect(),
            reversed_by: Vec::new(),
            version: fact.sequence(),
            updated_position: fact.position(),
            updated_at: fact.recorded_at(),
        })
    }

    fn fold(&mut self, fact: &Fact<'_>, event: &TransactionEvent) {
        self.version = fact.sequence();
        self.updated_position = fact.position();
        self.updated_at = fact.recorded_at();
        match event {
            TransactionEvent::TransactionPosted { .. } | TransactionEvent::TransactionPending { .. } => {}
            TransactionEvent::PendingPosted { posting, booking_date, value_date, legs, is_final } => {
                self.postings = i64::from(*posting);
                self.booking_date = *booking_date;
                self.value_date = *value_date;
                for posted in legs {
                    if let Some(leg) = self.legs.iter_mut().find(|leg| leg.leg == posted.leg) {
                        leg.pending_minor = leg.pending_minor.saturating_sub(posted.amount_minor);
                        leg.posted_minor = leg.posted_minor.saturating_add(posted.amount_minor);
                    }
                }
                if *is_final {
                    self.end("posted");
                }
            }
            TransactionEvent::PendingVoided { reason } => {
                self.void_reason = Some(reason.as_str().to_owned());
                self.end("voided");
            }
            TransactionEvent::PendingExpired { .. } => self.end("expired"),
            TransactionEvent::TransactionReversed { by, legs } => {
                self.reversed_by.push(by.0);
                for reversed in legs {
                    if let Some(leg) = self.legs.iter_mut().find(|leg| leg.leg == reversed.leg) {
                        leg.reversed_minor = reversed.reversed_minor;
                    }
                }
            }
        }
    }

    fn end(&mut self, status: &'static str) {
        self.status = status;
        for leg in &mut self.legs {
            leg.pending_minor = 0;
        }
    }
}

impl LegState {
    fn first(leg: &Leg, pending: bool) -> Self {
        let (pending_minor, posted_minor) = if pending { (leg.amount_minor, 0) } else { (0, leg.amount_minor) };
        Self {
            leg: leg.leg,
            account_id: leg.account_id.0,
            ledger_code: leg.ledger_code.as_str().to_owned(),
            side: leg.side.name().to_owned(),
            currency: leg.currency.code().to_owned(),
            amount_minor: leg.amount_minor,
            pending_minor,
            posted_minor,
            reversed_minor: 0,
            component: leg.component.clone(),
        }
    }
}

impl<'a> ReadModel<'a> for Transactions<'a> {
    const TABLES: &'static [&'static str] = &["transactions"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Transaction(event) = fact.event {
            self.changes.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let mut new = BTreeMap::new();
        for (fact, event) in &self.changes {
            if let Some(state) = State::first(fact, event) {
                new.insert(fact.id(), (*fact, *event, state));
            }
        }
        let known: BTreeSet<Uuid> =
            self.changes.iter().map(|(fact, _)| fact.id()).filter(|id| !new.contains_key(id)).collect();
        let known: Vec<Uuid> = known.into_iter().collect();
        let mut old = load(connection, &known).await?;
        missing("transaction", &known, |id| old.contains_key(id))?;
        for (fact, event) in self.changes.drain(..) {
            let state = new.get_mut(&fact.id()).map(|(_, _, state)| state).or_else(|| old.get_mut(&fact.id()));
            if let Some(state) = state {
                state.fold(&fact, event);
            }
        }
        insert(connection, &new).await?;
        update(connection, &old).await
    }
}

async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<BTreeMap<Uuid, State>, ApplyError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "SELECT transaction_id, status, booking_date, value_date, void_reason, postings, legs::text AS legs, \
             reversed_by, version, updated_position, updated_at \
         FROM transactions WHERE transaction_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut states = BTreeMap::new();
    for row in rows {
        let (status, legs): (&str, &str) = (row.try_get("status")?, row.try_get("legs")?);
        let state = State {
            status: ["pending", "posted", "voided", "expired"]
                .into_iter()
                .find(|known| *known == status)
                .ok_or_else(|| ApplyError::Poison(format!("the read model has the status `{status}`")))?,
            booking_date: row.try_get("booking_date")?,
            value_date: row.try_get("value_date")?,
            void_reason: row.try_get("void_reason")?,
            postings: row.try_get("postings")?,
            legs: serde_json::from_str(legs).map_err(|error| ApplyError::Poison(error.to_string()))?,
            reversed_by: row.try_get("reversed_by")?,
            version: row.try_get("version")?,
            updated_position: row.try_get("updated_position")?,
            updated_at: row.try_get("updated_at")?,
        };
        states.insert(row.try_get("transaction_id")?, state);
    }
    Ok(states)
}

/// The columns of an update, as arrays; arrays of arrays go as text.
struct Columns<'s> {
    ids: Vec<Uuid>,
    states: Vec<&'s State>,
    legs: Vec<String>,
    reversed_by: Vec<String>,
}

impl<'s> Columns<'s> {
    fn new(states: impl Iterator<Item = (&'s Uuid, &'s State)>) -> Result<Self, ApplyError> {
        let (ids, states): (Vec<Uuid>, Vec<&State>) = states.map(|(id, state)| (*id, state)).unzip();
        let legs = states.iter().map(|state| legs_json(&state.legs)).collect::<Result<_, _>>()?;
        let array = |ids: &[Uuid]| ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
        let reversed_by = states.iter().map(|state| format!("{{{}}}", array(&state.reversed_by))).collect();
        Ok(Self { ids, states, legs, reversed_by })
    }

    fn of<T>(&self, value: impl Fn(&'s State) -> T) -> Vec<T> {
        self.states.iter().copied().map(value).collect()
    }
}

type New<'a> = BTreeMap<Uuid, (Fact<'a>, &'a TransactionEvent, State)>;

async fn insert(connection: &mut PgConnection, new: &New<'_>) -> Result<(), ApplyError> {
    let mut rows = Rows::new(19, new.len(), ROW_BYTES);
    for (id, (fact, event, state)) in new {
        let (kind, expires_at, external_reference, narrative, undone) = match event {
            TransactionEvent::TransactionPosted { kind, reverses, external_reference, narrative, .. } => {
                (kind, None, external_reference, narrative, reverses.as_ref())
            }
            TransactionEvent::TransactionPending { kind, expires_at, external_reference, narrative, .. } => {
                (kind, *expires_at, external_reference, narrative, None)
            }
            TransactionEvent::PendingPosted { .. }
            | TransactionEvent::PendingVoided { .. }
            | TransactionEvent::PendingExpired { .. }
            | TransactionEvent::TransactionReversed { .. } => continue,
        };
        rows.row()
            .uuid(*id)
            .text(kind.name())
            .text(state.status)
            .date(state.booking_date)
            .date(state.value_date)
            .maybe_time(expires_at)
            .maybe_text(external_reference.as_ref().map(|reference| reference.as_str()))
            .maybe_text(narrative.as_ref().map(|narrative| narrative.as_str()))
            .maybe_uuid(undone.map(|undone| undone.transaction_id.0))
            .maybe_text(undone.map(|undone| undone.reason.as_str()))
            .maybe_text(state.void_reason.as_deref())
            .bigint(state.postings)
            .jsonb(&legs_json(&state.legs)?)
            .uuids(&state.reversed_by)
            .bigint(fact.position())
            .time(fact.recorded_at())
            .bigint(state.version)
            .bigint(state.updated_position)
            .time(state.updated_at);
    }
    rows.write(connection, COPY).await
}

fn legs_json(legs: &[LegState]) -> Result<String, ApplyError> {
    serde_json::to_string(legs).map_err(|error| ApplyError::Poison(error.to_string()))
}

async fn update(connection: &mut PgConnection, old: &BTreeMap<Uuid, State>) -> Result<(), ApplyError> {
    if old.is_empty() {
        return Ok(());
    }
    let columns = Columns::new(old.iter())?;
    sqlx::query(
        "UPDATE transactions t SET status = u.status, booking_date = u.booking, value_date = u.value, \
             void_reason = u.void, postings = u.postings, legs = u.legs::jsonb, reversed_by = u.reversed_by::uuid[], \
             version = u.version, updated_position = u.position, updated_at = u.at \
         FROM unnest($1::uuid[], $2::text[], $3::date[], $4::date[], $5::text[], $6::bigint[], $7::text[], \
                     $8::text[], $9::bigint[], $10::bigint[], $11::timestamptz[]) \
              AS u (id, status, booking, value, void, postings, legs, reversed_by, version, position, at) \
         WHERE t.transaction_id = u.id",
    )
    .bind(&columns.ids)
    .bind(columns.of(|state| state.status))
    .bind(columns.of(|state| state.booking_date))
    .bind(columns.of(|state| state.value_date))
    .bind(columns.of(|state| state.void_reason.as_deref()))
    .bind(columns.of(|state| state.postings))
    .bind(&columns.legs)
    .bind(&columns.reversed_by)
    .bind(columns.of(|state| state.version))
    .bind(columns.of(|state| state.updated_position))
    .bind(columns.of(|state| state.updated_at))
    .execute(connection)
    .await?;
    Ok(())
}
