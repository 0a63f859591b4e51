//! Random commands against the rules and against the mirror: after every step both say the same.
//! Products, loans and sagas have a model of their own, `lending_model`.
//!
//! `PROPTEST_CASES=20000 cargo test -p domain --test it model` looks longer.

use std::collections::BTreeSet;

use chrono::Duration;
use domain::account::{AccountCommand, AccountStatus, FreezeScope, Holder, HolderRole, Product};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::member::{Kyc, MemberCommand, MemberStatus};
use domain::money::AMOUNT_MINOR_MAX;
use domain::transaction::{LegAmount, LegInput, Legs, Pending, TransactionCommand, TransactionKind, TransactionStatus};
use domain::words::ExternalReference;
use domain::{AccountId, Command, Currency, MemberId, Money, Side, TransactionId};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use uuid::Uuid;

use crate::desk::{
    CHART, Desk, IntoCommand, close, currency, define_code, freeze, number, open_internal, owner, period, reason,
    register, together, word,
};
use crate::invariants::{check_desk, check_snapshots, net_debits};
use crate::lending_model;
use crate::mirror::{Mirror, MirrorAccount, MirrorTransaction};

const CURRENCIES: [&str; 3] = ["CZK", "EUR", "JPY"];

/// A step, in numbers that mean something only on the desk as it is then: what they pick from grows.
#[derive(Clone, Debug)]
enum Step {
    Pass {
        minutes: i64,
    },
    Register {
        id: u8,
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
        code: u8,
        holders: Vec<(u8, bool)>,
        minimum: Option<i64>,
        named: bool,
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
    /// Several moves in one command.
    Together {
        moves: Vec<(u8, u8, i64, Terms)>,
    },
    Legs {
        legs: Vec<(u8, bool, i64)>,
        balanced: bool,
        terms: Terms,
    },
    /// An account that is empty, if there is one.
    Close {
        which: u8,
    },
    /// All of an account's balance, so that it can be closed.
    Drain {
        from: u8,
        to: u8,
        terms: Terms,
    },
    Post {
        which: u8,
        parts: Option<Parts>,
        is_final: bool,
        booked: i64,
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
        booked: i64,
    },
    Ledger {
        what: u8,
        which: u8,
    },
}

#[derive(Clone, Debug)]
struct Terms {
    id: u8,
    kind: u8,
    /// Days after today.
    booked: i64,
    reference: Option<u8>,
    /// Minutes until it expires.
    pending: Option<Option<i64>>,
}

/// Quarters of what is left of each leg; some legs may be left out, named twice, or not exist.
#[derive(Clone, Debug)]
struct Parts {
    quarters: i64,
    left_out: u8,
    odd: bool,
}

fn amounts() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => 1..60_000i64,
        1 => Just(AMOUNT_MINOR_MAX),
        1 => -2..=1i64,
        1 => Just(AMOUNT_MINOR_MAX + 1),
    ]
}

fn booked() -> impl Strategy<Value = i64> {
    prop_oneof![12 => Just(0i64), 3 => -20..=0i64, 1 => -90..=3i64]
}

fn parts() -> impl Strategy<Value = Option<Parts>> {
    let quarters = prop_oneof![6 => 1..=4i64, 1 => 0..=5i64];
    let left_out = prop_oneof![4 => Just(0u8), 1 => any::<u8>()];
    let odd = prop::bool::weighted(0.05);
    prop::option::of((quarters, left_out, odd).prop_map(|(quarters, left_out, odd)| Parts { quarters, left_out, odd }))
}

