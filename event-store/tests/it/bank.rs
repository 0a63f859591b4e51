//! A small bank to test with: a chart of accounts, cash, members' accounts with money on them.

use domain::account::{AccountCommand, Holder, HolderRole, Product};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::member::{MemberCommand, MemberKind};
use domain::transaction::{Legs, TransactionCommand, TransactionKind};
use domain::words::{LedgerCode, Number, PeriodId, Title};
use domain::{AccountId, Command, Currency, MemberId, Money, TransactionId};
use event_store::{Accepted, Outcome, Reply, Store, StoreConfig, Submission, SubmitError};
use test_place::Place;
use uuid::Uuid;

pub(crate) struct Bank {
    pub(crate) place: Place,
    pub(crate) store: Store,
    pub(crate) cash: AccountId,
    pub(crate) accounts: Vec<AccountId>,
}

pub(crate) fn config(place: &Place) -> StoreConfig {
    let mut master_key = [0; 32];
    hex::decode_to_slice(place.get("DAYBOOK_MASTER_KEY"), &mut master_key).unwrap();
    StoreConfig::new(
        place.get("DAYBOOK_LOG_WRITER_URL"),
        place.get("DAYBOOK_KEYS_URL"),
        master_key,
        "test",
        "Europe/Prague",
    )
}

pub(crate) fn czk() -> Currency {
    "CZK".parse().unwrap()
}

pub(crate) fn money(amount_minor: i64) -> Money {
    Money::new(amount_minor, czk())
}

/// A submission under a key; the HMAC stands for the request's content.
pub(crate) fn keyed(command: Command, key: &str, content: u8) -> Submission {
    Submission {
        command,
        command_id: Uuid::now_v7(),
        client: "test".into(),
        idempotency_key: key.into(),
        request_hmac: [content; 32],
        target_is_new: false,
        expected_version: None,
        actor: "tester".into(),
        branch: None,
        correlation_id: key.into(),
        traceparent: None,
    }
}

pub(crate) fn submission(command: Command) -> Submission {
    keyed(command, &Uuid::now_v7().to_string(), 1)
}

pub(crate) fn transfer(from: AccountId, to: AccountId, amount_minor: i64) -> Command {
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

pub(crate) fn accepted(reply: Result<Reply, SubmitError>) -> Accepted {
    match reply.unwrap().outcome {
        Outcome::Accepted(accepted) => accepted,
        Outcome::Rejected(rejected) => panic!("rejected: {}", rejected.rejection),
    }
}

pub(crate) fn rejection_code(reply: Result<Reply, SubmitError>) -> &'static str {
    match reply.unwrap().outcome {
        Outcome::Accepted(accepted) => panic!("accepted: {accepted:?}"),
        Outcome::Rejected(rejected) => rejected.rejection.code(),
    }
}

impl Bank {
    /// A bank with so many accounts, each with 1,000.00 on it.
    pub(crate) async fn open(name: &str, accounts: usize) -> Bank {
        let place = Place::fresh(name).await.unwrap();
        let store = Store::start(config(&place)).await.unwrap();
        Self::at(place, store, accounts).await
    }

    /// The same at a place.
    pub(crate) async fn at(place: Place, store: Store, accounts: usize) -> Bank {
        let mut bank = Bank { place, store, cash: AccountId(Uuid::now_v7()), accounts: Vec::new() };
        bank.found(accounts).await;
        bank
    }

    async fn found(&mut self, accounts: usize) {
        let code = |code: &str| LedgerCode::try_new(code).unwrap();
        let today = chrono::Utc::now().date_naive();
        let define = |ledger_code, name: &str, class, control| {
            Command::Ledger(LedgerCommand::DefineLedgerCode {
                ledger_code,
                name: Title::try_new(name).unwrap(),
                class,
                control,
            })
        };
        let member_id = MemberId(Uuid::now_v7());
        let mut commands = vec![
            Command::Ledger(LedgerCommand::DefineCurrency { currency: czk() }),
            define(code("1000"), "Cash", LedgerClass::Asset, false),
            define(code("2100"), "Members", LedgerClass::Liability, true),
            Command::Ledger(LedgerCommand::OpenPeriod {
                period: PeriodId::try_new("now").unwrap(),
                from: today - chrono::Days::new(40),
                to: today + chrono::Days::new(40),
            }),
            Command::Member(MemberCommand::RegisterMember {
                member_id,
                number: Number::try_new("M1").unwrap(),
                kind: MemberKind::Person,
                personal: Default::default(),
                branch: None,
            }),
            Command::Member(MemberCommand::VerifyKyc { member_id }),
            self.open_account(self.cash, "CASH", Product::Internal, vec![], code("1000")),
        ];
        for number in 0..accounts {
            let account_id = AccountId(Uuid::now_v7());
            let holder = Holder { member_id, role: HolderRole::Owner };
            let number = format!("A{number}");
            commands.push(self.open_account(account_id, &number, Product::Current, vec![holder], code("2100")));
            self.accounts.push(account_id);
        }
        for account_id in &self.accounts {
            commands.push(transfer(self.cash, *account_id, 100_000));
        }
        // Those that follow need nothing of each other but what came before.
        let rest = commands.split_off(6 + accounts.min(1));
        for command in commands {
            accepted(self.store.submit(submission(command)).await);
        }
        let at_once = rest.into_iter().map(|command| self.store.submit(submission(command)));
        for reply in futures::future::join_all(at_once).await {
            accepted(reply);
        }
    }

    fn open_account(
        &self,
        account_id: AccountId,
        number: &str,
        product: Product,
        holders: Vec<Holder>,
        ledger_code: LedgerCode,
    ) -> Command {
        Command::Account(AccountCommand::OpenAccount {
            account_id,
            number: Number::try_new(number).unwrap(),
            name: None,
            product,
            holders,
            currency: czk(),
            ledger_code,
            minimum_balance: None,
            branch: None,
            opened_on: None,
        })
    }

    pub(crate) async fn send(&self, command: Command) -> Result<Reply, SubmitError> {
        self.store.submit(submission(command)).await
    }

    /// The walk of an auditor; the log must be whole.
    pub(crate) async fn verify(&self) -> event_store::verify::Verified {
        event_store::verify::verify(self.store.reader(), |_, _| ()).await.unwrap()
    }

    pub(crate) async fn close(self) {
        self.store.shutdown().await;
        self.place.discard().await.unwrap();
    }
}
