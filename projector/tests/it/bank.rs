//! A little bank that writes its events straight into the log, as the event store would: members,
//! guarded and internal accounts, transfers, holds, reversals. Hashes are dummies.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use domain::account::{AccountEvent, FreezeScope, HoldEnd, Holder, HolderRole, Product};
use domain::ledger::{LedgerClass, LedgerEvent};
use domain::member::{MemberEvent, MemberKind};
use domain::money::Side;
use domain::transaction::{Leg, LegReversal, Reverses, TransactionEvent, TransactionKind};
use domain::words::{LedgerCode, Number, PeriodId, ReasonCode, Sealed, Title};
use domain::{AccountId, Currency, Event, MemberId, StreamId, TransactionId};
use sqlx::PgPool;
use uuid::Uuid;

pub(crate) struct Bank {
    log: PgPool,
    pub(crate) head: u64,
    sequences: HashMap<StreamId, u64>,
    random: u64,
    pub(crate) accounts: Vec<AccountId>,
    pub(crate) cash: AccountId,
    pub(crate) balances: BTreeMap<AccountId, i64>,
    pending: Vec<(TransactionId, usize, i64)>,
}

impl Bank {
    /// Opens its books.
    pub(crate) async fn open(log: &PgPool, accounts: usize) -> Self {
        let mut bank = Self {
            log: log.clone(),
            head: 0,
            sequences: HashMap::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            accounts: Vec::new(),
            cash: AccountId(Uuid::now_v7()),
            balances: BTreeMap::new(),
            pending: Vec::new(),
        };
        let mut events = bank.ledger();
        events.push((bank.cash.stream(), bank.account_opened("cash", None).into()));
        for number in 0..accounts {
            let member_id = MemberId(Uuid::now_v7());
            let registered = MemberEvent::MemberRegistered {
                number: word(format!("M-{number}")),
                kind: MemberKind::Person,
                personal: [("name".to_owned(), Sealed::try_new("c2VhbGVk").unwrap())].into(),
                branch: None,
            };
            events.push((member_id.stream(), registered.into()));
            events.push((member_id.stream(), MemberEvent::KycVerified {}.into()));
            let account_id = AccountId(Uuid::now_v7());
            events.push((account_id.stream(), bank.account_opened(&format!("A-{number}"), Some(member_id)).into()));
            bank.accounts.push(account_id);
            bank.balances.insert(account_id, 0);
        }
        bank.append(events).await;
        bank
    }

    fn ledger(&self) -> Vec<(StreamId, Event)> {
        let code = |code: &str, class: LedgerClass, control| LedgerEvent::LedgerCodeDefined {
            ledger_code: LedgerCode::try_new(code).unwrap(),
            name: Title::try_new("of the bank").unwrap(),
            class,
            normal_side: class.normal_side(),
            control,
        };
        let period = PeriodId::try_new("2026-01").unwrap();
        let events = [
            LedgerEvent::CurrencyDefined { currency: czk(), minor_units: 2 },
            code("1000", LedgerClass::Asset, false),
            code("2000", LedgerClass::Liability, true),
            LedgerEvent::PeriodOpened { period, from: day(1), to: day(31) },
        ];
        events.into_iter().map(|event| (StreamId::LEDGER, event.into())).collect()
    }

    fn account_opened(&self, number: &str, member: Option<MemberId>) -> AccountEvent {
        AccountEvent::AccountOpened {
            number: word(number.to_owned()),
            name: member.is_none().then(|| Title::try_new("Cash in hand").unwrap()),
            product: if member.is_none() { Product::Internal } else { Product::Current },
            holders: member.map(|member_id| Holder { member_id, role: HolderRole::Owner }).into_iter().collect(),
            currency: czk(),
            normal_side: if member.is_none() { Side::Debit } else { Side::Credit },
            ledger_code: LedgerCode::try_new(if member.is_none() { "1000" } else { "2000" }).unwrap(),
            guarded: member.is_some(),
            minimum_balance_minor: 0,
            branch: None,
            opened_on: day(1),
        }
    }

    /// Does business: so many commands, a mixture of everything, in commits of some.
    pub(crate) async fn business(&mut self, commands: usize) {
        let mut events = Vec::new();
        for done in 0..commands {
            let account = self.random_below(self.accounts.len());
            let amount_minor = 1 + self.random_below(10_000) as i64;
            match self.random_below(12) {
                0..=3 => events.extend(self.deposit(account, amount_minor)),
                4..=6 => {
                    let other = self.random_below(self.accounts.len());
                    events.extend(self.transfer(account, other, amount_minor));
                }
                7 => events.extend(self.reserve(account, amount_minor)),
                8 => events.extend(self.settle(true)),
                9 => events.extend(self.settle(false)),
                10 => events.extend(self.reversed_deposit(account, amount_minor)),
                _ => events.extend(self.life(account)),
            }
            if done % 10 == 9 {
                self.append(std::mem::take(&mut events)).await;
            }
        }
        self.append(events).await;
    }

