//! The rules of an account's life. Its entries and holds are decided with their transaction.

use crate::account::{Account, AccountCommand, AccountEvent, AccountStatus, FreezeScope, Holder, HolderRole, Product};
use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::ids::AccountId;
use crate::member::{self, Kyc};
use crate::money::{Currency, Money, Side};
use crate::rejection::Rejection;

/// Decides a command on an account.
pub fn decide(command: &AccountCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    if let AccountCommand::OpenAccount { .. } = command {
        return open_account(command, book, context);
    }
    let account_id = command.target();
    let account = existing(book, account_id)?;
    match account.status {
        AccountStatus::Open => {}
        AccountStatus::Closed => return Err(Rejection::AccountClosed { account_id }.into()),
        AccountStatus::Retired => return Err(Rejection::AccountRetired { account_id }.into()),
    }
    let event = match command {
        AccountCommand::CloseAccount { reason, .. } => close(account_id, account, reason.clone(), context)?,
        AccountCommand::OpenAccount { .. }
        | AccountCommand::AddHolder { .. }
        | AccountCommand::RemoveHolder { .. }
        | AccountCommand::ChangeLimit { .. }
        | AccountCommand::FreezeAccount { .. }
        | AccountCommand::UnfreezeAccount { .. }
        | AccountCommand::MarkAccountDormant { .. }
        | AccountCommand::ReactivateAccount { .. } => {
            if !account.guarded {
                return Err(Rejection::AccountIsInternal { account_id }.into());
            }
            change(command, account_id, account, book, context)?
        }
    };
    Ok(Plan::one(account_id.stream(), event))
}

/// The account, or the rejection that there is none.
pub(crate) fn existing(book: &impl Book, account_id: AccountId) -> Result<&Account, Stop> {
    book.account(account_id)?.ok_or_else(|| Rejection::AccountNotFound { account_id }.into())
}

/// The account, which must be open and kept in that currency.
pub(crate) fn open(book: &impl Book, account_id: AccountId, currency: Currency) -> Result<&Account, Stop> {
    let account = existing(book, account_id)?;
    match account.status {
        AccountStatus::Open => {}
        AccountStatus::Closed => return Err(Rejection::AccountClosed { account_id }.into()),
        AccountStatus::Retired => return Err(Rejection::AccountRetired { account_id }.into()),
    }
    if account.currency == currency {
        return Ok(account);
    }
    let account_currency = account.currency;
    Err(Rejection::CurrencyMismatch { account_id, account_currency, leg_currency: currency }.into())
}

/// The account, which must be open, kept in that currency and the institution's own.
pub(crate) fn open_internal(book: &impl Book, account_id: AccountId, currency: Currency) -> Result<&Account, Stop> {
    let account = open(book, account_id, currency)?;
    if account.guarded {
        return Err(Rejection::AccountNotInternal { account_id }.into());
    }
    Ok(account)
}

