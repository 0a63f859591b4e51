//! The checks at the end of a load: what was sent against what the query API shows.
//!
//! Invariant: every figure is counted here from the data set, never taken from the system that is
//! being checked. Bookings of others on the same accounts are no fault: they are found among the
//! entries and set apart.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use domain::Currency;
use domain::money::decimal;
use serde::Deserialize;
use uuid::Uuid;

use super::berka::currency;
use super::chart::MEMBERS_CURRENT_ACCOUNTS;
use super::query::QueryClient;

/// How far the bank's last balance may be from the exact sum: fractions that it did not publish.
pub(crate) const BANK_TOLERANCE_MINOR: u64 = 100;
/// A list read while others post may be of two positions; then it is read again.
const READS_MAX: u32 = 3;

/// What an account must show.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    /// As the data set has it.
    pub(crate) source_id: u64,
    pub(crate) account_id: Uuid,
    /// The exact sum of its accepted rows.
    pub(crate) accepted_minor: i64,
    /// The exact sum of all its rows.
    pub(crate) published_minor: i64,
    pub(crate) rows: usize,
    /// The balance in the reply with the highest position, when it is known to be the last.
    pub(crate) replied_minor: Option<i64>,
    /// The last balance that the bank published, for an account with rows.
    pub(crate) bank_minor: Option<i64>,
    /// The transactions that its rows are.
    pub(crate) transactions: HashSet<Uuid>,
}

/// A check with its result.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) passed: bool,
    pub(crate) text: String,
}

impl Check {
    pub(crate) fn new(passed: bool, text: impl Into<String>) -> Self {
        Self { passed, text: text.into() }
    }
}

/// A line of the trial balance.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TrialLine {
    pub(crate) ledger_code: String,
    pub(crate) name: String,
    pub(crate) currency: Currency,
    pub(crate) debit: String,
    pub(crate) credit: String,
    pub(crate) balance: String,
}

