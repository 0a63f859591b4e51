//! A desk with the whole book on it: decides commands, applies their plans, keeps the events.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, NaiveDate, TimeZone, Utc};
use domain::account::{AccountCommand, FreezeScope, Holder, HolderRole, Product};
use domain::forward::Shelf;
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::loan::LoanCommand;
use domain::member::{MemberCommand, MemberKind};
use domain::product::LoanProductCommand;
use domain::saga::SagaCommand;
use domain::transaction::{LegAmount, LegInput, Legs, NewTransaction, Pending, TransactionCommand, TransactionKind};
use domain::words::{LedgerCode, Number, PeriodId, ReasonCode, Title};
use domain::{
    Account, AccountId, Book, Command, Context, Currency, Event, Ledger, Loan, LoanId, LoanProduct, LoanProductId,
    Member, MemberId, Missing, Money, Plan, Rejection, Reservation, Saga, SagaId, Side, Stop, StreamId, StreamKind,
    Transaction, TransactionId, decide,
};
use uuid::Uuid;

use crate::invariants;

/// The chart of the tests: that of docs/accounting.md, and a control code with debit balances.
pub(crate) const CHART: &[(&str, LedgerClass, bool)] = &[
    ("1000", LedgerClass::Asset, false),
    ("1100", LedgerClass::Asset, false),
    ("1200", LedgerClass::Asset, false),
    ("1210", LedgerClass::Asset, false),
    ("1220", LedgerClass::Asset, false),
    ("1300", LedgerClass::Asset, false),
    ("1400", LedgerClass::Asset, true),
    ("2100", LedgerClass::Liability, true),
    ("2200", LedgerClass::Liability, true),
    ("2300", LedgerClass::Liability, true),
    ("2900", LedgerClass::Liability, false),
    ("3000", LedgerClass::Equity, false),
    ("4000", LedgerClass::Income, false),
    ("4200", LedgerClass::Income, false),
    ("4210", LedgerClass::Income, false),
    ("4220", LedgerClass::Income, false),
    ("5000", LedgerClass::Expense, false),
    ("5100", LedgerClass::Expense, false),
];

pub(crate) trait IntoCommand {
    fn into_command(self) -> Command;
}

macro_rules! into_command {
    ($($noun:ident: $command:ty),+) => {
        $(impl IntoCommand for $command {
            fn into_command(self) -> Command {
                Command::$noun(self)
            }
        })+
    };
}

into_command!(
    Member: MemberCommand, Account: AccountCommand, Transaction: TransactionCommand, Ledger: LedgerCommand,
    LoanProduct: LoanProductCommand, Loan: LoanCommand, Saga: SagaCommand
);

impl IntoCommand for Command {
    fn into_command(self) -> Command {
        self
    }
}

/// The states, the events that made them, and the time.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) shelf: Shelf,
    /// Every event with its stream and its sequence in it.
    pub(crate) log: Vec<(StreamId, u64, Event)>,
    pub(crate) now: DateTime<Utc>,
    next: u128,
}

impl Desk {
    /// Nothing defined, at noon of 2026-03-16.
    pub(crate) fn bare() -> Self {
        let now = Utc.with_ymd_and_hms(2026, 3, 16, 12, 0, 0).unwrap();
        Self { shelf: Shelf::default(), log: Vec::new(), now, next: 1_000_000 }
    }

    /// With currencies, the chart, and a period for each month of the first half of 2026; January is closed.
    pub(crate) fn new() -> Self {
        let mut desk = Self::bare();
        for code in ["CZK", "EUR", "JPY"] {
            desk.ok(LedgerCommand::DefineCurrency { currency: currency(code) });
        }
        for (ledger_code, class, control) in CHART {
            desk.ok(define_code(ledger_code, *class, *control));
        }
        for month in 1..=6 {
            let from = NaiveDate::from_ymd_opt(2026, month, 1).unwrap();
            let to = NaiveDate::from_ymd_opt(2026, month + 1, 1).unwrap().pred_opt().unwrap();
            desk.ok(LedgerCommand::OpenPeriod { period: period(&format!("2026-{month:02}")), from, to });
        }
        desk.ok(LedgerCommand::ClosePeriod { period: period("2026-01") });
        desk
    }

    pub(crate) fn context(&self) -> Context {
        let command_id = Uuid::from_u128(self.next);
        Context { recorded_at: self.now, business_date: self.today(), command_id }
    }

