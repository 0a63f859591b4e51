//! What changes what is owed: accruals, charges, payments and their reversal, write-off.

use chrono::NaiveDate;

use crate::account;
use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::ids::{AccountId, LoanId, TransactionId};
use crate::loan::decide::in_status;
use crate::loan::{Amounts, InstalmentInterest, Loan, LoanCommand, LoanEvent, LoanStatus, Surplus, allocation, legs};
use crate::money::{AMOUNT_MINOR_MAX, Money};
use crate::product::Component;
use crate::rejection::Rejection;
use crate::transaction::TransactionKind;
use crate::transaction::made::{self, Dates, Made, MadeLeg};
use crate::words::ExternalReference;

pub(super) fn accrue(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::AccrueInterest { loan_id, transaction_id, through } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Active])?;
    let through = through.unwrap_or(context.business_date);
    let dates = made::dates(Some(through), None, book, context)?;
    let mut instalments = Vec::new();
    let mut sum_minor = 0;
    for instalment in loan.instalments.iter().filter(|instalment| instalment.due_on <= through) {
        let amount_minor = instalment.due.interest_minor - instalment.recognised_interest_minor;
        if amount_minor > 0 {
            instalments.push(InstalmentInterest { instalment: instalment.number, amount_minor });
            sum_minor += amount_minor;
        }
    }
    if instalments.is_empty() {
        return Err(Rejection::NothingToAccrue { loan_id: *loan_id }.into());
    }
    let event = LoanEvent::InterestAccrued { transaction_id: *transaction_id, through, instalments };
    let booking =
        own_booking(*transaction_id, TransactionKind::Interest, dates, &legs::accrual(loan, sum_minor), loan, book)?;
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::post(&booking, book, context)?);
    Ok(plan)
}

pub(super) fn charge(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::ChargeLoan { loan_id, transaction_id, component, amount, reason, booking_date } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Active])?;
    check_amount(loan, *amount)?;
    match component {
        Component::Fee | Component::Penalty => {}
        Component::Interest | Component::Principal => {
            return Err(Rejection::NotACharge { component: *component }.into());
        }
    }
    let dates = made::dates(*booking_date, None, book, context)?;
    check_not_before_disbursement(*loan_id, loan, dates.value_date)?;
    // Due with the next instalment, or at once where the last one has passed.
    let next = loan.instalments.iter().find(|instalment| instalment.due_on >= dates.booking_date);
    let Some(instalment) = next.or(loan.instalments.last()) else {
        return Err(Rejection::LoanStatusConflict { loan_id: *loan_id, status: loan.status }.into());
    };
    // A loan owes at most what one payment can bring, so that its sums stay within what can be counted.
    if loan.outstanding().total_minor() + i128::from(amount.amount_minor) > i128::from(AMOUNT_MINOR_MAX) {
        return Err(Rejection::BalanceOverflow { account_id: loan.accounts.charges_receivable_account_id }.into());
    }
    let event = LoanEvent::LoanCharged {
        transaction_id: *transaction_id,
        instalment: instalment.number,
        component: *component,
        amount_minor: amount.amount_minor,
        reason: reason.clone(),
    };
    let charged = legs::charge(loan, *component, amount.amount_minor);
    let booking = own_booking(*transaction_id, TransactionKind::Fee, dates, &charged, loan, book)?;
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::post(&booking, book, context)?);
    Ok(plan)
}

pub(super) fn repay(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::RepayLoan {
        loan_id,
        transaction_id,
        from_account_id,
        amount,
        surplus,
        booking_date,
        value_date,
        external_reference,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Active])?;
    check_amount(loan, *amount)?;
    let reservation = external_reference
        .as_ref()
        .map(|reference| Reservation::new(ReservationKind::ExternalReference, reference.as_str()));
    if let Some(reservation) = &reservation
        && book.is_reserved(reservation)?
    {
        return Err(Rejection::ExternalReferenceTaken.into());
    }
    let payment = Payment {
        loan_id: *loan_id,
        transaction_id: *transaction_id,
        from_account_id: *from_account_id,
        amount_minor: amount.amount_minor,
        surplus: *surplus,
        dates: made::dates(*booking_date, *value_date, book, context)?,
        external_reference: external_reference.clone(),
    };
    let mut plan = receive(payment, loan, book, context)?;
    plan.reservations.extend(reservation);
    Ok(plan)
}

pub(super) fn collect(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::CollectDue { loan_id, transaction_id, through } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Active])?;
    let through = through.unwrap_or(context.business_date);
    let Some(from_account_id) = loan.settlement_account_id else {
        return Err(Rejection::NoSettlementAccount { loan_id: *loan_id }.into());
    };
    let due_minor = loan.due_until(through.min(context.business_date)).total_minor();
    if due_minor <= 0 {
        return Err(Rejection::NothingDue { loan_id: *loan_id }.into());
    }
    let payment = Payment {
        loan_id: *loan_id,
        transaction_id: *transaction_id,
        from_account_id,
        amount_minor: loan.money(due_minor).amount_minor,
        surplus: Surplus::Leave,
        dates: made::dates(None, None, book, context)?,
        external_reference: None,
    };
    receive(payment, loan, book, context)
}

struct Payment {
    loan_id: LoanId,
    transaction_id: TransactionId,
    from_account_id: AccountId,
    amount_minor: i64,
    surplus: Surplus,
    dates: Dates,
    external_reference: Option<ExternalReference>,
}

