//! The rules of sagas: which step may follow which, and what a person may do about them.

use crate::account;
use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::ids::SagaId;
use crate::money::Side;
use crate::rejection::Rejection;
use crate::saga::{Process, Resolution, Saga, SagaCommand, SagaEvent, SagaStatus, Step, Transition};
use crate::transaction::TransactionKind;
use crate::transaction::made::{self, Made, MadeLeg};
use crate::words::ReasonCode;

/// Decides a command on a saga.
pub fn decide(command: &SagaCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    match command {
        SagaCommand::StartSaga { saga_id, process } => {
            check_new(*saga_id, book)?;
            let started = SagaEvent::SagaStarted { process: process.clone() };
            Ok(Plan::one(saga_id.stream(), started).creating())
        }
        SagaCommand::ReceivePayment { .. } => receive(command, book, context),
        SagaCommand::AdvanceSaga { saga_id, step, attempt, transition } => {
            let saga = going_on(book, *saga_id)?;
            if saga.status == SagaStatus::Parked || (*step, *attempt) != (saga.step, saga.attempts + 1) {
                return Err(Rejection::SagaStepOutOfTurn { saga_id: *saga_id }.into());
            }
            Ok(advance(*saga_id, saga, *step, *attempt, transition))
        }
        SagaCommand::ResumeSaga { saga_id, resolution } => {
            let saga = going_on(book, *saga_id)?;
            if let Some(resolution) = resolution {
                check_resolution(*saga_id, saga, *resolution, book)?;
            }
            Ok(Plan::one(saga_id.stream(), SagaEvent::SagaResumed { resolution: *resolution }))
        }
        SagaCommand::AbandonSaga { saga_id, reason } => abandon(*saga_id, reason, book),
    }
}

fn check_new(saga_id: SagaId, book: &impl Book) -> Result<(), Stop> {
    if book.saga(saga_id)?.is_some() {
        return Err(Rejection::IdTaken { stream: saga_id.stream() }.into());
    }
    Ok(())
}

fn going_on(book: &impl Book, saga_id: SagaId) -> Result<&Saga, Stop> {
    let saga = book.saga(saga_id)?.ok_or(Rejection::SagaNotFound { saga_id })?;
    if saga.status.has_ended() {
        return Err(Rejection::SagaEnded { saga_id }.into());
    }
    Ok(saga)
}