#[derive(Deserialize)]
struct TrialBalance {
    lines: Vec<TrialLine>,
    parked: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct AccountLine {
    id: Uuid,
    currency: Currency,
    ledger_code: String,
    balance: String,
}

#[derive(Deserialize)]
struct EntryLine {
    transaction_id: Uuid,
    side: String,
    amount: WireAmount,
}

#[derive(Deserialize)]
struct WireAmount {
    amount: String,
    currency: Currency,
}

/// What the read models show.
pub(crate) struct Shown {
    pub(crate) trial_balance: Vec<TrialLine>,
    /// Whether events could not be applied.
    parked: bool,
    accounts: HashMap<Uuid, i128>,
    /// Sum of the accounts' balances and their number, by code and currency.
    by_code: BTreeMap<(String, String), (i128, u64)>,
}

/// Reads trial balance and accounts as they are at that position or later, and checks them against
/// each other.
pub(crate) async fn ledger(query: &QueryClient, position: u64) -> Result<(Shown, Vec<Check>)> {
    let mut reads = 0;
    loop {
        reads += 1;
        let shown = read(query, position).await?;
        let checks = ledger_checks(&shown)?;
        if reads >= READS_MAX || checks.iter().all(|check| check.passed) {
            return Ok((shown, checks));
        }
    }
}

async fn read(query: &QueryClient, position: u64) -> Result<Shown> {
    let position = position.to_string();
    let at_least = [("min_position", position.as_str())];
    let trial: TrialBalance = query.get("/v1/trial-balance", &at_least).await?;
    let lines: Vec<AccountLine> = query.all("/v1/accounts", &at_least).await?;
    let mut shown =
        Shown { trial_balance: trial.lines, parked: trial.parked, accounts: HashMap::new(), by_code: BTreeMap::new() };
    for line in lines {
        let balance_minor = parse(&line.balance, line.currency)?;
        let code = (line.ledger_code, line.currency.code().to_owned());
        let (sum_minor, count) = shown.by_code.entry(code).or_default();
        *sum_minor += balance_minor;
        *count += 1;
        shown.accounts.insert(line.id, balance_minor);
    }
    Ok(shown)
}

fn ledger_checks(shown: &Shown) -> Result<Vec<Check>> {
    let mut totals: BTreeMap<Currency, (i128, i128)> = BTreeMap::new();
    let mut checks = Vec::new();
    for line in &shown.trial_balance {
        let (debit_minor, credit_minor) = totals.entry(line.currency).or_default();
        *debit_minor += parse(&line.debit, line.currency)?;
        *credit_minor += parse(&line.credit, line.currency)?;
    }
    for (currency, (debit_minor, credit_minor)) in totals {
        let text = format!(
            "trial balance in {currency}: debits {} = credits {}",
            decimal(debit_minor, currency),
            decimal(credit_minor, currency)
        );
        checks.push(Check::new(debit_minor == credit_minor, text));
    }
    let mut differing = 0u64;
    for line in &shown.trial_balance {
        let code = (line.ledger_code.clone(), line.currency.code().to_owned());
        let (sum_minor, count) = shown.by_code.get(&code).copied().unwrap_or_default();
        let equal = parse(&line.balance, line.currency)? == sum_minor;
        differing += u64::from(!equal);
        if line.ledger_code == MEMBERS_CURRENT_ACCOUNTS || !equal {
            let sum = decimal(sum_minor, line.currency);
            let text = format!(
                "code {} {}: {} = sum of its {count} accounts {sum}",
                line.ledger_code, line.name, line.balance
            );
            checks.push(Check::new(equal, text));
        }
    }
    checks.push(Check::new(!shown.parked, "every event could be applied to the read models"));
    let text = format!("{} ledger codes: each equals the sum of its accounts", shown.trial_balance.len());
    checks.push(Check::new(differing == 0, text));
    Ok(checks)
}

/// An account with what was found.
pub(crate) struct Found {
    pub(crate) shown_minor: Option<i128>,
    /// The sum of entries that this load did not make.
    pub(crate) foreign_minor: i128,
    pub(crate) bank_agrees: Option<bool>,
}

impl Found {
    fn matches(&self, expected: &Expectation) -> bool {
        self.shown_minor == Some(i128::from(expected.accepted_minor) + self.foreign_minor)
    }
}

/// Checks every account: the exact sum of its accepted rows against the balance in the log's replies
/// and in the read model, and the bank's own last balance.
pub(crate) async fn accounts(
    query: &QueryClient,
    shown: &Shown,
    expected: &[Expectation],
    bank_percent: usize,
) -> Result<(Vec<Found>, Vec<Check>)> {
    let mut found = Vec::with_capacity(expected.len());
    for account in expected {
        let shown_minor = shown.accounts.get(&account.account_id).copied();
        let mut finding = Found { shown_minor, foreign_minor: 0, bank_agrees: bank_agrees(account) };
        if shown_minor.is_some() && !finding.matches(account) {
            finding.foreign_minor = foreign_minor(query, account).await?;
        }
        found.push(finding);
    }
    let pairs = || expected.iter().zip(&found);
    let matching = pairs().filter(|(account, finding)| finding.matches(account)).count();
    let foreign = found.iter().filter(|finding| finding.foreign_minor != 0).count();
    let mut text =
        format!("read model: balance = exact sum of the accepted rows, {matching} of {} accounts", expected.len());
    if foreign > 0 {
        text.push_str(&format!(" (on {foreign}, bookings of others are set apart)"));
    }
    let mut checks = vec![replies(expected, &found), Check::new(matching == expected.len(), text)];
    checks.extend(bank(&found, bank_percent));
    Ok((found, checks))
}

fn replies(expected: &[Expectation], found: &[Found]) -> Check {
    let comparable = || {
        expected.iter().zip(found).filter(|(_, finding)| finding.foreign_minor == 0).filter_map(|(account, _)| {
            account.replied_minor.map(|replied_minor| replied_minor == account.accepted_minor)
        })
    };
    let (count, equal) = (comparable().count(), comparable().filter(|equal| *equal).count());
    Check::new(
        count == equal,
        format!("log: balance in the last reply = exact sum, {equal} of {count} accounts with rows"),
    )
}

fn bank(found: &[Found], percent: usize) -> Option<Check> {
    let count = found.iter().filter(|finding| finding.bank_agrees.is_some()).count();
    let agreeing = found.iter().filter(|finding| finding.bank_agrees == Some(true)).count();
    let enough = agreeing * 100 >= count * percent;
    let per_mille = agreeing * 1000 / count.max(1);
    let text = format!(
        "the bank's own last balance is within 1.00 {} of the exact sum: {agreeing} of {count} accounts, {}.{} % (at least {percent} %)",
        currency(),
        per_mille / 10,
        per_mille % 10,
    );
    (count > 0).then(|| Check::new(enough, text))
}

/// Whether it does; `None` for an account without rows.
fn bank_agrees(account: &Expectation) -> Option<bool> {
    account.bank_minor.map(|bank_minor| bank_minor.abs_diff(account.published_minor) <= BANK_TOLERANCE_MINOR)
}

/// The sum of the account's entries that are none of the data set's rows.
async fn foreign_minor(query: &QueryClient, account: &Expectation) -> Result<i128> {
    let path = format!("/v1/accounts/{}/entries", account.account_id);
    let entries: Vec<EntryLine> = query.all(&path, &[]).await?;
    let mut sum_minor = 0;
    for entry in entries.iter().filter(|entry| !account.transactions.contains(&entry.transaction_id)) {
        let amount_minor = parse(&entry.amount.amount, entry.amount.currency)?;
        // A member's current account is the institution's debt: it grows on the credit side.
        sum_minor += if entry.side == "credit" { amount_minor } else { -amount_minor };
    }
    Ok(sum_minor)
}

/// Minor units of a decimal of any size: a sum over many accounts may be more than one amount may be.
pub(super) fn parse(text: &str, currency: Currency) -> Result<i128> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let exact = decimals.len() == usize::from(currency.minor_units()) && decimals.bytes().all(|b| b.is_ascii_digit());
    ensure!(exact, "`{text}` is not an amount of {currency}");
    format!("{whole}{decimals}").parse().with_context(|| format!("`{text}` is not an amount of {currency}"))
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
