//! Random steps, in numbers that get their meaning from the states as they are then; the shorter form
//! of those in the domain's own model test.

use chrono::{Duration, NaiveDate, SubsecRound, Utc};
use domain::account::{AccountCommand, FreezeScope, Holder, HolderRole, Product};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::member::{MemberCommand, MemberKind};
use domain::transaction::{
    LegAmount, LegInput, Legs, Pending, Transaction, TransactionCommand, TransactionKind, TransactionStatus,
};
use domain::words::{ExternalReference, LedgerCode, Number, PeriodId, ReasonCode, Title};
use domain::{AccountId, Command, Currency, MemberId, Money, Side, TransactionId};
use proptest::prelude::*;
use uuid::Uuid;

use super::book::Model;

const CURRENCIES: [&str; 2] = ["CZK", "EUR"];
/// Each case has so many days of its own in the past, for its periods.
const CASE_DAYS: i64 = 12;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Register {
        number: u8,
    },
    Member {
        who: u8,
        what: u8,
    },
    Open {
        id: u8,
        number: u8,
        product: u8,
        currency: u8,
        holders: Vec<(u8, bool)>,
        minimum: Option<i64>,
    },
    Account {
        which: u8,
        what: u8,
        who: u8,
        amount: i64,
    },
    Move {
        from: u8,
        to: u8,
        amount: i64,
        terms: Terms,
    },
    Legs {
        legs: Vec<(u8, bool, i64)>,
        balanced: bool,
        terms: Terms,
    },
    Drain {
        from: u8,
        to: u8,
        terms: Terms,
    },
    Post {
        which: u8,
        parts: Option<Parts>,
        is_final: bool,
        day: Option<i64>,
    },
    Void {
        which: u8,
    },
    Expire {
        which: u8,
    },
    Reverse {
        which: u8,
        id: u8,
        parts: Option<Parts>,
        suspense: Option<u8>,
        day: Option<i64>,
    },
    Ledger {
        what: u8,
        which: u8,
        days: i64,
    },
    /// The same request as one before, under its key.
    Again {
        which: u8,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Terms {
    id: u8,
    kind: u8,
    day: Option<i64>,
    reference: Option<u8>,
    pending: Option<Expiry>,
}

#[derive(Clone, Debug)]
enum Expiry {
    Never,
    /// While the case runs, or just before.
    Soon {
        milliseconds: i64,
    },
    Tomorrow,
}

/// Quarters of what is left of each leg; some legs may be left out or not exist.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    quarters: i64,
    left_out: u8,
    odd: bool,
}

/// How a request reaches the stores.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Once,
    /// To both at the same time.
    Twice,
    /// The client hangs up on one and repeats at the other.
    HungUp,
    /// At the same time another request under the same key, to the same one.
    KeyReused,
}

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) step: Step,
    pub(super) store: bool,
    pub(super) how: How,
    /// The version expected, less the one there is.
    pub(super) expected: Option<i64>,
}

fn day() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![12 => Just(None), 3 => (0..CASE_DAYS).prop_map(Some), 1 => Just(Some(-1))]
}

fn parts() -> impl Strategy<Value = Option<Parts>> {
    let left_out = prop_oneof![4 => Just(0u8), 1 => any::<u8>()];
    let parts = (0..=5i64, left_out, prop::bool::weighted(0.05));
    prop::option::of(parts.prop_map(|(quarters, left_out, odd)| Parts { quarters, left_out, odd }))
}

