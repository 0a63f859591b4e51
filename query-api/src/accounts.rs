//! Accounts: by id and as a list, with balance, holds, holders.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use domain::words::{LedgerCode, Number};
use domain::{Currency, money};
use platform::Principal;
use platform::extract::StrictPath;
use serde::Serialize;
use sqlx::{PgConnection, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{Amount, Minor, currency};
use crate::api::Api;
use crate::cursor;
use crate::freshness::{PROJECTION, Snapshot};
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::{are_legs_parked, is_parked};
use crate::reply::{Answer, Failure, List, Result, rfc3339};

const PRODUCTS: [&str; 4] = ["savings", "current", "fixed_deposit", "internal"];
const STATUSES: [&str; 3] = ["open", "closed", "retired"];
const NOT_FOUND: &str = "account_not_found";
const WHAT: &str = "account with this id";
const LIST: &str = "accounts";
/// Most holds that an account shows; its `held` counts all of them.
const HOLDS_MAX: i64 = 500;

/// A member who holds an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HolderView {
    /// The member.
    member_id: Uuid,
    /// `owner` or `disponent`.
    #[schema(example = "owner")]
    role: String,
}

/// What is left of a hold: a leg of a pending transaction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldView {
    /// The pending transaction.
    transaction_id: Uuid,
    /// Its leg.
    leg: i32,
    /// `debit` or `credit`.
    #[schema(example = "debit")]
    side: String,
    /// What is left of it.
    amount: Amount,
    /// From then on it no longer counts (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Whether it lowers what is available now: it is on the side that lowers the balance, and has
    /// not expired.
    counts: bool,
}

/// An account. Balances are decimals in its currency, on its normal side.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// The id.
    id: Uuid,
    /// The number by which people know it.
    #[schema(example = "1801")]
    number: String,
    /// What people call it; internal accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `savings`, `current`, `fixed_deposit` or `internal`.
    #[schema(example = "current")]
    product: String,
    /// The code of ISO 4217.
    #[schema(example = "CZK")]
    currency: String,
    /// The side on which it grows: `debit` or `credit`.
    #[schema(example = "credit")]
    normal_side: String,
    /// The code of the chart of accounts on which it hangs.
    #[schema(example = "2100")]
    ledger_code: String,
    /// Whether it is a member's, with a limit, holds and entries of its own.
    guarded: bool,
    /// `open`, `closed` or `retired`.
    #[schema(example = "open")]
    status: String,
    /// Which entries a freeze refuses: `debit`, `credit` or `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen: Option<&'static str>,
    /// Whether it takes no debits until it is reactivated.
    dormant: bool,
    /// The reason of the last change of its status, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// The branch that keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// The business date of opening.
    opened_on: NaiveDate,
    /// The business date of closing or retiring.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_on: Option<NaiveDate>,
    /// The balance of everything recorded, whatever its dates.
    #[schema(example = "1234.56")]
    balance: String,
    /// What is held of the balance now; members' accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "200.00")]
    held: Option<String>,
    /// The balance less what is held; members' accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1034.56")]
    available: Option<String>,
    /// The least available balance, below zero a credit line; members' accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0.00")]
    minimum_balance: Option<String>,
    /// Who holds it.
    holders: Vec<HolderView>,
    /// What is left of each hold, the oldest first, 500 at most; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Vec<HoldView>>,
    /// When it was opened (RFC 3339, UTC).
    opened_at: String,
    /// When its last event was recorded (RFC 3339, UTC).
    updated_at: String,
    /// Number of its events. The legs of an internal account are none of them.
    version: i64,
    /// Position of its first event; lists are in this order.
    position: i64,
    /// Whether events of the account could not be applied, so that this may be behind.
    parked: bool,
}

/// Which accounts.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountFilter {
    /// By number.
    #[param(value_type = Option<String>, example = "1801")]
    number: Option<Number>,
    /// `savings`, `current`, `fixed_deposit` or `internal`.
    #[param(value_type = Option<String>, example = "current")]
    product: Option<&'static str>,
    /// By currency.
    #[param(value_type = Option<String>, example = "CZK")]
    currency: Option<Currency>,
    /// By code of the chart of accounts.
    #[param(value_type = Option<String>, example = "2100")]
    ledger_code: Option<LedgerCode>,
    /// Accounts that this member holds.
    holder: Option<Uuid>,
    /// `open`, `closed` or `retired`.
    #[param(value_type = Option<String>, example = "open")]
    status: Option<&'static str>,
    /// Members' accounts (`true`) or internal ones (`false`).
    guarded: Option<bool>,
}

