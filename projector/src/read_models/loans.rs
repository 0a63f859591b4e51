//! Loans: one row each, with what is owed of it now by component.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use domain::Event;
use domain::loan::{Amounts, LoanEvent, LoanStatus, LoanTerms};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, missing, rows};

#[derive(Default)]
pub(super) struct Loans<'a> {
    changes: Vec<(Fact<'a>, &'a LoanEvent)>,
}

/// A row of `loans`.
#[derive(Serialize, Deserialize)]
struct Row {
    loan_id: Uuid,
    number: String,
    member_id: Uuid,
    product_id: Uuid,
    product_version: u32,
    status: LoanStatus,
    status_reason: Option<String>,
    currency: String,
    principal_minor: i64,
    /// As text, since a JSON number would pass through binary fractions.
    annual_rate: String,
    instalments: u16,
    terms: LoanTerms,
    settlement_account_id: Option<Uuid>,
    purpose: Option<String>,
    branch: Option<String>,
    portfolio_account_id: Uuid,
    interest_receivable_account_id: Uuid,
    charges_receivable_account_id: Uuid,
    applied_on: NaiveDate,
    approved_on: Option<NaiveDate>,
    rejected_on: Option<NaiveDate>,
    disbursed_on: Option<NaiveDate>,
    repaid_on: Option<NaiveDate>,
    written_off_on: Option<NaiveDate>,
    closed_on: Option<NaiveDate>,
    disbursement_attempts: u32,
    disbursement_transaction_id: Option<Uuid>,
    disbursed_to_account_id: Option<Uuid>,
    bank_reference: Option<String>,
    schedule_version: u32,
    principal_outstanding_minor: i64,
    interest_outstanding_minor: i64,
    fee_outstanding_minor: i64,
    penalty_outstanding_minor: i64,
    position: i64,
    recorded_at: DateTime<Utc>,
    version: i64,
    updated_position: i64,
    updated_at: DateTime<Utc>,
}

const LOAD: &str = "SELECT (to_jsonb(l) || jsonb_build_object('annual_rate', l.annual_rate::text))::text \
     FROM loans l WHERE loan_id = ANY($1)";
const UPSERT: &str = "INSERT INTO loans SELECT * FROM json_populate_recordset(NULL::loans, $1::json) \
     ON CONFLICT (loan_id) DO UPDATE SET status = EXCLUDED.status, status_reason = EXCLUDED.status_reason, \
     principal_minor = EXCLUDED.principal_minor, annual_rate = EXCLUDED.annual_rate, \
     instalments = EXCLUDED.instalments, approved_on = EXCLUDED.approved_on, rejected_on = EXCLUDED.rejected_on, \
     disbursed_on = EXCLUDED.disbursed_on, repaid_on = EXCLUDED.repaid_on, written_off_on = EXCLUDED.written_off_on, \
     closed_on = EXCLUDED.closed_on, disbursement_attempts = EXCLUDED.disbursement_attempts, \
     disbursement_transaction_id = EXCLUDED.disbursement_transaction_id, \
     disbursed_to_account_id = EXCLUDED.disbursed_to_account_id, bank_reference = EXCLUDED.bank_reference, \
     schedule_version = EXCLUDED.schedule_version, \
     principal_outstanding_minor = EXCLUDED.principal_outstanding_minor, \
     interest_outstanding_minor = EXCLUDED.interest_outstanding_minor, \
     fee_outstanding_minor = EXCLUDED.fee_outstanding_minor, \
     penalty_outstanding_minor = EXCLUDED.penalty_outstanding_minor, version = EXCLUDED.version, \
     updated_position = EXCLUDED.updated_position, updated_at = EXCLUDED.updated_at";

impl Row {
    /// The row after a first event; `None` for one that is not a first event.
    fn first(fact: &Fact<'_>, event: &LoanEvent) -> Option<Self> {
        let LoanEvent::LoanApplied {
            number,
            member_id,
            product_id,
            product_version,
            terms,
            accounts,
            currency,
            principal_minor,
            annual_rate,
            instalments,
            settlement_account_id,
            purpose,
            branch,
            applied_on,
        } = event
        else {
            return None;
        };
        Some(Self {
            loan_id: fact.id(),
            number: number.as_str().to_owned(),
            member_id: member_id.0,
            product_id: product_id.0,
            product_version: *product_version,
            status: LoanStatus::Applied,
            status_reason: None,
            currency: currency.code().to_owned(),
            principal_minor: *principal_minor,
            annual_rate: annual_rate.to_string(),
            instalments: *instalments,
            terms: terms.clone(),
            settlement_account_id: settlement_account_id.map(|id| id.0),
            purpose: purpose.as_ref().map(|purpose| purpose.as_str().to_owned()),
            branch: branch.as_ref().map(|branch| branch.as_str().to_owned()),
            portfolio_account_id: accounts.portfolio_account_id.0,
            interest_receivable_account_id: accounts.interest_receivable_account_id.0,
            charges_receivable_account_id: accounts.charges_receivable_account_id.0,
            applied_on: *applied_on,
            approved_on: None,
            rejected_on: None,
            disbursed_on: None,
            repaid_on: None,
            written_off_on: None,
            closed_on: None,
            disbursement_attempts: 0,
            disbursement_transaction_id: None,
            disbursed_to_account_id: None,
            bank_reference: None,
            schedule_version: 0,
            principal_outstanding_minor: 0,
            interest_outstanding_minor: 0,
            fee_outstanding_minor: 0,
            penalty_outstanding_minor: 0,
            position: fact.position(),
            recorded_at: fact.recorded_at(),
            version: fact.sequence(),
            updated_position: fact.position(),
            updated_at: fact.recorded_at(),
        })
    }

