//! What must come of payments on loans, as their generator wrote it down, against what the query API
//! shows: loan by loan, and as the portfolio at risk.
//!
//! Invariant: a loan on which others have paid as well is set apart, and told; a payment that was taken
//! twice is no such thing, and fails.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use domain::money::decimal;
use serde::Deserialize;
use uuid::Uuid;

use super::berka::currency;
use super::loan_proof::{self, LoanLine, Paid};
use super::proof::{Check, parse};
use super::query::QueryClient;
use crate::sample::payments::EXPECTED_HEADER;

/// The loans of a file, all as of one date.
#[derive(Default)]
pub(super) struct Expected {
    loans: Vec<LoanExpectation>,
    /// Loans of which payments are known that are none of ours.
    paid_by_others: HashSet<Uuid>,
}

/// What a loan must show.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct LoanExpectation {
    loan_number: String,
    as_of: NaiveDate,
    status: String,
    /// By the data set's own rows, from the member's account.
    paid_before: String,
    paid: String,
    outstanding: String,
    surplus: String,
    days_past_due: i64,
    bucket: String,
}

#[derive(Deserialize)]
struct ArrearsLine {
    number: String,
    days_past_due: i64,
    bucket: String,
    outstanding: String,
}

#[derive(Deserialize)]
struct PortfolioAtRisk {
    currencies: Vec<RiskOfCurrency>,
    portfolio_accounts: Vec<PortfolioAccount>,
}

#[derive(Deserialize)]
struct RiskOfCurrency {
    currency: String,
    lines: Vec<RiskLine>,
    loans: u64,
    outstanding_principal: String,
    at_risk_share: String,
    at_risk_over_30_share: String,
}

#[derive(Deserialize)]
struct RiskLine {
    bucket: String,
    loans: u64,
    outstanding_principal: String,
    share: String,
}

#[derive(Deserialize)]
struct PortfolioAccount {
    account_id: Uuid,
    ledger_balance: String,
    loans_principal: String,
    agrees: bool,
}

