//! The fold of an account's events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::account::{AccountEvent, Dedication, FreezeScope, Holder, Product};
use crate::ids::TransactionId;
use crate::money::{Currency, Money, Side};
use crate::words::LedgerCode;

/// Whether an account takes entries. Freezes and dormancy are apart from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It does.
    #[default]
    Open,
    /// A member's account that takes nothing more.
    Closed,
    /// An internal account that takes no new transactions.
    Retired,
}

/// A leg of a pending transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// Which leg.
    pub leg: u16,
    /// Debit or credit.
    pub side: Side,
    /// What is left of it, in minor units.
    pub amount_minor: i64,
    /// From then on it no longer counts.
    pub expires_at: Option<DateTime<Utc>>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// What kind of account it is.
    pub product: Product,
    /// The currency it is kept in.
    pub currency: Currency,
    /// The side on which it grows.
    pub normal_side: Side,
    /// The code on which it hangs.
    pub ledger_code: LedgerCode,
    /// Whether it has entries, a limit, holds.
    pub guarded: bool,
    /// The least available balance, in minor units.
    pub minimum_balance_minor: i64,
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// Whether it takes entries.
    pub status: AccountStatus,
    /// Debit entries are refused.
    pub frozen_debit: bool,
    /// Credit entries are refused.
    pub frozen_credit: bool,
    /// No debits until it is reactivated.
    pub dormant: bool,
    /// What it is kept for, if it takes entries of loans only.
    pub dedicated: Option<Dedication>,
    /// The recorded balance on the normal side, in minor units; always zero for an internal account.
    pub balance_minor: i64,
    /// Legs of pending transactions, the oldest first.
    pub holds: Vec<Hold>,
}

impl Account {
    /// Applies an event.
    pub fn fold(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::AccountOpened {
                product,
                holders,
                currency,
                normal_side,
                ledger_code,
                guarded,
                minimum_balance_minor,
                ..
            } => {
                self.product = *product;
                self.holders.clone_from(holders);
                self.currency = *currency;
                self.normal_side = *normal_side;
                self.ledger_code.clone_from(ledger_code);
                self.guarded = *guarded;
                self.minimum_balance_minor = *minimum_balance_minor;
            }
            AccountEvent::HolderAdded { member_id, role } => {
                self.holders.push(Holder { member_id: *member_id, role: *role });
            }
            AccountEvent::HolderRemoved { member_id } => self.holders.retain(|holder| holder.member_id != *member_id),
            AccountEvent::LimitChanged { minimum_balance_minor } => self.minimum_balance_minor = *minimum_balance_minor,
            AccountEvent::AccountFrozen { scope, .. } => self.set_frozen(*scope, true),
            AccountEvent::AccountUnfrozen { scope } => self.set_frozen(*scope, false),
            AccountEvent::AccountMarkedDormant { .. } => self.dormant = true,
            AccountEvent::AccountReactivated {} => self.dormant = false,
            AccountEvent::AccountClosed { .. } => self.status = AccountStatus::Closed,
            AccountEvent::AccountRetired { .. } => self.status = AccountStatus::Retired,
            AccountEvent::AccountDedicated { to } => self.dedicated = Some(*to),
            AccountEvent::EntryPosted { transaction_id, leg, balance_minor, hold_released_minor, .. } => {
                self.balance_minor = *balance_minor;
                self.release(*transaction_id, *leg, *hold_released_minor);
            }
            AccountEvent::HoldPlaced { transaction_id, leg, side, amount_minor, expires_at } => self.holds.push(Hold {
                transaction_id: *transaction_id,
                leg: *leg,
                side: *side,
                amount_minor: *amount_minor,
                expires_at: *expires_at,
            }),
            AccountEvent::HoldReleased { transaction_id, leg, amount_minor, .. } => {
                self.release(*transaction_id, *leg, *amount_minor);
            }
        }
    }

    fn set_frozen(&mut self, scope: FreezeScope, frozen: bool) {
        if scope.covers(Side::Debit) {
            self.frozen_debit = frozen;
        }
        if scope.covers(Side::Credit) {
            self.frozen_credit = frozen;
        }
    }

    fn release(&mut self, transaction_id: TransactionId, leg: u16, amount_minor: i64) {
        if amount_minor == 0 {
            return;
        }
        if let Some(at) = self.holds.iter().position(|h| h.transaction_id == transaction_id && h.leg == leg) {
            self.holds[at].amount_minor -= amount_minor;
            if self.holds[at].amount_minor <= 0 {
                self.holds.remove(at);
            }
        }
    }

    /// Whether entries on that side are refused by a freeze.
    pub fn is_frozen(&self, side: Side) -> bool {
        match side {
            Side::Debit => self.frozen_debit,
            Side::Credit => self.frozen_credit,
        }
    }

    /// What the holds that count at that time take from the balance, in minor units. A hold on the
    /// side that raises the balance takes nothing, and an expired one no longer counts.
    pub fn held_minor(&self, at: DateTime<Utc>) -> i128 {
        self.holds
            .iter()
            .filter(|hold| hold.side != self.normal_side && hold.expires_at.is_none_or(|expiry| at < expiry))
            .map(|hold| i128::from(hold.amount_minor))
            .sum()
    }

    /// The balance less what is held at that time, in minor units.
    pub fn available_minor(&self, at: DateTime<Utc>) -> i128 {
        i128::from(self.balance_minor) - self.held_minor(at)
    }

    /// An amount in the account's currency, cut to what can be told, for messages.
    pub fn money(&self, amount_minor: i128) -> Money {
        let told = i64::try_from(amount_minor).unwrap_or(if amount_minor < 0 { i64::MIN } else { i64::MAX });
        Money::new(told, self.currency)
    }
}
