//! Members. Personal data stays sealed, as it is in the event.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::Event;
use domain::member::MemberEvent;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, missing, word};

#[derive(Default)]
pub(super) struct Members<'a> {
    changes: Vec<(Fact<'a>, &'a MemberEvent)>,
}

/// What changes after the registration.
struct State {
    kyc: String,
    status: String,
    status_reason: Option<String>,
    version: i64,
    updated_position: i64,
    updated_at: DateTime<Utc>,
}

impl State {
    fn new(fact: &Fact<'_>) -> Self {
        Self {
            kyc: "pending".to_owned(),
            status: "active".to_owned(),
            status_reason: None,
            version: fact.sequence(),
            updated_position: fact.position(),
            updated_at: fact.recorded_at(),
        }
    }

    fn fold(&mut self, fact: &Fact<'_>, event: &MemberEvent) {
        self.version = fact.sequence();
        self.updated_position = fact.position();
        self.updated_at = fact.recorded_at();
        let mut because = |reason: &str| self.status_reason = Some(reason.to_owned());
        match event {
            MemberEvent::MemberRegistered { .. } => {}
            MemberEvent::KycVerified {} => self.kyc = "verified".to_owned(),
            MemberEvent::KycRejected { reason } => {
                because(reason.as_str());
                self.kyc = "rejected".to_owned();
            }
            MemberEvent::MemberSuspended { reason } => {
                because(reason.as_str());
                self.status = "suspended".to_owned();
            }
            MemberEvent::MemberReactivated {} => self.status = "active".to_owned(),
            MemberEvent::MemberDeactivated { reason } => {
                because(reason.as_str());
                self.status = "inactive".to_owned();
            }
        }
    }
}

impl<'a> ReadModel<'a> for Members<'a> {
    const TABLES: &'static [&'static str] = &["members"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Member(event) = fact.event {
            self.changes.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let registered: Vec<_> = self
            .changes
            .iter()
            .filter(|(_, event)| matches!(event, MemberEvent::MemberRegistered { .. }))
            .copied()
            .collect();
        let mut states: BTreeMap<Uuid, State> =
            registered.iter().map(|(fact, _)| (fact.id(), State::new(fact))).collect();
        let known: BTreeSet<Uuid> = self.changes.iter().map(|(fact, _)| fact.id()).collect();
        let known: Vec<Uuid> = known.into_iter().filter(|id| !states.contains_key(id)).collect();
        load(connection, &known, &mut states).await?;
        missing("member", &known, |id| states.contains_key(id))?;
        for (fact, event) in self.changes.drain(..) {
            if let Some(state) = states.get_mut(&fact.id()) {
                state.fold(&fact, event);
            }
        }
        insert(connection, &registered).await?;
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
        "SELECT member_id, kyc, status, status_reason, version, updated_position, updated_at \
         FROM members WHERE member_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    for row in rows {
        let state = State {
            kyc: row.try_get("kyc")?,
            status: row.try_get("status")?,
            status_reason: row.try_get("status_reason")?,
            version: row.try_get("version")?,
            updated_position: row.try_get("updated_position")?,
            updated_at: row.try_get("updated_at")?,
        };
        states.insert(row.try_get("member_id")?, state);
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, registered: &[(Fact<'_>, &MemberEvent)]) -> Result<(), ApplyError> {
    let (mut ids, mut numbers, mut kinds, mut branches) = (vec![], vec![], vec![], vec![]);
    let (mut personals, mut positions, mut times) = (vec![], vec![], vec![]);
    for (fact, event) in registered {
        if let MemberEvent::MemberRegistered { number, kind, personal, branch } = event {
            ids.push(fact.id());
            numbers.push(number.as_str());
            kinds.push(word(kind));
            branches.push(branch.as_ref().map(|branch| branch.as_str()));
            personals.push(serde_json::to_string(personal).map_err(|error| ApplyError::Poison(error.to_string()))?);
            positions.push(fact.position());
            times.push(fact.recorded_at());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO members (member_id, number, kind, kyc, status, branch, personal, position, registered_at, \
             version, updated_position, updated_at) \
         SELECT u.id, u.number, u.kind, 'pending', 'active', u.branch, u.personal::jsonb, u.position, u.at, \
             1, u.position, u.at \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[]) \
              AS u (id, number, kind, branch, personal, position, at)",
    )
    .bind(ids)
    .bind(numbers)
    .bind(kinds)
    .bind(branches)
    .bind(personals)
    .bind(positions)
    .bind(times)
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, states: &BTreeMap<Uuid, State>) -> Result<(), ApplyError> {
    // A registration alone is complete with its insert.
    let changed: Vec<_> = states.iter().filter(|(_, state)| state.version > 1).collect();
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE members m SET kyc = u.kyc, status = u.status, status_reason = u.reason, version = u.version, \
             updated_position = u.position, updated_at = u.at \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[]) \
              AS u (id, kyc, status, reason, version, position, at) \
         WHERE m.member_id = u.id",
    )
    .bind(changed.iter().map(|(id, _)| **id).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, state)| state.kyc.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, state)| state.status.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, state)| state.status_reason.as_deref()).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, state)| state.version).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, state)| state.updated_position).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, state)| state.updated_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
