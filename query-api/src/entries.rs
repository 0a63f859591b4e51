//! What was booked on an account: the list of its entries, and a statement over days.
//!
//! A guarded account's entries are those of its own stream, with the balance that they recorded. An
//! unguarded account has none: its lines are the legs of transactions up to the applied position,
//! where nothing can come in between any more, so that their running balance is exact.

use std::sync::LazyLock;

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use domain::money;
use platform::Principal;
use platform::extract::StrictPath;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Postgres, QueryBuilder, Row as _};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{AccountHead, account_head};
use crate::amount::{Amount, Minor, currency, on_normal_side};
use crate::api::Api;
use crate::balances::{AsOf, select_balance, select_balance_before};
use crate::cursor;
use crate::freshness::{POSITION, Snapshot};
use crate::parameters::{Freshness, Page, Parameters};
use crate::reply::{Answer, List, Result, rfc3339};

/// Orders of lists that can be read from either end; the first is the default.
pub(crate) const ORDERS: [&str; 2] = ["newest", "oldest"];

/// No sum of amounts is larger: 10^18 amounts of the largest size.
const SUM_MINOR_MAX: u128 = 10_u128.pow(34);

/// A booking on an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryView {
    /// The transaction.
    transaction_id: Uuid,
    /// Which posting of it, from 1.
    posting: i64,
    /// Which leg of it, from 1.
    leg: i32,
    /// The kind of the transaction.
    #[schema(example = "deposit")]
    kind: String,
    /// `debit` or `credit`.
    #[schema(example = "credit")]
    side: String,
    /// The amount.
    amount: Amount,
    /// The account's balance after this line, in the order of the reply's kind: entries in the
    /// order in which they were recorded, a statement's lines in the order of their booking dates.
    #[schema(example = "1234.56")]
    balance: String,
    /// How much of a hold it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_released: Option<Amount>,
    /// The business date it belongs to.
    booking_date: NaiveDate,
    /// From when interest counts.
    value_date: NaiveDate,
    /// When it was recorded (RFC 3339, UTC).
    recorded_at: String,
    /// The position of its event in the log.
    #[schema(example = 4711)]
    position: i64,
    /// Its place in the account's stream; members' accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
}

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryList {
    /// The account.
    account_id: Uuid,
    /// Its currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The side on which it grows.
    #[schema(example = "credit")]
    normal_side: String,
    /// The balance of everything with a booking date before `from`; zero without `from`.
    #[schema(example = "1000.00")]
    opening_balance: String,
    /// The entries.
    items: Vec<EntryView>,
    /// The `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Whether events could not be applied, so that this may be behind.
    parked: bool,
}

/// Which entries.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntryFilter {
    /// First booking date.
    #[param(example = "2026-01-01")]
    from: Option<NaiveDate>,
    /// Last booking date.
    #[param(example = "2026-01-31")]
    to: Option<NaiveDate>,
    /// `newest` first, which is the default, or `oldest` first, in the order of recording.
    #[param(example = "oldest", required = false)]
    order: &'static str,
}

impl EntryFilter {
    fn read(parameters: &mut Parameters) -> Self {
        let (from, to) = read_range(parameters);
        Self { from, to, order: parameters.choice("order", &ORDERS).unwrap_or(ORDERS[0]) }
    }

    fn push(&self, sql: &mut QueryBuilder<'static, Postgres>) {
        push_range(sql, self.from, self.to);
    }

    fn is_newest_first(&self) -> bool {
        self.order == ORDERS[0]
    }

    /// Whether no entries are left out.
    fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// Adds the range of booking dates to a statement whose WHERE has begun.
pub(crate) fn push_range(sql: &mut QueryBuilder<'static, Postgres>, from: Option<NaiveDate>, to: Option<NaiveDate>) {
    if let Some(from) = from {
        sql.push(" AND booking_date >= ").push_bind(from);
    }
    if let Some(to) = to {
        sql.push(" AND booking_date <= ").push_bind(to);
    }
}

/// The parameters `from` and `to`, in this order or refused.
pub(crate) fn read_range(parameters: &mut Parameters) -> (Option<NaiveDate>, Option<NaiveDate>) {
    let (from, to) = (parameters.date("from"), parameters.date("to"));
    if let (Some(first), Some(last)) = (from, to)
        && first > last
    {
        parameters.refuse("to", format!("it must not be before `from`, {first}"));
    }
    (from, to)
}

/// What was booked on an account.
///
/// In the order of recording; each with the balance after it.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/entries", tag = "accounts",
    params(("id" = Uuid, Path, description = "The account"), EntryFilter, Page, Freshness),
    responses((status = 200, description = "A page of entries", body = EntryList))
)]
pub(crate) async fn list_entries(
    State(api): State<Api>,
    caller: Principal,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<EntryList>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    let filter = EntryFilter::read(&mut parameters);
    parameters.finish()?;
    // A cursor is of one account and order: the running balance that it carries is too.
    let list = format!("entries/{id}/{}", filter.order);
    let after: Option<After> = cursor::read(&list, page.cursor.as_deref())?;
    if after.as_ref().is_some_and(|after| after.balance_minor.unsigned_abs() > SUM_MINOR_MAX) {
        return Err(cursor::invalid().into());
    }
    // Who may not see the account is told as of a position too: by the way that all others take.
    if filter.is_whole() && caller.has_account(id) {
        let read = || read_page(&api, id, &filter, after.as_ref(), page.limit);
        let (position, found) = api.gate.at_least(freshness, read, |(position, _)| *position).await?;
        if let Some((account, rows)) = found {
            let rows = List::of(rows, page.limit, &list, |row| After::of(row, &account, &filter))?;
            return Ok(page_answer(position, account, 0, rows));
        }
    }
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let account = account_head(&mut snapshot, &caller, id).await?;
    let rows = if account.guarded {
        select_entries(&mut snapshot, &account, &filter, after, page.limit).await?
    } else {
        select_legs(&mut snapshot, &account, &filter, after, page.limit).await?
    };
    let rows = List::of(rows, page.limit, &list, |row| After::of(row, &account, &filter))?;
    let opening_minor = match filter.from {
        Some(from) => select_balance_before(&mut snapshot, &account, from).await?,
        None => 0,
    };
    Ok(page_answer(snapshot.position, account, opening_minor, rows))
}

