//! What every booking has in common: legs that balance, accounts that take them, limits on the net.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use crate::account::{self, Account, AccountEvent, AccountStatus};
use crate::book::{Book, Context, Stop};
use crate::event::Event;
use crate::ids::{AccountId, StreamId, TransactionId};
use crate::ledger::open_period;
use crate::money::{AMOUNT_MINOR_MAX, Currency, Money, Side};
use crate::rejection::Rejection;
use crate::transaction::{LEGS_MAX, Leg, LegInput, Legs, Transaction, TransactionKind};

/// The dates of a booking, checked: the booking date is not in the future and in an open period.
#[derive(Clone, Copy)]
pub(crate) struct Dates {
    pub(crate) booking_date: NaiveDate,
    pub(crate) value_date: NaiveDate,
}

pub(crate) fn dates(
    booking_date: Option<NaiveDate>,
    value_date: Option<NaiveDate>,
    book: &impl Book,
    context: &Context,
) -> Result<Dates, Stop> {
    let booking_date = booking_date.unwrap_or(context.business_date);
    open_period(book.ledger()?, booking_date, context.business_date)?;
    Ok(Dates { booking_date, value_date: value_date.unwrap_or(booking_date) })
}

/// Numbers the legs asked for, freezes each account's ledger code into its leg, and checks that
/// they balance.
pub(super) fn resolve_legs(legs: &Legs, book: &impl Book) -> Result<Vec<Leg>, Stop> {
    let inputs = match legs {
        Legs::Explicit(inputs) => inputs.clone(),
        Legs::Move { from, to, amount } => moved(*from, *to, *amount, book)?.to_vec(),
    };
    check_leg_count(inputs.len())?;
    let mut resolved = Vec::with_capacity(inputs.len());
    for (number, input) in (1u16..).zip(&inputs) {
        let account = account::existing(book, input.account_id)?;
        if account.dedicated.is_some() {
            return Err(Rejection::AccountDedicated { account_id: input.account_id }.into());
        }
        check_currency(input.account_id, account, input.amount.currency)?;
        check_amount(input.amount)?;
        resolved.push(Leg {
            leg: number,
            account_id: input.account_id,
            ledger_code: account.ledger_code.clone(),
            side: input.side,
            amount_minor: input.amount.amount_minor,
            currency: input.amount.currency,
            component: None,
        });
    }
    check_balanced(&resolved)?;
    Ok(resolved)
}

/// The two legs of a move. Between two accounts that grow on the debit side (cash to bank) the
/// source is credited; in every other pairing the source is debited: a member's deposit debits
/// cash and credits the member.
fn moved(from: AccountId, to: AccountId, amount: Money, book: &impl Book) -> Result<[LegInput; 2], Stop> {
    if from == to {
        return Err(Rejection::SameAccount { account_id: from }.into());
    }
    let source_side = match (account::existing(book, from)?.normal_side, account::existing(book, to)?.normal_side) {
        (Side::Debit, Side::Debit) => Side::Credit,
        (Side::Debit | Side::Credit, Side::Credit) | (Side::Credit, Side::Debit) => Side::Debit,
    };
    Ok([
        LegInput { account_id: from, side: source_side, amount },
        LegInput { account_id: to, side: source_side.opposite(), amount },
    ])
}

fn check_currency(account_id: AccountId, account: &Account, leg_currency: Currency) -> Result<(), Rejection> {
    if account.currency == leg_currency {
        return Ok(());
    }
    Err(Rejection::CurrencyMismatch { account_id, account_currency: account.currency, leg_currency })
}

/// Refuses a change of a loan's transaction that does not come from its loan: what the loan says and
/// what the accounts say would part.
pub(super) fn check_not_a_loans(transaction_id: TransactionId, transaction: &Transaction) -> Result<(), Rejection> {
    match transaction.legs.iter().any(|leg| leg.component.is_some()) {
        true => Err(Rejection::TransactionOfLoan { transaction_id }),
        false => Ok(()),
    }
}

/// A booking moves something, and stays within what one commit takes.
pub(super) fn check_leg_count(legs: usize) -> Result<(), Rejection> {
    if (1..=LEGS_MAX).contains(&legs) {
        return Ok(());
    }
    Err(Rejection::LegCountOutOfRange { legs: legs as u64, legs_max: LEGS_MAX as u64 })
}

/// A leg's amount is above zero: what lowers a balance is the side, never the sign.
pub(super) fn check_amount(amount: Money) -> Result<(), Rejection> {
    if (1..=AMOUNT_MINOR_MAX).contains(&amount.amount_minor) {
        return Ok(());
    }
    Err(Rejection::AmountOutOfRange { amount })
}

