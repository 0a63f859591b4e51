//! Who asks, as handlers see it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use uuid::Uuid;

use super::permission::{Permission, Role};
use super::refusal::Refusal;
use crate::problem::Problem;

/// Who asks: the person or service, the client software that acts for it, and what they may. Cheap
/// to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Arc<Facts>);

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    subject: String,
    client: String,
    roles: BTreeSet<Role>,
    permissions: BTreeSet<Permission>,
    accounts: Option<BTreeSet<Uuid>>,
}

impl Principal {
    /// Somebody with roles; `accounts` are the only ones that the token lets them see and use,
    /// `None` is all.
    pub fn new(
        subject: impl Into<String>,
        client: impl Into<String>,
        roles: impl IntoIterator<Item = Role>,
        accounts: Option<BTreeSet<Uuid>>,
    ) -> Self {
        let roles: BTreeSet<Role> = roles.into_iter().collect();
        let permissions = roles.iter().flat_map(|role| role.permissions()).copied().collect();
        Self(Arc::new(Facts { subject: subject.into(), client: client.into(), roles, permissions, accounts }))
    }

    /// Somebody who may do exactly this, whatever roles there are. For tests that call a router in
    /// their own process; a role takes its principals from tokens.
    pub fn in_process(name: &str, permissions: &[Permission]) -> Self {
        Self(Arc::new(Facts {
            subject: name.to_owned(),
            client: name.to_owned(),
            roles: BTreeSet::new(),
            permissions: permissions.iter().copied().collect(),
            accounts: None,
        }))
    }

    /// The same under another subject, with the same client and rights.
    #[must_use]
    pub fn acting_as(&self, subject: &str) -> Self {
        Self(Arc::new(Facts {
            subject: subject.to_owned(),
            client: self.0.client.clone(),
            roles: self.0.roles.clone(),
            permissions: self.0.permissions.clone(),
            accounts: self.0.accounts.clone(),
        }))
    }

    /// The same, limited to these accounts.
    #[must_use]
    pub fn limited_to(&self, accounts: impl IntoIterator<Item = Uuid>) -> Self {
        Self(Arc::new(Facts {
            subject: self.0.subject.clone(),
            client: self.0.client.clone(),
            roles: self.0.roles.clone(),
            permissions: self.0.permissions.clone(),
            accounts: Some(accounts.into_iter().collect()),
        }))
    }

    /// The person or service that acts.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The client under whose name idempotency keys are kept.
    pub fn client(&self) -> &str {
        &self.0.client
    }

    /// The roles that the token names, of those that there are.
    pub fn roles(&self) -> &BTreeSet<Role> {
        &self.0.roles
    }

    /// The only accounts that this caller may see and use; `None` is all.
    pub fn accounts(&self) -> Option<&BTreeSet<Uuid>> {
        self.0.accounts.as_ref()
    }

    /// Whether this caller may do that, somewhere.
    pub fn may(&self, permission: Permission) -> bool {
        self.0.permissions.contains(&permission)
    }

    /// Refuses what this caller may not do: without the permission, or, where the token names
    /// accounts, with one that is not by account.
    pub fn check(&self, permission: Permission) -> Result<(), Refusal> {
        if !self.may(permission) {
            return Err(Refusal::PermissionMissing(permission));
        }
        if self.0.accounts.is_some() && !permission.is_by_account() {
            return Err(Refusal::BeyondAccounts);
        }
        Ok(())
    }

    /// Whether this account is among those that the caller may see and use.
    pub fn has_account(&self, account: Uuid) -> bool {
        self.0.accounts.as_ref().is_none_or(|accounts| accounts.contains(&account))
    }

    /// Whether the caller may see what this account has.
    pub fn sees_balance(&self, account: Uuid) -> bool {
        self.may(Permission::BalancesRead) && self.has_account(account)
    }
}

/// What is known of the caller; an extension of every request. Routes that need a permission look
/// at it, public ones need not.
#[derive(Debug, Clone)]
pub(crate) struct Identity(pub(crate) Result<Principal, Refusal>);

impl Identity {
    /// The caller of a request, if it is known.
    fn principal(parts: &Parts) -> Option<Principal> {
        let Identity(identity) = parts.extensions.get()?;
        identity.as_ref().ok().cloned()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Identity::principal(parts).ok_or_else(|| Refusal::TokenMissing.problem())
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Identity::principal(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_limited_to_accounts_sees_and_does_no_more() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let officer = Principal::new("ann", "app", [Role::Officer], None);
        assert!(officer.sees_balance(own) && officer.sees_balance(other));
        assert_eq!(officer.check(Permission::MembersVerify), Ok(()));
        let limited = officer.limited_to([own]);
        assert!(limited.sees_balance(own) && !limited.sees_balance(other));
        assert_eq!(limited.check(Permission::TransactionsPost), Ok(()));
        assert_eq!(limited.check(Permission::MembersVerify), Err(Refusal::BeyondAccounts));
        assert_eq!(limited.check(Permission::EventsRead), Err(Refusal::PermissionMissing(Permission::EventsRead)));
        assert!(!Principal::new("root", "app", [Role::Admin], None).sees_balance(own));
    }
}