fn page_answer(position: u64, account: AccountHead, opening_minor: i128, rows: List<Row>) -> Answer<EntryList> {
    let body = EntryList {
        account_id: account.id,
        currency: account.currency.code().to_owned(),
        opening_balance: money::decimal(opening_minor, account.currency),
        items: rows.items.into_iter().map(|row| row.view(&account)).collect(),
        next_cursor: rows.next_cursor,
        parked: account.parked,
        normal_side: account.normal_side,
    };
    Answer { parked: body.parked, ..Answer::new(position, body) }
}

/// Where a page of entries ended.
#[derive(Debug, Serialize, Deserialize)]
struct After {
    /// Place in the order of recording: position and leg; an entry of a guarded account has its
    /// sequence and 0.
    place: (i64, i32),
    /// Of an unguarded account: the balance at this place, from which the next page runs on.
    balance_minor: i128,
}

impl After {
    fn of(row: &Row, account: &AccountHead, filter: &EntryFilter) -> Self {
        let before_minor = if filter.is_newest_first() { row.change_minor(account) } else { 0 };
        let balance_minor = row.balance_minor.0.saturating_sub(before_minor);
        match row.sequence {
            Some(sequence) => Self { place: (sequence, 0), balance_minor },
            None => Self { place: (row.position, row.leg), balance_minor },
        }
    }
}

/// A line as a row.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Row {
    transaction_id: Uuid,
    posting: i64,
    leg: i32,
    kind: String,
    pub(crate) side: String,
    pub(crate) amount_minor: i64,
    booking_date: NaiveDate,
    value_date: NaiveDate,
    recorded_at: DateTime<Utc>,
    position: i64,
    sequence: Option<i64>,
    #[sqlx(try_from = "String")]
    pub(crate) balance_minor: Minor,
    hold_released_minor: i64,
}

impl Row {
    /// The change of the balance that it makes.
    pub(crate) fn change_minor(&self, account: &AccountHead) -> i128 {
        let amount_minor = self.amount_minor.into();
        let (debit, credit) = if self.side == "debit" { (amount_minor, 0) } else { (0, amount_minor) };
        on_normal_side(&account.normal_side, debit, credit)
    }

    /// The line as replies show it.
    pub(crate) fn view(self, account: &AccountHead) -> EntryView {
        let currency = account.currency;
        let released = Some(self.hold_released_minor).filter(|released_minor| *released_minor != 0);
        EntryView {
            amount: Amount::new(self.amount_minor, currency),
            balance: money::decimal(self.balance_minor.0, currency),
            hold_released: released.map(|released_minor| Amount::new(released_minor, currency)),
            transaction_id: self.transaction_id,
            posting: self.posting,
            leg: self.leg,
            kind: self.kind,
            side: self.side,
            booking_date: self.booking_date,
            value_date: self.value_date,
            recorded_at: rfc3339(self.recorded_at),
            position: self.position,
            sequence: self.sequence,
        }
    }
}

/// What is read of an entry.
const COLUMNS: &str = "transaction_id, posting, leg, kind, side, amount_minor, booking_date, value_date, recorded_at, \
                       position, sequence, balance_minor::text AS balance_minor, hold_released_minor";

/// Pages of a guarded account's entries, newest and oldest first: account, cursor and limit are the parameters 2, 3, 4.
static PAGES: LazyLock<[String; 2]> = LazyLock::new(|| {
    [("<", "DESC"), (">", "ASC")].map(|(beyond, order)| {
        format!(
            "SELECT {POSITION} AS applied, EXISTS (SELECT 1 FROM parked_events p \
             WHERE p.projection = $1 AND p.stream = 'account/' || asked.account_id) AS parked, \
             a.currency, a.normal_side, b.version, e.* FROM (SELECT $2::uuid AS account_id) asked \
             LEFT JOIN (accounts a JOIN account_balances b USING (account_id)) \
             ON a.account_id = asked.account_id AND a.guarded \
             LEFT JOIN LATERAL (SELECT {COLUMNS} FROM entries WHERE account_id = asked.account_id \
             AND sequence {beyond} $3 ORDER BY sequence {order} LIMIT $4) e ON true"
        )
    })
});

