//! Schedules of loans, what is charged on them, what is paid of them, what is written off.
//!
//! What an instalment has been paid is added up again from its allocations whenever one of them comes
//! or is undone: so a reversal needs nothing but the payment's id.

use chrono::{DateTime, NaiveDate, Utc};
use domain::Event;
use domain::loan::{Amounts, LoanEvent};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, rows};

#[derive(Default)]
pub(super) struct LoanSchedule {
    instalments: Vec<Instalment>,
    charges: Vec<Charge>,
    payments: Vec<Payment>,
    allocations: Vec<Allocation>,
    reversals: Vec<Reversal>,
    write_offs: Vec<WriteOff>,
}

/// A row of `loan_instalments` as scheduled.
#[derive(Serialize)]
struct Instalment {
    loan_id: Uuid,
    instalment: u16,
    due_on: NaiveDate,
    principal_due_minor: i64,
    interest_due_minor: i64,
    fee_due_minor: i64,
    penalty_due_minor: i64,
    principal_paid_minor: i64,
    interest_paid_minor: i64,
    fee_paid_minor: i64,
    penalty_paid_minor: i64,
    schedule_version: u32,
    position: i64,
}

/// A row of `loan_charges`.
#[derive(Serialize)]
struct Charge {
    loan_id: Uuid,
    transaction_id: Uuid,
    instalment: u16,
    component: &'static str,
    amount_minor: i64,
    reason: String,
    position: i64,
    recorded_at: DateTime<Utc>,
}

/// A row of `loan_payments` as received.
#[derive(Serialize)]
struct Payment {
    loan_id: Uuid,
    transaction_id: Uuid,
    from_account_id: Uuid,
    amount_minor: i64,
    surplus_minor: i64,
    surplus_account_id: Option<Uuid>,
    booking_date: NaiveDate,
    value_date: NaiveDate,
    schedule_version: u32,
    position: i64,
    recorded_at: DateTime<Utc>,
}

/// A row of `loan_allocations` as received.
#[derive(Serialize)]
struct Allocation {
    loan_id: Uuid,
    transaction_id: Uuid,
    instalment: u16,
    component: &'static str,
    amount_minor: i64,
    value_date: NaiveDate,
    position: i64,
}

/// What a reversal changes in a row of `loan_payments`.
#[derive(Serialize)]
struct Reversal {
    loan_id: Uuid,
    transaction_id: Uuid,
    reversed_by: Uuid,
    reversed_reason: String,
    reversed_on: NaiveDate,
    reversed_position: i64,
}

/// A row of `loan_write_offs`.
#[derive(Serialize)]
struct WriteOff {
    loan_id: Uuid,
    transaction_id: Uuid,
    #[serde(flatten)]
    amounts: Amounts,
    reason: String,
    written_off_on: NaiveDate,
    position: i64,
    recorded_at: DateTime<Utc>,
}

const INSERT_INSTALMENTS: &str =
    "INSERT INTO loan_instalments SELECT * FROM json_populate_recordset(NULL::loan_instalments, $1::json)";
const INSERT_CHARGES: &str =
    "INSERT INTO loan_charges SELECT * FROM json_populate_recordset(NULL::loan_charges, $1::json)";
const INSERT_PAYMENTS: &str =
    "INSERT INTO loan_payments SELECT * FROM json_populate_recordset(NULL::loan_payments, $1::json)";
const INSERT_ALLOCATIONS: &str =
    "INSERT INTO loan_allocations SELECT * FROM json_populate_recordset(NULL::loan_allocations, $1::json)";
const INSERT_WRITE_OFFS: &str =
    "INSERT INTO loan_write_offs SELECT * FROM json_populate_recordset(NULL::loan_write_offs, $1::json)";
