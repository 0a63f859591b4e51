//! Short ways to say commands.

use chrono::NaiveDate;
use domain::account::{AccountCommand, Holder, HolderRole, Product};
use domain::calc::DayCount;
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::loan::LoanCommand;
use domain::member::{MemberCommand, MemberKind};
use domain::product::{CollectionPolicy, Component, LoanAccounts, LoanProductCommand, ProductTerms};
use domain::transaction::{Legs, TransactionCommand, TransactionKind};
use domain::words::{LedgerCode, Number, PeriodId, Title};
use domain::{AccountId, Command, Currency, LoanId, LoanProductId, MemberId, Money, TransactionId};
use uuid::Uuid;

pub(crate) fn czk() -> Currency {
    "CZK".parse().unwrap()
}

pub(crate) fn money(amount_minor: i64) -> Money {
    Money::new(amount_minor, czk())
}

pub(crate) fn number(text: impl Into<String>) -> Number {
    Number::try_new(text).unwrap()
}

pub(crate) fn define_code(code: &str, class: LedgerClass, control: bool) -> Command {
    let (ledger_code, name) = (LedgerCode::try_new(code).unwrap(), Title::try_new(code).unwrap());
    Command::Ledger(LedgerCommand::DefineLedgerCode { ledger_code, name, class, control })
}

pub(crate) fn open_period(name: &str, from: NaiveDate, to: NaiveDate) -> Command {
    Command::Ledger(LedgerCommand::OpenPeriod { period: PeriodId::try_new(name).unwrap(), from, to })
}

pub(crate) fn close_period(name: &str) -> Command {
    Command::Ledger(LedgerCommand::ClosePeriod { period: PeriodId::try_new(name).unwrap() })
}

pub(crate) fn register(member_id: MemberId, name: &str) -> Command {
    let (number, kind) = (number(name), MemberKind::Person);
    Command::Member(MemberCommand::RegisterMember {
        member_id,
        number,
        kind,
        personal: Default::default(),
        branch: None,
    })
}

pub(crate) fn open_account(account_id: AccountId, code: &str, name: &str, owner: Option<MemberId>) -> Command {
    let holders = owner.map(|member_id| Holder { member_id, role: HolderRole::Owner });
    Command::Account(AccountCommand::OpenAccount {
        account_id,
        number: number(name),
        name: None,
        product: if owner.is_some() { Product::Current } else { Product::Internal },
        holders: holders.into_iter().collect(),
        currency: czk(),
        ledger_code: LedgerCode::try_new(code).unwrap(),
        minimum_balance: None,
        branch: None,
        opened_on: None,
    })
}

pub(crate) fn moved(from: AccountId, to: AccountId, amount_minor: i64) -> Command {
    Command::Transaction(TransactionCommand::PostTransaction {
        transaction_id: TransactionId(Uuid::now_v7()),
        kind: TransactionKind::Transfer,
        booking_date: None,
        value_date: None,
        legs: Legs::Move { from, to, amount: money(amount_minor) },
        external_reference: None,
        narrative: None,
        pending: None,
    })
}

/// A product of loans in months, whose interest counts each day as a 360th of a year.
pub(crate) fn define_product(product_id: LoanProductId, code: &str, accounts: LoanAccounts, collect: bool) -> Command {
    let terms = ProductTerms {
        principal_min_minor: 100,
        principal_max_minor: 100_000_000,
        annual_rate_min: "0".parse().unwrap(),
        annual_rate_max: "50".parse().unwrap(),
        instalments_min: 1,
        instalments_max: 60,
        day_count: DayCount::Actual360,
        allocation_order: Component::ALL.to_vec(),
        collection: collect.then(|| CollectionPolicy { retry_after_days: vec![1, 3] }),
        ..ProductTerms::default()
    };
    Command::LoanProduct(LoanProductCommand::DefineLoanProduct {
        product_id,
        code: number(code),
        name: Title::try_new(code).unwrap(),
        currency: czk(),
        terms,
        accounts,
    })
}

pub(crate) fn approve(loan_id: LoanId) -> Command {
    Command::Loan(LoanCommand::ApproveLoan {
        loan_id,
        principal: None,
        annual_rate: None,
        instalments: None,
        approved_on: None,
    })
}