    fn fold(&mut self, fact: &Fact<'_>, event: &LoanEvent) {
        self.version = fact.sequence();
        self.updated_position = fact.position();
        self.updated_at = fact.recorded_at();
        match event {
            LoanEvent::LoanApplied { .. } | LoanEvent::InterestAccrued { .. } => {}
            LoanEvent::LoanApproved { principal_minor, annual_rate, instalments, approved_on } => {
                self.status = LoanStatus::Approved;
                self.principal_minor = *principal_minor;
                self.annual_rate = annual_rate.to_string();
                self.instalments = *instalments;
                self.approved_on = Some(*approved_on);
            }
            LoanEvent::LoanRejected { reason, rejected_on } => {
                self.enter(LoanStatus::Rejected, reason.as_str());
                self.rejected_on = Some(*rejected_on);
            }
            LoanEvent::LoanDisbursementStarted { attempt, transaction_id, .. } => {
                self.status = LoanStatus::Disbursing;
                self.disbursement_attempts = *attempt;
                self.disbursement_transaction_id = Some(transaction_id.0);
            }
            LoanEvent::LoanDisbursementCancelled { reason, .. } => self.enter(LoanStatus::Approved, reason.as_str()),
            LoanEvent::LoanDisbursed { .. } => self.disbursed(event),
            LoanEvent::LoanCharged { component, amount_minor, .. } => {
                let mut owed = self.outstanding();
                let of = owed.of_mut(*component);
                *of = of.saturating_add(*amount_minor);
                self.owe(owed);
            }
            LoanEvent::RepaymentReceived { outstanding, .. } => self.owe(*outstanding),
            LoanEvent::RepaymentReversed { outstanding, .. } => {
                self.status = LoanStatus::Active;
                self.repaid_on = None;
                self.owe(*outstanding);
            }
            LoanEvent::LoanRepaid { repaid_on } => {
                self.status = LoanStatus::Repaid;
                self.repaid_on = Some(*repaid_on);
            }
            LoanEvent::LoanWrittenOff { reason, written_off_on, .. } => {
                self.enter(LoanStatus::WrittenOff, reason.as_str());
                self.written_off_on = Some(*written_off_on);
            }
            LoanEvent::LoanClosed { closed_on } => {
                self.status = LoanStatus::Closed;
                self.closed_on = Some(*closed_on);
            }
        }
    }

    fn disbursed(&mut self, event: &LoanEvent) {
        let LoanEvent::LoanDisbursed {
            transaction_id,
            to_account_id,
            bank_reference,
            disbursed_on,
            principal_minor,
            schedule_version,
            schedule,
            ..
        } = event
        else {
            return;
        };
        self.status = LoanStatus::Active;
        self.status_reason = None;
        self.disbursement_transaction_id = Some(transaction_id.0);
        self.disbursed_to_account_id = to_account_id.map(|id| id.0);
        self.bank_reference = bank_reference.as_ref().map(|reference| reference.as_str().to_owned());
        self.disbursed_on = Some(*disbursed_on);
        self.principal_minor = *principal_minor;
        self.schedule_version = *schedule_version;
        let sum = |of: fn(&domain::loan::ScheduledInstalment) -> i64| {
            schedule.iter().map(of).fold(0, |sum: i64, amount_minor| sum.saturating_add(amount_minor))
        };
        self.owe(Amounts {
            principal_minor: sum(|instalment| instalment.principal_minor),
            interest_minor: sum(|instalment| instalment.interest_minor),
            ..Amounts::default()
        });
    }

    fn enter(&mut self, status: LoanStatus, reason: &str) {
        self.status = status;
        self.status_reason = Some(reason.to_owned());
    }

    fn outstanding(&self) -> Amounts {
        Amounts {
            principal_minor: self.principal_outstanding_minor,
            interest_minor: self.interest_outstanding_minor,
            fee_minor: self.fee_outstanding_minor,
            penalty_minor: self.penalty_outstanding_minor,
        }
    }

    fn owe(&mut self, owed: Amounts) {
        self.principal_outstanding_minor = owed.principal_minor;
        self.interest_outstanding_minor = owed.interest_minor;
        self.fee_outstanding_minor = owed.fee_minor;
        self.penalty_outstanding_minor = owed.penalty_minor;
    }
}

impl<'a> ReadModel<'a> for Loans<'a> {
    const TABLES: &'static [&'static str] = &["loans"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Loan(event) = fact.event {
            self.changes.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let first = self.changes.iter().filter_map(|(fact, event)| Row::first(fact, event));
        let mut loans: BTreeMap<Uuid, Row> = first.map(|row| (row.loan_id, row)).collect();
        let known: BTreeSet<Uuid> =
            self.changes.iter().map(|(fact, _)| fact.id()).filter(|id| !loans.contains_key(id)).collect();
        let known: Vec<Uuid> = known.into_iter().collect();
        let old: Vec<Row> = rows::load(connection, LOAD, &known).await?;
        loans.extend(old.into_iter().map(|row| (row.loan_id, row)));
        missing("loan", &known, |id| loans.contains_key(id))?;
        for (fact, event) in self.changes.drain(..) {
            if let Some(row) = loans.get_mut(&fact.id()) {
                row.fold(&fact, event);
            }
        }
        rows::write(connection, UPSERT, &loans.into_values().collect::<Vec<_>>()).await
    }
}
