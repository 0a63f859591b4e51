//! The worked examples of docs/accounting.md, posted through the rules and compared line by line.
//!
//! The page says how to read an example; `Example::step` is the list of its verbs.

use std::collections::BTreeMap;

use chrono::Duration;
use domain::account::{AccountCommand, AccountEvent, FreezeScope, Product};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::loan::{LoanCommand, Surplus};
use domain::product::{Component, LoanAccounts};
use domain::saga::SagaCommand;
use domain::transaction::{
    Leg, LegAmount, LegInput, Legs, Pending, TransactionCommand, TransactionEvent, TransactionKind,
};
use domain::words::ExternalReference;
use domain::{AccountId, Currency, Event, LoanId, LoanProductId, Money, Plan, SagaId, Side, TransactionId};

use crate::desk::{self, Desk, IntoCommand, currency, czk, date, define_code, period, reason, word};
use crate::invariants::{check_desk, net_debits};
use crate::lending;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/accounting.md"));
const GLOSSARY: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/glossary.md"));

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The rows of the page's first table whose header starts with these cells.
fn table(header: &[&str]) -> Vec<Vec<&'static str>> {
    let mut lines = PAGE.lines().skip_while(|line| !cells(line).starts_with(header));
    assert!(lines.next().is_some(), "the page has a table {header:?}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The page's chart of accounts.
fn chart() -> Vec<(&'static str, LedgerClass, bool)> {
    let row = |row: Vec<&'static str>| {
        let class: LedgerClass = serde_json::from_str(&format!("\"{}\"", row[2])).unwrap();
        assert_eq!(class.normal_side().name(), row[3], "{row:?}");
        (row[0], class, row[4] == "yes")
    };
    table(&["code", "name", "class"]).into_iter().map(row).collect()
}

/// A row of an example: what a step says of one account.
#[derive(Clone, Debug)]
struct Row {
    account: &'static str,
    debit: &'static str,
    credit: &'static str,
    balance: &'static str,
    available: &'static str,
}

impl Row {
    fn leg(&self) -> Option<(Side, &'static str)> {
        match (self.debit, self.credit) {
            ("", "") => None,
            (debit, "") => Some((Side::Debit, debit)),
            ("", credit) => Some((Side::Credit, credit)),
            both => panic!("{both:?}: a leg is a debit or a credit"),
        }
    }
}

#[derive(Debug)]
struct Step {
    number: &'static str,
    verb: &'static str,
    rows: Vec<Row>,
    /// The names after the arrow.
    events: Option<Vec<&'static str>>,
}

/// The examples of the page, each a list of steps.
fn examples() -> Vec<Vec<Step>> {
    let blocks = PAGE.split("\n```example\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    blocks.map(steps).collect()
}

fn steps(block: &'static str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines().skip(2) {
        let &[step, account, debit, credit, balance, available] = &*cells(line) else { panic!("six columns: {line}") };
        if let Some((number, verb)) = step.split_once(' ') {
            assert_eq!(number, (steps.len() + 1).to_string(), "{line}");
            steps.push(Step { number, verb, rows: Vec::new(), events: None });
        }
        let current = steps.last_mut().unwrap();
        match account.strip_prefix('→') {
            Some(names) => current.events = Some(names.split(',').map(str::trim).collect()),
            None if account.is_empty() => {}
            None => current.rows.push(Row { account, debit, credit, balance, available }),
        }
    }
    steps
}

/// An example while it runs.
struct Example {
    desk: Desk,
    accounts: BTreeMap<&'static str, AccountId>,
    /// What each numbered step posted, or made pending.
    transactions: BTreeMap<&'static str, TransactionId>,
    /// The loan of the example.
    loan: LoanId,
}

impl Example {
    fn new() -> Self {
        let mut desk = Desk::bare();
        for code in ["CZK", "EUR"] {
            desk.ok(LedgerCommand::DefineCurrency { currency: currency(code) });
        }
        for (ledger_code, class, control) in chart() {
            desk.ok(define_code(ledger_code, class, control));
        }
        for (id, from, to) in [("2026-02", "2026-02-01", "2026-02-28"), ("2026-03", "2026-03-01", "2026-03-31")] {
            desk.ok(LedgerCommand::OpenPeriod { period: period(id), from: date(from), to: date(to) });
        }
        Self { desk, accounts: BTreeMap::new(), transactions: BTreeMap::new(), loan: LoanId::default() }
    }