fn receive(payment: Payment, loan: &Loan, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let Payment { loan_id, dates, from_account_id, .. } = payment;
    check_not_before_disbursement(loan_id, loan, dates.value_date)?;
    if account::open(book, from_account_id, loan.currency)?.dedicated.is_some() {
        return Err(Rejection::AccountDedicated { account_id: from_account_id }.into());
    }
    let (allocated, surplus_minor) = allocation::allocate(loan, payment.amount_minor);
    let (paid, income_minor) = allocation::sums(&allocated);
    let surplus_account_id = match (surplus_minor, payment.surplus) {
        (0, _) | (_, Surplus::Leave) => None,
        (_, Surplus::ToSettlementAccount) => match loan.settlement_account_id {
            // It is there already: what is not owed is not taken.
            Some(account_id) if account_id == from_account_id => None,
            Some(account_id) => Some(account_id),
            None => {
                let surplus = Money::new(surplus_minor, loan.currency);
                return Err(Rejection::OverpaymentWithoutAccount { loan_id, surplus }.into());
            }
        },
    };
    let passed_on = surplus_account_id.map(|account_id| (account_id, surplus_minor));
    let made_legs = legs::repayment(loan, from_account_id, paid, income_minor, passed_on)
        .ok_or(Rejection::BalanceOverflow { account_id: from_account_id })?;
    let outstanding = allocation::less(loan.outstanding(), paid);
    let event = LoanEvent::RepaymentReceived {
        transaction_id: payment.transaction_id,
        from_account_id,
        amount_minor: payment.amount_minor - surplus_minor,
        surplus_minor,
        surplus_account_id,
        booking_date: dates.booking_date,
        value_date: dates.value_date,
        schedule_version: loan.schedule_version,
        allocation: allocated,
        outstanding,
    };
    let mut booking =
        own_booking(payment.transaction_id, TransactionKind::LoanRepayment, dates, &made_legs, loan, book)?;
    booking.external_reference = payment.external_reference;
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::post(&booking, book, context)?);
    if outstanding.total_minor() == 0 {
        let repaid = LoanEvent::LoanRepaid { repaid_on: dates.value_date };
        plan.events.push((loan_id.stream(), repaid.into()));
    }
    Ok(plan)
}

pub(super) fn reverse(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::ReverseRepayment { loan_id, transaction_id, repayment_id, reason, booking_date } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Active, LoanStatus::Repaid])?;
    let not_found = Rejection::RepaymentNotFound { loan_id: *loan_id, transaction_id: *repayment_id };
    let repayment =
        loan.repayments.iter().find(|repayment| repayment.transaction_id == *repayment_id).ok_or(not_found)?;
    if repayment.reversed {
        return Err(Rejection::RepaymentReversedAlready { loan_id: *loan_id, transaction_id: *repayment_id }.into());
    }
    let dates = made::dates(*booking_date, Some(repayment.value_date), book, context)?;
    let (undone, _) = allocation::sums(&repayment.allocation);
    let event = LoanEvent::RepaymentReversed {
        repayment_id: *repayment_id,
        transaction_id: *transaction_id,
        reason: reason.clone(),
        booking_date: dates.booking_date,
        outstanding: allocation::plus(loan.outstanding(), undone),
    };
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::reverse(*transaction_id, *repayment_id, reason, dates, book, context)?);
    Ok(plan)
}

pub(super) fn write_off(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::WriteOffLoan { loan_id, transaction_id, reason, booking_date } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Active])?;
    let dates = made::dates(*booking_date, None, book, context)?;
    check_not_before_disbursement(*loan_id, loan, dates.value_date)?;
    let owed = loan.outstanding();
    // Interest that was never recognised is in no book, so nothing of it can be lost.
    let lost = Amounts { interest_minor: loan.interest_receivable_minor(), ..owed };
    if lost.total_minor() == 0 {
        return Err(Rejection::NothingToWriteOff { loan_id: *loan_id }.into());
    }
    let made_legs = legs::write_off(loan, lost)
        .ok_or(Rejection::BalanceOverflow { account_id: loan.accounts.write_off_account_id })?;
    let event = LoanEvent::LoanWrittenOff {
        transaction_id: *transaction_id,
        written_off: lost,
        reason: reason.clone(),
        written_off_on: dates.booking_date,
    };
    let booking = own_booking(*transaction_id, TransactionKind::Adjustment, dates, &made_legs, loan, book)?;
    let mut plan = Plan::one(loan_id.stream(), event);
    plan.events.extend(made::post(&booking, book, context)?);
    Ok(plan)
}

fn own_booking(
    transaction_id: TransactionId,
    kind: TransactionKind,
    dates: Dates,
    made_legs: &[MadeLeg],
    loan: &Loan,
    book: &impl Book,
) -> Result<Made, Stop> {
    let legs = made::legs(made_legs, loan.currency, book)?;
    Ok(Made { transaction_id, kind, dates, legs, external_reference: None })
}

/// An amount asked for is in the loan's currency and above zero.
fn check_amount(loan: &Loan, amount: Money) -> Result<(), Rejection> {
    if amount.currency != loan.currency {
        return Err(Rejection::LoanCurrencyMismatch { currency: loan.currency, asked: amount.currency });
    }
    if !(1..=AMOUNT_MINOR_MAX).contains(&amount.amount_minor) {
        return Err(Rejection::AmountOutOfRange { amount });
    }
    Ok(())
}

/// Nothing happens to a loan's money before it was paid out.
fn check_not_before_disbursement(loan_id: LoanId, loan: &Loan, value_date: NaiveDate) -> Result<(), Rejection> {
    match loan.disbursed_on {
        Some(disbursed_on) if value_date < disbursed_on => {
            Err(Rejection::BeforeDisbursement { loan_id, value_date, disbursed_on })
        }
        Some(_) | None => Ok(()),
    }
}