fn receive(command: &SagaCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let SagaCommand::ReceivePayment {
        saga_id,
        transaction_id,
        bank_account_id,
        suspense_account_id,
        amount,
        bank_reference,
        loan_number,
        booking_date,
        value_date,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let reservation = Reservation::new(ReservationKind::ExternalReference, bank_reference.as_str());
    // The reference tells more than the ids that were derived from it.
    if book.is_reserved(&reservation)? {
        return Err(Rejection::ExternalReferenceTaken.into());
    }
    check_new(*saga_id, book)?;
    for account_id in [*bank_account_id, *suspense_account_id] {
        if account::open_internal(book, account_id, amount.currency)?.dedicated.is_some() {
            return Err(Rejection::AccountDedicated { account_id }.into());
        }
    }
    if bank_account_id == suspense_account_id {
        return Err(Rejection::SameAccount { account_id: *bank_account_id }.into());
    }
    if amount.amount_minor <= 0 {
        return Err(Rejection::AmountOutOfRange { amount: *amount }.into());
    }
    let dates = made::dates(*booking_date, *value_date, book, context)?;
    let leg = |account_id, side| MadeLeg { account_id, side, amount_minor: amount.amount_minor, component: None };
    let legs = [leg(*bank_account_id, Side::Debit), leg(*suspense_account_id, Side::Credit)];
    let deposit = Made {
        transaction_id: *transaction_id,
        kind: TransactionKind::Deposit,
        dates,
        legs: made::legs(&legs, amount.currency, book)?,
        external_reference: Some(bank_reference.clone()),
    };
    let process = Process::IncomingPayment {
        transaction_id: *transaction_id,
        bank_account_id: *bank_account_id,
        suspense_account_id: *suspense_account_id,
        amount_minor: amount.amount_minor,
        currency: amount.currency,
        bank_reference: bank_reference.clone(),
        loan_number: loan_number.clone(),
        value_date: dates.value_date,
    };
    let mut plan = Plan::one(saga_id.stream(), SagaEvent::SagaStarted { process }).creating().reserving(reservation);
    plan.events.extend(made::post(&deposit, book, context)?);
    Ok(plan)
}

fn advance(saga_id: SagaId, saga: &Saga, step: Step, attempt: u32, transition: &Transition) -> Plan {
    let one = |event| Plan::one(saga_id.stream(), event);
    match transition {
        Transition::Succeeded { loan_id, bank_reference, left_minor, next_at } => {
            let event = SagaEvent::StepSucceeded {
                step,
                attempt,
                loan_id: *loan_id,
                bank_reference: bank_reference.clone(),
                left_minor: *left_minor,
                next_at: *next_at,
            };
            let mut plan = one(event);
            if let Some(outcome) = last_step(step, left_minor.unwrap_or(saga.left_minor)) {
                plan.events.push((saga_id.stream(), SagaEvent::SagaCompleted { outcome }.into()));
            }
            plan
        }
        Transition::Failed { code, retry_at } => {
            one(SagaEvent::StepFailed { step, attempt, code: code.clone(), retry_at: *retry_at })
        }
        Transition::Unknown { code, ask_at } => {
            one(SagaEvent::StepUnknown { step, attempt, code: code.clone(), ask_at: *ask_at })
        }
        Transition::Refused { code } => match step {
            Step::PayOut => one(SagaEvent::CompensationStarted { step, code: code.clone() }),
            // After the pivot, or with nothing to undo: only a person can help.
            Step::Confirm
            | Step::Cancel
            | Step::Match
            | Step::Allocate
            | Step::Return
            | Step::BookReturn
            | Step::Collect => one(SagaEvent::SagaParked { step, code: code.clone() }),
        },
        Transition::Stuck { code } => one(SagaEvent::SagaParked { step, code: code.clone() }),
        Transition::Finished { outcome } => one(SagaEvent::SagaCompleted { outcome: outcome.clone() }),
    }
}

/// How the saga ends with this step done, if it does.
fn last_step(step: Step, left_minor: i64) -> Option<ReasonCode> {
    let outcome = match step {
        Step::Confirm => "disbursed",
        Step::Cancel => "cancelled",
        Step::Allocate if left_minor == 0 => "allocated",
        Step::BookReturn => "returned",
        Step::PayOut | Step::Match | Step::Allocate | Step::Return | Step::Collect => return None,
    };
    ReasonCode::try_new(outcome).ok()
}

fn check_resolution(saga_id: SagaId, saga: &Saga, resolution: Resolution, book: &impl Book) -> Result<(), Stop> {
    let untouched = matches!(saga.process, Some(Process::IncomingPayment { .. }))
        && matches!(saga.step, Step::Match | Step::Allocate)
        && saga.status == SagaStatus::Parked;
    if !untouched {
        return Err(Rejection::SagaNotParked { saga_id }.into());
    }
    match resolution {
        Resolution::AssignLoan { loan_id } => {
            book.loan(loan_id)?.ok_or(Rejection::LoanNotFound { loan_id })?;
        }
        Resolution::ReturnPayment => {}
    }
    Ok(())
}

fn abandon(saga_id: SagaId, reason: &ReasonCode, book: &impl Book) -> Result<Plan, Stop> {
    let saga = going_on(book, saga_id)?;
    let event = match (saga.status, saga.step) {
        // The other bank may have done it: neither undoing nor forgetting is right before that is known.
        (SagaStatus::Unknown, _) => return Err(Rejection::SagaOutcomeUnknown { saga_id }.into()),
        (_, Step::Confirm | Step::Cancel | Step::BookReturn) => {
            return Err(Rejection::SagaPastPivot { saga_id }.into());
        }
        (_, Step::PayOut) => SagaEvent::CompensationStarted { step: Step::PayOut, code: reason.clone() },
        (_, Step::Match | Step::Allocate | Step::Return | Step::Collect) => {
            SagaEvent::SagaAbandoned { reason: reason.clone() }
        }
    };
    Ok(Plan::one(saga_id.stream(), event))
}