    /// The account written `code Name`, or `code Name CUR`; it opens at its first mention.
    fn account(&mut self, text: &'static str) -> AccountId {
        if let Some(id) = self.accounts.get(text) {
            return *id;
        }
        let ledger_code = &text[..4];
        let code = text.rsplit_once(' ').map_or("", |(_, last)| last);
        let code = if code.parse::<Currency>().is_ok() { code } else { "CZK" };
        let id = match ledger_code {
            "2100" => self.desk.guarded(ledger_code, Product::Current, code, 0, 0),
            "2200" => self.desk.guarded(ledger_code, Product::Savings, code, 0, 0),
            "2300" => self.desk.guarded(ledger_code, Product::FixedDeposit, code, 0, 0),
            _ => self.desk.internal(ledger_code, code),
        };
        self.accounts.insert(text, id);
        id
    }

    fn amount(&self, account: AccountId, text: &str) -> Money {
        Money::parse(text, self.desk.account(account).currency).unwrap()
    }

    fn transaction(&self, step: &str) -> TransactionId {
        self.transactions[step]
    }

    /// The legs of the step's rows.
    fn legs(&mut self, rows: &[Row]) -> Vec<LegInput> {
        let mut legs = Vec::new();
        for row in rows {
            if let Some((side, text)) = row.leg() {
                let account_id = self.account(row.account);
                legs.push(LegInput { account_id, side, amount: self.amount(account_id, text) });
            }
        }
        legs
    }

    /// The step's legs as parts of the transaction's, on the same sides or the opposite ones.
    fn parts(&mut self, id: TransactionId, rows: &[Row], opposite: bool) -> Vec<LegAmount> {
        let part = |input: LegInput, desk: &Desk| {
            let side = if opposite { input.side.opposite() } else { input.side };
            let legs = &desk.transaction(id).legs;
            let fits =
                |leg: &&domain::transaction::TransactionLeg| leg.account_id == input.account_id && leg.side == side;
            LegAmount { leg: legs.iter().find(fits).unwrap().leg, amount: input.amount }
        };
        let inputs = self.legs(rows);
        inputs.into_iter().map(|input| part(input, &self.desk)).collect()
    }

    fn step(&mut self, step: &Step) {
        let (refusal, verb) = match step.verb.strip_prefix("refused ") {
            Some(rest) => rest.split_once(": ").map(|(code, verb)| (Some(code), verb)).unwrap(),
            None => (None, step.verb),
        };
        let mut plan = None;
        if let Some(command) = self.command(step, verb) {
            match (self.desk.submit(command), refusal) {
                (Ok(accepted), None) => plan = Some(accepted),
                (Err(rejection), Some(code)) => assert_eq!(rejection.code(), code, "{step:#?}"),
                (Ok(_), Some(code)) => panic!("not {code}: {step:#?}"),
                (Err(rejection), None) => panic!("{rejection}: {step:#?}"),
            }
        }
        if let Some(plan) = &plan {
            self.compare_plan(step, plan);
        }
        if verb.starts_with("trial balance") {
            self.compare_trial_balance(step, verb.strip_prefix("trial balance ").unwrap_or("CZK"));
        } else {
            self.compare_balances(step, verb);
        }
        check_desk(&self.desk);
    }

    /// What the verb asks; `None` where it only looks, or lets time pass.
    fn command(&mut self, step: &Step, verb: &'static str) -> Option<domain::Command> {
        let rows = &step.rows;
        let words: Vec<&str> = verb.split(' ').collect();
        let first = rows.first().map(|row| self.account(row.account));
        Some(match *words {
            ["pass", hours, "hours"] => {
                self.desk.pass(Duration::hours(hours.parse().unwrap()));
                return None;
            }
            ["check", ..] | ["trial", "balance", ..] => return None,
            ["limit", minimum] => {
                let minimum_balance = self.amount(first?, minimum);
                AccountCommand::ChangeLimit { account_id: first?, minimum_balance }.into_command()
            }
            ["freeze", side] => desk::freeze(first?, scope(side)).into_command(),
            ["unfreeze", side] => {
                AccountCommand::UnfreezeAccount { account_id: first?, scope: scope(side) }.into_command()
            }
            ["dormant"] => {
                AccountCommand::MarkAccountDormant { account_id: first?, reason: reason("quiet") }.into_command()
            }
            ["close", "period", id] => LedgerCommand::ClosePeriod { period: period(id) }.into_command(),
            ["close"] => desk::close(first?).into_command(),
            ["post", of] | ["post", of, "final"] => {
                let id = self.transaction(of);
                let parts = self.parts(id, rows, false);
                let legs = (!parts.is_empty()).then_some(parts);
                desk::post_pending(id, legs, words.len() == 3).into_command()
            }
            ["void", of] => desk::void(self.transaction(of)).into_command(),
            ["expire", of] => TransactionCommand::ExpirePending { transaction_id: self.transaction(of) }.into_command(),
            ["reverse", "repayment", of] => self.repayment_reversal(step, of),
            ["reverse", ..] => self.reversal(step, &words),
            ["lend", principal, "at", rate, "%", "over", instalments, "to", ..] => {
                let settlement = verb.split_once(" to ").unwrap().1;
                self.lend(principal, rate, instalments, settlement)
            }
            ["receive"] => self.receipt(step),
            [
                "disburse," | "start" | "confirm" | "cancel" | "accrue" | "charge" | "repay" | "collect" | "write",
                ..,
            ] => self.on_loan(step, verb).into_command(),
            _ => self.posting(step, verb),
        })
    }

