//! Random commands on products, loans and sagas, with clients meddling: after every step the accounts
//! kept for loans are the sums of the loans (`loan_invariants`), and a replay gives the same states.
//!
//! `model` covers the other nouns. `PROPTEST_CASES=20000 cargo test -p domain --test it lending_model`
//! looks longer.

use std::collections::BTreeSet;

use chrono::Duration;
use domain::account::AccountCommand;
use domain::loan::{Loan, LoanCommand, LoanStatus, Surplus};
use domain::product::{CollectionPolicy, Component, LoanProductCommand, ProductTerms};
use domain::saga::{Process, Resolution, Saga, SagaCommand, SagaStatus, Step as SagaStep, Transition};
use domain::transaction::TransactionCommand;
use domain::words::ExternalReference;
use domain::{AccountId, Command, LoanId, LoanProductId, Money, Rejection, SagaId, StreamKind, TransactionId};
use proptest::prelude::*;

use crate::desk::{self, IntoCommand, currency, czk, date, number, reason, title};
use crate::invariants::{check_desk, check_snapshots};
use crate::lending::{Lending, approve, cancel, close_loan, confirm, loan_accounts, rate, reject, sealed, terms};
use crate::model::config;

/// The refusals that this model has to meet; `model` has to meet all others.
pub(crate) const REFUSALS: &[&str] = &[
    "loan_product_not_found",
    "loan_not_found",
    "repayment_not_found",
    "saga_not_found",
    "loan_product_code_taken",
    "loan_number_taken",
    "account_not_internal",
    "account_of_other_class",
    "account_dedicated",
    "transaction_of_loan",
    "not_the_members_account",
    "loan_product_retired",
    "product_terms_invalid",
    "loan_term_out_of_range",
    "loan_currency_mismatch",
    "schedule_impossible",
    "loan_status_conflict",
    "not_a_charge",
    "before_disbursement",
    "overpayment_without_account",
    "no_settlement_account",
    "nothing_due",
    "nothing_to_accrue",
    "nothing_to_write_off",
    "repayment_reversed",
    "saga_ended",
    "saga_step_out_of_turn",
    "saga_not_parked",
    "saga_past_pivot",
    "saga_outcome_unknown",
];

/// Whether this model has to meet the event; `model` has to meet all others.
pub(crate) fn covers(kind: StreamKind, event: &str) -> bool {
    match kind {
        StreamKind::LoanProduct | StreamKind::Loan | StreamKind::Saga => true,
        StreamKind::Account => event == "AccountDedicated",
        StreamKind::Member | StreamKind::Transaction | StreamKind::Ledger | StreamKind::Rejection => false,
    }
}

/// A step, in numbers that mean something only on the desk as it is then.
#[derive(Clone, Debug)]
enum Step {
    Pass { days: i64 },
    Product { what: u8, which: u8, at: u8 },
    Apply { product: u8, principal: i64, rate: u8, instalments: u16, odd: u8 },
    Loan { what: u8, which: u8, other: u8 },
    Charge { which: u8, component: u8, amount: i64, booked: i64 },
    Repay { which: u8, from: u8, quarters: i64, more: i64, leave: bool, valued: i64 },
    Reverse { which: u8, repayment: u8 },
    Meddle { what: u8, which: u8 },
    Saga { what: u8, which: u8, amount: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    let amounts = || prop_oneof![8 => 1..20_000i64, 1 => -1..=0i64];
    prop_oneof![
        2 => (0..25i64).prop_map(|days| Step::Pass { days }),
        2 => (byte(), byte(), byte()).prop_map(|(what, which, at)| Step::Product { what, which, at }),
        3 => (byte(), 50..400_000i64, 0..60u8, 1..8u16, byte()).prop_map(|(product, principal, rate, instalments, odd)| {
            Step::Apply { product, principal, rate, instalments, odd }
        }),
        9 => (byte(), byte(), byte()).prop_map(|(what, which, other)| Step::Loan { what, which, other }),
        2 => (byte(), byte(), amounts(), -40..=0i64)
            .prop_map(|(which, component, amount, booked)| Step::Charge { which, component, amount, booked }),
        6 => (byte(), byte(), 0..=4i64, amounts(), any::<bool>(), prop_oneof![5 => Just(0i64), 1 => -60..2i64]).prop_map(
            |(which, from, quarters, more, leave, valued)| Step::Repay { which, from, quarters, more, leave, valued },
        ),
        3 => (byte(), byte()).prop_map(|(which, repayment)| Step::Reverse { which, repayment }),
        2 => (byte(), byte()).prop_map(|(what, which)| Step::Meddle { what, which }),
        5 => (byte(), byte(), amounts()).prop_map(|(what, which, amount)| Step::Saga { what, which, amount }),
    ]
}

struct Run {
    lending: Lending,
    /// The borrower's other account and a stranger's.
    others: [AccountId; 2],
    refused: BTreeSet<&'static str>,
}

impl Run {
    fn furnished() -> Self {
        let mut lending = Lending::new();
        let member = lending.member;
        let stranger = lending.desk.member();
        let others = [lending.current(member, 50_000), lending.current(stranger, 1_000_000)];
        for _ in 0..2 {
            lending.active(120_000, "12", 4);
        }
        Self { lending, others, refused: BTreeSet::new() }
    }

