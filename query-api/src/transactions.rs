//! Transactions: by id with their postings, and as a list.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use domain::transaction::TransactionKind;
use domain::words::ExternalReference;
use domain::{Currency, money};
use platform::Principal;
use platform::auth::Refusal;
use platform::extract::StrictPath;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{Amount, currency};
use crate::api::Api;
use crate::cursor;
use crate::entries::{ORDERS, push_range, read_range};
use crate::freshness::Snapshot;
use crate::members::SealedText;
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::is_parked;
use crate::reply::{Answer, Failure, List, Result, rfc3339};

const STATUSES: [&str; 4] = ["pending", "posted", "voided", "expired"];

/// A leg as it was first made, with what became of it, in the amount's currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LegView {
    /// Its number, from 1.
    leg: i32,
    /// The account.
    account_id: Uuid,
    /// The code of the chart of accounts that the account had then.
    #[schema(example = "2100")]
    ledger_code: String,
    /// `debit` or `credit`.
    #[schema(example = "credit")]
    side: String,
    /// The amount.
    amount: Amount,
    /// What of it is still pending.
    #[schema(example = "0.00")]
    pending: String,
    /// What of it was posted.
    #[schema(example = "1234.56")]
    posted: String,
    /// What of it was reversed.
    #[schema(example = "0.00")]
    reversed: String,
    /// The loan component that it settles.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
}

/// A leg of a posting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PostedLegView {
    /// Its number, that of the transaction's leg.
    leg: i32,
    /// The account.
    account_id: Uuid,
    /// The code of the chart of accounts that the account had then.
    #[schema(example = "2100")]
    ledger_code: String,
    /// `debit` or `credit`.
    #[schema(example = "credit")]
    side: String,
    /// The amount posted.
    amount: Amount,
    /// The loan component that it settles.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
}

/// A posting: a transaction posted at once has one; a pending one may have several, or none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PostingView {
    /// Its number, from 1.
    posting: i64,
    /// The business date it belongs to.
    booking_date: NaiveDate,
    /// From when interest counts.
    value_date: NaiveDate,
    /// When it was recorded (RFC 3339, UTC).
    recorded_at: String,
    /// The position of its event in the log.
    position: i64,
    /// What was posted; it balances in every currency, unless the caller's token is limited to
    /// accounts: then these are the legs on them.
    legs: Vec<PostedLegView>,
}

/// What a reversal undoes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReversesView {
    /// The original.
    transaction_id: Uuid,
    /// Why, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A transaction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TransactionView {
    /// The id.
    id: Uuid,
    /// Its type.
    #[schema(example = "deposit")]
    kind: String,
    /// `pending`, `posted`, `voided` or `expired`.
    #[schema(example = "posted")]
    status: String,
    /// The business date it was made for; its postings have their own.
    booking_date: NaiveDate,
    /// From when interest counts; its postings have their own.
    value_date: NaiveDate,
    /// From then on it can no longer be posted (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// How the outside world knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_reference: Option<String>,
    /// Free text, sealed under the keys of all members party to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    narrative: Option<SealedText>,
    /// What it undoes, if it is a reversal.
    #[serde(skip_serializing_if = "Option::is_none")]
    reverses: Option<ReversesView>,
    /// The reversals of it.
    reversed_by: Vec<Uuid>,
    /// Why it was voided, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    void_reason: Option<String>,
    /// Its legs as first made; to a caller whose token is limited to accounts, those on them.
    legs: Vec<LegView>,
    /// How many postings it has.
    posting_count: i64,
    /// Its postings; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    postings: Option<Vec<PostingView>>,
    /// When it was recorded (RFC 3339, UTC).
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

/// Which transactions.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TransactionFilter {
    /// By type.
    #[param(value_type = Option<String>, example = "deposit")]
    kind: Option<&'static str>,
    /// `pending`, `posted`, `voided` or `expired`.
    #[param(value_type = Option<String>, example = "posted")]
    status: Option<&'static str>,
    /// Transactions with a leg on this account.
    account_id: Option<Uuid>,
    /// By the reference under which the outside world knows it.
    #[param(value_type = Option<String>, example = "SIPO-1999-00017")]
    external_reference: Option<ExternalReference>,
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

impl TransactionFilter {
    fn read(parameters: &mut Parameters) -> Self {
        let (from, to) = read_range(parameters);
        Self {
            kind: parameters.choice("kind", &TransactionKind::ALL.map(TransactionKind::name)),
            status: parameters.choice("status", &STATUSES),
            account_id: parameters.id("account_id"),
            external_reference: parameters.word("external_reference"),
            from,
            to,
            order: parameters.choice("order", &ORDERS).unwrap_or(ORDERS[0]),
        }
    }
}

