//! Loan products: by id with every version of their terms, and as a list.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::Currency;
use domain::words::Number;
use platform::Principal;
use platform::extract::StrictPath;
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{currency, terms_view};
use crate::api::Api;
use crate::freshness::Snapshot;
use crate::listing::{self, Listed};
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::is_parked;
use crate::reply::{Answer, Failure, List, Result, rfc3339};

const STATUSES: [&str; 2] = ["offered", "retired"];
const LIST: &str = "loan-products";

/// The internal accounts that a product's loans post to.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct LoanProductAccountsView {
    /// Principal owed to us.
    portfolio_account_id: Uuid,
    /// Interest earned and not yet paid.
    interest_receivable_account_id: Uuid,
    /// Fees and penalties charged and not yet paid.
    charges_receivable_account_id: Uuid,
    /// Interest earned.
    interest_income_account_id: Uuid,
    /// Fees earned.
    fee_income_account_id: Uuid,
    /// Penalties earned.
    penalty_income_account_id: Uuid,
    /// Losses on loans that were written off.
    write_off_account_id: Uuid,
}

/// A version of a product's terms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoanProductVersionView {
    /// The version, from 1.
    version: i32,
    /// The terms, in the form in which they are asked for.
    #[schema(value_type = Object)]
    terms: Value,
    /// When it was recorded (RFC 3339, UTC).
    recorded_at: String,
}

/// A loan product.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoanProductView {
    /// The id.
    id: Uuid,
    /// The code by which people know it.
    #[schema(example = "PERSONAL")]
    code: String,
    /// Its name.
    #[schema(example = "Personal loan")]
    name: String,
    /// The currency of its loans.
    #[schema(example = "CZK")]
    currency: String,
    /// `offered` or `retired`.
    #[schema(example = "offered")]
    status: String,
    /// Why it is no longer offered, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// The version of its terms that new applications are on.
    terms_version: i32,
    /// The terms of that version, in the form in which they are asked for.
    #[schema(value_type = Object)]
    terms: Value,
    /// Where its loans post; not for tokens that are limited to accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<LoanProductAccountsView>,
    /// Every version of its terms; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<LoanProductVersionView>>,
    /// When it was defined (RFC 3339, UTC).
    defined_at: String,
    /// When its last event was recorded (RFC 3339, UTC).
    updated_at: String,
    /// Number of its events.
    version: i64,
    /// Position of its first event; lists are in this order.
    position: i64,
    /// Whether events of it could not be applied, so that this may be behind.
    parked: bool,
}

/// Which products.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LoanProductFilter {
    /// By code.
    #[param(value_type = Option<String>, example = "PERSONAL")]
    code: Option<Number>,
    /// `offered` or `retired`.
    #[param(value_type = Option<String>, example = "offered")]
    status: Option<&'static str>,
    /// By currency.
    #[param(value_type = Option<String>, example = "CZK")]
    currency: Option<Currency>,
}

/// Loan products.
///
/// In the order in which they were defined.
#[utoipa::path(
    get, path = "/v1/loan-products", tag = "loans", params(LoanProductFilter, Page, Freshness),
    responses((status = 200, description = "A page of loan products", body = List<LoanProductView>))
)]
pub(crate) async fn list_loan_products(
    State(api): State<Api>,
    caller: Principal,
    mut parameters: Parameters,
) -> Result<Answer<List<LoanProductView>>> {
    let asked = (parameters.freshness(), parameters.page());
    let filter = LoanProductFilter {
        code: parameters.word("code"),
        status: parameters.choice("status", &STATUSES),
        currency: parameters.parsed("currency"),
    };
    parameters.finish()?;
    let mut answer = listing::answer::<Row>(&api, LIST, asked, |_| filter.statement()).await?;
    for product in &mut answer.body.items {
        product.hide_from(&caller);
    }
    Ok(answer)
}

