//! What an account is: its life, limits and freezes. Entries and holds are elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use domain::Event;
use domain::account::{AccountEvent, FreezeScope};
use domain::money::Side;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, missing, word};

#[derive(Default)]
pub(super) struct Accounts<'a> {
    changes: Vec<(Fact<'a>, &'a AccountEvent)>,
}

/// What changes after the opening.
#[derive(Clone, Default)]
struct State {
    minimum_balance_minor: i64,
    status: String,
    frozen_debit: bool,
    frozen_credit: bool,
    dormant: bool,
    status_reason: Option<String>,
    closed_on: Option<NaiveDate>,
    /// Whether the row has to be updated.
    changed: bool,
}

impl State {
    fn fold(&mut self, event: &AccountEvent) {
        self.changed = true;
        match event {
            AccountEvent::LimitChanged { minimum_balance_minor } => self.minimum_balance_minor = *minimum_balance_minor,
            AccountEvent::AccountFrozen { scope, reason } => {
                self.freeze(*scope, true);
                self.status_reason = Some(reason.as_str().to_owned());
            }
            AccountEvent::AccountUnfrozen { scope } => self.freeze(*scope, false),
            AccountEvent::AccountMarkedDormant { reason } => {
                self.dormant = true;
                self.status_reason = Some(reason.as_str().to_owned());
            }
            AccountEvent::AccountReactivated {} => self.dormant = false,
            AccountEvent::AccountClosed { reason, closed_on } => {
                self.status = "closed".to_owned();
                self.closed_on = Some(*closed_on);
                self.status_reason = reason.as_ref().map(|reason| reason.as_str().to_owned());
            }
            AccountEvent::AccountRetired { reason, retired_on } => {
                self.status = "retired".to_owned();
                self.closed_on = Some(*retired_on);
                self.status_reason = reason.as_ref().map(|reason| reason.as_str().to_owned());
            }
            AccountEvent::AccountOpened { .. }
            | AccountEvent::HolderAdded { .. }
            | AccountEvent::HolderRemoved { .. }
            | AccountEvent::AccountDedicated { .. }
            | AccountEvent::EntryPosted { .. }
            | AccountEvent::HoldPlaced { .. }
            | AccountEvent::HoldReleased { .. } => {}
        }
    }

    fn freeze(&mut self, scope: FreezeScope, frozen: bool) {
        if scope.covers(Side::Debit) {
            self.frozen_debit = frozen;
        }
        if scope.covers(Side::Credit) {
            self.frozen_credit = frozen;
        }
    }
}

impl<'a> ReadModel<'a> for Accounts<'a> {
    const TABLES: &'static [&'static str] = &["accounts"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Account(event) = fact.event {
            match event {
                AccountEvent::HolderAdded { .. }
                | AccountEvent::HolderRemoved { .. }
                | AccountEvent::AccountDedicated { .. }
                | AccountEvent::EntryPosted { .. }
                | AccountEvent::HoldPlaced { .. }
                | AccountEvent::HoldReleased { .. } => {}
                AccountEvent::AccountOpened { .. }
                | AccountEvent::LimitChanged { .. }
                | AccountEvent::AccountFrozen { .. }
                | AccountEvent::AccountUnfrozen { .. }
                | AccountEvent::AccountMarkedDormant { .. }
                | AccountEvent::AccountReactivated {}
                | AccountEvent::AccountClosed { .. }
                | AccountEvent::AccountRetired { .. } => self.changes.push((*fact, event)),
            }
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut states = BTreeMap::new();
        for (fact, event) in &self.changes {
            if let AccountEvent::AccountOpened { minimum_balance_minor, .. } = event {
                let state = State {
                    minimum_balance_minor: *minimum_balance_minor,
                    status: "open".to_owned(),
                    ..State::default()
                };
                states.insert(fact.id(), state);
            }
        }
        insert(connection, &self.changes).await?;
        let known: BTreeSet<Uuid> = self.changes.iter().map(|(fact, _)| fact.id()).collect();
        let known: Vec<Uuid> = known.into_iter().filter(|id| !states.contains_key(id)).collect();
        load(connection, &known, &mut states).await?;
        missing("account", &known, |id| states.contains_key(id))?;
        for (fact, event) in self.changes.drain(..) {
            if matches!(event, AccountEvent::AccountOpened { .. }) {
                continue;
            }
            if let Some(state) = states.get_mut(&fact.id()) {
                state.fold(event);
            }
        }
        states.retain(|_, state| state.changed);
        update(connection, &states).await
    }
}

