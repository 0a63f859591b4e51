//! Reads the data set of a Czech bank (PKDD'99 Discovery Challenge, "Berka"): semicolon-separated
//! files, quoted text, dates `yymmdd`, amounts in CZK with two decimals.
//!
//! Invariants: everything is read and checked before anything is sent, and a fault names its file
//! and line; amounts become integer hellers and are never floats; the rows of `trans.asc` keep the
//! order of the file.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{Datelike, NaiveDate};
use domain::{Currency, Money};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A person of `client.asc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) client_id: u64,
    /// As published: `yymmdd`, month + 50 for women.
    pub(crate) birth_number: String,
    pub(crate) birth_date: NaiveDate,
    pub(crate) district_id: u64,
}

/// An account of `account.asc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) account_id: u64,
    pub(crate) district_id: u64,
    pub(crate) opened_on: NaiveDate,
}

/// What a client may do with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Owner,
    Disponent,
}

/// A row of `disp.asc`: who disposes of which account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disposition {
    pub(crate) client_id: u64,
    pub(crate) account_id: u64,
    pub(crate) role: Role,
}

/// Whether a row adds to the account or takes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// `PRIJEM`.
    Credit,
    /// `VYDAJ`, and `VYBER` (in cash).
    Debit,
}

/// The column `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// `VKLAD`: cash paid in.
    CashDeposit,
    /// `VYBER`: cash paid out.
    CashWithdrawal,
    /// `VYBER KARTOU`: paid out by card.
    CardWithdrawal,
    /// `PREVOD Z UCTU`: from another bank.
    FromOtherBank,
    /// `PREVOD NA UCET`: to another bank.
    ToOtherBank,
    /// Empty: the bank's own booking.
    Own,
}

/// The column `k_symbol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Symbol {
    /// Empty or a space.
    None,
    /// `UROK`.
    Interest,
    /// `SLUZBY`.
    StatementFee,
    /// `SANKC. UROK`.
    PenaltyInterest,
    /// `SIPO`.
    Household,
    /// `POJISTNE`.
    Insurance,
    /// `DUCHOD`.
    Pension,
    /// `UVER`.
    LoanPayment,
    /// `LEASING`.
    Leasing,
}

/// A row of `trans.asc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) trans_id: u64,
    pub(crate) account_id: u64,
    pub(crate) date: NaiveDate,
    pub(crate) direction: Direction,
    pub(crate) operation: Operation,
    pub(crate) symbol: Symbol,
    /// Not below zero.
    pub(crate) amount_minor: i64,
    /// The balance that the bank published after the row.
    pub(crate) balance_minor: i64,
}

impl Transaction {
    /// What the row does to the account, in minor units.
    pub(crate) fn change_minor(&self) -> i64 {
        match self.direction {
            Direction::Credit => self.amount_minor,
            Direction::Debit => -self.amount_minor,
        }
    }
}

/// A loan of `loan.asc`. Its amount is exactly its duration times its payment: no interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loan {
    pub(crate) loan_id: u64,
    pub(crate) account_id: u64,
    pub(crate) granted_on: NaiveDate,
    pub(crate) amount_minor: i64,
    /// Its duration.
    pub(crate) months: u16,
    /// What is paid each month.
    pub(crate) payment_minor: i64,
    /// What the bank says of it.
    pub(crate) standing: Standing,
}

/// What the bank says of a loan at the end of 1998.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// `A`: finished, paid.
    FinishedPaid,
    /// `B`: finished, not paid.
    FinishedUnpaid,
    /// `C`: running, all right so far.
    RunningFine,
    /// `D`: running, the client in debt.
    RunningInDebt,
}

/// The files that a load needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataSet {
    pub(crate) clients: Vec<Client>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) dispositions: Vec<Disposition>,
    /// In the order of the file.
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) loans: Vec<Loan>,
}

/// The currency of the data set.
pub(crate) fn currency() -> Currency {
    // CZK is the domain's default currency; a test holds it to that.
    Currency::default()
}

