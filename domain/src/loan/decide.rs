//! The rules of a loan's life; what moves money is in `disbursement` and `repayment`.

use chrono::NaiveDate;

use crate::account::{self, HolderRole};
use crate::book::{Book, Context, Plan, Reservation, ReservationKind, Stop};
use crate::calc::{self, AnnualRate};
use crate::ids::{AccountId, LoanId, LoanProductId, MemberId};
use crate::loan::{Loan, LoanCommand, LoanEvent, LoanStatus, LoanTerms, disbursement, repayment};
use crate::member::{self, Kyc};
use crate::money::{Currency, Money};
use crate::product::{self, LoanProduct, ProductTerms};
use crate::rejection::{LoanTerm, Rejection};

/// Decides a command on a loan.
pub fn decide(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    match command {
        LoanCommand::ApplyForLoan { .. } => apply(command, book, context),
        LoanCommand::ApproveLoan { .. } => approve(command, book, context),
        LoanCommand::RejectLoan { loan_id, reason } => {
            in_status(book, *loan_id, &[LoanStatus::Applied, LoanStatus::Approved])?;
            let rejected_on = context.business_date;
            Ok(Plan::one(loan_id.stream(), LoanEvent::LoanRejected { reason: reason.clone(), rejected_on }))
        }
        LoanCommand::DisburseLoan { .. } => disbursement::to_account(command, book, context),
        LoanCommand::StartDisbursement { .. } => disbursement::start(command, book, context),
        LoanCommand::ConfirmDisbursement { .. } => disbursement::confirm(command, book, context),
        LoanCommand::CancelDisbursement { .. } => disbursement::cancel(command, book, context),
        LoanCommand::AccrueInterest { .. } => repayment::accrue(command, book, context),
        LoanCommand::ChargeLoan { .. } => repayment::charge(command, book, context),
        LoanCommand::RepayLoan { .. } => repayment::repay(command, book, context),
        LoanCommand::CollectDue { .. } => repayment::collect(command, book, context),
        LoanCommand::ReverseRepayment { .. } => repayment::reverse(command, book, context),
        LoanCommand::WriteOffLoan { .. } => repayment::write_off(command, book, context),
        LoanCommand::CloseLoan { loan_id } => {
            in_status(book, *loan_id, &[LoanStatus::Repaid, LoanStatus::WrittenOff])?;
            Ok(Plan::one(loan_id.stream(), LoanEvent::LoanClosed { closed_on: context.business_date }))
        }
    }
}

/// The loan, or the rejection that there is none.
pub(super) fn existing(book: &impl Book, loan_id: LoanId) -> Result<&Loan, Stop> {
    book.loan(loan_id)?.ok_or_else(|| Rejection::LoanNotFound { loan_id }.into())
}

/// The loan, which must be in one of those statuses.
pub(super) fn in_status<'a>(book: &'a impl Book, loan_id: LoanId, allowed: &[LoanStatus]) -> Result<&'a Loan, Stop> {
    let loan = existing(book, loan_id)?;
    if allowed.contains(&loan.status) {
        return Ok(loan);
    }
    Err(Rejection::LoanStatusConflict { loan_id, status: loan.status }.into())
}

fn apply(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::ApplyForLoan {
        loan_id,
        number,
        member_id,
        product_id,
        principal,
        annual_rate,
        instalments,
        settlement_account_id,
        purpose,
        branch,
        applied_on,
    } = command
    else {
        return Err(Rejection::StateUnavailable.into());
    };
    let stream = loan_id.stream();
    if book.loan(*loan_id)?.is_some() {
        return Err(Rejection::IdTaken { stream }.into());
    }
    let reservation = Reservation::new(ReservationKind::LoanNumber, number.as_str());
    if book.is_reserved(&reservation)? {
        return Err(Rejection::LoanNumberTaken.into());
    }
    if member::active(book, *member_id)?.kyc != Kyc::Verified {
        return Err(Rejection::MemberNotVerified { member_id: *member_id }.into());
    }
    let product = product::offered(book, *product_id)?;
    let annual_rate = annual_rate.unwrap_or(product.terms.annual_rate_min);
    check_asked(*product_id, product, *principal, annual_rate, *instalments)?;
    if let Some(account_id) = settlement_account_id {
        members_account(book, *account_id, *member_id, product.currency)?;
    }
    let applied_on = applied_on.unwrap_or(context.business_date);
    if applied_on > context.business_date {
        return Err(
            Rejection::BookingDateInFuture { booking_date: applied_on, business_date: context.business_date }.into()
        );
    }
    let event = LoanEvent::LoanApplied {
        number: number.clone(),
        member_id: *member_id,
        product_id: *product_id,
        product_version: product.version,
        terms: kept(&product.terms),
        accounts: product.accounts,
        currency: product.currency,
        principal_minor: principal.amount_minor,
        annual_rate,
        instalments: *instalments,
        settlement_account_id: *settlement_account_id,
        purpose: purpose.clone(),
        branch: branch.clone(),
        applied_on,
    };
    let mut asked = Loan::default();
    asked.fold(&event);
    // Terms that give no schedule are refused now, and not when the money is to be paid out.
    schedule(*loan_id, &asked, applied_on, None)?;
    Ok(Plan::one(stream, event).creating().reserving(reservation))
}

