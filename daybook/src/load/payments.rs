//! `daybook load payments FILE`: hands a file of incoming payments in, waits until each has found its
//! loan, and checks loan by loan that what came of it is what was meant.
//!
//! Invariants: a payment's key follows from the bank's reference, so loading again, or after an
//! interruption, takes none twice; a file with an error is not begun; the payments of a loan are sent
//! in the order of the file, and its last one only when those before it are taken, since that one may
//! be more than is owed.
//!
//! With `--through-bank` the payments of every twentieth loan go to the bank simulator instead, which
//! tells of them by its webhook under references of its own. A file is always loaded in the same way:
//! a payment that was heard of from the bank and is then handed in as well is another payment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use command_api::loan_number_in;
use platform::Config;
use sagas::payments::file::{IncomingFile, IncomingPayment};
use serde_json::json;
use uuid::Uuid;

use super::ApiArgs;
use super::chart::Internal;
use super::client::{Outcome, Request};
use super::dispatch::in_lanes;
use super::expected::Expected;
use super::loan_proof::{self, SagaLine};
use super::mapping::amount_of;
use super::other_bank::OtherBank;
use super::phase::{self, Job, Sender, Tally};
use super::progress::Progress;
use super::proof::{self, Check};
use super::query::QueryClient;
use super::report;

/// The payments of one in so many loans go through the bank.
const THROUGH_BANK_EVERY: u64 = 20;
/// The most errors of a file that are told.
const ERRORS_TOLD_MAX: usize = 20;

/// Payments that came in, from a file as docs/incoming-payments.md describes it.
#[derive(Debug, clap::Args)]
pub(super) struct PaymentsArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    apis: ApiArgs,
    /// What must come of it, as `daybook sample payments` writes it [default: beside FILE, with
    /// .expected.csv at its end, if that is there].
    #[arg(long, value_name = "FILE")]
    expected: Option<PathBuf>,
    /// Send the payments of every twentieth loan to this bank simulator, which tells of them by webhook.
    #[arg(long, value_name = "URL")]
    through_bank: Option<String>,
    /// The account that stands for our account at the bank [default: DAYBOOK_INCOMING_BANK_ACCOUNT,
    /// or that of the data set's chart].
    #[arg(long, value_name = "ID")]
    bank_account: Option<Uuid>,
    /// The account where payments wait for their loans [default: DAYBOOK_INCOMING_SUSPENSE_ACCOUNT,
    /// or that of the data set's chart].
    #[arg(long, value_name = "ID")]
    suspense_account: Option<Uuid>,
}

/// Loads the file and checks the result; an error when a check fails.
pub(super) async fn run(args: PaymentsArgs, config: &Config) -> Result<()> {
    let payments = read(&args.file)?;
    let beside = crate::sample::payments::expected_path(&args.file);
    let expected = match args.expected {
        Some(path) => Expected::read(&path)?,
        None if beside.exists() => Expected::read(&beside)?,
        None => Expected::default(),
    };
    let (client, query) = args.apis.clients(config)?;
    let incoming = config.bank().incoming();
    let bank_account = args.bank_account.or(incoming.map(|accounts| accounts.bank_account));
    let suspense_account = args.suspense_account.or(incoming.map(|accounts| accounts.suspense_account));
    let patience = args.apis.patience();
    let through_bank = args.through_bank.map(|url| OtherBank::try_new(&url, config.bank().secret(), patience));
    let mut load = Load {
        sender: Sender { client, in_flight: usize::from(args.apis.in_flight) },
        query,
        through_bank: through_bank.transpose()?,
        bank_account: bank_account.unwrap_or_else(|| Internal::OtherBanks.id()),
        suspense_account: suspense_account.unwrap_or_else(|| Internal::Suspense.id()),
        references: HashSet::new(),
        refused: BTreeMap::new(),
        tallies: Vec::new(),
        patience,
    };
    let [most, last] = waves(&payments);
    load.wave("payments", most).await?;
    let (sagas, others) = load.wave("last payments", last).await?;
    let expected = expected.without(others.iter().filter_map(|saga| saga.loan_id).collect());
    load.report(&args.file, payments.len(), &sagas, &expected).await
}