impl DataSet {
    /// Reads `client.asc`, `account.asc`, `disp.asc`, `trans.asc` and `loan.asc`, and checks that they fit together.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let set = Self {
            clients: read_file(folder, "client.asc", ClientRow::parse)?,
            accounts: read_file(folder, "account.asc", AccountRow::parse)?,
            dispositions: read_file(folder, "disp.asc", DispositionRow::parse)?,
            transactions: read_file(folder, "trans.asc", TransactionRow::parse)?,
            loans: read_file(folder, "loan.asc", LoanRow::parse)?,
        };
        set.check_references()?;
        Ok(set)
    }

    fn check_references(&self) -> Result<()> {
        let clients: std::collections::HashSet<u64> = self.clients.iter().map(|client| client.client_id).collect();
        let accounts: std::collections::HashMap<u64, NaiveDate> =
            self.accounts.iter().map(|account| (account.account_id, account.opened_on)).collect();
        for disposition in &self.dispositions {
            if !clients.contains(&disposition.client_id) || !accounts.contains_key(&disposition.account_id) {
                bail!("disp.asc: {disposition:?} names a client or an account that is not there");
            }
        }
        for row in &self.transactions {
            if !accounts.contains_key(&row.account_id) {
                bail!("trans.asc: row {} is on account {}, which is not there", row.trans_id, row.account_id);
            }
        }
        for loan in &self.loans {
            if !accounts.contains_key(&loan.account_id) {
                bail!("loan.asc: loan {} is on account {}, which is not there", loan.loan_id, loan.account_id);
            }
        }
        Ok(())
    }

    /// Keeps the first so many accounts with transactions and those of the first so many loans, with all on them.
    pub(crate) fn keep(&mut self, accounts: usize, loans: usize) {
        let mut kept = std::collections::HashSet::new();
        for row in &self.transactions {
            if kept.len() == accounts {
                break;
            }
            kept.insert(row.account_id);
        }
        kept.extend(self.loans.iter().take(loans).map(|loan| loan.account_id));
        self.transactions.retain(|row| kept.contains(&row.account_id));
        self.accounts.retain(|account| kept.contains(&account.account_id));
        self.loans.retain(|loan| kept.contains(&loan.account_id));
        self.dispositions.retain(|disposition| kept.contains(&disposition.account_id));
        let clients: std::collections::HashSet<u64> = self.dispositions.iter().map(|d| d.client_id).collect();
        self.clients.retain(|client| clients.contains(&client.client_id));
    }
}

#[derive(Deserialize)]
struct ClientRow {
    client_id: u64,
    birth_number: String,
    district_id: u64,
}

impl ClientRow {
    fn parse(self) -> Result<Client> {
        let birth_date = birth_date(&self.birth_number)?;
        Ok(Client {
            client_id: self.client_id,
            birth_number: self.birth_number,
            birth_date,
            district_id: self.district_id,
        })
    }
}

#[derive(Deserialize)]
struct AccountRow {
    account_id: u64,
    district_id: u64,
    date: String,
}

impl AccountRow {
    fn parse(self) -> Result<Account> {
        let opened_on = short_date(&self.date)?;
        Ok(Account { account_id: self.account_id, district_id: self.district_id, opened_on })
    }
}

#[derive(Deserialize)]
struct DispositionRow {
    client_id: u64,
    account_id: u64,
    #[serde(rename = "type")]
    role: String,
}

impl DispositionRow {
    fn parse(self) -> Result<Disposition> {
        let role = match self.role.as_str() {
            "OWNER" => Role::Owner,
            "DISPONENT" => Role::Disponent,
            other => bail!("`{other}` is neither OWNER nor DISPONENT"),
        };
        Ok(Disposition { client_id: self.client_id, account_id: self.account_id, role })
    }
}

#[derive(Deserialize)]
struct TransactionRow {
    trans_id: u64,
    account_id: u64,
    date: String,
    #[serde(rename = "type")]
    direction: String,
    operation: String,
    amount: String,
    balance: String,
    k_symbol: String,
}

impl TransactionRow {
    fn parse(self) -> Result<Transaction> {
        let amount_minor = minor(&self.amount)?;
        if amount_minor < 0 {
            bail!("the amount {} is below zero", self.amount);
        }
        Ok(Transaction {
            trans_id: self.trans_id,
            account_id: self.account_id,
            date: short_date(&self.date)?,
            direction: direction(&self.direction)?,
            operation: operation(&self.operation)?,
            symbol: symbol(&self.k_symbol)?,
            amount_minor,
            balance_minor: minor(&self.balance)?,
        })
    }
}

#[derive(Deserialize)]
struct LoanRow {
    loan_id: u64,
    account_id: u64,
    date: String,
    amount: String,
    duration: u16,
    payments: String,
    status: String,
}

impl LoanRow {
    fn parse(self) -> Result<Loan> {
        let (amount_minor, payment_minor) = (minor(&self.amount)?, minor(&self.payments)?);
        if payment_minor.checked_mul(i64::from(self.duration)) != Some(amount_minor) {
            bail!("the amount {} is not {} times {}", self.amount, self.duration, self.payments);
        }
        let standing = match self.status.as_str() {
            "A" => Standing::FinishedPaid,
            "B" => Standing::FinishedUnpaid,
            "C" => Standing::RunningFine,
            "D" => Standing::RunningInDebt,
            other => return Err(unknown("status", other)),
        };
        Ok(Loan {
            loan_id: self.loan_id,
            account_id: self.account_id,
            granted_on: short_date(&self.date)?,
            amount_minor,
            months: self.duration,
            payment_minor,
            standing,
        })
    }
}

fn direction(text: &str) -> Result<Direction> {
    match text {
        "PRIJEM" => Ok(Direction::Credit),
        "VYDAJ" | "VYBER" => Ok(Direction::Debit),
        other => Err(unknown("type", other)),
    }
}