/// An account and the page of its entries, both as of a position; none of an account that is not guarded.
async fn read_page(
    api: &Api,
    id: Uuid,
    filter: &EntryFilter,
    after: Option<&After>,
    limit: u32,
) -> Result<(u64, Option<(AccountHead, Vec<Row>)>)> {
    let (sql, from) = if filter.is_newest_first() { (&PAGES[0], i64::MAX) } else { (&PAGES[1], i64::MIN) };
    let from = after.map_or(from, |after| after.place.0);
    let read = api.by_key.read(sql, |statement| statement.bind(id).bind(from).bind(i64::from(limit) + 1));
    let (position, rows) = read.await?;
    let head = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let Some(code) = head.try_get::<Option<&str>, _>("currency")? else { return Ok((position, None)) };
    let account = AccountHead {
        id,
        currency: currency(code)?,
        normal_side: head.try_get("normal_side")?,
        guarded: true,
        version: head.try_get("version")?,
        parked: head.try_get("parked")?,
    };
    if head.try_get::<Option<i64>, _>("sequence")?.is_none() {
        return Ok((position, Some((account, Vec::new()))));
    }
    let mut entries = rows.iter().map(Row::from_row).collect::<std::result::Result<Vec<_>, _>>()?;
    // They come as the index has them, which a join does not promise.
    entries.sort_by_key(|entry| entry.sequence);
    if filter.is_newest_first() {
        entries.reverse();
    }
    Ok((position, Some((account, entries))))
}

/// Of a guarded account: its entries, in the order of their sequence.
async fn select_entries(
    snapshot: &mut Snapshot,
    account: &AccountHead,
    filter: &EntryFilter,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Row>> {
    let mut sql = QueryBuilder::new(format!("SELECT {COLUMNS} FROM entries WHERE account_id = "));
    sql.push_bind(account.id);
    filter.push(&mut sql);
    let (beyond, order) = if filter.is_newest_first() { ("<", "DESC") } else { (">", "ASC") };
    if let Some(after) = after {
        sql.push(format!(" AND sequence {beyond} ")).push_bind(after.place.0);
    }
    sql.push(format!(" ORDER BY sequence {order} LIMIT ")).push_bind(i64::from(limit) + 1);
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}

/// Of an unguarded account: the legs on it, each with the balance that runs over all of them, also
/// over those that the filter leaves out.
async fn select_legs(
    snapshot: &mut Snapshot,
    account: &AccountHead,
    filter: &EntryFilter,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Row>> {
    let newest_first = filter.is_newest_first();
    let start_minor = match &after {
        Some(after) => after.balance_minor,
        None if newest_first => select_balance(snapshot, account, AsOf::default()).await?,
        None => 0,
    };
    let (beyond, order) = if newest_first { ("<", "DESC") } else { (">", "ASC") };
    // From the inside out: the running balance along the index of legs, the filter and the page of
    // it, and only then the kinds of their transactions.
    let mut sql = QueryBuilder::new(
        "SELECT p.*, t.kind, NULL::bigint AS sequence, 0::bigint AS hold_released_minor FROM (SELECT * FROM (\
         SELECT transaction_id, posting, leg, side, amount_minor, booking_date, value_date, recorded_at, position, (",
    );
    sql.push_bind(start_minor.to_string()).push("::numeric");
    // Newest first the balance after a line is the start less all newer lines.
    sql.push(if newest_first { " - COALESCE(sum(" } else { " + COALESCE(sum(" });
    sql.push("CASE WHEN side = ").push_bind(account.normal_side.clone());
    sql.push(format!(" THEN amount_minor ELSE -amount_minor END) OVER (ORDER BY position {order}, leg {order} "));
    sql.push(if newest_first {
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    } else {
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    });
    sql.push("), 0))::text AS balance_minor FROM (SELECT * FROM legs WHERE account_id = ").push_bind(account.id);
    sql.push(" AND position <= ").push_bind(snapshot.position_bound());
    if let Some(After { place: (position, leg), .. }) = after {
        sql.push(format!(" AND (position, leg) {beyond} (")).push_bind(position).push(", ").push_bind(leg).push(")");
    }
    let page = format!(" ORDER BY position {order}, leg {order} LIMIT ");
    if filter.is_whole() {
        // Nothing is left out, so the balance need not run over more than the page.
        sql.push(&page).push_bind(i64::from(limit) + 1);
    }
    sql.push(") legs) lines WHERE true");
    filter.push(&mut sql);
    sql.push(&page).push_bind(i64::from(limit) + 1);
    sql.push(format!(") p JOIN transactions t USING (transaction_id) ORDER BY p.position {order}, p.leg {order}"));
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}