    fn reversal(&mut self, step: &Step, words: &[&'static str]) -> domain::Command {
        let id = self.desk.fresh_transaction();
        self.transactions.insert(step.number, id);
        match *words {
            ["reverse", "part", "of", of] => {
                let original = self.transaction(of);
                let parts = self.parts(original, &step.rows, true);
                desk::reverse(id, original, Some(parts))
            }
            ["reverse", of] => desk::reverse(id, self.transaction(of), None),
            ["reverse", of, "through", ..] => {
                let name = step.verb.split_once(" through ").unwrap().1;
                let suspense = self.account(name);
                desk::through(desk::reverse(id, self.transaction(of), None), suspense)
            }
            _ => panic!("{words:?}"),
        }
        .into_command()
    }

    /// Defines a product, takes the application, and approves it last.
    fn lend(&mut self, principal: &str, rate: &str, instalments: &str, settlement: &'static str) -> domain::Command {
        let account_id = self.account(settlement);
        let accounts = LoanAccounts {
            portfolio_account_id: self.account("1200 Loans"),
            interest_receivable_account_id: self.account("1210 Interest due"),
            charges_receivable_account_id: self.account("1220 Charges due"),
            interest_income_account_id: self.account("4200 Loan interest"),
            fee_income_account_id: self.account("4210 Loan fees"),
            penalty_income_account_id: self.account("4220 Loan penalties"),
            write_off_account_id: self.account("5100 Loan losses"),
        };
        let product_id = LoanProductId(self.desk.fresh());
        self.desk.ok(lending::define(product_id, "LOAN", accounts));
        self.loan = LoanId(self.desk.fresh());
        self.desk.ok(LoanCommand::ApplyForLoan {
            loan_id: self.loan,
            number: desk::number("1"),
            member_id: self.desk.account(account_id).holders[0].member_id,
            product_id,
            principal: self.amount(account_id, principal),
            annual_rate: Some(lending::rate(rate)),
            instalments: instalments.parse().unwrap(),
            settlement_account_id: Some(account_id),
            purpose: None,
            branch: None,
            applied_on: None,
        });
        lending::approve(self.loan).into_command()
    }

    /// A payment from the first row's account into the second row's.
    fn receipt(&mut self, step: &Step) -> domain::Command {
        let [into, waits] = &*self.legs(&step.rows) else { panic!("a payment has two legs: {step:#?}") };
        let transaction_id = self.desk.fresh_transaction();
        self.transactions.insert(step.number, transaction_id);
        SagaCommand::ReceivePayment {
            saga_id: SagaId(self.desk.fresh()),
            transaction_id,
            bank_account_id: into.account_id,
            suspense_account_id: waits.account_id,
            amount: into.amount,
            bank_reference: ExternalReference::try_new(step.number).unwrap(),
            loan_number: None,
            booking_date: None,
            value_date: None,
        }
        .into_command()
    }

    fn repayment_reversal(&mut self, step: &Step, of: &str) -> domain::Command {
        let transaction_id = self.desk.fresh_transaction();
        self.transactions.insert(step.number, transaction_id);
        LoanCommand::ReverseRepayment {
            loan_id: self.loan,
            transaction_id,
            repayment_id: self.transaction(of),
            reason: reason("booked_in_error"),
            booking_date: None,
        }
        .into_command()
    }

    /// `VERB [WORDS][, booked DATE]` on the example's loan.
    fn on_loan(&mut self, step: &Step, verb: &'static str) -> LoanCommand {
        let (loan_id, transaction_id) = (self.loan, self.desk.fresh_transaction());
        self.transactions.insert(step.number, transaction_id);
        let (verb, booked) = verb.split_once(", booked ").map_or((verb, None), |(verb, on)| (verb, Some(date(on))));
        let words: Vec<&str> = verb.split(' ').collect();
        let legs = self.legs(&step.rows);
        let account_id = |at: usize| legs[at].account_id;
        match *words {
            ["disburse"] => LoanCommand::DisburseLoan {
                loan_id,
                transaction_id,
                to_account_id: account_id(1),
                booking_date: booked,
                disbursed_on: None,
                first_due_on: None,
            },
            ["start", "disbursement"] => LoanCommand::StartDisbursement {
                loan_id,
                transaction_id,
                funding_account_id: account_id(1),
                destination: lending::sealed(),
                booking_date: booked,
                disbursed_on: None,
                first_due_on: None,
            },
            ["confirm", "disbursement"] => lending::confirm(loan_id),
            ["cancel", "disbursement"] => lending::cancel(loan_id),
            ["accrue"] => LoanCommand::AccrueInterest { loan_id, transaction_id, through: None },
            ["charge", component] => LoanCommand::ChargeLoan {
                loan_id,
                transaction_id,
                component: Component::ALL.into_iter().find(|known| known.name() == component).expect(verb),
                amount: legs[0].amount,
                reason: reason("late"),
                booking_date: booked,
            },
            ["repay", offered] => LoanCommand::RepayLoan {
                loan_id,
                transaction_id,
                from_account_id: account_id(0),
                amount: self.amount(account_id(0), offered),
                surplus: Surplus::ToSettlementAccount,
                booking_date: booked,
                value_date: None,
                external_reference: None,
            },
            ["collect"] => LoanCommand::CollectDue { loan_id, transaction_id, through: None },
            ["write", "off"] => {
                LoanCommand::WriteOffLoan { loan_id, transaction_id, reason: reason("lost"), booking_date: booked }
            }
            _ => panic!("{verb}"),
        }
    }

    /// `[pending] KIND [for N hours][, booked DATE][, valued DATE]`
    fn posting(&mut self, step: &Step, verb: &'static str) -> domain::Command {
        let mut clauses = verb.split(", ");
        let words: Vec<&str> = clauses.next().unwrap().split(' ').collect();
        let (pending, kind) = match *words {
            ["pending", kind] => (Some(Pending { expires_at: None }), kind),
            ["pending", kind, "for", hours, "hours"] => {
                let until = self.desk.now + Duration::hours(hours.parse().unwrap());
                (Some(Pending { expires_at: Some(until) }), kind)
            }
            [kind] => (None, kind),
            _ => panic!("{verb}"),
        };
        let kind = TransactionKind::ALL.into_iter().find(|known| known.name() == kind).expect(verb);
        let (mut booking_date, mut value_date) = (None, None);
        for clause in clauses {
            match clause.split_once(' ').unwrap() {
                ("booked", on) => booking_date = Some(date(on)),
                ("valued", on) => value_date = Some(date(on)),
                other => panic!("{other:?}"),
            }
        }
        let transaction_id = self.desk.fresh_transaction();
        self.transactions.insert(step.number, transaction_id);
        let legs = Legs::Explicit(self.legs(&step.rows));
        TransactionCommand::PostTransaction {
            transaction_id,
            kind,
            booking_date,
            value_date,
            legs,
            external_reference: None,
            narrative: None,
            pending,
        }
        .into_command()
    }

    /// The legs in the log are those printed, and the events those named.
    fn compare_plan(&mut self, step: &Step, plan: &Plan) {
        if let Some(names) = &step.events {
            let events: Vec<_> = plan.events.iter().map(|(_, event)| event.name()).collect();
            assert_eq!(&events, names, "{step:#?}");
        }
        let printed = self.legs(&step.rows);
        if printed.is_empty() {
            return;
        }
        let legs_of = |event: &Event| match event {
            Event::Transaction(
                TransactionEvent::TransactionPosted { legs, .. }
                | TransactionEvent::TransactionPending { legs, .. }
                | TransactionEvent::PendingPosted { legs, .. },
            ) => Some(legs.clone()),
            _ => None,
        };
        let input = |leg: &Leg| LegInput {
            account_id: leg.account_id,
            side: leg.side,
            amount: Money::new(leg.amount_minor, leg.currency),
        };
        let booked: Vec<_> =
            plan.events.iter().find_map(|(_, event)| legs_of(event)).unwrap().iter().map(input).collect();
        assert_eq!(booked, printed, "{step:#?}");
    }

    fn compare_balances(&mut self, step: &Step, verb: &str) {
        for row in &step.rows {
            let id = self.account(row.account);
            if !row.balance.is_empty() {
                let expected = i128::from(self.amount(id, row.balance).amount_minor);
                assert_eq!(self.balance_minor(id, verb), expected, "balance of {} in {step:#?}", row.account);
            }
            if !row.available.is_empty() {
                assert!(self.desk.account(id).guarded, "an internal account has nothing available: {row:?}");
                let expected = i128::from(self.amount(id, row.available).amount_minor);
                assert_eq!(self.desk.available_minor(id), expected, "available of {} in {step:#?}", row.account);
            }
        }
    }

    /// The balance on the normal side: as recorded, or as of a date.
    fn balance_minor(&self, id: AccountId, verb: &str) -> i128 {
        let until = |prefix: &str| verb.strip_prefix(prefix).map(date);
        let (booked, valued) = (until("check as booked to "), until("check as valued to "));
        if booked.is_some() || valued.is_some() {
            let mut sum = 0;
            for (stream, _, event) in &self.desk.log {
                if let Event::Account(AccountEvent::EntryPosted {
                    side, amount_minor, booking_date, value_date, ..
                }) = event
                    && *stream == id.stream()
                    && booked.is_none_or(|day| *booking_date <= day)
                    && valued.is_none_or(|day| *value_date <= day)
                {
                    sum += i128::from(side.change_minor(*amount_minor, self.desk.account(id).normal_side));
                }
            }
            return sum;
        }
        let account = self.desk.account(id);
        let key = (account.ledger_code.clone(), account.currency, id);
        let net = net_debits(&self.desk).get(&key).copied().unwrap_or(0);
        if account.normal_side == Side::Debit { net } else { -net }
    }

    fn compare_trial_balance(&mut self, step: &Step, code: &str) {
        let mut sums: BTreeMap<String, i128> = BTreeMap::new();
        for ((ledger_code, kept_in, _), net) in net_debits(&self.desk) {
            if kept_in == currency(code) {
                *sums.entry(ledger_code.to_string()).or_default() += net;
            }
        }
        sums.retain(|_, net| *net != 0);
        let minor = |text: &str| if text.is_empty() { 0 } else { i128::from(czk_minor(text)) };
        let (total, lines) = step.rows.split_last().unwrap();
        let printed: BTreeMap<String, i128> =
            lines.iter().map(|row| (row.account.to_owned(), minor(row.debit) - minor(row.credit))).collect();
        assert_eq!(sums, printed, "{step:#?}");
        assert_eq!(total.account, "total");
        let debits: i128 = sums.values().filter(|net| **net > 0).sum();
        assert_eq!((debits, debits), (minor(total.debit), minor(total.credit)), "{step:#?}");
    }
}

fn czk_minor(text: &str) -> i64 {
    Money::parse(text, czk(0).currency).unwrap().amount_minor
}

fn scope(side: &str) -> FreezeScope {
    serde_json::from_str(&format!("\"{side}\"")).unwrap()
}

#[test]
fn the_worked_examples_are_what_the_rules_do() {
    let examples = examples();
    assert!(examples.len() >= 10, "the page has its examples");
    for steps in &examples {
        let mut example = Example::new();
        for step in steps {
            // Accounts open before the step, so that a line of events tells the step's own.
            let looks = step.verb.starts_with("trial balance");
            for row in step.rows.iter().filter(|_| !looks) {
                example.account(row.account);
            }
            example.step(step);
        }
    }
}

#[test]
fn the_chart_of_the_page_has_a_code_for_every_class() {
    let chart = chart();
    for class in
        [LedgerClass::Asset, LedgerClass::Liability, LedgerClass::Equity, LedgerClass::Income, LedgerClass::Expense]
    {
        assert!(chart.iter().any(|(_, of, _)| *of == class), "{class:?}");
    }
    assert!(chart.is_sorted_by_key(|(code, ..)| word(code)));
}

#[test]
fn the_page_tells_of_every_event() {
    let told: String = table(&["event", "stream"]).concat().concat();
    for (_, name, _) in domain::event::EVENT_TYPES {
        assert!(told.contains(&format!("`{name}`")), "docs/accounting.md does not say what {name} books");
    }
}

#[test]
fn the_glossary_is_one_line_a_term_in_alphabetical_order() {
    let terms: Vec<String> = GLOSSARY
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .map(|line| line.split_once("**: ").expect("a term, a colon, a line").0.to_lowercase())
        .collect();
    assert!(terms.len() > 40);
    for pair in terms.windows(2) {
        assert!(pair[0] < pair[1], "{} comes before {}", pair[1], pair[0]);
    }
}
