//! Loans: by id and as a list, with what is owed of them now.

use std::sync::LazyLock;

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use domain::loan::LoanStatus;
use domain::words::Number;
use domain::{Currency, money};
use platform::extract::StrictPath;
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, Postgres, QueryBuilder, Row as _};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{currency, terms_view};
use crate::api::Api;
use crate::as_of::{Components, ComponentsView};
use crate::freshness::{POSITION, Snapshot};
use crate::listing::{self, Listed};
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::is_parked;
use crate::reply::{Answer, Failure, List, Result, rfc3339};

const LIST: &str = "loans";

/// A loan. Amounts are decimals in its currency; what is owed is told whatever the dates of payments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoanView {
    /// The id.
    id: Uuid,
    /// The number by which people and payments know it.
    #[schema(example = "L-4959")]
    number: String,
    /// Who owes it.
    member_id: Uuid,
    /// The product.
    product_id: Uuid,
    /// The version of the product's terms that it keeps.
    product_version: i32,
    /// `applied`, `approved`, `rejected`, `disbursing`, `active`, `repaid`, `written_off` or `closed`.
    #[schema(example = "active")]
    status: String,
    /// Why it was rejected, not paid out or written off, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// The code of ISO 4217.
    #[schema(example = "CZK")]
    currency: String,
    /// How much was asked for, approved or paid out last.
    #[schema(example = "80952.00")]
    principal: String,
    /// The nominal annual rate, in percent.
    #[schema(example = "12.5")]
    annual_rate: String,
    /// In how many instalments it is paid back.
    instalments: i32,
    /// The terms that it keeps, in the form in which a product's are asked for; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    terms: Option<Value>,
    /// The member's account from which it is collected and to which surplus goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement_account_id: Option<Uuid>,
    /// What it is for, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// The internal account of its principal.
    portfolio_account_id: Uuid,
    /// The internal account of interest earned and not yet paid.
    interest_receivable_account_id: Uuid,
    /// The internal account of fees and penalties not yet paid.
    charges_receivable_account_id: Uuid,
    /// When it was applied for.
    applied_on: NaiveDate,
    /// When it was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_on: Option<NaiveDate>,
    /// When it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_on: Option<NaiveDate>,
    /// From when interest counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    disbursed_on: Option<NaiveDate>,
    /// The value date of the payment that settled the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaid_on: Option<NaiveDate>,
    /// When it was written off.
    #[serde(skip_serializing_if = "Option::is_none")]
    written_off_on: Option<NaiveDate>,
    /// When the file was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_on: Option<NaiveDate>,
    /// How many payouts to another bank were started.
    disbursement_attempts: i32,
    /// The transaction that paid it out or holds the money for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    disbursement_transaction_id: Option<Uuid>,
    /// The member's account that it was paid into; absent: another bank's.
    #[serde(skip_serializing_if = "Option::is_none")]
    disbursed_to_account_id: Option<Uuid>,
    /// How the other bank knows the payout.
    #[serde(skip_serializing_if = "Option::is_none")]
    bank_reference: Option<String>,
    /// What is owed of all instalments, due or not; of a loan that was written off, what was owed then.
    outstanding: ComponentsView,
    /// What was written off of what was in the books.
    #[serde(skip_serializing_if = "Option::is_none")]
    written_off: Option<ComponentsView>,
    /// The earliest due date with something unpaid; active loans only.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_due_on: Option<NaiveDate>,
    /// What is unpaid of that instalment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "3373.00")]
    next_due: Option<String>,
    /// The version of its schedule; 0 before it is paid out.
    schedule_version: i32,
    /// When the application was recorded (RFC 3339, UTC).
    recorded_at: String,
    /// When its last event was recorded (RFC 3339, UTC).
    updated_at: String,
    /// Number of its events.
    version: i64,
    /// Position of its first event; lists are in this order.
    position: i64,
    /// Whether events of it could not be applied, so that this may be behind.
    parked: bool,
}

/// Which loans.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LoanFilter {
    /// By number.
    #[param(value_type = Option<String>, example = "L-4959")]
    number: Option<Number>,
    /// `applied`, `approved`, `rejected`, `disbursing`, `active`, `repaid`, `written_off` or `closed`.
    #[param(value_type = Option<String>, example = "active")]
    status: Option<&'static str>,
    /// Loans of this member.
    #[param(example = "00aa2035-3c00-7e0a-85e3-7403a8f322b9")]
    member_id: Option<Uuid>,
    /// Loans of this product.
    #[param(example = "00aa2035-3c00-7e0a-85e3-7403a8f322b9")]
    product_id: Option<Uuid>,
    /// Loans that are collected from this account.
    #[param(example = "00aa2035-3c00-7e0a-85e3-7403a8f322b9")]
    settlement_account_id: Option<Uuid>,
}

