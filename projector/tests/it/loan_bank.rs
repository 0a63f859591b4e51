//! A bank that lends, on the real event store: every event is one that the rules decided. The tests of
//! the query API use it as well.

use chrono::{Days, NaiveDate, Utc};
use domain::account::{AccountCommand, Holder, HolderRole, Product};
use domain::calc::{AnnualRate, Rounding};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::loan::{Loan, LoanCommand, Surplus};
use domain::member::{MemberCommand, MemberKind};
use domain::product::{Component, LoanAccounts, LoanProductCommand, ProductTerms};
use domain::transaction::{Legs, TransactionCommand, TransactionKind};
use domain::words::{LedgerCode, Number, PeriodId, ReasonCode, Sealed, Title};
use domain::{AccountId, Command, Currency, Event, LoanId, LoanProductId, MemberId, Money, TransactionId};
use event_store::{Accepted, Outcome, Rejected, Store, StoreConfig, Submission};
use platform::Config;
use uuid::Uuid;

pub(crate) const MEMBER: MemberId = MemberId(Uuid::from_u128(0xa1));
pub(crate) const SAVINGS: AccountId = AccountId(Uuid::from_u128(0xa2));
pub(crate) const CASH: AccountId = AccountId(Uuid::from_u128(0xc1));
pub(crate) const BANK: AccountId = AccountId(Uuid::from_u128(0xc2));
pub(crate) const SUSPENSE: AccountId = AccountId(Uuid::from_u128(0xc3));
pub(crate) const PORTFOLIO: AccountId = AccountId(Uuid::from_u128(0xd1));
pub(crate) const PRODUCT: LoanProductId = LoanProductId(Uuid::from_u128(0xe1));

pub(crate) struct LoanBank {
    pub(crate) store: Store,
    /// The business date.
    pub(crate) today: NaiveDate,
    random: u64,
}

impl LoanBank {
    /// Opens its books: members' money, and a product of 12 % with monthly instalments.
    pub(crate) async fn open(config: &Config) -> Self {
        let (writer, keys) = (config.log_writer().unwrap(), config.keys().unwrap());
        let master_key = *config.master_key().unwrap().expose();
        let store = StoreConfig::new(writer.expose(), keys.expose(), master_key, config.tenant(), "UTC");
        let store = Store::start(store).await.unwrap();
        let bank = Self { store, today: Utc::now().date_naive(), random: 0x9e37_79b9_7f4a_7c15 };
        bank.found().await;
        bank
    }

    async fn found(&self) {
        self.accepted(LedgerCommand::DefineCurrency { currency: czk() }).await;
        let period = PeriodId::try_new("all").unwrap();
        let (from, to) = (self.today - Days::new(2_000), self.today + Days::new(2_000));
        self.accepted(LedgerCommand::OpenPeriod { period, from, to }).await;
        for (code, class, control) in [
            ("1000", LedgerClass::Asset, false),
            ("2100", LedgerClass::Liability, true),
            ("2900", LedgerClass::Liability, false),
            ("4000", LedgerClass::Income, false),
            ("5000", LedgerClass::Expense, false),
        ] {
            let name = Title::try_new("of the bank").unwrap();
            self.accepted(LedgerCommand::DefineLedgerCode { ledger_code: ledger(code), name, class, control }).await;
        }
        let (number, kind) = (Number::try_new("M-1").unwrap(), MemberKind::Person);
        let personal = Default::default();
        self.accepted(MemberCommand::RegisterMember { member_id: MEMBER, number, kind, personal, branch: None }).await;
        self.accepted(MemberCommand::VerifyKyc { member_id: MEMBER }).await;
        let internal = [(CASH, "1000"), (BANK, "1000"), (SUSPENSE, "2900")];
        let of_product = lent().all().into_iter().zip(["1000", "1000", "1000", "4000", "4000", "4000", "5000"]);
        for (account_id, code) in internal.into_iter().chain(of_product).chain([(SAVINGS, "2100")]) {
            let holders = match account_id == SAVINGS {
                true => vec![Holder { member_id: MEMBER, role: HolderRole::Owner }],
                false => vec![],
            };
            let number = Number::try_new(format!("A-{}", account_id.0.as_u128())).unwrap();
            self.accepted(AccountCommand::OpenAccount {
                account_id,
                number,
                name: None,
                product: if account_id == SAVINGS { Product::Current } else { Product::Internal },
                holders,
                currency: czk(),
                ledger_code: ledger(code),
                minimum_balance: None,
                branch: None,
                opened_on: None,
            })
            .await;
        }
        self.accepted(TransactionCommand::PostTransaction {
            transaction_id: TransactionId(Uuid::now_v7()),
            kind: TransactionKind::Deposit,
            booking_date: None,
            value_date: None,
            legs: Legs::Move { from: CASH, to: SAVINGS, amount: money(100_000_000) },
            external_reference: None,
            narrative: None,
            pending: None,
        })
        .await;
        self.accepted(LoanProductCommand::DefineLoanProduct {
            product_id: PRODUCT,
            code: Number::try_new("PERSONAL").unwrap(),
            name: Title::try_new("Personal loan").unwrap(),
            currency: czk(),
            terms: terms(),
            accounts: lent(),
        })
        .await;
    }

