//! Lists in the order of positions: the frame that they share.
//!
//! Invariant: a page goes up to the applied position only. Beyond it one partition may be ahead of
//! another, and what is put in before the cursor later would be missed.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres, QueryBuilder};

use crate::api::Api;
use crate::cursor;
use crate::freshness::Snapshot;
use crate::parameters::{Freshness, Page};
use crate::reply::{Answer, List, Result};

/// A row of a list.
pub(crate) trait Listed: for<'r> FromRow<'r, PgRow> + Send + Unpin {
    /// What the reply shows of it.
    type View;
    /// The column of its position, as the statement names it.
    const POSITION: &'static str;

    /// Its position, by which the list is ordered.
    fn position(&self) -> i64;

    /// Whether its events are parked.
    fn is_parked(&self) -> bool;

    /// What the reply shows of it.
    fn view(self) -> Result<Self::View>;
}

/// A page of a list by a statement whose WHERE has begun.
pub(crate) async fn answer<R: Listed>(
    api: &Api,
    list: &str,
    (freshness, page): (Freshness, Page),
    statement: impl FnOnce(&Snapshot) -> QueryBuilder<'static, Postgres>,
) -> Result<Answer<List<R::View>>> {
    let after = cursor::read(list, page.cursor.as_deref())?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let sql = statement(&snapshot);
    select_page::<R>(&mut snapshot, list, (after, page.limit), sql).await
}

/// The same in a snapshot that is there already.
pub(crate) async fn select_page<R: Listed>(
    snapshot: &mut Snapshot,
    list: &str,
    (after, limit): (Option<i64>, u32),
    mut sql: QueryBuilder<'static, Postgres>,
) -> Result<Answer<List<R::View>>> {
    sql.push(" AND ").push(R::POSITION).push(" <= ").push_bind(snapshot.position_bound());
    sql.push(" AND ").push(R::POSITION).push(" > ").push_bind(after.unwrap_or(0));
    sql.push(" ORDER BY ").push(R::POSITION).push(" LIMIT ").push_bind(i64::from(limit) + 1);
    let rows: Vec<R> = sql.build_query_as().fetch_all(snapshot.connection()).await?;
    let page = List::of(rows, limit, list, R::position)?;
    let parked = page.items.iter().any(R::is_parked);
    let items = page.items.into_iter().map(R::view).collect::<Result<Vec<_>>>()?;
    Ok(Answer { parked, ..Answer::new(snapshot.position, List { items, next_cursor: page.next_cursor }) })
}