/// Debits equal credits in every currency.
pub(super) fn check_balanced(legs: &[Leg]) -> Result<(), Rejection> {
    let mut sums: BTreeMap<Currency, (i128, i128)> = BTreeMap::new();
    for leg in legs {
        let (debit_minor, credit_minor) = sums.entry(leg.currency).or_default();
        match leg.side {
            Side::Debit => *debit_minor += i128::from(leg.amount_minor),
            Side::Credit => *credit_minor += i128::from(leg.amount_minor),
        }
    }
    match sums.into_iter().find(|(_, (debit_minor, credit_minor))| debit_minor != credit_minor) {
        None => Ok(()),
        Some((currency, (debit_minor, credit_minor))) => Err(Rejection::Unbalanced {
            currency,
            debit_minor: debit_minor.to_string(),
            credit_minor: credit_minor.to_string(),
        }),
    }
}

/// What a booking is, as its entries tell it.
pub(super) struct Booking<'a> {
    pub(super) transaction_id: TransactionId,
    pub(super) kind: TransactionKind,
    pub(super) posting: u32,
    pub(super) dates: Dates,
    pub(super) legs: &'a [Leg],
    /// How much of each leg's hold ends with it, in minor units, in the order of the legs.
    pub(super) releases: &'a [i64],
}

struct Touched<'a> {
    account_id: AccountId,
    account: &'a Account,
    balance_minor: i64,
    /// What ended holds give back to what is available.
    released_minor: i128,
}

/// The entries of a booking on its guarded accounts, in the order of the legs. Every account must
/// take its legs, and each account's limit is checked once, on the net.
pub(super) fn entries(booking: &Booking, book: &impl Book, context: &Context) -> Result<Vec<(StreamId, Event)>, Stop> {
    let mut touched: Vec<Touched> = Vec::with_capacity(2);
    let mut events = Vec::with_capacity(booking.legs.len());
    for (leg, hold_released_minor) in booking.legs.iter().zip(booking.releases) {
        let account = account::existing(book, leg.account_id)?;
        check_takes(leg, account, booking.kind, booking.posting > 0 && *hold_released_minor > 0)?;
        if !account.guarded {
            continue;
        }
        let at = match touched.iter().position(|other| other.account_id == leg.account_id) {
            Some(at) => at,
            None => {
                let balance_minor = account.balance_minor;
                touched.push(Touched { account_id: leg.account_id, account, balance_minor, released_minor: 0 });
                touched.len() - 1
            }
        };
        let state = &mut touched[at];
        state.balance_minor = state
            .balance_minor
            .checked_add(leg.side.change_minor(leg.amount_minor, account.normal_side))
            .ok_or(Rejection::BalanceOverflow { account_id: leg.account_id })?;
        if leg.side != account.normal_side {
            state.released_minor += i128::from(*hold_released_minor);
        }
        events.push((
            leg.account_id.stream(),
            Event::Account(AccountEvent::EntryPosted {
                transaction_id: booking.transaction_id,
                posting: booking.posting,
                leg: leg.leg,
                kind: booking.kind,
                side: leg.side,
                amount_minor: leg.amount_minor,
                booking_date: booking.dates.booking_date,
                value_date: booking.dates.value_date,
                balance_minor: state.balance_minor,
                hold_released_minor: *hold_released_minor,
            }),
        ));
    }
    for state in &touched {
        let before_minor = state.account.available_minor(context.recorded_at);
        let net_minor = i128::from(state.balance_minor) - i128::from(state.account.balance_minor);
        check_limit(state.account_id, state.account, before_minor, before_minor + net_minor + state.released_minor)?;
    }
    Ok(events)
}

/// Refuses what lowers the available balance to below the minimum. What raises it is taken even
/// where it stays below: a deposit onto an overdrawn account must not fail.
pub(super) fn check_limit(
    account_id: AccountId,
    account: &Account,
    before_minor: i128,
    after_minor: i128,
) -> Result<(), Rejection> {
    if after_minor >= i128::from(account.minimum_balance_minor) || after_minor >= before_minor {
        return Ok(());
    }
    Err(Rejection::InsufficientFunds {
        account_id,
        available: account.money(before_minor),
        minimum_balance: account.money(account.minimum_balance_minor.into()),
        requested: account.money(before_minor - after_minor),
    })
}

/// Whether the account takes the leg now: open, not frozen on that side, not dormant. An internal
/// account that was retired while a transaction was pending still takes its posting.
pub(super) fn check_takes(
    leg: &Leg,
    account: &Account,
    kind: TransactionKind,
    was_pending: bool,
) -> Result<(), Rejection> {
    let account_id = leg.account_id;
    match account.status {
        AccountStatus::Open => {}
        AccountStatus::Retired if was_pending => {}
        AccountStatus::Closed => return Err(Rejection::AccountClosed { account_id }),
        AccountStatus::Retired => return Err(Rejection::AccountRetired { account_id }),
    }
    if account.is_frozen(leg.side) {
        return Err(Rejection::AccountFrozen { account_id, side: leg.side });
    }
    if account.dormant && leg.side == Side::Debit && !kind.is_institutions_own() {
        return Err(Rejection::AccountDormant { account_id });
    }
    Ok(())
}
