//! A statement of an account: what it had, what was booked from day to day, what it has.
//!
//! Invariant: opening balance plus lines is the closing balance, all from one snapshot.

use axum::extract::State;
use chrono::NaiveDate;
use domain::money;
use platform::extract::StrictPath;
use platform::{Principal, Problem};
use serde::Serialize;
use sqlx::QueryBuilder;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{AccountHead, account_head};
use crate::amount::Minor;
use crate::api::Api;
use crate::balances::select_balance_before;
use crate::entries::{EntryView, Row, push_range, read_range};
use crate::freshness::Snapshot;
use crate::parameters::{Freshness, Parameters};
use crate::reply::{Answer, Failure, Result};

/// Most lines of one statement.
const LINES_MAX: usize = 10_000;

/// A statement. Balances and totals are decimals in the account's currency; balances are on its
/// normal side.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Statement {
    /// The account.
    account_id: Uuid,
    /// Its currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The side on which it grows.
    #[schema(example = "credit")]
    normal_side: String,
    /// First booking date; absent: from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<NaiveDate>,
    /// Last booking date; absent: to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<NaiveDate>,
    /// The balance of everything with a booking date before `from`.
    #[schema(example = "1000.00")]
    opening_balance: String,
    /// What was booked, in the order of booking dates and of recording within a day; each with the
    /// balance after it in this order.
    lines: Vec<EntryView>,
    /// The sum of the debit lines.
    #[schema(example = "0.00")]
    total_debit: String,
    /// The sum of the credit lines.
    #[schema(example = "234.56")]
    total_credit: String,
    /// The opening balance and all lines.
    #[schema(example = "1234.56")]
    closing_balance: String,
    /// Whether events could not be applied, so that this may be behind.
    parked: bool,
}

/// Which days.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatementRange {
    /// First booking date.
    #[param(example = "2026-01-01")]
    from: Option<NaiveDate>,
    /// Last booking date.
    #[param(example = "2026-01-31")]
    to: Option<NaiveDate>,
}

/// The statement of an account over booking dates.
///
/// Of 10,000 lines at most; more are refused with `range_too_large`.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/statement", tag = "accounts",
    params(("id" = Uuid, Path, description = "The account"), StatementRange, Freshness),
    responses((status = 200, description = "The statement", body = Statement))
)]
pub(crate) async fn get_statement(
    State(api): State<Api>,
    caller: Principal,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<Statement>> {
    let freshness = parameters.freshness();
    let (from, to) = read_range(&mut parameters);
    parameters.finish()?;
    let range = StatementRange { from, to };
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let account = account_head(&mut snapshot, &caller, id).await?;
    let opening_minor = match from {
        Some(from) => select_balance_before(&mut snapshot, &account, from).await?,
        None => 0,
    };
    let rows = select_lines(&mut snapshot, &account, &range).await?;
    if rows.len() > LINES_MAX {
        let detail = format!("the statement has more than {LINES_MAX} lines; ask for fewer days, or for the entries");
        return Err(Failure::at(Problem::malformed("range_too_large", detail), snapshot.position));
    }
    let statement = state(&account, range, opening_minor, rows);
    Ok(Answer { parked: account.parked, ..Answer::new(snapshot.position, statement) })
}

/// Adds the lines up, one after the other.
fn state(account: &AccountHead, range: StatementRange, opening_minor: i128, rows: Vec<Row>) -> Statement {
    let (mut balance_minor, mut debit_minor, mut credit_minor) = (opening_minor, 0_i128, 0_i128);
    let mut lines = Vec::with_capacity(rows.len());
    for mut row in rows {
        balance_minor += row.change_minor(account);
        row.balance_minor = Minor(balance_minor);
        let total_minor = if row.side == "debit" { &mut debit_minor } else { &mut credit_minor };
        *total_minor += i128::from(row.amount_minor);
        lines.push(row.view(account));
    }
    let decimal = |minor| money::decimal(minor, account.currency);
    Statement {
        account_id: account.id,
        currency: account.currency.code().to_owned(),
        normal_side: account.normal_side.clone(),
        from: range.from,
        to: range.to,
        opening_balance: decimal(opening_minor),
        lines,
        total_debit: decimal(debit_minor),
        total_credit: decimal(credit_minor),
        closing_balance: decimal(balance_minor),
        parked: account.parked,
    }
}

async fn select_lines(snapshot: &mut Snapshot, account: &AccountHead, range: &StatementRange) -> Result<Vec<Row>> {
    let mut sql = if account.guarded {
        let mut sql = QueryBuilder::new(
            "SELECT transaction_id, posting, leg, kind, side, amount_minor, booking_date, value_date, recorded_at, \
             position, sequence, '0' AS balance_minor, hold_released_minor FROM entries WHERE account_id = ",
        );
        sql.push_bind(account.id);
        sql
    } else {
        let mut sql = QueryBuilder::new(
            "SELECT transaction_id, posting, leg, kind, side, amount_minor, booking_date, value_date, recorded_at, \
             position, NULL::bigint AS sequence, '0' AS balance_minor, 0::bigint AS hold_released_minor FROM (\
             SELECT l.*, t.kind FROM legs l JOIN transactions t USING (transaction_id)) legs WHERE account_id = ",
        );
        sql.push_bind(account.id).push(" AND position <= ").push_bind(snapshot.position_bound());
        sql
    };
    push_range(&mut sql, range.from, range.to);
    sql.push(" ORDER BY booking_date, position, leg LIMIT ").push_bind(LINES_MAX as i64 + 1);
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}