fn operation(text: &str) -> Result<Operation> {
    match text {
        "VKLAD" => Ok(Operation::CashDeposit),
        "VYBER" => Ok(Operation::CashWithdrawal),
        "VYBER KARTOU" => Ok(Operation::CardWithdrawal),
        "PREVOD Z UCTU" => Ok(Operation::FromOtherBank),
        "PREVOD NA UCET" => Ok(Operation::ToOtherBank),
        "" => Ok(Operation::Own),
        other => Err(unknown("operation", other)),
    }
}

fn symbol(text: &str) -> Result<Symbol> {
    match text.trim() {
        "" => Ok(Symbol::None),
        "UROK" => Ok(Symbol::Interest),
        "SLUZBY" => Ok(Symbol::StatementFee),
        "SANKC. UROK" => Ok(Symbol::PenaltyInterest),
        "SIPO" => Ok(Symbol::Household),
        "POJISTNE" => Ok(Symbol::Insurance),
        "DUCHOD" => Ok(Symbol::Pension),
        "UVER" => Ok(Symbol::LoanPayment),
        "LEASING" => Ok(Symbol::Leasing),
        other => Err(unknown("k_symbol", other)),
    }
}

fn unknown(column: &str, text: &str) -> anyhow::Error {
    anyhow!("`{text}` is not a known {column}")
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Credit => "credit",
            Direction::Debit => "debit",
        })
    }
}

/// An amount in hellers, exactly.
fn minor(text: &str) -> Result<i64> {
    Ok(Money::parse(text, currency())?.amount_minor)
}

/// A date `yymmdd` of the twentieth century.
fn short_date(text: &str) -> Result<NaiveDate> {
    parts(text)
        .and_then(|(year, month, day)| NaiveDate::from_ymd_opt(1900 + year, month, day))
        .with_context(|| format!("`{text}` is not a date yymmdd"))
}

/// The date of birth of a birth number: a woman's month is 50 higher.
fn birth_date(birth_number: &str) -> Result<NaiveDate> {
    parts(birth_number)
        .and_then(|(year, month, day)| {
            let month = if month > 50 { month - 50 } else { month };
            NaiveDate::from_ymd_opt(1900 + year, month, day)
        })
        .with_context(|| format!("`{birth_number}` is not a birth number"))
}

fn parts(text: &str) -> Option<(i32, u32, u32)> {
    if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((text.get(0..2)?.parse().ok()?, text.get(2..4)?.parse().ok()?, text.get(4..6)?.parse().ok()?))
}

/// The first days of the months from one date to another, both included.
pub(crate) fn months(from: NaiveDate, to: NaiveDate) -> Vec<NaiveDate> {
    let mut months = Vec::new();
    let mut month = from.with_day(1);
    while let Some(first) = month.filter(|first| *first <= to) {
        months.push(first);
        month = first.checked_add_months(chrono::Months::new(1));
    }
    months
}

fn read_file<R: DeserializeOwned, T>(folder: &Path, name: &str, parse: fn(R) -> Result<T>) -> Result<Vec<T>> {
    let path = folder.join(name);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b';')
        .from_path(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let headers = reader.headers()?.clone();
    let mut record = csv::StringRecord::new();
    let mut rows = Vec::new();
    loop {
        // The first line has the names; no field goes over a line's end.
        let line = rows.len() + 2;
        let at = || format!("{name}, line {line}");
        if !reader.read_record(&mut record).with_context(at)? {
            return Ok(rows);
        }
        let row = record.deserialize::<R>(Some(&headers)).with_context(at)?;
        rows.push(parse(row).with_context(at)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).unwrap()
    }

    #[test]
    fn a_womans_month_of_birth_is_fifty_higher() {
        assert_eq!(birth_date("706213").unwrap(), day(1970, 12, 13));
        assert_eq!(birth_date("450204").unwrap(), day(1945, 2, 4));
        for wrong in ["", "45020", "451304", "706399", "45O204", "4502045"] {
            assert!(birth_date(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!(currency().code(), "CZK");
        assert_eq!(minor("700.00").unwrap(), 70_000);
        assert_eq!(minor("-2909.60").unwrap(), -290_960);
        assert_eq!(minor("0.1").unwrap(), 10);
        assert!(minor("0.001").is_err());
        assert!(minor("1e3").is_err());
    }

    #[test]
    fn a_fault_names_its_file_and_line() {
        let folder = std::env::temp_dir().join(format!("daybook-berka-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("client.asc"),
            "\"client_id\";\"birth_number\";\"district_id\"\r\n1;\"706213\";18\r\n2;\"459904\";1\r\n",
        )
        .unwrap();
        let error = read_file(&folder, "client.asc", ClientRow::parse).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(format!("{error:#}"), "client.asc, line 3: `459904` is not a birth number");
    }

    #[test]
    fn months_run_over_the_turn_of_the_year() {
        let months = months(day(1993, 11, 30), day(1994, 2, 1));
        assert_eq!(months, [day(1993, 11, 1), day(1993, 12, 1), day(1994, 1, 1), day(1994, 2, 1)]);
    }
}
