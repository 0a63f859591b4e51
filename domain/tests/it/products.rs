//! Loan products: terms that cannot contradict themselves, accounts that are kept for their loans.

use domain::account::{AccountEvent, Dedication};
use domain::money::AMOUNT_MINOR_MAX;
use domain::product::{CollectionPolicy, Component, LoanAccounts, LoanProductCommand, LoanProductEvent, ProductTerms};
use domain::rejection::LoanTerm;
use domain::{Event, LoanProductId, Rejection};

use crate::desk::{Desk, currency};
use crate::invariants::check_desk;
use crate::lending::{Lending, define, loan_accounts, rate, terms};

fn fresh(desk: &mut Desk) -> LoanProductId {
    LoanProductId(desk.fresh())
}

type Wrong = (LoanTerm, fn(&mut ProductTerms));

#[test]
fn terms_that_cannot_be_are_refused_with_the_term_that_is_wrong() {
    let wrong: [Wrong; 18] = [
        (LoanTerm::Principal, |t| t.principal_min_minor = 0),
        (LoanTerm::Principal, |t| t.principal_min_minor = -1),
        (LoanTerm::Principal, |t| t.principal_min_minor = t.principal_max_minor + 1),
        (LoanTerm::Principal, |t| t.principal_max_minor = AMOUNT_MINOR_MAX + 1),
        (LoanTerm::AnnualRate, |t| t.annual_rate_min = rate("50.000001")),
        (LoanTerm::Instalments, |t| t.instalments_min = 0),
        (LoanTerm::Instalments, |t| t.instalments_min = 61),
        (LoanTerm::Instalments, |t| t.instalments_max = 601),
        (LoanTerm::InstalmentMultiple, |t| t.instalment_multiple_minor = Some(0)),
        (LoanTerm::InstalmentMultiple, |t| t.instalment_multiple_minor = Some(AMOUNT_MINOR_MAX + 1)),
        (LoanTerm::AllocationOrder, |t| t.allocation_order.clear()),
        (LoanTerm::AllocationOrder, |t| t.allocation_order.truncate(3)),
        (LoanTerm::AllocationOrder, |t| t.allocation_order.push(Component::Fee)),
        (LoanTerm::AllocationOrder, |t| t.allocation_order[0] = Component::Principal),
        (LoanTerm::Collection, |t| t.collection = Some(CollectionPolicy { retry_after_days: vec![0] })),
        (LoanTerm::Collection, |t| t.collection = Some(CollectionPolicy { retry_after_days: vec![366] })),
        (LoanTerm::Collection, |t| t.collection = Some(CollectionPolicy { retry_after_days: vec![3, 3] })),
        (LoanTerm::Collection, |t| t.collection = Some(CollectionPolicy { retry_after_days: vec![3, 1] })),
    ];
    let mut l = Lending::new();
    for (at, (term, change)) in wrong.into_iter().enumerate() {
        let mut changed = terms();
        change(&mut changed);
        let product_id = fresh(&mut l.desk);
        let mut command = define(product_id, "OTHER", l.accounts);
        if let LoanProductCommand::DefineLoanProduct { terms, .. } = &mut command {
            *terms = changed.clone();
        }
        assert_eq!(l.desk.refused(command), Rejection::ProductTermsInvalid { term }, "case {at}");
        let revision = LoanProductCommand::ReviseLoanProduct { product_id: l.product, terms: changed };
        assert_eq!(l.desk.refused(revision), Rejection::ProductTermsInvalid { term }, "case {at}");
    }
    // The bounds themselves may be.
    let edge = ProductTerms {
        principal_min_minor: AMOUNT_MINOR_MAX,
        principal_max_minor: AMOUNT_MINOR_MAX,
        annual_rate_max: rate("0"),
        instalments_min: 600,
        instalments_max: 600,
        instalment_multiple_minor: Some(1),
        collection: Some(CollectionPolicy { retry_after_days: vec![1, 365] }),
        ..terms()
    };
    l.desk.ok(LoanProductCommand::ReviseLoanProduct { product_id: l.product, terms: edge });
}

