//! An institution that lends: a log of its own, a bank at which it has its money, runners of sagas.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::account::{AccountCommand, FreezeScope};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::loan::{LoanCommand, LoanStatus};
use domain::member::MemberCommand;
use domain::product::LoanAccounts;
use domain::rejection::Rejection;
use domain::saga::{Process, Resolution, SagaCommand, SagaStatus};
use domain::transaction::TransactionEvent;
use domain::words::{ExternalReference, ReasonCode};
use domain::{
    AccountId, Command, Event, Loan, LoanId, LoanProductId, MemberId, Saga, SagaId, Side, StreamKind, Transaction,
    TransactionId,
};
use event_store::{Accepted, Outcome, Store, StoreConfig, Submission};
use sagas::Runner;
use sagas::work::Open;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use test_place::Place;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::desk::{
    approve, czk, define_code, define_product, money, moved, number, open_account, open_period, register,
};
use crate::simulator::OtherBank;

/// The longest that a test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long a runner's port waits for the bank.
pub(crate) const PORT_TIMEOUT_MS: u32 = 600;

pub(crate) struct House {
    place: Place,
    pub(crate) store: Store,
    pub(crate) other_bank: OtherBank,
    pub(crate) member: MemberId,
    /// The member's account that loans are paid out into.
    pub(crate) current: AccountId,
    /// The member's account for collections and surplus; empty.
    pub(crate) settlement: AccountId,
    pub(crate) cash: AccountId,
    /// Our account at the other bank, in our books.
    pub(crate) nostro: AccountId,
    pub(crate) suspense: AccountId,
    pub(crate) accounts: LoanAccounts,
    /// A product whose loans are collected, and one whose are not.
    pub(crate) collected: LoanProductId,
    pub(crate) plain: LoanProductId,
}

/// A runner at work.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As a kill does it: nothing is finished, nothing is given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// What a loan is asked for with, if not the usual.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) product: Option<LoanProductId>,
    pub(crate) principal_minor: i64,
    pub(crate) rate: &'static str,
    pub(crate) instalments: u16,
    pub(crate) settlement: Option<AccountId>,
}

impl Default for Asked {
    /// 1,000.00 at 0 % in two instalments, without a settlement account.
    fn default() -> Self {
        Self { product: None, principal_minor: 100_000, rate: "0", instalments: 2, settlement: None }
    }
}

pub(crate) fn today() -> NaiveDate {
    Utc::now().date_naive()
}

pub(crate) fn days_ago(days: u64) -> NaiveDate {
    today() - Days::new(days)
}

impl House {
    /// With a period from long ago until long from now.
    pub(crate) async fn open(name: &str) -> House {
        let house = Self::found(name).await;
        house.ok(open_period("all", days_ago(900), today() + Days::new(900))).await;
        house
    }

    /// Without any period.
    pub(crate) async fn found(name: &str) -> House {
        let admin_url = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL; `make test` sets it");
        let place = Place::on(&admin_url, None, name, 1).await.unwrap();
        let id = || AccountId(Uuid::now_v7());
        let accounts = LoanAccounts {
            portfolio_account_id: id(),
            interest_receivable_account_id: id(),
            charges_receivable_account_id: id(),
            interest_income_account_id: id(),
            fee_income_account_id: id(),
            penalty_income_account_id: id(),
            write_off_account_id: id(),
        };
        let house = House {
            store: store(&place).await,
            place,
            other_bank: OtherBank::open().await,
            member: MemberId(Uuid::now_v7()),
            current: id(),
            settlement: id(),
            cash: id(),
            nostro: id(),
            suspense: id(),
            accounts,
            collected: LoanProductId(Uuid::now_v7()),
            plain: LoanProductId(Uuid::now_v7()),
        };
        house.lay_foundations().await;
        house
    }

