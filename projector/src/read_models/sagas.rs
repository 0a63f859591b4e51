//! Sagas, and a line of their timeline for each of their events. Where a saga stands is what the
//! domain's own fold of its events says.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::Event;
use domain::ids::LoanId;
use domain::saga::{Process, Resolution, Saga, SagaEvent, SagaStatus, Step};
use domain::words::{ExternalReference, ReasonCode};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, missing, rows};

#[derive(Default)]
pub(super) struct Sagas<'a> {
    changes: Vec<(Fact<'a>, &'a SagaEvent)>,
}

/// A row of `sagas`.
#[derive(Serialize, Deserialize)]
struct Row {
    saga_id: Uuid,
    process: String,
    status: SagaStatus,
    step: Step,
    entry: u32,
    attempts: u32,
    wake_at: Option<DateTime<Utc>>,
    code: Option<ReasonCode>,
    loan_id: Option<LoanId>,
    disbursement_attempt: Option<u32>,
    transaction_id: Option<Uuid>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    left_minor: Option<i64>,
    payment_reference: Option<String>,
    loan_number: Option<String>,
    bank_reference: Option<ExternalReference>,
    position: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    version: i64,
    updated_position: i64,
    updated_at: DateTime<Utc>,
}

/// A row of `saga_timeline`.
#[derive(Default, Serialize)]
struct Line {
    saga_id: Uuid,
    sequence: i64,
    what: &'static str,
    step: Option<Step>,
    attempt: Option<u32>,
    code: Option<String>,
    until: Option<DateTime<Utc>>,
    loan_id: Option<LoanId>,
    bank_reference: Option<String>,
    left_minor: Option<i64>,
    resolution: Option<&'static str>,
    position: i64,
    recorded_at: DateTime<Utc>,
}

const LOAD: &str = "SELECT row_to_json(s)::text FROM sagas s WHERE saga_id = ANY($1)";
const UPSERT: &str = "INSERT INTO sagas SELECT * FROM json_populate_recordset(NULL::sagas, $1::json) \
     ON CONFLICT (saga_id) DO UPDATE SET status = EXCLUDED.status, step = EXCLUDED.step, entry = EXCLUDED.entry, \
     attempts = EXCLUDED.attempts, wake_at = EXCLUDED.wake_at, code = EXCLUDED.code, loan_id = EXCLUDED.loan_id, \
     left_minor = EXCLUDED.left_minor, bank_reference = EXCLUDED.bank_reference, ended_at = EXCLUDED.ended_at, \
     version = EXCLUDED.version, updated_position = EXCLUDED.updated_position, updated_at = EXCLUDED.updated_at";
const INSERT_TIMELINE: &str =
    "INSERT INTO saga_timeline SELECT * FROM json_populate_recordset(NULL::saga_timeline, $1::json)";

impl Row {
    /// The row before its first event is folded; `None` for one that is not a first event.
    fn first(fact: &Fact<'_>, event: &SagaEvent) -> Option<Self> {
        let SagaEvent::SagaStarted { process } = event else { return None };
        let mut row = Self {
            saga_id: fact.id(),
            process: process.name().to_owned(),
            status: SagaStatus::Running,
            step: process.first_step(),
            entry: 0,
            attempts: 0,
            wake_at: None,
            code: None,
            loan_id: None,
            disbursement_attempt: None,
            transaction_id: None,
            amount_minor: None,
            currency: None,
            left_minor: None,
            payment_reference: None,
            loan_number: None,
            bank_reference: None,
            position: fact.position(),
            started_at: fact.recorded_at(),
            ended_at: None,
            version: fact.sequence(),
            updated_position: fact.position(),
            updated_at: fact.recorded_at(),
        };
        match process {
            Process::Disbursement { attempt, .. } => row.disbursement_attempt = Some(*attempt),
            Process::IncomingPayment {
                transaction_id, amount_minor, currency, bank_reference, loan_number, ..
            } => {
                row.transaction_id = Some(transaction_id.0);
                row.amount_minor = Some(*amount_minor);
                row.currency = Some(currency.code().to_owned());
                row.left_minor = Some(*amount_minor);
                row.payment_reference = Some(bank_reference.as_str().to_owned());
                row.loan_number = loan_number.as_ref().map(|number| number.as_str().to_owned());
            }
            Process::Collection { .. } => {}
        }
        Some(row)
    }