impl AccountFilter {
    fn read(parameters: &mut Parameters) -> Self {
        Self {
            number: parameters.word("number"),
            product: parameters.choice("product", &PRODUCTS),
            currency: parameters.parsed("currency"),
            ledger_code: parameters.word("ledger_code"),
            holder: parameters.id("holder"),
            status: parameters.choice("status", &STATUSES),
            guarded: parameters.boolean("guarded"),
        }
    }
}

/// Accounts.
///
/// In the order in which they were opened.
#[utoipa::path(
    get, path = "/v1/accounts", tag = "accounts", params(AccountFilter, Page, Freshness),
    responses((status = 200, description = "A page of accounts", body = List<AccountView>))
)]
pub(crate) async fn list_accounts(
    State(api): State<Api>,
    caller: Principal,
    mut parameters: Parameters,
) -> Result<Answer<List<AccountView>>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    let filter = AccountFilter::read(&mut parameters);
    parameters.finish()?;
    let after: Option<i64> = cursor::read(LIST, page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let rows = select_list(&mut snapshot, &caller, &filter, after.unwrap_or(0), page.limit).await?;
    let rows = List::of(rows, page.limit, LIST, |row| row.position)?;
    let mut holders = select_holders(snapshot.connection(), &rows.items).await?;
    let mut items = Vec::with_capacity(rows.items.len());
    for row in rows.items {
        let of_this = holders.extract_if(.., |holder| holder.account_id == row.account_id);
        let of_this = of_this.map(HolderView::from).collect();
        items.push(row.view(of_this, None)?);
    }
    let parked = items.iter().any(|account| account.parked);
    let list = List { items, next_cursor: rows.next_cursor };
    Ok(Answer { parked, ..Answer::new(snapshot.position, list) })
}

/// An account, with its balance, holds and holders.
#[utoipa::path(
    get, path = "/v1/accounts/{id}", tag = "accounts",
    params(("id" = Uuid, Path, description = "The account"), Freshness),
    responses((status = 200, description = "The account", body = AccountView))
)]
pub(crate) async fn get_account(
    State(api): State<Api>,
    caller: Principal,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<AccountView>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    check_visible(&caller, id, snapshot.position)?;
    let Some(row) = select_one(snapshot.connection(), id).await? else {
        return Err(not_found(&mut snapshot, id).await?);
    };
    let holders = select_holders(snapshot.connection(), std::slice::from_ref(&row)).await?;
    let holds = select_holds(snapshot.connection(), &row).await?;
    let account = row.view(holders.into_iter().map(HolderView::from).collect(), Some(holds))?;
    Ok(Answer { version: Some(account.version), parked: account.parked, ..Answer::new(snapshot.position, account) })
}

/// What is needed of an account to read what belongs to it.
#[derive(Debug)]
pub(crate) struct AccountHead {
    /// The id.
    pub(crate) id: Uuid,
    /// Its currency.
    pub(crate) currency: Currency,
    /// `debit` or `credit`.
    pub(crate) normal_side: String,
    /// Whether it has entries of its own.
    pub(crate) guarded: bool,
    /// Number of its events.
    pub(crate) version: i64,
    /// Whether its data may be behind.
    pub(crate) parked: bool,
}