    async fn lay_foundations(&self) {
        let internal = [
            ("1000", LedgerClass::Asset, self.cash),
            ("1100", LedgerClass::Asset, self.nostro),
            ("1200", LedgerClass::Asset, self.accounts.portfolio_account_id),
            ("1210", LedgerClass::Asset, self.accounts.interest_receivable_account_id),
            ("1220", LedgerClass::Asset, self.accounts.charges_receivable_account_id),
            ("2900", LedgerClass::Liability, self.suspense),
            ("4200", LedgerClass::Income, self.accounts.interest_income_account_id),
            ("4210", LedgerClass::Income, self.accounts.fee_income_account_id),
            ("4220", LedgerClass::Income, self.accounts.penalty_income_account_id),
            ("5100", LedgerClass::Expense, self.accounts.write_off_account_id),
        ];
        let mut commands = vec![
            Command::Ledger(LedgerCommand::DefineCurrency { currency: czk() }),
            define_code("2100", LedgerClass::Liability, true),
            register(self.member, "M1"),
            Command::Member(MemberCommand::VerifyKyc { member_id: self.member }),
            open_account(self.current, "2100", "A1", Some(self.member)),
            open_account(self.settlement, "2100", "A2", Some(self.member)),
        ];
        for (code, class, account_id) in internal {
            commands.push(define_code(code, class, false));
            commands.push(open_account(account_id, code, &format!("I{code}"), None));
        }
        commands.push(define_product(self.plain, "PLAIN", self.accounts, false));
        commands.push(define_product(self.collected, "COLLECTED", self.accounts, true));
        self.store.sealing().create_key(self.member).await.unwrap();
        for command in commands {
            self.ok(command).await;
        }
    }

    /// Another process's door to the same log.
    pub(crate) async fn another_store(&self) -> Store {
        store(&self.place).await
    }

    pub(crate) async fn close(mut self) {
        self.store.shutdown().await;
        self.other_bank.stop().await;
        self.place.discard().await.unwrap();
    }

    pub(crate) fn runner(&self) -> Running {
        self.runner_on(self.store.clone())
    }

    pub(crate) fn runner_on(&self, store: Store) -> Running {
        self.start(store, PORT_TIMEOUT_MS)
    }

    /// One that waits for the bank for so long.
    pub(crate) fn patient_runner(&self, timeout_ms: u32) -> Running {
        self.start(self.store.clone(), timeout_ms)
    }

