//! Which legs each of a loan's events posts; `docs/accounting.md` says the same with examples.

use crate::ids::AccountId;
use crate::loan::{Amounts, Loan};
use crate::money::Side;
use crate::product::Component;
use crate::transaction::made::MadeLeg;

/// The component of money that is more than was owed.
const SURPLUS: &str = "surplus";

fn leg(account_id: AccountId, side: Side, amount_minor: i64, component: Option<&'static str>) -> MadeLeg {
    MadeLeg { account_id, side, amount_minor, component }
}

/// Paid out: the portfolio grows, the other account gives or receives on its credit side.
pub(super) fn disbursement(loan: &Loan, other: AccountId) -> Vec<MadeLeg> {
    vec![
        leg(loan.accounts.portfolio_account_id, Side::Debit, loan.principal_minor, Some(Component::Principal.name())),
        leg(other, Side::Credit, loan.principal_minor, None),
    ]
}

/// Interest earned and not yet paid.
pub(super) fn accrual(loan: &Loan, amount_minor: i64) -> Vec<MadeLeg> {
    let interest = Some(Component::Interest.name());
    vec![
        leg(loan.accounts.interest_receivable_account_id, Side::Debit, amount_minor, interest),
        leg(loan.accounts.interest_income_account_id, Side::Credit, amount_minor, interest),
    ]
}

/// A fee or penalty charged and not yet paid.
pub(super) fn charge(loan: &Loan, component: Component, amount_minor: i64) -> Vec<MadeLeg> {
    let income = match component {
        Component::Penalty => loan.accounts.penalty_income_account_id,
        Component::Fee | Component::Interest | Component::Principal => loan.accounts.fee_income_account_id,
    };
    vec![
        leg(loan.accounts.charges_receivable_account_id, Side::Debit, amount_minor, Some(component.name())),
        leg(income, Side::Credit, amount_minor, Some(component.name())),
    ]
}

/// A payment of `paid`, of which `income_minor` of the interest was not accrued before, and a
/// surplus passed on to an account.
pub(super) fn repayment(
    loan: &Loan,
    from: AccountId,
    paid: Amounts,
    income_minor: i64,
    surplus: Option<(AccountId, i64)>,
) -> Option<Vec<MadeLeg>> {
    let surplus_minor = surplus.map_or(0, |(_, amount_minor)| amount_minor);
    let taken_minor = i64::try_from(paid.total_minor() + i128::from(surplus_minor)).ok()?;
    let accounts = &loan.accounts;
    let credit = |account_id, amount_minor, component: &'static str| {
        leg(account_id, Side::Credit, amount_minor, Some(component))
    };
    let mut legs = vec![
        leg(from, Side::Debit, taken_minor, None),
        credit(accounts.charges_receivable_account_id, paid.penalty_minor, Component::Penalty.name()),
        credit(accounts.charges_receivable_account_id, paid.fee_minor, Component::Fee.name()),
        credit(accounts.interest_receivable_account_id, paid.interest_minor - income_minor, Component::Interest.name()),
        credit(accounts.interest_income_account_id, income_minor, Component::Interest.name()),
        credit(accounts.portfolio_account_id, paid.principal_minor, Component::Principal.name()),
    ];
    legs.extend(surplus.map(|(account_id, amount_minor)| credit(account_id, amount_minor, SURPLUS)));
    Some(legs)
}

/// Given up: what is in the books becomes a loss.
pub(super) fn write_off(loan: &Loan, lost: Amounts) -> Option<Vec<MadeLeg>> {
    let accounts = &loan.accounts;
    let total_minor = i64::try_from(lost.total_minor()).ok()?;
    let credit =
        |account_id, component: Component| leg(account_id, Side::Credit, lost.of(component), Some(component.name()));
    Some(vec![
        leg(accounts.write_off_account_id, Side::Debit, total_minor, None),
        credit(accounts.charges_receivable_account_id, Component::Penalty),
        credit(accounts.charges_receivable_account_id, Component::Fee),
        credit(accounts.interest_receivable_account_id, Component::Interest),
        credit(accounts.portfolio_account_id, Component::Principal),
    ])
}
