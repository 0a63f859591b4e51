//! What may be asked about a saga: by its runner, and by people.

use chrono::{DateTime, NaiveDate, Utc};

use crate::book::{Missing, Reservation, ReservationKind};
use crate::ids::{AccountId, LoanId, SagaId, TransactionId};
use crate::money::Money;
use crate::saga::{Process, Resolution, Step};
use crate::words::{ExternalReference, Number, ReasonCode};

/// What became of a try of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// It is done.
    Succeeded {
        /// The loan that was found.
        loan_id: Option<LoanId>,
        /// How the other bank knows what it did.
        bank_reference: Option<ExternalReference>,
        /// What is left of the payment, in minor units.
        left_minor: Option<i64>,
        /// When the next step is to be taken, if not at once.
        next_at: Option<DateTime<Utc>>,
    },
    /// It is to be tried again then.
    Failed {
        /// Why, as a code.
        code: ReasonCode,
        /// When.
        retry_at: DateTime<Utc>,
    },
    /// Whether it happened is to be asked then.
    Unknown {
        /// What is known, as a code.
        code: ReasonCode,
        /// When.
        ask_at: DateTime<Utc>,
    },
    /// It will never happen: compensate where that is possible, else wait for a person.
    Refused {
        /// Why, as a code.
        code: ReasonCode,
    },
    /// Neither going on nor compensating is known to be right: a person has to look.
    Stuck {
        /// Why, as a code.
        code: ReasonCode,
    },
    /// There is nothing left to do.
    Finished {
        /// How it ended, as a code.
        outcome: ReasonCode,
    },
}

/// A command on a saga.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum SagaCommand {
    /// Begin a saga on something that happened.
    StartSaga { saga_id: SagaId, process: Process },
    /// Take in a payment from another bank: it waits in suspense while a saga finds its loan.
    ReceivePayment {
        saga_id: SagaId,
        transaction_id: TransactionId,
        bank_account_id: AccountId,
        suspense_account_id: AccountId,
        amount: Money,
        bank_reference: ExternalReference,
        loan_number: Option<Number>,
        booking_date: Option<NaiveDate>,
        value_date: Option<NaiveDate>,
    },
    /// Write down what became of a try of the step at which the saga stands.
    AdvanceSaga {
        saga_id: SagaId,
        step: Step,
        /// Which try of the step, from 1.
        attempt: u32,
        transition: Transition,
    },
    /// Let it go on at once.
    ResumeSaga { saga_id: SagaId, resolution: Option<Resolution> },
    /// Give it up, or where something has to be undone, begin with that.
    AbandonSaga { saga_id: SagaId, reason: ReasonCode },
}

impl SagaCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            SagaCommand::StartSaga { .. } => "StartSaga",
            SagaCommand::ReceivePayment { .. } => "ReceivePayment",
            SagaCommand::AdvanceSaga { .. } => "AdvanceSaga",
            SagaCommand::ResumeSaga { .. } => "ResumeSaga",
            SagaCommand::AbandonSaga { .. } => "AbandonSaga",
        }
    }

    /// The saga that the command is about.
    pub fn target(&self) -> SagaId {
        match self {
            SagaCommand::StartSaga { saga_id, .. }
            | SagaCommand::ReceivePayment { saga_id, .. }
            | SagaCommand::AdvanceSaga { saga_id, .. }
            | SagaCommand::ResumeSaga { saga_id, .. }
            | SagaCommand::AbandonSaga { saga_id, .. } => *saga_id,
        }
    }

    pub(crate) fn needs(&self, needs: &mut Vec<Missing>) {
        if let SagaCommand::ReceivePayment {
            transaction_id,
            bank_account_id,
            suspense_account_id,
            bank_reference,
            ..
        } = self
        {
            needs.push(Missing::Stream(transaction_id.stream()));
            needs.push(Missing::Stream(bank_account_id.stream()));
            needs.push(Missing::Stream(suspense_account_id.stream()));
            let reservation = Reservation::new(ReservationKind::ExternalReference, bank_reference.as_str());
            needs.push(Missing::Reservation(reservation));
        }
    }
}