fn terms(pending_weight: f64) -> impl Strategy<Value = Terms> {
    let pending =
        prop::option::weighted(pending_weight, prop::option::of(prop_oneof![9 => 1..3_000i64, 1 => -5..=0i64]));
    (any::<u8>(), any::<u8>(), booked(), prop::option::weighted(0.1, any::<u8>()), pending)
        .prop_map(|(id, kind, booked, reference, pending)| Terms { id, kind, booked, reference, pending })
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    let holders = prop::collection::vec((byte(), prop::bool::weighted(0.8)), 0..3);
    let minimum = prop::option::of(-80_000..20_000i64);
    let legs = prop::collection::vec((byte(), any::<bool>(), amounts()), 0..6);
    prop_oneof![
        3 => (0..2_000i64).prop_map(|minutes| Step::Pass { minutes }),
        1 => (byte(), byte()).prop_map(|(id, number)| Step::Register { id, number }),
        2 => (byte(), byte()).prop_map(|(who, what)| Step::Member { who, what }),
        2 => (byte(), byte(), byte(), byte(), byte(), holders, minimum, prop::bool::weighted(0.1)).prop_map(
            |(id, number, product, currency, code, holders, minimum, named)| Step::Open {
                id, number, product, currency, code, holders, minimum, named,
            },
        ),
        5 => (byte(), byte(), byte(), -80_000..40_000i64)
            .prop_map(|(which, what, who, amount)| Step::Account { which, what, who, amount }),
        9 => (byte(), byte(), amounts(), terms(0.4))
            .prop_map(|(from, to, amount, terms)| Step::Move { from, to, amount, terms }),
        3 => prop::collection::vec((byte(), byte(), amounts(), terms(0.2)), 0..4)
            .prop_map(|moves| Step::Together { moves }),
        5 => (legs, prop::bool::weighted(0.9), terms(0.4))
            .prop_map(|(legs, balanced, terms)| Step::Legs { legs, balanced, terms }),
        2 => (byte(), byte(), terms(0.1)).prop_map(|(from, to, terms)| Step::Drain { from, to, terms }),
        1 => byte().prop_map(|which| Step::Close { which }),
        6 => (byte(), parts(), any::<bool>(), booked())
            .prop_map(|(which, parts, is_final, booked)| Step::Post { which, parts, is_final, booked }),
        2 => byte().prop_map(|which| Step::Void { which }),
        2 => byte().prop_map(|which| Step::Expire { which }),
        4 => (byte(), byte(), parts(), prop::option::of(byte()), booked()).prop_map(
            |(which, id, parts, suspense, booked)| Step::Reverse { which, id, parts, suspense, booked },
        ),
        1 => (byte(), byte()).prop_map(|(what, which)| Step::Ledger { what, which }),
    ]
}

/// The two that must agree.
struct Pair {
    desk: Desk,
    mirror: Mirror,
    /// Codes of refusals met.
    refused: BTreeSet<&'static str>,
}

impl Pair {
    /// Currencies, chart, periods, two members, internal accounts, and members' accounts with money.
    fn furnished() -> Self {
        let desk = Desk::bare();
        let mirror = Mirror { now: desk.now, ..Mirror::default() };
        let mut pair = Self { desk, mirror, refused: BTreeSet::new() };
        for code in CURRENCIES {
            pair.run(LedgerCommand::DefineCurrency { currency: currency(code) });
        }
        for (ledger_code, class, control) in CHART {
            pair.run(define_code(ledger_code, *class, *control));
        }
        for (id, from, to) in [("01", "01", "31"), ("02", "01", "28"), ("03", "01", "31"), ("04", "01", "30")] {
            let day = |day: &str| crate::desk::date(&format!("2026-{id}-{day}"));
            pair.run(LedgerCommand::OpenPeriod { period: period(id), from: day(from), to: day(to) });
        }
        pair.run(LedgerCommand::ClosePeriod { period: period("01") });
        let members = [MemberId(pair.desk.fresh()), MemberId(pair.desk.fresh())];
        for (at, member_id) in members.into_iter().enumerate() {
            pair.run(register(member_id, &format!("first-{at}")));
            pair.run(MemberCommand::VerifyKyc { member_id });
        }
        for code in &CURRENCIES[..2] {
            for ledger_code in ["1000", "1300", "2900"] {
                let account_id = AccountId(pair.desk.fresh());
                pair.run(open_internal(account_id, &format!("{ledger_code}-{code}"), ledger_code, code));
            }
        }
        for (at, code) in ["CZK", "CZK", "EUR"].into_iter().enumerate() {
            let account_id = AccountId(pair.desk.fresh());
            let mut command =
                crate::desk::open_savings(account_id, &format!("first-{at}"), vec![owner(members[at % 2])]);
            if let AccountCommand::OpenAccount { currency: kept_in, .. } = &mut command {
                *kept_in = currency(code);
            }
            pair.run(command);
            let cash = pair.internal(currency(code));
            let transaction_id = pair.desk.fresh_transaction();
            let amount = Money::new(100_000, currency(code));
            pair.run(crate::desk::transfer(transaction_id, cash, account_id, amount));
        }
        assert!(pair.refused.is_empty());
        pair
    }