/// Loans.
///
/// In the order in which they were applied for.
#[utoipa::path(
    get, path = "/v1/loans", tag = "loans", params(LoanFilter, Page, Freshness),
    responses((status = 200, description = "A page of loans", body = List<LoanView>))
)]
pub(crate) async fn list_loans(State(api): State<Api>, mut parameters: Parameters) -> Result<Answer<List<LoanView>>> {
    let asked = (parameters.freshness(), parameters.page());
    let filter = LoanFilter {
        number: parameters.word("number"),
        status: parameters.choice("status", &LoanStatus::ALL.map(LoanStatus::name)),
        member_id: parameters.id("member_id"),
        product_id: parameters.id("product_id"),
        settlement_account_id: parameters.id("settlement_account_id"),
    };
    parameters.finish()?;
    let mut answer = listing::answer::<Row>(&api, LIST, asked, |_| filter.statement()).await?;
    for loan in &mut answer.body.items {
        loan.terms = None;
    }
    Ok(answer)
}

/// A loan.
#[utoipa::path(
    get, path = "/v1/loans/{id}", tag = "loans",
    params(("id" = Uuid, Path, description = "The loan"), Freshness),
    responses((status = 200, description = "The loan", body = LoanView))
)]
pub(crate) async fn get_loan(
    State(api): State<Api>,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<LoanView>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let read = || api.by_key.read(&BY_KEY, |statement| statement.bind(id));
    let (position, rows) = api.gate.at_least(freshness, read, |(position, _)| *position).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    if row.try_get::<Option<Uuid>, _>("loan_id")?.is_none() {
        return Err(not_found(position).parked(row.try_get("parked")?));
    }
    let loan = Row::from_row(row)?.view()?;
    Ok(Answer { version: Some(loan.version), parked: loan.parked, ..Answer::new(position, loan) })
}

/// What is needed of a loan to read what belongs to it.
#[derive(Debug)]
pub(crate) struct LoanHead {
    /// The id.
    pub(crate) id: Uuid,
    /// Its currency.
    pub(crate) currency: Currency,
    /// The version of its schedule.
    pub(crate) schedule_version: i32,
    /// Number of its events.
    pub(crate) version: i64,
    /// Whether its events are parked.
    pub(crate) parked: bool,
}

/// The loan, or 404 `loan_not_found`.
pub(crate) async fn loan_head(snapshot: &mut Snapshot, id: Uuid) -> Result<LoanHead> {
    let sql = "SELECT currency, schedule_version, version FROM loans WHERE loan_id = $1";
    let row: Option<(String, i32, i64)> = sqlx::query_as(sql).bind(id).fetch_optional(snapshot.connection()).await?;
    let parked = is_parked(snapshot.connection(), &format!("loan/{id}")).await?;
    let Some((code, schedule_version, version)) = row else { return Err(not_found(snapshot.position).parked(parked)) };
    Ok(LoanHead { id, currency: currency(&code)?, schedule_version, version, parked })
}

fn not_found(position: u64) -> Failure {
    Failure::not_found("loan_not_found", "loan with this id", position)
}

#[derive(sqlx::FromRow)]
struct Row {
    loan_id: Uuid,
    number: String,
    member_id: Uuid,
    product_id: Uuid,
    product_version: i32,
    status: String,
    status_reason: Option<String>,
    currency: String,
    principal_minor: i64,
    rate: String,
    instalments: i32,
    terms: Json<Value>,
    settlement_account_id: Option<Uuid>,
    purpose: Option<String>,
    branch: Option<String>,
    portfolio_account_id: Uuid,
    interest_receivable_account_id: Uuid,
    charges_receivable_account_id: Uuid,
    applied_on: NaiveDate,
    approved_on: Option<NaiveDate>,
    rejected_on: Option<NaiveDate>,
    disbursed_on: Option<NaiveDate>,
    repaid_on: Option<NaiveDate>,
    written_off_on: Option<NaiveDate>,
    closed_on: Option<NaiveDate>,
    disbursement_attempts: i32,
    disbursement_transaction_id: Option<Uuid>,
    disbursed_to_account_id: Option<Uuid>,
    bank_reference: Option<String>,
    schedule_version: i32,
    principal_outstanding_minor: i64,
    interest_outstanding_minor: i64,
    fee_outstanding_minor: i64,
    penalty_outstanding_minor: i64,
    written_off: Option<Vec<i64>>,
    next_due_on: Option<NaiveDate>,
    next_due_minor: Option<i64>,
    recorded_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
    position: i64,
    parked: bool,
}

impl Listed for Row {
    type View = LoanView;
    const POSITION: &'static str = "l.position";

    fn position(&self) -> i64 {
        self.position
    }

    fn is_parked(&self) -> bool {
        self.parked
    }

