//! The balance of an account as of any of the three dates, alone or together.
//!
//! A guarded account's balance is the sum of the entries of its own stream; an unguarded one's is
//! the sum of the legs on it up to the applied position, found as days less what came later.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use domain::money;
use event_store::LogReader;
use platform::Principal;
use platform::extract::StrictPath;
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::accounts::{AccountHead, account_head, account_not_found};
use crate::amount::{on_normal_side, sum_minor};
use crate::api::Api;
use crate::current_balances::Reading;
use crate::freshness::Snapshot;
use crate::parameters::{Freshness, Parameters};
use crate::reply::{Answer, Result, rfc3339};

/// The dates as of which something is asked; without any, everything recorded counts.
#[derive(Clone, Copy, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AsOf {
    /// Only what belongs to this business date or an earlier one.
    #[param(example = "2026-01-31")]
    pub(crate) booking_date: Option<NaiveDate>,
    /// Only what counts for interest on this date or an earlier one.
    #[param(example = "2026-01-31")]
    pub(crate) value_date: Option<NaiveDate>,
    /// Only what was known at this time (RFC 3339).
    #[param(example = "2026-01-31T12:00:00Z")]
    pub(crate) recorded_at: Option<DateTime<Utc>>,
}

impl AsOf {
    /// What was known at a time is told only once all of it is applied, so that the answer never
    /// changes.
    pub(crate) async fn freshness(&self, asked: Freshness, log: &LogReader) -> Result<Freshness> {
        let Some(time) = self.recorded_at else { return Ok(asked) };
        let known = log.position_at(time.timestamp_micros()).await?;
        Ok(Freshness { min_position: asked.min_position.max(known), ..asked })
    }

    /// The three parameters.
    pub(crate) fn read(parameters: &mut Parameters) -> Self {
        Self {
            booking_date: parameters.date("booking_date"),
            value_date: parameters.date("value_date"),
            recorded_at: parameters.time("recorded_at"),
        }
    }

    /// Whether any date is given.
    pub(crate) fn is_given(&self) -> bool {
        self.booking_date.is_some() || self.value_date.is_some() || self.recorded_at.is_some()
    }

    /// Narrows a statement whose WHERE has begun to the two business dates.
    pub(crate) fn push_business_dates(&self, sql: &mut QueryBuilder<'_, Postgres>) {
        if let Some(date) = self.booking_date {
            sql.push(" AND booking_date <= ").push_bind(date);
        }
        if let Some(date) = self.value_date {
            sql.push(" AND value_date <= ").push_bind(date);
        }
    }

    /// Adds the condition that a leg, found among the sums of days, came later than what counts: after
    /// the snapshot's position or after the recording time.
    pub(crate) fn push_is_later(&self, snapshot: &Snapshot, sql: &mut QueryBuilder<'_, Postgres>) {
        sql.push(" AND (position > ").push_bind(snapshot.position_bound());
        if let Some(time) = self.recorded_at {
            sql.push(" OR recorded_at > ").push_bind(time);
        }
        sql.push(")");
    }

    /// As replies show it.
    pub(crate) fn view(&self) -> AsOfView {
        AsOfView {
            booking_date: self.booking_date,
            value_date: self.value_date,
            recorded_at: self.recorded_at.map(rfc3339),
        }
    }
}

/// The dates that were asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AsOfView {
    /// Business date.
    #[serde(skip_serializing_if = "Option::is_none")]
    booking_date: Option<NaiveDate>,
    /// Date for interest.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_date: Option<NaiveDate>,
    /// Recording time (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<String>,
}

/// An account's balance, on its normal side.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BalanceView {
    /// The account.
    account_id: Uuid,
    /// Its currency.
    #[schema(example = "CZK")]
    currency: String,
    /// The side on which it grows.
    #[schema(example = "credit")]
    normal_side: String,
    /// The dates that were asked for; empty: everything recorded.
    as_of: AsOfView,
    /// The balance.
    #[schema(example = "1234.56")]
    balance: String,
    /// What is held of it now; members' accounts only, and only when no date is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "200.00")]
    held: Option<String>,
    /// The balance less what is held, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1034.56")]
    available: Option<String>,
    /// Number of the account's events.
    version: i64,
    /// Whether events could not be applied, so that this may be behind.
    parked: bool,
}

