//! The bank's book: what follows from the journal, and what is decided on it. Pure.
//!
//! Invariants: `apply` never fails and never decides; a decision changes nothing and gives the
//! entries that are to be written and then applied; an id has one content for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::amount::Amount;
use crate::entry::{Entry, Incoming};
use crate::movement::{Direction, Kind, Movement};
use crate::orders::{Held, Order, State};
use crate::rules::{Destination, Refusal, Rules};

/// News for Daybook: money came in, or a payment came back. Its number is the movement's.
pub(crate) type News = u64;

/// What a request leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It was decided before, with the same content.
    Known,
    /// It is new: these entries are to be written.
    New(Vec<Entry>),
    /// The id has another content.
    Conflict,
}

/// An incoming payment as it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) id: Uuid,
    pub(crate) amount: Amount,
    pub(crate) reference: String,
    pub(crate) from: Destination,
    pub(crate) booked_on: NaiveDate,
    pub(crate) value_date: NaiveDate,
}

#[derive(Debug)]
pub(crate) struct Book {
    bank: String,
    references: u64,
    orders: HashMap<Uuid, Held>,
    /// Orders on their way, by the time at which they arrive.
    on_their_way: BTreeSet<(DateTime<Utc>, Uuid)>,
    /// Ids that were cancelled before their orders came.
    barred: HashSet<Uuid>,
    incoming: HashMap<Uuid, Incoming>,
    /// Of each payment that came in, by its reference: what may still be sent back.
    returnable: HashMap<String, Amount>,
    closed: BTreeSet<Destination>,
    movements: Vec<Movement>,
    /// Reasons of payments that came back, by their movement's number.
    reasons: HashMap<u64, String>,
    news: BTreeSet<News>,
}

impl Book {
    /// The book of a bank with that mark, before anything happened.
    pub(crate) fn new(bank: String) -> Self {
        Self {
            bank,
            references: 0,
            orders: HashMap::new(),
            on_their_way: BTreeSet::new(),
            barred: HashSet::new(),
            incoming: HashMap::new(),
            returnable: HashMap::new(),
            closed: BTreeSet::new(),
            movements: Vec::new(),
            reasons: HashMap::new(),
            news: BTreeSet::new(),
        }
    }

    pub(crate) fn set_bank(&mut self, bank: String) {
        self.bank = bank;
    }

    pub(crate) fn held(&self, id: Uuid) -> Option<&Held> {
        self.orders.get(&id)
    }

    /// Whether the id was cancelled before its order came.
    pub(crate) fn is_barred(&self, id: Uuid) -> bool {
        self.barred.contains(&id)
    }

    pub(crate) fn received(&self, id: Uuid) -> Option<&Incoming> {
        self.incoming.get(&id)
    }

    pub(crate) fn movements(&self) -> &[Movement] {
        &self.movements
    }