    pub(crate) fn today(&self) -> NaiveDate {
        self.now.date_naive()
    }

    /// An id that is not in use.
    pub(crate) fn fresh(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Decides and applies. The decision is made twice, once on a book that has to be loaded bit by
    /// bit, and must be the same.
    pub(crate) fn submit(&mut self, command: impl IntoCommand) -> Result<Plan, Rejection> {
        self.next += 1;
        let command = command.into_command();
        let context = self.context();
        let decision = match decide(&command, &self.shelf, &context) {
            Ok(plan) => Ok(plan),
            Err(Stop::Rejected(rejection)) => Err(rejection),
            Err(Stop::Missing(missing)) => panic!("nothing can be missing from a shelf, but {missing:?} was"),
        };
        assert_eq!(decision, load_and_decide(&command, &self.shelf, &context), "the same once all is loaded");
        match &decision {
            Ok(plan) => {
                invariants::check_plan(&self.shelf, plan);
                assert_eq!(plan.check(&self.shelf), Ok(()));
                self.apply(plan);
            }
            Err(rejection) => invariants::check_rejection(&command, rejection),
        }
        decision
    }

    fn apply(&mut self, plan: &Plan) {
        for (stream, event) in &plan.events {
            let sequence = self.log.iter().rev().find(|(of, ..)| of == stream).map_or(1, |(_, last, _)| last + 1);
            self.log.push((*stream, sequence, event.clone()));
            fold_into(&mut self.shelf, *stream, event);
        }
        self.shelf.reserved.extend(plan.reservations.iter().cloned());
    }

    /// Accepted, or the test fails.
    #[track_caller]
    pub(crate) fn ok(&mut self, command: impl IntoCommand) -> Plan {
        match self.submit(command) {
            Ok(plan) => plan,
            Err(rejection) => panic!("refused: {rejection}"),
        }
    }

    /// Refused, or the test fails.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: impl IntoCommand) -> Rejection {
        match self.submit(command) {
            Ok(plan) => panic!("accepted: {plan:?}"),
            Err(rejection) => rejection,
        }
    }

    /// A member who has passed the KYC check.
    #[track_caller]
    pub(crate) fn member(&mut self) -> MemberId {
        let member_id = MemberId(self.fresh());
        self.ok(register(member_id, &format!("M{}", self.next)));
        self.ok(MemberCommand::VerifyKyc { member_id });
        member_id
    }

    /// A new member's savings account with that minimum and that balance, paid in from an account of cash.
    #[track_caller]
    pub(crate) fn savings(&mut self, minimum_minor: i64, balance_minor: i64) -> AccountId {
        self.guarded("2200", Product::Savings, "CZK", minimum_minor, balance_minor)
    }

    #[track_caller]
    pub(crate) fn guarded(
        &mut self,
        ledger_code: &str,
        product: Product,
        code: &str,
        minimum_minor: i64,
        balance_minor: i64,
    ) -> AccountId {
        let holders = vec![Holder { member_id: self.member(), role: HolderRole::Owner }];
        let account_id = AccountId(self.fresh());
        let minimum_balance = Some(Money::new(minimum_minor, currency(code)));
        self.ok(AccountCommand::OpenAccount {
            account_id,
            number: number(&format!("A{}", self.next)),
            name: None,
            product,
            holders,
            currency: currency(code),
            ledger_code: word(ledger_code),
            minimum_balance,
            branch: None,
            opened_on: None,
        });
        if balance_minor > 0 {
            let cash = self.internal("1000", code);
            let transaction_id = self.fresh_transaction();
            self.ok(transfer(transaction_id, cash, account_id, Money::new(balance_minor, currency(code))));
        }
        account_id
    }

    #[track_caller]
    pub(crate) fn internal(&mut self, ledger_code: &str, code: &str) -> AccountId {
        let account_id = AccountId(self.fresh());
        self.ok(open_internal(account_id, &format!("I{}", self.next), ledger_code, code));
        account_id
    }

    pub(crate) fn fresh_transaction(&mut self) -> TransactionId {
        TransactionId(self.fresh())
    }

