//! What is due: principal and interest of every instalment.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::annuity::{SCALED, annuity_scaled};
use super::calendar::{Period, periods};
use super::error::CalcError;
use super::terms::{Amortization, InterestMethod, Terms};
use crate::money::AMOUNT_MINOR_MAX;

/// One instalment of a schedule; what is due is principal and interest together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instalment {
    /// Its number, from 1.
    pub number: u16,
    /// The day from which its interest is charged.
    pub from: NaiveDate,
    /// The day on which it is due.
    pub due_on: NaiveDate,
    /// The principal it repays, in minor units; above zero, but for a first instalment that is all interest.
    pub principal_minor: i64,
    /// The interest it pays, in minor units.
    pub interest_minor: i64,
    /// The principal left afterwards, in minor units.
    pub balance_minor: i64,
}

impl Instalment {
    /// Principal and interest together, in minor units.
    pub fn due_minor(&self) -> i64 {
        self.principal_minor.saturating_add(self.interest_minor)
    }
}

/// Why an amount cannot be what every instalment pays.
enum Unfit {
    /// The principal would be repaid before the last instalment.
    EndsEarly { number: u16 },
    /// Terms that no amount fits.
    Refused(CalcError),
}

impl From<CalcError> for Unfit {
    fn from(error: CalcError) -> Self {
        Unfit::Refused(error)
    }
}

/// The schedule that a loan's terms give; the same terms always give the same schedule.
///
/// - *Reducing balance, equal instalments*: the instalment is the annuity (see `annuity.rs`),
///   rounded. If the last instalment then differs from it by more minor units than half the number
///   of instalments, the difference is spread once over all and kept if the last comes closer. A
///   rounding that goes always the same way is not corrected so.
/// - *Reducing balance, equal principal*: the principal over the number of instalments, rounded.
/// - *Flat*: the interest on the whole principal over the whole term, and the principal, each over
///   the number of instalments and rounded.
///
/// A first period so long that its interest is as much as the instalment or more has an instalment
/// of interest alone, and the equal instalments repay the principal over the rest.
///
/// The last instalment repays what is left, and so absorbs what rounding left over. Where a rounded
/// instalment would repay the loan before the last one, it is one unit less.
///
/// # Errors
/// Terms out of range, amounts beyond the limit, and instalments that repay no principal.
pub fn schedule(terms: &Terms) -> Result<Vec<Instalment>, CalcError> {
    let periods = periods(terms)?;
    let instalments = match (terms.method, terms.amortization) {
        (InterestMethod::ReducingBalance, Amortization::EqualInstalments) => annuity_schedule(terms, &periods)?,
        (InterestMethod::ReducingBalance, Amortization::EqualPrincipal) => {
            let amount = terms.rounding.divide(terms.principal_minor.into(), periods.len() as i128);
            fit(amount, 1, |principal| {
                let reducing = |period: &Period, balance| period.rate.interest_minor(balance, terms.rounding);
                repay(terms, &periods, 0, reducing, |_| principal)
            })?
        }
        (InterestMethod::Flat, _) => flat_schedule(terms, &periods)?,
    };
    Ok(instalments)
}

fn annuity_schedule(terms: &Terms, periods: &[Period]) -> Result<Vec<Instalment>, CalcError> {
    let unit = i128::from(terms.instalment_multiple_minor.unwrap_or(1));
    let annuity_of = |periods: &[Period]| {
        let annuity = annuity_scaled(terms.principal_minor, periods).ok_or(CalcError::AmountTooLarge)?;
        Ok::<_, CalcError>(terms.rounding.divide(annuity, SCALED * unit) * unit)
    };
    let mut amount = annuity_of(periods)?;
    let mut interest_only = 0;
    if let [first, rest @ ..] = periods {
        let interest = first.rate.interest_minor(terms.principal_minor, terms.rounding);
        let interest = interest.ok_or(CalcError::AmountTooLarge)?;
        if !first.regular && !rest.is_empty() && i128::from(interest) >= amount {
            interest_only = 1;
            amount = annuity_of(rest)?;
        }
    }
    let of_amount = |amount| {
        let reducing = |period: &Period, balance| period.rate.interest_minor(balance, terms.rounding);
        repay(terms, periods, interest_only, reducing, move |interest| amount - i128::from(interest))
    };
    let instalments = fit(amount, unit, of_amount)?;
    let equal = instalments.get(usize::from(interest_only)..).unwrap_or_default();
    let [first, .., last] = equal else { return Ok(instalments) };

    // After a step down the first instalment, not `amount`, is what all but the last pay.
    let (amount, count) = (i128::from(first.due_minor()), equal.len() as i128);
    let left = i128::from(last.due_minor()) - amount;
    if !terms.rounding.to_nearest() || left.abs() <= count / 2 {
        return Ok(instalments);
    }
    let spread = amount + terms.rounding.divide(left, count);
    let spread = terms.rounding.divide(spread, unit) * unit;
    let closer = of_amount(spread)
        .ok()
        .filter(|closer| closer.last().is_some_and(|last| (i128::from(last.due_minor()) - spread).abs() < left.abs()));
    // An amount that is no better, or that no schedule can be made from, leaves the first one as it is.
    Ok(closer.unwrap_or(instalments))
}