/// The account, or 404 `account_not_found`, also where it is not one of the caller's.
pub(crate) async fn account_head(snapshot: &mut Snapshot, caller: &Principal, id: Uuid) -> Result<AccountHead> {
    check_visible(caller, id, snapshot.position)?;
    let sql = "SELECT a.currency, a.normal_side, a.guarded, b.version, CASE WHEN a.guarded \
               THEN EXISTS (SELECT 1 FROM parked_events p WHERE p.projection = $2 AND p.stream = 'account/' || a.account_id) END \
               FROM accounts a JOIN account_balances b USING (account_id) WHERE a.account_id = $1";
    let row: Option<(String, String, bool, i64, Option<bool>)> =
        sqlx::query_as(sql).bind(id).bind(PROJECTION).fetch_optional(snapshot.connection()).await?;
    let Some((code, normal_side, guarded, version, parked)) = row else {
        return Err(not_found(snapshot, id).await?);
    };
    let parked = match parked {
        Some(parked) => parked,
        None => are_legs_parked(snapshot.connection(), id).await?,
    };
    Ok(AccountHead { id, currency: currency(&code)?, normal_side, guarded, version, parked })
}

/// An account that is not the caller's is, for the caller, not there: what is said must not tell
/// whether it is.
fn check_visible(caller: &Principal, id: Uuid, position: u64) -> Result<()> {
    if caller.has_account(id) { Ok(()) } else { Err(Failure::not_found(NOT_FOUND, WHAT, position)) }
}

/// There is no such account up to a position.
pub(crate) fn account_not_found(position: u64) -> Failure {
    Failure::not_found(NOT_FOUND, WHAT, position)
}

async fn not_found(snapshot: &mut Snapshot, id: Uuid) -> Result<Failure> {
    let parked = is_parked(snapshot.connection(), &format!("account/{id}")).await?;
    Ok(Failure::not_found(NOT_FOUND, WHAT, snapshot.position).parked(parked))
}

#[derive(sqlx::FromRow)]
struct Row {
    account_id: Uuid,
    number: String,
    name: Option<String>,
    product: String,
    currency: String,
    normal_side: String,
    ledger_code: String,
    guarded: bool,
    minimum_balance_minor: i64,
    branch: Option<String>,
    opened_on: NaiveDate,
    closed_on: Option<NaiveDate>,
    status: String,
    frozen_debit: bool,
    frozen_credit: bool,
    dormant: bool,
    status_reason: Option<String>,
    #[sqlx(try_from = "String")]
    balance_minor: Minor,
    #[sqlx(try_from = "String")]
    held_minor: Minor,
    opened_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
    position: i64,
    parked: bool,
}

impl Row {
    fn view(self, holders: Vec<HolderView>, holds: Option<Vec<HoldView>>) -> Result<AccountView> {
        let currency = currency(&self.currency)?;
        let decimal = |minor: Minor| money::decimal(minor.0, currency);
        let if_guarded = |minor: Minor| self.guarded.then(|| decimal(minor));
        Ok(AccountView {
            balance: decimal(self.balance_minor),
            held: if_guarded(self.held_minor),
            available: if_guarded(Minor(self.balance_minor.0 - self.held_minor.0)),
            minimum_balance: if_guarded(Minor(self.minimum_balance_minor.into())),
            frozen: match (self.frozen_debit, self.frozen_credit) {
                (false, false) => None,
                (true, false) => Some("debit"),
                (false, true) => Some("credit"),
                (true, true) => Some("both"),
            },
            id: self.account_id,
            number: self.number,
            name: self.name,
            product: self.product,
            currency: self.currency,
            normal_side: self.normal_side,
            ledger_code: self.ledger_code,
            guarded: self.guarded,
            status: self.status,
            dormant: self.dormant,
            status_reason: self.status_reason,
            branch: self.branch,
            opened_on: self.opened_on,
            closed_on: self.closed_on,
            holders,
            holds,
            opened_at: rfc3339(self.opened_at),
            updated_at: rfc3339(self.updated_at),
            version: self.version,
            position: self.position,
            parked: self.parked,
        })
    }
}

// What is available is subtracted here: the view would add the balance up a second time for it.
const SELECT: &str = "SELECT s.account_id, s.number, s.name, s.product, s.currency, s.normal_side, s.ledger_code, \
     s.guarded, s.minimum_balance_minor, s.branch, s.opened_on, s.closed_on, s.status, s.frozen_debit, \
     s.frozen_credit, s.dormant, s.status_reason, s.balance_minor::text AS balance_minor, \
     s.held_minor::text AS held_minor, s.opened_at, s.updated_at, \
     s.version, s.position, \
     EXISTS (SELECT 1 FROM parked_events p WHERE p.projection = 'core' AND (p.stream = 'account/' || s.account_id \
     OR (NOT s.guarded AND p.stream LIKE 'transaction/%' AND strpos(p.payload, s.account_id::text) > 0))) \
     AS parked FROM account_states s";

