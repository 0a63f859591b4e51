//! Arrears as of a date: of a loan, and of all loans that are late.
//!
//! Days past due are counted from the oldest due date with something unpaid. An instalment that is due
//! on the date itself is due, and not late.

use axum::extract::State;
use chrono::NaiveDate;
use domain::money;
use platform::extract::StrictPath;
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{Minor, currency};
use crate::api::Api;
use crate::as_of::{self, Components, ComponentsView, LoanAsOf};
use crate::listing::{self, Listed};
use crate::loans::loan_head;
use crate::parameters::{Freshness, Page, Parameters};
use crate::reply::{Answer, List, Result};

const LIST: &str = "loans/arrears";
/// Most days past due that may be asked for.
const DAYS_MAX: u64 = 100_000;
/// The buckets of days past due: name, least and most days.
pub(crate) const BUCKETS: [(&str, i32, Option<i32>); 5] = [
    ("current", 0, Some(0)),
    ("1-30", 1, Some(30)),
    ("31-60", 31, Some(60)),
    ("61-90", 61, Some(90)),
    ("over-90", 91, None),
];

/// What a loan is late with as of a date. Amounts are decimals in its currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArrearsView {
    /// The loan.
    loan_id: Uuid,
    /// Its number.
    #[schema(example = "L-4959")]
    number: String,
    /// Who owes it.
    member_id: Uuid,
    /// The product.
    product_id: Uuid,
    /// Its currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The date: a payment counts from its value date.
    as_of: NaiveDate,
    /// From the oldest due date with something unpaid to the date.
    days_past_due: i32,
    /// `current`, `1-30`, `31-60`, `61-90` or `over-90` days past due.
    #[schema(example = "1-30")]
    bucket: &'static str,
    /// The oldest due date with something unpaid, up to the date.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_due_on: Option<NaiveDate>,
    /// How many instalments that were due before the date are not paid in full.
    overdue_instalments: i64,
    /// What is unpaid of instalments due up to the date, that day included.
    due: ComponentsView,
    /// What of it was due before the date.
    #[schema(example = "3373.00")]
    overdue: String,
    /// All that is owed, due or not.
    #[schema(example = "64087.00")]
    outstanding: String,
    /// The principal of it.
    #[schema(example = "60000.00")]
    outstanding_principal: String,
    /// Whether it was written off by the date: then nothing is due any more.
    written_off: bool,
    /// Whether events of the loan could not be applied, so that this may be behind.
    parked: bool,
}

/// Which loans.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Names and documents what `list_arrears` reads.
pub(crate) struct ArrearsFilter {
    /// Loans with at least so many days past due; 1 when left out.
    #[param(minimum = 0, maximum = 100000, example = 30, required = false)]
    min_days: u64,
}

