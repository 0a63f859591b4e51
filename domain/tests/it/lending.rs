//! A desk that lends: a product with its accounts, a member with money, and short ways to ask for things.

use chrono::{Duration, NaiveDate};
use domain::account::{AccountCommand, Product};
use domain::calc::AnnualRate;
use domain::ledger::LedgerCommand;
use domain::loan::{Amounts, Loan, LoanCommand, Surplus};
use domain::product::{CollectionPolicy, Component, LoanAccounts, LoanProductCommand, ProductTerms};
use domain::words::Sealed;
use domain::{AccountId, Book, Currency, LoanId, LoanProductId, MemberId, Money, Plan, TransactionId};

use crate::desk::{Desk, currency, czk, date, number, owner, period, reason, title, transfer, word};
use crate::invariants::net_debits;

/// What loans are paid out with in the tests: 12 % a year, 1 % a month.
pub(crate) const RATE: &str = "12";

/// Up to a million at 0 to 50 %, in months of 30 days.
pub(crate) fn terms() -> ProductTerms {
    ProductTerms {
        principal_min_minor: 100,
        principal_max_minor: 100_000_000,
        annual_rate_min: rate("0"),
        annual_rate_max: rate("50"),
        instalments_min: 1,
        instalments_max: 60,
        allocation_order: Component::ALL.to_vec(),
        collection: Some(CollectionPolicy { retry_after_days: vec![1, 3] }),
        ..ProductTerms::default()
    }
}

pub(crate) fn rate(text: &str) -> AnnualRate {
    text.parse().unwrap()
}

pub(crate) fn define(product_id: LoanProductId, code: &str, accounts: LoanAccounts) -> LoanProductCommand {
    LoanProductCommand::DefineLoanProduct {
        product_id,
        code: number(code),
        name: title(code),
        currency: currency("CZK"),
        terms: terms(),
        accounts,
    }
}

pub(crate) fn sealed() -> Sealed {
    Sealed::try_new("AQAAAAAAAAAAAAAAAAvQ2hhcmxpZSBXaWxzb24gc2VhbGVkIGhlcmU=").unwrap()
}

pub(crate) struct Lending {
    pub(crate) desk: Desk,
    pub(crate) member: MemberId,
    /// The member's current account, with 100,000.00 on it.
    pub(crate) account: AccountId,
    pub(crate) bank: AccountId,
    pub(crate) suspense: AccountId,
    pub(crate) accounts: LoanAccounts,
    pub(crate) product: LoanProductId,
}

impl Lending {
    pub(crate) fn new() -> Self {
        Self::with(terms())
    }

    pub(crate) fn with(offered: ProductTerms) -> Self {
        let mut desk = Desk::new();
        let (from, to) = (date("2026-07-01"), date("2039-12-31"));
        desk.ok(LedgerCommand::OpenPeriod { period: period("later"), from, to });
        let accounts = loan_accounts(&mut desk, "CZK");
        let (bank, suspense) = (desk.internal("1100", "CZK"), desk.internal("2900", "CZK"));
        let product = LoanProductId(desk.fresh());
        let mut command = define(product, "LOAN", accounts);
        if let LoanProductCommand::DefineLoanProduct { terms, .. } = &mut command {
            *terms = offered;
        }
        desk.ok(command);
        let member = desk.member();
        let account = AccountId::default();
        let mut lending = Self { desk, member, account, bank, suspense, accounts, product };
        lending.account = lending.current(member, 10_000_000);
        lending
    }

    /// A current account of the member, with that on it.
    pub(crate) fn current(&mut self, member: MemberId, balance_minor: i64) -> AccountId {
        let account_id = AccountId(self.desk.fresh());
        self.desk.ok(AccountCommand::OpenAccount {
            account_id,
            number: number(&format!("C{}", account_id.0.as_u128())),
            name: None,
            product: Product::Current,
            holders: vec![owner(member)],
            currency: currency("CZK"),
            ledger_code: word("2100"),
            minimum_balance: None,
            branch: None,
            opened_on: None,
        });
        if balance_minor > 0 {
            let id = self.desk.fresh_transaction();
            self.desk.ok(transfer(id, self.bank, account_id, czk(balance_minor)));
        }
        account_id
    }

    pub(crate) fn apply(&mut self, principal_minor: i64, annual_rate: &str, instalments: u16) -> LoanCommand {
        let loan_id = LoanId(self.desk.fresh());
        LoanCommand::ApplyForLoan {
            loan_id,
            number: number(&format!("L{}", loan_id.0.as_u128())),
            member_id: self.member,
            product_id: self.product,
            principal: czk(principal_minor),
            annual_rate: Some(rate(annual_rate)),
            instalments,
            settlement_account_id: Some(self.account),
            purpose: None,
            branch: None,
            applied_on: None,
        }
    }