fn flat_schedule(terms: &Terms, periods: &[Period]) -> Result<Vec<Instalment>, CalcError> {
    let rounding = terms.rounding;
    let count = periods.len() as i128;
    let principal = i128::from(terms.principal_minor);
    let term = periods.iter().map(|period| period.rate).reduce(|term, next| term.and(next));
    let interest = term.and_then(|term| term.interest_minor(terms.principal_minor, rounding));
    let interest = interest.ok_or(CalcError::AmountTooLarge)?;
    let interest_each = rounding.divide(interest.into(), count);

    let multiple = terms.instalment_multiple_minor.filter(|_| terms.amortization == Amortization::EqualInstalments);
    let (amount, unit) = match multiple.map(i128::from) {
        Some(unit) => (rounding.divide(principal + i128::from(interest), count * unit) * unit, unit),
        None => (rounding.divide(principal, count) + interest_each, 1),
    };
    fit(amount, unit, |amount| {
        let mut unpaid = i128::from(interest);
        let spread = |period: &Period, _| {
            let last = i128::from(period.number) == count;
            // Rounded up, the interest is paid before the last instalment; what is due stays the same.
            let part = if last { unpaid } else { interest_each.min(unpaid) };
            unpaid -= part;
            i64::try_from(part).ok()
        };
        repay(terms, periods, 0, spread, |interest| amount - i128::from(interest))
    })
}

/// The schedule for an amount, or for one unit less if the amount would repay the loan too early.
fn fit(
    amount: i128,
    unit: i128,
    of_amount: impl Fn(i128) -> Result<Vec<Instalment>, Unfit>,
) -> Result<Vec<Instalment>, CalcError> {
    let fitted = match of_amount(amount) {
        Err(Unfit::EndsEarly { .. }) => of_amount(amount - unit),
        first => first,
    };
    fitted.map_err(|unfit| match unfit {
        Unfit::EndsEarly { number } => CalcError::InstalmentTooSmall { number },
        Unfit::Refused(error) => error,
    })
}

/// Walks the periods: the interest of each on the balance before it, and the principal that goes
/// with that interest, none in the first `interest_only` ones; the last repays what is left.
fn repay(
    terms: &Terms,
    periods: &[Period],
    interest_only: u16,
    mut interest_of: impl FnMut(&Period, i64) -> Option<i64>,
    principal_with: impl Fn(i64) -> i128,
) -> Result<Vec<Instalment>, Unfit> {
    let mut instalments = Vec::with_capacity(periods.len());
    let mut balance = terms.principal_minor;
    let mut interest_total = 0;
    for period in periods {
        let number = period.number;
        let interest = interest_of(period, balance).filter(|interest| *interest <= AMOUNT_MINOR_MAX);
        let interest = interest.ok_or(CalcError::AmountTooLarge)?;
        interest_total += interest;
        let principal = if number == terms.instalments {
            balance
        } else if number <= interest_only {
            0
        } else {
            match i64::try_from(principal_with(interest)) {
                Ok(principal) if (1..balance).contains(&principal) => principal,
                Ok(principal) if principal >= balance => return Err(Unfit::EndsEarly { number }),
                _ => return Err(CalcError::InstalmentTooSmall { number }.into()),
            }
        };
        if principal + interest > AMOUNT_MINOR_MAX || interest_total > AMOUNT_MINOR_MAX {
            return Err(CalcError::AmountTooLarge.into());
        }
        balance -= principal;
        instalments.push(Instalment {
            number,
            from: period.from,
            due_on: period.due_on,
            principal_minor: principal,
            interest_minor: interest,
            balance_minor: balance,
        });
    }
    Ok(instalments)
}