    fn fold(&mut self, fact: &Fact<'_>, event: &SagaEvent) {
        let mut saga = Saga {
            process: None,
            status: self.status,
            step: self.step,
            entry: self.entry,
            attempts: self.attempts,
            wake_at: self.wake_at,
            code: self.code.take(),
            loan_id: self.loan_id,
            left_minor: self.left_minor.unwrap_or(0),
            bank_reference: self.bank_reference.take(),
        };
        saga.fold(event);
        self.status = saga.status;
        self.step = saga.step;
        self.entry = saga.entry;
        self.attempts = saga.attempts;
        self.wake_at = saga.wake_at;
        self.code = saga.code;
        self.loan_id = saga.loan_id;
        self.left_minor = self.left_minor.map(|_| saga.left_minor);
        self.bank_reference = saga.bank_reference;
        self.ended_at = saga.status.has_ended().then(|| fact.recorded_at());
        self.version = fact.sequence();
        self.updated_position = fact.position();
        self.updated_at = fact.recorded_at();
    }
}

impl Line {
    fn of(fact: &Fact<'_>, event: &SagaEvent) -> Self {
        let text = |code: &ReasonCode| Some(code.as_str().to_owned());
        let line = Self {
            saga_id: fact.id(),
            sequence: fact.sequence(),
            what: event.name(),
            position: fact.position(),
            recorded_at: fact.recorded_at(),
            ..Self::default()
        };
        match event {
            SagaEvent::SagaStarted { process } => Self { step: Some(process.first_step()), ..line },
            SagaEvent::StepSucceeded { step, attempt, loan_id, bank_reference, left_minor, next_at } => Self {
                step: Some(*step),
                attempt: Some(*attempt),
                loan_id: *loan_id,
                bank_reference: bank_reference.as_ref().map(|reference| reference.as_str().to_owned()),
                left_minor: *left_minor,
                until: *next_at,
                ..line
            },
            SagaEvent::StepFailed { step, attempt, code, retry_at: until }
            | SagaEvent::StepUnknown { step, attempt, code, ask_at: until } => {
                Self { step: Some(*step), attempt: Some(*attempt), code: text(code), until: Some(*until), ..line }
            }
            SagaEvent::CompensationStarted { step, code } | SagaEvent::SagaParked { step, code } => {
                Self { step: Some(*step), code: text(code), ..line }
            }
            SagaEvent::SagaResumed { resolution } => match resolution {
                Some(Resolution::AssignLoan { loan_id }) => {
                    Self { resolution: Some("assign_loan"), loan_id: Some(*loan_id), ..line }
                }
                Some(Resolution::ReturnPayment) => Self { resolution: Some("return_payment"), ..line },
                None => line,
            },
            SagaEvent::SagaAbandoned { reason: code } | SagaEvent::SagaCompleted { outcome: code } => {
                Self { code: text(code), ..line }
            }
        }
    }
}

impl<'a> ReadModel<'a> for Sagas<'a> {
    const TABLES: &'static [&'static str] = &["sagas", "saga_timeline"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Saga(event) = fact.event {
            self.changes.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let lines: Vec<_> = self.changes.iter().map(|(fact, event)| Line::of(fact, event)).collect();
        let first = self.changes.iter().filter_map(|(fact, event)| Row::first(fact, event));
        let mut sagas: BTreeMap<Uuid, Row> = first.map(|row| (row.saga_id, row)).collect();
        let known: BTreeSet<Uuid> =
            self.changes.iter().map(|(fact, _)| fact.id()).filter(|id| !sagas.contains_key(id)).collect();
        let known: Vec<Uuid> = known.into_iter().collect();
        let old: Vec<Row> = rows::load(connection, LOAD, &known).await?;
        sagas.extend(old.into_iter().map(|row| (row.saga_id, row)));
        missing("saga", &known, |id| sagas.contains_key(id))?;
        for (fact, event) in self.changes.drain(..) {
            if let Some(row) = sagas.get_mut(&fact.id()) {
                row.fold(&fact, event);
            }
        }
        rows::write(connection, UPSERT, &sagas.into_values().collect::<Vec<_>>()).await?;
        rows::write(connection, INSERT_TIMELINE, &lines).await
    }
}
