//! The rules of loan products.

use crate::account::{self, AccountEvent};
use crate::book::{Book, Plan, Reservation, ReservationKind, Stop};
use crate::event::Event;
use crate::ids::LoanProductId;
use crate::ledger::LedgerClass;
use crate::money::{AMOUNT_MINOR_MAX, Currency};
use crate::product::{Component, LoanAccounts, LoanProduct, LoanProductCommand, LoanProductEvent, ProductTerms};
use crate::rejection::{LoanTerm, Rejection};

/// The most days after a due date on which a collection is tried again.
const RETRY_DAYS_MAX: u16 = 365;

/// Decides a command on a loan product.
pub fn decide(command: &LoanProductCommand, book: &impl Book) -> Result<Plan, Stop> {
    let product_id = command.target();
    let stream = product_id.stream();
    match command {
        LoanProductCommand::DefineLoanProduct { code, name, currency, terms, accounts, .. } => {
            if book.loan_product(product_id)?.is_some() {
                return Err(Rejection::IdTaken { stream }.into());
            }
            let reservation = Reservation::new(ReservationKind::LoanProductCode, code.as_str());
            if book.is_reserved(&reservation)? {
                return Err(Rejection::LoanProductCodeTaken.into());
            }
            if !book.ledger()?.currencies.contains(currency) {
                return Err(Rejection::CurrencyNotDefined { currency: *currency }.into());
            }
            check_terms(terms)?;
            check_accounts(accounts, *currency, book)?;
            let event = LoanProductEvent::LoanProductDefined {
                code: code.clone(),
                name: name.clone(),
                currency: *currency,
                terms: terms.clone(),
                accounts: *accounts,
            };
            let mut plan = Plan::one(stream, event).creating().reserving(reservation);
            dedicate(accounts, &mut plan, book)?;
            Ok(plan)
        }
        LoanProductCommand::ReviseLoanProduct { terms, .. } => {
            let product = offered(book, product_id)?;
            check_terms(terms)?;
            let version = product.version + 1;
            Ok(Plan::one(stream, LoanProductEvent::LoanProductRevised { version, terms: terms.clone() }))
        }
        LoanProductCommand::RetireLoanProduct { reason, .. } => {
            offered(book, product_id)?;
            Ok(Plan::one(stream, LoanProductEvent::LoanProductRetired { reason: reason.clone() }))
        }
    }
}

/// The product, which must still be offered.
pub(crate) fn offered(book: &impl Book, product_id: LoanProductId) -> Result<&LoanProduct, Stop> {
    let product = book.loan_product(product_id)?.ok_or(Rejection::LoanProductNotFound { product_id })?;
    if product.retired {
        return Err(Rejection::LoanProductRetired { product_id }.into());
    }
    Ok(product)
}

fn check_terms(terms: &ProductTerms) -> Result<(), Rejection> {
    let refuse = |term| Err(Rejection::ProductTermsInvalid { term });
    if !(1..=terms.principal_max_minor).contains(&terms.principal_min_minor)
        || terms.principal_max_minor > AMOUNT_MINOR_MAX
    {
        return refuse(LoanTerm::Principal);
    }
    if terms.annual_rate_min > terms.annual_rate_max {
        return refuse(LoanTerm::AnnualRate);
    }
    let instalments_max = crate::calc::INSTALMENTS_MAX;
    if !(1..=terms.instalments_max).contains(&terms.instalments_min) || terms.instalments_max > instalments_max {
        return refuse(LoanTerm::Instalments);
    }
    if terms.instalment_multiple_minor.is_some_and(|multiple| !(1..=AMOUNT_MINOR_MAX).contains(&multiple)) {
        return refuse(LoanTerm::InstalmentMultiple);
    }
    let order = &terms.allocation_order;
    let each_once = order.len() == Component::ALL.len() && Component::ALL.iter().all(|one| order.contains(one));
    if !each_once {
        return refuse(LoanTerm::AllocationOrder);
    }
    if let Some(collection) = &terms.collection {
        let days = &collection.retry_after_days;
        let ascending = days.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || days.iter().any(|day| !(1..=RETRY_DAYS_MAX).contains(day)) {
            return refuse(LoanTerm::Collection);
        }
    }
    Ok(())
}

/// Each account is internal, open, in the product's currency and of the class that its use needs.
fn check_accounts(accounts: &LoanAccounts, currency: Currency, book: &impl Book) -> Result<(), Stop> {
    let uses = [
        (accounts.portfolio_account_id, LedgerClass::Asset),
        (accounts.interest_receivable_account_id, LedgerClass::Asset),
        (accounts.charges_receivable_account_id, LedgerClass::Asset),
        (accounts.interest_income_account_id, LedgerClass::Income),
        (accounts.fee_income_account_id, LedgerClass::Income),
        (accounts.penalty_income_account_id, LedgerClass::Income),
        (accounts.write_off_account_id, LedgerClass::Expense),
    ];
    for (account_id, needed) in uses {
        let account = account::open_internal(book, account_id, currency)?;
        let class = book.ledger()?.codes.get(&account.ledger_code).map(|code| code.class);
        if class != Some(needed) {
            return Err(Rejection::AccountOfOtherClass { account_id, needed }.into());
        }
    }
    let dedicated = accounts.dedicated();
    for (at, (account_id, _)) in dedicated.iter().enumerate() {
        // One account for two uses would equal neither sum.
        if dedicated[..at].iter().any(|(other, _)| other == account_id) {
            return Err(Rejection::SameAccount { account_id: *account_id }.into());
        }
    }
    Ok(())
}

/// From now on the sub-ledger accounts take entries of loans only.
fn dedicate(accounts: &LoanAccounts, plan: &mut Plan, book: &impl Book) -> Result<(), Stop> {
    for (account_id, to) in accounts.dedicated() {
        match account::existing(book, account_id)?.dedicated {
            Some(present) if present == to => {}
            Some(_) => return Err(Rejection::AccountDedicated { account_id }.into()),
            None => plan.events.push((account_id.stream(), Event::Account(AccountEvent::AccountDedicated { to }))),
        }
    }
    Ok(())
}