    fn pick<Id: Copy + Default>(ids: impl Iterator<Item = Id>, at: u8) -> Id {
        let ids: Vec<_> = ids.collect();
        if at == u8::MAX || ids.is_empty() { Id::default() } else { ids[usize::from(at) % ids.len()] }
    }

    /// A loan that fits, seven times in eight.
    fn loan(&self, at: u8, fits: impl Fn(&Loan) -> bool) -> LoanId {
        let fitting: Vec<_> =
            self.lending.desk.shelf.loans.iter().filter(|(_, loan)| fits(loan)).map(|(id, _)| *id).collect();
        if at % 8 == 7 || fitting.is_empty() {
            return Self::pick(self.lending.desk.shelf.loans.iter().map(|(id, _)| *id), at);
        }
        fitting[usize::from(at / 8) % fitting.len()]
    }

    fn in_status(&self, at: u8, status: LoanStatus) -> LoanId {
        self.loan(at, |loan| loan.status == status)
    }

    fn found(&self, loan_id: LoanId) -> Loan {
        self.lending
            .desk
            .shelf
            .loans
            .iter()
            .find(|(id, _)| *id == loan_id)
            .map(|(_, loan)| loan.clone())
            .unwrap_or_default()
    }

    fn account(&self, at: u8) -> AccountId {
        let l = &self.lending;
        let accounts = l.accounts;
        match at % 16 {
            0..9 => l.account,
            9 | 10 => l.suspense,
            11 => self.others[0],
            12 => self.others[1],
            13 => l.bank,
            14 => accounts.portfolio_account_id,
            _ => accounts.interest_receivable_account_id,
        }
    }

    fn product(&self, at: u8) -> LoanProductId {
        Self::pick(self.lending.desk.shelf.loan_products.iter().map(|(id, _)| *id), at)
    }

    fn commands(&mut self, step: &Step) -> Vec<Command> {
        match step {
            Step::Pass { days } => {
                self.lending.pass_days(*days);
                Vec::new()
            }
            Step::Product { what, which, at } => vec![self.product_command(*what, *which, *at).into_command()],
            Step::Apply { .. } => self.application(step),
            Step::Loan { what, which, other } => vec![self.loan_command(*what, *which, *other).into_command()],
            Step::Charge { which, component, amount, booked } => {
                let loan_id = self.in_status(*which, LoanStatus::Active);
                let component = match component % 16 {
                    0 => Component::Principal,
                    1..9 => Component::Fee,
                    _ => Component::Penalty,
                };
                let mut command = self.lending.charge(loan_id, component, *amount);
                if let LoanCommand::ChargeLoan { booking_date, .. } = &mut command {
                    *booking_date = Some(self.lending.desk.today() + Duration::days(*booked));
                }
                vec![command.into_command()]
            }
            Step::Repay { .. } => vec![self.repayment(step).into_command()],
            Step::Reverse { which, repayment } => {
                let paid = |loan: &Loan| loan.repayments.iter().any(|repayment| !repayment.reversed);
                let open = |loan: &Loan| matches!(loan.status, LoanStatus::Active | LoanStatus::Repaid);
                let loan_id = self.loan(*which, |loan| open(loan) && paid(loan));
                let received = self.found(loan_id).repayments;
                let repayment_id = Self::pick(received.iter().map(|repayment| repayment.transaction_id), *repayment);
                vec![self.lending.reverse(loan_id, repayment_id).into_command()]
            }
            Step::Meddle { what, which } => vec![self.meddling(*what, *which)],
            Step::Saga { what, which, amount } => vec![self.saga_command(*what, *which, *amount).into_command()],
        }
    }