#[test]
fn a_definition_keeps_three_accounts_for_loans_and_says_so_once() {
    let mut desk = Desk::new();
    let accounts = loan_accounts(&mut desk, "CZK");
    let product_id = fresh(&mut desk);
    let plan = desk.ok(define(product_id, "FIRST", accounts));
    let kept: Vec<_> = plan
        .events
        .iter()
        .filter_map(|(stream, event)| match event {
            Event::Account(AccountEvent::AccountDedicated { to }) => Some((stream.id, *to)),
            _ => None,
        })
        .collect();
    let expected = [
        (accounts.portfolio_account_id.0, Dedication::LoanPortfolio),
        (accounts.interest_receivable_account_id.0, Dedication::InterestReceivable),
        (accounts.charges_receivable_account_id.0, Dedication::ChargesReceivable),
    ];
    assert_eq!(kept, expected);
    // Another product may share them, for the same use.
    let product_id = fresh(&mut desk);
    assert_eq!(desk.ok(define(product_id, "SECOND", accounts)).events.len(), 1);
    let swapped = LoanAccounts {
        portfolio_account_id: accounts.charges_receivable_account_id,
        charges_receivable_account_id: accounts.portfolio_account_id,
        ..accounts
    };
    let product_id = fresh(&mut desk);
    assert_eq!(desk.refused(define(product_id, "THIRD", swapped)).code(), "account_dedicated");
}

#[test]
fn a_products_accounts_are_internal_open_in_its_currency_and_of_the_right_class() {
    let mut l = Lending::new();
    let good = loan_accounts(&mut l.desk, "CZK");
    let foreign = loan_accounts(&mut l.desk, "EUR");
    let retired = l.desk.internal("5100", "CZK");
    l.desk.ok(crate::desk::close(retired));
    let cases = [
        ("currency_mismatch", LoanAccounts { fee_income_account_id: foreign.fee_income_account_id, ..good }),
        ("account_of_other_class", LoanAccounts { penalty_income_account_id: l.bank, ..good }),
        ("account_of_other_class", LoanAccounts { portfolio_account_id: l.suspense, ..good }),
        ("account_not_internal", LoanAccounts { portfolio_account_id: l.account, ..good }),
        ("account_retired", LoanAccounts { write_off_account_id: retired, ..good }),
        ("account_not_found", LoanAccounts { write_off_account_id: Default::default(), ..good }),
        ("same_account", LoanAccounts { interest_receivable_account_id: good.portfolio_account_id, ..good }),
        ("account_dedicated", LoanAccounts { portfolio_account_id: l.accounts.charges_receivable_account_id, ..good }),
    ];
    for (code, accounts) in cases {
        let product_id = fresh(&mut l.desk);
        assert_eq!(l.desk.refused(define(product_id, "OTHER", accounts)).code(), code, "{accounts:?}");
    }
    // Fees and penalties may be one income account.
    let product_id = fresh(&mut l.desk);
    let one_income = LoanAccounts { penalty_income_account_id: good.fee_income_account_id, ..good };
    l.desk.ok(define(product_id, "OTHER", one_income));
    check_desk(&l.desk);
}

#[test]
fn a_products_id_and_code_are_its_own_and_its_currency_is_defined() {
    let mut l = Lending::new();
    assert_eq!(l.desk.refused(define(l.product, "OTHER", l.accounts)).code(), "id_taken");
    let product_id = fresh(&mut l.desk);
    let mut command = define(product_id, "OTHER", l.accounts);
    if let LoanProductCommand::DefineLoanProduct { currency: kept_in, .. } = &mut command {
        *kept_in = currency("USD");
    }
    assert_eq!(l.desk.refused(command).code(), "currency_not_defined");
    // A code stays taken when its product has gone.
    l.desk.ok(LoanProductCommand::RetireLoanProduct { product_id: l.product, reason: None });
    assert_eq!(l.desk.refused(define(product_id, "LOAN", l.accounts)).code(), "loan_product_code_taken");
}

#[test]
fn versions_count_up_and_an_application_names_the_one_it_is_under() {
    let mut l = Lending::new();
    for expected in 2..=3 {
        let plan = l.desk.ok(LoanProductCommand::ReviseLoanProduct { product_id: l.product, terms: terms() });
        let Event::LoanProduct(LoanProductEvent::LoanProductRevised { version, .. }) = &plan.events[0].1 else {
            panic!()
        };
        assert_eq!(*version, expected);
    }
    let command = l.apply(12_000, "12", 12);
    let plan = l.desk.ok(command);
    let Event::Loan(domain::loan::LoanEvent::LoanApplied { product_version, accounts, .. }) = &plan.events[0].1 else {
        panic!()
    };
    assert_eq!((*product_version, *accounts), (3, l.accounts));
    l.desk.ok(LoanProductCommand::RetireLoanProduct { product_id: l.product, reason: None });
    let revision = LoanProductCommand::ReviseLoanProduct { product_id: l.product, terms: terms() };
    assert_eq!(l.desk.refused(revision).code(), "loan_product_retired");
}