async fn select_one(connection: &mut PgConnection, id: Uuid) -> Result<Option<Row>> {
    let sql = format!("{SELECT} WHERE s.account_id = $1");
    Ok(sqlx::query_as(&sql).bind(id).fetch_optional(connection).await?)
}

async fn select_list(
    snapshot: &mut Snapshot,
    caller: &Principal,
    filter: &AccountFilter,
    after: i64,
    limit: u32,
) -> Result<Vec<Row>> {
    // The page is chosen before balances are summed up. Up to the applied position only: beyond it
    // one partition may be ahead of another, and what comes before the cursor later would be missed.
    let mut sql = QueryBuilder::new("WITH page AS MATERIALIZED (SELECT account_id FROM accounts WHERE position <= ");
    sql.push_bind(snapshot.position_bound()).push(" AND position > ").push_bind(after);
    if let Some(accounts) = caller.accounts() {
        sql.push(" AND account_id = ANY(").push_bind(accounts.iter().copied().collect::<Vec<Uuid>>()).push(")");
    }
    if let Some(number) = &filter.number {
        sql.push(" AND number = ").push_bind(number.as_str().to_owned());
    }
    if let Some(product) = filter.product {
        sql.push(" AND product = ").push_bind(product);
    }
    if let Some(currency) = filter.currency {
        sql.push(" AND currency = ").push_bind(currency.code().to_owned());
    }
    if let Some(code) = &filter.ledger_code {
        sql.push(" AND ledger_code = ").push_bind(code.as_str().to_owned());
    }
    if let Some(holder) = filter.holder {
        sql.push(" AND account_id IN (SELECT account_id FROM holders WHERE member_id = ").push_bind(holder).push(")");
    }
    if let Some(status) = filter.status {
        sql.push(" AND status = ").push_bind(status);
    }
    if let Some(guarded) = filter.guarded {
        sql.push(" AND guarded = ").push_bind(guarded);
    }
    sql.push(" ORDER BY position LIMIT ").push_bind(i64::from(limit) + 1).push(") ");
    sql.push(SELECT).push(" JOIN page USING (account_id) ORDER BY s.position");
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}

#[derive(sqlx::FromRow)]
struct HolderRow {
    account_id: Uuid,
    member_id: Uuid,
    role: String,
}

impl From<HolderRow> for HolderView {
    fn from(row: HolderRow) -> Self {
        Self { member_id: row.member_id, role: row.role }
    }
}

async fn select_holders(connection: &mut PgConnection, accounts: &[Row]) -> Result<Vec<HolderRow>> {
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.account_id).collect();
    let sql = "SELECT account_id, member_id, role FROM holders WHERE account_id = ANY($1) ORDER BY position, member_id";
    Ok(sqlx::query_as(sql).bind(ids).fetch_all(connection).await?)
}

async fn select_holds(connection: &mut PgConnection, account: &Row) -> Result<Vec<HoldView>> {
    #[derive(sqlx::FromRow)]
    struct HoldRow {
        transaction_id: Uuid,
        leg: i32,
        side: String,
        amount_minor: i64,
        expires_at: Option<DateTime<Utc>>,
        counts: bool,
    }
    let sql = "SELECT transaction_id, leg, side, amount_minor, expires_at, \
               side <> $2 AND (expires_at IS NULL OR expires_at > now()) AS counts \
               FROM holds WHERE account_id = $1 ORDER BY position, leg LIMIT $3";
    let rows: Vec<HoldRow> = sqlx::query_as(sql)
        .bind(account.account_id)
        .bind(&account.normal_side)
        .bind(HOLDS_MAX)
        .fetch_all(connection)
        .await?;
    let currency = currency(&account.currency)?;
    let views = rows.into_iter().map(|row| HoldView {
        transaction_id: row.transaction_id,
        leg: row.leg,
        side: row.side,
        amount: Amount::new(row.amount_minor, currency),
        expires_at: row.expires_at.map(rfc3339),
        counts: row.counts,
    });
    Ok(views.collect())
}