fn open_account(command: &AccountCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let AccountCommand::OpenAccount {
        account_id,
        number,
        name,
        product,
        holders,
        currency,
        ledger_code,
        minimum_balance,
        branch,
        opened_on,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let stream = account_id.stream();
    if book.account(*account_id)?.is_some() {
        return Err(Rejection::IdTaken { stream }.into());
    }
    let reservation = Reservation::new(ReservationKind::AccountNumber, number.as_str());
    if book.is_reserved(&reservation)? {
        return Err(Rejection::AccountNumberTaken.into());
    }
    let ledger = book.ledger()?;
    if !ledger.currencies.contains(currency) {
        return Err(Rejection::CurrencyNotDefined { currency: *currency }.into());
    }
    let Some(code) = ledger.codes.get(ledger_code) else {
        return Err(Rejection::LedgerCodeNotDefined { ledger_code: ledger_code.clone() }.into());
    };
    let guarded = *product != Product::Internal;
    match (guarded, code.control) {
        (true, false) => return Err(Rejection::LedgerCodeNotControl { ledger_code: ledger_code.clone() }.into()),
        (false, true) => return Err(Rejection::LedgerCodeIsControl { ledger_code: ledger_code.clone() }.into()),
        (true, true) | (false, false) => {}
    }
    if guarded {
        if name.is_some() {
            return Err(Rejection::NameNotAllowed.into());
        }
        check_holders(holders, book)?;
    } else if !holders.is_empty() || minimum_balance.is_some() {
        return Err(Rejection::InternalAccountHasNoHolders.into());
    }
    if let Some(money) = minimum_balance.filter(|money| money.currency != *currency) {
        return Err(Rejection::CurrencyMismatch {
            account_id: *account_id,
            account_currency: *currency,
            leg_currency: money.currency,
        }
        .into());
    }
    let opened_on = opened_on.unwrap_or(context.business_date);
    if opened_on > context.business_date {
        return Err(Rejection::OpeningDateInFuture { opened_on, business_date: context.business_date }.into());
    }
    let event = AccountEvent::AccountOpened {
        number: number.clone(),
        name: name.clone(),
        product: *product,
        holders: holders.clone(),
        currency: *currency,
        normal_side: code.normal_side,
        ledger_code: ledger_code.clone(),
        guarded,
        minimum_balance_minor: minimum_balance.map_or(0, |money| money.amount_minor),
        branch: branch.clone(),
        opened_on,
    };
    Ok(Plan::one(stream, event).creating().reserving(reservation))
}

fn check_holders(holders: &[Holder], book: &impl Book) -> Result<(), Stop> {
    if !holders.iter().any(|holder| holder.role == HolderRole::Owner) {
        return Err(Rejection::OwnerRequired.into());
    }
    for (at, holder) in holders.iter().enumerate() {
        if holders[..at].iter().any(|earlier| earlier.member_id == holder.member_id) {
            return Err(Rejection::HolderExists { member_id: holder.member_id }.into());
        }
        check_holder(holder, book)?;
    }
    Ok(())
}

fn check_holder(holder: &Holder, book: &impl Book) -> Result<(), Stop> {
    match member::active(book, holder.member_id)?.kyc {
        Kyc::Verified => Ok(()),
        Kyc::Pending | Kyc::Rejected => Err(Rejection::MemberNotVerified { member_id: holder.member_id }.into()),
    }
}

fn change(
    command: &AccountCommand,
    account_id: AccountId,
    account: &Account,
    book: &impl Book,
    context: &Context,
) -> Result<AccountEvent, Stop> {
    match command {
        AccountCommand::AddHolder { holder, .. } => {
            if account.holders.iter().any(|present| present.member_id == holder.member_id) {
                return Err(Rejection::HolderExists { member_id: holder.member_id }.into());
            }
            check_holder(holder, book)?;
            Ok(AccountEvent::HolderAdded { member_id: holder.member_id, role: holder.role })
        }
        AccountCommand::RemoveHolder { member_id, .. } => {
            if !account.holders.iter().any(|present| present.member_id == *member_id) {
                return Err(Rejection::HolderNotFound { member_id: *member_id }.into());
            }
            let mut others = account.holders.iter().filter(|present| present.member_id != *member_id);
            if !others.any(|present| present.role == HolderRole::Owner) {
                return Err(Rejection::OwnerRequired.into());
            }
            Ok(AccountEvent::HolderRemoved { member_id: *member_id })
        }
        AccountCommand::ChangeLimit { minimum_balance, .. } => {
            change_limit(account_id, account, *minimum_balance, context)
        }
        AccountCommand::FreezeAccount { scope, reason, .. } => {
            if covered(*scope).all(|side| account.is_frozen(side)) {
                return Err(Rejection::AccountFrozenAlready { account_id }.into());
            }
            Ok(AccountEvent::AccountFrozen { scope: *scope, reason: reason.clone() })
        }
        AccountCommand::UnfreezeAccount { scope, .. } => {
            if !covered(*scope).any(|side| account.is_frozen(side)) {
                return Err(Rejection::AccountNotFrozen { account_id }.into());
            }
            Ok(AccountEvent::AccountUnfrozen { scope: *scope })
        }
        AccountCommand::MarkAccountDormant { reason, .. } => {
            if account.dormant {
                return Err(Rejection::AccountDormant { account_id }.into());
            }
            Ok(AccountEvent::AccountMarkedDormant { reason: reason.clone() })
        }
        AccountCommand::ReactivateAccount { .. } => {
            if !account.dormant {
                return Err(Rejection::AccountNotDormant { account_id }.into());
            }
            Ok(AccountEvent::AccountReactivated {})
        }
        AccountCommand::OpenAccount { .. } | AccountCommand::CloseAccount { .. } => {
            Err(Rejection::StateUnavailable.into())
        }
    }
}

fn change_limit(
    account_id: AccountId,
    account: &Account,
    minimum_balance: Money,
    context: &Context,
) -> Result<AccountEvent, Stop> {
    if minimum_balance.currency != account.currency {
        return Err(Rejection::CurrencyMismatch {
            account_id,
            account_currency: account.currency,
            leg_currency: minimum_balance.currency,
        }
        .into());
    }
    let available_minor = account.available_minor(context.recorded_at);
    // Raising the minimum above what is available would put the account in breach at once.
    if minimum_balance.amount_minor > account.minimum_balance_minor
        && available_minor < i128::from(minimum_balance.amount_minor)
    {
        let available = account.money(available_minor);
        return Err(Rejection::LimitAboveAvailable { account_id, available, minimum_balance }.into());
    }
    Ok(AccountEvent::LimitChanged { minimum_balance_minor: minimum_balance.amount_minor })
}

fn covered(scope: FreezeScope) -> impl Iterator<Item = Side> {
    [Side::Debit, Side::Credit].into_iter().filter(move |side| scope.covers(*side))
}

fn close(
    account_id: AccountId,
    account: &Account,
    reason: Option<crate::words::ReasonCode>,
    context: &Context,
) -> Result<AccountEvent, Stop> {
    if account.dedicated.is_some() {
        // Loans post to it for as long as they live, and could not be repaid without it.
        return Err(Rejection::AccountDedicated { account_id }.into());
    }
    if !account.guarded {
        // Its balance derives from legs that this stream does not have, and pending transactions may
        // still land on it: so it is retired, which only refuses new transactions.
        return Ok(AccountEvent::AccountRetired { reason, retired_on: context.business_date });
    }
    if account.balance_minor != 0 {
        let balance = account.money(account.balance_minor.into());
        return Err(Rejection::BalanceNotZero { account_id, balance }.into());
    }
    if !account.holds.is_empty() {
        let holds = account.holds.len() as u64;
        return Err(Rejection::HoldsRemain { account_id, holds }.into());
    }
    Ok(AccountEvent::AccountClosed { reason, closed_on: context.business_date })
}