impl Expected {
    /// Reads the file that the generator wrote beside the payments.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let at = || path.display().to_string();
        let mut reader = csv::Reader::from_path(path).with_context(at)?;
        ensure!(
            reader.headers()?.iter().eq(EXPECTED_HEADER.split(',')),
            "{}: the header is not {EXPECTED_HEADER}",
            at()
        );
        let loans: Vec<LoanExpectation> = reader.deserialize().collect::<Result<_, _>>().with_context(at)?;
        let one_date = loans.windows(2).all(|pair| pair[0].as_of == pair[1].as_of);
        ensure!(one_date, "{}: its loans are not all as of one date", at());
        Ok(Self { loans, paid_by_others: HashSet::new() })
    }

    /// The same, with these loans set apart.
    pub(super) fn without(self, paid_by_others: HashSet<Uuid>) -> Self {
        Self { paid_by_others, ..self }
    }

    /// The date as of which all of it holds; none without a loan.
    pub(super) fn as_of(&self) -> Option<NaiveDate> {
        self.loans.first().map(|loan| loan.as_of)
    }

    /// Compares every loan, and gives the ids of those that are there.
    pub(super) async fn check(
        &self,
        query: &QueryClient,
        shown: &BTreeMap<String, LoanLine>,
        suspense_account: Uuid,
        position: u64,
    ) -> Result<(Vec<Check>, HashSet<Uuid>)> {
        let Some(as_of) = self.as_of() else {
            let check = Check::new(true, "what came of the payments was not compared: nothing says what was meant");
            return Ok((vec![check], HashSet::new()));
        };
        let loan_ids: Vec<Uuid> = self.loans.iter().filter_map(|loan| Some(shown.get(&loan.loan_number)?.id)).collect();
        let paid = loan_proof::paid(query, loan_ids.clone(), |_, _| true).await?;
        let direct = loan_proof::paid(query, loan_ids.clone(), move |_, from| from != suspense_account).await?;
        let late = arrears(query, as_of, position).await?;
        let (mut status, mut amounts, mut lateness) = (Tally::default(), Tally::default(), Tally::default());
        let mut set_apart = 0;
        for loan in &self.loans {
            let Some(line) = shown.get(&loan.loan_number) else {
                status.differs(format!("{}: not there", loan.loan_number));
                continue;
            };
            let direct_minor = direct.get(&line.id).map_or(0, |paid| paid.taken_minor);
            if self.paid_by_others.contains(&line.id) || direct_minor > parse(&loan.paid_before, currency())? {
                set_apart += 1;
                continue;
            }
            status.compare(loan, &loan.status, &line.status);
            let of_loan = paid.get(&line.id).copied().unwrap_or_default();
            amounts.compare(loan, &loan.amounts()?, &(of_loan, line.owed_minor()?));
            let seen = late.get(&loan.loan_number).cloned().unwrap_or_else(|| (0, "current".to_owned(), 0));
            let owed_minor = parse(&loan.outstanding, currency())?;
            lateness.compare(loan, &(loan.days_past_due, loan.bucket.clone(), owed_minor), &seen);
        }
        let count = self.loans.len() - set_apart;
        let mut checks = vec![
            status.check(format!("loans: status as meant, of {count}"), count),
            amounts.check(format!("loans: paid, too much paid and outstanding as meant, of {count}"), count),
            lateness.check(format!("loans: days past due and bucket as of {as_of} as meant, of {count}"), count),
        ];
        if set_apart > 0 {
            let text = format!("loans: {set_apart} on which others have paid as well are set apart");
            checks.push(Check::new(true, text));
        }
        checks.extend(self.risk(query, shown.len() + set_apart, as_of, position).await?);
        Ok((checks, loan_ids.into_iter().collect()))
    }

    /// The portfolio at risk, line by line, where nobody else has a part in it.
    async fn risk(
        &self,
        query: &QueryClient,
        loans_and_set_apart: usize,
        as_of: NaiveDate,
        position: u64,
    ) -> Result<Vec<Check>> {
        let risk = portfolio_at_risk(query, as_of, position).await?;
        let mut meant: BTreeMap<&str, (u64, i128)> = BTreeMap::new();
        let mut owed_minor = 0;
        for loan in &self.loans {
            let minor = parse(&loan.outstanding, currency())?;
            owed_minor += minor;
            if minor > 0 {
                let (loans, sum_minor) = meant.entry(&loan.bucket).or_default();
                *loans += 1;
                *sum_minor += minor;
            }
        }
        let mut seen: BTreeMap<&str, (u64, i128)> = BTreeMap::new();
        for line in risk.currencies.iter().filter(|risk| risk.currency == currency().code()).flat_map(|r| &r.lines) {
            if line.loans > 0 {
                seen.insert(&line.bucket, (line.loans, parse(&line.outstanding_principal, currency())?));
            }
        }
        let mut checks = Vec::new();
        if loans_and_set_apart == self.loans.len() {
            let owed = decimal(owed_minor, currency());
            let text = format!("portfolio at risk as of {as_of}: each bucket as meant, {owed}");
            checks.push(Check::new(seen == meant, text));
        }
        for account in &risk.portfolio_accounts {
            let PortfolioAccount { account_id, ledger_balance, loans_principal, agrees } = account;
            let text =
                format!("portfolio account {account_id} as of {as_of}: {ledger_balance} = its loans {loans_principal}");
            checks.push(Check::new(*agrees, text));
        }
        Ok(checks)
    }
}

impl LoanExpectation {
    fn amounts(&self) -> Result<(Paid, i128)> {
        let minor = |text: &str| parse(text, currency());
        let paid = Paid { taken_minor: minor(&self.paid)?, surplus_minor: minor(&self.surplus)? };
        Ok((paid, minor(&self.outstanding)?))
    }
}

/// How many loans are as meant, and the first that is not.
#[derive(Default)]
struct Tally {
    matching: usize,
    first_differing: Option<String>,
}

impl Tally {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, loan: &LoanExpectation, meant: &T, seen: &T) {
        if meant == seen {
            self.matching += 1;
        } else {
            self.differs(format!("{}: {meant:?} meant, {seen:?} shown", loan.loan_number));
        }
    }

    fn differs(&mut self, text: String) {
        self.first_differing.get_or_insert(text);
    }

    fn check(self, text: String, count: usize) -> Check {
        let first = self.first_differing.map(|first| format!("; {first}")).unwrap_or_default();
        Check::new(self.matching == count, format!("{text}: {}{first}", self.matching))
    }
}