    fn deposit(&mut self, account: usize, amount_minor: i64) -> Vec<(StreamId, Event)> {
        let account_id = self.accounts[account];
        let legs = vec![(self.cash, Side::Debit), (account_id, Side::Credit)];
        self.posted(TransactionId(Uuid::now_v7()), legs, amount_minor, None)
    }

    fn transfer(&mut self, from: usize, to: usize, amount_minor: i64) -> Vec<(StreamId, Event)> {
        if from == to {
            return Vec::new();
        }
        let legs = vec![(self.accounts[from], Side::Debit), (self.accounts[to], Side::Credit)];
        self.posted(TransactionId(Uuid::now_v7()), legs, amount_minor, None)
    }

    fn posted(
        &mut self,
        id: TransactionId,
        legs: Vec<(AccountId, Side)>,
        amount_minor: i64,
        reverses: Option<Reverses>,
    ) -> Vec<(StreamId, Event)> {
        let legs = self.legs(&legs, amount_minor);
        let booking_date = day(1 + self.random_below(5) as u32);
        let event = TransactionEvent::TransactionPosted {
            kind: TransactionKind::Transfer,
            booking_date,
            value_date: day(1 + self.random_below(5) as u32),
            legs: legs.clone(),
            reverses,
            external_reference: None,
            narrative: None,
        };
        let mut events = vec![(id.stream(), event.into())];
        events.extend(legs.iter().filter_map(|leg| self.entry(id, leg, booking_date, 0)));
        events
    }

    /// A deposit and its reversal.
    fn reversed_deposit(&mut self, account: usize, amount_minor: i64) -> Vec<(StreamId, Event)> {
        let account_id = self.accounts[account];
        let (original, reversal) = (TransactionId(Uuid::now_v7()), TransactionId(Uuid::now_v7()));
        let cash = self.cash;
        let mut events =
            self.posted(original, vec![(cash, Side::Debit), (account_id, Side::Credit)], amount_minor, None);
        let reverses = Reverses { transaction_id: original, reason: ReasonCode::try_new("mistake").unwrap() };
        events.extend(self.posted(
            reversal,
            vec![(cash, Side::Credit), (account_id, Side::Debit)],
            amount_minor,
            Some(reverses),
        ));
        let legs =
            [1, 2].map(|leg| LegReversal { leg, amount_minor, reversed_minor: amount_minor }).into_iter().collect();
        events.push((original.stream(), TransactionEvent::TransactionReversed { by: reversal, legs }.into()));
        events
    }

    fn reserve(&mut self, account: usize, amount_minor: i64) -> Vec<(StreamId, Event)> {
        let (id, account_id) = (TransactionId(Uuid::now_v7()), self.accounts[account]);
        let legs = self.legs(&[(account_id, Side::Debit), (self.cash, Side::Credit)], amount_minor);
        let pending = TransactionEvent::TransactionPending {
            kind: TransactionKind::Withdrawal,
            booking_date: day(2),
            value_date: day(2),
            legs,
            expires_at: DateTime::from_timestamp(4_000_000_000, 0),
            external_reference: None,
            narrative: None,
        };
        let hold = AccountEvent::HoldPlaced {
            transaction_id: id,
            leg: 1,
            side: Side::Debit,
            amount_minor,
            expires_at: DateTime::<Utc>::from_timestamp(4_000_000_000, 0),
        };
        self.pending.push((id, account, amount_minor));
        vec![(id.stream(), pending.into()), (account_id.stream(), hold.into())]
    }

