//! The portfolio at risk as of a date: outstanding principal by days past due.
//!
//! Invariants: it stands for exactly the position that the reply names, however far single partitions
//! are ahead of it; the sums of the loans are compared with the portfolio accounts, whose legs come
//! from other streams, by value date and as of the same position.

use std::collections::BTreeMap;

use axum::extract::State;
use chrono::NaiveDate;
use domain::{Currency, money};
use serde::Serialize;
use sqlx::QueryBuilder;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{Minor, currency};
use crate::api::Api;
use crate::arrears::BUCKETS;
use crate::as_of::{self, LoanAsOf};
use crate::freshness::Snapshot;
use crate::parameters::{Freshness, Parameters};
use crate::parked::is_any_parked;
use crate::reply::{Answer, Result};

/// Parts of a share that are told: four decimals.
const PARTS: i128 = 10_000;

/// Loans of some days past due.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RiskLine {
    /// `current`, `1-30`, `31-60`, `61-90` or `over-90` days past due.
    #[schema(example = "31-60")]
    bucket: &'static str,
    /// The least days past due.
    days_from: i32,
    /// The most; absent: no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    days_to: Option<i32>,
    /// How many loans.
    loans: i64,
    /// Their outstanding principal, not only what is late of it.
    #[schema(example = "60000.00")]
    outstanding_principal: String,
    /// Its share of the whole, from 0 to 1, rounded to four decimals, halves up.
    #[schema(example = "0.0312")]
    share: String,
}

/// The portfolio in one currency. Amounts are decimals in it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RiskOfCurrency {
    /// The currency.
    #[schema(example = "CZK")]
    currency: String,
    /// By days past due; all five, also where there are no loans.
    lines: Vec<RiskLine>,
    /// How many loans something is owed of.
    loans: i64,
    /// Their outstanding principal: the sum of the lines.
    #[schema(example = "1923076.00")]
    outstanding_principal: String,
    /// The share of loans with at least one day past due.
    #[schema(example = "0.0915")]
    at_risk_share: String,
    /// The share of loans with more than 30 days past due (PAR 30).
    #[schema(example = "0.0603")]
    at_risk_over_30_share: String,
}

/// A portfolio account beside its loans. Amounts are decimals in the currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PortfolioAccountView {
    /// The account.
    account_id: Uuid,
    /// The currency.
    #[schema(example = "CZK")]
    currency: String,
    /// Its balance by value date, as of the date and position.
    #[schema(example = "1923076.00")]
    ledger_balance: String,
    /// The outstanding principal of its loans.
    #[schema(example = "1923076.00")]
    loans_principal: String,
    /// Whether they are equal.
    agrees: bool,
}

/// How many loans are in a status.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct LoansOfStatus {
    /// `applied`, `approved`, `rejected`, `disbursing`, `active`, `repaid`, `written_off` or `closed`.
    #[schema(example = "active")]
    status: String,
    /// How many.
    loans: i64,
}

/// The portfolio at risk.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PortfolioAtRisk {
    /// The date: a payment counts from its value date.
    as_of: NaiveDate,
    /// By currency.
    currencies: Vec<RiskOfCurrency>,
    /// Each portfolio account beside its loans.
    portfolio_accounts: Vec<PortfolioAccountView>,
    /// How many loans were in which status on the date, by the dates of their events. On its way to
    /// another bank is a loan that is so now.
    statuses: Vec<LoansOfStatus>,
    /// Whether any events could not be applied, so that this may be behind.
    parked: bool,
}

/// Which part of the portfolio.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Names and documents what the handler reads.
pub(crate) struct PortfolioFilter {
    /// Loans in this currency only.
    #[param(value_type = Option<String>, example = "CZK")]
    currency: Option<Currency>,
}

