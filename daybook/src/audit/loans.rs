//! Loans in the audit: what is owed of each, in the log, in the replay and in the read models, and the
//! accounts that must be their sums.

use anyhow::{Context, ensure};
use domain::loan::Amounts;
use domain::money::decimal;
use domain::{AccountId, Event, Loan, LoanId};
use event_store::LogReader;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::books::{Books, check_dedicated};

/// The longest stream of a loan that is folded anew.
const EVENTS_MAX: u32 = 100_000;

/// A loan as the read model shows it.
struct Shown {
    loan_id: LoanId,
    status: String,
    outstanding: Amounts,
    version: u64,
    updated_position: u64,
}

/// Compares all three, loan by loan, at that position, and the accounts with their loans.
pub(super) async fn compare(
    reader: &LogReader,
    views: &PgPool,
    log: &Books,
    replay: &Books,
    position: u64,
) -> anyhow::Result<()> {
    for (loan_id, loan) in &log.loans {
        let replayed = replay.loans.get(loan_id);
        ensure!(
            replayed == Some(loan),
            "loan {loan_id}: log {}, replay {}",
            told(loan),
            replayed.map_or("nothing".to_owned(), told)
        );
    }
    let accounts = check_dedicated("log", log)?;
    ensure!(check_dedicated("replay", replay)? == accounts, "log and replay differ in the accounts of loans");
    let shown = shown(views, position).await?;
    for row in &shown {
        let newer;
        let loan = if row.updated_position <= position {
            log.loans.get(&row.loan_id).with_context(|| format!("loan {}: not in the log", row.loan_id))?
        } else {
            // Something was recorded since the walk: the row stands for so many events of its stream.
            newer = fold(reader, row.loan_id, row.version).await?;
            &newer
        };
        let seen = format!("{} with {:?} outstanding", row.status, row.outstanding);
        ensure!(
            row.status == loan.status.name() && row.outstanding == loan.outstanding(),
            "loan {}: log {}, read model {seen}",
            row.loan_id,
            told(loan)
        );
    }
    ensure!(shown.len() == log.loans.len(), "the read model has {} loans, the log {}", shown.len(), log.loans.len());
    say!("loans       {}: log = replay from Kafka = read model, status and what is owed", shown.len());
    for (account_id, account) in accounts {
        let seen_minor = legs_minor(views, account_id, position).await?;
        let text = decimal(account.owed_minor, account.currency);
        ensure!(
            seen_minor == account.owed_minor,
            "account {account_id}: by the read model's legs {}, by its loans {text}",
            decimal(seen_minor, account.currency)
        );
        let (what, loans) = (account.what, account.loans);
        say!("account     {account_id}: {text} {} = {what} of {loans} loans, by each of the three", account.currency);
    }
    Ok(())
}

fn told(loan: &Loan) -> String {
    format!("{} with {:?} outstanding", loan.status, loan.outstanding())
}

async fn fold(reader: &LogReader, loan_id: LoanId, version: u64) -> anyhow::Result<Loan> {
    let mut loan = Loan::default();
    let events = reader.stream_after(loan_id.stream(), 0, EVENTS_MAX).await?;
    for recorded in events.iter().filter(|recorded| recorded.sequence <= version) {
        if let Event::Loan(event) = recorded.event()? {
            loan.fold(&event);
        }
    }
    Ok(loan)
}

/// The loans that were applied for by the position, as they are now.
async fn shown(views: &PgPool, position: u64) -> anyhow::Result<Vec<Shown>> {
    let rows = sqlx::query(
        "SELECT loan_id, status, principal_outstanding_minor, interest_outstanding_minor, fee_outstanding_minor, \
         penalty_outstanding_minor, version, updated_position FROM loans WHERE position <= $1 ORDER BY loan_id",
    )
    .bind(position as i64)
    .fetch_all(views)
    .await?;
    let shown = |row: &sqlx::postgres::PgRow| {
        Ok(Shown {
            loan_id: LoanId(row.try_get::<Uuid, _>("loan_id")?),
            status: row.try_get("status")?,
            outstanding: Amounts {
                principal_minor: row.try_get("principal_outstanding_minor")?,
                interest_minor: row.try_get("interest_outstanding_minor")?,
                fee_minor: row.try_get("fee_outstanding_minor")?,
                penalty_minor: row.try_get("penalty_outstanding_minor")?,
            },
            version: row.try_get::<i64, _>("version")? as u64,
            updated_position: row.try_get::<i64, _>("updated_position")? as u64,
        })
    };
    Ok(rows.iter().map(shown).collect::<Result<_, sqlx::Error>>()?)
}

/// Debits less credits in the read model, up to the position.
async fn legs_minor(views: &PgPool, account_id: AccountId, position: u64) -> anyhow::Result<i128> {
    let sum: String = sqlx::query_scalar(
        "SELECT COALESCE(sum(CASE side WHEN 'debit' THEN amount_minor ELSE -amount_minor END), 0)::text \
         FROM legs WHERE account_id = $1 AND position <= $2",
    )
    .bind(account_id.0)
    .bind(position as i64)
    .fetch_one(views)
    .await?;
    sum.parse().context("a sum of the read model")
}
