//! A loan's schedule as of a date: what each instalment demands, what is paid of it, what is left.

use axum::extract::State;
use chrono::NaiveDate;
use platform::extract::StrictPath;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::Api;
use crate::as_of::{self, Components, ComponentsView, LoanAsOf};
use crate::freshness::Snapshot;
use crate::loans::{LoanHead, loan_head};
use crate::parameters::{Freshness, Parameters};
use crate::reply::{Answer, Result};

/// An instalment as of a date. Amounts are decimals in the loan's currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstalmentView {
    /// Its number, from 1.
    number: i32,
    /// When it is due.
    due_on: NaiveDate,
    /// What it demands, charges included.
    due: ComponentsView,
    /// What is paid of it.
    paid: ComponentsView,
    /// What is left of it.
    outstanding: ComponentsView,
    /// `paid`: nothing is left. `overdue`: it was due before the date. `partial`: something is paid.
    /// `due`: it is due on the date. `pending`: it is due later.
    #[schema(example = "pending")]
    status: &'static str,
    /// How many days it is overdue.
    days_past_due: i64,
}

/// What a schedule adds up to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleTotals {
    /// What all instalments demand.
    due: ComponentsView,
    /// What is paid.
    paid: ComponentsView,
    /// What is left.
    outstanding: ComponentsView,
}

/// A loan's schedule as of a date.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    /// The loan.
    loan_id: Uuid,
    /// Its currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The date: a payment counts from its value date.
    as_of: NaiveDate,
    /// The version of the schedule; 0 before the loan is paid out: then there are no instalments.
    schedule_version: i32,
    /// The instalments in their order.
    instalments: Vec<InstalmentView>,
    /// What they add up to.
    totals: ScheduleTotals,
    /// Number of the loan's events.
    version: i64,
    /// Whether events of the loan could not be applied, so that this may be behind.
    parked: bool,
}

/// The schedule of a loan, with what is paid of it as of a date.
#[utoipa::path(
    get, path = "/v1/loans/{id}/schedule", tag = "loans",
    params(("id" = Uuid, Path, description = "The loan"), LoanAsOf, Freshness),
    responses((status = 200, description = "The schedule", body = ScheduleView))
)]
pub(crate) async fn get_schedule(
    State(api): State<Api>,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<ScheduleView>> {
    let freshness = parameters.freshness();
    let as_of = as_of::read(&mut parameters, &api);
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let loan = loan_head(&mut snapshot, id).await?;
    let rows = select(&mut snapshot, &loan, as_of).await?;
    let sum = |of: fn(&Row) -> Components| rows.iter().map(of).fold(Components::default(), Components::plus);
    let (due, paid) = (sum(Row::due), sum(Row::paid));
    let totals = ScheduleTotals {
        due: due.view(loan.currency),
        paid: paid.view(loan.currency),
        outstanding: due.less(paid).view(loan.currency),
    };
    let view = ScheduleView {
        loan_id: id,
        currency: loan.currency.code().to_owned(),
        as_of,
        schedule_version: loan.schedule_version,
        instalments: rows.into_iter().map(|row| row.view(&loan, as_of)).collect(),
        totals,
        version: loan.version,
        parked: loan.parked,
    };
    Ok(Answer { version: Some(view.version), parked: view.parked, ..Answer::new(snapshot.position, view) })
}

#[derive(sqlx::FromRow)]
struct Row {
    instalment: i32,
    due_on: NaiveDate,
    principal_due_minor: i64,
    interest_due_minor: i64,
    fee_due_minor: i64,
    penalty_due_minor: i64,
    principal_paid_minor: i64,
    interest_paid_minor: i64,
    fee_paid_minor: i64,
    penalty_paid_minor: i64,
}

impl Row {
    fn due(&self) -> Components {
        [self.principal_due_minor, self.interest_due_minor, self.fee_due_minor, self.penalty_due_minor].into()
    }

    fn paid(&self) -> Components {
        [self.principal_paid_minor, self.interest_paid_minor, self.fee_paid_minor, self.penalty_paid_minor].into()
    }

    fn view(self, loan: &LoanHead, as_of: NaiveDate) -> InstalmentView {
        let (due, paid) = (self.due(), self.paid());
        let outstanding = due.less(paid);
        let status = status(outstanding.total_minor(), paid.total_minor(), self.due_on, as_of);
        InstalmentView {
            number: self.instalment,
            due_on: self.due_on,
            due: due.view(loan.currency),
            paid: paid.view(loan.currency),
            outstanding: outstanding.view(loan.currency),
            status,
            days_past_due: if status == OVERDUE { (as_of - self.due_on).num_days() } else { 0 },
        }
    }
}

const OVERDUE: &str = "overdue";

fn status(outstanding_minor: i128, paid_minor: i128, due_on: NaiveDate, as_of: NaiveDate) -> &'static str {
    if outstanding_minor <= 0 {
        "paid"
    } else if due_on < as_of {
        OVERDUE
    } else if paid_minor > 0 {
        "partial"
    } else if due_on == as_of {
        "due"
    } else {
        "pending"
    }
}

// A loan's rows are all of one stream, so they belong together however far its partition is ahead.
async fn select(snapshot: &mut Snapshot, loan: &LoanHead, as_of: NaiveDate) -> Result<Vec<Row>> {
    let sql = "SELECT instalment, due_on, principal_due_minor, interest_due_minor, fee_due_minor, penalty_due_minor, \
               principal_paid_minor, interest_paid_minor, fee_paid_minor, penalty_paid_minor \
               FROM loan_instalments_as_of($1, $2) WHERE loan_id = $3 ORDER BY instalment";
    let rows = sqlx::query_as(sql).bind(as_of).bind(i64::MAX).bind(loan.id);
    Ok(rows.fetch_all(snapshot.connection()).await?)
}