/// What a loan is late with, as of a date.
#[utoipa::path(
    get, path = "/v1/loans/{id}/arrears", tag = "loans",
    params(("id" = Uuid, Path, description = "The loan"), LoanAsOf, Freshness),
    responses((status = 200, description = "The arrears", body = ArrearsView))
)]
pub(crate) async fn get_arrears(
    State(api): State<Api>,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<ArrearsView>> {
    let freshness = parameters.freshness();
    let as_of = as_of::read(&mut parameters, &api);
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let loan = loan_head(&mut snapshot, id).await?;
    // A loan's rows are all of one stream: they belong together however far its partition is ahead.
    let mut sql = select("LEFT JOIN", as_of, i64::MAX);
    sql.push(" AND l.loan_id = ").push_bind(id);
    let row: Row = sql.build_query_as().fetch_one(snapshot.connection()).await?;
    let arrears = row.view()?;
    Ok(Answer { version: Some(loan.version), parked: loan.parked, ..Answer::new(snapshot.position, arrears) })
}

/// Loans that are late, as of a date.
///
/// In the order in which they were applied for. A walk over several pages names its date.
#[utoipa::path(
    get, path = "/v1/loans/arrears", tag = "loans", params(ArrearsFilter, LoanAsOf, Page, Freshness),
    responses((status = 200, description = "A page of loans that are late", body = List<ArrearsView>))
)]
pub(crate) async fn list_arrears(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<List<ArrearsView>>> {
    let asked = (parameters.freshness(), parameters.page());
    let as_of = as_of::read(&mut parameters, &api);
    let min_days = parameters.number("min_days", 0, DAYS_MAX).and_then(|days| i32::try_from(days).ok()).unwrap_or(1);
    parameters.finish()?;
    listing::answer::<Row>(&api, &format!("{LIST}/{as_of}"), asked, |snapshot| {
        let mut sql = select("JOIN", as_of, snapshot.position_bound());
        sql.push(" AND NOT s.written_off AND s.outstanding_minor > 0 AND s.days_past_due >= ").push_bind(min_days);
        sql
    })
    .await
}

#[derive(sqlx::FromRow)]
struct Row {
    loan_id: Uuid,
    number: String,
    member_id: Uuid,
    product_id: Uuid,
    currency: String,
    as_of: NaiveDate,
    days_past_due: i32,
    oldest_due_on: Option<NaiveDate>,
    overdue_instalments: i64,
    #[sqlx(try_from = "String")]
    principal_due_minor: Minor,
    #[sqlx(try_from = "String")]
    interest_due_minor: Minor,
    #[sqlx(try_from = "String")]
    fee_due_minor: Minor,
    #[sqlx(try_from = "String")]
    penalty_due_minor: Minor,
    #[sqlx(try_from = "String")]
    overdue_minor: Minor,
    #[sqlx(try_from = "String")]
    outstanding_minor: Minor,
    #[sqlx(try_from = "String")]
    principal_outstanding_minor: Minor,
    written_off: bool,
    position: i64,
    parked: bool,
}

impl Listed for Row {
    type View = ArrearsView;
    const POSITION: &'static str = "l.position";

    fn position(&self) -> i64 {
        self.position
    }

    fn is_parked(&self) -> bool {
        self.parked
    }

    fn view(self) -> Result<ArrearsView> {
        let currency = currency(&self.currency)?;
        let decimal = |minor: Minor| money::decimal(minor.0, currency);
        let due = [self.principal_due_minor, self.interest_due_minor, self.fee_due_minor, self.penalty_due_minor];
        Ok(ArrearsView {
            due: Components::from(due).view(currency),
            overdue: decimal(self.overdue_minor),
            outstanding: decimal(self.outstanding_minor),
            outstanding_principal: decimal(self.principal_outstanding_minor),
            bucket: bucket(self.days_past_due),
            loan_id: self.loan_id,
            number: self.number,
            member_id: self.member_id,
            product_id: self.product_id,
            currency: self.currency,
            as_of: self.as_of,
            days_past_due: self.days_past_due,
            oldest_due_on: self.oldest_due_on,
            overdue_instalments: self.overdue_instalments,
            written_off: self.written_off,
            parked: self.parked,
        })
    }
}

fn bucket(days: i32) -> &'static str {
    BUCKETS.iter().rev().find(|(_, least, _)| days >= *least).map_or(BUCKETS[0].0, |(name, ..)| name)
}

/// Loans with their arrears, in a statement whose WHERE has begun.
fn select(join: &str, as_of: NaiveDate, position: i64) -> QueryBuilder<'static, Postgres> {
    let mut sql = QueryBuilder::new(
        "SELECT l.loan_id, l.number, l.member_id, l.product_id, l.currency, l.position, \
         COALESCE(s.days_past_due, 0) AS days_past_due, s.oldest_due_on, \
         COALESCE(s.overdue_instalments, 0) AS overdue_instalments, COALESCE(s.written_off, false) AS written_off",
    );
    let sums = [
        "principal_due_minor",
        "interest_due_minor",
        "fee_due_minor",
        "penalty_due_minor",
        "overdue_minor",
        "outstanding_minor",
        "principal_outstanding_minor",
    ];
    for sum in sums {
        sql.push(", COALESCE(s.").push(sum).push(", 0)::text AS ").push(sum);
    }
    sql.push(", ").push_bind(as_of);
    sql.push(
        " AS as_of, EXISTS (SELECT 1 FROM parked_events p WHERE p.projection = 'core' \
         AND p.stream = 'loan/' || l.loan_id) AS parked FROM loans l ",
    );
    sql.push(join).push(" loans_as_of(").push_bind(as_of).push(", ").push_bind(position);
    sql.push(") s ON s.loan_id = l.loan_id WHERE true");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_and_end_as_they_say() {
        for (days, expected) in [
            (0, "current"),
            (1, "1-30"),
            (30, "1-30"),
            (31, "31-60"),
            (60, "31-60"),
            (61, "61-90"),
            (90, "61-90"),
            (91, "over-90"),
            (i32::MAX, "over-90"),
        ] {
            assert_eq!(bucket(days), expected, "{days}");
        }
    }
}
