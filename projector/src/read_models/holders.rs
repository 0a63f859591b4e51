//! Who holds which account.

use std::collections::BTreeMap;

use domain::Event;
use domain::account::{AccountEvent, HolderRole};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, word};

#[derive(Default)]
pub(super) struct Holders {
    /// By account and member, how it stands after the batch: role and position, or no longer a holder.
    last: BTreeMap<(Uuid, Uuid), Option<(HolderRole, i64)>>,
}

impl<'a> ReadModel<'a> for Holders {
    const TABLES: &'static [&'static str] = &["holders"];

    fn collect(&mut self, fact: &Fact<'a>) {
        let Event::Account(event) = fact.event else { return };
        let (account_id, position) = (fact.id(), fact.position());
        match event {
            AccountEvent::AccountOpened { holders, .. } => {
                for holder in holders {
                    self.last.insert((account_id, holder.member_id.0), Some((holder.role, position)));
                }
            }
            AccountEvent::HolderAdded { member_id, role } => {
                self.last.insert((account_id, member_id.0), Some((*role, position)));
            }
            AccountEvent::HolderRemoved { member_id } => {
                self.last.insert((account_id, member_id.0), None);
            }
            AccountEvent::LimitChanged { .. }
            | AccountEvent::AccountFrozen { .. }
            | AccountEvent::AccountUnfrozen { .. }
            | AccountEvent::AccountMarkedDormant { .. }
            | AccountEvent::AccountReactivated {}
            | AccountEvent::AccountClosed { .. }
            | AccountEvent::AccountRetired { .. }
            | AccountEvent::AccountDedicated { .. }
            | AccountEvent::EntryPosted { .. }
            | AccountEvent::HoldPlaced { .. }
            | AccountEvent::HoldReleased { .. } => {}
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let (mut accounts, mut members, mut roles, mut positions) = (vec![], vec![], vec![], vec![]);
        let (mut left, mut leavers) = (vec![], vec![]);
        for ((account_id, member_id), last) in std::mem::take(&mut self.last) {
            match last {
                Some((role, position)) => {
                    accounts.push(account_id);
                    members.push(member_id);
                    roles.push(word(&role));
                    positions.push(position);
                }
                None => {
                    left.push(account_id);
                    leavers.push(member_id);
                }
            }
        }
        if !left.is_empty() {
            sqlx::query(
                "DELETE FROM holders h USING unnest($1::uuid[], $2::uuid[]) AS u (account_id, member_id) \
                 WHERE h.account_id = u.account_id AND h.member_id = u.member_id",
            )
            .bind(left)
            .bind(leavers)
            .execute(&mut *connection)
            .await?;
        }
        if !accounts.is_empty() {
            sqlx::query(
                "INSERT INTO holders (account_id, member_id, role, position) \
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) \
                 ON CONFLICT (account_id, member_id) DO UPDATE SET role = EXCLUDED.role, position = EXCLUDED.position",
            )
            .bind(accounts)
            .bind(members)
            .bind(roles)
            .bind(positions)
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}