const REVERSE_PAYMENTS: &str = "UPDATE loan_payments p SET reversed_by = u.reversed_by, \
     reversed_reason = u.reversed_reason, reversed_on = u.reversed_on, reversed_position = u.reversed_position \
     FROM json_populate_recordset(NULL::loan_payments, $1::json) u \
     WHERE p.loan_id = u.loan_id AND p.transaction_id = u.transaction_id";
const REVERSE_ALLOCATIONS: &str = "UPDATE loan_allocations a SET reversed_position = u.reversed_position \
     FROM json_populate_recordset(NULL::loan_payments, $1::json) u \
     WHERE a.loan_id = u.loan_id AND a.transaction_id = u.transaction_id";
const DUE: &str = "UPDATE loan_instalments i SET fee_due_minor = s.fee, penalty_due_minor = s.penalty FROM ( \
         SELECT loan_id, instalment, \
                COALESCE(sum(amount_minor) FILTER (WHERE component = 'fee'), 0)::bigint AS fee, \
                COALESCE(sum(amount_minor) FILTER (WHERE component = 'penalty'), 0)::bigint AS penalty \
         FROM loan_charges WHERE loan_id = ANY($1) GROUP BY loan_id, instalment) s \
     WHERE i.loan_id = s.loan_id AND i.instalment = s.instalment \
       AND (i.fee_due_minor, i.penalty_due_minor) IS DISTINCT FROM (s.fee, s.penalty)";
const PAID: &str = "UPDATE loan_instalments i SET principal_paid_minor = s.principal, \
         interest_paid_minor = s.interest, fee_paid_minor = s.fee, penalty_paid_minor = s.penalty FROM ( \
         SELECT t.loan_id, t.instalment, \
                COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'principal'), 0)::bigint AS principal, \
                COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'interest'), 0)::bigint AS interest, \
                COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'fee'), 0)::bigint AS fee, \
                COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'penalty'), 0)::bigint AS penalty \
         FROM (SELECT DISTINCT t.loan_id, t.instalment FROM loan_allocations t \
               JOIN unnest($1::uuid[], $2::uuid[]) AS u (loan_id, transaction_id) USING (loan_id, transaction_id)) t \
         LEFT JOIN loan_allocations a \
              ON a.loan_id = t.loan_id AND a.instalment = t.instalment AND a.reversed_position IS NULL \
         GROUP BY t.loan_id, t.instalment) s \
     WHERE i.loan_id = s.loan_id AND i.instalment = s.instalment";

impl LoanSchedule {
    fn disbursed(&mut self, fact: &Fact<'_>, event: &LoanEvent) {
        let LoanEvent::LoanDisbursed { schedule_version, schedule, .. } = event else { return };
        self.instalments.extend(schedule.iter().map(|scheduled| Instalment {
            loan_id: fact.id(),
            instalment: scheduled.number,
            due_on: scheduled.due_on,
            principal_due_minor: scheduled.principal_minor,
            interest_due_minor: scheduled.interest_minor,
            fee_due_minor: 0,
            penalty_due_minor: 0,
            principal_paid_minor: 0,
            interest_paid_minor: 0,
            fee_paid_minor: 0,
            penalty_paid_minor: 0,
            schedule_version: *schedule_version,
            position: fact.position(),
        }));
    }

    fn received(&mut self, fact: &Fact<'_>, event: &LoanEvent) {
        let LoanEvent::RepaymentReceived {
            transaction_id,
            from_account_id,
            amount_minor,
            surplus_minor,
            surplus_account_id,
            booking_date,
            value_date,
            schedule_version,
            allocation,
            ..
        } = event
        else {
            return;
        };
        self.payments.push(Payment {
            loan_id: fact.id(),
            transaction_id: transaction_id.0,
            from_account_id: from_account_id.0,
            amount_minor: *amount_minor,
            surplus_minor: *surplus_minor,
            surplus_account_id: surplus_account_id.map(|id| id.0),
            booking_date: *booking_date,
            value_date: *value_date,
            schedule_version: *schedule_version,
            position: fact.position(),
            recorded_at: fact.recorded_at(),
        });
        self.allocations.extend(allocation.iter().map(|settled| Allocation {
            loan_id: fact.id(),
            transaction_id: transaction_id.0,
            instalment: settled.instalment,
            component: settled.component.name(),
            amount_minor: settled.amount_minor,
            value_date: *value_date,
            position: fact.position(),
        }));
    }
}

