//! The trial balance: by ledger code and currency, as of any of the three dates.
//!
//! Invariants: it stands for exactly the position that the reply names, however far single
//! partitions are ahead of it, so debits equal credits in every currency; a control code is
//! compared with its accounts' own entries, which come from other streams than the legs.

use std::collections::BTreeMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::{Currency, money};
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::ToSchema;

use crate::amount::{Minor, currency, on_normal_side};
use crate::api::Api;
use crate::balances::{AsOf, AsOfView};
use crate::freshness::Snapshot;
use crate::parameters::{Freshness, Parameters};
use crate::parked::is_any_parked;
use crate::reply::{Answer, Result};

/// One ledger code in one currency. Amounts are decimals in the currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialBalanceLine {
    /// The code of the chart of accounts.
    #[schema(example = "2100")]
    ledger_code: String,
    /// What people call it.
    #[schema(example = "Members' current accounts")]
    name: String,
    /// `asset`, `liability`, `equity`, `income` or `expense`.
    #[schema(example = "liability")]
    class: String,
    /// The side on which its balance is counted: `debit` or `credit`.
    #[schema(example = "credit")]
    normal_side: String,
    /// Whether members' accounts hang on it, and only those.
    control: bool,
    /// The currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The sum of all debits.
    #[schema(example = "100.00")]
    debit: String,
    /// The sum of all credits.
    #[schema(example = "1334.56")]
    credit: String,
    /// The balance on the normal side.
    #[schema(example = "1234.56")]
    balance: String,
    /// The sum of the balances of its accounts, from their own entries; control codes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1234.56")]
    accounts_balance: Option<String>,
    /// Whether that sum is the balance; control codes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    agrees: Option<bool>,
}

/// All ledger codes of a currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialBalanceTotal {
    /// The currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The sum of all debits.
    #[schema(example = "1334.56")]
    debit: String,
    /// The sum of all credits.
    #[schema(example = "1334.56")]
    credit: String,
    /// Whether debits equal credits.
    balanced: bool,
}

/// The trial balance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialBalance {
    /// The dates that were asked for; empty: everything recorded.
    as_of: AsOfView,
    /// By ledger code and currency; those without any booking are left out.
    lines: Vec<TrialBalanceLine>,
    /// By currency.
    totals: Vec<TrialBalanceTotal>,
    /// Whether any events could not be applied, so that this may be behind.
    parked: bool,
}