    /// A posted transfer.
    #[track_caller]
    pub(crate) fn transferred(&mut self, from: AccountId, to: AccountId, amount_minor: i64) -> TransactionId {
        let transaction_id = self.fresh_transaction();
        self.ok(transfer(transaction_id, from, to, czk(amount_minor)));
        transaction_id
    }

    /// A pending transfer.
    #[track_caller]
    pub(crate) fn held(
        &mut self,
        from: AccountId,
        to: AccountId,
        amount_minor: i64,
        expires_at: Option<DateTime<Utc>>,
    ) -> TransactionId {
        let transaction_id = self.fresh_transaction();
        self.ok(hold(transaction_id, from, to, czk(amount_minor), expires_at));
        transaction_id
    }

    pub(crate) fn account(&self, id: AccountId) -> &Account {
        self.shelf.account(id).unwrap().unwrap()
    }

    pub(crate) fn transaction(&self, id: TransactionId) -> &Transaction {
        self.shelf.transaction(id).unwrap().unwrap()
    }

    pub(crate) fn balance_minor(&self, id: AccountId) -> i64 {
        self.account(id).balance_minor
    }

    pub(crate) fn available_minor(&self, id: AccountId) -> i128 {
        self.account(id).available_minor(self.now)
    }
}

/// Applies an event to the state of its stream, which it may bring into being.
pub(crate) fn fold_into(shelf: &mut Shelf, stream: StreamId, event: &Event) {
    match event {
        Event::Member(event) => state_of::<MemberId, Member>(&mut shelf.members, MemberId(stream.id)).fold(event),
        Event::Account(event) => state_of::<AccountId, Account>(&mut shelf.accounts, AccountId(stream.id)).fold(event),
        Event::Transaction(event) => {
            state_of::<TransactionId, Transaction>(&mut shelf.transactions, TransactionId(stream.id)).fold(event);
        }
        Event::Ledger(event) => shelf.ledger.fold(event),
        Event::Rejection(_) => panic!("no plan has a rejection in it"),
        Event::LoanProduct(event) => {
            state_of::<LoanProductId, LoanProduct>(&mut shelf.loan_products, LoanProductId(stream.id)).fold(event);
        }
        Event::Loan(event) => state_of::<LoanId, Loan>(&mut shelf.loans, LoanId(stream.id)).fold(event),
        Event::Saga(event) => state_of::<SagaId, Saga>(&mut shelf.sagas, SagaId(stream.id)).fold(event),
    }
}

fn state_of<Id: PartialEq + Copy, State: Default>(states: &mut Vec<(Id, State)>, id: Id) -> &mut State {
    let at = states.iter().position(|(key, _)| *key == id).unwrap_or_else(|| {
        states.push((id, State::default()));
        states.len() - 1
    });
    &mut states[at].1
}

/// A book that knows only what was loaded, as the event store's memory does.
struct Loading<'a> {
    shelf: &'a Shelf,
    streams: BTreeSet<StreamId>,
    reservations: BTreeSet<Reservation>,
}

impl Loading<'_> {
    fn have(&self, stream: StreamId) -> Result<(), Missing> {
        if self.streams.contains(&stream) { Ok(()) } else { Err(Missing::Stream(stream)) }
    }

    fn load(&mut self, missing: Missing) -> bool {
        match missing {
            Missing::Stream(stream) => self.streams.insert(stream),
            Missing::Reservation(reservation) => self.reservations.insert(reservation),
        }
    }
}

impl Book for Loading<'_> {
    fn member(&self, id: MemberId) -> Result<Option<&Member>, Missing> {
        self.have(id.stream()).and_then(|()| self.shelf.member(id))
    }

    fn account(&self, id: AccountId) -> Result<Option<&Account>, Missing> {
        self.have(id.stream()).and_then(|()| self.shelf.account(id))
    }

    fn transaction(&self, id: TransactionId) -> Result<Option<&Transaction>, Missing> {
        self.have(id.stream()).and_then(|()| self.shelf.transaction(id))
    }

    fn loan_product(&self, id: LoanProductId) -> Result<Option<&LoanProduct>, Missing> {
        self.have(id.stream()).and_then(|()| self.shelf.loan_product(id))
    }

    fn loan(&self, id: LoanId) -> Result<Option<&Loan>, Missing> {
        self.have(id.stream()).and_then(|()| self.shelf.loan(id))
    }

    fn saga(&self, id: SagaId) -> Result<Option<&Saga>, Missing> {
        self.have(id.stream()).and_then(|()| self.shelf.saga(id))
    }

    fn ledger(&self) -> Result<&Ledger, Missing> {
        self.have(StreamId::LEDGER).and_then(|()| self.shelf.ledger())
    }

    fn is_reserved(&self, reservation: &Reservation) -> Result<bool, Missing> {
        if !self.reservations.contains(reservation) {
            return Err(Missing::Reservation(reservation.clone()));
        }
        self.shelf.is_reserved(reservation)
    }
}

