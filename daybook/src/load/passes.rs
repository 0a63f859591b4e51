//! The passes over a data set, and what is known after each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Result, bail};
use chrono::NaiveDate;
use domain::Money;
use uuid::Uuid;

use super::CreditLines;
use super::bank;
use super::berka::{DataSet, Role, Transaction, currency};
use super::chart;
use super::client::{Answer, Outcome, Refusal};
use super::identity::{transaction_after_limit_key, transaction_key};
use super::loan_proof::PaidOut;
use super::loans;
use super::mapping::{self, Class, Ids, Other};
use super::phase::{self, Job, Sender, Tally};
use super::proof::{Check, Expectation};
use super::query::QueryClient;
use super::refusals::{self, Line, Subject};

const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
/// Codes which say that a part of the ledger's frame is there, from an earlier load or by hand.
const FRAME_EXISTS: [&str; 6] =
    ["currency_exists", "ledger_code_exists", "period_exists", "period_overlaps", "id_taken", "account_number_taken"];

/// What became of a row of `trans.asc`.
#[derive(Debug)]
enum RowState {
    Unsent,
    Accepted,
    /// Refused in the first pass, and not accepted since.
    Refused(Refusal),
}

/// The newest balance that a reply named for an account.
#[derive(Clone, Copy, Debug)]
struct Replied {
    position: u64,
    balance_minor: i64,
}

/// A load under way.
pub(crate) struct Load<'a> {
    set: &'a DataSet,
    ids: Ids,
    sender: Sender,
    classes: Vec<Class>,
    rows: Vec<RowState>,
    /// First refusals by row, whatever became of them since.
    refused_first: BTreeMap<usize, Refusal>,
    /// Refusals of anything but rows, by idempotency key.
    refused_others: BTreeMap<String, Refusal>,
    replied: HashMap<u64, Replied>,
    /// Accounts with rows that were accepted in a way that named no balance.
    unnamed: HashSet<u64>,
    tallies: Vec<Tally>,
}

impl<'a> Load<'a> {
    /// Prepares a load; a row without a meaning is an error before anything is sent.
    pub(crate) fn new(set: &'a DataSet, sender: Sender) -> Result<Self> {
        Ok(Self {
            ids: Ids::of(set),
            classes: set.transactions.iter().map(mapping::classify).collect::<Result<_>>()?,
            rows: set.transactions.iter().map(|_| RowState::Unsent).collect(),
            set,
            sender,
            refused_first: BTreeMap::new(),
            refused_others: BTreeMap::new(),
            replied: HashMap::new(),
            unnamed: HashSet::new(),
            tallies: Vec::new(),
        })
    }

    /// Sends everything, phase after phase.
    pub(crate) async fn run(
        &mut self,
        credit_lines: CreditLines,
        today: NaiveDate,
        reports: &Path,
        query: &QueryClient,
    ) -> Result<()> {
        self.frame(today).await?;
        self.members().await?;
        self.accounts().await?;
        self.loans(query).await?;
        let all: Vec<usize> = (0..self.rows.len()).collect();
        self.transactions("transactions", &all, transaction_key).await?;
        self.report_refusals(reports)?;
        if credit_lines == CreditLines::Grant {
            self.grant_credit_lines().await?;
            let again = self.refused_rows();
            self.transactions("refused, sent again", &again, transaction_after_limit_key).await?;
            self.report_refusals(reports)?;
        }
        Ok(())
    }