/// A loan product, with every version of its terms.
#[utoipa::path(
    get, path = "/v1/loan-products/{id}", tag = "loans",
    params(("id" = Uuid, Path, description = "The loan product"), Freshness),
    responses((status = 200, description = "The loan product", body = LoanProductView))
)]
pub(crate) async fn get_loan_product(
    State(api): State<Api>,
    caller: Principal,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<LoanProductView>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let mut sql = select();
    sql.push(" AND p.product_id = ").push_bind(id);
    let row: Option<Row> = sql.build_query_as().fetch_optional(snapshot.connection()).await?;
    let Some(row) = row else {
        let parked = is_parked(snapshot.connection(), &format!("loan_product/{id}")).await?;
        let missing = Failure::not_found("loan_product_not_found", "loan product with this id", snapshot.position);
        return Err(missing.parked(parked));
    };
    let mut product = row.view()?;
    let currency = currency(&product.currency)?;
    product.versions = Some(select_versions(&mut snapshot, id, currency).await?);
    product.hide_from(&caller);
    Ok(Answer { version: Some(product.version), parked: product.parked, ..Answer::new(snapshot.position, product) })
}

impl LoanProductView {
    fn hide_from(&mut self, caller: &Principal) {
        self.accounts.take_if(|_| caller.accounts().is_some());
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    product_id: Uuid,
    code: String,
    name: String,
    currency: String,
    status: String,
    status_reason: Option<String>,
    terms_version: i32,
    terms: Json<Value>,
    #[sqlx(flatten)]
    accounts: LoanProductAccountsView,
    defined_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
    position: i64,
    parked: bool,
}

impl Listed for Row {
    type View = LoanProductView;
    const POSITION: &'static str = "p.position";

    fn position(&self) -> i64 {
        self.position
    }

    fn is_parked(&self) -> bool {
        self.parked
    }

    fn view(self) -> Result<LoanProductView> {
        Ok(LoanProductView {
            id: self.product_id,
            code: self.code,
            name: self.name,
            status: self.status,
            status_reason: self.status_reason,
            terms_version: self.terms_version,
            terms: terms_view(self.terms.0, currency(&self.currency)?),
            currency: self.currency,
            accounts: Some(self.accounts),
            versions: None,
            defined_at: rfc3339(self.defined_at),
            updated_at: rfc3339(self.updated_at),
            version: self.version,
            position: self.position,
            parked: self.parked,
        })
    }
}

fn select() -> QueryBuilder<'static, Postgres> {
    QueryBuilder::new(
        "SELECT p.*, v.terms, EXISTS (SELECT 1 FROM parked_events e WHERE e.projection = 'core' \
         AND e.stream = 'loan_product/' || p.product_id) AS parked \
         FROM loan_products p JOIN loan_product_versions v USING (product_id, terms_version) WHERE true",
    )
}

impl LoanProductFilter {
    fn statement(&self) -> QueryBuilder<'static, Postgres> {
        let mut sql = select();
        if let Some(code) = &self.code {
            sql.push(" AND p.code = ").push_bind(code.as_str().to_owned());
        }
        if let Some(status) = self.status {
            sql.push(" AND p.status = ").push_bind(status);
        }
        if let Some(currency) = self.currency {
            sql.push(" AND p.currency = ").push_bind(currency.code().to_owned());
        }
        sql
    }
}

async fn select_versions(snapshot: &mut Snapshot, id: Uuid, currency: Currency) -> Result<Vec<LoanProductVersionView>> {
    let sql = "SELECT terms_version, terms, recorded_at FROM loan_product_versions WHERE product_id = $1 ORDER BY 1";
    let rows: Vec<(i32, Json<Value>, DateTime<Utc>)> =
        sqlx::query_as(sql).bind(id).fetch_all(snapshot.connection()).await?;
    let view = |(version, Json(terms), recorded_at)| LoanProductVersionView {
        version,
        terms: terms_view(terms, currency),
        recorded_at: rfc3339(recorded_at),
    };
    Ok(rows.into_iter().map(view).collect())
}