/// Transactions.
///
/// In the order of recording, the newest first unless asked otherwise. A caller whose token is limited
/// to accounts names one of them with `account_id`.
#[utoipa::path(
    get, path = "/v1/transactions", tag = "transactions", params(TransactionFilter, Page, Freshness),
    responses((status = 200, description = "A page of transactions", body = List<TransactionView>))
)]
pub(crate) async fn list_transactions(
    State(api): State<Api>,
    caller: Principal,
    mut parameters: Parameters,
) -> Result<Answer<List<TransactionView>>> {
    let (freshness, page) = (parameters.freshness(), parameters.page());
    let filter = TransactionFilter::read(&mut parameters);
    parameters.finish()?;
    if caller.accounts().is_some() && !filter.account_id.is_some_and(|account| caller.has_account(account)) {
        return Err(Refusal::BeyondAccounts.problem().into());
    }
    let list = format!("transactions/{}", filter.order);
    let after: Option<i64> = cursor::read(&list, page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let rows = select_list(&mut snapshot, &filter, after, page.limit).await?;
    let rows = List::of(rows, page.limit, &list, |row| row.position)?;
    let items = rows.items.into_iter().map(|row| row.view(&caller, None)).collect::<Result<Vec<_>>>()?;
    let parked = items.iter().any(|transaction| transaction.parked);
    let list = List { items, next_cursor: rows.next_cursor };
    Ok(Answer { parked, ..Answer::new(snapshot.position, list) })
}

/// A transaction, with its postings and reversals.
#[utoipa::path(
    get, path = "/v1/transactions/{id}", tag = "transactions",
    params(("id" = Uuid, Path, description = "The transaction"), Freshness),
    responses((status = 200, description = "The transaction", body = TransactionView))
)]
pub(crate) async fn get_transaction(
    State(api): State<Api>,
    caller: Principal,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<TransactionView>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let mut sql = select();
    sql.push(" WHERE transaction_id = ").push_bind(id);
    let row: Option<Row> = sql.build_query_as().fetch_optional(snapshot.connection()).await?;
    let Some(row) = row.filter(|row| row.is_visible_to(&caller)) else {
        let parked =
            caller.accounts().is_none() && is_parked(snapshot.connection(), &format!("transaction/{id}")).await?;
        let missing = Failure::not_found("transaction_not_found", "transaction with this id", snapshot.position);
        return Err(missing.parked(parked));
    };
    let postings = select_postings(&mut snapshot, &caller, id).await?;
    let transaction = row.view(&caller, Some(postings))?;
    Ok(Answer {
        version: Some(transaction.version),
        parked: transaction.parked,
        ..Answer::new(snapshot.position, transaction)
    })
}

/// A leg in the column `transactions.legs`.
#[derive(Debug, Deserialize)]
struct StoredLeg {
    leg: i32,
    account_id: Uuid,
    ledger_code: String,
    side: String,
    currency: Currency,
    amount_minor: i64,
    pending_minor: i64,
    posted_minor: i64,
    reversed_minor: i64,
    component: Option<String>,
}