    fn internal(&self, currency: Currency) -> AccountId {
        let mut accounts = self.mirror.accounts.iter();
        let found = accounts.find(|(_, account)| !account.guarded && !account.gone && account.currency == currency);
        found.map_or(AccountId(Uuid::nil()), |(id, _)| *id)
    }

    /// One of these, or (rarely) one that does not exist.
    fn pick<Id: Copy>(ids: impl Iterator<Item = Id>, at: u8, unknown: Id) -> Id {
        let ids: Vec<_> = ids.collect();
        if at == u8::MAX || ids.is_empty() { unknown } else { ids[usize::from(at) % ids.len()] }
    }

    fn member(&self, at: u8) -> MemberId {
        Self::pick(self.mirror.members.keys().copied(), at, MemberId(Uuid::from_u128(1)))
    }

    fn account(&self, at: u8) -> AccountId {
        Self::pick(self.mirror.accounts.keys().copied(), at, AccountId(Uuid::from_u128(1)))
    }

    /// Half the time one who holds the account, or for a new holder one who does not yet.
    fn holder(&self, account_id: AccountId, what: u8, who: u8) -> MemberId {
        let Some(account) = self.mirror.accounts.get(&account_id).filter(|_| what < 128) else {
            return self.member(who);
        };
        let adding = what % 16 == 12;
        let members = self.mirror.members.keys().copied();
        Self::pick(members.filter(|id| account.holders.contains_key(id) != adding), who, self.member(who))
    }

    /// An account in that currency.
    fn account_in(&self, currency: Currency, at: u8) -> AccountId {
        let accounts = self.mirror.accounts.iter().filter(|(_, account)| account.currency == currency);
        Self::pick(accounts.map(|(id, _)| *id), at, AccountId(Uuid::from_u128(1)))
    }

    fn transaction(&self, at: u8, wanted: impl Fn(&MirrorTransaction) -> bool) -> TransactionId {
        let all = || self.mirror.transactions.iter();
        let unknown = TransactionId(Uuid::from_u128(1));
        let wanted: Vec<_> = all().filter(|(_, transaction)| wanted(transaction)).map(|(id, _)| *id).collect();
        // One that does not fit every eighth time, or where there is none.
        if at % 8 == 7 || wanted.is_empty() {
            return Self::pick(all().map(|(id, _)| *id), at, unknown);
        }
        Self::pick(wanted.into_iter(), at / 8, unknown)
    }

    /// A new id, or (rarely) one that is taken.
    fn new_transaction(&mut self, at: u8) -> TransactionId {
        if at < 8 { self.transaction(at, |_| true) } else { self.desk.fresh_transaction() }
    }

    fn currency_of(&self, id: AccountId) -> Currency {
        self.mirror.accounts.get(&id).map_or(currency("CZK"), |account| account.currency)
    }

    fn day(&self, after: i64) -> Option<chrono::NaiveDate> {
        (after != 0).then(|| self.desk.today() + Duration::days(after))
    }

