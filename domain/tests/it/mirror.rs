//! A second opinion: plain maps and signed sums, written from the rules as they are told and not from
//! the code. For a command it tells every reason to refuse it, in no order; what it accepts it
//! carries out from the command alone, without looking at an event.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use domain::account::{AccountCommand, FreezeScope, Holder, HolderRole, Product};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::member::MemberCommand;
use domain::transaction::{LegAmount, LegInput, Legs, TransactionCommand, TransactionKind};
use domain::words::{LedgerCode, PeriodId};
use domain::{AccountId, Command, Currency, MemberId, Money, Side, TransactionId};

/// Reasons to refuse a command.
pub(crate) type Faults = BTreeSet<&'static str>;

#[derive(Clone, Debug)]
pub(crate) struct MirrorMember {
    pub(crate) kyc: &'static str,
    pub(crate) status: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct MirrorAccount {
    pub(crate) guarded: bool,
    pub(crate) currency: Currency,
    pub(crate) grows_by_debits: bool,
    /// Debits less credits.
    pub(crate) net_debits: i128,
    pub(crate) minimum: i128,
    pub(crate) holders: BTreeMap<MemberId, bool>,
    pub(crate) gone: bool,
    pub(crate) no_debits: bool,
    pub(crate) no_credits: bool,
    pub(crate) dormant: bool,
}

impl MirrorAccount {
    pub(crate) fn balance(&self) -> i128 {
        if self.grows_by_debits { self.net_debits } else { -self.net_debits }
    }

