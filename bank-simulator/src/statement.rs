//! The statement: every movement in order, and those that came in as the file that Daybook imports.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use platform::Problem;
use platform::extract::StrictQuery;
use serde::{Deserialize, Serialize};

use crate::Shared;
use crate::movement::{Kind, Movement};

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Csv,
}

#[derive(Serialize)]
struct Items {
    items: Vec<Movement>,
    /// The number to ask on after; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<u64>,
}

/// `GET /statements?after=&limit=&format=`.
pub(crate) async fn get(State(shared): State<Arc<Shared>>, StrictQuery(page): StrictQuery<Page>) -> Response {
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("limit must be from 1 to {LIMIT_MAX}");
        return Problem::malformed("invalid_query", detail).into_response();
    }
    let after = usize::try_from(page.after).unwrap_or(usize::MAX);
    match page.format {
        Format::Json => {
            let (items, more) = shared.bank.look(|book| {
                let rest = book.movements().get(after..).unwrap_or_default();
                (rest.iter().take(limit).cloned().collect::<Vec<_>>(), rest.len() > limit)
            });
            let next_after = items.last().filter(|_| more).map(|movement| movement.number);
            Json(Items { items, next_after }).into_response()
        }
        Format::Csv => {
            let incoming: Vec<Movement> = shared.bank.look(|book| {
                let rest = book.movements().get(after..).unwrap_or_default().iter();
                let rest = rest.filter(|movement| movement.kind == Kind::Incoming);
                rest.take(page.limit.unwrap_or(usize::MAX)).cloned().collect()
            });
            match file(&incoming) {
                Ok(file) => ([(CONTENT_TYPE, "text/csv; charset=utf-8")], file).into_response(),
                Err(error) => {
                    tracing::error!(%error, "the statement cannot be written");
                    Problem::internal().into_response()
                }
            }
        }
    }
}

/// The file of incoming payments; its columns are those of docs/incoming-payments.md.
fn file(incoming: &[Movement]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["bank_reference", "booked_on", "value_date", "amount", "currency", "reference"])?;
    for movement in incoming {
        writer.write_record([
            movement.bank_reference.as_str(),
            &movement.booked_on.to_string(),
            &movement.value_date.to_string(),
            &movement.amount.amount.to_string(),
            &movement.amount.currency,
            &movement.reference,
        ])?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