    fn product_command(&mut self, what: u8, which: u8, at: u8) -> LoanProductCommand {
        let product_id = self.product(which);
        let mut offered = ProductTerms { principal_min_minor: 100, ..terms() };
        offered.allocation_order.rotate_left(usize::from(at % 4));
        if at % 8 > 4 {
            offered.allocation_order.swap(0, 2);
        }
        match at % 32 {
            1 => offered.annual_rate_min = rate("60"),
            2 => offered.collection = Some(CollectionPolicy { retry_after_days: vec![3, 3] }),
            3 => offered.collection = None,
            _ => {}
        }
        match what % 8 {
            0..3 => {
                // Half of the products share their accounts.
                let mut accounts = self.lending.accounts;
                if which.is_multiple_of(2) {
                    accounts = loan_accounts(&mut self.lending.desk, "CZK");
                }
                match which % 16 {
                    3 => accounts.write_off_account_id = self.lending.suspense,
                    5 => accounts.portfolio_account_id = self.lending.account,
                    7 => accounts.portfolio_account_id = accounts.charges_receivable_account_id,
                    _ => {}
                }
                let product_id = if which < 8 { self.product(which) } else { LoanProductId(self.lending.desk.fresh()) };
                LoanProductCommand::DefineLoanProduct {
                    product_id,
                    code: number(&format!("P{}", at % 32)),
                    name: title("Loan"),
                    currency: currency("CZK"),
                    terms: offered,
                    accounts,
                }
            }
            3..7 => LoanProductCommand::ReviseLoanProduct { product_id, terms: offered },
            // The first product stays.
            _ if product_id == self.lending.product => {
                LoanProductCommand::ReviseLoanProduct { product_id, terms: offered }
            }
            _ => LoanProductCommand::RetireLoanProduct { product_id, reason: Some(reason("replaced")) },
        }
    }

    /// An application, most of the time approved and paid out.
    fn application(&mut self, step: &Step) -> Vec<Command> {
        let Step::Apply { product, principal, rate: percent, instalments, odd } = step else {
            panic!("not an application")
        };
        let product_id = if product.is_multiple_of(2) { self.lending.product } else { self.product(*product) };
        let mut command = self.lending.apply(*principal, &percent.to_string(), *instalments);
        let others = self.others;
        if let LoanCommand::ApplyForLoan {
            product_id: asked,
            number: text,
            settlement_account_id,
            principal,
            instalments,
            ..
        } = &mut command
        {
            *asked = product_id;
            match odd % 32 {
                0 => *text = number("twice"),
                1..5 => *settlement_account_id = None,
                5 => *settlement_account_id = Some(others[1]),
                6..9 => *settlement_account_id = Some(others[0]),
                9 => *principal = Money::new(principal.amount_minor, currency("EUR")),
                10 => (*principal, *instalments) = (czk(100), 60),
                _ => {}
            }
        }
        let loan_id = command.target();
        let mut commands = vec![command.into_command()];
        if odd / 32 > 1 {
            commands.push(approve(loan_id).into_command());
        }
        if odd / 32 > 3 {
            commands.push(self.lending.disburse(loan_id).into_command());
        }
        commands
    }

