//! Sagas: by id with their timeline, and as a list.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::money;
use domain::saga::SagaStatus;
use platform::extract::StrictPath;
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::amount::{Amount, currency};
use crate::api::Api;
use crate::freshness::Snapshot;
use crate::listing::{self, Listed};
use crate::parameters::{Freshness, Page, Parameters};
use crate::parked::is_parked;
use crate::reply::{Answer, Failure, List, Result, rfc3339, serialize_optional_time, serialize_time};

const PROCESSES: [&str; 3] = ["disbursement", "incoming_payment", "collection"];
const LIST: &str = "sagas";
/// Most lines of a timeline; the newest are shown.
const TIMELINE_MAX: i64 = 1_000;

/// What happened to a saga.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct SagaEventView {
    /// When it was recorded (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_time")]
    at: DateTime<Utc>,
    /// The type of the event.
    #[schema(example = "StepFailed")]
    what: String,
    /// The step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "pay_out")]
    step: Option<String>,
    /// Which try of the step, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
    /// Why, or how it ended, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// When the next step or try is to be taken (RFC 3339, UTC).
    #[serde(serialize_with = "serialize_optional_time", skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    /// The loan that was found, or named by a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    loan_id: Option<Uuid>,
    /// How the other bank knows what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    bank_reference: Option<String>,
    /// What a person decided: `assign_loan` or `return_payment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
    /// Position of the event.
    position: i64,
}

/// A saga: a disbursement, an incoming payment or a loan's collection on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SagaView {
    /// The id.
    id: Uuid,
    /// `disbursement`, `incoming_payment` or `collection`.
    #[schema(example = "disbursement")]
    process: String,
    /// `running`, `unknown`, `compensating`, `parked`, `completed` or `abandoned`.
    #[schema(example = "running")]
    status: String,
    /// The step that it is to take, or took last.
    #[schema(example = "pay_out")]
    step: String,
    /// How many tries of that step were written down.
    attempts: i64,
    /// When that is to be done, if not at once (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    wake_at: Option<String>,
    /// Why it failed last or waits, or how it ended, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The loan that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    loan_id: Option<Uuid>,
    /// Which attempt to pay the loan out; disbursements only.
    #[serde(skip_serializing_if = "Option::is_none")]
    disbursement_attempt: Option<i64>,
    /// The transaction that put the payment into suspense; incoming payments only.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<Uuid>,
    /// How much came in; incoming payments only.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    /// What is left of it; a decimal in its currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0.00")]
    left: Option<String>,
    /// How the other bank knows the incoming payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_reference: Option<String>,
    /// The loan's number as the payer gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    loan_number: Option<String>,
    /// How the other bank knows the payout or the return.
    #[serde(skip_serializing_if = "Option::is_none")]
    bank_reference: Option<String>,
    /// What happened to it, the oldest first, the newest 1000 at most; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<SagaEventView>>,
    /// When it was started (RFC 3339, UTC).
    started_at: String,
    /// When its last event was recorded (RFC 3339, UTC).
    updated_at: String,
    /// When it ended (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Number of its events.
    version: i64,
    /// Position of its first event; lists are in this order.
    position: i64,
    /// Whether events of it could not be applied, so that this may be behind.
    parked: bool,
}

/// Which sagas.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SagaFilter {
    /// `disbursement`, `incoming_payment` or `collection`.
    #[param(value_type = Option<String>, example = "disbursement")]
    process: Option<&'static str>,
    /// `running`, `unknown`, `compensating`, `parked`, `completed` or `abandoned`.
    #[param(value_type = Option<String>, example = "parked")]
    status: Option<&'static str>,
    /// Sagas for this loan.
    #[param(example = "00aa2035-3c00-7e0a-85e3-7403a8f322b9")]
    loan_id: Option<Uuid>,
}

/// Sagas.
///
/// In the order in which they were started.
#[utoipa::path(
    get, path = "/v1/sagas", tag = "sagas", params(SagaFilter, Page, Freshness),
    responses((status = 200, description = "A page of sagas", body = List<SagaView>))
)]
pub(crate) async fn list_sagas(State(api): State<Api>, mut parameters: Parameters) -> Result<Answer<List<SagaView>>> {
    let asked = (parameters.freshness(), parameters.page());
    let filter = SagaFilter {
        process: parameters.choice("process", &PROCESSES),
        status: parameters.choice("status", &SagaStatus::ALL.map(SagaStatus::name)),
        loan_id: parameters.id("loan_id"),
    };
    parameters.finish()?;
    listing::answer::<Row>(&api, LIST, asked, |_| filter.statement()).await
}