    #[track_caller]
    pub(crate) fn applied(&mut self, principal_minor: i64, annual_rate: &str, instalments: u16) -> LoanId {
        let command = self.apply(principal_minor, annual_rate, instalments);
        let loan_id = command.target();
        self.desk.ok(command);
        loan_id
    }

    #[track_caller]
    pub(crate) fn approved(&mut self, principal_minor: i64, annual_rate: &str, instalments: u16) -> LoanId {
        let loan_id = self.applied(principal_minor, annual_rate, instalments);
        self.desk.ok(approve(loan_id));
        loan_id
    }

    /// Paid out on 10 February 2026: instalments are due on the 10th, the first one six days ago.
    #[track_caller]
    pub(crate) fn active(&mut self, principal_minor: i64, annual_rate: &str, instalments: u16) -> LoanId {
        let loan_id = self.approved(principal_minor, annual_rate, instalments);
        let command = self.disburse(loan_id);
        self.desk.ok(command);
        loan_id
    }

    /// An active loan without a settlement account.
    #[track_caller]
    pub(crate) fn unsettled(&mut self, principal_minor: i64) -> LoanId {
        let mut command = self.apply(principal_minor, "0", 2);
        if let LoanCommand::ApplyForLoan { settlement_account_id, .. } = &mut command {
            *settlement_account_id = None;
        }
        let loan_id = command.target();
        self.desk.ok(command);
        self.desk.ok(approve(loan_id));
        let command = self.disburse(loan_id);
        self.desk.ok(command);
        loan_id
    }

    pub(crate) fn disburse(&mut self, loan_id: LoanId) -> LoanCommand {
        LoanCommand::DisburseLoan {
            loan_id,
            transaction_id: self.desk.fresh_transaction(),
            to_account_id: self.account,
            booking_date: Some(date("2026-02-10")),
            disbursed_on: None,
            first_due_on: None,
        }
    }

    pub(crate) fn start(&mut self, loan_id: LoanId) -> LoanCommand {
        LoanCommand::StartDisbursement {
            loan_id,
            transaction_id: self.desk.fresh_transaction(),
            funding_account_id: self.bank,
            destination: sealed(),
            booking_date: Some(date("2026-02-10")),
            disbursed_on: None,
            first_due_on: None,
        }
    }

    pub(crate) fn accrue(&mut self, loan_id: LoanId) -> LoanCommand {
        LoanCommand::AccrueInterest { loan_id, transaction_id: self.desk.fresh_transaction(), through: None }
    }

    pub(crate) fn charge(&mut self, loan_id: LoanId, component: Component, amount_minor: i64) -> LoanCommand {
        LoanCommand::ChargeLoan {
            loan_id,
            transaction_id: self.desk.fresh_transaction(),
            component,
            amount: czk(amount_minor),
            reason: reason("late"),
            booking_date: None,
        }
    }

    /// From the member's account.
    pub(crate) fn repay(&mut self, loan_id: LoanId, amount_minor: i64) -> LoanCommand {
        self.repay_from(self.account, loan_id, amount_minor)
    }

    pub(crate) fn repay_from(&mut self, from_account_id: AccountId, loan_id: LoanId, amount_minor: i64) -> LoanCommand {
        LoanCommand::RepayLoan {
            loan_id,
            transaction_id: self.desk.fresh_transaction(),
            from_account_id,
            amount: czk(amount_minor),
            surplus: Surplus::ToSettlementAccount,
            booking_date: None,
            value_date: None,
            external_reference: None,
        }
    }

    pub(crate) fn collect(&mut self, loan_id: LoanId) -> LoanCommand {
        LoanCommand::CollectDue { loan_id, transaction_id: self.desk.fresh_transaction(), through: None }
    }

    /// A payment that was received; its transaction.
    #[track_caller]
    pub(crate) fn repaid(&mut self, loan_id: LoanId, amount_minor: i64) -> TransactionId {
        let command = self.repay(loan_id, amount_minor);
        let plan = self.desk.ok(command);
        transaction_of(&plan)
    }

    pub(crate) fn reverse(&mut self, loan_id: LoanId, repayment_id: TransactionId) -> LoanCommand {
        LoanCommand::ReverseRepayment {
            loan_id,
            transaction_id: self.desk.fresh_transaction(),
            repayment_id,
            reason: reason("booked_in_error"),
            booking_date: None,
        }
    }

