//! The one step of a collection, taken on each due date: recognise the interest that is due, then
//! take all that is due from the member's settlement account; on later days again when there is not
//! enough.

use chrono::{DateTime, Days, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use domain::ids::derived;
use domain::loan::{LoanCommand, LoanStatus};
use domain::rejection::Rejection;
use domain::saga::Transition;
use domain::{Command, Loan, LoanId, TransactionId};

use crate::door::{self, WorkError};
use crate::steps::{Tools, Tried, Turn, reason, refused};

pub(crate) async fn collect(tools: &Tools<'_>, turn: &Turn<'_>, loan_id: LoanId) -> Result<Tried, WorkError> {
    let loan = door::loan(tools.store, loan_id).await?;
    if loan.status != LoanStatus::Active {
        return Ok(finished(loan.status));
    }
    let today = tools.today();
    let Some(due_on) = loan.next_due_on() else { return Ok(finished(LoanStatus::Repaid)) };
    let key = turn.key("collect");
    let transaction_id = TransactionId(derived(turn.saga_id.0, &key));
    if due_on > today {
        // Collected by this very try, whose success was not written down: its key must not be used again.
        let collected = loan.repayments.iter().any(|repayment| repayment.transaction_id == transaction_id);
        let next_at = start_of(due_on, tools.time_zone);
        return Ok(if collected { collected_until(next_at) } else { Tried::Wait(next_at) });
    }
    let accrual = turn.key("accrue");
    let accrue = Command::Loan(LoanCommand::AccrueInterest {
        loan_id,
        transaction_id: TransactionId(derived(turn.saga_id.0, &accrual)),
        through: Some(today),
    });
    match door::submit(tools.store, turn.saga_id, &accrual, accrue).await? {
        Ok(_) | Err(Rejection::NothingToAccrue { .. }) => {}
        Err(rejection) => return Ok(not_now(turn, tools, &loan, today, &rejection)),
    }
    let collect = Command::Loan(LoanCommand::CollectDue { loan_id, transaction_id, through: Some(today) });
    match door::submit(tools.store, turn.saga_id, &key, collect).await? {
        Ok(_) | Err(Rejection::NothingDue { .. }) => {
            let loan = door::loan(tools.store, loan_id).await?;
            let next_at = loan.next_due_on().map(|due_on| start_of(due_on, tools.time_zone));
            match (loan.status, next_at) {
                (LoanStatus::Active, Some(next_at)) => Ok(collected_until(next_at)),
                (status, _) => Ok(finished(status)),
            }
        }
        Err(Rejection::LoanStatusConflict { status, .. }) => Ok(finished(status)),
        Err(rejection) => Ok(not_now(turn, tools, &loan, today, &rejection)),
    }
}

fn collected_until(next_at: DateTime<Utc>) -> Tried {
    Tried::Became(Transition::Succeeded {
        loan_id: None,
        bank_reference: None,
        left_minor: None,
        next_at: Some(next_at),
    })
}

/// On the next day that the policy names after the latest due date, else on the next due date; when
/// neither is left it waits for a person.
fn not_now(turn: &Turn<'_>, tools: &Tools<'_>, loan: &Loan, today: NaiveDate, rejection: &Rejection) -> Tried {
    match next_try_on(loan, today) {
        Some(day) => {
            let retry_at = start_of(day, tools.time_zone);
            tracing::info!(saga_id = %turn.saga_id, code = rejection.code(), %day, "not collected; tried again");
            Tried::Became(Transition::Failed { code: reason(rejection.code()), retry_at })
        }
        None => refused(rejection.code()),
    }
}

fn next_try_on(loan: &Loan, today: NaiveDate) -> Option<NaiveDate> {
    let unpaid = |on: &&domain::loan::Instalment| on.total_outstanding_minor() > 0;
    let latest_due = loan.instalments.iter().filter(unpaid).map(|on| on.due_on).filter(|on| *on <= today).max();
    let next_due = loan.instalments.iter().filter(unpaid).map(|on| on.due_on).find(|on| *on > today);
    let days = loan.terms.collection.as_ref().map(|policy| policy.retry_after_days.as_slice()).unwrap_or_default();
    let retries = days.iter().filter_map(|days| latest_due?.checked_add_days(Days::new(u64::from(*days))));
    retries.filter(|day| *day > today).chain(next_due).min()
}

fn finished(status: LoanStatus) -> Tried {
    Tried::Became(Transition::Finished { outcome: reason(status.name()) })
}

/// The first moment of a day in the tenant's time zone.
fn start_of(day: NaiveDate, time_zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    // Where a day begins after midnight, since clocks were put on, its first hour is skipped.
    let first = time_zone.from_local_datetime(&midnight).earliest();
    first.map_or_else(|| midnight.and_utc() + chrono::TimeDelta::hours(1), |at| at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::loan::{Amounts, Instalment};
    use domain::product::CollectionPolicy;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn loan(retry_after_days: Vec<u16>) -> Loan {
        let mut loan = Loan::default();
        loan.terms.collection = Some(CollectionPolicy { retry_after_days });
        for (number, due_on) in [(1, "2026-01-31"), (2, "2026-02-28"), (3, "2026-03-31")] {
            let due = Amounts { principal_minor: 100, ..Amounts::default() };
            let (due_on, paid) = (day(due_on), Amounts::default());
            loan.instalments.push(Instalment { number, due_on, due, paid, recognised_interest_minor: 0 });
        }
        loan
    }

    #[test]
    fn it_is_tried_again_on_the_days_of_the_policy_then_on_the_next_due_date_then_by_a_person() {
        let loan = loan(vec![1, 3, 10]);
        let cases = [
            ("2026-01-31", Some("2026-02-01")),
            ("2026-02-01", Some("2026-02-03")),
            ("2026-02-03", Some("2026-02-10")),
            ("2026-02-10", Some("2026-02-28")),
            ("2026-03-31", Some("2026-04-01")),
            ("2026-04-09", Some("2026-04-10")),
            ("2026-04-10", None),
        ];
        for (today, expected) in cases {
            assert_eq!(next_try_on(&loan, day(today)), expected.map(day), "{today}");
        }
    }

    #[test]
    fn a_day_begins_in_the_tenants_time_zone() {
        let prague = start_of(day("2026-07-01"), chrono_tz::Europe::Prague);
        assert_eq!(prague.to_rfc3339(), "2026-06-30T22:00:00+00:00");
    }
}
