//! Paying a loan out: into a member's account at once, or to another bank in steps (held, then
//! confirmed or cancelled).

use chrono::NaiveDate;

use crate::account;
use crate::book::{Book, Context, Plan, Stop};
use crate::event::Event;
use crate::ids::{AccountId, LoanId, TransactionId};
use crate::loan::decide::{in_status, members_account, schedule};
use crate::loan::{Loan, LoanCommand, LoanEvent, LoanStatus, ScheduledInstalment, legs};
use crate::rejection::Rejection;
use crate::transaction::TransactionKind;
use crate::transaction::made::{self, Made};
use crate::words::ExternalReference;

pub(super) fn to_account(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::DisburseLoan { loan_id, transaction_id, to_account_id, booking_date, disbursed_on, first_due_on } =
        command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Approved])?;
    members_account(book, *to_account_id, loan.member_id, loan.currency)?;
    let dates = made::dates(*booking_date, *disbursed_on, book, context)?;
    let event = disbursed(
        *loan_id,
        loan,
        Paid {
            transaction_id: *transaction_id,
            to_account_id: Some(*to_account_id),
            bank_reference: None,
            booking_date: dates.booking_date,
            disbursed_on: dates.value_date,
            first_due_on: *first_due_on,
        },
    )?;
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::post(&booking(*transaction_id, loan, *to_account_id, dates, book)?, book, context)?);
    Ok(plan)
}

pub(super) fn start(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::StartDisbursement {
        loan_id,
        transaction_id,
        funding_account_id,
        destination,
        booking_date,
        disbursed_on,
        first_due_on,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Approved])?;
    if account::open_internal(book, *funding_account_id, loan.currency)?.dedicated.is_some() {
        return Err(Rejection::AccountDedicated { account_id: *funding_account_id }.into());
    }
    let dates = made::dates(*booking_date, *disbursed_on, book, context)?;
    // Refused now rather than after the money has left.
    schedule(*loan_id, loan, dates.value_date, *first_due_on)?;
    let event = LoanEvent::LoanDisbursementStarted {
        attempt: loan.disbursement_attempts + 1,
        transaction_id: *transaction_id,
        funding_account_id: *funding_account_id,
        destination: destination.clone(),
        disbursed_on: dates.value_date,
        first_due_on: *first_due_on,
    };
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::hold(&booking(*transaction_id, loan, *funding_account_id, dates, book)?, book, context)?);
    Ok(plan)
}

fn booking(
    transaction_id: TransactionId,
    loan: &Loan,
    other: AccountId,
    dates: made::Dates,
    book: &impl Book,
) -> Result<Made, Stop> {
    Ok(Made {
        transaction_id,
        kind: TransactionKind::LoanDisbursement,
        dates,
        legs: made::legs(&legs::disbursement(loan, other), loan.currency, book)?,
        external_reference: None,
    })
}

pub(super) fn confirm(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::ConfirmDisbursement { loan_id, bank_reference } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Disbursing])?;
    let Some(payout) = &loan.payout else {
        return Err(Rejection::LoanStatusConflict { loan_id: *loan_id, status: loan.status }.into());
    };
    let (posted, booking_date) = made::post_held(payout.transaction_id, book, context)?;
    let event = disbursed(
        *loan_id,
        loan,
        Paid {
            transaction_id: payout.transaction_id,
            to_account_id: None,
            bank_reference: bank_reference.clone(),
            booking_date,
            disbursed_on: payout.disbursed_on,
            first_due_on: payout.first_due_on,
        },
    )?;
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(posted);
    Ok(plan)
}

pub(super) fn cancel(command: &LoanCommand, book: &impl Book, _context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::CancelDisbursement { loan_id, reason } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Disbursing])?;
    let Some(payout) = &loan.payout else {
        return Err(Rejection::LoanStatusConflict { loan_id: *loan_id, status: loan.status }.into());
    };
    let event = LoanEvent::LoanDisbursementCancelled {
        attempt: loan.disbursement_attempts,
        transaction_id: payout.transaction_id,
        reason: reason.clone(),
    };
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::void_held(payout.transaction_id, reason, book)?);
    Ok(plan)
}

struct Paid {
    transaction_id: TransactionId,
    to_account_id: Option<AccountId>,
    bank_reference: Option<ExternalReference>,
    booking_date: NaiveDate,
    disbursed_on: NaiveDate,
    first_due_on: Option<NaiveDate>,
}

fn disbursed(loan_id: LoanId, loan: &Loan, paid: Paid) -> Result<Event, Rejection> {
    let schedule = schedule(loan_id, loan, paid.disbursed_on, paid.first_due_on)?
        .into_iter()
        .map(|instalment| ScheduledInstalment {
            number: instalment.number,
            due_on: instalment.due_on,
            principal_minor: instalment.principal_minor,
            interest_minor: instalment.interest_minor,
        })
        .collect();
    Ok(LoanEvent::LoanDisbursed {
        transaction_id: paid.transaction_id,
        to_account_id: paid.to_account_id,
        bank_reference: paid.bank_reference,
        booking_date: paid.booking_date,
        disbursed_on: paid.disbursed_on,
        principal_minor: loan.principal_minor,
        schedule_version: 1,
        schedule,
    }
    .into())
}