/// All payments of the file, or its errors.
fn read(path: &Path) -> Result<Vec<IncomingPayment>> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut payments, mut errors) = (Vec::new(), Vec::new());
    for payment in IncomingFile::new(BufReader::new(file)) {
        match payment {
            Ok(payment) => payments.push(payment),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() {
        return Ok(payments);
    }
    let count = errors.len();
    errors.truncate(ERRORS_TOLD_MAX);
    bail!("{}: {count} errors, nothing is loaded: {}", path.display(), errors.join("; "))
}

/// A payment with the lane of its loan: payments of one loan are sent one after another.
#[derive(Clone, Copy)]
struct Sent<'a> {
    lane: u64,
    payment: &'a IncomingPayment,
}

/// The payments in the order of the file, but each loan's last one apart.
fn waves(payments: &[IncomingPayment]) -> [Vec<Sent<'_>>; 2] {
    let mut lanes: HashMap<&str, u64> = HashMap::new();
    let mut last: HashMap<u64, usize> = HashMap::new();
    let mut all = Vec::with_capacity(payments.len());
    for (at, payment) in payments.iter().enumerate() {
        let next = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
        let lane = *lanes.entry(&payment.reference).or_insert(next);
        last.insert(lane, at);
        all.push(Sent { lane, payment });
    }
    let is_last = |at: usize| last.get(&all[at].lane) == Some(&at);
    let (later, first): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|at| is_last(*at));
    [first, later].map(|which| which.into_iter().map(|at| all[at]).collect())
}

struct Load {
    sender: Sender,
    query: QueryClient,
    through_bank: Option<OtherBank>,
    bank_account: Uuid,
    suspense_account: Uuid,
    /// The references under which the payments so far are known.
    references: HashSet<String>,
    /// Why payments were refused, by reference.
    refused: BTreeMap<String, String>,
    tallies: Vec<Tally>,
    patience: std::time::Duration,
}

impl Load {
    /// Hands payments in and waits until all so far have found their loans; gives their sagas, and
    /// those of others' payments.
    async fn wave(&mut self, name: &'static str, payments: Vec<Sent<'_>>) -> Result<(Vec<SagaLine>, Vec<SagaLine>)> {
        let through_bank =
            |sent: &Sent<'_>| self.through_bank.is_some() && sent.lane.is_multiple_of(THROUGH_BANK_EVERY);
        let (by_bank, by_hand): (Vec<Sent<'_>>, Vec<Sent<'_>>) = payments.into_iter().partition(through_bank);
        self.pay_in(by_bank).await?;
        self.hand_in(name, &by_hand).await?;
        let position = self.sender.client.acknowledged().load(Ordering::Relaxed);
        let mut waiting = Progress::start("until all are taken", 1);
        let sagas = loan_proof::await_payments(&self.query, &self.references, position, self.patience).await?;
        waiting.step();
        waiting.finish();
        Ok(sagas)
    }

    async fn pay_in(&mut self, payments: Vec<Sent<'_>>) -> Result<()> {
        let Some(bank) = self.through_bank.clone().filter(|_| !payments.is_empty()) else { return Ok(()) };
        let mut progress = Progress::start("through the bank", u64::try_from(payments.len()).unwrap_or(u64::MAX));
        let pay = move |payment: IncomingPayment| {
            let bank = bank.clone();
            async move { bank.pay_in(&payment).await }
        };
        let jobs = payments.into_iter().map(|sent| (sent.lane, sent.payment.clone()));
        in_lanes(jobs, self.sender.in_flight, pay, |reference| {
            progress.step();
            self.references.insert(reference);
            Ok(())
        })
        .await?;
        progress.finish();
        Ok(())
    }