fn kept(terms: &ProductTerms) -> LoanTerms {
    LoanTerms {
        frequency: terms.frequency,
        method: terms.method,
        amortization: terms.amortization,
        day_count: terms.day_count,
        rounding: terms.rounding,
        instalment_multiple_minor: terms.instalment_multiple_minor,
        allocation_order: terms.allocation_order.clone(),
        collection: terms.collection.clone(),
    }
}

fn check_asked(
    product_id: LoanProductId,
    product: &LoanProduct,
    principal: Money,
    annual_rate: AnnualRate,
    instalments: u16,
) -> Result<(), Rejection> {
    if principal.currency != product.currency {
        let (currency, asked) = (product.currency, principal.currency);
        return Err(Rejection::LoanCurrencyMismatch { currency, asked });
    }
    let terms = &product.terms;
    let out_of_range = |term| Err(Rejection::LoanTermOutOfRange { product_id, term });
    if !(terms.principal_min_minor..=terms.principal_max_minor).contains(&principal.amount_minor) {
        return out_of_range(LoanTerm::Principal);
    }
    if !(terms.annual_rate_min..=terms.annual_rate_max).contains(&annual_rate) {
        return out_of_range(LoanTerm::AnnualRate);
    }
    if !(terms.instalments_min..=terms.instalments_max).contains(&instalments) {
        return out_of_range(LoanTerm::Instalments);
    }
    Ok(())
}

/// The account, which must be open, kept in that currency and owned by the member: to dispose of
/// another's account is not enough to have one's debts paid from it.
pub(super) fn members_account(
    book: &impl Book,
    account_id: AccountId,
    member_id: MemberId,
    currency: Currency,
) -> Result<(), Stop> {
    let account = account::open(book, account_id, currency)?;
    if account.guarded
        && account.holders.iter().any(|holder| holder.member_id == member_id && holder.role == HolderRole::Owner)
    {
        return Ok(());
    }
    Err(Rejection::NotTheMembersAccount { account_id, member_id }.into())
}

fn approve(command: &LoanCommand, book: &impl Book, context: &Context) -> Result<Plan, Stop> {
    let LoanCommand::ApproveLoan { loan_id, principal, annual_rate, instalments, approved_on } = command else {
        return Err(Rejection::StateUnavailable.into());
    };
    let loan = in_status(book, *loan_id, &[LoanStatus::Applied])?;
    let product =
        book.loan_product(loan.product_id)?.ok_or(Rejection::LoanProductNotFound { product_id: loan.product_id })?;
    let principal = principal.unwrap_or(Money::new(loan.principal_minor, loan.currency));
    let annual_rate = annual_rate.unwrap_or(loan.annual_rate);
    let instalments = instalments.unwrap_or(loan.instalment_count);
    let as_asked = (principal.amount_minor, annual_rate, instalments)
        == (loan.principal_minor, loan.annual_rate, loan.instalment_count)
        && principal.currency == loan.currency;
    // A revision of the product since then does not touch what was asked for under the old terms.
    if !as_asked {
        check_asked(loan.product_id, product, principal, annual_rate, instalments)?;
    }
    let approved_on = approved_on.unwrap_or(context.business_date);
    if approved_on > context.business_date {
        return Err(
            Rejection::BookingDateInFuture { booking_date: approved_on, business_date: context.business_date }.into()
        );
    }
    let event =
        LoanEvent::LoanApproved { principal_minor: principal.amount_minor, annual_rate, instalments, approved_on };
    let mut approved = loan.clone();
    approved.fold(&event);
    schedule(*loan_id, &approved, approved_on, None)?;
    Ok(Plan::one(loan_id.stream(), event))
}

/// The schedule of a loan paid out on that day.
pub(super) fn schedule(
    loan_id: LoanId,
    loan: &Loan,
    disbursed_on: NaiveDate,
    first_due_on: Option<NaiveDate>,
) -> Result<Vec<calc::Instalment>, Rejection> {
    calc::schedule(&calc::Terms {
        principal_minor: loan.principal_minor,
        minor_units: loan.currency.minor_units(),
        annual_rate: loan.annual_rate,
        method: loan.terms.method,
        amortization: loan.terms.amortization,
        day_count: loan.terms.day_count,
        frequency: loan.terms.frequency,
        instalments: loan.instalment_count,
        disbursed_on,
        first_due_on,
        rounding: loan.terms.rounding,
        instalment_multiple_minor: loan.terms.instalment_multiple_minor,
    })
    .map_err(|error| Rejection::ScheduleImpossible { loan_id, cause: error.code().to_owned() })
}