    fn command(&mut self, step: &Step) -> Option<Command> {
        Some(match step {
            Step::Pass { minutes } => {
                self.desk.pass(Duration::minutes(*minutes));
                self.mirror.now = self.desk.now;
                return None;
            }
            Step::Register { id, number } => {
                let member_id = if *id < 16 { self.member(*id) } else { MemberId(self.desk.fresh()) };
                register(member_id, &format!("M{}", number % 64)).into_command()
            }
            Step::Member { who, what } => member_command(self.member(*who), *what).into_command(),
            Step::Open { .. } => self.opening(step).into_command(),
            Step::Account { which, what, who, amount } => {
                let account_id = self.account(*which);
                let money = Money::new(*amount, if *who == 0 { currency("JPY") } else { self.currency_of(account_id) });
                let member_id = self.holder(account_id, *what, *who);
                account_command(account_id, *what, member_id, money).into_command()
            }
            Step::Move { from, to, amount, terms } => self.moving(*from, *to, *amount, terms).into_command(),
            Step::Together { moves } => {
                let moves: Vec<_> =
                    moves.iter().map(|(from, to, amount, terms)| self.moving(*from, *to, *amount, terms)).collect();
                together(moves).into_command()
            }
            Step::Close { which } => {
                let accounts = self.mirror.accounts.iter();
                let empty = accounts.filter(|(_, account)| account.guarded && !account.gone && account.balance() == 0);
                close(Self::pick(empty.map(|(id, _)| *id), *which, self.account(*which))).into_command()
            }
            Step::Drain { from, to, terms } => {
                let from = self.account(*from);
                let to = self.account_in(self.currency_of(from), *to);
                let balance = self.mirror.accounts.get(&from).map_or(0, MirrorAccount::balance);
                let amount = Money::new(i64::try_from(balance).unwrap(), self.currency_of(from));
                self.post(Legs::Move { from, to, amount }, terms).into_command()
            }
            Step::Legs { legs, balanced, terms } => {
                let legs = Legs::Explicit(self.legs(legs, *balanced));
                self.post(legs, terms).into_command()
            }
            Step::Post { which, parts, is_final, booked } => {
                let transaction_id = self.transaction(*which, |transaction| transaction.status == "pending");
                let legs = parts.as_ref().map(|parts| self.parts(transaction_id, parts, false));
                let (booking_date, is_final) = (self.day(*booked), *is_final);
                TransactionCommand::PostPending { transaction_id, legs, is_final, booking_date, value_date: None }
                    .into_command()
            }
            Step::Void { which } => {
                crate::desk::void(self.transaction(*which, |transaction| transaction.status == "pending"))
                    .into_command()
            }
            Step::Expire { which } => {
                let now = self.desk.now;
                let late = |transaction: &MirrorTransaction| {
                    transaction.status == "pending" && transaction.until.is_some_and(|until| until <= now)
                };
                let transaction_id = self.transaction(*which, late);
                TransactionCommand::ExpirePending { transaction_id }.into_command()
            }
            Step::Reverse { which, id, parts, suspense, booked } => {
                let gone = |id: &AccountId| self.mirror.accounts[id].gone;
                let original_id = self.transaction(*which, |transaction| {
                    let mut left = transaction.legs.iter().filter(|leg| leg.posted > leg.reversed);
                    // One that touches an account which is gone, some of the time.
                    !transaction.undoes && left.any(|leg| *id < 192 || gone(&leg.account))
                });
                TransactionCommand::ReverseTransaction {
                    transaction_id: self.new_transaction(*id),
                    original_id,
                    legs: parts.as_ref().map(|parts| self.parts(original_id, parts, true)),
                    reason: reason("error"),
                    suspense_account_id: suspense.map(|at| match at % 4 {
                        0 => self.account(at),
                        _ => self.internal(currency(CURRENCIES[usize::from(at % 2)])),
                    }),
                    booking_date: self.day(*booked),
                    value_date: None,
                }
                .into_command()
            }
            Step::Ledger { what, which } => self.ledger_command(*what, *which).into_command(),
        })
    }