    /// Currency, chart, periods, internal accounts. Nothing works without them, so a refusal ends the load.
    async fn frame(&mut self, today: NaiveDate) -> Result<()> {
        let dates = || self.set.transactions.iter().map(|row| row.date);
        let (first, last) = (dates().min().unwrap_or(today), dates().max().unwrap_or(today));
        let last = if self.set.loans.is_empty() { last } else { last.max(chart::LOANS_UNTIL) };
        let requests = chart::requests(first, last, today);
        let mut refused = Vec::new();
        // One lane: accounts need their codes.
        let jobs =
            requests.iter().map(|request| Job { lane: 0, subject: request.key.clone(), request: request.clone() });
        let tally = phase::run("ledger", requests.len(), jobs, &self.sender, |key, answer| {
            if let Outcome::Refused(refusal) = answer.outcome
                && !FRAME_EXISTS.contains(&refusal.code.as_str())
            {
                refused.push(format!("{key}: {} ({})", refusal.detail, refusal.code));
            }
        })
        .await?;
        self.tallies.push(tally);
        if refused.is_empty() { Ok(()) } else { bail!("the ledger cannot be set up: {}", refused.join("; ")) }
    }

    async fn members(&mut self) -> Result<()> {
        let clients = &self.set.clients;
        let requests = clients
            .iter()
            .flat_map(|client| mapping::member(client, &self.ids).map(|request| (client.client_id, request)));
        let jobs = requests.map(|(lane, request)| Job { lane, subject: request.key.clone(), request });
        let refused = &mut self.refused_others;
        let tally = phase::run("members", clients.len() * 2, jobs, &self.sender, |key, answer| {
            if let Outcome::Refused(refusal) = answer.outcome {
                refused.insert(key, refusal);
            }
        })
        .await?;
        self.tallies.push(tally);
        Ok(())
    }

    async fn accounts(&mut self) -> Result<()> {
        let mut holders: HashMap<u64, Vec<(u64, Role)>> = HashMap::new();
        for disposition in &self.set.dispositions {
            holders.entry(disposition.account_id).or_default().push((disposition.client_id, disposition.role));
        }
        let jobs = self.set.accounts.iter().map(|account| {
            let held_by = holders.get(&account.account_id).map_or(&[][..], Vec::as_slice);
            let request = mapping::account(account, held_by, &self.ids);
            Job { lane: account.account_id, subject: request.key.clone(), request }
        });
        let refused = &mut self.refused_others;
        let tally = phase::run("accounts", self.set.accounts.len(), jobs, &self.sender, |key, answer| {
            if let Outcome::Refused(refusal) = answer.outcome {
                refused.insert(key, refusal);
            }
        })
        .await?;
        self.tallies.push(tally);
        Ok(())
    }

    /// Applies for every loan, approves it and has it paid out to another bank; done when all are
    /// active, since their repayments come next.
    async fn loans(&mut self, query: &QueryClient) -> Result<()> {
        if self.set.loans.is_empty() {
            return Ok(());
        }
        let (ids, count) = (&self.ids, self.set.loans.len());
        let product = loans::product(&self.set.loans);
        // One lane a loan; the product goes before all of them.
        self.sender.client.send(&product).await?;
        let requests =
            self.set.loans.iter().flat_map(|loan| loans::paid_out(loan, ids).map(|request| (loan.loan_id, request)));
        let jobs = requests.map(|(lane, request)| Job { lane, subject: request.key.clone(), request });
        let refused = &mut self.refused_others;
        let tally = phase::run("loans", count * 3, jobs, &self.sender, |key, answer| {
            if let Outcome::Refused(refusal) = answer.outcome {
                refused.insert(key, refusal);
            }
        })
        .await?;
        self.tallies.push(tally);
        let position = self.sender.client.acknowledged().load(std::sync::atomic::Ordering::Relaxed);
        loans::await_paid_out(query, position).await
    }

    /// Sends rows, an account's one after another in the order of the file.
    async fn transactions(&mut self, name: &'static str, which: &[usize], key: fn(u64) -> String) -> Result<()> {
        let (set, classes, ids) = (self.set, &self.classes, &self.ids);
        let jobs = which.iter().map(|at| {
            let row = &set.transactions[*at];
            let request = mapping::transaction(row, classes[*at], key(row.trans_id), ids);
            Job { lane: row.account_id, subject: *at, request }
        });
        let mut answers = Answers {
            set,
            ids,
            rows: &mut self.rows,
            refused_first: &mut self.refused_first,
            replied: &mut self.replied,
            unnamed: &mut self.unnamed,
        };
        let tally = phase::run(name, which.len(), jobs, &self.sender, |at, answer| answers.take(at, answer)).await?;
        self.tallies.push(tally);
        Ok(())
    }

