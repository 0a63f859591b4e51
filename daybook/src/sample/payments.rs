//! `daybook sample payments DIR`: made-up payments on a data set's loans, for the years after its
//! transactions end, as the file of incoming payments that a bank hands over.
//!
//! Each loan gets a behaviour that fits what the bank says of it (finished or running, paid or in
//! debt) and follows from the seed: on time, late, in parts, missing from some instalment on, more
//! than was owed at the end. Beside the file it writes what must come of it, loan by loan, so that
//! whoever loads it can be checked.
//!
//! Invariants: the same arguments give the same bytes; nothing is dated after the `as of` date; what
//! is expected is computed here from the data set and the payments alone.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{Days, Months, NaiveDate};
use domain::Money;
use sagas::payments::file::HEADER;

use super::random::Random;
use crate::load::PartArgs;
use crate::load::berka::{DataSet, Loan, Standing, Symbol, currency};
use crate::load::loans::loan_number;

/// Columns of the file of what is expected.
pub(crate) const EXPECTED_HEADER: &str =
    "loan_number,as_of,status,paid_before,paid,outstanding,surplus,days_past_due,bucket";

/// Made-up payments on a data set's loans.
#[derive(Debug, clap::Args)]
pub(crate) struct PaymentsArgs {
    /// The folder of the data set: its loans, and its last transaction, after which payments are made up.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file of payments to write; what is expected goes beside it, with `.expected.csv` at its end.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The last day on which anybody pays.
    #[arg(long, value_name = "DATE", default_value = "1998-12-31")]
    as_of: NaiveDate,
    /// What everything follows from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    part: PartArgs,
}

/// Writes both files.
pub(crate) fn run(args: &PaymentsArgs) -> Result<()> {
    let set = args.part.read(&args.folder)?;
    let made = MadeUp::of(&set, args.as_of, args.seed);
    let expected = expected_path(&args.out);
    write(&args.out, &made.file())?;
    write(&expected, &made.expected())?;
    say!(
        "{}: {} payments on {} loans up to {}, made up (seed {}); what must come of them: {}",
        args.out.display(),
        made.payments.len(),
        made.loans.len(),
        args.as_of,
        args.seed,
        expected.display(),
    );
    Ok(())
}

/// Where the expectations of a file of payments are.
pub(crate) fn expected_path(file: &Path) -> PathBuf {
    file.with_extension("expected.csv")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Payment {
    paid_on: NaiveDate,
    loan_id: u64,
    /// Which of the loan's payments.
    number: u32,
    amount_minor: i64,
}

/// What must come of a loan's payments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    number: String,
    repaid: bool,
    /// What the data set's own rows have paid of it.
    before_minor: i64,
    paid_minor: i64,
    outstanding_minor: i64,
    surplus_minor: i64,
    days_past_due: i64,
}

struct MadeUp {
    payments: Vec<Payment>,
    loans: Vec<Expected>,
    as_of: NaiveDate,
}

impl MadeUp {
    fn of(set: &DataSet, as_of: NaiveDate, seed: u64) -> Self {
        let last_row = set.transactions.iter().map(|row| row.date).max().unwrap_or(NaiveDate::MIN);
        let mut paid_before: HashMap<u64, i64> = HashMap::new();
        for row in set.transactions.iter().filter(|row| row.symbol == Symbol::LoanPayment) {
            *paid_before.entry(row.account_id).or_default() += row.amount_minor;
        }
        let (mut payments, mut loans) = (Vec::new(), Vec::new());
        for loan in set.loans.iter().filter(|loan| loan.granted_on <= as_of) {
            let before_minor = paid_before.get(&loan.account_id).copied().unwrap_or(0);
            let made = Payer { loan, before_minor, from: last_row, as_of }.pay(seed);
            loans.push(expect(loan, before_minor, &made, as_of));
            payments.extend(made);
        }
        payments.sort_unstable();
        Self { payments, loans, as_of }
    }

    fn file(&self) -> String {
        let mut text = HEADER.join(",") + "\n";
        for Payment { paid_on, loan_id, number, amount_minor } in &self.payments {
            let amount = Money::new(*amount_minor, currency()).decimal();
            // A String takes any text.
            let _ = writeln!(text, "MADE-UP-{loan_id}-{number},{paid_on},{paid_on},{amount},CZK,L-{loan_id}");
        }
        text
    }

