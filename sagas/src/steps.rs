//! What a try of a step results in, and what all steps have in common.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::rejection::Rejection;
use domain::saga::{Process, SagaStatus, Step, Transition};
use domain::words::{ExternalReference, ReasonCode};
use domain::{Saga, SagaId};
use event_store::Store;

use crate::disbursement::Payout;
use crate::door::WorkError;
use crate::payments::PaymentPort;
use crate::{collection, disbursement, incoming};

/// What a try of a step resulted in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tried {
    /// To be written down.
    Became(Transition),
    /// Nothing happened and nothing is to be written down: look again then.
    Wait(DateTime<Utc>),
}

/// What steps work with.
pub(crate) struct Tools<'a> {
    pub(crate) store: &'a Store,
    pub(crate) port: &'a dyn PaymentPort,
    pub(crate) time_zone: Tz,
}

impl Tools<'_> {
    /// The business date.
    pub(crate) fn today(&self) -> NaiveDate {
        Utc::now().with_timezone(&self.time_zone).date_naive()
    }
}

/// A saga at a step that is to be tried.
pub(crate) struct Turn<'a> {
    pub(crate) saga_id: SagaId,
    pub(crate) saga: &'a Saga,
    /// That an order may go out was written down just now, by this runner: no try of it was made
    /// before this one.
    pub(crate) announced: bool,
}

/// The code of an order that may be on its way to the bank from now on.
const SENDING: &str = "sending";

impl Turn<'_> {
    /// Which try this is, from 1.
    pub(crate) const fn attempt(&self) -> u32 {
        self.saga.attempts + 1
    }

    /// The key of a command of this try: the same however often the try is made.
    pub(crate) fn key(&self, what: &str) -> String {
        format!("{}/{}/{what}/{}", self.saga_id, self.saga.entry, self.attempt())
    }

    /// A failure that is tried again after a growing wait.
    pub(crate) fn again(&self, code: &str) -> Tried {
        Tried::Became(Transition::Failed { code: reason(code), retry_at: self.after_wait() })
    }

    /// An outcome that is not known and is asked for after a growing wait.
    pub(crate) fn unknown(&self, code: &str) -> Tried {
        Tried::Became(Transition::Unknown { code: reason(code), ask_at: self.after_wait() })
    }

    /// Whether the order of this step may have gone out in an earlier try.
    pub(crate) fn in_doubt(&self) -> bool {
        self.saga.status == SagaStatus::Unknown && !self.announced
    }

    /// What to write down before an order goes out: from then on nobody can give the saga up, and a
    /// runner that dies while it sends leaves a doubt and not a hope.
    pub(crate) fn announce(&self) -> Option<Tried> {
        let unknown = Transition::Unknown { code: reason(SENDING), ask_at: Utc::now() };
        (self.saga.status != SagaStatus::Unknown).then_some(Tried::Became(unknown))
    }

    /// One second, two, four … up to a quarter of an hour.
    fn after_wait(&self) -> DateTime<Utc> {
        let tries = match self.saga.step {
            // Every second one only announces.
            Step::PayOut | Step::Return => self.saga.attempts / 2,
            Step::Confirm | Step::Cancel | Step::Match | Step::Allocate | Step::BookReturn | Step::Collect => {
                self.saga.attempts
            }
        };
        let seconds = 2_i64.saturating_pow(tries.min(10)).min(900);
        Utc::now() + TimeDelta::seconds(seconds)
    }

    /// A rule's refusal of a step that can only go forward: tried again for a while, since a period is
    /// opened or an account unfrozen by people; then it waits for one.
    pub(crate) fn forward_or_park(&self, rejection: &Rejection, tries_max: u32) -> Tried {
        if self.attempt() < tries_max { self.again(rejection.code()) } else { refused(rejection.code()) }
    }
}

/// A refusal for good.
pub(crate) fn refused(code: &str) -> Tried {
    Tried::Became(Transition::Refused { code: reason(code) })
}

/// A person has to look.
pub(crate) fn stuck(code: &str) -> Tried {
    Tried::Became(Transition::Stuck { code: reason(code) })
}

/// Done, with nothing to keep.
pub(crate) fn done() -> Tried {
    done_with(None, None, None)
}

/// Done, with what later steps need.
pub(crate) fn done_with(
    loan_id: Option<domain::LoanId>,
    bank_reference: Option<ExternalReference>,
    left_minor: Option<i64>,
) -> Tried {
    Tried::Became(Transition::Succeeded { loan_id, bank_reference, left_minor, next_at: None })
}

/// Whether a try only wrote down that an order is about to go out.
pub(crate) fn is_announcement(transition: &Transition) -> bool {
    matches!(transition, Transition::Unknown { code, .. } if code.as_str() == SENDING)
}

/// A code as an event has it; one that breaks the rule of codes is told as such.
pub(crate) fn reason(code: &str) -> ReasonCode {
    let fitting: String =
        code.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(64).collect();
    ReasonCode::try_new(fitting).unwrap_or_default()
}

/// The longest that one try of a step may take; the payment port's own limit is less.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Tries the step at which the saga stands.
pub(crate) async fn take(tools: &Tools<'_>, turn: &Turn<'_>) -> Result<Tried, WorkError> {
    let process = turn
        .saga
        .process
        .as_ref()
        .ok_or_else(|| WorkError::Inconsistent(format!("saga {} has no beginning", turn.saga_id)))?;
    match (process, turn.saga.step) {
        (Process::Disbursement { loan_id, attempt }, Step::PayOut) => {
            disbursement::pay_out(tools, turn, Payout { loan_id: *loan_id, number: *attempt }).await
        }
        (Process::Disbursement { loan_id, attempt }, Step::Confirm) => {
            disbursement::confirm(tools, turn, Payout { loan_id: *loan_id, number: *attempt }).await
        }
        (Process::Disbursement { loan_id, attempt }, Step::Cancel) => {
            disbursement::cancel(tools, turn, Payout { loan_id: *loan_id, number: *attempt }).await
        }
        (Process::IncomingPayment { .. }, Step::Match) => incoming::find_loan(tools, turn, process).await,
        (Process::IncomingPayment { .. }, Step::Allocate) => incoming::allocate(tools, turn, process).await,
        (Process::IncomingPayment { .. }, Step::Return) => incoming::give_back(tools, turn, process).await,
        (Process::IncomingPayment { .. }, Step::BookReturn) => incoming::book_return(tools, turn, process).await,
        (Process::Collection { loan_id }, Step::Collect) => collection::collect(tools, turn, *loan_id).await,
        (process, step) => Err(WorkError::Inconsistent(format!(
            "saga {}: a {} has no step {}",
            turn.saga_id,
            process.name(),
            step.name()
        ))),
    }
}