/// Days past due, bucket and what is owed, of loans that owe something, by number.
async fn arrears(
    query: &QueryClient,
    as_of: NaiveDate,
    position: u64,
) -> Result<BTreeMap<String, (i64, String, i128)>> {
    let (as_of, position) = (as_of.to_string(), position.to_string());
    let parameters = [("as_of", as_of.as_str()), ("min_days", "0"), ("min_position", position.as_str())];
    let lines: Vec<ArrearsLine> = query.all("/v1/loans/arrears", &parameters).await?;
    let entry = |line: ArrearsLine| {
        let owed_minor = parse(&line.outstanding, currency())?;
        Ok((line.number, (line.days_past_due, line.bucket, owed_minor)))
    };
    lines.into_iter().map(entry).collect()
}

async fn portfolio_at_risk(query: &QueryClient, as_of: NaiveDate, position: u64) -> Result<PortfolioAtRisk> {
    let (as_of, position) = (as_of.to_string(), position.to_string());
    let parameters = [("as_of", as_of.as_str()), ("min_position", position.as_str())];
    query.get("/v1/loans/portfolio-at-risk", &parameters).await
}

/// The portfolio at risk for people.
pub(super) async fn risk_table(query: &QueryClient, as_of: NaiveDate, position: u64) -> Result<String> {
    let risk = portfolio_at_risk(query, as_of, position).await?;
    let mut text = format!("\nPortfolio at risk as of {as_of}\n");
    for risk in &risk.currencies {
        let (code, whole) = (&risk.currency, &risk.outstanding_principal);
        // A String takes any text.
        let _ = writeln!(text, "{:<15}{:>8}{:>24}{:>10}", "days past due", "loans", "outstanding principal", "share");
        for line in &risk.lines {
            let (sum, share) = (&line.outstanding_principal, &line.share);
            let _ = writeln!(text, "{:<15}{:>8}{sum:>24}{share:>10}", line.bucket, line.loans);
        }
        let _ = writeln!(text, "{:<15}{:>8}{whole:>24} {code}", "all", risk.loans);
        let (any, over_30) = (&risk.at_risk_share, &risk.at_risk_over_30_share);
        let _ = writeln!(text, "at risk {any}, by more than 30 days {over_30} of the outstanding principal");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Expected> {
        let path = std::env::temp_dir().join(format!("daybook-expected-{}", Uuid::now_v7()));
        std::fs::write(&path, text).unwrap();
        let read = Expected::read(&path);
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn what_was_meant_is_read_with_its_one_date() {
        let line = "L-1,1998-12-31,active,0.00,10.00,990.00,0.00,31,31-60\n";
        let expected = read(&format!("{EXPECTED_HEADER}\n{line}")).unwrap();
        assert_eq!(expected.as_of(), NaiveDate::from_ymd_opt(1998, 12, 31));
        let meant = (Paid { taken_minor: 1_000, surplus_minor: 0 }, 99_000);
        assert_eq!(expected.loans[0].amounts().unwrap(), meant);
        assert!(read(&format!("{EXPECTED_HEADER}\n{line}{}", line.replace("1998", "1997"))).is_err());
        assert!(read(&format!("loan_number,status\n{line}")).is_err());
    }

    #[test]
    fn the_first_loan_that_differs_is_named() {
        let expected =
            read(&format!("{EXPECTED_HEADER}\nL-1,1998-12-31,active,0.00,1.00,2.00,0.00,0,current\n")).unwrap();
        let mut tally = Tally::default();
        tally.compare(&expected.loans[0], &"active", &"active");
        tally.compare(&expected.loans[0], &"active", &"repaid");
        let check = tally.check("status, of 2".to_owned(), 2);
        assert!(!check.passed);
        assert_eq!(check.text, r#"status, of 2: 1; L-1: "active" meant, "repaid" shown"#);
    }
}