    fn opening(&mut self, step: &Step) -> AccountCommand {
        let Step::Open { id, number: text, product, currency: kept_in, code, holders, minimum, named } = step else {
            panic!("not an opening")
        };
        let product = match product % 5 {
            0 => Product::Internal,
            1 => Product::Current,
            2 => Product::FixedDeposit,
            _ => Product::Savings,
        };
        let internal = product == Product::Internal;
        // A code that fits, most of the time.
        let codes: Vec<_> = CHART.iter().filter(|(.., control)| *control != internal).map(|(code, ..)| *code).collect();
        let ledger_code = match code {
            0..22 => CHART[usize::from(*code) % CHART.len()].0,
            22..28 => "9999",
            _ => codes[usize::from(*code) % codes.len()],
        };
        let kept_in = currency(if *kept_in < 8 { "USD" } else { CURRENCIES[usize::from(*kept_in) % 3] });
        let holder = |(at, owns): &(u8, bool)| Holder {
            member_id: self.member(*at),
            role: if *owns { HolderRole::Owner } else { HolderRole::Disponent },
        };
        let holders = if internal && *id < 240 { Vec::new() } else { holders.iter().map(holder).collect() };
        AccountCommand::OpenAccount {
            account_id: if *id < 8 { self.account(*id) } else { AccountId(self.desk.fresh()) },
            number: number(&format!("A{}", text % 64)),
            name: (internal || *named).then(|| crate::desk::title("Name")),
            product,
            holders,
            currency: kept_in,
            ledger_code: word(ledger_code),
            minimum_balance: minimum.filter(|_| !internal).map(|minor| Money::new(minor, kept_in)),
            branch: None,
            opened_on: self.day(i64::from(*code % 8) - 6),
        }
    }

    fn moving(&mut self, from: u8, to: u8, amount: i64, terms: &Terms) -> TransactionCommand {
        let from = self.account(from);
        let kept_in = self.currency_of(from);
        let to = if to.is_multiple_of(16) { self.account(to) } else { self.account_in(kept_in, to) };
        self.post(Legs::Move { from, to, amount: Money::new(amount, kept_in) }, terms)
    }

    fn post(&mut self, legs: Legs, terms: &Terms) -> TransactionCommand {
        TransactionCommand::PostTransaction {
            transaction_id: self.new_transaction(terms.id),
            kind: TransactionKind::ALL[usize::from(terms.kind) % 8],
            booking_date: self.day(terms.booked),
            value_date: None,
            legs,
            external_reference: terms.reference.map(|at| ExternalReference::try_new(format!("R{}", at % 8)).unwrap()),
            narrative: None,
            pending: terms.pending.map(|minutes| Pending {
                expires_at: minutes.map(|minutes| self.desk.now + Duration::minutes(minutes)),
            }),
        }
    }

    /// Legs in their accounts' currencies; balanced ones get a leg on an internal account for each difference.
    fn legs(&self, legs: &[(u8, bool, i64)], balanced: bool) -> Vec<LegInput> {
        let mut inputs: Vec<_> = legs
            .iter()
            .map(|(at, debit, minor)| {
                let account_id = self.account(*at);
                let side = if *debit { Side::Debit } else { Side::Credit };
                LegInput { account_id, side, amount: Money::new(*minor, self.currency_of(account_id)) }
            })
            .collect();
        for code in CURRENCIES.into_iter().filter(|_| balanced) {
            let in_it = inputs.iter().filter(|input| input.amount.currency == currency(code));
            let net: i64 = in_it
                .map(
                    |input| {
                        if input.side == Side::Debit { input.amount.amount_minor } else { -input.amount.amount_minor }
                    },
                )
                .sum();
            if net != 0 {
                let side = if net > 0 { Side::Credit } else { Side::Debit };
                let amount = Money::new(net.abs(), currency(code));
                inputs.push(LegInput { account_id: self.internal(currency(code)), side, amount });
            }
        }
        inputs
    }

    fn parts(&self, id: TransactionId, parts: &Parts, posted: bool) -> Vec<LegAmount> {
        let Some(transaction) = self.mirror.transactions.get(&id) else { return Vec::new() };
        let mut amounts = Vec::new();
        for (at, leg) in transaction.legs.iter().enumerate().filter(|(at, _)| parts.left_out >> (at % 8) & 1 == 0) {
            let left = if posted { leg.posted - leg.reversed } else { leg.pending };
            let minor = i64::try_from(left).unwrap() * parts.quarters / 4;
            amounts.push(LegAmount { leg: at as u16 + 1, amount: Money::new(minor, leg.currency) });
        }
        if parts.odd {
            let last = amounts.last().map_or(9, |part| part.leg);
            let amount = Money::new(1, currency(CURRENCIES[usize::from(parts.left_out) % 2]));
            amounts.push(LegAmount { leg: if parts.quarters % 2 == 0 { last } else { 9 }, amount });
        }
        amounts
    }

