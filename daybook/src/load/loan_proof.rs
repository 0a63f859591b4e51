//! Loans as the query API shows them, and the checks of them: what was sent against what is shown.
//!
//! Invariant: as in the other checks, every figure is counted from the data, never taken from the
//! system that is being checked; and what others have done with the same loans is set apart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use domain::Currency;
use domain::money::decimal;
use serde::Deserialize;
use uuid::Uuid;

use super::berka::currency;
use super::chart::Internal;
use super::dispatch::in_lanes;
use super::proof::{Check, parse};
use super::query::QueryClient;

/// The processes of which each takes a loan or a payment as its own.
const OPEN: [&str; 4] = ["running", "unknown", "compensating", "parked"];
/// How many loans are read at once.
const READS_AT_ONCE: usize = 8;
const POLL_EVERY: Duration = Duration::from_millis(200);

/// A loan in the list of loans.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LoanLine {
    pub(super) id: Uuid,
    pub(super) number: String,
    pub(super) status: String,
    currency: Currency,
    portfolio_account_id: Uuid,
    outstanding: Outstanding,
}

#[derive(Clone, Debug, Deserialize)]
struct Outstanding {
    principal: String,
    total: String,
}

impl LoanLine {
    /// All that is owed, in minor units.
    pub(super) fn owed_minor(&self) -> Result<i128> {
        parse(&self.outstanding.total, self.currency)
    }
}

/// Every loan, by its number.
pub(super) async fn loans(query: &QueryClient, position: u64) -> Result<BTreeMap<String, LoanLine>> {
    let position = position.to_string();
    let lines: Vec<LoanLine> = query.all("/v1/loans", &[("min_position", position.as_str())]).await?;
    Ok(lines.into_iter().map(|line| (line.number.clone(), line)).collect())
}

#[derive(Deserialize)]
struct RepaymentLine {
    transaction_id: Uuid,
    from_account_id: Uuid,
    amount: WireAmount,
    surplus: String,
    reversed: Option<serde_json::Value>,
}

#[derive(Clone, Deserialize)]
struct WireAmount {
    amount: String,
    currency: Currency,
}

/// What payments did to a loan, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Paid {
    /// What it took.
    pub(super) taken_minor: i128,
    /// What was offered beyond all that it was owed.
    pub(super) surplus_minor: i128,
}

/// What each of these loans was paid, by those payments that `counts` wants (by transaction, and by the
/// account that it came from) and nobody has undone.
pub(super) async fn paid(
    query: &QueryClient,
    loan_ids: Vec<Uuid>,
    counts: impl Fn(Uuid, Uuid) -> bool + Clone + Send + Sync + 'static,
) -> Result<HashMap<Uuid, Paid>> {
    let (query, mut all) = (query.clone(), HashMap::new());
    let read = move |loan_id: Uuid| {
        let (query, counts) = (query.clone(), counts.clone());
        async move {
            let path = format!("/v1/loans/{loan_id}/repayments");
            let lines: Vec<RepaymentLine> = query.all(&path, &[]).await?;
            let mut paid = Paid::default();
            for line in lines.iter().filter(|line| line.reversed.is_none()) {
                if !counts(line.transaction_id, line.from_account_id) {
                    continue;
                }
                paid.taken_minor += parse(&line.amount.amount, line.amount.currency)?;
                paid.surplus_minor += parse(&line.surplus, line.amount.currency)?;
            }
            Ok((loan_id, paid))
        }
    };
    let jobs = (0..).zip(loan_ids);
    in_lanes(jobs, READS_AT_ONCE, read, |(loan_id, paid)| {
        all.insert(loan_id, paid);
        Ok(())
    })
    .await?;
    Ok(all)
}

/// A saga in the list of sagas.
#[derive(Clone, Deserialize)]
pub(super) struct SagaLine {
    pub(super) id: Uuid,
    pub(super) status: String,
    pub(super) step: String,
    pub(super) code: Option<String>,
    pub(super) loan_id: Option<Uuid>,
    pub(super) payment_reference: Option<String>,
    left: Option<String>,
    amount: Option<WireAmount>,
}