    fn expected(&self) -> String {
        let mut text = format!("{EXPECTED_HEADER}\n");
        for loan in &self.loans {
            let decimal = |amount_minor| Money::new(amount_minor, currency()).decimal();
            let status = if loan.repaid { "repaid" } else { "active" };
            let (paid, outstanding) = (decimal(loan.paid_minor), decimal(loan.outstanding_minor));
            let (surplus, days) = (decimal(loan.surplus_minor), loan.days_past_due);
            let (number, as_of, bucket) = (&loan.number, self.as_of, bucket(days));
            let before = decimal(loan.before_minor);
            let _ = writeln!(text, "{number},{as_of},{status},{before},{paid},{outstanding},{surplus},{days},{bucket}");
        }
        text
    }
}

/// In which line of a portfolio at risk a loan of so many days past due stands.
fn bucket(days_past_due: i64) -> &'static str {
    match days_past_due {
        ..=0 => "current",
        1..=30 => "1-30",
        31..=60 => "31-60",
        61..=90 => "61-90",
        _ => "over-90",
    }
}

/// The day on which an instalment is due.
fn due_on(loan: &Loan, number: u16) -> NaiveDate {
    loan.granted_on + Months::new(u32::from(number))
}

/// How a borrower pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Each instalment on its day, or up to so many days later.
    Pays { late_days_max: u64 },
    /// As before, and half of an instalment now and then, made good with the next.
    InParts,
    /// Nothing any more from this instalment on.
    StopsAt(u16),
    /// Each instalment this many days after it is due.
    Lags { days: u64 },
}

struct Payer<'a> {
    loan: &'a Loan,
    /// What the data set's own rows have paid.
    before_minor: i64,
    /// Up to when these rows go.
    from: NaiveDate,
    as_of: NaiveDate,
}

impl Payer<'_> {
    fn pay(&self, seed: u64) -> Vec<Payment> {
        let mut random = Random::new(seed ^ self.loan.loan_id.wrapping_mul(0x9E37_79B9));
        let behaviour = self.behaviour(&mut random);
        let loan = self.loan;
        let mut owed_minor = loan.amount_minor - self.before_minor;
        let mut by_day: BTreeMap<NaiveDate, i64> = BTreeMap::new();
        let mut carried_minor = 0;
        for number in 1..=loan.months {
            let due_on = due_on(loan, number);
            if due_on <= self.from || owed_minor <= 0 {
                continue;
            }
            let (wait, amount_minor) = match behaviour {
                Behaviour::StopsAt(stop) if number >= stop => break,
                Behaviour::StopsAt(_) => (random.below(6), loan.payment_minor),
                Behaviour::Pays { late_days_max } => (random.below(late_days_max + 1), loan.payment_minor),
                Behaviour::Lags { days } => (days, loan.payment_minor),
                Behaviour::InParts if carried_minor == 0 && random.once_in(4) => {
                    carried_minor = loan.payment_minor - loan.payment_minor / 2;
                    (random.below(4), loan.payment_minor / 2)
                }
                Behaviour::InParts => (random.below(4), loan.payment_minor + std::mem::take(&mut carried_minor)),
            };
            let paid_on = due_on + Days::new(wait);
            if paid_on > self.as_of {
                break;
            }
            // The last payment of who pays settles whatever is left of older ones as well.
            let last = number == loan.months && loan.standing == Standing::FinishedPaid;
            let amount_minor = if last { owed_minor } else { amount_minor.min(owed_minor) };
            owed_minor -= amount_minor;
            // Now and then somebody pays a little more than is owed at the end.
            let extra_minor = if last && random.once_in(10) { random.between(1, 500) * 100 } else { 0 };
            *by_day.entry(paid_on).or_default() += amount_minor + extra_minor;
        }
        let numbered = (1..).zip(by_day);
        numbered
            .map(|(number, (paid_on, amount_minor))| Payment { paid_on, loan_id: loan.loan_id, number, amount_minor })
            .collect()
    }

    /// One that fits what the bank says of the loan.
    fn behaviour(&self, random: &mut Random) -> Behaviour {
        let months = self.loan.months;
        let stop = |random: &mut Random| Behaviour::StopsAt(1 + months / 3 + part_of(months / 2, random));
        match self.loan.standing {
            Standing::FinishedPaid if random.once_in(3) => Behaviour::Pays { late_days_max: 20 },
            Standing::FinishedPaid if random.once_in(4) => Behaviour::InParts,
            Standing::FinishedPaid => Behaviour::Pays { late_days_max: 0 },
            Standing::FinishedUnpaid => stop(random),
            Standing::RunningFine if random.once_in(4) => Behaviour::Pays { late_days_max: 9 },
            Standing::RunningFine => Behaviour::Pays { late_days_max: 0 },
            Standing::RunningInDebt if random.once_in(2) => Behaviour::Lags { days: 20 + random.below(120) },
            Standing::RunningInDebt => stop(random),
        }
    }
}

