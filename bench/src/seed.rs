//! Filling a ledger through the write door in this process: as honest as over HTTP, since every command is decided and
//! committed the same way, and quicker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::account::{AccountCommand, Holder, HolderRole, Product};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::member::{MemberCommand, MemberKind};
use domain::transaction::{Legs, TransactionCommand, TransactionKind};
use domain::words::{LedgerCode, Number, PeriodId, Title};
use domain::{AccountId, Command, Currency, MemberId, Money, TransactionId};
use event_store::{Outcome, Store, Submission};
use uuid::{Builder, Uuid};

use crate::ledger::{Ledger, eventually};
use crate::workload::{Distribution, Draw, Random};

/// How far an account may go below zero, in minor units: so far that no transfer of a benchmark is refused, while the
/// limit is checked all the same.
const CREDIT_LINE_MINOR: i64 = 100_000_000_000;
/// 1 January 2026 in milliseconds: from when the ids of accounts count.
const IDS_FROM_MS: u64 = 1_767_225_600_000;
const AT_ONCE: usize = 512;

/// The id of the n-th account: a UUID of version 7, as a client would have minted it, the same in every run.
pub(crate) fn account_id(number: usize) -> Uuid {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    let mut random = Random::new(number);
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random.next().to_be_bytes());
    bytes[8..].copy_from_slice(&random.next().to_be_bytes()[..2]);
    Builder::from_unix_timestamp_millis(IDS_FROM_MS + number, &bytes).into_uuid()
}

fn czk() -> Currency {
    // CZK is the domain's default currency.
    Currency::default()
}

/// A command under a key of its own.
pub(crate) fn submission(command: Command, random: &mut Random) -> Submission {
    let key = Builder::from_u128((u128::from(random.next()) << 64) | u128::from(random.next())).into_uuid();
    // As where a client leaves the id to the API.
    let target_is_new = matches!(command, Command::Transaction(TransactionCommand::PostTransaction { .. }));
    Submission {
        command,
        command_id: Uuid::now_v7(),
        client: "bench".to_owned(),
        idempotency_key: key.to_string(),
        request_hmac: [7; 32],
        target_is_new,
        expected_version: None,
        actor: "bench".to_owned(),
        branch: None,
        correlation_id: key.to_string(),
        traceparent: None,
    }
}

/// A transfer of 0.01 to 9.99 between two accounts.
pub(crate) fn transfer(draw: &Draw, random: &mut Random) -> Command {
    let (from, to) = draw.pair(random);
    let amount_minor = i64::try_from(random.below(999)).unwrap_or(0) + 1;
    Command::Transaction(TransactionCommand::PostTransaction {
        transaction_id: TransactionId(Uuid::now_v7()),
        kind: TransactionKind::Transfer,
        booking_date: None,
        value_date: None,
        legs: Legs::Move {
            from: AccountId(account_id(from)),
            to: AccountId(account_id(to)),
            amount: Money::new(amount_minor, czk()),
        },
        external_reference: None,
        narrative: None,
        pending: None,
    })
}

/// A chart of accounts, a member, and so many current accounts of theirs.
pub(crate) async fn found(ledger: &Ledger, accounts: usize) -> anyhow::Result<()> {
    let store = open(ledger).await?;
    let member_id = MemberId(Uuid::now_v7());
    let mut random = Random::new(1);
    for command in frame(member_id)? {
        must(&store, command, &mut random).await?;
    }
    many(&store, accounts, move |number, _| open_account(number, member_id)).await?;
    store.shutdown().await;
    Ok(())
}

/// So many transfers over so many accounts, as fast as they go.
pub(crate) async fn fill(ledger: &Ledger, accounts: usize, transfers: usize) -> anyhow::Result<()> {
    let store = open(ledger).await?;
    let draw = Draw::new(Distribution::Uniform, accounts);
    many(&store, transfers, move |_, random| Ok(transfer(&draw, random))).await?;
    store.shutdown().await;
    Ok(())
}

/// The write door in this process, once it is ready.
pub(crate) async fn open(ledger: &Ledger) -> anyhow::Result<Store> {
    let store = Store::start(ledger.store_config()?).await?;
    eventually("the writer", Duration::from_secs(60), || async { Ok(store.ready().then_some(())) }).await?;
    Ok(store)
}

/// Submits `count` commands, many at once; each must be accepted.
async fn many(
    store: &Store,
    count: usize,
    command: impl Fn(usize, &mut Random) -> anyhow::Result<Command> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let (next, command, began) = (Arc::new(AtomicUsize::new(0)), Arc::new(command), Instant::now());
    let seed = store.reader().head().await?.position;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..AT_ONCE {
        let (store, next, command) = (store.clone(), next.clone(), command.clone());
        tasks.spawn(async move {
            let mut random = Random::new(seed.wrapping_mul(8_191).wrapping_add(u64::try_from(lane)?));
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                must(&store, command(number, &mut random)?, &mut random).await?;
                if number % 250_000 == 249_999 {
                    eprintln!("  {} of {count} commands after {} s", number + 1, began.elapsed().as_secs());
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn must(store: &Store, command: Command, random: &mut Random) -> anyhow::Result<()> {
    match store.submit(submission(command, random)).await?.outcome {
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => anyhow::bail!("refused: {}", rejected.rejection),
    }
}

fn frame(member_id: MemberId) -> anyhow::Result<Vec<Command>> {
    let code = |code: &str| LedgerCode::try_new(code).with_context(|| format!("the ledger code {code}"));
    let define = |ledger_code, name: &str, class, control| {
        let name = Title::try_new(name).context("a title")?;
        anyhow::Ok(Command::Ledger(LedgerCommand::DefineLedgerCode { ledger_code, name, class, control }))
    };
    let day = |year| chrono::NaiveDate::from_ymd_opt(year, 1, 1).context("a date");
    Ok(vec![
        Command::Ledger(LedgerCommand::DefineCurrency { currency: czk() }),
        define(code("1000")?, "Cash", LedgerClass::Asset, false)?,
        define(code("2100")?, "Members", LedgerClass::Liability, true)?,
        Command::Ledger(LedgerCommand::OpenPeriod {
            period: PeriodId::try_new("all").context("a period")?,
            from: day(2020)?,
            to: day(2100)?,
        }),
        Command::Member(MemberCommand::RegisterMember {
            member_id,
            number: Number::try_new("M1").context("a number")?,
            kind: MemberKind::Person,
            personal: Default::default(),
            branch: None,
        }),
        Command::Member(MemberCommand::VerifyKyc { member_id }),
    ])
}

fn open_account(number: usize, member_id: MemberId) -> anyhow::Result<Command> {
    Ok(Command::Account(AccountCommand::OpenAccount {
        account_id: AccountId(account_id(number)),
        number: Number::try_new(format!("A{number}")).context("a number")?,
        name: None,
        product: Product::Current,
        holders: vec![Holder { member_id, role: HolderRole::Owner }],
        currency: czk(),
        ledger_code: LedgerCode::try_new("2100").context("a ledger code")?,
        minimum_balance: Some(Money::new(-CREDIT_LINE_MINOR, czk())),
        branch: None,
        opened_on: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_the_same_ids_in_every_run_and_none_twice() {
        assert_eq!(account_id(17), account_id(17));
        let ids: std::collections::BTreeSet<Uuid> = (0..10_000).map(account_id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