fn terms(pending_weight: f64) -> impl Strategy<Value = Terms> {
    let expiry = prop_oneof![
        3 => Just(Expiry::Never),
        2 => (-2..40i64).prop_map(|milliseconds| Expiry::Soon { milliseconds }),
        3 => Just(Expiry::Tomorrow),
    ];
    let pending = prop::option::weighted(pending_weight, expiry);
    (any::<u8>(), any::<u8>(), day(), prop::option::weighted(0.1, any::<u8>()), pending)
        .prop_map(|(id, kind, day, reference, pending)| Terms { id, kind, day, reference, pending })
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    let amounts = || prop_oneof![15 => 1..60_000i64, 1 => -1..=0i64];
    let holders = prop::collection::vec((byte(), prop::bool::weighted(0.8)), 0..3);
    let legs = prop::collection::vec((byte(), any::<bool>(), amounts()), 0..5);
    prop_oneof![
        1 => byte().prop_map(|number| Step::Register { number }),
        3 => (byte(), byte()).prop_map(|(who, what)| Step::Member { who, what }),
        2 => (byte(), byte(), byte(), byte(), holders, prop::option::of(-80_000..20_000i64)).prop_map(
            |(id, number, product, currency, holders, minimum)| Step::Open {
                id, number, product, currency, holders, minimum,
            },
        ),
        6 => (byte(), byte(), byte(), -80_000..40_000i64)
            .prop_map(|(which, what, who, amount)| Step::Account { which, what, who, amount }),
        9 => (byte(), byte(), amounts(), terms(0.4))
            .prop_map(|(from, to, amount, terms)| Step::Move { from, to, amount, terms }),
        4 => (legs, prop::bool::weighted(0.9), terms(0.4))
            .prop_map(|(legs, balanced, terms)| Step::Legs { legs, balanced, terms }),
        1 => (byte(), byte(), terms(0.1)).prop_map(|(from, to, terms)| Step::Drain { from, to, terms }),
        5 => (byte(), parts(), any::<bool>(), day())
            .prop_map(|(which, parts, is_final, day)| Step::Post { which, parts, is_final, day }),
        2 => byte().prop_map(|which| Step::Void { which }),
        2 => byte().prop_map(|which| Step::Expire { which }),
        4 => (byte(), byte(), parts(), prop::option::of(byte()), day())
            .prop_map(|(which, id, parts, suspense, day)| Step::Reverse { which, id, parts, suspense, day }),
        2 => (byte(), byte(), -1..5i64).prop_map(|(what, which, days)| Step::Ledger { what, which, days }),
        2 => byte().prop_map(|which| Step::Again { which }),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let how =
        prop_oneof![12 => Just(How::Once), 1 => Just(How::Twice), 1 => Just(How::HungUp), 1 => Just(How::KeyReused)];
    let expected = prop::option::weighted(0.1, prop_oneof![2 => Just(0i64), 1 => -1..=1i64]);
    (step(), any::<bool>(), how, expected).prop_map(|(step, store, how, expected)| Sent { step, store, how, expected })
}

/// Rounds: what is in one round is sent at once, and the next begins when all of it is answered.
pub(super) fn rounds() -> impl Strategy<Value = Vec<Vec<Sent>>> {
    let round = prop_oneof![2 => prop::collection::vec(sent(), 1), 1 => prop::collection::vec(sent(), 2..12)];
    prop::collection::vec(round, 1..32)
}

/// The things of one case, none of which another case touches; only the ledger is everybody's.
pub(super) struct Case {
    number: u64,
    first_day: NaiveDate,
    today: NaiveDate,
    members: Vec<MemberId>,
    accounts: Vec<AccountId>,
    transactions: Vec<TransactionId>,
}

/// What all cases stand on.
pub(super) fn foundation(today: NaiveDate) -> Vec<Command> {
    let define = |code: &str, class, control| {
        Command::Ledger(LedgerCommand::DefineLedgerCode {
            ledger_code: ledger_code(code),
            name: title(),
            class,
            control,
        })
    };
    let currencies =
        CURRENCIES.iter().map(|code| Command::Ledger(LedgerCommand::DefineCurrency { currency: currency(code) }));
    currencies
        .chain([
            define("1000", LedgerClass::Asset, false),
            define("1200", LedgerClass::Asset, true),
            define("2100", LedgerClass::Liability, true),
            open_period("now", today - Duration::days(30), today + Duration::days(30)),
        ])
        .collect()
}

impl Case {
    /// A case and, in rounds, the commands that furnish it: all of them must be accepted.
    pub(super) fn open(number: u64, today: NaiveDate) -> (Self, Vec<Vec<Command>>) {
        let first_day = today - Duration::days(60 + CASE_DAYS * i64::try_from(number).unwrap());
        let new = Self { number, first_day, today, members: vec![], accounts: vec![], transactions: vec![] };
        let mut case = new;
        let members = [0, 1].map(|_| case.new_member());
        let mut first = vec![
            open_period(&case.name("P0"), first_day, first_day + Duration::days(3)),
            open_period(&case.name("P1"), first_day + Duration::days(4), first_day + Duration::days(7)),
        ];
        first.extend(members.iter().enumerate().map(|(at, id)| case.register(*id, &format!("first-{at}"))));
        let verified = members.iter().map(|id| Command::Member(MemberCommand::VerifyKyc { member_id: *id })).collect();
        let (mut opened, mut paid_in) = (Vec::new(), Vec::new());
        for (at, code) in CURRENCIES.into_iter().enumerate() {
            let cash = case.new_account();
            opened.push(case.opening(cash, &format!("cash-{at}"), Product::Internal, code, vec![], None));
            for (owner, member_id) in members.into_iter().enumerate().skip(at) {
                let account_id = case.new_account();
                let holders = vec![Holder { member_id, role: HolderRole::Owner }];
                let number = format!("first-{at}{owner}");
                opened.push(case.opening(account_id, &number, Product::Savings, code, holders, None));
                let legs = Legs::Move { from: cash, to: account_id, amount: Money::new(100_000, currency(code)) };
                paid_in
                    .push(case.posting(legs, &Terms { id: 255, kind: 0, day: None, reference: None, pending: None }));
            }
        }
        (case, vec![first, verified, opened, paid_in])
    }

    fn name(&self, of: &str) -> String {
        format!("c{}-{of}", self.number)
    }

    fn new_member(&mut self) -> MemberId {
        self.members.push(MemberId(Uuid::now_v7()));
        self.members[self.members.len() - 1]
    }

    fn new_account(&mut self) -> AccountId {
        self.accounts.push(AccountId(Uuid::now_v7()));
        self.accounts[self.accounts.len() - 1]
    }

    fn new_transaction(&mut self) -> TransactionId {
        self.transactions.push(TransactionId(Uuid::now_v7()));
        self.transactions[self.transactions.len() - 1]
    }

    /// What the step means on these states; a repetition is no command of its own.
    pub(super) fn command(&mut self, model: &Model, step: &Step) -> Option<Command> {
        Some(match step {
            Step::Register { number } => {
                let member_id = if *number < 16 { self.member(*number) } else { self.new_member() };
                self.register(member_id, &format!("M{}", number % 16))
            }
            Step::Member { who, what } => Command::Member(member_command(self.member(*who), *what)),
            Step::Open { id, number, product, currency, holders, minimum } => {
                let account_id = if *id < 16 { self.account(*id) } else { self.new_account() };
                let code = CURRENCIES[usize::from(*currency) % 2];
                let product = [Product::Internal, Product::Current, Product::FixedDeposit, Product::Savings]
                    [usize::from(*product) % 4];
                let holder = |(at, owns): &(u8, bool)| Holder {
                    member_id: self.member(*at),
                    role: if *owns { HolderRole::Owner } else { HolderRole::Disponent },
                };
                let holders = if product == Product::Internal && *id < 240 {
                    vec![]
                } else {
                    holders.iter().map(holder).collect()
                };
                self.opening(account_id, &format!("A{}", number % 32), product, code, holders, *minimum)
            }
            Step::Account { which, what, who, amount } => {
                let account_id = self.guarded(model, *which);
                let amount = Money::new(*amount, currency_of(model, account_id));
                Command::Account(account_command(account_id, *what, self.member(*who), amount))
            }
            Step::Ledger { what, which, days } => Command::Ledger(self.ledger_command(*what, *which, *days)),
            Step::Move { .. } | Step::Drain { .. } | Step::Legs { .. } => self.money_command(model, step),
            Step::Post { .. } | Step::Void { .. } | Step::Expire { .. } | Step::Reverse { .. } => {
                Command::Transaction(self.later_command(model, step))
            }
            Step::Again { .. } => return None,
        })
    }

    fn money_command(&mut self, model: &Model, step: &Step) -> Command {
        match step {
            Step::Move { from, to, amount, terms } => {
                let from = self.account(*from);
                let kept_in = currency_of(model, from);
                let to = if to % 16 == 0 { self.account(*to) } else { self.account_in(model, kept_in, *to) };
                self.posting(Legs::Move { from, to, amount: Money::new(*amount, kept_in) }, terms)
            }
            Step::Drain { from, to, terms } => {
                let from = self.account(*from);
                let kept_in = currency_of(model, from);
                let amount = Money::new(model.accounts.get(&from).map_or(0, |account| account.balance_minor), kept_in);
                self.posting(Legs::Move { from, to: self.account_in(model, kept_in, *to), amount }, terms)
            }
            Step::Legs { legs, balanced, terms } => {
                self.posting(Legs::Explicit(self.legs(model, legs, *balanced)), terms)
            }
            other => panic!("{other:?} moves no money"),
        }
    }

    /// On transactions that are there.
    fn later_command(&mut self, model: &Model, step: &Step) -> TransactionCommand {
        let is_pending = |transaction: &Transaction| transaction.status == TransactionStatus::Pending;
        match step {
            Step::Post { which, parts, is_final, day } => {
                let transaction_id = self.transaction(model, *which, is_pending);
                TransactionCommand::PostPending {
                    transaction_id,
                    legs: parts.as_ref().map(|parts| amounts(model, transaction_id, parts, false)),
                    is_final: *is_final,
                    booking_date: self.day(*day),
                    value_date: None,
                }
            }
            Step::Void { which } => TransactionCommand::VoidPending {
                transaction_id: self.transaction(model, *which, is_pending),
                reason: reason(),
            },
            Step::Expire { which } => {
                let late = |t: &Transaction| is_pending(t) && t.expires_at.is_some_and(|at| at < Utc::now());
                TransactionCommand::ExpirePending { transaction_id: self.transaction(model, *which, late) }
            }
            Step::Reverse { which, id, parts, suspense, day } => {
                let reversible = |transaction: &Transaction| {
                    !transaction.is_reversal && transaction.legs.iter().any(|leg| leg.posted_minor > leg.reversed_minor)
                };
                let original_id = self.transaction(model, *which, reversible);
                TransactionCommand::ReverseTransaction {
                    transaction_id: if *id < 8 {
                        self.transaction(model, *id, |_| true)
                    } else {
                        self.new_transaction()
                    },
                    original_id,
                    legs: parts.as_ref().map(|parts| amounts(model, original_id, parts, true)),
                    reason: reason(),
                    suspense_account_id: suspense.map(|at| self.account(at)),
                    booking_date: self.day(*day),
                    value_date: None,
                }
            }
            other => panic!("{other:?} is not on a transaction that is there"),
        }
    }

    /// A day of this case's own; one below zero is in the future.
    fn day(&self, day: Option<i64>) -> Option<NaiveDate> {
        day.map(|day| if day < 0 { self.today + Duration::days(3) } else { self.first_day + Duration::days(day) })
    }

    fn member(&self, at: u8) -> MemberId {
        pick(&self.members, at, MemberId(Uuid::from_u128(1)))
    }

    fn account(&self, at: u8) -> AccountId {
        pick(&self.accounts, at, AccountId(Uuid::from_u128(1)))
    }

    /// A member's account; any every eighth time.
    fn guarded(&self, model: &Model, at: u8) -> AccountId {
        let is_guarded = |id: &AccountId| at % 8 == 7 || model.accounts.get(id).is_some_and(|account| account.guarded);
        let accounts: Vec<_> = self.accounts.iter().copied().filter(is_guarded).collect();
        pick(&accounts, at / 8, AccountId(Uuid::from_u128(1)))
    }

    fn account_in(&self, model: &Model, kept_in: Currency, at: u8) -> AccountId {
        let is_in = |id: &AccountId| model.accounts.get(id).is_some_and(|account| account.currency == kept_in);
        let accounts: Vec<_> = self.accounts.iter().copied().filter(is_in).collect();
        pick(&accounts, at, AccountId(Uuid::from_u128(1)))
    }

    /// A transaction that fits, but any every eighth time or where none does.
    fn transaction(&self, model: &Model, at: u8, fits: impl Fn(&Transaction) -> bool) -> TransactionId {
        let known = |id: &TransactionId| model.transactions.get(id).is_some_and(&fits);
        let fitting: Vec<_> = self.transactions.iter().copied().filter(known).collect();
        let from = if at % 8 == 7 || fitting.is_empty() { &self.transactions } else { &fitting };
        pick(from, at / 8, TransactionId(Uuid::from_u128(1)))
    }

    fn register(&self, member_id: MemberId, text: &str) -> Command {
        Command::Member(MemberCommand::RegisterMember {
            member_id,
            number: Number::try_new(self.name(text)).unwrap(),
            kind: MemberKind::Person,
            personal: Default::default(),
            branch: None,
        })
    }

    fn opening(
        &self,
        account_id: AccountId,
        text: &str,
        product: Product,
        code: &str,
        holders: Vec<Holder>,
        minimum: Option<i64>,
    ) -> Command {
        let internal = product == Product::Internal;
        let hangs_on = match product {
            Product::Internal => "1000",
            Product::Current => "1200",
            Product::FixedDeposit | Product::Savings => "2100",
        };
        Command::Account(AccountCommand::OpenAccount {
            account_id,
            number: Number::try_new(self.name(text)).unwrap(),
            name: internal.then(title),
            product,
            holders,
            currency: currency(code),
            ledger_code: ledger_code(hangs_on),
            minimum_balance: minimum.filter(|_| !internal).map(|minor| Money::new(minor, currency(code))),
            branch: None,
            opened_on: None,
        })
    }

    fn posting(&mut self, legs: Legs, terms: &Terms) -> Command {
        let expires_at = |expiry: &Expiry| match expiry {
            Expiry::Never => None,
            Expiry::Soon { milliseconds } => Some(Utc::now().trunc_subsecs(6) + Duration::milliseconds(*milliseconds)),
            Expiry::Tomorrow => Some(Utc::now().trunc_subsecs(6) + Duration::days(1)),
        };
        let taken = self.transactions.first().copied().filter(|_| terms.id < 4);
        Command::Transaction(TransactionCommand::PostTransaction {
            transaction_id: taken.unwrap_or_else(|| self.new_transaction()),
            kind: TransactionKind::ALL[usize::from(terms.kind) % 8],
            booking_date: self.day(terms.day),
            value_date: None,
            legs,
            external_reference: terms
                .reference
                .map(|at| ExternalReference::try_new(self.name(&format!("R{}", at % 4))).unwrap()),
            narrative: None,
            pending: terms.pending.as_ref().map(|expiry| Pending { expires_at: expires_at(expiry) }),
        })
    }

    /// Legs in their accounts' currencies; balanced ones get a leg on cash for each difference.
    fn legs(&self, model: &Model, legs: &[(u8, bool, i64)], balanced: bool) -> Vec<LegInput> {
        let mut inputs = Vec::new();
        for (at, debit, minor) in legs {
            let account_id = self.account(*at);
            let side = if *debit { Side::Debit } else { Side::Credit };
            inputs.push(LegInput { account_id, side, amount: Money::new(*minor, currency_of(model, account_id)) });
        }
        for code in CURRENCIES.into_iter().filter(|_| balanced) {
            let signed = |input: &LegInput| match input.side {
                Side::Debit => input.amount.amount_minor,
                Side::Credit => -input.amount.amount_minor,
            };
            let net: i64 = inputs.iter().filter(|input| input.amount.currency == currency(code)).map(signed).sum();
            if net != 0 {
                let side = if net > 0 { Side::Credit } else { Side::Debit };
                let cash = self.accounts.iter().find(|id| {
                    model.accounts.get(id).is_some_and(|account| !account.guarded && account.currency == currency(code))
                });
                let account_id = cash.copied().unwrap_or_default();
                inputs.push(LegInput { account_id, side, amount: Money::new(net.abs(), currency(code)) });
            }
        }
        inputs
    }

    fn ledger_command(&self, what: u8, which: u8, days: i64) -> LedgerCommand {
        let period = PeriodId::try_new(self.name(&format!("P{}", which % 4))).unwrap();
        match what % 8 {
            0 => LedgerCommand::DefineCurrency { currency: currency(["CZK", "JPY"][usize::from(which) % 2]) },
            1 => LedgerCommand::DefineLedgerCode {
                ledger_code: ledger_code(&self.name(&format!("{}", which % 2))),
                name: title(),
                class: LedgerClass::Expense,
                control: false,
            },
            2..5 => {
                let from = self.first_day + Duration::days(i64::from(which) % CASE_DAYS);
                LedgerCommand::OpenPeriod { period, from, to: (from + Duration::days(days)).min(self.last_day()) }
            }
            _ => LedgerCommand::ClosePeriod { period },
        }
    }

    fn last_day(&self) -> NaiveDate {
        self.first_day + Duration::days(CASE_DAYS - 1)
    }
}

/// One of these, or (rarely) one that does not exist.
fn pick<Id: Copy>(ids: &[Id], at: u8, unknown: Id) -> Id {
    if at == u8::MAX || ids.is_empty() { unknown } else { ids[usize::from(at) % ids.len()] }
}

fn amounts(model: &Model, id: TransactionId, parts: &Parts, posted: bool) -> Vec<LegAmount> {
    let Some(transaction) = model.transactions.get(&id) else { return Vec::new() };
    let mut amounts = Vec::new();
    for leg in transaction.legs.iter().filter(|leg| parts.left_out >> (leg.leg % 8) & 1 == 0) {
        let left = if posted { leg.posted_minor - leg.reversed_minor } else { leg.pending_minor };
        amounts.push(LegAmount { leg: leg.leg, amount: Money::new(left * parts.quarters / 4, leg.currency) });
    }
    if parts.odd {
        amounts.push(LegAmount {
            leg: if parts.quarters % 2 == 0 { 1 } else { 9 },
            amount: Money::new(1, currency("CZK")),
        });
    }
    amounts
}

fn currency_of(model: &Model, id: AccountId) -> Currency {
    model.accounts.get(&id).map_or(currency("CZK"), |account| account.currency)
}

fn currency(code: &str) -> Currency {
    code.parse().unwrap()
}

fn title() -> Title {
    Title::try_new("Name").unwrap()
}

fn reason() -> ReasonCode {
    ReasonCode::try_new("because").unwrap()
}

fn ledger_code(code: &str) -> LedgerCode {
    LedgerCode::try_new(code).unwrap()
}

fn open_period(id: &str, from: NaiveDate, to: NaiveDate) -> Command {
    Command::Ledger(LedgerCommand::OpenPeriod { period: PeriodId::try_new(id).unwrap(), from, to })
}

fn member_command(member_id: MemberId, what: u8) -> MemberCommand {
    match what % 8 {
        0..3 => MemberCommand::VerifyKyc { member_id },
        3 => MemberCommand::RejectKyc { member_id, reason: reason() },
        4 => MemberCommand::SuspendMember { member_id, reason: reason() },
        5 => MemberCommand::DeactivateMember { member_id, reason: reason() },
        _ => MemberCommand::ReactivateMember { member_id },
    }
}

fn account_command(account_id: AccountId, what: u8, member_id: MemberId, money: Money) -> AccountCommand {
    let holder = Holder { member_id, role: HolderRole::Owner };
    match what % 16 {
        0 => AccountCommand::FreezeAccount { account_id, scope: FreezeScope::Debit, reason: reason() },
        1 => AccountCommand::FreezeAccount { account_id, scope: FreezeScope::Credit, reason: reason() },
        2 => AccountCommand::UnfreezeAccount { account_id, scope: FreezeScope::Debit },
        3 | 4 => AccountCommand::UnfreezeAccount { account_id, scope: FreezeScope::Both },
        5 => AccountCommand::MarkAccountDormant { account_id, reason: reason() },
        6 | 7 => AccountCommand::ReactivateAccount { account_id },
        8..11 => AccountCommand::ChangeLimit { account_id, minimum_balance: money },
        11 | 12 => AccountCommand::AddHolder { account_id, holder },
        13 | 14 => AccountCommand::RemoveHolder { account_id, member_id },
        _ => AccountCommand::CloseAccount { account_id, reason: None },
    }
}
