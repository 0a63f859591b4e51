//! The fold of a saga's events.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::LoanId;
use crate::saga::{Process, Resolution, SagaEvent, Step};
use crate::words::{ExternalReference, ReasonCode};

/// Where a saga stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SagaStatus {
    /// On its way.
    #[default]
    Running,
    /// It is not known whether the step happened; it is asked.
    Unknown,
    /// Undoing what was done.
    Compensating,
    /// Waits for a person.
    Parked,
    /// Over.
    Completed,
    /// Given up by a person.
    Abandoned,
}

impl SagaStatus {
    /// Every status.
    pub const ALL: [SagaStatus; 6] = [
        SagaStatus::Running,
        SagaStatus::Unknown,
        SagaStatus::Compensating,
        SagaStatus::Parked,
        SagaStatus::Completed,
        SagaStatus::Abandoned,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            SagaStatus::Running => "running",
            SagaStatus::Unknown => "unknown",
            SagaStatus::Compensating => "compensating",
            SagaStatus::Parked => "parked",
            SagaStatus::Completed => "completed",
            SagaStatus::Abandoned => "abandoned",
        }
    }

    /// Whether it is over.
    pub const fn has_ended(self) -> bool {
        match self {
            SagaStatus::Completed | SagaStatus::Abandoned => true,
            SagaStatus::Running | SagaStatus::Unknown | SagaStatus::Compensating | SagaStatus::Parked => false,
        }
    }
}

/// A saga.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saga {
    /// What it is about; `None` only before its first event.
    pub process: Option<Process>,
    /// Where it stands.
    pub status: SagaStatus,
    /// The step that it is to take.
    pub step: Step,
    /// How many steps were entered; a step's commands are keyed by it, so that entering a step again
    /// is another command and trying it again the same.
    pub entry: u32,
    /// How many tries of that step were written down.
    pub attempts: u32,
    /// When that is to be done, if not at once.
    pub wake_at: Option<DateTime<Utc>>,
    /// Why it failed last or waits, as a code.
    pub code: Option<ReasonCode>,
    /// The loan that it is for.
    pub loan_id: Option<LoanId>,
    /// What is left of an incoming payment, in minor units.
    pub left_minor: i64,
    /// How the other bank knows the payout or the return.
    pub bank_reference: Option<ExternalReference>,
}

impl Saga {
    /// Applies an event.
    pub fn fold(&mut self, event: &SagaEvent) {
        match event {
            SagaEvent::SagaStarted { process } => {
                self.step = process.first_step();
                match process {
                    Process::Disbursement { loan_id, .. } | Process::Collection { loan_id } => {
                        self.loan_id = Some(*loan_id);
                    }
                    Process::IncomingPayment { amount_minor, .. } => self.left_minor = *amount_minor,
                }
                self.process = Some(process.clone());
            }
            SagaEvent::StepSucceeded { step, loan_id, bank_reference, left_minor, next_at, .. } => {
                self.loan_id = loan_id.or(self.loan_id);
                self.bank_reference = bank_reference.clone().or(self.bank_reference.take());
                self.left_minor = left_minor.unwrap_or(self.left_minor);
                self.known();
                // A payment of which nothing is left has no further step.
                let all_taken = *step == Step::Allocate && self.left_minor == 0;
                self.enter(if all_taken { *step } else { step.after() });
                self.wake_at = *next_at;
                self.code = None;
            }
            SagaEvent::StepFailed { attempt, code, retry_at, .. } => {
                self.attempts = *attempt;
                self.wake_at = Some(*retry_at);
                self.code = Some(code.clone());
                // A try that certainly did not happen ends the doubt about the one before.
                self.known();
            }
            SagaEvent::StepUnknown { attempt, code, ask_at, .. } => {
                self.attempts = *attempt;
                self.wake_at = Some(*ask_at);
                self.code = Some(code.clone());
                self.status = SagaStatus::Unknown;
            }
            SagaEvent::CompensationStarted { code, .. } => {
                self.status = SagaStatus::Compensating;
                self.enter(Step::Cancel);
                self.code = Some(code.clone());
            }
            SagaEvent::SagaParked { code, .. } => {
                self.status = SagaStatus::Parked;
                self.wake_at = None;
                self.code = Some(code.clone());
            }
            SagaEvent::SagaResumed { resolution } => self.resumed(*resolution),
            SagaEvent::SagaAbandoned { reason } => self.end(SagaStatus::Abandoned, reason),
            SagaEvent::SagaCompleted { outcome } => self.end(SagaStatus::Completed, outcome),
        }
    }

    fn enter(&mut self, step: Step) {
        self.step = step;
        self.entry += 1;
        self.attempts = 0;
        self.wake_at = None;
    }

    /// The doubt about a try is over.
    fn known(&mut self) {
        if self.status == SagaStatus::Unknown {
            self.status = self.going_on();
        }
    }

    const fn going_on(&self) -> SagaStatus {
        match self.step {
            Step::Cancel => SagaStatus::Compensating,
            Step::PayOut
            | Step::Confirm
            | Step::Match
            | Step::Allocate
            | Step::Return
            | Step::BookReturn
            | Step::Collect => SagaStatus::Running,
        }
    }

    fn resumed(&mut self, resolution: Option<Resolution>) {
        self.wake_at = None;
        let parked = self.status == SagaStatus::Parked;
        if parked {
            self.status = self.going_on();
        }
        match resolution {
            Some(Resolution::AssignLoan { loan_id }) => {
                self.loan_id = Some(loan_id);
                self.enter(Step::Allocate);
            }
            Some(Resolution::ReturnPayment) => self.enter(Step::Return),
            // What was refused is refused for ever: it is asked again as another command. A try whose
            // outcome is not known stays the same one, or it would happen twice.
            None if parked => self.enter(self.step),
            None => {}
        }
    }

    fn end(&mut self, status: SagaStatus, code: &ReasonCode) {
        self.status = status;
        self.wake_at = None;
        self.code = Some(code.clone());
    }
}

impl Step {
    /// The step that follows when this one is done; of a last step, itself.
    const fn after(self) -> Step {
        match self {
            Step::PayOut | Step::Confirm => Step::Confirm,
            Step::Cancel => Step::Cancel,
            Step::Match => Step::Allocate,
            Step::Allocate => Step::Return,
            Step::Return | Step::BookReturn => Step::BookReturn,
            Step::Collect => Step::Collect,
        }
    }
}