    fn loan_command(&mut self, what: u8, which: u8, other: u8) -> LoanCommand {
        let of = |status| move |run: &Self| run.in_status(which, status);
        let (applied, approved, active) =
            (of(LoanStatus::Applied)(self), of(LoanStatus::Approved)(self), of(LoanStatus::Active)(self));
        let disbursing = of(LoanStatus::Disbursing)(self);
        match what % 24 {
            0 | 1 => approve(applied),
            2 => reject(applied),
            3 | 4 => {
                let mut command = self.lending.disburse(approved);
                if let LoanCommand::DisburseLoan { to_account_id, .. } = &mut command {
                    *to_account_id = if other.is_multiple_of(8) { self.others[1] } else { self.lending.account };
                }
                command
            }
            5..8 => LoanCommand::StartDisbursement {
                loan_id: approved,
                transaction_id: self.lending.desk.fresh_transaction(),
                funding_account_id: if other.is_multiple_of(16) { self.account(14) } else { self.lending.bank },
                destination: sealed(),
                booking_date: None,
                disbursed_on: None,
                first_due_on: (other % 8 == 1).then(|| self.lending.desk.today() + Duration::days(10)),
            },
            8..10 => confirm(disbursing),
            10 | 11 => cancel(disbursing),
            12..15 => self.lending.accrue(active),
            15..19 => self.lending.collect(active),
            19 if other.is_multiple_of(4) => self.lending.write_off(active),
            20 => {
                // Where nothing of the rest is in the books.
                let bare = |loan: &Loan| {
                    loan.status == LoanStatus::Active
                        && loan.outstanding().total_minor() == i128::from(loan.outstanding().interest_minor)
                };
                let loan_id = self.loan(which, bare);
                self.lending.write_off(loan_id)
            }
            _ => {
                let done = |loan: &Loan| matches!(loan.status, LoanStatus::Repaid | LoanStatus::WrittenOff);
                close_loan(self.loan(which, done))
            }
        }
    }

    /// Quarters of what is owed and a little more, from an account; sometimes all but the last interest.
    fn repayment(&mut self, step: &Step) -> LoanCommand {
        let Step::Repay { which, from, quarters, more, leave, valued } = step else { panic!("not a payment") };
        let loan_id = self.in_status(*which, LoanStatus::Active);
        let loan = self.found(loan_id);
        let owed = i64::try_from(loan.outstanding().total_minor()).unwrap();
        let last_interest = loan.instalments.last().map_or(0, |last| last.outstanding_minor(Component::Interest));
        let amount_minor = match from / 16 {
            0..2 => owed - last_interest,
            2..5 => *more,
            _ => owed / 4 * quarters + more,
        };
        let mut command = self.lending.repay_from(self.account(*from), loan_id, amount_minor);
        if let LoanCommand::RepayLoan { surplus, value_date, amount, .. } = &mut command {
            *surplus = if *leave { Surplus::Leave } else { Surplus::ToSettlementAccount };
            *value_date = (*valued != 0).then(|| self.lending.desk.today() + Duration::days(*valued));
            if *valued == -7 {
                *amount = Money::new(amount.amount_minor, currency("EUR"));
            }
        }
        command
    }

    /// What a client has no business to do, and some that it may.
    fn meddling(&mut self, what: u8, which: u8) -> Command {
        let transactions = self.lending.desk.shelf.transactions.iter().map(|(id, _)| *id);
        let transaction_id = Self::pick(transactions, which);
        let id = self.lending.desk.fresh_transaction();
        match what % 6 {
            0 => desk::transfer(id, self.account(which), self.account(what / 8), czk(100)).into_command(),
            1 => desk::reverse(id, transaction_id, None).into_command(),
            2 => desk::through(desk::reverse(id, transaction_id, None), self.account(14)).into_command(),
            3 => desk::void(transaction_id).into_command(),
            4 => TransactionCommand::ExpirePending { transaction_id }.into_command(),
            _ => AccountCommand::CloseAccount { account_id: self.account(which | 14), reason: None }.into_command(),
        }
    }

    fn saga_command(&mut self, what: u8, which: u8, amount: i64) -> SagaCommand {
        let fresh = SagaId(self.lending.desk.fresh());
        let loan_id = Self::pick(self.lending.desk.shelf.loans.iter().map(|(id, _)| *id), which);
        match what % 32 {
            0..2 => SagaCommand::StartSaga { saga_id: fresh, process: Process::Disbursement { loan_id, attempt: 1 } },
            2 => SagaCommand::StartSaga { saga_id: fresh, process: Process::Collection { loan_id } },
            3..6 => SagaCommand::ReceivePayment {
                saga_id: fresh,
                transaction_id: TransactionId(fresh.0),
                bank_account_id: if which.is_multiple_of(16) { self.account(14) } else { self.lending.bank },
                suspense_account_id: self.lending.suspense,
                amount: czk(amount),
                bank_reference: ExternalReference::try_new(format!("R{}", which % 64)).unwrap(),
                loan_number: None,
                booking_date: None,
                value_date: None,
            },
            6..10 => {
                let parked = |saga: &Saga| saga.status == SagaStatus::Parked;
                let saga_id = self.saga(which, parked);
                let resolution = match amount % 3 {
                    0 => Some(Resolution::AssignLoan { loan_id }),
                    1 => Some(Resolution::ReturnPayment),
                    _ => None,
                };
                SagaCommand::ResumeSaga { saga_id, resolution }
            }
            10..12 => SagaCommand::AbandonSaga {
                saga_id: self.saga(which, |saga| !saga.status.has_ended()),
                reason: reason("x"),
            },
            _ => self.advance(what, which, amount),
        }
    }

