//! Stock cqrs-es with postgres-es, in event-store mode, as its documentation shows it: an aggregate for each account and
//! one for each transaction, every event a row, optimistic concurrency by the table's primary key, and a conflict tried
//! again by the caller, as the caller must.
//!
//! What it does not give, and Daybook does: the three commands of a transfer are three commits, so a crash between them
//! leaves money in the air; a command that is sent twice is done twice; no order over all events, no chain, no check
//! that a transaction balances. (Its two snapshot modes are no alternative: in version 0.5.0 they apply events twice.)

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateError, DomainEvent};
use futures::stream::{self, StreamExt, TryStreamExt};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgPool};

use super::Setup;
use super::closed_loop::{Ledger, Measured, Transfer, measure};
use super::database::{Database, OPENING_MINOR};
use crate::figures::Figures;

/// The table that postgres-es expects.
const SCHEMA: &str = "\
CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence >= 0),
    event_type     text NOT NULL,
    event_version  text NOT NULL,
    payload        json NOT NULL,
    metadata       json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
)";

/// Connections; more than that only wait for the two cores.
const CONNECTIONS: usize = 64;

/// Measures it.
pub(crate) async fn run(setup: Setup) -> anyhow::Result<Figures> {
    let database = Database::create(&setup.admin_url, "stock", CONNECTIONS).await?;
    let measured = measured(&setup, &database).await;
    database.remove().await?;
    Ok(measured?.figures)
}

async fn measured(setup: &Setup, database: &Database) -> anyhow::Result<Measured> {
    database.pool.execute(SCHEMA).await?;
    let ledger = Arc::new(Stock::open(&database.pool, setup.accounts).await?);
    database.settle().await?;
    let measured = measure(ledger, setup, &database.watch).await?;
    check(&database.pool, setup.accounts, measured.acknowledged).await?;
    Ok(measured)
}

/// Three events for each transfer, one for each account, and as much debited as credited.
async fn check(pool: &PgPool, accounts: usize, acknowledged: u64) -> anyhow::Result<()> {
    let (events, sum): (i64, i64) = sqlx::query_as(
        "SELECT count(*), COALESCE(sum((payload -> event_type ->> 'amount_minor')::bigint * CASE event_type \
             WHEN 'Debited' THEN -1 WHEN 'Credited' THEN 1 ELSE 0 END), 0)::bigint FROM events",
    )
    .fetch_one(pool)
    .await?;
    let expected = acknowledged * Stock::ROWS + u64::try_from(accounts)?;
    anyhow::ensure!(u64::try_from(events)? == expected, "{events} events instead of {expected}");
    anyhow::ensure!(sum == 0, "{sum} minor units came from nowhere");
    Ok(())
}

struct Stock {
    accounts: PostgresCqrs<Account>,
    transactions: PostgresCqrs<Transaction>,
    ids: Vec<String>,
}

impl Stock {
    async fn open(pool: &PgPool, accounts: usize) -> anyhow::Result<Self> {
        let ids = (0..accounts).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        let stock = Self {
            accounts: postgres_cqrs(pool.clone(), Vec::new(), ()),
            transactions: postgres_cqrs(pool.clone(), Vec::new(), ()),
            ids,
        };
        let open = |account: usize| {
            stock.accounts.execute(&stock.ids[account], AccountCommand::Open { balance_minor: OPENING_MINOR })
        };
        stream::iter(0..accounts).map(open).buffer_unordered(32).try_collect::<()>().await?;
        Ok(stock)
    }

    /// One side of a transfer, tried again for as long as others write to the account first.
    async fn post(&self, account: usize, command: AccountCommand) -> anyhow::Result<u64> {
        let mut retries = 0;
        loop {
            match self.accounts.execute(&self.ids[account], command.clone()).await {
                Ok(()) => return Ok(retries),
                Err(AggregateError::AggregateConflict) => retries += 1,
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause(retries)).await;
        }
    }
}

/// Longer with each conflict: without it, those in conflict only keep each other from being done.
fn pause(retries: u64) -> Duration {
    Duration::from_millis(1 << retries.min(5))
}

impl Ledger for Stock {
    const ROWS: u64 = 3;

    async fn transfer(&self, _: usize, batch: &[Transfer]) -> anyhow::Result<u64> {
        let mut retries = 0;
        for transfer in batch {
            let &Transfer { key, from, to, amount_minor } = transfer;
            let transaction_id = key.to_string();
            let post = TransactionCommand {
                debit_account_id: self.ids[from].clone(),
                credit_account_id: self.ids[to].clone(),
                amount_minor,
            };
            self.transactions.execute(&transaction_id, post).await?;
            let debit = AccountCommand::Debit { transaction_id: transaction_id.clone(), amount_minor };
            retries += self.post(from, debit).await?;
            retries += self.post(to, AccountCommand::Credit { transaction_id, amount_minor }).await?;
        }
        Ok(retries)
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance_minor: i64,
}

#[derive(Clone, Debug)]
enum AccountCommand {
    Open { balance_minor: i64 },
    Debit { transaction_id: String, amount_minor: i64 },
    Credit { transaction_id: String, amount_minor: i64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Opened { balance_minor: i64 },
    Debited { transaction_id: String, amount_minor: i64 },
    Credited { transaction_id: String, amount_minor: i64 },
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Opened { .. } => "Opened".to_owned(),
            Self::Debited { .. } => "Debited".to_owned(),
            Self::Credited { .. } => "Credited".to_owned(),
        }
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
enum AccountError {
    #[error("the account has only {balance_minor} minor units")]
    InsufficientFunds { balance_minor: i64 },
    #[error("the amount is too large")]
    Overflow,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;
    type Services = ();

    async fn handle(&mut self, command: AccountCommand, (): &(), sink: &EventSink<Self>) -> Result<(), AccountError> {
        let event = match command {
            AccountCommand::Open { balance_minor } => AccountEvent::Opened { balance_minor },
            AccountCommand::Debit { amount_minor, .. } if amount_minor > self.balance_minor => {
                return Err(AccountError::InsufficientFunds { balance_minor: self.balance_minor });
            }
            AccountCommand::Debit { transaction_id, amount_minor } => {
                AccountEvent::Debited { transaction_id, amount_minor }
            }
            AccountCommand::Credit { transaction_id, amount_minor } => {
                self.balance_minor.checked_add(amount_minor).ok_or(AccountError::Overflow)?;
                AccountEvent::Credited { transaction_id, amount_minor }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened { balance_minor } => self.balance_minor = balance_minor,
            AccountEvent::Debited { amount_minor, .. } => self.balance_minor -= amount_minor,
            AccountEvent::Credited { amount_minor, .. } => self.balance_minor += amount_minor,
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Transaction;

struct TransactionCommand {
    debit_account_id: String,
    credit_account_id: String,
    amount_minor: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum TransactionEvent {
    Posted { debit_account_id: String, credit_account_id: String, amount_minor: i64 },
}

impl DomainEvent for TransactionEvent {
    fn event_type(&self) -> String {
        "Posted".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Transaction {
    const TYPE: &'static str = "transaction";
    type Command = TransactionCommand;
    type Event = TransactionEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: TransactionCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), std::convert::Infallible> {
        let TransactionCommand { debit_account_id, credit_account_id, amount_minor } = command;
        sink.write(TransactionEvent::Posted { debit_account_id, credit_account_id, amount_minor }, self).await;
        Ok(())
    }

    fn apply(&mut self, _: TransactionEvent) {}
}