    fn ledger_command(&mut self, what: u8, which: u8) -> LedgerCommand {
        let id = format!("{:02}", which % 7);
        match what % 8 {
            0 => LedgerCommand::DefineCurrency { currency: currency(["CZK", "USD"][usize::from(which) % 2]) },
            1 => define_code(["1000", "7000"][usize::from(which) % 2], LedgerClass::Asset, which.is_multiple_of(3)),
            2..7 => {
                let from = crate::desk::date("2026-04-15") + Duration::days(i64::from(which) % 40);
                let to = from + Duration::days(i64::from(what) % 30 - 3);
                LedgerCommand::OpenPeriod { period: period(&id), from, to }
            }
            _ => LedgerCommand::ClosePeriod { period: period(&id) },
        }
    }

    /// Both decide; both must say the same, and be the same afterwards.
    fn run(&mut self, command: impl IntoCommand) {
        let command = command.into_command();
        let faults = self.mirror.faults(&command);
        match self.desk.submit(command.clone()) {
            Ok(_) => {
                assert!(faults.is_empty(), "the rules accept {command:?}, the mirror says {faults:?}");
                self.mirror.carry_out(&command);
            }
            Err(rejection) => {
                let code = rejection.code();
                assert!(faults.contains(code), "the rules say {code} to {command:?}, the mirror {faults:?}");
                self.refused.insert(code);
            }
        }
    }

    fn compare(&self) {
        check_desk(&self.desk);
        let (desk, mirror) = (&self.desk, &self.mirror);
        assert_eq!(desk.shelf.members.len(), mirror.members.len());
        for (id, member) in &desk.shelf.members {
            let told = &mirror.members[id];
            let kyc = match member.kyc {
                Kyc::Pending => "pending",
                Kyc::Verified => "verified",
                Kyc::Rejected => "rejected",
            };
            let status = match member.status {
                MemberStatus::Active => "active",
                MemberStatus::Inactive => "inactive",
                MemberStatus::Suspended => "suspended",
            };
            assert_eq!((kyc, status), (told.kyc, told.status));
        }
        self.compare_accounts();
        assert_eq!(desk.shelf.transactions.len(), mirror.transactions.len());
        for (id, transaction) in &desk.shelf.transactions {
            let told = &mirror.transactions[id];
            let status = match transaction.status {
                TransactionStatus::Pending => "pending",
                TransactionStatus::Posted => "posted",
                TransactionStatus::Voided => "voided",
                TransactionStatus::Expired => "expired",
            };
            assert_eq!((status, transaction.is_reversal), (told.status, told.undoes));
            assert_eq!(transaction.legs.len(), told.legs.len());
            for (leg, told) in transaction.legs.iter().zip(&told.legs) {
                let amounts = [leg.pending_minor, leg.posted_minor, leg.reversed_minor].map(i128::from);
                assert_eq!(amounts, [told.pending, told.posted, told.reversed]);
                assert_eq!((leg.account_id, leg.side == Side::Debit), (told.account, told.debit));
            }
        }
        assert_eq!(desk.shelf.ledger.periods.len(), mirror.periods.len());
        for (id, period) in &desk.shelf.ledger.periods {
            assert_eq!((period.from, period.to, period.closed), mirror.periods[id]);
        }
    }

    fn compare_accounts(&self) {
        let (desk, mirror) = (&self.desk, &self.mirror);
        let mut sums = net_debits(desk);
        assert_eq!(desk.shelf.accounts.len(), mirror.accounts.len());
        for (id, account) in &desk.shelf.accounts {
            let told: &MirrorAccount = &mirror.accounts[id];
            let net = sums.remove(&(account.ledger_code.clone(), account.currency, *id)).unwrap_or(0);
            assert_eq!(net, told.net_debits, "debits less credits of {id}");
            let status = match (told.gone, told.guarded) {
                (false, _) => AccountStatus::Open,
                (true, true) => AccountStatus::Closed,
                (true, false) => AccountStatus::Retired,
            };
            assert_eq!(account.status, status);
            if account.guarded {
                assert_eq!(i128::from(account.balance_minor), told.balance());
                assert_eq!(account.available_minor(desk.now), mirror.available(*id), "available of {id}");
                assert_eq!(i128::from(account.minimum_balance_minor), told.minimum);
            }
            assert_eq!(
                (account.frozen_debit, account.frozen_credit, account.dormant),
                (told.no_debits, told.no_credits, told.dormant)
            );
            let holders = account.holders.iter().map(|holder| (holder.member_id, holder.role == HolderRole::Owner));
            assert_eq!(holders.collect::<std::collections::BTreeMap<_, _>>(), told.holders);
        }
        assert!(sums.is_empty(), "legs on accounts that nobody opened: {sums:?}");
    }
}