    /// Sends a command; what the rules refuse is told.
    pub(crate) async fn send(&self, command: impl Into<Wrapped>) -> Result<Accepted, Rejected> {
        let submission = Submission {
            command: command.into().0,
            command_id: Uuid::now_v7(),
            client: "test".into(),
            idempotency_key: Uuid::now_v7().to_string(),
            request_hmac: [1; 32],
            target_is_new: false,
            expected_version: None,
            actor: "tester".into(),
            branch: None,
            correlation_id: "test".into(),
            traceparent: None,
        };
        match self.store.submit(submission).await.unwrap().outcome {
            Outcome::Accepted(accepted) => Ok(accepted),
            Outcome::Rejected(rejected) => Err(rejected),
        }
    }

    /// Sends a command that the rules accept; gives its position.
    pub(crate) async fn accepted(&self, command: impl Into<Wrapped>) -> u64 {
        match self.send(command).await {
            Ok(accepted) => accepted.position,
            Err(rejected) => panic!("rejected: {}", rejected.rejection),
        }
    }

    /// A loan that is approved, of so many minor units in so many instalments.
    pub(crate) async fn approved(&self, number: &str, principal_minor: i64, instalments: u16) -> LoanId {
        let loan_id = LoanId(Uuid::now_v7());
        self.accepted(LoanCommand::ApplyForLoan {
            loan_id,
            number: Number::try_new(number).unwrap(),
            member_id: MEMBER,
            product_id: PRODUCT,
            principal: money(principal_minor),
            annual_rate: None,
            instalments,
            settlement_account_id: Some(SAVINGS),
            purpose: Some(reason("home")),
            branch: None,
            applied_on: Some(self.today - Days::new(400)),
        })
        .await;
        let approved_on = Some(self.today - Days::new(399));
        self.accepted(LoanCommand::ApproveLoan {
            loan_id,
            principal: None,
            annual_rate: None,
            instalments: None,
            approved_on,
        })
        .await;
        loan_id
    }

    /// Pays a loan out into the member's account on that day; the first instalment is due then.
    pub(crate) async fn disburse(&self, loan_id: LoanId, on: NaiveDate, first_due_on: Option<NaiveDate>) {
        self.accepted(LoanCommand::DisburseLoan {
            loan_id,
            transaction_id: TransactionId(Uuid::now_v7()),
            to_account_id: SAVINGS,
            booking_date: Some(on),
            disbursed_on: None,
            first_due_on,
        })
        .await;
    }

    /// A payment from the member's account that counts from that day.
    pub(crate) async fn pay(&self, loan_id: LoanId, amount_minor: i64, value_date: NaiveDate) -> TransactionId {
        let transaction_id = TransactionId(Uuid::now_v7());
        self.accepted(LoanCommand::RepayLoan {
            loan_id,
            transaction_id,
            from_account_id: SAVINGS,
            amount: money(amount_minor),
            surplus: Surplus::ToSettlementAccount,
            booking_date: Some(value_date.min(self.today)),
            value_date: Some(value_date),
            external_reference: None,
        })
        .await;
        transaction_id
    }

    /// Undoes a payment.
    pub(crate) async fn reverse(&self, loan_id: LoanId, repayment_id: TransactionId) {
        let transaction_id = TransactionId(Uuid::now_v7());
        let reason = reason("bounced");
        let command =
            LoanCommand::ReverseRepayment { loan_id, transaction_id, repayment_id, reason, booking_date: None };
        self.accepted(command).await;
    }

    /// Loans with random lives, for so many commands; what does not fit a loan's state is refused.
    pub(crate) async fn lives(&mut self, loans: usize, commands: usize) -> Vec<LoanId> {
        let mut ids = Vec::new();
        for number in 0..loans {
            let principal_minor = 10_000 + self.below(5_000_000) as i64;
            let instalments = 1 + self.below(24) as u16;
            let loan_id = self.approved(&format!("R-{number}"), principal_minor, instalments).await;
            if number % 5 > 0 {
                let on = self.today - Days::new(self.below(360) as u64);
                self.disburse(loan_id, on, None).await;
            }
            ids.push(loan_id);
        }
        for _ in 0..commands {
            let loan_id = ids[self.below(ids.len())];
            let command = self.life(loan_id).await;
            let _ = self.send(command).await;
        }
        ids
    }