    fn lowers(&self, side: Side) -> bool {
        (side == Side::Credit) == self.grows_by_debits
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MirrorLeg {
    pub(crate) account: AccountId,
    pub(crate) debit: bool,
    pub(crate) currency: Currency,
    pub(crate) pending: i128,
    pub(crate) posted: i128,
    pub(crate) reversed: i128,
}

#[derive(Clone, Debug)]
pub(crate) struct MirrorTransaction {
    pub(crate) kind: TransactionKind,
    pub(crate) legs: Vec<MirrorLeg>,
    pub(crate) status: &'static str,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) undoes: bool,
}

/// The book as told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) now: DateTime<Utc>,
    pub(crate) members: BTreeMap<MemberId, MirrorMember>,
    pub(crate) accounts: BTreeMap<AccountId, MirrorAccount>,
    pub(crate) transactions: BTreeMap<TransactionId, MirrorTransaction>,
    pub(crate) currencies: BTreeSet<Currency>,
    pub(crate) codes: BTreeMap<LedgerCode, (LedgerClass, bool)>,
    pub(crate) periods: BTreeMap<PeriodId, (NaiveDate, NaiveDate, bool)>,
    pub(crate) taken: BTreeSet<(&'static str, String)>,
}

/// A leg with its sides and amounts settled.
type Settled = (AccountId, bool, Money);

const AMOUNT_MAX: i64 = (1 << 53) - 1;

fn refuse(faults: &mut Faults, when: bool, code: &'static str) {
    if when {
        faults.insert(code);
    }
}

impl Mirror {
    fn today(&self) -> NaiveDate {
        self.now.date_naive()
    }

    /// What pending transactions that have not expired would take from the account.
    fn held(&self, id: AccountId) -> i128 {
        let account = &self.accounts[&id];
        let open = self.transactions.values().filter(|t| t.status == "pending" && t.until.is_none_or(|u| self.now < u));
        let legs = open.flat_map(|t| &t.legs).filter(|leg| leg.account == id);
        legs.filter(|leg| leg.debit != account.grows_by_debits).map(|leg| leg.pending).sum()
    }

    pub(crate) fn available(&self, id: AccountId) -> i128 {
        self.accounts[&id].balance() - self.held(id)
    }

    /// Every reason to refuse the command.
    pub(crate) fn faults(&self, command: &Command) -> Faults {
        let mut faults = Faults::new();
        match command {
            Command::Member(command) => self.member_faults(command, &mut faults),
            Command::Account(command) => self.account_faults(command, &mut faults),
            Command::Transaction(command) => self.transaction_faults(command, &mut faults),
            Command::Ledger(command) => self.ledger_faults(command, &mut faults),
            Command::LoanProduct(_) | Command::Loan(_) | Command::Saga(_) => panic!("this mirror has no loans"),
        }
        faults
    }

    fn member_faults(&self, command: &MemberCommand, faults: &mut Faults) {
        let member = self.members.get(&command.target());
        if let MemberCommand::RegisterMember { number, .. } = command {
            refuse(faults, member.is_some(), "id_taken");
            refuse(faults, self.taken.contains(&("member", number.to_string())), "member_number_taken");
            return;
        }
        let Some(member) = member else {
            faults.insert("member_not_found");
            return;
        };
        match command {
            MemberCommand::RegisterMember { .. } => {}
            MemberCommand::VerifyKyc { .. } | MemberCommand::RejectKyc { .. } => {
                refuse(faults, member.kyc != "pending", "kyc_not_pending");
            }
            MemberCommand::SuspendMember { .. } | MemberCommand::DeactivateMember { .. } => {
                refuse(faults, member.status != "active", "member_not_active");
            }
            MemberCommand::ReactivateMember { .. } => refuse(faults, member.status == "active", "member_active"),
        }
    }

    fn holder_faults(&self, holder: &Holder, faults: &mut Faults) {
        match self.members.get(&holder.member_id) {
            None => refuse(faults, true, "member_not_found"),
            Some(member) => {
                refuse(faults, member.status != "active", "member_not_active");
                refuse(faults, member.kyc != "verified", "member_not_verified");
            }
        }
    }

    fn opening_faults(&self, command: &AccountCommand, faults: &mut Faults) {
        let AccountCommand::OpenAccount {
            account_id,
            number,
            name,
            product,
            holders,
            currency,
            ledger_code,
            minimum_balance,
            opened_on,
            ..
        } = command
        else {
            return;
        };
        let members = *product != Product::Internal;
        refuse(faults, self.accounts.contains_key(account_id), "id_taken");
        refuse(faults, self.taken.contains(&("account", number.to_string())), "account_number_taken");
        refuse(faults, !self.currencies.contains(currency), "currency_not_defined");
        match self.codes.get(ledger_code) {
            None => refuse(faults, true, "ledger_code_not_defined"),
            Some((_, control)) => {
                refuse(faults, members && !control, "ledger_code_not_control");
                refuse(faults, !members && *control, "ledger_code_is_control");
            }
        }
        if members {
            refuse(faults, name.is_some(), "name_not_allowed");
            refuse(faults, holders.iter().all(|holder| holder.role != HolderRole::Owner), "owner_required");
            let distinct: BTreeSet<_> = holders.iter().map(|holder| holder.member_id).collect();
            refuse(faults, distinct.len() < holders.len(), "holder_exists");
            holders.iter().for_each(|holder| self.holder_faults(holder, faults));
        } else {
            let has_some = !holders.is_empty() || minimum_balance.is_some();
            refuse(faults, has_some, "internal_account_has_no_holders");
        }
        refuse(faults, minimum_balance.is_some_and(|money| money.currency != *currency), "currency_mismatch");
        refuse(faults, opened_on.is_some_and(|on| on > self.today()), "opening_date_in_future");
    }

    fn account_faults(&self, command: &AccountCommand, faults: &mut Faults) {
        if matches!(command, AccountCommand::OpenAccount { .. }) {
            return self.opening_faults(command, faults);
        }
        let id = command.target();
        let Some(account) = self.accounts.get(&id) else {
            return refuse(faults, true, "account_not_found");
        };
        refuse(faults, account.gone, if account.guarded { "account_closed" } else { "account_retired" });
        let closing = matches!(command, AccountCommand::CloseAccount { .. });
        refuse(faults, !account.guarded && !closing, "account_is_internal");
        if !account.guarded {
            return;
        }
        match command {
            AccountCommand::OpenAccount { .. } => {}
            AccountCommand::AddHolder { holder, .. } => {
                refuse(faults, account.holders.contains_key(&holder.member_id), "holder_exists");
                self.holder_faults(holder, faults);
            }
            AccountCommand::RemoveHolder { member_id, .. } => {
                refuse(faults, !account.holders.contains_key(member_id), "holder_not_found");
                let owned = account.holders.iter().any(|(other, owner)| other != member_id && *owner);
                refuse(faults, !owned, "owner_required");
            }
            AccountCommand::ChangeLimit { minimum_balance, .. } => {
                refuse(faults, minimum_balance.currency != account.currency, "currency_mismatch");
                let minimum = i128::from(minimum_balance.amount_minor);
                let raised = minimum > account.minimum;
                refuse(faults, raised && self.available(id) < minimum, "limit_above_available");
            }
            AccountCommand::FreezeAccount { scope, .. } => {
                let new = (scope.covers(Side::Debit) && !account.no_debits)
                    || (scope.covers(Side::Credit) && !account.no_credits);
                refuse(faults, !new, "account_frozen_already");
            }
            AccountCommand::UnfreezeAccount { scope, .. } => {
                let frozen = (scope.covers(Side::Debit) && account.no_debits)
                    || (scope.covers(Side::Credit) && account.no_credits);
                refuse(faults, !frozen, "account_not_frozen");
            }
            AccountCommand::MarkAccountDormant { .. } => refuse(faults, account.dormant, "account_dormant"),
            AccountCommand::ReactivateAccount { .. } => refuse(faults, !account.dormant, "account_not_dormant"),
            AccountCommand::CloseAccount { .. } => {
                refuse(faults, account.balance() != 0, "balance_not_zero");
                let mut legs = self.transactions.values().flat_map(|transaction| &transaction.legs);
                refuse(faults, legs.any(|leg| leg.account == id && leg.pending > 0), "holds_remain");
            }
        }
    }

    fn date_faults(&self, booking_date: Option<NaiveDate>, faults: &mut Faults) {
        let on = booking_date.unwrap_or(self.today());
        refuse(faults, on > self.today(), "booking_date_in_future");
        match self.periods.values().find(|(from, to, _)| (*from..=*to).contains(&on)) {
            None => refuse(faults, true, "no_period"),
            Some((_, _, closed)) => refuse(faults, *closed, "period_closed"),
        }
    }

    /// The legs as they would be booked; `None` where an account is unknown.
    fn settle(&self, legs: &Legs) -> Option<Vec<Settled>> {
        match legs {
            Legs::Explicit(inputs) => {
                let known = inputs.iter().all(|input| self.accounts.contains_key(&input.account_id));
                let settled = |input: &LegInput| (input.account_id, input.side == Side::Debit, input.amount);
                known.then(|| inputs.iter().map(settled).collect())
            }
            Legs::Move { from, to, amount } => {
                let (source, target) = (self.accounts.get(from)?, self.accounts.get(to)?);
                // Only between two that grow by debits does the source give by a credit.
                let source_debited = !(source.grows_by_debits && target.grows_by_debits);
                Some(vec![(*from, source_debited, *amount), (*to, !source_debited, *amount)])
            }
        }
    }

    fn balance_faults(settled: &[Settled], faults: &mut Faults) {
        let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
        for (_, debit, amount) in settled {
            let minor = i128::from(amount.amount_minor);
            *sums.entry(amount.currency).or_default() += if *debit { minor } else { -minor };
        }
        refuse(faults, sums.values().any(|sum| *sum != 0), "unbalanced");
    }

    /// Whether the accounts take the legs; `finishing`: those of a transaction that was pending.
    fn taking_faults(&self, settled: &[Settled], kind: TransactionKind, finishing: bool, faults: &mut Faults) {
        let own = [TransactionKind::Fee, TransactionKind::Interest, TransactionKind::Adjustment].contains(&kind);
        for (id, debit, _) in settled {
            let account = &self.accounts[id];
            refuse(faults, account.gone && account.guarded, "account_closed");
            refuse(faults, account.gone && !account.guarded && !finishing, "account_retired");
            refuse(faults, if *debit { account.no_debits } else { account.no_credits }, "account_frozen");
            refuse(faults, *debit && account.dormant && !own, "account_dormant");
        }
    }

    /// Whether what is available stays at the minimum, or at least does not fall.
    fn limit_faults(&self, settled: &[Settled], only_what_lowers: bool, faults: &mut Faults) {
        let mut changes: BTreeMap<AccountId, i128> = BTreeMap::new();
        for (id, debit, amount) in settled {
            let account = &self.accounts[id];
            let lowers = account.lowers(if *debit { Side::Debit } else { Side::Credit });
            if account.guarded && (lowers || !only_what_lowers) {
                let minor = i128::from(amount.amount_minor);
                *changes.entry(*id).or_default() += if lowers { -minor } else { minor };
            }
        }
        for (id, change) in changes {
            let broken = change < 0 && self.available(id) + change < self.accounts[&id].minimum;
            refuse(faults, broken, "insufficient_funds");
        }
    }

    fn transaction_faults(&self, command: &TransactionCommand, faults: &mut Faults) {
        match command {
            TransactionCommand::PostTransaction {
                transaction_id,
                kind,
                booking_date,
                legs,
                external_reference,
                pending,
                ..
            } => {
                refuse(faults, self.transactions.contains_key(transaction_id), "id_taken");
                let taken = external_reference
                    .as_ref()
                    .is_some_and(|reference| self.taken.contains(&("reference", reference.to_string())));
                refuse(faults, taken, "external_reference_taken");
                self.date_faults(*booking_date, faults);
                let expiry = pending.and_then(|pending| pending.expires_at);
                refuse(faults, expiry.is_some_and(|until| until <= self.now), "expiry_not_in_future");
                self.leg_faults(legs, *kind, pending.is_some(), faults);
            }
            TransactionCommand::PostTransactions { transactions } => {
                let count: usize = transactions.iter().map(|new| new.legs.count()).sum();
                refuse(faults, !(1..=1_000).contains(&count), "leg_count_out_of_range");
                // Each on what those before it leave.
                let mut left = self.clone();
                for new in transactions {
                    let mut of_one = Faults::new();
                    let alone = TransactionCommand::from(new.clone());
                    left.transaction_faults(&alone, &mut of_one);
                    refuse(faults, !of_one.is_empty(), "transaction_refused");
                    if of_one.is_empty() {
                        left.carry_out_transaction(&alone);
                    }
                }
            }
            TransactionCommand::PostPending { transaction_id, legs, booking_date, .. } => {
                let Some(transaction) = self.pending_faults(*transaction_id, true, faults) else { return };
                self.date_faults(*booking_date, faults);
                let parts = Self::parts(transaction, legs.as_deref(), |leg| leg.pending, faults);
                Self::balance_faults(&parts, faults);
                // What was held is there to be posted: no limit can be in the way.
                self.taking_faults(&parts, transaction.kind, true, faults);
            }
            TransactionCommand::VoidPending { transaction_id, .. } => {
                self.pending_faults(*transaction_id, true, faults);
            }
            TransactionCommand::ExpirePending { transaction_id } => {
                let Some(transaction) = self.pending_faults(*transaction_id, false, faults) else { return };
                refuse(faults, transaction.until.is_none_or(|until| self.now < until), "not_expired");
            }
            TransactionCommand::ReverseTransaction { .. } => self.reversal_faults(command, faults),
        }
    }

    fn leg_faults(&self, legs: &Legs, kind: TransactionKind, pending: bool, faults: &mut Faults) {
        if let Legs::Explicit(inputs) = legs {
            refuse(faults, inputs.is_empty() || inputs.len() > 1_000, "leg_count_out_of_range");
        }
        if let Legs::Move { from, to, .. } = legs {
            refuse(faults, from == to, "same_account");
        }
        let amounts = match legs {
            Legs::Explicit(inputs) => inputs.iter().map(|input| (input.account_id, input.amount)).collect(),
            Legs::Move { from, to, amount } => vec![(*from, *amount), (*to, *amount)],
        };
        for (id, amount) in amounts {
            refuse(faults, !(1..=AMOUNT_MAX).contains(&amount.amount_minor), "amount_out_of_range");
            match self.accounts.get(&id) {
                None => refuse(faults, true, "account_not_found"),
                Some(account) => refuse(faults, account.currency != amount.currency, "currency_mismatch"),
            }
        }
        let Some(settled) = self.settle(legs) else { return };
        Self::balance_faults(&settled, faults);
        self.taking_faults(&settled, kind, false, faults);
        self.limit_faults(&settled, pending, faults);
    }

    fn pending_faults(&self, id: TransactionId, in_time: bool, faults: &mut Faults) -> Option<&MirrorTransaction> {
        let Some(transaction) = self.transactions.get(&id) else {
            faults.insert("transaction_not_found");
            return None;
        };
        refuse(faults, transaction.status != "pending", "not_pending");
        let late = transaction.until.is_some_and(|until| until <= self.now);
        refuse(faults, in_time && late, "pending_expired");
        Some(transaction)
    }

    /// The named parts of a transaction, or all that is left of each leg.
    fn parts(
        transaction: &MirrorTransaction,
        named: Option<&[LegAmount]>,
        left: impl Fn(&MirrorLeg) -> i128,
        faults: &mut Faults,
    ) -> Vec<Settled> {
        let Some(named) = named else {
            let legs = transaction.legs.iter().filter(|leg| left(leg) > 0);
            let all = |leg: &MirrorLeg| Money::new(i64::try_from(left(leg)).unwrap(), leg.currency);
            return legs.map(|leg| (leg.account, leg.debit, all(leg))).collect();
        };
        refuse(faults, named.is_empty() || named.len() > 1_000, "leg_count_out_of_range");
        let distinct: BTreeSet<_> = named.iter().map(|part| part.leg).collect();
        refuse(faults, distinct.len() < named.len(), "leg_repeated");
        let mut parts = Vec::new();
        for part in named {
            let Some(leg) = usize::from(part.leg).checked_sub(1).and_then(|at| transaction.legs.get(at)) else {
                faults.insert("leg_not_found");
                continue;
            };
            refuse(faults, leg.currency != part.amount.currency, "currency_mismatch");
            refuse(faults, !(1..=AMOUNT_MAX).contains(&part.amount.amount_minor), "amount_out_of_range");
            refuse(faults, i128::from(part.amount.amount_minor) > left(leg), "leg_amount_exceeded");
            parts.push((leg.account, leg.debit, part.amount));
        }
        parts
    }

    /// The legs of a reversal: opposite sides, and suspense for accounts that are gone.
    fn undoing(&self, parts: Vec<Settled>, suspense: Option<AccountId>) -> Vec<Settled> {
        let stands_in = |id: AccountId| suspense.filter(|_| self.accounts[&id].gone).unwrap_or(id);
        parts.into_iter().map(|(id, debit, amount)| (stands_in(id), !debit, amount)).collect()
    }

    fn reversal_faults(&self, command: &TransactionCommand, faults: &mut Faults) {
        let TransactionCommand::ReverseTransaction {
            transaction_id,
            original_id,
            legs,
            suspense_account_id,
            booking_date,
            ..
        } = command
        else {
            return;
        };
        refuse(faults, self.transactions.contains_key(transaction_id), "id_taken");
        self.date_faults(*booking_date, faults);
        let Some(original) = self.transactions.get(original_id) else {
            return refuse(faults, true, "transaction_not_found");
        };
        refuse(faults, original.undoes, "reversal_not_reversible");
        let parts = Self::parts(original, legs.as_deref(), |leg| leg.posted - leg.reversed, faults);
        refuse(faults, legs.is_none() && parts.is_empty(), "nothing_to_reverse");
        Self::balance_faults(&parts, faults);
        let through_suspense = parts.iter().any(|(id, ..)| self.accounts[id].gone);
        if let Some(suspense) = suspense_account_id.filter(|_| through_suspense) {
            let Some(account) = self.accounts.get(&suspense) else {
                return refuse(faults, true, "account_not_found");
            };
            refuse(faults, account.guarded, "suspense_not_internal");
            let mut gone = parts.iter().filter(|(id, ..)| self.accounts[id].gone);
            refuse(faults, gone.any(|(.., amount)| amount.currency != account.currency), "currency_mismatch");
        }
        let undoing = self.undoing(parts, *suspense_account_id);
        self.taking_faults(&undoing, original.kind, false, faults);
        self.limit_faults(&undoing, false, faults);
    }

    fn ledger_faults(&self, command: &LedgerCommand, faults: &mut Faults) {
        match command {
            LedgerCommand::DefineCurrency { currency } => {
                refuse(faults, self.currencies.contains(currency), "currency_exists");
            }
            LedgerCommand::DefineLedgerCode { ledger_code, .. } => {
                refuse(faults, self.codes.contains_key(ledger_code), "ledger_code_exists");
            }
            LedgerCommand::OpenPeriod { period, from, to } => {
                refuse(faults, self.periods.contains_key(period), "period_exists");
                refuse(faults, to < from, "period_ends_before_start");
                let overlaps = self.periods.values().any(|(first, last, _)| from <= last && first <= to);
                refuse(faults, overlaps, "period_overlaps");
            }
            LedgerCommand::ClosePeriod { period } => match self.periods.get(period) {
                None => refuse(faults, true, "period_not_found"),
                Some((_, _, closed)) => refuse(faults, *closed, "period_closed"),
            },
        }
    }

    /// Carries out a command that has no faults.
    pub(crate) fn carry_out(&mut self, command: &Command) {
        match command {
            Command::Member(command) => self.carry_out_member(command),
            Command::Account(command) => self.carry_out_account(command),
            Command::Transaction(command) => self.carry_out_transaction(command),
            Command::Ledger(command) => self.carry_out_ledger(command),
            Command::LoanProduct(_) | Command::Loan(_) | Command::Saga(_) => panic!("this mirror has no loans"),
        }
    }

    fn carry_out_member(&mut self, command: &MemberCommand) {
        let id = command.target();
        if let MemberCommand::RegisterMember { number, .. } = command {
            self.members.insert(id, MirrorMember { kyc: "pending", status: "active" });
            self.taken.insert(("member", number.to_string()));
            return;
        }
        let member = self.members.get_mut(&id).unwrap();
        match command {
            MemberCommand::RegisterMember { .. } => {}
            MemberCommand::VerifyKyc { .. } => member.kyc = "verified",
            MemberCommand::RejectKyc { .. } => member.kyc = "rejected",
            MemberCommand::SuspendMember { .. } => member.status = "suspended",
            MemberCommand::DeactivateMember { .. } => member.status = "inactive",
            MemberCommand::ReactivateMember { .. } => member.status = "active",
        }
    }

    fn carry_out_account(&mut self, command: &AccountCommand) {
        let id = command.target();
        if let AccountCommand::OpenAccount {
            number, product, holders, currency, ledger_code, minimum_balance, ..
        } = command
        {
            let class = self.codes[ledger_code].0;
            let account = MirrorAccount {
                guarded: *product != Product::Internal,
                currency: *currency,
                grows_by_debits: matches!(class, LedgerClass::Asset | LedgerClass::Expense),
                net_debits: 0,
                minimum: minimum_balance.map_or(0, |money| money.amount_minor.into()),
                holders: holders.iter().map(|holder| (holder.member_id, holder.role == HolderRole::Owner)).collect(),
                gone: false,
                no_debits: false,
                no_credits: false,
                dormant: false,
            };
            self.accounts.insert(id, account);
            self.taken.insert(("account", number.to_string()));
            return;
        }
        let account = self.accounts.get_mut(&id).unwrap();
        let mut set = |scope: FreezeScope, frozen: bool| {
            if scope != FreezeScope::Credit {
                account.no_debits = frozen;
            }
            if scope != FreezeScope::Debit {
                account.no_credits = frozen;
            }
        };
        match command {
            AccountCommand::OpenAccount { .. } => {}
            AccountCommand::FreezeAccount { scope, .. } => set(*scope, true),
            AccountCommand::UnfreezeAccount { scope, .. } => set(*scope, false),
            AccountCommand::AddHolder { holder, .. } => {
                account.holders.insert(holder.member_id, holder.role == HolderRole::Owner);
            }
            AccountCommand::RemoveHolder { member_id, .. } => {
                account.holders.remove(member_id);
            }
            AccountCommand::ChangeLimit { minimum_balance, .. } => {
                account.minimum = minimum_balance.amount_minor.into()
            }
            AccountCommand::MarkAccountDormant { .. } => account.dormant = true,
            AccountCommand::ReactivateAccount { .. } => account.dormant = false,
            AccountCommand::CloseAccount { .. } => account.gone = true,
        }
    }

    fn book(&mut self, settled: &[Settled]) {
        for (id, debit, amount) in settled {
            let minor = i128::from(amount.amount_minor);
            self.accounts.get_mut(id).unwrap().net_debits += if *debit { minor } else { -minor };
        }
    }

    fn carry_out_transaction(&mut self, command: &TransactionCommand) {
        match command {
            TransactionCommand::PostTransaction { transaction_id, kind, legs, external_reference, pending, .. } => {
                let settled = self.settle(legs).unwrap();
                let until = pending.and_then(|pending| pending.expires_at);
                if pending.is_none() {
                    self.book(&settled);
                }
                let status = if pending.is_some() { "pending" } else { "posted" };
                self.record(*transaction_id, *kind, &settled, status, until, false);
                let reference = external_reference.iter().map(|reference| ("reference", reference.to_string()));
                self.taken.extend(reference);
            }
            TransactionCommand::PostTransactions { transactions } => {
                transactions.iter().for_each(|new| self.carry_out_transaction(&new.clone().into()));
            }
            TransactionCommand::PostPending { transaction_id, legs, is_final, .. } => {
                let transaction = self.transactions[transaction_id].clone();
                let parts = Self::parts(&transaction, legs.as_deref(), |leg| leg.pending, &mut Faults::new());
                self.book(&parts);
                let transaction = self.transactions.get_mut(transaction_id).unwrap();
                for (leg, amount) in shares(legs.as_deref(), &mut transaction.legs, |leg| leg.pending) {
                    leg.pending -= amount;
                    leg.posted += amount;
                }
                if *is_final || transaction.legs.iter().all(|leg| leg.pending == 0) {
                    end(transaction, "posted");
                }
            }
            TransactionCommand::VoidPending { transaction_id, .. } => {
                end(self.transactions.get_mut(transaction_id).unwrap(), "voided");
            }
            TransactionCommand::ExpirePending { transaction_id } => {
                end(self.transactions.get_mut(transaction_id).unwrap(), "expired");
            }
            TransactionCommand::ReverseTransaction {
                transaction_id, original_id, legs, suspense_account_id, ..
            } => {
                let original = self.transactions[original_id].clone();
                let left = |leg: &MirrorLeg| leg.posted - leg.reversed;
                let parts = Self::parts(&original, legs.as_deref(), left, &mut Faults::new());
                let undoing = self.undoing(parts, *suspense_account_id);
                self.book(&undoing);
                self.record(*transaction_id, original.kind, &undoing, "posted", None, true);
                let original = self.transactions.get_mut(original_id).unwrap();
                for (leg, amount) in shares(legs.as_deref(), &mut original.legs, left) {
                    leg.reversed += amount;
                }
            }
        }
    }

    fn record(
        &mut self,
        id: TransactionId,
        kind: TransactionKind,
        settled: &[Settled],
        status: &'static str,
        until: Option<DateTime<Utc>>,
        undoes: bool,
    ) {
        let leg = |(account, debit, amount): &Settled| {
            let minor = i128::from(amount.amount_minor);
            let (pending, posted) = if status == "pending" { (minor, 0) } else { (0, minor) };
            MirrorLeg { account: *account, debit: *debit, currency: amount.currency, pending, posted, reversed: 0 }
        };
        let legs = settled.iter().map(leg).collect();
        self.transactions.insert(id, MirrorTransaction { kind, legs, status, until, undoes });
    }

    fn carry_out_ledger(&mut self, command: &LedgerCommand) {
        match command {
            LedgerCommand::DefineCurrency { currency } => {
                self.currencies.insert(*currency);
            }
            LedgerCommand::DefineLedgerCode { ledger_code, class, control, .. } => {
                self.codes.insert(ledger_code.clone(), (*class, *control));
            }
            LedgerCommand::OpenPeriod { period, from, to } => {
                self.periods.insert(period.clone(), (*from, *to, false));
            }
            LedgerCommand::ClosePeriod { period } => self.periods.get_mut(period).unwrap().2 = true,
        }
    }
}

/// The legs meant, each with the amount meant.
fn shares<'a>(
    named: Option<&[LegAmount]>,
    legs: &'a mut [MirrorLeg],
    left: impl Fn(&MirrorLeg) -> i128,
) -> Vec<(&'a mut MirrorLeg, i128)> {
    let meant = |at: usize, leg: &MirrorLeg| match named {
        None => Some(left(leg)),
        Some(named) => {
            let part = named.iter().find(|part| usize::from(part.leg) == at + 1)?;
            Some(i128::from(part.amount.amount_minor))
        }
    };
    legs.iter_mut().enumerate().filter_map(|(at, leg)| meant(at, leg).map(|amount| (leg, amount))).collect()
}

fn end(transaction: &mut MirrorTransaction, status: &'static str) {
    transaction.status = status;
    for leg in &mut transaction.legs {
        leg.pending = 0;
    }
}