impl SagaLine {
    /// Whether it waits for a person.
    pub(super) fn is_parked(&self) -> bool {
        self.status == "parked"
    }

    fn left_minor(&self) -> Result<i128> {
        match (&self.left, &self.amount) {
            (Some(left), Some(amount)) => parse(left, amount.currency),
            _ => Ok(0),
        }
    }

    fn told(&self) -> String {
        let code = self.code.as_deref().unwrap_or("no code");
        let reference = self.payment_reference.as_deref().map(|text| format!(" ({text})")).unwrap_or_default();
        format!("{}{reference} {} at {}: {code}", self.id, self.status, self.step)
    }
}

/// The sagas that are not over, of a process or of all.
pub(super) async fn open_sagas(query: &QueryClient, process: Option<&str>, position: u64) -> Result<Vec<SagaLine>> {
    let (position, mut open) = (position.to_string(), Vec::new());
    for status in OPEN {
        let mut parameters = vec![("status", status), ("min_position", position.as_str())];
        parameters.extend(process.map(|process| ("process", process)));
        open.extend(query.all::<SagaLine>("/v1/sagas", &parameters).await?);
    }
    Ok(open)
}

/// Waits until every payment of these references has a saga, and each of those is over or waits for a
/// person; gives them, and the sagas of all other payments.
pub(super) async fn await_payments(
    query: &QueryClient,
    references: &HashSet<String>,
    position: u64,
    patience: Duration,
) -> Result<(Vec<SagaLine>, Vec<SagaLine>)> {
    let began = Instant::now();
    let mut last = (usize::MAX, Instant::now());
    loop {
        let open = open_sagas(query, Some("incoming_payment"), position).await?;
        let is_ours = |saga: &SagaLine| saga.payment_reference.as_ref().is_some_and(|text| references.contains(text));
        let at_work = open.iter().filter(|saga| is_ours(saga) && !saga.is_parked()).count();
        let mut left = at_work;
        if at_work == 0 {
            let all: Vec<SagaLine> = query.all("/v1/sagas", &[("process", "incoming_payment")]).await?;
            let (ours, others): (Vec<SagaLine>, Vec<SagaLine>) = all.into_iter().partition(is_ours);
            left = references.len().saturating_sub(ours.len());
            if left == 0 && ours.iter().all(|saga| saga.is_parked() || !OPEN.contains(&saga.status.as_str())) {
                return Ok((ours, others));
            }
        }
        if left < last.0 {
            last = (left, Instant::now());
        }
        // Patience is for a standstill: a slow machine gets the time that it needs.
        if last.1.elapsed() > patience {
            let waited_s = began.elapsed().as_secs();
            bail!("{left} of {} payments have not found their loan after {waited_s} s", references.len());
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// That no saga of these loans or payments is left over; those of others are told.
pub(super) fn sagas_left_over(open: &[SagaLine], loan_ids: &HashSet<Uuid>, references: &HashSet<String>) -> Check {
    let is_ours = |saga: &&SagaLine| {
        saga.loan_id.is_some_and(|loan_id| loan_ids.contains(&loan_id))
            || saga.payment_reference.as_ref().is_some_and(|text| references.contains(text))
    };
    let ours: Vec<&SagaLine> = open.iter().filter(is_ours).collect();
    let mut text = format!("sagas left over: {}", ours.len());
    if let Some(first) = ours.first() {
        text.push_str(&format!(", the first {}", first.told()));
    }
    if open.len() > ours.len() {
        text.push_str(&format!(" ({} of others are under way)", open.len() - ours.len()));
    }
    Check::new(ours.is_empty(), text)
}

#[derive(Deserialize)]
struct BalanceLine {
    balance: String,
    currency: Currency,
}

async fn balance_minor(query: &QueryClient, account_id: Uuid, position: u64) -> Result<i128> {
    let position = position.to_string();
    let path = format!("/v1/accounts/{account_id}/balance");
    let line: BalanceLine = query.get(&path, &[("min_position", position.as_str())]).await?;
    parse(&line.balance, line.currency)
}

/// That nothing waits in suspense but what sagas have left there.
pub(super) async fn suspense(query: &QueryClient, account_id: Uuid, open: &[SagaLine], position: u64) -> Result<Check> {
    let shown_minor = balance_minor(query, account_id, position).await?;
    let mut waiting_minor = 0;
    for saga in open {
        waiting_minor += saga.left_minor()?;
    }
    let (shown, waiting) = (decimal(shown_minor, currency()), decimal(waiting_minor, currency()));
    Ok(Check::new(shown_minor == waiting_minor, format!("suspense: {shown} = what waits for a loan {waiting}")))
}

/// That the portfolio account is the outstanding principal of all its loans.
pub(super) async fn portfolio(query: &QueryClient, loans: &BTreeMap<String, LoanLine>, position: u64) -> Result<Check> {
    let account_id = Internal::LoanPortfolio.id();
    let shown_minor = balance_minor(query, account_id, position).await?;
    let (mut owed_minor, mut count) = (0, 0u64);
    for loan in loans.values().filter(|loan| loan.portfolio_account_id == account_id) {
        // Of a loan that was given up it is told what was owed then.
        if loan.status == "active" {
            owed_minor += parse(&loan.outstanding.principal, loan.currency)?;
            count += 1;
        }
    }
    let (shown, owed) = (decimal(shown_minor, currency()), decimal(owed_minor, currency()));
    let text = format!("portfolio account: {shown} = outstanding principal of {count} loans {owed}");
    Ok(Check::new(shown_minor == owed_minor, text))
}

/// How many loans are in which status.
pub(super) fn by_status<'a>(loans: impl IntoIterator<Item = &'a LoanLine>) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for loan in loans {
        *counts.entry(&loan.status).or_default() += 1;
    }
    let told: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// A loan of the data set, with what its own rows have paid.
pub(super) struct PaidOut {
    pub(super) loan_id: Uuid,
    pub(super) number: String,
    pub(super) amount_minor: i64,
    pub(super) paid_minor: i64,
}

/// Checks the loans at the end of a load: each is paid out, and owed is its amount less what was paid.
pub(super) async fn paid_out(
    query: &QueryClient,
    expected: &[PaidOut],
    own: HashSet<Uuid>,
    position: u64,
) -> Result<Vec<Check>> {
    let shown = loans(query, position).await?;
    let ours: Vec<Option<&LoanLine>> = expected.iter().map(|loan| shown.get(&loan.number)).collect();
    let owed_minor = |line: &Option<&LoanLine>| line.map(|line| line.owed_minor()).transpose();
    let mut differing = Vec::new();
    for (loan, line) in expected.iter().zip(&ours) {
        if owed_minor(line)? != Some((loan.amount_minor - loan.paid_minor).max(0).into()) {
            differing.extend(line.map(|line| line.id));
        }
    }
    let others = paid(query, differing, move |transaction_id, _| !own.contains(&transaction_id)).await?;
    let (mut paid_out, mut matching) = (0usize, 0usize);
    for (loan, line) in expected.iter().zip(&ours) {
        let Some(line) = line.filter(|line| line.id == loan.loan_id) else { continue };
        paid_out += usize::from(["active", "repaid", "closed"].contains(&line.status.as_str()));
        let others_minor = others.get(&line.id).map_or(0, |paid| paid.taken_minor);
        let owed_minor = i128::from(loan.amount_minor) - i128::from(loan.paid_minor) - others_minor;
        matching += usize::from(line.owed_minor()? == owed_minor.max(0));
    }
    let (count, statuses) = (expected.len(), by_status(ours.iter().flatten().copied()));
    let mut text = format!("loans: owed = amount less the accepted UVER rows, {matching} of {count}");
    let paid_by_others = others.values().filter(|paid| paid.taken_minor != 0).count();
    if paid_by_others > 0 {
        text.push_str(&format!(" (on {paid_by_others}, later payments are set apart)"));
    }
    let loan_ids = expected.iter().map(|loan| loan.loan_id).collect();
    let open = open_sagas(query, None, position).await?;
    Ok(vec![
        Check::new(paid_out == count, format!("loans: {paid_out} of {count} are paid out ({statuses})")),
        Check::new(matching == count, text),
        portfolio(query, &shown, position).await?,
        sagas_left_over(&open, &loan_ids, &HashSet::new()),
    ])
}