fn member_command(member_id: MemberId, what: u8) -> MemberCommand {
    match what % 8 {
        0 | 1 => MemberCommand::VerifyKyc { member_id },
        2 => MemberCommand::RejectKyc { member_id, reason: reason("forged") },
        3 => MemberCommand::SuspendMember { member_id, reason: reason("fraud") },
        4 => MemberCommand::DeactivateMember { member_id, reason: reason("moved") },
        _ => MemberCommand::ReactivateMember { member_id },
    }
}

fn account_command(account_id: AccountId, what: u8, member_id: MemberId, money: Money) -> AccountCommand {
    match what % 16 {
        0 => freeze(account_id, FreezeScope::Debit),
        1 => freeze(account_id, FreezeScope::Credit),
        2 => freeze(account_id, FreezeScope::Both),
        3 => AccountCommand::UnfreezeAccount { account_id, scope: FreezeScope::Debit },
        4 => AccountCommand::UnfreezeAccount { account_id, scope: FreezeScope::Credit },
        5 | 6 => AccountCommand::UnfreezeAccount { account_id, scope: FreezeScope::Both },
        7 => AccountCommand::MarkAccountDormant { account_id, reason: reason("quiet") },
        8 | 9 => AccountCommand::ReactivateAccount { account_id },
        10 | 11 => AccountCommand::ChangeLimit { account_id, minimum_balance: money },
        12 => AccountCommand::AddHolder { account_id, holder: owner(member_id) },
        13 | 14 => AccountCommand::RemoveHolder { account_id, member_id },
        _ => close(account_id),
    }
}

pub(crate) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn random_commands_find_the_rules_and_the_mirror_of_one_mind(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::furnished();
        for step in &steps {
            if let Some(command) = pair.command(step) {
                pair.run(command);
            }
            pair.compare();
        }
        check_snapshots(&pair.desk.shelf);
    }
}

/// The random commands are worth something only if they get far: before long, every kind of event and
/// of refusal is met but those that no command in these amounts can bring about.
#[test]
fn random_commands_meet_every_event_and_refusal() {
    use proptest::strategy::ValueTree;
    let events = domain::event::EVENT_TYPES.iter().filter(|(kind, name, _)| !lending_model::covers(*kind, name));
    // A refusal is no event of a plan.
    let mut events: BTreeSet<&str> =
        events.map(|(_, name, _)| *name).filter(|name| *name != "CommandRejected").collect();
    let elsewhere = ["version_mismatch", "balance_overflow", "state_unavailable"];
    let codes = domain::rejection::REJECTION_CODES.iter().map(|(code, _)| *code);
    let elsewhere = [&elsewhere, lending_model::REFUSALS].concat();
    let mut codes: BTreeSet<&str> = codes.filter(|code| !elsewhere.contains(code)).collect();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..500 {
        let steps = prop::collection::vec(step(), 120).new_tree(&mut runner).unwrap().current();
        let mut pair = Pair::furnished();
        for step in &steps {
            if let Some(command) = pair.command(step) {
                pair.run(command);
            }
        }
        pair.compare();
        pair.desk.log.iter().for_each(|(.., event)| _ = events.remove(event.name()));
        codes.retain(|code| !pair.refused.contains(code));
        if events.is_empty() && codes.is_empty() {
            return;
        }
    }
    panic!("never met: events {events:?}, refusals {codes:?}");
}
