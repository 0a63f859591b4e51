//! The table of work: which sagas are not over, when each is to be looked at, who has it now.
//!
//! Times are the database's, so that runners with different clocks agree. A lease that runs out
//! gives the saga to another runner; that both may then work on it is safe, since every command
//! and every payment has an id that follows from the saga.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Saga, SagaId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

/// For how long a runner has a saga, unless it renews that in time.
const LEASE: Duration = Duration::from_secs(15);
/// How often a runner renews what it has.
pub(crate) const RENEWAL: Duration = Duration::from_secs(5);
/// The longest wait after failures of our own parts.
const FAILED_WAIT_MAX: Duration = Duration::from_secs(600);

/// A saga that a runner has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leased {
    pub(crate) saga_id: SagaId,
    /// When it was due; another value later means that somebody has set it anew.
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) failures: i32,
}

/// Work that is due, with its age, by process.
#[derive(Clone, Debug, PartialEq)]
pub struct Overdue {
    /// The process.
    pub process: String,
    /// How many sagas of it are due and not leased.
    pub count: i64,
    /// For how many seconds the oldest is due.
    pub oldest_seconds: i64,
}

/// A saga that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The saga.
    pub saga_id: SagaId,
    /// Its process.
    pub process: String,
    /// Where it stands.
    pub status: String,
    /// The step that it is to take.
    pub step: String,
    /// When it is looked at again; none: it waits for a person.
    pub due_at: Option<DateTime<Utc>>,
    /// How often our own parts failed on it in a row.
    pub failures: i32,
    /// The last such failure.
    pub last_failure: Option<String>,
}

/// Notes a saga as it is now; one that is over is no longer work. What is due at once is due at a
/// moment of its own, by which whoever has the saga now sees that it was set anew.
pub(crate) async fn note(connection: &mut PgConnection, saga_id: SagaId, saga: &Saga) -> Result<(), sqlx::Error> {
    if saga.status.has_ended() {
        return forget(connection, saga_id).await;
    }
    sqlx::query(
        "INSERT INTO saga_work (saga_id, process, status, step, due_at) VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN NULL ELSE COALESCE($6, clock_timestamp()) END) \
         ON CONFLICT (saga_id) DO UPDATE SET status = excluded.status, step = excluded.step, \
         due_at = excluded.due_at, failures = 0, last_failure = NULL",
    )
    .bind(saga_id.0)
    .bind(process_name(saga))
    .bind(saga.status.name())
    .bind(saga.step.name())
    .bind(is_parked(saga))
    .bind(saga.wake_at)
    .execute(connection)
    .await?;
    Ok(())
}

fn process_name(saga: &Saga) -> &'static str {
    saga.process.as_ref().map_or("", domain::saga::Process::name)
}

/// Such a one is due to nobody's clock.
fn is_parked(saga: &Saga) -> bool {
    saga.status == domain::saga::SagaStatus::Parked
}

async fn forget(connection: &mut PgConnection, saga_id: SagaId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM saga_work WHERE saga_id = $1").bind(saga_id.0).execute(connection).await?;
    Ok(())
}

/// Takes up to `limit` sagas that are due, the longest due first.
pub(crate) async fn take(pool: &PgPool, runner: Uuid, limit: usize) -> Result<Vec<Leased>, sqlx::Error> {
    // Materialized: as a plain subquery it may be run once a row, and the limit with it.
    let rows = sqlx::query(
        "WITH due AS MATERIALIZED (SELECT saga_id FROM saga_work WHERE due_at <= now() \
             AND (leased_until IS NULL OR leased_until < now()) \
             ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
         UPDATE saga_work SET leased_by = $1, leased_until = now() + make_interval(secs => $2) \
         FROM due WHERE saga_work.saga_id = due.saga_id \
         RETURNING saga_work.saga_id, saga_work.due_at, saga_work.failures",
    )
    .bind(runner)
    .bind(i32::try_from(LEASE.as_secs()).unwrap_or(i32::MAX))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Leased {
                saga_id: SagaId(row.try_get("saga_id")?),
                due_at: row.try_get("due_at")?,
                failures: row.try_get("failures")?,
            })
        })
        .collect()
}