impl From<StoredLeg> for LegView {
    fn from(leg: StoredLeg) -> Self {
        let decimal = |minor: i64| money::decimal(minor.into(), leg.currency);
        Self {
            amount: Amount::new(leg.amount_minor, leg.currency),
            pending: decimal(leg.pending_minor),
            posted: decimal(leg.posted_minor),
            reversed: decimal(leg.reversed_minor),
            leg: leg.leg,
            account_id: leg.account_id,
            ledger_code: leg.ledger_code,
            side: leg.side,
            component: leg.component,
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    transaction_id: Uuid,
    kind: String,
    status: String,
    booking_date: NaiveDate,
    value_date: NaiveDate,
    expires_at: Option<DateTime<Utc>>,
    external_reference: Option<String>,
    narrative: Option<String>,
    reverses_id: Option<Uuid>,
    reverses_reason: Option<String>,
    void_reason: Option<String>,
    reversed_by: Vec<Uuid>,
    postings: i64,
    legs: Json<Vec<StoredLeg>>,
    position: i64,
    recorded_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
    parked: bool,
}

impl Row {
    /// Whether a leg of it is on an account that the caller may see.
    fn is_visible_to(&self, caller: &Principal) -> bool {
        self.legs.0.iter().any(|leg| caller.has_account(leg.account_id))
    }

    /// As the caller may see it: what others' accounts paid or got in it is not the caller's business.
    fn view(self, caller: &Principal, postings: Option<Vec<PostingView>>) -> Result<TransactionView> {
        let legs = self.legs.0.into_iter().filter(|leg| caller.has_account(leg.account_id));
        let reason = self.reverses_reason;
        Ok(TransactionView {
            id: self.transaction_id,
            kind: self.kind,
            status: self.status,
            booking_date: self.booking_date,
            value_date: self.value_date,
            expires_at: self.expires_at.map(rfc3339),
            external_reference: self.external_reference,
            narrative: self.narrative.map(|sealed| SealedText { sealed }),
            reverses: self.reverses_id.map(|transaction_id| ReversesView { transaction_id, reason }),
            reversed_by: self.reversed_by,
            void_reason: self.void_reason,
            legs: legs.map(LegView::from).collect(),
            posting_count: self.postings,
            postings,
            recorded_at: rfc3339(self.recorded_at),
            updated_at: rfc3339(self.updated_at),
            version: self.version,
            position: self.position,
            parked: self.parked,
        })
    }
}

fn select() -> QueryBuilder<'static, Postgres> {
    QueryBuilder::new(
        "SELECT transaction_id, kind, status, booking_date, value_date, expires_at, external_reference, narrative, \
         reverses_id, reverses_reason, void_reason, reversed_by, postings, legs, position, recorded_at, updated_at, \
         version, EXISTS (SELECT 1 FROM parked_events p WHERE p.projection = 'core' \
         AND p.stream = 'transaction/' || transactions.transaction_id) AS parked FROM transactions",
    )
}

async fn select_list(
    snapshot: &mut Snapshot,
    filter: &TransactionFilter,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<Row>> {
    let position = snapshot.position_bound();
    let mut sql = select();
    if let Some(account) = filter.account_id {
        // What was posted is found by the legs; what never was has its legs in the row only. Each
        // has its own page, since a plan for both at once would read all of an account's.
        sql.push(" WHERE transaction_id IN ((SELECT transaction_id FROM transactions");
        filter.push(&mut sql, position, after);
        sql.push(" AND transaction_id IN (SELECT transaction_id FROM legs WHERE account_id = ").push_bind(account);
        sql.push(")");
        filter.push_page(&mut sql, limit);
        sql.push(") UNION (SELECT transaction_id FROM transactions");
        filter.push(&mut sql, position, after);
        sql.push(" AND status <> 'posted' AND legs @> ");
        sql.push_bind(Json(serde_json::json!([{ "account_id": account }])));
        filter.push_page(&mut sql, limit);
        sql.push("))");
    } else {
        filter.push(&mut sql, position, after);
    }
    filter.push_page(&mut sql, limit);
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}

impl TransactionFilter {
    /// The conditions, but for the account.
    fn push(&self, sql: &mut QueryBuilder<'static, Postgres>, position: i64, after: Option<i64>) {
        // Up to the applied position only: beyond it one partition may be ahead of another, and what
        // comes in before the cursor later would be missed.
        sql.push(" WHERE position <= ").push_bind(position);
        if let Some(after) = after {
            sql.push(if self.is_newest_first() { " AND position < " } else { " AND position > " }).push_bind(after);
        }
        for (column, wanted) in [("kind", self.kind), ("status", self.status)] {
            if let Some(wanted) = wanted {
                sql.push(" AND ").push(column).push(" = ").push_bind(wanted);
            }
        }
        if let Some(reference) = &self.external_reference {
            sql.push(" AND external_reference = ").push_bind(reference.as_str().to_owned());
        }
        push_range(sql, self.from, self.to);
    }

    fn push_page(&self, sql: &mut QueryBuilder<'static, Postgres>, limit: u32) {
        sql.push(" ORDER BY position ").push(if self.is_newest_first() { "DESC" } else { "ASC" });
        sql.push(" LIMIT ").push_bind(i64::from(limit) + 1);
    }

    fn is_newest_first(&self) -> bool {
        self.order == ORDERS[0]
    }
}

#[derive(sqlx::FromRow)]
struct PostedRow {
    posting: i64,
    leg: i32,
    account_id: Uuid,
    ledger_code: String,
    side: String,
    amount_minor: i64,
    currency: String,
    component: Option<String>,
    booking_date: NaiveDate,
    value_date: NaiveDate,
    recorded_at: DateTime<Utc>,
    position: i64,
}

async fn select_postings(snapshot: &mut Snapshot, caller: &Principal, id: Uuid) -> Result<Vec<PostingView>> {
    let sql = "SELECT posting, leg, account_id, ledger_code, side, amount_minor, currency, component, booking_date, \
               value_date, recorded_at, position FROM legs WHERE transaction_id = $1 ORDER BY posting, leg";
    let rows: Vec<PostedRow> = sqlx::query_as(sql).bind(id).fetch_all(snapshot.connection()).await?;
    let mut postings: Vec<PostingView> = Vec::new();
    for row in rows.into_iter().filter(|row| caller.has_account(row.account_id)) {
        if postings.last().is_none_or(|posting| posting.posting != row.posting) {
            postings.push(PostingView {
                posting: row.posting,
                booking_date: row.booking_date,
                value_date: row.value_date,
                recorded_at: rfc3339(row.recorded_at),
                position: row.position,
                legs: Vec::new(),
            });
        }
        let leg = PostedLegView {
            amount: Amount::new(row.amount_minor, currency(&row.currency)?),
            leg: row.leg,
            account_id: row.account_id,
            ledger_code: row.ledger_code,
            side: row.side,
            component: row.component,
        };
        if let Some(posting) = postings.last_mut() {
            posting.legs.push(leg);
        }
    }
    Ok(postings)
}
