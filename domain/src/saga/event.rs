//! What became true of a saga.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, LoanId, TransactionId};
use crate::money::Currency;
use crate::words::{ExternalReference, Number, ReasonCode};

/// What a saga is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Process {
    /// A loan is paid out to another bank.
    Disbursement {
        /// The loan.
        loan_id: LoanId,
        /// Which attempt to pay it out.
        attempt: u32,
    },
    /// A payment came in from another bank and finds its loan.
    IncomingPayment {
        /// The transaction that put it into suspense.
        transaction_id: TransactionId,
        /// Our account at the other bank.
        bank_account_id: AccountId,
        /// Where it waits.
        suspense_account_id: AccountId,
        /// How much, in minor units.
        amount_minor: i64,
        /// The currency.
        currency: Currency,
        /// How the bank knows it; unique.
        bank_reference: ExternalReference,
        /// The loan's number as the payer gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loan_number: Option<Number>,
        /// From when it counts.
        value_date: NaiveDate,
    },
    /// What a loan's instalments demand is collected from the member's account, due date by due date.
    Collection {
        /// The loan.
        loan_id: LoanId,
    },
}

impl Process {
    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Process::Disbursement { .. } => "disbursement",
            Process::IncomingPayment { .. } => "incoming_payment",
            Process::Collection { .. } => "collection",
        }
    }

    /// The step it begins with.
    pub const fn first_step(&self) -> Step {
        match self {
            Process::Disbursement { .. } => Step::PayOut,
            Process::IncomingPayment { .. } => Step::Match,
            Process::Collection { .. } => Step::Collect,
        }
    }
}

/// A step of a saga.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Disbursement: the other bank is asked to take the money. The pivot.
    #[default]
    PayOut,
    /// Disbursement: the hold is posted and the loan becomes active.
    Confirm,
    /// Disbursement, compensation: the hold is given up.
    Cancel,
    /// Incoming payment: the loan is found.
    Match,
    /// Incoming payment: the loan takes what it is owed.
    Allocate,
    /// Incoming payment: the other bank is asked to take back what is too much. Its pivot.
    Return,
    /// Incoming payment: what went back leaves the suspense account.
    BookReturn,
    /// Collection: what is due is taken from the member's account.
    Collect,
}

impl Step {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Step::PayOut => "pay_out",
            Step::Confirm => "confirm",
            Step::Cancel => "cancel",
            Step::Match => "match",
            Step::Allocate => "allocate",
            Step::Return => "return",
            Step::BookReturn => "book_return",
            Step::Collect => "collect",
        }
    }
}

/// What a person decided about a saga that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resolution {
    /// The payment is for that loan.
    AssignLoan {
        /// The loan.
        loan_id: LoanId,
    },
    /// The payment goes back.
    ReturnPayment,
}

/// An event of a saga's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum SagaEvent {
    /// It began.
    SagaStarted {
        /// What it is about.
        process: Process,
    },
    /// A step is done.
    StepSucceeded {
        /// The step.
        step: Step,
        /// The try that did it, from 1.
        attempt: u32,
        /// The loan that was found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loan_id: Option<LoanId>,
        /// How the other bank knows what it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bank_reference: Option<ExternalReference>,
        /// What is left of the payment, in minor units.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_minor: Option<i64>,
        /// When the next step is to be taken, if not at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_at: Option<DateTime<Utc>>,
    },
    /// A step failed and is tried again.
    StepFailed {
        /// The step.
        step: Step,
        /// Which try, from 1.
        attempt: u32,
        /// Why, as a code.
        code: ReasonCode,
        /// When it is tried again.
        retry_at: DateTime<Utc>,
    },
    /// It is not known whether a step happened at the other bank; it is asked again.
    StepUnknown {
        /// The step.
        step: Step,
        /// Which try, from 1.
        attempt: u32,
        /// What is known, as a code.
        code: ReasonCode,
        /// When it is asked again.
        ask_at: DateTime<Utc>,
    },
    /// A step before the pivot is refused for good: what was done is undone from here on.
    CompensationStarted {
        /// The step.
        step: Step,
        /// Why, as a code.
        code: ReasonCode,
    },
    /// It waits for a person.
    SagaParked {
        /// The step at which it stands.
        step: Step,
        /// Why, as a code.
        code: ReasonCode,
    },
    /// A person let it go on, at once.
    SagaResumed {
        /// What the person decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resolution: Option<Resolution>,
    },
    /// A person gave it up; what it has done stays as it is.
    SagaAbandoned {
        /// Why, as a code.
        reason: ReasonCode,
    },
    /// It is over.
    SagaCompleted {
        /// How it ended, as a code.
        outcome: ReasonCode,
    },
}