    fn view(self) -> Result<LoanView> {
        let currency = currency(&self.currency)?;
        let outstanding = Components::from([
            self.principal_outstanding_minor,
            self.interest_outstanding_minor,
            self.fee_outstanding_minor,
            self.penalty_outstanding_minor,
        ]);
        let written_off = self.written_off.and_then(|minor| <[i64; 4]>::try_from(minor).ok());
        Ok(LoanView {
            principal: money::decimal(self.principal_minor.into(), currency),
            outstanding: outstanding.view(currency),
            written_off: written_off.map(|minor| Components::from(minor).view(currency)),
            next_due: self.next_due_minor.map(|minor| money::decimal(minor.into(), currency)),
            id: self.loan_id,
            number: self.number,
            member_id: self.member_id,
            product_id: self.product_id,
            product_version: self.product_version,
            status: self.status,
            status_reason: self.status_reason,
            currency: self.currency,
            annual_rate: self.rate,
            instalments: self.instalments,
            terms: Some(terms_view(self.terms.0, currency)),
            settlement_account_id: self.settlement_account_id,
            purpose: self.purpose,
            branch: self.branch,
            portfolio_account_id: self.portfolio_account_id,
            interest_receivable_account_id: self.interest_receivable_account_id,
            charges_receivable_account_id: self.charges_receivable_account_id,
            applied_on: self.applied_on,
            approved_on: self.approved_on,
            rejected_on: self.rejected_on,
            disbursed_on: self.disbursed_on,
            repaid_on: self.repaid_on,
            written_off_on: self.written_off_on,
            closed_on: self.closed_on,
            disbursement_attempts: self.disbursement_attempts,
            disbursement_transaction_id: self.disbursement_transaction_id,
            disbursed_to_account_id: self.disbursed_to_account_id,
            bank_reference: self.bank_reference,
            next_due_on: self.next_due_on,
            schedule_version: self.schedule_version,
            recorded_at: rfc3339(self.recorded_at),
            updated_at: rfc3339(self.updated_at),
            version: self.version,
            position: self.position,
            parked: self.parked,
        })
    }
}

/// What is read of a loan, where `l` is it and `n` the instalment that is due next.
const COLUMNS: &str = "l.*, trim_scale(l.annual_rate)::text AS rate, n.due_on AS next_due_on, n.minor AS next_due_minor, \
     (SELECT ARRAY[w.principal_minor, w.interest_minor, w.fee_minor, w.penalty_minor] \
      FROM loan_write_offs w WHERE w.loan_id = l.loan_id) AS written_off";

/// The instalment of the loan `l` that is due next.
const NEXT_DUE: &str = "(SELECT i.due_on, i.principal_due_minor + i.interest_due_minor + i.fee_due_minor + i.penalty_due_minor \
         - i.principal_paid_minor - i.interest_paid_minor - i.fee_paid_minor - i.penalty_paid_minor AS minor \
     FROM loan_instalments i WHERE i.loan_id = l.loan_id AND l.status = 'active' \
       AND i.principal_due_minor + i.interest_due_minor + i.fee_due_minor + i.penalty_due_minor \
         > i.principal_paid_minor + i.interest_paid_minor + i.fee_paid_minor + i.penalty_paid_minor \
     ORDER BY i.instalment LIMIT 1)";

/// One loan by its id, parameter 2. Without it there are the position and whether its events are parked.
static BY_KEY: LazyLock<String> = LazyLock::new(|| {
    let parked = parked("asked.loan_id");
    format!(
        "SELECT {POSITION} AS applied, {parked}, {COLUMNS} FROM (SELECT $2::uuid AS loan_id) asked \
         LEFT JOIN loans l ON l.loan_id = asked.loan_id LEFT JOIN LATERAL {NEXT_DUE} n ON true"
    )
});

fn parked(id: &str) -> String {
    format!("EXISTS (SELECT 1 FROM parked_events WHERE projection = 'core' AND stream = 'loan/' || {id}) AS parked")
}

fn select() -> QueryBuilder<'static, Postgres> {
    let parked = parked("l.loan_id");
    QueryBuilder::new(format!(
        "SELECT {parked}, {COLUMNS} FROM loans l LEFT JOIN LATERAL {NEXT_DUE} n ON true WHERE true"
    ))
}

impl LoanFilter {
    fn statement(&self) -> QueryBuilder<'static, Postgres> {
        let mut sql = select();
        if let Some(number) = &self.number {
            sql.push(" AND l.number = ").push_bind(number.as_str().to_owned());
        }
        if let Some(status) = self.status {
            sql.push(" AND l.status = ").push_bind(status);
        }
        let ids = [
            ("member_id", self.member_id),
            ("product_id", self.product_id),
            ("settlement_account_id", self.settlement_account_id),
        ];
        for (column, wanted) in ids {
            if let Some(wanted) = wanted {
                sql.push(" AND l.").push(column).push(" = ").push_bind(wanted);
            }
        }
        sql
    }
}