/// The portfolio at risk, as of a date.
///
/// Outstanding principal by days past due; portfolio accounts beside their loans; loans by status.
#[utoipa::path(
    get, path = "/v1/loans/portfolio-at-risk", tag = "loans", params(PortfolioFilter, LoanAsOf, Freshness),
    responses((status = 200, description = "The portfolio at exactly the position of the reply", body = PortfolioAtRisk))
)]
pub(crate) async fn get_portfolio_at_risk(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Answer<PortfolioAtRisk>> {
    let freshness = parameters.freshness();
    let as_of = as_of::read(&mut parameters, &api);
    let wanted: Option<Currency> = parameters.parsed("currency");
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let groups = select_groups(&mut snapshot, as_of, wanted).await?;
    let parked = is_any_parked(snapshot.connection()).await?;
    let body = PortfolioAtRisk {
        as_of,
        portfolio_accounts: select_accounts(&mut snapshot, as_of, wanted, &groups).await?,
        statuses: select_statuses(&mut snapshot, as_of, wanted).await?,
        currencies: by_currency(&groups)?,
        parked,
    };
    Ok(Answer { parked, ..Answer::new(snapshot.position, body) })
}

/// Loans of one portfolio account and bucket.
#[derive(Debug, sqlx::FromRow)]
struct Group {
    portfolio_account_id: Uuid,
    currency: String,
    bucket: i32,
    loans: i64,
    #[sqlx(try_from = "String")]
    principal_minor: Minor,
}

async fn select_groups(snapshot: &mut Snapshot, as_of: NaiveDate, wanted: Option<Currency>) -> Result<Vec<Group>> {
    let mut sql = QueryBuilder::new("SELECT portfolio_account_id, currency, CASE");
    for (at, (_, _, most)) in BUCKETS.iter().enumerate() {
        match most {
            Some(most) => sql.push(format!(" WHEN days_past_due <= {most} THEN {at}")),
            None => sql.push(format!(" ELSE {at} END AS bucket")),
        };
    }
    sql.push(", count(*) AS loans, sum(principal_outstanding_minor)::text AS principal_minor FROM loans_as_of(");
    sql.push_bind(as_of).push(", ").push_bind(snapshot.position_bound());
    sql.push(") WHERE (outstanding_minor > 0 OR principal_outstanding_minor <> 0)");
    if let Some(currency) = wanted {
        sql.push(" AND currency = ").push_bind(currency.code().to_owned());
    }
    sql.push(" GROUP BY 1, 2, 3");
    Ok(sql.build_query_as().fetch_all(snapshot.connection()).await?)
}

fn by_currency(groups: &[Group]) -> Result<Vec<RiskOfCurrency>> {
    let mut currencies: BTreeMap<&str, [(i64, i128); BUCKETS.len()]> = BTreeMap::new();
    for group in groups {
        let of_currency = currencies.entry(&group.currency).or_default();
        if let Some(sum) = usize::try_from(group.bucket).ok().and_then(|at| of_currency.get_mut(at)) {
            sum.0 += group.loans;
            sum.1 += group.principal_minor.0;
        }
    }
    currencies.into_iter().map(|(code, sums)| Ok(risk(currency(code)?, &sums))).collect()
}

fn risk(currency: Currency, sums: &[(i64, i128); BUCKETS.len()]) -> RiskOfCurrency {
    let from = |at: usize| sums[at..].iter().map(|(_, principal_minor)| principal_minor).sum::<i128>();
    let whole_minor = from(0);
    let lines = BUCKETS.iter().zip(sums).map(|((bucket, days_from, days_to), (loans, principal_minor))| RiskLine {
        bucket,
        days_from: *days_from,
        days_to: *days_to,
        loans: *loans,
        outstanding_principal: money::decimal(*principal_minor, currency),
        share: share(*principal_minor, whole_minor),
    });
    RiskOfCurrency {
        currency: currency.code().to_owned(),
        lines: lines.collect(),
        loans: sums.iter().map(|(loans, _)| loans).sum(),
        outstanding_principal: money::decimal(whole_minor, currency),
        at_risk_share: share(from(1), whole_minor),
        at_risk_over_30_share: share(from(2), whole_minor),
    }
}

/// A share with four decimals, halves up; of nothing it is nothing.
fn share(part_minor: i128, whole_minor: i128) -> String {
    let parts = match whole_minor {
        ..=0 => 0,
        whole_minor => (part_minor.max(0) * PARTS * 2 + whole_minor) / (whole_minor * 2),
    };
    format!("{}.{:04}", parts / PARTS, parts % PARTS)
}

async fn select_accounts(
    snapshot: &mut Snapshot,
    as_of: NaiveDate,
    wanted: Option<Currency>,
    groups: &[Group],
) -> Result<Vec<PortfolioAccountView>> {
    // Days, less the legs that came after the position.
    let sql = "SELECT a.account_id, a.currency, ( \
                   SELECT COALESCE(sum(d.debit_minor - d.credit_minor), 0) FROM account_daily d \
                   WHERE d.account_id = a.account_id AND d.value_date <= $1)::text AS days_minor, ( \
                   SELECT COALESCE(sum(CASE g.side WHEN 'debit' THEN g.amount_minor ELSE -g.amount_minor END), 0) \
                   FROM legs g WHERE g.account_id = a.account_id AND g.value_date <= $1 AND g.position > $2 \
               )::text AS later_minor \
               FROM (SELECT DISTINCT portfolio_account_id AS account_id, currency FROM loan_products \
                     WHERE position <= $2 AND ($3::text IS NULL OR currency = $3)) a ORDER BY 2, 1";
    let rows: Vec<(Uuid, String, String, String)> = sqlx::query_as(sql)
        .bind(as_of)
        .bind(snapshot.position_bound())
        .bind(wanted.map(|currency| currency.code().to_owned()))
        .fetch_all(snapshot.connection())
        .await?;
    let view = |(account_id, code, days, later): (Uuid, String, String, String)| {
        let currency = currency(&code)?;
        let balance_minor = crate::amount::sum_minor(&days)? - crate::amount::sum_minor(&later)?;
        let of_account = groups.iter().filter(|group| group.portfolio_account_id == account_id);
        let loans_minor: i128 = of_account.map(|group| group.principal_minor.0).sum();
        Ok(PortfolioAccountView {
            account_id,
            currency: code,
            ledger_balance: money::decimal(balance_minor, currency),
            loans_principal: money::decimal(loans_minor, currency),
            agrees: balance_minor == loans_minor,
        })
    };
    rows.into_iter().map(view).collect()
}

async fn select_statuses(
    snapshot: &mut Snapshot,
    as_of: NaiveDate,
    wanted: Option<Currency>,
) -> Result<Vec<LoansOfStatus>> {
    let sql = "SELECT CASE WHEN l.closed_on <= $1 THEN 'closed' WHEN s.written_off THEN 'written_off' \
                    WHEN s.outstanding_minor > 0 THEN 'active' WHEN s.loan_id IS NOT NULL THEN 'repaid' \
                    WHEN l.rejected_on <= $1 THEN 'rejected' WHEN l.approved_on <= $1 AND l.status = 'disbursing' \
                    THEN 'disbursing' WHEN l.approved_on <= $1 THEN 'approved' ELSE 'applied' END AS status, \
                    count(*) AS loans \
               FROM loans l LEFT JOIN loans_as_of($1, $2) s ON s.loan_id = l.loan_id \
               WHERE l.position <= $2 AND l.applied_on <= $1 AND ($3::text IS NULL OR l.currency = $3) \
               GROUP BY 1 ORDER BY 1";
    Ok(sqlx::query_as(sql)
        .bind(as_of)
        .bind(snapshot.position_bound())
        .bind(wanted.map(|currency| currency.code().to_owned()))
        .fetch_all(snapshot.connection())
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_halves_up() {
        assert_eq!(share(0, 0), "0.0000");
        assert_eq!(share(1, 3), "0.3333");
        assert_eq!(share(2, 3), "0.6667");
        assert_eq!(share(1, 20_000), "0.0001");
        assert_eq!(share(1, 20_001), "0.0000");
        assert_eq!(share(7, 7), "1.0000");
    }
}