fn load_and_decide(command: &Command, shelf: &Shelf, context: &Context) -> Result<Plan, Rejection> {
    let mut book = Loading { shelf, streams: BTreeSet::new(), reservations: BTreeSet::new() };
    for missing in command.needs() {
        book.load(missing);
    }
    loop {
        match decide(command, &book, context) {
            Ok(plan) => {
                for (stream, _) in &plan.events {
                    assert!(book.streams.contains(stream), "{stream} gets an event without having been looked at");
                }
                for reservation in &plan.reservations {
                    assert!(book.reservations.contains(reservation), "{reservation:?} is taken without a look");
                }
                return Ok(plan);
            }
            Err(Stop::Rejected(rejection)) => return Err(rejection),
            Err(Stop::Missing(missing)) => assert!(book.load(missing.clone()), "{missing:?} was loaded already"),
        }
    }
}

pub(crate) fn currency(code: &str) -> Currency {
    code.parse().unwrap()
}

pub(crate) fn czk(amount_minor: i64) -> Money {
    Money::new(amount_minor, currency("CZK"))
}

pub(crate) fn eur(amount_minor: i64) -> Money {
    Money::new(amount_minor, currency("EUR"))
}

pub(crate) fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(crate) fn word(text: &str) -> LedgerCode {
    LedgerCode::try_new(text).unwrap()
}

pub(crate) fn number(text: &str) -> Number {
    Number::try_new(text).unwrap()
}

pub(crate) fn period(text: &str) -> PeriodId {
    PeriodId::try_new(text).unwrap()
}

pub(crate) fn reason(text: &str) -> ReasonCode {
    ReasonCode::try_new(text).unwrap()
}

pub(crate) fn title(text: &str) -> Title {
    Title::try_new(text).unwrap()
}

pub(crate) fn define_code(ledger_code: &str, class: LedgerClass, control: bool) -> LedgerCommand {
    LedgerCommand::DefineLedgerCode { ledger_code: word(ledger_code), name: title(ledger_code), class, control }
}

pub(crate) fn register(member_id: MemberId, text: &str) -> MemberCommand {
    MemberCommand::RegisterMember {
        member_id,
        number: number(text),
        kind: MemberKind::Person,
        personal: std::collections::BTreeMap::default(),
        branch: None,
    }
}

pub(crate) fn open_internal(account_id: AccountId, text: &str, ledger_code: &str, code: &str) -> AccountCommand {
    AccountCommand::OpenAccount {
        account_id,
        number: number(text),
        name: Some(title(ledger_code)),
        product: Product::Internal,
        holders: Vec::new(),
        currency: currency(code),
        ledger_code: word(ledger_code),
        minimum_balance: None,
        branch: None,
        opened_on: None,
    }
}

pub(crate) fn open_savings(account_id: AccountId, text: &str, holders: Vec<Holder>) -> AccountCommand {
    AccountCommand::OpenAccount {
        account_id,
        number: number(text),
        name: None,
        product: Product::Savings,
        holders,
        currency: currency("CZK"),
        ledger_code: word("2200"),
        minimum_balance: None,
        branch: None,
        opened_on: None,
    }
}

pub(crate) fn owner(member_id: MemberId) -> Holder {
    Holder { member_id, role: HolderRole::Owner }
}

pub(crate) fn freeze(account_id: AccountId, scope: FreezeScope) -> AccountCommand {
    AccountCommand::FreezeAccount { account_id, scope, reason: reason("court_order") }
}

pub(crate) fn close(account_id: AccountId) -> AccountCommand {
    AccountCommand::CloseAccount { account_id, reason: None }
}

pub(crate) fn debit(account_id: AccountId, amount: Money) -> LegInput {
    LegInput { account_id, side: Side::Debit, amount }
}

pub(crate) fn credit(account_id: AccountId, amount: Money) -> LegInput {
    LegInput { account_id, side: Side::Credit, amount }
}