    pub(crate) fn movement(&self, number: u64) -> Option<&Movement> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.movements.get(index)
    }

    pub(crate) fn reason(&self, number: u64) -> Option<&str> {
        self.reasons.get(&number).map(String::as_str)
    }

    /// News after that number that nobody has taken yet.
    pub(crate) fn news_after(&self, number: News) -> impl Iterator<Item = News> {
        self.news.range(number.saturating_add(1)..).copied()
    }

    pub(crate) fn news_waiting(&self) -> usize {
        self.news.len()
    }

    pub(crate) fn orders_on_their_way(&self) -> usize {
        self.on_their_way.len()
    }

    /// When the next order arrives.
    pub(crate) fn next_arrival(&self) -> Option<DateTime<Utc>> {
        self.on_their_way.first().map(|(at, _)| *at)
    }

    /// The sum of all movements, by currency.
    pub(crate) fn balances(&self) -> BTreeMap<&str, Decimal> {
        let mut balances = BTreeMap::new();
        for movement in &self.movements {
            let balance: &mut Decimal = balances.entry(movement.amount.currency.as_str()).or_default();
            // A decimal of 28 digits holds more payments of the largest size than a journal can.
            *balance = match movement.direction {
                Direction::In => balance.saturating_add(movement.amount.amount),
                Direction::Out => balance.saturating_sub(movement.amount.amount),
            };
        }
        balances
    }

    /// Decides an order. A fault may refuse it, or keep it on its way for a while.
    pub(crate) fn order(
        &self,
        id: Uuid,
        order: Order,
        rules: &Rules,
        now: DateTime<Utc>,
        fault: &OrderFault,
    ) -> Decision {
        if let Some(held) = self.orders.get(&id) {
            return if held.order == order { Decision::Known } else { Decision::Conflict };
        }
        let refused = match &fault.refuse {
            _ if self.barred.contains(&id) => Err(Refusal::cancelled()),
            Some(refusal) => Err(refusal.clone()),
            None => self.allowed(&order, rules),
        };
        if let Err(refusal) = refused {
            return Decision::New(vec![Entry::OrderRefused { id, order, refusal }]);
        }
        let settles_at = now.checked_add_signed(fault.on_its_way).unwrap_or(now);
        let mut entries = vec![Entry::OrderAccepted { id, order, bank_reference: self.next_reference(), settles_at }];
        if fault.on_its_way.is_zero() {
            entries.push(Entry::OrderSettled { id, settled_on: now.date_naive() });
        }
        Decision::New(entries)
    }

    fn allowed(&self, order: &Order, rules: &Rules) -> Result<(), Refusal> {
        rules.amount(order.amount())?;
        match order {
            Order::Payment { to, .. } => {
                rules.destination(to)?;
                if self.closed.contains(to) { Err(Refusal::closed()) } else { Ok(()) }
            }
            Order::Return { amount, original_bank_reference, .. } => {
                let Some(left) = self.returnable.get(original_bank_reference) else {
                    return Err(Refusal::new("unknown_payment", "no payment with this reference came in"));
                };
                if left.currency != amount.currency {
                    return Err(Refusal::new("other_currency", "the payment came in another currency"));
                }
                if left.amount < amount.amount {
                    return Err(Refusal::new("more_than_received", "less than that is left of the payment"));
                }
                Ok(())
            }
        }
    }

    /// Decides that an id is never paid. What the bank has seen stays as it is: then it is too late.
    pub(crate) fn cancel(&self, id: Uuid) -> Decision {
        match self.orders.get(&id) {
            Some(held) if !held.order.is_payment() => Decision::Conflict,
            Some(_) => Decision::Known,
            None if self.barred.contains(&id) => Decision::Known,
            None => Decision::New(vec![Entry::OrderBarred { id }]),
        }
    }

    /// Decides what has arrived by now: settled, or refused after all since its account has closed.
    pub(crate) fn arrivals(&self, now: DateTime<Utc>) -> Vec<Entry> {
        let arrived = self.on_their_way.iter().take_while(|(at, _)| *at <= now);
        arrived
            .filter_map(|(_, id)| Some((*id, &self.orders.get(id)?.order)))
            .map(|(id, order)| match order {
                Order::Payment { to, .. } if self.closed.contains(to) => {
                    Entry::OrderRefused { id, order: order.clone(), refusal: Refusal::closed() }
                }
                Order::Payment { .. } | Order::Return { .. } => {
                    Entry::OrderSettled { id, settled_on: now.date_naive() }
                }
            })
            .collect()
    }

    /// Decides that a customer of another bank pays us.
    pub(crate) fn receive(&self, receipt: Receipt) -> Decision {
        let Receipt { id, amount, reference, from, booked_on, value_date } = receipt;
        if let Some(known) = self.incoming.get(&id) {
            let bank_reference = known.bank_reference.clone();
            let same = *known == Incoming { id, bank_reference, amount, reference, from, booked_on, value_date };
            return if same { Decision::Known } else { Decision::Conflict };
        }
        let bank_reference = self.next_reference();
        let incoming = Incoming { id, bank_reference, amount, reference, from, booked_on, value_date };
        Decision::New(vec![Entry::Incoming(incoming)])
    }

    /// Decides that the payee's bank sends a payment back; `Conflict` unless it is settled.
    pub(crate) fn send_back(&self, id: Uuid, reason: String, booked_on: NaiveDate) -> Decision {
        match self.orders.get(&id) {
            Some(Held { returned: Some(_), .. }) => Decision::Known,
            Some(Held { order: Order::Payment { .. }, state: State::Settled { .. }, .. }) => {
                let bank_reference = self.next_reference();
                Decision::New(vec![Entry::PaymentReturned { id, bank_reference, booked_on, reason }])
            }
            _ => Decision::Conflict,
        }
    }

    fn next_reference(&self) -> String {
        format!("{}-{:08}", self.bank, self.references.saturating_add(1))
    }

    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::OrderAccepted { id, order, bank_reference, settles_at } => {
                self.references += 1;
                self.on_their_way.insert((settles_at, id));
                // From now on that much less can be sent back, also while this is on its way.
                if let Order::Return { amount, original_bank_reference, .. } = &order
                    && let Some(left) = self.returnable.get_mut(original_bank_reference)
                {
                    left.amount = left.amount.saturating_sub(amount.amount);
                }
                let state = State::Accepted { settles_at };
                self.orders.insert(id, Held { order, bank_reference, state, returned: None });
            }
            Entry::OrderSettled { id, settled_on } => self.settle(id, settled_on),
            Entry::OrderRefused { id, order, refusal } => {
                self.arrive(id);
                let held = self.orders.entry(id).or_insert_with(|| Held {
                    order,
                    bank_reference: String::new(),
                    state: State::Refused(refusal.clone()),
                    returned: None,
                });
                held.state = State::Refused(refusal);
            }
            Entry::OrderBarred { id } => {
                self.barred.insert(id);
            }
            Entry::PaymentReturned { id, bank_reference, booked_on, reason } => {
                self.references += 1;
                self.come_back(id, bank_reference, booked_on, reason);
            }
            Entry::Incoming(incoming) => {
                self.references += 1;
                self.returnable.insert(incoming.bank_reference.clone(), incoming.amount.clone());
                let number = self.push(Movement {
                    number: 0,
                    kind: Kind::Incoming,
                    direction: Direction::In,
                    bank_reference: incoming.bank_reference.clone(),
                    booked_on: incoming.booked_on,
                    value_date: incoming.value_date,
                    amount: incoming.amount.clone(),
                    reference: incoming.reference.clone(),
                    id: incoming.id,
                });
                self.news.insert(number);
                self.incoming.insert(incoming.id, incoming);
            }
            Entry::AccountMarked { account, closed: true } => {
                self.closed.insert(account);
            }
            Entry::AccountMarked { account, closed: false } => {
                self.closed.remove(&account);
            }
            Entry::NewsTaken { number } => {
                self.news.remove(&number);
            }
        }
    }

    /// Takes an order off those on their way.
    fn arrive(&mut self, id: Uuid) {
        if let Some(State::Accepted { settles_at }) = self.orders.get(&id).map(|held| &held.state) {
            self.on_their_way.remove(&(*settles_at, id));
        }
    }

    fn settle(&mut self, id: Uuid, settled_on: NaiveDate) {
        self.arrive(id);
        let Some(held) = self.orders.get_mut(&id) else { return };
        held.state = State::Settled { settled_on };
        let (kind, reference) = match &held.order {
            Order::Payment { reference, .. } => (Kind::Payment, reference.clone()),
            Order::Return { reason, .. } => (Kind::Return, reason.clone()),
        };
        let movement = Movement {
            number: 0,
            kind,
            direction: Direction::Out,
            bank_reference: held.bank_reference.clone(),
            booked_on: settled_on,
            value_date: settled_on,
            amount: held.order.amount().clone(),
            reference,
            id,
        };
        self.push(movement);
    }

    fn come_back(&mut self, id: Uuid, bank_reference: String, booked_on: NaiveDate, reason: String) {
        let Some(held) = self.orders.get_mut(&id) else { return };
        held.returned = Some(bank_reference.clone());
        let reference = match &held.order {
            Order::Payment { reference, .. } => reference.clone(),
            Order::Return { .. } => String::new(),
        };
        let amount = held.order.amount().clone();
        let number = self.push(Movement {
            number: 0,
            kind: Kind::PaymentReturned,
            direction: Direction::In,
            bank_reference,
            booked_on,
            value_date: booked_on,
            amount,
            reference,
            id,
        });
        self.reasons.insert(number, reason);
        self.news.insert(number);
    }

    /// Numbers a movement and keeps it.
    fn push(&mut self, movement: Movement) -> u64 {
        let number = u64::try_from(self.movements.len()).unwrap_or(u64::MAX).saturating_add(1);
        self.movements.push(Movement { number, ..movement });
        number
    }
}

/// How an order is to go wrong, or late.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderFault {
    pub(crate) refuse: Option<Refusal>,
    pub(crate) on_its_way: TimeDelta,
}