    fn start(&self, store: Store, timeout_ms: u32) -> Running {
        let stop = CancellationToken::new();
        let runner = Runner::new(store, self.other_bank.port(timeout_ms), chrono_tz::UTC);
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { runner.run(stop).await }
        });
        Running { stop, task }
    }

    pub(crate) async fn send(&self, command: Command) -> Result<Accepted, Rejection> {
        let key = Uuid::now_v7().to_string();
        let submission = Submission {
            command,
            command_id: Uuid::now_v7(),
            client: "test".into(),
            idempotency_key: key.clone(),
            request_hmac: [1; 32],
            target_is_new: false,
            expected_version: None,
            actor: "tester".into(),
            branch: None,
            correlation_id: key,
            traceparent: None,
        };
        match self.store.submit(submission).await.unwrap().outcome {
            Outcome::Accepted(accepted) => Ok(accepted),
            Outcome::Rejected(rejected) => Err(rejected.rejection),
        }
    }

    pub(crate) async fn ok(&self, command: Command) -> Accepted {
        let told = format!("{command:?}");
        self.send(command).await.unwrap_or_else(|rejection| panic!("{told}: {rejection}"))
    }

    pub(crate) async fn approved(&self, loan_number: &str, asked: Asked) -> LoanId {
        let loan_id = LoanId(Uuid::now_v7());
        self.ok(Command::Loan(LoanCommand::ApplyForLoan {
            loan_id,
            number: number(loan_number),
            member_id: self.member,
            product_id: asked.product.unwrap_or(self.plain),
            principal: money(asked.principal_minor),
            annual_rate: Some(asked.rate.parse().unwrap()),
            instalments: asked.instalments,
            settlement_account_id: asked.settlement,
            purpose: None,
            branch: None,
            applied_on: None,
        }))
        .await;
        self.ok(approve(loan_id)).await;
        loan_id
    }

    /// The command that holds the money for a payout to that account at the other bank.
    pub(crate) async fn payout(&self, loan_id: LoanId, account_number: &str) -> LoanCommand {
        let plain = format!(r#"{{"account_number":"{account_number}","bank_code":"YZ"}}"#);
        let field = sagas::destination_field(loan_id);
        LoanCommand::StartDisbursement {
            loan_id,
            transaction_id: TransactionId(Uuid::now_v7()),
            funding_account_id: self.nostro,
            destination: self.store.sealing().seal_field(self.member, &field, &plain).await.unwrap(),
            booking_date: None,
            disbursed_on: None,
            first_due_on: None,
        }
    }

    /// A loan on its way to that account at the other bank, and the saga that takes it there.
    pub(crate) async fn disbursing(&self, loan_number: &str, account_number: &str) -> (LoanId, SagaId) {
        let loan_id = self.approved(loan_number, Asked::default()).await;
        (loan_id, self.start_payout(loan_id, account_number).await)
    }

    pub(crate) async fn start_payout(&self, loan_id: LoanId, account_number: &str) -> SagaId {
        self.ok(Command::Loan(self.payout(loan_id, account_number).await)).await;
        SagaId::of_disbursement(loan_id, self.loan(loan_id).await.disbursement_attempts)
    }

    /// A loan paid out into the member's account on that day, first due on that one.
    pub(crate) async fn active(
        &self,
        loan_number: &str,
        asked: Asked,
        on: NaiveDate,
        first_due_on: NaiveDate,
    ) -> LoanId {
        let loan_id = self.approved(loan_number, asked).await;
        self.ok(Command::Loan(LoanCommand::DisburseLoan {
            loan_id,
            transaction_id: TransactionId(Uuid::now_v7()),
            to_account_id: self.current,
            booking_date: Some(on),
            disbursed_on: Some(on),
            first_due_on: Some(first_due_on),
        }))
        .await;
        loan_id
    }

    /// A customer of another bank pays us, and we hear of it.
    pub(crate) async fn pays_us(&self, amount_minor: i64, loan_number: Option<&str>) -> SagaId {
        let bank_reference = self.other_bank.pays_us(amount_minor, loan_number.unwrap_or("thank you")).await;
        self.ok(self.receive(amount_minor, loan_number, bank_reference.clone())).await;
        SagaId::of_incoming_payment(&bank_reference)
    }

    pub(crate) fn receive(
        &self,
        amount_minor: i64,
        loan_number: Option<&str>,
        bank_reference: ExternalReference,
    ) -> Command {
        Command::Saga(SagaCommand::ReceivePayment {
            saga_id: SagaId::of_incoming_payment(&bank_reference),
            transaction_id: TransactionId::of_incoming_payment(&bank_reference),
            bank_account_id: self.nostro,
            suspense_account_id: self.suspense,
            amount: money(amount_minor),
            bank_reference,
            loan_number: loan_number.map(number),
            booking_date: None,
            value_date: None,
        })
    }

    pub(crate) async fn resume(&self, saga_id: SagaId, resolution: Option<Resolution>) -> Result<Accepted, Rejection> {
        self.send(Command::Saga(SagaCommand::ResumeSaga { saga_id, resolution })).await
    }

    pub(crate) async fn abandon(&self, saga_id: SagaId) -> Result<Accepted, Rejection> {
        let reason = ReasonCode::try_new("customer_withdrew").unwrap();
        self.send(Command::Saga(SagaCommand::AbandonSaga { saga_id, reason })).await
    }

    /// Money on the member's settlement account, from cash.
    pub(crate) async fn deposit(&self, amount_minor: i64) {
        self.ok(moved(self.cash, self.settlement, amount_minor)).await;
    }

    /// What the bank has sent back for a saga, under whichever of its orders.
    pub(crate) async fn sent_back(&self, saga_id: SagaId) -> Vec<i64> {
        let orders: Vec<Uuid> =
            (0..20).map(|entry| domain::ids::derived(saga_id.0, &format!("return/{entry}"))).collect();
        let statement = self.other_bank.statement().await;
        statement.into_iter().filter(|(of, _)| orders.contains(of)).map(|(_, amount)| amount).collect()
    }

    pub(crate) async fn freeze(&self, account_id: AccountId) {
        let reason = ReasonCode::try_new("court_order").unwrap();
        self.ok(Command::Account(AccountCommand::FreezeAccount { account_id, scope: FreezeScope::Both, reason })).await;
    }

    /// The saga as the table of work has it.
    pub(crate) async fn work(&self, saga_id: SagaId) -> Option<Open> {
        let open = sagas::work::open(self.pool(), None, 10_000).await.unwrap();
        open.into_iter().find(|open| open.saga_id == saga_id)
    }

    /// When the table of work says that the saga is due, once that is what it should be.
    pub(crate) async fn due_at(&self, saga_id: SagaId, wanted: DateTime<Utc>) -> DateTime<Utc> {
        let began = Instant::now();
        loop {
            let due_at = self.work(saga_id).await.and_then(|work| work.due_at);
            if due_at == Some(wanted) || began.elapsed() > DEADLINE {
                return due_at.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets nobody into a database of this place, and throws out who is in; or lets them in again.
    pub(crate) async fn lock_out(&self, database: &str, locked: bool) {
        let name = format!("{}_{database}", self.place.prefix);
        let mut admin = PgConnection::connect(self.place.admin_url().expose()).await.unwrap();
        let allow = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS {}", !locked);
        admin.execute(allow.as_str()).await.unwrap();
        let throw_out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        if locked {
            sqlx::query(throw_out).bind(&name).execute(&mut admin).await.unwrap();
        }
    }

    /// Every saga may be taken by any runner now, as if all leases had run out; what failed on our
    /// side is tried again.
    pub(crate) async fn break_leases(&self) {
        let sql = "UPDATE saga_work SET leased_until = now() - interval '1 second', \
                   due_at = CASE WHEN failures > 0 THEN now() ELSE due_at END";
        sqlx::query(sql).execute(self.pool()).await.unwrap();
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.store.reader().pool()
    }

    pub(crate) async fn events_of(&self, stream: domain::StreamId) -> Vec<Event> {
        self.store.reader().events_of(stream).await.unwrap()
    }

    /// Default where there is none.
    pub(crate) async fn saga(&self, saga_id: SagaId) -> Saga {
        let mut saga = Saga::default();
        for event in self.events_of(saga_id.stream()).await {
            let Event::Saga(event) = event else { panic!("{event:?}") };
            saga.fold(&event);
        }
        saga
    }

    pub(crate) async fn loan(&self, loan_id: LoanId) -> Loan {
        let mut loan = Loan::default();
        for event in self.events_of(loan_id.stream()).await {
            let Event::Loan(event) = event else { panic!("{event:?}") };
            loan.fold(&event);
        }
        loan
    }

    /// What a saga has come to: its status, and its code where it has one.
    pub(crate) async fn state(&self, saga_id: SagaId) -> (SagaStatus, String) {
        let saga = self.saga(saga_id).await;
        (saga.status, saga.code.map(|code| code.as_str().to_owned()).unwrap_or_default())
    }

    /// Waits until the saga is as wanted, without letting it wait for its timers.
    pub(crate) async fn until(&self, saga_id: SagaId, what: &str, wanted: impl Fn(&Saga) -> bool) -> Saga {
        let began = Instant::now();
        loop {
            let saga = self.saga(saga_id).await;
            if wanted(&saga) {
                return saga;
            }
            if began.elapsed() > DEADLINE {
                panic!("waited {DEADLINE:?} for {what}: {saga:?} {:?}", self.work(saga_id).await);
            }
            self.hasten(saga_id, &saga).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A saga that waits for a time is let go on at once.
    async fn hasten(&self, saga_id: SagaId, saga: &Saga) {
        let collects = matches!(saga.process, Some(Process::Collection { .. }));
        let rests = saga.status.has_ended() || saga.status == SagaStatus::Parked;
        if !collects && !rests && saga.wake_at.is_some_and(|at| at > Utc::now() + Duration::from_millis(100)) {
            let _ = self.resume(saga_id, None).await;
        }
    }

    /// Waits until the saga is over or waits for a person.
    pub(crate) async fn comes_to(&self, saga_id: SagaId) -> (SagaStatus, String) {
        self.until(saga_id, "the saga to come to rest", |saga| {
            saga.process.is_some() && (saga.status.has_ended() || saga.status == SagaStatus::Parked)
        })
        .await;
        self.state(saga_id).await
    }

    /// What is posted on an account, in minor units: debits are positive.
    pub(crate) async fn posted_minor(&self, account_id: AccountId) -> i64 {
        self.books().await.posted.get(&account_id).copied().unwrap_or(0)
    }

    /// All of the log, added up.
    pub(crate) async fn books(&self) -> Books {
        let mut books = Books::default();
        let mut after = 0;
        loop {
            let page = self.store.reader().events_after(after, 1_000).await.unwrap();
            let Some(last) = page.last() else { return books };
            after = last.position;
            for recorded in &page {
                books.add(recorded.stream.kind, recorded.stream.id, &recorded.event().unwrap());
            }
        }
    }

    /// What must hold whenever no saga is on its way: the log is whole, our account at the other
    /// bank is what that bank says, the portfolio is what loans owe, and nothing is held for nothing.
    pub(crate) async fn check(&self) -> Books {
        event_store::verify::verify(self.store.reader(), |_, _| ()).await.unwrap();
        let books = self.books().await;
        let posted = |account_id: AccountId| books.posted.get(&account_id).copied().unwrap_or(0);
        assert_eq!(books.posted.values().sum::<i64>(), 0, "the trial balance");
        assert_eq!(posted(self.nostro), self.other_bank.balance_minor().await, "our books and the other bank's");
        let owed = |of: fn(&Loan) -> i64| books.loans.values().map(of).sum::<i64>();
        assert_eq!(posted(self.accounts.portfolio_account_id), owed(|loan| loan.outstanding().principal_minor));
        assert_eq!(posted(self.accounts.interest_receivable_account_id), owed(Loan::interest_receivable_minor));
        let disbursing: i64 = books
            .loans
            .values()
            .filter(|loan| loan.status == LoanStatus::Disbursing)
            .map(|loan| loan.principal_minor)
            .sum();
        assert_eq!(books.held_minor(self.nostro), -disbursing, "what is held is on its way");
        books
    }
}

async fn store(place: &Place) -> Store {
    let config = place.config().unwrap();
    let master_key = config.master_key().unwrap();
    let config = StoreConfig::new(
        place.get("DAYBOOK_LOG_WRITER_URL"),
        place.get("DAYBOOK_KEYS_URL"),
        *master_key.expose(),
        "main",
        "UTC",
    );
    Store::start(config).await.unwrap()
}

/// Sums over the whole log.
#[derive(Default)]
pub(crate) struct Books {
    /// By account, debits positive, in minor units.
    pub(crate) posted: BTreeMap<AccountId, i64>,
    pub(crate) loans: HashMap<LoanId, Loan>,
    pub(crate) sagas: HashMap<SagaId, Saga>,
    transactions: HashMap<TransactionId, Transaction>,
}

impl Books {
    fn add(&mut self, kind: StreamKind, id: Uuid, event: &Event) {
        match event {
            Event::Loan(event) => self.loans.entry(LoanId(id)).or_default().fold(event),
            Event::Saga(event) => self.sagas.entry(SagaId(id)).or_default().fold(event),
            Event::Transaction(event) => {
                assert_eq!(kind, StreamKind::Transaction);
                if let TransactionEvent::TransactionPosted { legs, .. } | TransactionEvent::PendingPosted { legs, .. } =
                    event
                {
                    for leg in legs {
                        *self.posted.entry(leg.account_id).or_default() += signed(leg.side, leg.amount_minor);
                    }
                }
                self.transactions.entry(TransactionId(id)).or_default().fold(event);
            }
            _ => {}
        }
    }

    /// What is pending on an account, in minor units: debits are positive.
    fn held_minor(&self, account_id: AccountId) -> i64 {
        let legs = self.transactions.values().flat_map(|transaction| &transaction.legs);
        legs.filter(|leg| leg.account_id == account_id).map(|leg| signed(leg.side, leg.pending_minor)).sum()
    }

    /// Sagas that are neither over nor wait for a person.
    pub(crate) fn on_their_way(&self) -> usize {
        self.sagas.values().filter(|saga| !saga.status.has_ended() && saga.status != SagaStatus::Parked).count()
    }
}

fn signed(side: Side, amount_minor: i64) -> i64 {
    match side {
        Side::Debit => amount_minor,
        Side::Credit => -amount_minor,
    }
}