    /// Posts the oldest pending transaction, or gives it up.
    fn settle(&mut self, post: bool) -> Vec<(StreamId, Event)> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let (id, account, amount_minor) = self.pending.remove(0);
        let account_id = self.accounts[account];
        if !post {
            let reason = ReasonCode::try_new("changed_mind").unwrap();
            let released =
                AccountEvent::HoldReleased { transaction_id: id, leg: 1, amount_minor, reason: HoldEnd::Voided };
            let voided = TransactionEvent::PendingVoided { reason };
            return vec![(id.stream(), voided.into()), (account_id.stream(), released.into())];
        }
        let legs = self.legs(&[(account_id, Side::Debit), (self.cash, Side::Credit)], amount_minor);
        let posted = TransactionEvent::PendingPosted {
            posting: 1,
            booking_date: day(3),
            value_date: day(3),
            legs: legs.clone(),
            is_final: true,
        };
        let mut events = vec![(id.stream(), posted.into())];
        events.extend(self.entry(id, &legs[0], day(3), amount_minor));
        events
    }

    fn life(&mut self, account: usize) -> Vec<(StreamId, Event)> {
        let stream = self.accounts[account].stream();
        let reason = ReasonCode::try_new("court_order").unwrap();
        let member_id = MemberId(Uuid::from_u128(7));
        let events = [
            AccountEvent::AccountFrozen { scope: FreezeScope::Debit, reason },
            AccountEvent::AccountUnfrozen { scope: FreezeScope::Both },
            AccountEvent::LimitChanged { minimum_balance_minor: -(self.random_below(1_000) as i64) },
            AccountEvent::HolderAdded { member_id, role: HolderRole::Disponent },
            AccountEvent::HolderRemoved { member_id },
        ];
        events.into_iter().map(|event| (stream, event.into())).collect()
    }

    fn legs(&self, legs: &[(AccountId, Side)], amount_minor: i64) -> Vec<Leg> {
        (1..)
            .zip(legs)
            .map(|(leg, (account_id, side))| Leg {
                leg,
                account_id: *account_id,
                ledger_code: LedgerCode::try_new(if *account_id == self.cash { "1000" } else { "2000" }).unwrap(),
                side: *side,
                amount_minor,
                currency: czk(),
                component: None,
            })
            .collect()
    }

    fn entry(&mut self, id: TransactionId, leg: &Leg, date: NaiveDate, released: i64) -> Option<(StreamId, Event)> {
        let balance_minor = self.balances.get_mut(&leg.account_id)?;
        *balance_minor += leg.side.change_minor(leg.amount_minor, Side::Credit);
        let entry = AccountEvent::EntryPosted {
            transaction_id: id,
            posting: 1,
            leg: leg.leg,
            kind: TransactionKind::Transfer,
            side: leg.side,
            amount_minor: leg.amount_minor,
            booking_date: date,
            value_date: date,
            balance_minor: *balance_minor,
            hold_released_minor: released,
        };
        Some((leg.account_id.stream(), entry.into()))
    }

    fn random_below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }

    /// One commit.
    pub(crate) async fn append(&mut self, events: Vec<(StreamId, Event)>) {
        let rows = events
            .into_iter()
            .map(|(stream, event)| {
                let payload = match &event {
                    Event::Member(event) => serde_json::to_string(event),
                    Event::Account(event) => serde_json::to_string(event),
                    Event::Transaction(event) => serde_json::to_string(event),
                    Event::Ledger(event) => serde_json::to_string(event),
                    Event::Rejection(event) => serde_json::to_string(event),
                    Event::LoanProduct(event) => serde_json::to_string(event),
                    Event::Loan(event) => serde_json::to_string(event),
                    Event::Saga(event) => serde_json::to_string(event),
                };
                (stream, event.name().to_owned(), event.version().to_owned(), payload.unwrap())
            })
            .collect();
        self.append_raw(rows).await;
    }

    /// One commit of events that need not make sense.
    pub(crate) async fn append_raw(&mut self, events: Vec<(StreamId, String, String, String)>) {
        if events.is_empty() {
            return;
        }
        let mut tx = self.log.begin().await.unwrap();
        for (stream, event_type, event_version, payload) in events {
            self.head += 1;
            let sequence = self.sequences.entry(stream).or_insert(0);
            *sequence += 1;
            let metadata = r#"{"tenant":"main","client":"test","actor":"test","correlation_id":"test"}"#;
            sqlx::query(
                "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, \
                     metadata, position, recorded_at, event_hash, chain_hash, command_id) \
                 VALUES ($1, $2, $3, $4, $5, $6::json, $7::json, $8, 'epoch'::timestamptz + $8 * interval '1 second', \
                     decode(lpad(to_hex($8), 64, '0'), 'hex'), decode(repeat('ab', 32), 'hex'), 'command')",
            )
            .bind(stream.kind.name())
            .bind(stream.id_text())
            .bind(*sequence as i64)
            .bind(event_type)
            .bind(event_version)
            .bind(payload)
            .bind(metadata)
            .bind(self.head as i64)
            .execute(&mut *tx)
            .await
            .unwrap();
        }
        sqlx::query("UPDATE log_head SET batch = batch + 1, position = $1")
            .bind(self.head as i64)
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query("SELECT pg_notify('daybook_events', $1::text)")
            .bind(self.head as i64)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

fn czk() -> Currency {
    "CZK".parse().unwrap()
}

fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, number).unwrap()
}

fn word(text: String) -> Number {
    Number::try_new(text).unwrap()
}