    pub(crate) fn write_off(&mut self, loan_id: LoanId) -> LoanCommand {
        LoanCommand::WriteOffLoan {
            loan_id,
            transaction_id: self.desk.fresh_transaction(),
            reason: reason("insolvency"),
            booking_date: None,
        }
    }

    pub(crate) fn loan(&self, loan_id: LoanId) -> &Loan {
        self.desk.shelf.loan(loan_id).unwrap().unwrap()
    }

    pub(crate) fn owed(&self, loan_id: LoanId) -> Amounts {
        self.loan(loan_id).outstanding()
    }

    /// Debits less credits of the account, in minor units.
    pub(crate) fn net(&self, account_id: AccountId) -> i128 {
        net_debits(&self.desk).iter().filter(|((.., id), _)| *id == account_id).map(|(_, net)| net).sum()
    }

    pub(crate) fn pass_days(&mut self, days: i64) {
        self.desk.pass(Duration::days(days));
    }
}

/// Seven new accounts for a product's loans.
pub(crate) fn loan_accounts(desk: &mut Desk, code: &str) -> LoanAccounts {
    LoanAccounts {
        portfolio_account_id: desk.internal("1200", code),
        interest_receivable_account_id: desk.internal("1210", code),
        charges_receivable_account_id: desk.internal("1220", code),
        interest_income_account_id: desk.internal("4200", code),
        fee_income_account_id: desk.internal("4210", code),
        penalty_income_account_id: desk.internal("4220", code),
        write_off_account_id: desk.internal("5100", code),
    }
}

pub(crate) fn approve(loan_id: LoanId) -> LoanCommand {
    LoanCommand::ApproveLoan { loan_id, principal: None, annual_rate: None, instalments: None, approved_on: None }
}

pub(crate) fn reject(loan_id: LoanId) -> LoanCommand {
    LoanCommand::RejectLoan { loan_id, reason: reason("income_too_low") }
}

pub(crate) fn confirm(loan_id: LoanId) -> LoanCommand {
    LoanCommand::ConfirmDisbursement { loan_id, bank_reference: None }
}

pub(crate) fn cancel(loan_id: LoanId) -> LoanCommand {
    LoanCommand::CancelDisbursement { loan_id, reason: reason("account_unknown") }
}

pub(crate) fn close_loan(loan_id: LoanId) -> LoanCommand {
    LoanCommand::CloseLoan { loan_id }
}

/// With other dates than the defaults.
pub(crate) fn dated(mut command: LoanCommand, booked: Option<&str>, valued: Option<&str>) -> LoanCommand {
    let day = |text: Option<&str>| -> Option<NaiveDate> { text.map(date) };
    match &mut command {
        LoanCommand::DisburseLoan { booking_date, disbursed_on: value_date, .. }
        | LoanCommand::StartDisbursement { booking_date, disbursed_on: value_date, .. }
        | LoanCommand::RepayLoan { booking_date, value_date, .. } => {
            (*booking_date, *value_date) = (day(booked), day(valued));
        }
        LoanCommand::ChargeLoan { booking_date, .. }
        | LoanCommand::ReverseRepayment { booking_date, .. }
        | LoanCommand::WriteOffLoan { booking_date, .. } => *booking_date = day(booked),
        LoanCommand::AccrueInterest { through, .. } | LoanCommand::CollectDue { through, .. } => *through = day(booked),
        other => panic!("{} has no dates", other.name()),
    }
    command
}

pub(crate) fn leaving(mut command: LoanCommand) -> LoanCommand {
    if let LoanCommand::RepayLoan { surplus, .. } = &mut command {
        *surplus = Surplus::Leave;
    }
    command
}

/// With the amount in another currency.
pub(crate) fn in_currency(mut command: LoanCommand, code: Currency) -> LoanCommand {
    match &mut command {
        LoanCommand::ApplyForLoan { principal: amount, .. }
        | LoanCommand::RepayLoan { amount, .. }
        | LoanCommand::ChargeLoan { amount, .. } => *amount = Money::new(amount.amount_minor, code),
        other => panic!("{} has no amount", other.name()),
    }
    command
}

/// The first transaction that a plan makes or changes.
#[track_caller]
pub(crate) fn transaction_of(plan: &Plan) -> TransactionId {
    let found = plan.events.iter().find(|(_, event)| matches!(event, domain::Event::Transaction(_)));
    TransactionId(found.unwrap().0.id)
}
