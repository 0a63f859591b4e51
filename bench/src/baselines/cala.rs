//! cala-ledger, an embeddable double-entry ledger on Postgres, as its own examples use it: a journal, accounts, a
//! transaction template with an entry on either side, and `post_transaction` for each transfer, or `post_transactions`
//! for many at once.
//!
//! In its favour: no velocity control is set, so an account's funds are not checked; account sets and effective
//! balances, which cost extra statements, are not used; its background jobs are not polled.
//! What it does not give, and Daybook does: an order over all transfers, and a chain.

use std::sync::Arc;

use cala_ledger::account::NewAccount;
use cala_ledger::job::{JobSvcConfig, Jobs};
use cala_ledger::journal::NewJournal;
use cala_ledger::posting::PostingInput;
use cala_ledger::tx_template::{
    NewParamDefinition, NewTxTemplate, NewTxTemplateEntry, NewTxTemplateTransaction, ParamDataType, Params,
};
use cala_ledger::{AccountId, CalaLedger, CalaLedgerConfig, JournalId, TransactionId};
use rust_decimal::Decimal;
use sqlx::PgPool;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::Setup;
use super::closed_loop::{Ledger, Measured, Transfer, measure};
use super::database::Database;
use crate::figures::Figures;

/// Connections; more than that only wait for the two cores.
const CONNECTIONS: usize = 64;

const TEMPLATE: &str = "TRANSFER";

/// Measures it with `BATCH` transfers in each call.
pub(crate) async fn run<const BATCH: usize>(setup: Setup) -> anyhow::Result<Figures> {
    let database = Database::create(&setup.admin_url, "cala", CONNECTIONS).await?;
    let measured = measured::<BATCH>(&setup, &database).await;
    database.remove().await?;
    Ok(measured?.figures)
}

async fn measured<const BATCH: usize>(setup: &Setup, database: &Database) -> anyhow::Result<Measured> {
    // The compiler cannot see that its futures of the set-up may move between threads, so that one stays on one.
    let (pool, accounts, runtime) = (database.pool.clone(), setup.accounts, Handle::current());
    let opened = tokio::task::spawn_blocking(move || runtime.block_on(Cala::<BATCH>::open(&pool, accounts)));
    let ledger = Arc::new(opened.await??);
    database.settle().await?;
    let measured = measure(ledger, setup, &database.watch).await?;
    check(&database.pool, measured.acknowledged).await?;
    Ok(measured)
}

/// A transaction and two entries for each that was acknowledged, and balances that sum to zero.
async fn check(pool: &PgPool, acknowledged: u64) -> anyhow::Result<()> {
    let (transactions, entries, zero): (i64, i64, bool) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM cala_transactions), (SELECT count(*) FROM cala_entries), \
             COALESCE(sum((latest_values -> 'settled' ->> 'dr_balance')::numeric \
                 - (latest_values -> 'settled' ->> 'cr_balance')::numeric), 0) = 0 FROM cala_current_balances",
    )
    .fetch_one(pool)
    .await?;
    let expected = i64::try_from(acknowledged)?;
    anyhow::ensure!(
        transactions == expected && entries == 2 * expected,
        "{transactions} transactions and {entries} entries for {expected} that were acknowledged"
    );
    anyhow::ensure!(zero, "the balances do not sum to zero");
    Ok(())
}

struct Cala<const BATCH: usize> {
    ledger: CalaLedger,
    journal: JournalId,
    accounts: Vec<AccountId>,
    /// Its background work ends when this is dropped.
    _jobs: Jobs,
}

impl<const BATCH: usize> Cala<BATCH> {
    async fn open(pool: &PgPool, accounts: usize) -> anyhow::Result<Self> {
        let config = CalaLedgerConfig::builder().pool(pool.clone()).exec_migrations(true).build()?;
        let mut jobs = Jobs::init(JobSvcConfig::builder().pool(pool.clone()).build()?).await?;
        let ledger = CalaLedger::init(config, &mut jobs).await?;
        let journal = NewJournal::builder().id(JournalId::new()).name("Books").build();
        let journal = ledger.journals().create(journal).await?.id();
        ledger.tx_templates().create(template()?).await?;
        let accounts = open_accounts(&ledger, accounts).await?;
        Ok(Self { ledger, journal, accounts, _jobs: jobs })
    }

    fn params(&self, transfer: &Transfer) -> Params {
        let mut params = Params::new();
        params.insert("journal_id", self.journal);
        params.insert("sender", self.accounts[transfer.from]);
        params.insert("recipient", self.accounts[transfer.to]);
        params.insert("amount", Decimal::new(transfer.amount_minor, 2));
        params
    }
}

/// A thousand in each of its calls.
async fn open_accounts(ledger: &CalaLedger, count: usize) -> anyhow::Result<Vec<AccountId>> {
    let new_account = |number: usize| {
        NewAccount::builder().id(Uuid::now_v7()).name(format!("Account {number}")).code(format!("A{number}")).build()
    };
    let mut ids = Vec::with_capacity(count);
    for first in (0..count).step_by(1_000) {
        let new = (first..count.min(first + 1_000)).map(new_account).collect();
        ids.extend(ledger.accounts().create_all(new).await?.iter().map(|account| account.id()));
    }
    Ok(ids)
}

fn template() -> anyhow::Result<NewTxTemplate> {
    let param = |name: &str, kind| NewParamDefinition::builder().name(name).r#type(kind).build();
    let params = vec![
        param("journal_id", ParamDataType::Uuid)?,
        param("sender", ParamDataType::Uuid)?,
        param("recipient", ParamDataType::Uuid)?,
        param("amount", ParamDataType::Decimal)?,
    ];
    let entry = |entry_type: &str, account: &str, direction: &str| {
        NewTxTemplateEntry::builder()
            .entry_type(entry_type)
            .account_id(account)
            .layer("SETTLED")
            .direction(direction)
            .units("params.amount")
            .currency("'CZK'")
            .build()
    };
    let entries =
        vec![entry("'TRANSFER_DR'", "params.sender", "DEBIT")?, entry("'TRANSFER_CR'", "params.recipient", "CREDIT")?];
    let transaction =
        NewTxTemplateTransaction::builder().effective("date()").journal_id("params.journal_id").build()?;
    Ok(NewTxTemplate::builder()
        .id(Uuid::now_v7())
        .code(TEMPLATE)
        .params(params)
        .transaction(transaction)
        .entries(entries)
        .build())
}

impl<const BATCH: usize> Ledger for Cala<BATCH> {
    const BATCH: usize = BATCH;
    const ROWS: u64 = 3;

    async fn transfer(&self, _: usize, batch: &[Transfer]) -> anyhow::Result<u64> {
        if let [transfer] = batch {
            self.ledger.post_transaction(TransactionId::from(transfer.key), TEMPLATE, self.params(transfer)).await?;
        } else {
            let postings = batch
                .iter()
                .map(|transfer| PostingInput::new(TransactionId::from(transfer.key), TEMPLATE, self.params(transfer)))
                .collect();
            self.ledger.post_transactions(postings).await?;
        }
        Ok(0)
    }
}