impl<'a> ReadModel<'a> for LoanSchedule {
    const TABLES: &'static [&'static str] =
        &["loan_instalments", "loan_payments", "loan_allocations", "loan_charges", "loan_write_offs"];

    fn collect(&mut self, fact: &Fact<'a>) {
        let Event::Loan(event) = fact.event else { return };
        match event {
            LoanEvent::LoanDisbursed { .. } => self.disbursed(fact, event),
            LoanEvent::LoanCharged { transaction_id, instalment, component, amount_minor, reason } => {
                self.charges.push(Charge {
                    loan_id: fact.id(),
                    transaction_id: transaction_id.0,
                    instalment: *instalment,
                    component: component.name(),
                    amount_minor: *amount_minor,
                    reason: reason.as_str().to_owned(),
                    position: fact.position(),
                    recorded_at: fact.recorded_at(),
                });
            }
            LoanEvent::RepaymentReceived { .. } => self.received(fact, event),
            LoanEvent::RepaymentReversed { repayment_id, transaction_id, reason, booking_date, .. } => {
                self.reversals.push(Reversal {
                    loan_id: fact.id(),
                    transaction_id: repayment_id.0,
                    reversed_by: transaction_id.0,
                    reversed_reason: reason.as_str().to_owned(),
                    reversed_on: *booking_date,
                    reversed_position: fact.position(),
                });
            }
            LoanEvent::LoanWrittenOff { transaction_id, written_off, reason, written_off_on } => {
                self.write_offs.push(WriteOff {
                    loan_id: fact.id(),
                    transaction_id: transaction_id.0,
                    amounts: *written_off,
                    reason: reason.as_str().to_owned(),
                    written_off_on: *written_off_on,
                    position: fact.position(),
                    recorded_at: fact.recorded_at(),
                });
            }
            LoanEvent::LoanApplied { .. }
            | LoanEvent::LoanApproved { .. }
            | LoanEvent::LoanRejected { .. }
            | LoanEvent::LoanDisbursementStarted { .. }
            | LoanEvent::LoanDisbursementCancelled { .. }
            | LoanEvent::InterestAccrued { .. }
            | LoanEvent::LoanRepaid { .. }
            | LoanEvent::LoanClosed { .. } => {}
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let model = std::mem::take(self);
        rows::write(connection, INSERT_INSTALMENTS, &model.instalments).await?;
        rows::write(connection, INSERT_CHARGES, &model.charges).await?;
        rows::write(connection, INSERT_PAYMENTS, &model.payments).await?;
        rows::write(connection, INSERT_ALLOCATIONS, &model.allocations).await?;
        rows::write(connection, REVERSE_PAYMENTS, &model.reversals).await?;
        rows::write(connection, REVERSE_ALLOCATIONS, &model.reversals).await?;
        rows::write(connection, INSERT_WRITE_OFFS, &model.write_offs).await?;
        if !model.charges.is_empty() {
            let loans: Vec<Uuid> = model.charges.iter().map(|charge| charge.loan_id).collect();
            sqlx::query(DUE).bind(loans).execute(&mut *connection).await?;
        }
        let payments = model.payments.iter().map(|payment| (payment.loan_id, payment.transaction_id));
        let undone = model.reversals.iter().map(|reversal| (reversal.loan_id, reversal.transaction_id));
        let (loans, transactions): (Vec<Uuid>, Vec<Uuid>) = payments.chain(undone).unzip();
        if !loans.is_empty() {
            sqlx::query(PAID).bind(loans).bind(transactions).execute(connection).await?;
        }
        Ok(())
    }
}