fn part_of(months: u16, random: &mut Random) -> u16 {
    u16::try_from(random.below(u64::from(months) + 1)).unwrap_or(0)
}

/// What a loan without interest must be after these payments: they settle the oldest instalments first.
fn expect(loan: &Loan, before_minor: i64, payments: &[Payment], as_of: NaiveDate) -> Expected {
    let offered_minor = before_minor + payments.iter().map(|payment| payment.amount_minor).sum::<i64>();
    let paid_minor = offered_minor.min(loan.amount_minor);
    let covered = |number: u16| i64::from(number) * loan.payment_minor <= paid_minor;
    let oldest = (1..=loan.months).find(|number| !covered(*number));
    let past_due = oldest.map(|number| (as_of - due_on(loan, number)).num_days()).unwrap_or(0);
    Expected {
        number: loan_number(loan),
        repaid: paid_minor == loan.amount_minor,
        before_minor,
        paid_minor,
        outstanding_minor: loan.amount_minor - paid_minor,
        surplus_minor: offered_minor - paid_minor,
        days_past_due: past_due.max(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn loan(standing: Standing) -> Loan {
        let granted_on = day("1994-01-31");
        let (months, payment_minor) = (12, 100_000);
        Loan { loan_id: 7, account_id: 1, granted_on, amount_minor: 1_200_000, months, payment_minor, standing }
    }

    fn payments(amounts: &[(&str, i64)]) -> Vec<Payment> {
        let numbered = (1..).zip(amounts);
        numbered
            .map(|(number, (on, amount_minor))| Payment {
                paid_on: day(on),
                loan_id: 7,
                number,
                amount_minor: *amount_minor,
            })
            .collect()
    }

    #[test]
    fn the_oldest_instalment_that_is_not_covered_says_how_long_a_loan_is_past_due() {
        let loan = loan(Standing::RunningFine);
        let made = payments(&[("1994-02-28", 100_000), ("1994-03-31", 99_999)]);
        let expected = expect(&loan, 0, &made, day("1994-04-30"));
        assert_eq!((expected.days_past_due, expected.outstanding_minor), (30, 1_000_001), "31 March is not covered");
        let expected = expect(&loan, 1, &made, day("1994-04-30"));
        assert_eq!(expected.days_past_due, 0, "what is due on the day is not past due");
        let expected = expect(&loan, 0, &payments(&[("1994-06-01", 1_250_000)]), day("1995-06-01"));
        assert_eq!((expected.repaid, expected.surplus_minor, expected.days_past_due), (true, 50_000, 0));
    }

    #[test]
    fn the_bank_is_believed_about_each_loan() {
        for seed in 0..200 {
            for standing in [Standing::FinishedPaid, Standing::FinishedUnpaid] {
                let (loan, as_of) = (loan(standing), day("1998-12-31"));
                let made = Payer { loan: &loan, before_minor: 40, from: day("1994-03-31"), as_of }.pay(seed);
                let expected = expect(&loan, 40, &made, as_of);
                assert_eq!(expected.repaid, standing == Standing::FinishedPaid, "{seed} {standing:?} {made:?}");
                assert!(made.iter().all(|payment| payment.amount_minor > 0 && payment.paid_on <= as_of));
            }
        }
    }
}