/// A posting of these legs with nothing special about it.
pub(crate) fn post(transaction_id: TransactionId, kind: TransactionKind, legs: Legs) -> TransactionCommand {
    TransactionCommand::PostTransaction {
        transaction_id,
        kind,
        booking_date: None,
        value_date: None,
        legs,
        external_reference: None,
        narrative: None,
        pending: None,
    }
}

pub(crate) fn legs(transaction_id: TransactionId, inputs: Vec<LegInput>) -> TransactionCommand {
    post(transaction_id, TransactionKind::Transfer, Legs::Explicit(inputs))
}

pub(crate) fn transfer(
    transaction_id: TransactionId,
    from: AccountId,
    to: AccountId,
    amount: Money,
) -> TransactionCommand {
    post(transaction_id, TransactionKind::Transfer, Legs::Move { from, to, amount })
}

/// These postings in one command.
pub(crate) fn together(postings: impl IntoIterator<Item = TransactionCommand>) -> TransactionCommand {
    let transactions = postings.into_iter().map(|posting| match posting {
        TransactionCommand::PostTransaction {
            transaction_id,
            kind,
            booking_date,
            value_date,
            legs,
            external_reference,
            narrative,
            pending,
        } => NewTransaction {
            transaction_id,
            kind,
            booking_date,
            value_date,
            legs,
            external_reference,
            narrative,
            pending,
        },
        other => panic!("{} is no posting", other.name()),
    });
    TransactionCommand::PostTransactions { transactions: transactions.collect() }
}

pub(crate) fn booked_on(mut command: TransactionCommand, on: &str) -> TransactionCommand {
    match &mut command {
        TransactionCommand::PostTransaction { booking_date, .. }
        | TransactionCommand::PostPending { booking_date, .. }
        | TransactionCommand::ReverseTransaction { booking_date, .. } => *booking_date = Some(date(on)),
        TransactionCommand::VoidPending { .. }
        | TransactionCommand::ExpirePending { .. }
        | TransactionCommand::PostTransactions { .. } => panic!("it has no booking date of its own"),
    }
    command
}

pub(crate) fn made_pending(mut command: TransactionCommand, until: Option<DateTime<Utc>>) -> TransactionCommand {
    if let TransactionCommand::PostTransaction { pending, .. } = &mut command {
        *pending = Some(Pending { expires_at: until });
    }
    command
}

pub(crate) fn hold(
    transaction_id: TransactionId,
    from: AccountId,
    to: AccountId,
    amount: Money,
    expires_at: Option<DateTime<Utc>>,
) -> TransactionCommand {
    made_pending(transfer(transaction_id, from, to, amount), expires_at)
}

pub(crate) fn part(amounts: &[(u16, Money)]) -> Option<Vec<LegAmount>> {
    Some(amounts.iter().map(|(leg, amount)| LegAmount { leg: *leg, amount: *amount }).collect())
}

pub(crate) fn post_pending(
    transaction_id: TransactionId,
    legs: Option<Vec<LegAmount>>,
    is_final: bool,
) -> TransactionCommand {
    TransactionCommand::PostPending { transaction_id, legs, is_final, booking_date: None, value_date: None }
}

pub(crate) fn void(transaction_id: TransactionId) -> TransactionCommand {
    TransactionCommand::VoidPending { transaction_id, reason: reason("customer_cancelled") }
}

pub(crate) fn reverse(
    transaction_id: TransactionId,
    original_id: TransactionId,
    legs: Option<Vec<LegAmount>>,
) -> TransactionCommand {
    TransactionCommand::ReverseTransaction {
        transaction_id,
        original_id,
        legs,
        reason: reason("booked_in_error"),
        suspense_account_id: None,
        booking_date: None,
        value_date: None,
    }
}

pub(crate) fn through(mut command: TransactionCommand, suspense: AccountId) -> TransactionCommand {
    if let TransactionCommand::ReverseTransaction { suspense_account_id, .. } = &mut command {
        *suspense_account_id = Some(suspense);
    }
    command
}

/// The kinds of streams of a plan's events, in order.
pub(crate) fn event_names(plan: &Plan) -> Vec<(StreamKind, &'static str)> {
    plan.events.iter().map(|(stream, event)| (stream.kind, event.name())).collect()
}
