//! What may be asked about an account.

use chrono::NaiveDate;

use crate::account::{FreezeScope, Holder, Product};
use crate::book::{Missing, Reservation, ReservationKind};
use crate::ids::{AccountId, MemberId};
use crate::money::{Currency, Money};
use crate::words::{Branch, LedgerCode, Number, ReasonCode, Title};

/// A command on an account.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum AccountCommand {
    /// Open a member's account, or an internal one.
    OpenAccount {
        account_id: AccountId,
        number: Number,
        name: Option<Title>,
        product: Product,
        holders: Vec<Holder>,
        currency: Currency,
        ledger_code: LedgerCode,
        /// In the account's currency; below zero it is a credit line.
        minimum_balance: Option<Money>,
        branch: Option<Branch>,
        /// Default: the business date.
        opened_on: Option<NaiveDate>,
    },
    /// Let a member hold the account.
    AddHolder { account_id: AccountId, holder: Holder },
    /// Let a member no longer hold the account.
    RemoveHolder { account_id: AccountId, member_id: MemberId },
    /// Set the minimum balance; below zero it is a credit line.
    ChangeLimit { account_id: AccountId, minimum_balance: Money },
    /// Refuse debits, credits or both from now on.
    FreezeAccount { account_id: AccountId, scope: FreezeScope, reason: ReasonCode },
    /// Take debits, credits or both again.
    UnfreezeAccount { account_id: AccountId, scope: FreezeScope },
    /// Mark as dormant: no debits until it is reactivated.
    MarkAccountDormant { account_id: AccountId, reason: ReasonCode },
    /// End dormancy.
    ReactivateAccount { account_id: AccountId },
    /// Close a member's account, or retire an internal one.
    CloseAccount { account_id: AccountId, reason: Option<ReasonCode> },
}

impl AccountCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            AccountCommand::OpenAccount { .. } => "OpenAccount",
            AccountCommand::AddHolder { .. } => "AddHolder",
            AccountCommand::RemoveHolder { .. } => "RemoveHolder",
            AccountCommand::ChangeLimit { .. } => "ChangeLimit",
            AccountCommand::FreezeAccount { .. } => "FreezeAccount",
            AccountCommand::UnfreezeAccount { .. } => "UnfreezeAccount",
            AccountCommand::MarkAccountDormant { .. } => "MarkAccountDormant",
            AccountCommand::ReactivateAccount { .. } => "ReactivateAccount",
            AccountCommand::CloseAccount { .. } => "CloseAccount",
        }
    }

    /// The account that the command is about.
    pub fn target(&self) -> AccountId {
        match self {
            AccountCommand::OpenAccount { account_id, .. }
            | AccountCommand::AddHolder { account_id, .. }
            | AccountCommand::RemoveHolder { account_id, .. }
            | AccountCommand::ChangeLimit { account_id, .. }
            | AccountCommand::FreezeAccount { account_id, .. }
            | AccountCommand::UnfreezeAccount { account_id, .. }
            | AccountCommand::MarkAccountDormant { account_id, .. }
            | AccountCommand::ReactivateAccount { account_id }
            | AccountCommand::CloseAccount { account_id, .. } => *account_id,
        }
    }

    pub(crate) fn needs(&self, needs: &mut Vec<Missing>) {
        match self {
            AccountCommand::OpenAccount { number, holders, .. } => {
                needs.push(Missing::Reservation(Reservation::new(ReservationKind::AccountNumber, number.as_str())));
                needs.extend(holders.iter().map(|holder| Missing::Stream(holder.member_id.stream())));
            }
            AccountCommand::AddHolder { holder, .. } => needs.push(Missing::Stream(holder.member_id.stream())),
            AccountCommand::RemoveHolder { .. }
            | AccountCommand::ChangeLimit { .. }
            | AccountCommand::FreezeAccount { .. }
            | AccountCommand::UnfreezeAccount { .. }
            | AccountCommand::MarkAccountDormant { .. }
            | AccountCommand::ReactivateAccount { .. }
            | AccountCommand::CloseAccount { .. } => {}
        }
    }
}