/// The trial balance, now or as of any of the three dates.
#[utoipa::path(
    get, path = "/v1/trial-balance", tag = "ledger", params(AsOf, Freshness),
    responses((status = 200, description = "The trial balance at exactly the position of the reply", body = TrialBalance))
)]
pub(crate) async fn get_trial_balance(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<TrialBalance>> {
    let freshness = parameters.freshness();
    let as_of = AsOf::read(&mut parameters);
    parameters.finish()?;
    let freshness = as_of.freshness(freshness, &api.log).await?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let sums = select_sums(&mut snapshot, &as_of).await?;
    let of_accounts = select_accounts(&mut snapshot, &as_of).await?;
    let parked = is_any_parked(snapshot.connection()).await?;
    let body = TrialBalance { as_of: as_of.view(), totals: totals(&sums)?, lines: lines(sums, &of_accounts)?, parked };
    Ok(Answer { parked, ..Answer::new(snapshot.position, body) })
}

#[derive(Debug, sqlx::FromRow)]
struct Sum {
    ledger_code: String,
    name: String,
    class: String,
    normal_side: String,
    control: bool,
    currency: String,
    #[sqlx(try_from = "String")]
    debit_minor: Minor,
    #[sqlx(try_from = "String")]
    credit_minor: Minor,
}

/// Balances of the accounts on a code in a currency, debits less credits.
type OfAccounts = BTreeMap<(String, String), i128>;

fn lines(sums: Vec<Sum>, of_accounts: &OfAccounts) -> Result<Vec<TrialBalanceLine>> {
    let line = |sum: Sum| {
        let currency = currency(&sum.currency)?;
        let decimal = |minor| money::decimal(minor, currency);
        let balance_minor = on_normal_side(&sum.normal_side, sum.debit_minor.0, sum.credit_minor.0);
        let key = (sum.ledger_code, sum.currency);
        let accounts_minor = sum.control.then(|| {
            let net_minor = of_accounts.get(&key).copied().unwrap_or(0);
            on_normal_side(&sum.normal_side, net_minor, 0)
        });
        Ok(TrialBalanceLine {
            debit: decimal(sum.debit_minor.0),
            credit: decimal(sum.credit_minor.0),
            balance: decimal(balance_minor),
            accounts_balance: accounts_minor.map(decimal),
            agrees: accounts_minor.map(|accounts_minor| accounts_minor == balance_minor),
            ledger_code: key.0,
            currency: key.1,
            name: sum.name,
            class: sum.class,
            normal_side: sum.normal_side,
            control: sum.control,
        })
    };
    sums.into_iter().map(line).collect()
}

fn totals(sums: &[Sum]) -> Result<Vec<TrialBalanceTotal>> {
    let mut totals: BTreeMap<Currency, (i128, i128)> = BTreeMap::new();
    for sum in sums {
        let total = totals.entry(currency(&sum.currency)?).or_default();
        total.0 += sum.debit_minor.0;
        total.1 += sum.credit_minor.0;
    }
    let total = |(currency, (debit_minor, credit_minor)): (Currency, (i128, i128))| TrialBalanceTotal {
        currency: currency.code().to_owned(),
        debit: money::decimal(debit_minor, currency),
        credit: money::decimal(credit_minor, currency),
        balanced: debit_minor == credit_minor,
    };
    Ok(totals.into_iter().map(total).collect())
}

/// The sums of days, less the legs that came after the position or the recording time.
async fn select_sums(snapshot: &mut Snapshot, as_of: &AsOf) -> Result<Vec<Sum>> {
    let earliest = earliest_later_leg(snapshot, as_of).await?;
    let mut sql = QueryBuilder::new(
        "SELECT s.ledger_code, COALESCE(c.name, '') AS name, COALESCE(c.class, '') AS class, \
         COALESCE(c.normal_side, 'debit') AS normal_side, COALESCE(c.control, false) AS control, s.currency, \
         sum(s.debit_minor)::text AS debit_minor, sum(s.credit_minor)::text AS credit_minor FROM (\
         SELECT ledger_code, currency, debit_minor, credit_minor FROM ledger_daily WHERE true",
    );
    as_of.push_business_dates(&mut sql);
    sql.push(
        " UNION ALL SELECT ledger_code, currency, -COALESCE(sum(amount_minor) FILTER (WHERE side = 'debit'), 0), \
         -COALESCE(sum(amount_minor) FILTER (WHERE side = 'credit'), 0) FROM legs WHERE true",
    );
    if let Some(earliest) = earliest {
        sql.push(" AND recorded_at >= ").push_bind(earliest);
    }
    as_of.push_business_dates(&mut sql);
    as_of.push_is_later(snapshot, &mut sql);
    sql.push(
        " GROUP BY ledger_code, currency) s LEFT JOIN ledger_codes c USING (ledger_code) \
         GROUP BY s.ledger_code, s.currency, c.name, c.class, c.normal_side, c.control \
         HAVING sum(s.debit_minor) <> 0 OR sum(s.credit_minor) <> 0 ORDER BY s.ledger_code, s.currency",
    );
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}

/// A bound for the index of recording times: no leg that comes later than what counts was recorded
/// before it, since recording times never fall from position to position.
async fn earliest_later_leg(snapshot: &mut Snapshot, as_of: &AsOf) -> Result<Option<DateTime<Utc>>> {
    let sql = "SELECT recorded_at FROM transactions WHERE position <= $1 ORDER BY position DESC LIMIT 1";
    let position = snapshot.position_bound();
    let found: Option<(DateTime<Utc>,)> =
        sqlx::query_as(sql).bind(position).fetch_optional(snapshot.connection()).await?;
    Ok(found.map(|(time,)| as_of.recorded_at.map_or(time, |as_of| as_of.min(time))))
}

/// What members' accounts have by their own entries, by ledger code and currency.
async fn select_accounts(snapshot: &mut Snapshot, as_of: &AsOf) -> Result<OfAccounts> {
    let mut sql = if as_of.is_given() { entries_as_of(snapshot, as_of) } else { balances_now(snapshot) };
    sql.push(" GROUP BY 1, 2");
    let rows: Vec<(String, String, String)> = sql.build_query_as().fetch_all(snapshot.connection()).await?;
    let parse = |(code, currency, net): (String, String, String)| {
        let Minor(net_minor) = net.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(((code, currency), net_minor))
    };
    rows.into_iter().map(parse).collect()
}

/// One row an account, less the entries after the position of those accounts that are beyond it.
fn balances_now(snapshot: &Snapshot) -> QueryBuilder<'static, Postgres> {
    let mut sql = QueryBuilder::new(
        "SELECT ledger_code, currency, sum(net_minor)::text FROM (\
         SELECT a.ledger_code, a.currency, \
         CASE a.normal_side WHEN 'debit' THEN b.balance_minor ELSE -b.balance_minor END AS net_minor \
         FROM accounts a JOIN account_balances b USING (account_id) WHERE a.guarded \
         UNION ALL SELECT a.ledger_code, a.currency, CASE e.side WHEN 'debit' THEN -e.amount_minor ELSE e.amount_minor END \
         FROM accounts a JOIN account_balances b USING (account_id) JOIN entries e USING (account_id) \
         WHERE a.guarded AND b.updated_position > ",
    );
    sql.push_bind(snapshot.position_bound()).push(" AND e.position > ").push_bind(snapshot.position_bound());
    sql.push(") s");
    sql
}

/// All entries up to the dates and the position.
fn entries_as_of(snapshot: &Snapshot, as_of: &AsOf) -> QueryBuilder<'static, Postgres> {
    let mut sql = QueryBuilder::new(
        "SELECT a.ledger_code, a.currency, sum(s.net_minor)::text FROM (SELECT account_id, \
         sum(CASE side WHEN 'debit' THEN amount_minor ELSE -amount_minor END) AS net_minor \
         FROM entries WHERE position <= ",
    );
    sql.push_bind(snapshot.position_bound());
    as_of.push_business_dates(&mut sql);
    if let Some(time) = as_of.recorded_at {
        sql.push(" AND recorded_at <= ").push_bind(time);
    }
    sql.push(" GROUP BY account_id) s JOIN accounts a USING (account_id)");
    sql
}