    /// Grants every account that was short of money what the bank evidently let it have.
    async fn grant_credit_lines(&mut self) -> Result<()> {
        let short = self.refused_first.iter().filter(|(_, refusal)| refusal.code == INSUFFICIENT_FUNDS);
        let accounts: BTreeSet<u64> = short.map(|(at, _)| self.set.transactions[*at].account_id).collect();
        let mut changes: HashMap<u64, Vec<i64>> = HashMap::new();
        for row in self.set.transactions.iter().filter(|row| accounts.contains(&row.account_id)) {
            changes.entry(row.account_id).or_default().push(row.change_minor());
        }
        let jobs = accounts.iter().map(|account_id| {
            let of_account = changes.get(account_id).map_or(&[][..], Vec::as_slice);
            let line_minor = bank::evident_credit_line_minor(of_account.iter().copied());
            let request = mapping::credit_line(*account_id, line_minor, &self.ids);
            Job { lane: *account_id, subject: request.key.clone(), request }
        });
        let refused = &mut self.refused_others;
        let tally = phase::run("credit lines", accounts.len(), jobs, &self.sender, |key, answer| {
            if let Outcome::Refused(refusal) = answer.outcome {
                refused.insert(key, refusal);
            }
        })
        .await?;
        self.tallies.push(tally);
        Ok(())
    }

    fn refused_rows(&self) -> Vec<usize> {
        let refused = |at: &usize| matches!(self.rows[*at], RowState::Refused(_));
        (0..self.rows.len()).filter(refused).collect()
    }

    fn report_refusals(&self, folder: &Path) -> Result<()> {
        let rows = self.refused_first.iter().map(|(at, first)| {
            let subject = Subject::Transaction(&self.set.transactions[*at]);
            match &self.rows[*at] {
                RowState::Refused(refusal) => Line { subject, refusal, outcome: "refused" },
                RowState::Accepted | RowState::Unsent => {
                    Line { subject, refusal: first, outcome: "accepted with a credit line" }
                }
            }
        });
        let others = self.refused_others.iter();
        let others = others.map(|(key, refusal)| Line { subject: Subject::Other(key), refusal, outcome: "refused" });
        refusals::write(folder, others.chain(rows)).map(drop)
    }

    /// The counts and times of every phase so far.
    pub(crate) fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// What the first pass refused: rows and accounts by code.
    pub(crate) fn refused_first(&self) -> BTreeMap<String, (usize, usize)> {
        let mut by_code: BTreeMap<String, (usize, BTreeSet<u64>)> = BTreeMap::new();
        for (at, refusal) in &self.refused_first {
            let (rows, accounts) = by_code.entry(refusal.code.clone()).or_default();
            *rows += 1;
            accounts.insert(self.set.transactions[*at].account_id);
        }
        by_code.into_iter().map(|(code, (rows, accounts))| (code, (rows, accounts.len()))).collect()
    }