    async fn hand_in(&mut self, name: &'static str, payments: &[Sent<'_>]) -> Result<()> {
        let (bank_account, suspense_account) = (self.bank_account, self.suspense_account);
        let jobs = payments.iter().map(|Sent { lane, payment }| Job {
            lane: *lane,
            subject: payment.bank_reference.clone(),
            request: request(payment, bank_account, suspense_account),
        });
        let tally = phase::run(name, payments.len(), jobs, &self.sender, |reference, answer| match answer.outcome {
            Outcome::Accepted(_) | Outcome::Settled => drop(self.references.insert(reference)),
            Outcome::Refused(refusal) => {
                self.refused.insert(reference, format!("{} ({})", refusal.detail, refusal.code));
            }
        })
        .await?;
        self.tallies.push(tally);
        Ok(())
    }

    async fn report(&self, file: &Path, count: usize, sagas: &[SagaLine], expected: &Expected) -> Result<()> {
        let position = self.sender.client.acknowledged().load(Ordering::Relaxed);
        let mut checks = vec![self.taken(count), over(sagas)];
        // Read first, so that nothing that is still under way can be missed.
        let open = loan_proof::open_sagas(&self.query, None, position).await?;
        let loans = loan_proof::loans(&self.query, position).await?;
        let (loan_checks, loan_ids) = expected.check(&self.query, &loans, self.suspense_account, position).await?;
        checks.extend(loan_checks);
        checks.push(loan_proof::portfolio(&self.query, &loans, position).await?);
        checks.push(loan_proof::suspense(&self.query, self.suspense_account, &open, position).await?);
        checks.push(loan_proof::sagas_left_over(&open, &loan_ids, &self.references));
        let (shown, ledger_checks) = proof::ledger(&self.query, position).await?;
        checks.extend(ledger_checks);

        say!("\nLoaded {}\n", file.display());
        print!("{}", report::phases(&self.tallies));
        say!("\nloans by status: {}", loan_proof::by_status(loans.values()));
        if let Some(as_of) = expected.as_of() {
            print!("{}", super::expected::risk_table(&self.query, as_of, position).await?);
        }
        print!("\n{}\n{}", report::trial_balance(&shown.trial_balance), report::checks(&checks));
        let failed = checks.iter().filter(|check| !check.passed).count();
        if failed > 0 {
            bail!("{failed} of {} checks failed", checks.len());
        }
        Ok(())
    }

    fn taken(&self, count: usize) -> Check {
        let mut text = format!("payments: {} of {count} taken", self.references.len());
        if let Some((reference, why)) = self.refused.first_key_value() {
            text.push_str(&format!(", {} refused, the first {reference}: {why}", self.refused.len()));
        }
        Check::new(self.references.len() == count, text)
    }
}

/// That every payment's saga has come to its end.
fn over(sagas: &[SagaLine]) -> Check {
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for saga in sagas {
        let end = saga.code.as_deref().unwrap_or("no code");
        *ends.entry(format!("{} ({end})", saga.status)).or_default() += 1;
    }
    let told: Vec<String> = ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
    let completed = sagas.iter().all(|saga| saga.status == "completed");
    Check::new(completed, format!("payments: {}", if told.is_empty() { "none".to_owned() } else { told.join(", ") }))
}

fn request(payment: &IncomingPayment, bank_account: Uuid, suspense_account: Uuid) -> Request {
    let booked_on: NaiveDate = payment.booked_on;
    let body = json!({
        "bank_account_id": bank_account, "suspense_account_id": suspense_account,
        "amount": amount_of(payment.amount), "bank_reference": payment.bank_reference,
        "loan_number": loan_number_in(&payment.reference).map(String::from),
        "booking_date": booked_on, "value_date": payment.value_date,
    });
    // Taken before in another way: the loan has it all the same.
    Request::new(format!("incoming-{}", payment.bank_reference), "/v1/incoming-payments", &body)
        .settled_by(&["external_reference_taken", "id_taken"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Money;

    fn payment(bank_reference: &str, reference: &str) -> IncomingPayment {
        let day = NaiveDate::from_ymd_opt(1994, 4, 5).unwrap();
        IncomingPayment {
            bank_reference: bank_reference.to_owned(),
            booked_on: day,
            value_date: day,
            amount: Money::parse("10.00", "CZK".parse().unwrap()).unwrap(),
            reference: reference.to_owned(),
        }
    }

    #[test]
    fn a_loans_last_payment_goes_after_all_others() {
        let payments = [payment("1", "L-1"), payment("2", "L-2"), payment("3", "L-1"), payment("4", "L-1")];
        let told = |wave: &[Sent<'_>]| wave.iter().map(|sent| sent.payment.bank_reference.clone()).collect::<Vec<_>>();
        let [most, last] = waves(&payments);
        assert_eq!((told(&most), told(&last)), (vec!["1".to_owned(), "3".into()], vec!["2".to_owned(), "4".into()]));
        assert_eq!(most[0].lane, most[1].lane);
        assert_ne!(last[0].lane, last[1].lane);
    }

    #[test]
    fn a_payment_names_the_loan_that_its_payer_wrote_and_only_that() {
        let (bank, suspense) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sent = request(&payment("B-1", "loan L-4959"), bank, suspense);
        assert_eq!((sent.key.as_str(), sent.path.as_str()), ("incoming-B-1", "/v1/incoming-payments"));
        assert_eq!(sent.json()["loan_number"], "L-4959");
        assert_eq!(sent.json()["value_date"], "1994-04-05");
        assert!(request(&payment("B-2", "Jana Nováková"), bank, suspense).json()["loan_number"].is_null());
    }
}
