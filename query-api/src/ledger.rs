//! The ledger's frame: the chart of accounts, currencies, periods.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::QueryBuilder;
use utoipa::{IntoParams, ToSchema};

use crate::api::Api;
use crate::cursor;
use crate::freshness::Snapshot;
use crate::listing::{self, Listed};
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::is_parked;
use crate::reply::{Answer, List, Result, serialize_optional_time, serialize_time};

const CLASSES: [&str; 5] = ["asset", "liability", "equity", "income", "expense"];
const PERIOD_STATUSES: [&str; 2] = ["open", "closed"];
/// The stream of everything here.
const STREAM: &str = "ledger/main";

/// A code of the chart of accounts.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct LedgerCodeView {
    /// The code.
    #[schema(example = "2100")]
    code: String,
    /// What people call it.
    #[schema(example = "Members' current accounts")]
    name: String,
    /// `asset`, `liability`, `equity`, `income` or `expense`.
    #[schema(example = "liability")]
    class: String,
    /// The side on which its accounts grow: `debit` or `credit`.
    #[schema(example = "credit")]
    normal_side: String,
    /// Whether members' accounts hang on it, and only those.
    control: bool,
    /// When it was defined (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_time")]
    defined_at: DateTime<Utc>,
    /// Position of its event; the list is in this order.
    position: i64,
}

/// A currency that accounts may be kept in.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct CurrencyView {
    /// The code of ISO 4217.
    #[schema(example = "CZK")]
    code: String,
    /// How many decimals an amount has.
    #[schema(example = 2)]
    minor_units: i16,
    /// When it was defined (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_time")]
    defined_at: DateTime<Utc>,
    /// Position of its event; the list is in this order.
    position: i64,
}

/// An accounting period.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct PeriodView {
    /// The id.
    #[schema(example = "2026-01")]
    id: String,
    /// First day.
    from: NaiveDate,
    /// Last day.
    to: NaiveDate,
    /// `open` or `closed`; a closed one takes nothing more.
    #[schema(example = "open")]
    status: String,
    /// When it was opened (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_time")]
    opened_at: DateTime<Utc>,
    /// When it was closed (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_optional_time", skip_serializing_if = "Option::is_none")]
    closed_at: Option<DateTime<Utc>>,
    /// Position of its first event; the list is in this order.
    position: i64,
}

/// Which codes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LedgerCodeFilter {
    /// `asset`, `liability`, `equity`, `income` or `expense`.
    #[param(value_type = Option<String>, example = "liability")]
    class: Option<&'static str>,
    /// Codes that members' accounts hang on (`true`), or the others (`false`).
    control: Option<bool>,
}

/// Which periods.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PeriodFilter {
    /// `open` or `closed`.
    #[param(value_type = Option<String>, example = "open")]
    status: Option<&'static str>,
    /// The period in which this day is.
    #[param(example = "2026-01-31")]
    on: Option<NaiveDate>,
}

/// The chart of accounts.
#[utoipa::path(
    get, path = "/v1/ledger/codes", tag = "ledger", params(LedgerCodeFilter, Page, Freshness),
    responses((status = 200, description = "A page of codes", body = List<LedgerCodeView>))
)]
pub(crate) async fn list_ledger_codes(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<List<LedgerCodeView>>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    let filter =
        LedgerCodeFilter { class: parameters.choice("class", &CLASSES), control: parameters.boolean("control") };
    parameters.finish()?;
    let after = cursor::read("ledger/codes", page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let mut sql = QueryBuilder::new(
        "SELECT ledger_code AS code, name, class, normal_side, control, defined_at, position FROM ledger_codes WHERE true",
    );
    if let Some(class) = filter.class {
        sql.push(" AND class = ").push_bind(class);
    }
    if let Some(control) = filter.control {
        sql.push(" AND control = ").push_bind(control);
    }
    answer::<LedgerCodeView>(&mut snapshot, "ledger/codes", (after, page.limit), sql).await
}

/// The currencies that accounts may be kept in.
#[utoipa::path(
    get, path = "/v1/ledger/currencies", tag = "ledger", params(Page, Freshness),
    responses((status = 200, description = "A page of currencies", body = List<CurrencyView>))
)]
pub(crate) async fn list_currencies(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<List<CurrencyView>>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    parameters.finish()?;
    let after = cursor::read("ledger/currencies", page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let sql =
        QueryBuilder::new("SELECT currency AS code, minor_units, defined_at, position FROM currencies WHERE true");
    answer::<CurrencyView>(&mut snapshot, "ledger/currencies", (after, page.limit), sql).await
}

/// Accounting periods.
#[utoipa::path(
    get, path = "/v1/ledger/periods", tag = "ledger", params(PeriodFilter, Page, Freshness),
    responses((status = 200, description = "A page of periods", body = List<PeriodView>))
)]
pub(crate) async fn list_periods(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<List<PeriodView>>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    let filter = PeriodFilter { status: parameters.choice("status", &PERIOD_STATUSES), on: parameters.date("on") };
    parameters.finish()?;
    let after = cursor::read("ledger/periods", page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let mut sql = QueryBuilder::new(
        "SELECT period_id AS id, from_date AS \"from\", to_date AS \"to\", status, opened_at, closed_at, position \
         FROM periods WHERE true",
    );
    if let Some(status) = filter.status {
        sql.push(" AND status = ").push_bind(status);
    }
    if let Some(on) = filter.on {
        sql.push(" AND from_date <= ").push_bind(on).push(" AND to_date >= ").push_bind(on);
    }
    answer::<PeriodView>(&mut snapshot, "ledger/periods", (after, page.limit), sql).await
}

/// The three are shown as their rows are. Everything here is of one stream, whose state is told for the
/// whole list.
macro_rules! listed {
    ($($view:ty),+) => {
        $(impl Listed for $view {
            type View = Self;
            const POSITION: &'static str = "position";

            fn position(&self) -> i64 {
                self.position
            }

            fn is_parked(&self) -> bool {
                false
            }

            fn view(self) -> Result<Self> {
                Ok(self)
            }
        })+
    };
}

listed!(LedgerCodeView, CurrencyView, PeriodView);

async fn answer<T: Listed>(
    snapshot: &mut Snapshot,
    list: &str,
    page: (Option<i64>, u32),
    sql: QueryBuilder<'static, sqlx::Postgres>,
) -> Result<Answer<List<T::View>>> {
    let answer = listing::select_page::<T>(snapshot, list, page, sql).await?;
    Ok(Answer { parked: is_parked(snapshot.connection(), STREAM).await?, ..answer })
}