    /// What every account must show now.
    pub(crate) fn expectations(&self) -> Vec<Expectation> {
        let mut rows_of: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, row) in self.set.transactions.iter().enumerate() {
            rows_of.entry(row.account_id).or_default().push(at);
        }
        let of_account = |account: &super::berka::Account| {
            let at = rows_of.get(&account.account_id).map_or(&[][..], Vec::as_slice);
            self.expectation(account.account_id, at)
        };
        self.set.accounts.iter().map(of_account).collect()
    }

    fn expectation(&self, account_id: u64, at: &[usize]) -> Expectation {
        let rows: Vec<&Transaction> = at.iter().map(|at| &self.set.transactions[*at]).collect();
        let accepted = at.iter().filter(|at| matches!(self.rows[**at], RowState::Accepted));
        let replied = self.replied.get(&account_id).filter(|_| !self.unnamed.contains(&account_id));
        Expectation {
            source_id: account_id,
            account_id: self.ids.account(account_id),
            accepted_minor: accepted.map(|at| self.set.transactions[*at].change_minor()).sum(),
            published_minor: rows.iter().map(|row| row.change_minor()).sum(),
            rows: rows.len(),
            replied_minor: replied.map(|replied| replied.balance_minor),
            bank_minor: bank::last_balance_minor(&rows),
            transactions: rows.iter().map(|row| mapping::transaction_id(row)).collect(),
        }
    }

    /// What every loan must show now, and the transactions by which the data set's rows have paid.
    pub(crate) fn loan_expectations(&self) -> (Vec<PaidOut>, HashSet<Uuid>) {
        let mut paid: HashMap<u64, i64> = HashMap::new();
        let mut own = HashSet::new();
        for (at, row) in self.set.transactions.iter().enumerate() {
            if self.classes[at].other == Other::Loan && matches!(self.rows[at], RowState::Accepted) {
                *paid.entry(row.account_id).or_default() += row.amount_minor;
                own.insert(mapping::transaction_id(row));
            }
        }
        let of_loan = |loan: &super::berka::Loan| PaidOut {
            loan_id: loans::loan_id(loan),
            number: loans::loan_number(loan),
            amount_minor: loan.amount_minor,
            paid_minor: paid.get(&loan.account_id).copied().unwrap_or(0),
        };
        (self.set.loans.iter().map(of_loan).collect(), own)
    }

    /// That nothing was dropped, and that nothing is left refused where credit lines were granted.
    pub(crate) fn checks(&self, credit_lines: CreditLines) -> Vec<Check> {
        let accepted = self.rows.iter().filter(|row| matches!(row, RowState::Accepted)).count();
        let refused = self.refused_rows().len();
        let published = self.set.transactions.len();
        let text = format!("accepted {accepted} + refused {refused} = published {published} rows");
        let mut checks = vec![Check::new(accepted + refused == published, text)];
        if credit_lines == CreditLines::Grant {
            checks.push(Check::new(refused == 0, format!("with the credit lines granted, {refused} rows are refused")));
        }
        let others = self.refused_others.len();
        let (members, accounts, loans) = (self.set.clients.len(), self.set.accounts.len(), self.set.loans.len());
        let text =
            format!("{members} members, {accounts} accounts and {loans} loans, {others} of their commands refused");
        checks.push(Check::new(others == 0, text));
        checks
    }
}

/// Takes the answers to rows.
struct Answers<'a> {
    set: &'a DataSet,
    ids: &'a Ids,
    rows: &'a mut [RowState],
    refused_first: &'a mut BTreeMap<usize, Refusal>,
    replied: &'a mut HashMap<u64, Replied>,
    unnamed: &'a mut HashSet<u64>,
}

impl Answers<'_> {
    fn take(&mut self, at: usize, answer: Answer) {
        let account_id = self.set.transactions[at].account_id;
        self.rows[at] = match answer.outcome {
            Outcome::Accepted(accepted) => {
                let named = balance_minor(&accepted.balances, self.ids.account(account_id));
                match named {
                    Some(balance_minor) => {
                        self.note(account_id, Replied { position: accepted.position, balance_minor })
                    }
                    None => drop(self.unnamed.insert(account_id)),
                }
                RowState::Accepted
            }
            Outcome::Settled => {
                self.unnamed.insert(account_id);
                RowState::Accepted
            }
            Outcome::Refused(refusal) => {
                self.refused_first.entry(at).or_insert_with(|| refusal.clone());
                RowState::Refused(refusal)
            }
        };
    }

    fn note(&mut self, account_id: u64, replied: Replied) {
        let newest = self.replied.entry(account_id).or_insert(replied);
        if newest.position < replied.position {
            *newest = replied;
        }
    }
}

fn balance_minor(balances: &[super::client::TouchedBalance], account_id: Uuid) -> Option<i64> {
    let touched = balances.iter().find(|balance| balance.account_id == account_id)?;
    Some(Money::parse(&touched.balance, currency()).ok()?.amount_minor)
}
