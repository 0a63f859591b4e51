//! The payments on a loan, with what each settled.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use domain::{Currency, money};
use platform::extract::StrictPath;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::amount::{Amount, currency};
use crate::api::Api;
use crate::cursor;
use crate::listing::{self, Listed};
use crate::loans::loan_head;
use crate::parameters::{Freshness, Page, Parameters};
use crate::reply::{Answer, List, Result, rfc3339};

/// How much of which instalment's component a payment settled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AllocationView {
    /// The instalment's number.
    instalment: i32,
    /// `principal`, `interest`, `fee` or `penalty`.
    #[schema(example = "principal")]
    component: String,
    /// How much, a decimal in the loan's currency.
    #[schema(example = "250.00")]
    amount: String,
}

/// How a payment was undone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepaymentReversalView {
    /// The transaction that undid it.
    transaction_id: Uuid,
    /// Why, as a code.
    reason: Option<String>,
    /// The business date.
    booking_date: Option<NaiveDate>,
}

/// A payment on a loan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepaymentView {
    /// Its transaction.
    transaction_id: Uuid,
    /// Where the money came from.
    from_account_id: Uuid,
    /// How much the loan took.
    amount: Amount,
    /// What was offered beyond all that was owed; a decimal in the loan's currency.
    #[schema(example = "0.00")]
    surplus: String,
    /// Where the surplus went; absent: it stayed where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    surplus_account_id: Option<Uuid>,
    /// The business date.
    booking_date: NaiveDate,
    /// From when it counts as paid.
    value_date: NaiveDate,
    /// The version of the schedule that it was for.
    schedule_version: i32,
    /// What it settled.
    allocation: Vec<AllocationView>,
    /// How it was undone: then it never counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reversed: Option<RepaymentReversalView>,
    /// When it was recorded (RFC 3339, UTC).
    recorded_at: String,
    /// Position of its event; the list is in this order.
    position: i64,
}

/// The payments on a loan.
///
/// In the order in which they were recorded, those that were undone among them.
#[utoipa::path(
    get, path = "/v1/loans/{id}/repayments", tag = "loans",
    params(("id" = Uuid, Path, description = "The loan"), Page, Freshness),
    responses((status = 200, description = "A page of payments", body = List<RepaymentView>))
)]
pub(crate) async fn list_repayments(
    State(api): State<Api>,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<List<RepaymentView>>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    parameters.finish()?;
    let list = format!("loans/{id}/repayments");
    let after = cursor::read(&list, page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let loan = loan_head(&mut snapshot, id).await?;
    let mut sql = QueryBuilder::new(
        "SELECT p.*, l.currency, (SELECT COALESCE(jsonb_agg(jsonb_build_object('instalment', a.instalment, \
         'component', a.component, 'amount_minor', a.amount_minor) ORDER BY a.instalment, a.component), '[]') \
         FROM loan_allocations a WHERE a.loan_id = p.loan_id AND a.transaction_id = p.transaction_id) AS allocation \
         FROM loan_payments p JOIN loans l USING (loan_id) WHERE p.loan_id = ",
    );
    sql.push_bind(id);
    let answer = listing::select_page::<Row>(&mut snapshot, &list, (after, page.limit), sql).await?;
    Ok(Answer { parked: loan.parked, ..answer })
}

#[derive(Deserialize)]
struct StoredAllocation {
    instalment: i32,
    component: String,
    amount_minor: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    transaction_id: Uuid,
    from_account_id: Uuid,
    currency: String,
    amount_minor: i64,
    surplus_minor: i64,
    surplus_account_id: Option<Uuid>,
    booking_date: NaiveDate,
    value_date: NaiveDate,
    schedule_version: i32,
    allocation: Json<Vec<StoredAllocation>>,
    reversed_by: Option<Uuid>,
    reversed_reason: Option<String>,
    reversed_on: Option<NaiveDate>,
    recorded_at: DateTime<Utc>,
    position: i64,
}

impl StoredAllocation {
    fn view(self, currency: Currency) -> AllocationView {
        let amount = money::decimal(self.amount_minor.into(), currency);
        AllocationView { instalment: self.instalment, component: self.component, amount }
    }
}

impl Listed for Row {
    type View = RepaymentView;
    const POSITION: &'static str = "p.position";

    fn position(&self) -> i64 {
        self.position
    }

    fn is_parked(&self) -> bool {
        // That the loan is parked is told of the whole list.
        false
    }

    fn view(self) -> Result<RepaymentView> {
        let currency = currency(&self.currency)?;
        Ok(RepaymentView {
            transaction_id: self.transaction_id,
            from_account_id: self.from_account_id,
            amount: Amount::new(self.amount_minor, currency),
            surplus: money::decimal(self.surplus_minor.into(), currency),
            surplus_account_id: self.surplus_account_id,
            booking_date: self.booking_date,
            value_date: self.value_date,
            schedule_version: self.schedule_version,
            allocation: self.allocation.0.into_iter().map(|settled| settled.view(currency)).collect(),
            reversed: self.reversed_by.map(|transaction_id| RepaymentReversalView {
                transaction_id,
                reason: self.reversed_reason,
                booking_date: self.reversed_on,
            }),
            recorded_at: rfc3339(self.recorded_at),
            position: self.position,
        })
    }
}