/// The balance of an account, now or as of any of the three dates.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/balance", tag = "accounts",
    params(("id" = Uuid, Path, description = "The account"), AsOf, Freshness),
    responses((status = 200, description = "The balance", body = BalanceView))
)]
pub(crate) async fn get_balance(
    State(api): State<Api>,
    caller: Principal,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<BalanceView>> {
    let freshness = parameters.freshness();
    let as_of = AsOf::read(&mut parameters);
    parameters.finish()?;
    if caller.has_account(id) && !as_of.is_given() {
        let read = || api.current_balances.read(id);
        let reading = api.gate.at_least(freshness, read, |reading| reading.position).await?;
        if let Some(answer) = current(id, reading)? {
            return Ok(answer);
        }
    }
    let freshness = as_of.freshness(freshness, &api.log).await?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let account = account_head(&mut snapshot, &caller, id).await?;
    let decimal = |minor: i128| money::decimal(minor, account.currency);
    let balance_minor = select_balance(&mut snapshot, &account, as_of).await?;
    let held_minor = match account.guarded && !as_of.is_given() {
        true => Some(select_held(&mut snapshot, id).await?),
        false => None,
    };
    let view = BalanceView {
        account_id: id,
        currency: account.currency.code().to_owned(),
        as_of: as_of.view(),
        balance: decimal(balance_minor),
        held: held_minor.map(decimal),
        available: held_minor.map(|held_minor| decimal(balance_minor - held_minor)),
        version: account.version,
        parked: account.parked,
        normal_side: account.normal_side,
    };
    Ok(Answer { parked: view.parked, version: Some(view.version), ..Answer::new(snapshot.position, view) })
}

/// The answer by what is known of a member's account now; none for an internal account, whose legs are to
/// be summed up.
fn current(id: Uuid, reading: Reading) -> Result<Option<Answer<BalanceView>>> {
    let Reading { position, parked, account } = reading;
    let Some(account) = account else {
        return Err(account_not_found(position).parked(parked));
    };
    let Some((balance_minor, held_minor)) = account.minor else {
        return Ok(None);
    };
    let decimal = |minor: i128| money::decimal(minor, account.currency);
    let view = BalanceView {
        account_id: id,
        currency: account.currency.code().to_owned(),
        normal_side: account.normal_side,
        as_of: AsOf::default().view(),
        balance: decimal(balance_minor),
        held: Some(decimal(held_minor)),
        available: Some(decimal(balance_minor - held_minor)),
        version: account.version,
        parked,
    };
    Ok(Some(Answer { parked, version: Some(account.version), ..Answer::new(position, view) }))
}

/// The balance in minor units, on the normal side.
pub(crate) async fn select_balance(snapshot: &mut Snapshot, account: &AccountHead, as_of: AsOf) -> Result<i128> {
    match (account.guarded, as_of.is_given()) {
        (true, false) => {
            let sql = "SELECT balance_minor FROM account_balances WHERE account_id = $1";
            let (minor,): (i64,) = sqlx::query_as(sql).bind(account.id).fetch_one(snapshot.connection()).await?;
            Ok(minor.into())
        }
        (true, true) => {
            let mut sql = QueryBuilder::new(format!("{SUM_OF_ENTRIES} WHERE account_id = "));
            sql.push_bind(account.id);
            as_of.push_business_dates(&mut sql);
            if let Some(time) = as_of.recorded_at {
                sql.push(" AND recorded_at <= ").push_bind(time);
            }
            sum(snapshot, sql, account).await
        }
        (false, _) => {
            let days = |sql: &mut QueryBuilder<'static, Postgres>| as_of.push_business_dates(sql);
            select_sum_of_legs(snapshot, account, &as_of, days).await
        }
    }
}

const SUM_OF_ENTRIES: &str = "SELECT \
     COALESCE(sum(amount_minor) FILTER (WHERE side = 'debit'), 0)::text, \
     COALESCE(sum(amount_minor) FILTER (WHERE side = 'credit'), 0)::text FROM entries";

/// The balance of everything with a booking date before that one, in minor units.
pub(crate) async fn select_balance_before(
    snapshot: &mut Snapshot,
    account: &AccountHead,
    date: NaiveDate,
) -> Result<i128> {
    if account.guarded {
        let mut sql = QueryBuilder::new(format!("{SUM_OF_ENTRIES} WHERE account_id = "));
        sql.push_bind(account.id).push(" AND booking_date < ").push_bind(date);
        return sum(snapshot, sql, account).await;
    }
    let before = |sql: &mut QueryBuilder<'static, Postgres>| {
        sql.push(" AND booking_date < ").push_bind(date);
    };
    select_sum_of_legs(snapshot, account, &AsOf::default(), before).await
}

/// Days less the legs that came later than what counts.
async fn select_sum_of_legs(
    snapshot: &mut Snapshot,
    account: &AccountHead,
    as_of: &AsOf,
    push_dates: impl Fn(&mut QueryBuilder<'static, Postgres>),
) -> Result<i128> {
    let mut sql = QueryBuilder::new(
        "SELECT COALESCE(sum(debit_minor), 0)::text, COALESCE(sum(credit_minor), 0)::text FROM (\
         SELECT debit_minor, credit_minor FROM account_daily WHERE account_id = ",
    );
    sql.push_bind(account.id);
    push_dates(&mut sql);
    sql.push(
        " UNION ALL SELECT -sum(amount_minor) FILTER (WHERE side = 'debit'), \
         -sum(amount_minor) FILTER (WHERE side = 'credit') FROM legs WHERE account_id = ",
    );
    sql.push_bind(account.id);
    push_dates(&mut sql);
    as_of.push_is_later(snapshot, &mut sql);
    sql.push(") legs_and_days");
    sum(snapshot, sql, account).await
}

async fn sum(snapshot: &mut Snapshot, mut sql: QueryBuilder<'static, Postgres>, account: &AccountHead) -> Result<i128> {
    let (debit, credit): (String, String) = sql.build_query_as().fetch_one(snapshot.connection()).await?;
    Ok(on_normal_side(&account.normal_side, sum_minor(&debit)?, sum_minor(&credit)?))
}

async fn select_held(snapshot: &mut Snapshot, id: Uuid) -> Result<i128> {
    let sql = "SELECT held_minor::text FROM account_states WHERE account_id = $1";
    let (held,): (String,) = sqlx::query_as(sql).bind(id).fetch_one(snapshot.connection()).await?;
    Ok(sum_minor(&held)?)
}