/// A saga, with its timeline.
#[utoipa::path(
    get, path = "/v1/sagas/{id}", tag = "sagas",
    params(("id" = Uuid, Path, description = "The saga"), Freshness),
    responses((status = 200, description = "The saga", body = SagaView))
)]
pub(crate) async fn get_saga(
    State(api): State<Api>,
    StrictPath(id): StrictPath<Uuid>,
    mut parameters: Parameters,
) -> Result<Answer<SagaView>> {
    let freshness = parameters.freshness();
    parameters.finish()?;
    let mut snapshot = api.gate.snapshot(freshness).await?;
    let mut sql = select();
    sql.push(" AND s.saga_id = ").push_bind(id);
    let row: Option<Row> = sql.build_query_as().fetch_optional(snapshot.connection()).await?;
    let Some(row) = row else {
        let parked = is_parked(snapshot.connection(), &format!("saga/{id}")).await?;
        let missing = Failure::not_found("saga_not_found", "saga with this id", snapshot.position);
        return Err(missing.parked(parked));
    };
    let mut saga = row.view()?;
    saga.timeline = Some(select_timeline(&mut snapshot, id).await?);
    Ok(Answer { version: Some(saga.version), parked: saga.parked, ..Answer::new(snapshot.position, saga) })
}

#[derive(sqlx::FromRow)]
struct Row {
    saga_id: Uuid,
    process: String,
    status: String,
    step: String,
    attempts: i64,
    wake_at: Option<DateTime<Utc>>,
    code: Option<String>,
    loan_id: Option<Uuid>,
    disbursement_attempt: Option<i64>,
    transaction_id: Option<Uuid>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    left_minor: Option<i64>,
    payment_reference: Option<String>,
    loan_number: Option<String>,
    bank_reference: Option<String>,
    position: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    version: i64,
    updated_at: DateTime<Utc>,
    parked: bool,
}

impl Listed for Row {
    type View = SagaView;
    const POSITION: &'static str = "s.position";

    fn position(&self) -> i64 {
        self.position
    }

    fn is_parked(&self) -> bool {
        self.parked
    }

    fn view(self) -> Result<SagaView> {
        let currency = self.currency.as_deref().map(currency).transpose()?;
        let amount = self.amount_minor.zip(currency).map(|(minor, currency)| Amount::new(minor, currency));
        let left = self.left_minor.zip(currency).map(|(minor, currency)| money::decimal(minor.into(), currency));
        Ok(SagaView {
            id: self.saga_id,
            process: self.process,
            status: self.status,
            step: self.step,
            attempts: self.attempts,
            wake_at: self.wake_at.map(rfc3339),
            code: self.code,
            loan_id: self.loan_id,
            disbursement_attempt: self.disbursement_attempt,
            transaction_id: self.transaction_id,
            amount,
            left,
            payment_reference: self.payment_reference,
            loan_number: self.loan_number,
            bank_reference: self.bank_reference,
            timeline: None,
            started_at: rfc3339(self.started_at),
            updated_at: rfc3339(self.updated_at),
            ended_at: self.ended_at.map(rfc3339),
            version: self.version,
            position: self.position,
            parked: self.parked,
        })
    }
}

fn select() -> QueryBuilder<'static, Postgres> {
    QueryBuilder::new(
        "SELECT s.*, EXISTS (SELECT 1 FROM parked_events p WHERE p.projection = 'core' \
         AND p.stream = 'saga/' || s.saga_id) AS parked FROM sagas s WHERE true",
    )
}

impl SagaFilter {
    fn statement(&self) -> QueryBuilder<'static, Postgres> {
        let mut sql = select();
        for (column, wanted) in [("process", self.process), ("status", self.status)] {
            if let Some(wanted) = wanted {
                sql.push(" AND s.").push(column).push(" = ").push_bind(wanted);
            }
        }
        if let Some(loan_id) = self.loan_id {
            sql.push(" AND s.loan_id = ").push_bind(loan_id);
        }
        sql
    }
}

async fn select_timeline(snapshot: &mut Snapshot, id: Uuid) -> Result<Vec<SagaEventView>> {
    let sql = "SELECT recorded_at AS at, what, step, attempt, code, until, loan_id, bank_reference, resolution, position \
               FROM (SELECT * FROM saga_timeline WHERE saga_id = $1 ORDER BY sequence DESC LIMIT $2) newest \
               ORDER BY sequence";
    Ok(sqlx::query_as(sql).bind(id).bind(TIMELINE_MAX).fetch_all(snapshot.connection()).await?)
}