    fn saga(&self, at: u8, fits: impl Fn(&Saga) -> bool) -> SagaId {
        let sagas = &self.lending.desk.shelf.sagas;
        let fitting: Vec<_> = sagas.iter().filter(|(_, saga)| fits(saga)).map(|(id, _)| *id).collect();
        if at % 8 == 7 || fitting.is_empty() {
            return Self::pick(sagas.iter().map(|(id, _)| *id), at);
        }
        fitting[usize::from(at / 8) % fitting.len()]
    }

    fn advance(&mut self, what: u8, which: u8, amount: i64) -> SagaCommand {
        let saga_id = self.saga(which, |saga| !saga.status.has_ended() && saga.status != SagaStatus::Parked);
        let saga = self.lending.desk.shelf.sagas.iter().find(|(id, _)| *id == saga_id);
        let saga = saga.map(|(_, saga)| saga.clone()).unwrap_or_default();
        let (code, at) = (reason("odd"), self.lending.desk.now + Duration::minutes(5));
        let transition = match amount % 8 {
            0 => Transition::Failed { code, retry_at: at },
            1 => Transition::Unknown { code, ask_at: at },
            2 => Transition::Refused { code },
            3 if saga.step == SagaStep::Collect => Transition::Finished { outcome: code },
            _ => Transition::Succeeded {
                loan_id: None,
                bank_reference: None,
                left_minor: (saga.step == SagaStep::Allocate).then_some(amount % 2),
                next_at: None,
            },
        };
        let attempt = saga.attempts + if what > 240 { 2 } else { 1 };
        SagaCommand::AdvanceSaga { saga_id, step: saga.step, attempt, transition }
    }

    fn run(&mut self, step: &Step) {
        for command in self.commands(step) {
            match self.lending.desk.submit(command) {
                Ok(_) => {}
                Err(rejection) => self.refuse(&rejection),
            }
        }
    }

    /// A refusal that says the rules were asked for what cannot be would be a fault of theirs.
    fn refuse(&mut self, rejection: &Rejection) {
        let code = rejection.code();
        let never = ["unbalanced", "leg_count_out_of_range", "balance_overflow", "state_unavailable"];
        assert!(!never.contains(&code), "{rejection:?}");
        self.refused.insert(code);
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn random_commands_leave_the_accounts_the_sums_of_the_loans(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::furnished();
        for step in &steps {
            run.run(step);
            check_desk(&run.lending.desk);
        }
        check_snapshots(&run.lending.desk.shelf);
    }
}

/// Before long every event of products, loans and sagas is met, and every refusal about them.
#[test]
fn random_commands_meet_every_event_and_refusal() {
    use proptest::strategy::ValueTree;
    let own = domain::event::EVENT_TYPES.iter().filter(|(kind, name, _)| covers(*kind, name));
    let mut events: BTreeSet<&str> = own.map(|(_, name, _)| *name).collect();
    let mut codes: BTreeSet<&str> = REFUSALS.iter().copied().collect();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..500 {
        let steps = prop::collection::vec(step(), 120).new_tree(&mut runner).unwrap().current();
        let mut run = Run::furnished();
        steps.iter().for_each(|step| run.run(step));
        check_desk(&run.lending.desk);
        run.lending.desk.log.iter().for_each(|(.., event)| _ = events.remove(event.name()));
        codes.retain(|code| !run.refused.contains(code));
        if events.is_empty() && codes.is_empty() {
            return;
        }
    }
    panic!("never met: events {events:?}, refusals {codes:?}");
}

/// Dates of the furnished desk are such that something is due from the start.
#[test]
fn a_furnished_desk_has_loans_with_something_due() {
    let run = Run::furnished();
    let due = run.lending.desk.shelf.loans.iter().map(|(_, loan)| loan.due_until(date("2026-03-16")).total_minor());
    assert!(due.into_iter().all(|due_minor| due_minor > 0));
}