    async fn life(&mut self, loan_id: LoanId) -> LoanCommand {
        let transaction_id = TransactionId(Uuid::now_v7());
        let loan = self.folded(loan_id).await;
        // Nothing of a loan is booked before it is paid out.
        let on = (self.today - Days::new(self.below(350) as u64)).max(loan.disbursed_on.unwrap_or_default());
        match self.below(40) {
            0..=20 => LoanCommand::RepayLoan {
                loan_id,
                transaction_id,
                from_account_id: if self.below(2) == 0 { SAVINGS } else { CASH },
                amount: money(1 + self.below(1_000_000) as i64),
                surplus: Surplus::ToSettlementAccount,
                booking_date: Some(on),
                value_date: Some(on + Days::new(self.below(20) as u64)),
                external_reference: None,
            },
            21..=26 => LoanCommand::ReverseRepayment {
                loan_id,
                transaction_id,
                repayment_id: match loan.repayments.len() {
                    0 => transaction_id,
                    payments => loan.repayments[self.below(payments)].transaction_id,
                },
                reason: reason("bounced"),
                booking_date: None,
            },
            27..=30 => LoanCommand::ChargeLoan {
                loan_id,
                transaction_id,
                component: if self.below(2) == 0 { Component::Fee } else { Component::Penalty },
                amount: money(1 + self.below(50_000) as i64),
                reason: reason("late"),
                booking_date: Some(on),
            },
            31..=33 => LoanCommand::AccrueInterest { loan_id, transaction_id, through: Some(on) },
            34 => LoanCommand::WriteOffLoan { loan_id, transaction_id, reason: reason("lost"), booking_date: Some(on) },
            35 => LoanCommand::CloseLoan { loan_id },
            36 | 37 => LoanCommand::StartDisbursement {
                loan_id,
                transaction_id,
                funding_account_id: BANK,
                destination: Sealed::try_new("c2VhbGVk").unwrap(),
                booking_date: Some(on),
                disbursed_on: None,
                first_due_on: None,
            },
            38 => LoanCommand::ConfirmDisbursement { loan_id, bank_reference: None },
            _ => LoanCommand::CancelDisbursement { loan_id, reason: reason("refused") },
        }
    }

    /// The loan as the fold of its stream in the log.
    pub(crate) async fn folded(&self, loan_id: LoanId) -> Loan {
        let mut loan = Loan::default();
        for recorded in self.store.reader().stream_after(loan_id.stream(), 0, 100_000).await.unwrap() {
            if let Event::Loan(event) = recorded.event().unwrap() {
                loan.fold(&event);
            }
        }
        loan
    }

    /// The position of the log's last event.
    pub(crate) async fn head(&self) -> u64 {
        self.store.reader().head().await.unwrap().position
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }
}

/// A command of any aggregate.
pub(crate) struct Wrapped(Command);

macro_rules! wrapped {
    ($($kind:ident: $command:ty),+) => {
        $(impl From<$command> for Wrapped {
            fn from(command: $command) -> Self {
                Self(Command::$kind(command))
            }
        })+
    };
}

wrapped!(Ledger: LedgerCommand, Member: MemberCommand, Account: AccountCommand, Transaction: TransactionCommand,
    LoanProduct: LoanProductCommand, Loan: LoanCommand, Saga: domain::saga::SagaCommand);

/// The terms of the bank's product.
pub(crate) fn terms() -> ProductTerms {
    ProductTerms {
        principal_min_minor: 1,
        principal_max_minor: 1_000_000_000,
        annual_rate_min: "12".parse::<AnnualRate>().unwrap(),
        annual_rate_max: "20".parse::<AnnualRate>().unwrap(),
        instalments_min: 1,
        instalments_max: 120,
        rounding: Rounding::HalfEven,
        allocation_order: Component::ALL.to_vec(),
        ..ProductTerms::default()
    }
}

/// Where the bank's loans post.
pub(crate) fn lent() -> LoanAccounts {
    let account = |number| AccountId(Uuid::from_u128(number));
    LoanAccounts {
        portfolio_account_id: PORTFOLIO,
        interest_receivable_account_id: account(0xd2),
        charges_receivable_account_id: account(0xd3),
        interest_income_account_id: account(0xd4),
        fee_income_account_id: account(0xd5),
        penalty_income_account_id: account(0xd6),
        write_off_account_id: account(0xd7),
    }
}

pub(crate) fn czk() -> Currency {
    "CZK".parse().unwrap()
}

pub(crate) fn money(amount_minor: i64) -> Money {
    Money::new(amount_minor, czk())
}

pub(crate) fn reason(code: &str) -> ReasonCode {
    ReasonCode::try_new(code).unwrap()
}

fn ledger(code: &str) -> LedgerCode {
    LedgerCode::try_new(code).unwrap()
}