/// Gives a saga back as it is now, to be looked at `at` if that is later than what it says itself.
pub(crate) async fn give_back(
    pool: &PgPool,
    runner: Uuid,
    leased: Leased,
    saga: &Saga,
    at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    if saga.status.has_ended() {
        return forget(&mut *pool.acquire().await?, leased.saga_id).await;
    }
    // What the feed noted meanwhile, a person's word say, stands.
    sqlx::query(
        "UPDATE saga_work SET leased_by = NULL, leased_until = NULL, status = $3, step = $4, \
         due_at = CASE WHEN due_at <> $5 THEN due_at WHEN $6 THEN NULL ELSE COALESCE($7, clock_timestamp()) END, \
         failures = 0, last_failure = NULL \
         WHERE saga_id = $1 AND leased_by = $2",
    )
    .bind(leased.saga_id.0)
    .bind(runner)
    .bind(saga.status.name())
    .bind(saga.step.name())
    .bind(leased.due_at)
    .bind(at.is_none() && is_parked(saga))
    .bind(at.or(saga.wake_at))
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives a saga back that our own parts failed on. Each such saga has its own wait, which grows to ten
/// minutes, so that it keeps nobody else waiting; it is never forgotten, for what is mended (a database,
/// a rule) then mends it too.
pub(crate) async fn give_back_failed(
    pool: &PgPool,
    runner: Uuid,
    leased: Leased,
    failure: &str,
) -> Result<(), sqlx::Error> {
    let failures = leased.failures.saturating_add(1);
    let wait = Duration::from_secs(2_u64.saturating_pow(failures.clamp(0, 10).unsigned_abs())).min(FAILED_WAIT_MAX);
    sqlx::query(
        "UPDATE saga_work SET leased_by = NULL, leased_until = NULL, failures = $3, last_failure = $4, \
         due_at = CASE WHEN due_at <> $6 THEN due_at ELSE now() + make_interval(secs => $5) END \
         WHERE saga_id = $1 AND leased_by = $2",
    )
    .bind(leased.saga_id.0)
    .bind(runner)
    .bind(failures)
    .bind(failure)
    .bind(wait.as_secs_f64())
    .bind(leased.due_at)
    .execute(pool)
    .await?;
    Ok(())
}

/// Renews the leases of the sagas that a runner is at work on; one that has run out stays so, since
/// another may have the saga by now. A lease that the runner does not know of, because the answer to
/// its taking or to its giving back was lost, is not renewed, and runs out.
pub(crate) async fn renew(pool: &PgPool, runner: Uuid, at_work: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE saga_work SET leased_until = now() + make_interval(secs => $2) \
         WHERE leased_by = $1 AND saga_id = ANY($3) AND leased_until > now()",
    )
    .bind(runner)
    .bind(i32::try_from(LEASE.as_secs()).unwrap_or(i32::MAX))
    .bind(at_work)
    .execute(pool)
    .await?;
    Ok(())
}

/// Until the next saga that nobody has is due: zero when one is, none when none ever will be by itself.
pub(crate) async fn next_due_in(pool: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT ceil(extract(epoch from due_at - now()) * 1000)::bigint AS milliseconds FROM saga_work \
         WHERE due_at IS NOT NULL AND (leased_until IS NULL OR leased_until < now()) ORDER BY due_at LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    let milliseconds: Option<i64> = row.map(|row| row.try_get("milliseconds")).transpose()?;
    Ok(milliseconds.map(|milliseconds| Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))))
}

/// What is due and not worked on, by process.
///
/// # Errors
/// The log's database does not answer.
pub async fn overdue(pool: &PgPool) -> Result<Vec<Overdue>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT process, count(*) AS count, \
         extract(epoch from now() - min(GREATEST(due_at, now() - interval '1 year')))::bigint AS oldest \
         FROM saga_work WHERE due_at <= now() AND (leased_until IS NULL OR leased_until < now()) GROUP BY process",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Overdue {
                process: row.try_get("process")?,
                count: row.try_get("count")?,
                oldest_seconds: row.try_get("oldest")?,
            })
        })
        .collect()
}

/// How many sagas are not over, by process and status.
///
/// # Errors
/// The log's database does not answer.
pub async fn counts(pool: &PgPool) -> Result<Vec<(String, String, i64)>, sqlx::Error> {
    let rows = sqlx::query("SELECT process, status, count(*) AS count FROM saga_work GROUP BY process, status")
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("process")?, row.try_get("status")?, row.try_get("count")?))).collect()
}

/// Sagas that are not over, of one status or of all; those that wait for a person first, then by when
/// they are due.
///
/// # Errors
/// The log's database does not answer.
pub async fn open(pool: &PgPool, status: Option<&str>, limit: u32) -> Result<Vec<Open>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT saga_id, process, status, step, due_at, failures, last_failure FROM saga_work \
         WHERE $1::text IS NULL OR status = $1 ORDER BY due_at NULLS FIRST, saga_id LIMIT $2",
    )
    .bind(status)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(read_open).collect()
}

/// One saga, while it is not over.
///
/// # Errors
/// The log's database does not answer.
pub async fn of(pool: &PgPool, saga_id: SagaId) -> Result<Option<Open>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT saga_id, process, status, step, due_at, failures, last_failure FROM saga_work WHERE saga_id = $1",
    )
    .bind(saga_id.0)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(read_open).transpose()
}

fn read_open(row: &PgRow) -> Result<Open, sqlx::Error> {
    Ok(Open {
        saga_id: SagaId(row.try_get("saga_id")?),
        process: row.try_get("process")?,
        status: row.try_get("status")?,
        step: row.try_get("step")?,
        due_at: row.try_get("due_at")?,
        failures: row.try_get("failures")?,
        last_failure: row.try_get("last_failure")?,
    })
}