async fn load(
    connection: &mut PgConnection,
    ids: &[Uuid],
    states: &mut BTreeMap<Uuid, State>,
) -> Result<(), ApplyError> {
    if ids.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT account_id, minimum_balance_minor, status, frozen_debit, frozen_credit, dormant, status_reason, \
             closed_on FROM accounts WHERE account_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    for row in rows {
        let state = State {
            minimum_balance_minor: row.try_get("minimum_balance_minor")?,
            status: row.try_get("status")?,
            frozen_debit: row.try_get("frozen_debit")?,
            frozen_credit: row.try_get("frozen_credit")?,
            dormant: row.try_get("dormant")?,
            status_reason: row.try_get("status_reason")?,
            closed_on: row.try_get("closed_on")?,
            changed: false,
        };
        states.insert(row.try_get("account_id")?, state);
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, changes: &[(Fact<'_>, &AccountEvent)]) -> Result<(), ApplyError> {
    let (mut ids, mut numbers, mut names, mut products, mut currencies) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut sides, mut codes, mut guardeds, mut minimums, mut branches) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut days, mut positions, mut times) = (vec![], vec![], vec![]);
    for (fact, event) in changes {
        if let AccountEvent::AccountOpened {
            number,
            name,
            product,
            holders: _,
            currency,
            normal_side,
            ledger_code,
            guarded,
            minimum_balance_minor,
            branch,
            opened_on,
        } = event
        {
            ids.push(fact.id());
            numbers.push(number.as_str());
            names.push(name.as_ref().map(|name| name.as_str()));
            products.push(word(product));
            currencies.push(currency.code());
            sides.push(normal_side.name());
            codes.push(ledger_code.as_str());
            guardeds.push(*guarded);
            minimums.push(*minimum_balance_minor);
            branches.push(branch.as_ref().map(|branch| branch.as_str()));
            days.push(*opened_on);
            positions.push(fact.position());
            times.push(fact.recorded_at());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO accounts (account_id, number, name, product, currency, normal_side, ledger_code, guarded, \
             minimum_balance_minor, branch, opened_on, position, opened_at, status, frozen_debit, frozen_credit, \
             dormant) \
         SELECT u.*, 'open', false, false, false \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[], \
                     $9::bigint[], $10::text[], $11::date[], $12::bigint[], $13::timestamptz[]) AS u",
    )
    .bind(ids)
    .bind(numbers)
    .bind(names)
    .bind(products)
    .bind(currencies)
    .bind(sides)
    .bind(codes)
    .bind(guardeds)
    .bind(minimums)
    .bind(branches)
    .bind(days)
    .bind(positions)
    .bind(times)
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, states: &BTreeMap<Uuid, State>) -> Result<(), ApplyError> {
    if states.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE accounts a SET minimum_balance_minor = u.minimum, status = u.status, frozen_debit = u.debit, \
             frozen_credit = u.credit, dormant = u.dormant, status_reason = u.reason, closed_on = u.closed_on \
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bool[], $5::bool[], $6::bool[], $7::text[], $8::date[]) \
              AS u (id, minimum, status, debit, credit, dormant, reason, closed_on) \
         WHERE a.account_id = u.id",
    )
    .bind(states.keys().copied().collect::<Vec<_>>())
    .bind(states.values().map(|state| state.minimum_balance_minor).collect::<Vec<_>>())
    .bind(states.values().map(|state| state.status.as_str()).collect::<Vec<_>>())
    .bind(states.values().map(|state| state.frozen_debit).collect::<Vec<_>>())
    .bind(states.values().map(|state| state.frozen_credit).collect::<Vec<_>>())
    .bind(states.values().map(|state| state.dormant).collect::<Vec<_>>())
    .bind(states.values().map(|state| state.status_reason.as_deref()).collect::<Vec<_>>())
    .bind(states.values().map(|state| state.closed_on).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
