//! `daybook sample berka DIR`: a made-up data set of the same shape as the bank's, for machines that
//! do not have the real one.
//!
//! Invariants: the same arguments give the same bytes, on every machine; the balance column is the
//! exact running sum; ids are apart from those of the real data set, so that both can be loaded
//! into one ledger. Nothing in it is about anybody.

pub(crate) mod payments;
mod random;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{Datelike, Days, Months, NaiveDate};

use random::Random;

const README: &str = "README.txt";
const MARK: &str = "Made up by `daybook sample berka`.";
/// Ids start after these.
const FIRST_ID: u64 = 900_000;
const FIRST_TRANSACTION_ID: u64 = 90_000_000;
const FIRST_DAY: NaiveDate = match NaiveDate::from_ymd_opt(1993, 1, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};
const FEE_MINOR: i64 = 1_460;
const BANKS: [&str; 13] = ["AB", "CD", "EF", "GH", "IJ", "KL", "MN", "OP", "QR", "ST", "UV", "WX", "YZ"];
const FREQUENCIES: [&str; 3] = ["POPLATEK MESICNE", "POPLATEK TYDNE", "POPLATEK PO OBRATU"];
const DISTRICTS: u64 = 12;

/// Write a made-up data set of the same shape as a real one.
#[derive(Debug, clap::Args)]
pub(crate) struct SampleArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// In the files and columns of the PKDD'99 bank data set ("Berka").
    Berka(BerkaArgs),
    /// Later payments on the loans of such a data set, on time, late, in parts and missing, with what must come of them.
    Payments(payments::PaymentsArgs),
}

#[derive(Debug, clap::Args)]
struct BerkaArgs {
    /// The folder to write to; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How many accounts.
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    accounts: u32,
    /// What everything follows from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How many months of transactions, from January 1993 on.
    #[arg(long, value_name = "COUNT", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=72))]
    months: u32,
}

/// Writes the data set.
pub(crate) async fn run(args: SampleArgs) -> Result<()> {
    let args = match args.source {
        Source::Berka(args) => args,
        Source::Payments(args) => return payments::run(&args),
    };
    let folder = &args.folder;
    refuse_to_overwrite(folder)?;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let bank = Bank::make_up(args.accounts, args.seed, args.months);
    for (name, text) in bank.files() {
        std::fs::write(folder.join(name), text).with_context(|| format!("{name} cannot be written"))?;
    }
    let readme = format!(
        "{MARK} Nobody's data.\n\n{} accounts, {} clients, {} transactions from January 1993 on; seed {}, {} months.\n\
         The files have the shape of the PKDD'99 bank data set. The balance column is the exact running sum.\n",
        bank.accounts.len(),
        bank.clients.len(),
        bank.rows.len(),
        args.seed,
        args.months,
    );
    std::fs::write(folder.join(README), readme)?;
    say!(
        "{}: {} accounts, {} clients, {} transactions, made up (seed {})",
        folder.display(),
        bank.accounts.len(),
        bank.clients.len(),
        bank.rows.len(),
        args.seed
    );
    Ok(())
}

/// A folder with data that we did not make up is left alone.
fn refuse_to_overwrite(folder: &Path) -> Result<()> {
    let ours = std::fs::read_to_string(folder.join(README)).is_ok_and(|text| text.starts_with(MARK));
    if folder.join("trans.asc").exists() && !ours {
        bail!("{} has a data set that is not a sample; choose another folder", folder.display());
    }
    Ok(())
}

struct Client {
    client_id: u64,
    birth_number: String,
    district_id: u64,
    account_id: u64,
    role: &'static str,
}

struct Account {
    account_id: u64,
    district_id: u64,
    frequency: &'static str,
    opened_on: NaiveDate,
}

#[derive(Clone)]
struct Order {
    account_id: u64,
    bank: &'static str,
    account_to: i64,
    amount_minor: i64,
    k_symbol: &'static str,
    /// The day of the month on which it is carried out.
    day: i64,
    from: NaiveDate,
}

struct Loan {
    account_id: u64,
    date: NaiveDate,
    duration: i64,
    payment_minor: i64,
    status: &'static str,
}

/// A row of `trans.asc` but for its id.
struct Row {
    trans_id: u64,
    account_id: u64,
    date: NaiveDate,
    movement: Movement,
    amount_minor: i64,
    balance_minor: i64,
}

/// What moves money, in the words of the data set.
#[derive(Clone)]
struct Movement {
    direction: &'static str,
    operation: &'static str,
    k_symbol: &'static str,
    /// Bank and account at the other end.
    other: Option<(&'static str, i64)>,
}

impl Movement {
    const fn new(direction: &'static str, operation: &'static str, k_symbol: &'static str) -> Self {
        Self { direction, operation, k_symbol, other: None }
    }
}

const PAY_IN: Movement = Movement::new("PRIJEM", "VKLAD", "");
const INTEREST: Movement = Movement::new("PRIJEM", "", "UROK");
const FEE: Movement = Movement::new("VYDAJ", "VYBER", "SLUZBY");
const PENALTY: Movement = Movement::new("VYDAJ", "VYBER", "SANKC. UROK");

/// How far a movement may bring the balance down.
#[derive(Clone, Copy, PartialEq)]
enum Cover {
    /// Left out unless the balance covers it.
    Needed,
    /// The bank lets it go below zero.
    Overdraft,
}

/// What is planned for a day of an account; amounts in minor units.
struct Planned {
    date: NaiveDate,
    movement: Movement,
    amount_minor: i64,
    cover: Cover,
}

#[derive(Default)]
struct Bank {
    clients: Vec<Client>,
    accounts: Vec<Account>,
    orders: Vec<Order>,
    loans: Vec<Loan>,
    rows: Vec<Row>,
}

impl Bank {
    fn make_up(accounts: u32, seed: u64, months: u32) -> Self {
        let mut bank = Bank::default();
        let mut random = Random::new(seed);
        let end = FIRST_DAY + Months::new(months) - Days::new(1);
        for number in 1..=u64::from(accounts) {
            bank.make_up_account(FIRST_ID + number, months, end, &mut random);
        }
        // In the order of days, and within a day of accounts in any order but always the same one.
        bank.rows.sort_by_cached_key(|row| (row.date, Random::new(seed ^ row.account_id).next(), row.trans_id));
        bank
    }

    fn make_up_account(&mut self, account_id: u64, months: u32, end: NaiveDate, random: &mut Random) {
        let opening_months = u64::from((months * 5).div_ceil(6));
        let opened_on = FIRST_DAY + Days::new(random.below(opening_months * 30).min(days_between(FIRST_DAY, end)));
        let district_id = 1 + random.below(DISTRICTS);
        // Most pay the statement's fee monthly.
        let frequency = if random.once_in(12) { random.pick(&FREQUENCIES[1..]) } else { FREQUENCIES[0] };
        self.accounts.push(Account { account_id, district_id, frequency, opened_on });
        self.add_client(account_id, district_id, "OWNER", random);
        if random.once_in(5) {
            self.add_client(account_id, district_id, "DISPONENT", random);
        }
        let orders = self.make_up_orders(account_id, opened_on, end, random);
        let planned = plan(opened_on, end, &orders, random);
        self.book(account_id, planned, end);
    }

    fn add_client(&mut self, account_id: u64, district_id: u64, role: &'static str, random: &mut Random) {
        let woman = random.once_in(2);
        let (year, month, day) = (random.between(15, 77), random.between(1, 12), random.between(1, 28));
        let month = if woman { month + 50 } else { month };
        let client_id = FIRST_ID + 1 + u64::try_from(self.clients.len()).unwrap_or(0);
        let birth_number = format!("{year:02}{month:02}{day:02}");
        self.clients.push(Client { client_id, birth_number, district_id, account_id, role });
    }

    fn make_up_orders(&mut self, account_id: u64, from: NaiveDate, end: NaiveDate, random: &mut Random) -> Vec<Order> {
        let mut orders = Vec::new();
        for (k_symbol, once_in, low, high) in [("SIPO", 3, 300, 5_000), ("POJISTNE", 8, 100, 900), (" ", 6, 100, 2_500)]
        {
            if random.once_in(once_in) {
                let amount_minor = random.between(low, high) * 100;
                orders.push(standing_order(account_id, amount_minor, k_symbol, from, random));
            }
        }
        orders.extend(self.make_up_loan(account_id, from, end, random));
        self.orders.extend(orders.iter().cloned());
        orders
    }

    /// A loan now and then, with the standing order that repays it from the next month on.
    fn make_up_loan(&mut self, account_id: u64, from: NaiveDate, end: NaiveDate, random: &mut Random) -> Option<Order> {
        let date = from + Days::new(30 + random.below(60));
        if !random.once_in(15) || date > end {
            return None;
        }
        let (payment_minor, years) = (random.between(5, 40) * 10_000, random.between(1, 5));
        let duration = years * 12;
        let finished = date + Days::new(u64::try_from(years * 366).unwrap_or(366)) <= end;
        let status = match (finished, random.once_in(8)) {
            (true, false) => "A",
            (true, true) => "B",
            (false, false) => "C",
            (false, true) => "D",
        };
        self.loans.push(Loan { account_id, date, duration, payment_minor, status });
        // As in the original: what is paid is within half a crown of the instalment.
        let amount_minor = payment_minor + random.between(0, 4) * 10;
        Some(standing_order(account_id, amount_minor, "UVER", date + Days::new(20), random))
    }

    /// Books what was planned, in the order of days, with interest and fees at the ends of months.
    fn book(&mut self, account_id: u64, mut planned: Vec<Planned>, end: NaiveDate) {
        planned.sort_by_key(|plan| plan.date);
        let mut balance_minor = 0i64;
        let mut planned = planned.into_iter().peekable();
        let mut month = planned.peek().map_or(end, |first| month_end(first.date));
        while month <= end {
            while let Some(plan) = planned.next_if(|plan| plan.date <= month) {
                let change_minor =
                    if plan.movement.direction == "PRIJEM" { plan.amount_minor } else { -plan.amount_minor };
                if change_minor < 0 && plan.cover == Cover::Needed && balance_minor + change_minor < 0 {
                    continue;
                }
                balance_minor += change_minor;
                self.add_row(account_id, plan.date, plan.movement, plan.amount_minor, balance_minor);
            }
            // Four per cent a year, rounded down to ten hellers; eighteen on what is overdrawn.
            let (interest, rate) = if balance_minor < 0 { (PENALTY, -18) } else { (INTEREST, 4) };
            let interest_minor = balance_minor * rate / 1_200 / 10 * 10;
            if interest_minor > 0 {
                balance_minor += if interest.direction == "PRIJEM" { interest_minor } else { -interest_minor };
                self.add_row(account_id, month, interest, interest_minor, balance_minor);
            }
            if balance_minor >= FEE_MINOR {
                balance_minor -= FEE_MINOR;
                self.add_row(account_id, month, FEE, FEE_MINOR, balance_minor);
            }
            month = month_end(month + Days::new(1));
        }
    }

    fn add_row(&mut self, account_id: u64, date: NaiveDate, movement: Movement, amount_minor: i64, balance_minor: i64) {
        let trans_id = FIRST_TRANSACTION_ID + 1 + u64::try_from(self.rows.len()).unwrap_or(0);
        self.rows.push(Row { trans_id, account_id, date, movement, amount_minor, balance_minor });
    }

    /// The files with their text; lines end as in the original.
    fn files(&self) -> [(&'static str, String); 7] {
        [
            ("client.asc", self.client_file()),
            ("account.asc", self.account_file()),
            ("disp.asc", self.disposition_file()),
            ("order.asc", self.order_file()),
            ("loan.asc", self.loan_file()),
            ("trans.asc", self.transaction_file()),
            ("district.asc", district_file()),
        ]
    }

    fn client_file(&self) -> String {
        lines(r#""client_id";"birth_number";"district_id""#, &self.clients, |client| {
            format!(r#"{};"{}";{}"#, client.client_id, client.birth_number, client.district_id)
        })
    }

    fn account_file(&self) -> String {
        lines(r#""account_id";"district_id";"frequency";"date""#, &self.accounts, |account| {
            let (id, district) = (account.account_id, account.district_id);
            format!(r#"{id};{district};"{}";{}"#, account.frequency, short(account.opened_on))
        })
    }

    fn disposition_file(&self) -> String {
        // One account a client, so the client's number serves as the disposition's too.
        lines(r#""disp_id";"client_id";"account_id";"type""#, &self.clients, |client| {
            format!(r#"{0};{0};{1};"{2}""#, client.client_id, client.account_id, client.role)
        })
    }

    fn order_file(&self) -> String {
        let header = r#""order_id";"account_id";"bank_to";"account_to";"amount";"k_symbol""#;
        let numbered: Vec<(u64, &Order)> = (FIRST_ID + 1..).zip(&self.orders).collect();
        lines(header, &numbered, |(order_id, order)| {
            let (account_id, bank, to, amount) =
                (order.account_id, order.bank, order.account_to, decimal(order.amount_minor));
            format!(r#"{order_id};{account_id};"{bank}";"{to}";{amount};"{}""#, order.k_symbol)
        })
    }

    fn loan_file(&self) -> String {
        let header = r#""loan_id";"account_id";"date";"amount";"duration";"payments";"status""#;
        let numbered: Vec<(u64, &Loan)> = (FIRST_ID + 1..).zip(&self.loans).collect();
        lines(header, &numbered, |(loan_id, loan)| {
            let amount = loan.duration * loan.payment_minor / 100;
            let (account_id, date, payment) = (loan.account_id, short(loan.date), decimal(loan.payment_minor));
            format!(r#"{loan_id};{account_id};{date};{amount};{};{payment};"{}""#, loan.duration, loan.status)
        })
    }

    fn transaction_file(&self) -> String {
        let header = concat!(
            r#""trans_id";"account_id";"date";"type";"operation";"amount";"balance";"#,
            r#""k_symbol";"bank";"account""#
        );
        lines(header, &self.rows, |row| {
            let Movement { direction, operation, k_symbol, other } = &row.movement;
            let other = other.map_or_else(|| ";".to_owned(), |(bank, account)| format!(r#""{bank}";"{account}""#));
            format!(
                r#"{};{};{};"{direction}";"{operation}";{};{};"{k_symbol}";{other}"#,
                row.trans_id,
                row.account_id,
                short(row.date),
                decimal(row.amount_minor),
                decimal(row.balance_minor),
            )
        })
    }
}

fn standing_order(
    account_id: u64,
    amount_minor: i64,
    k_symbol: &'static str,
    from: NaiveDate,
    random: &mut Random,
) -> Order {
    let (bank, account_to, day) = (random.pick(&BANKS), random.between(1_000_000, 99_999_999), random.between(3, 14));
    Order { account_id, bank, account_to, amount_minor, k_symbol, day, from }
}

/// What an account's owner does: income, orders, withdrawals, month by month.
fn plan(opened_on: NaiveDate, end: NaiveDate, orders: &[Order], random: &mut Random) -> Vec<Planned> {
    let mut planned = Vec::new();
    let mut add = |date: NaiveDate, movement: Movement, amount_minor: i64, cover: Cover| {
        if opened_on <= date && date <= end {
            planned.push(Planned { date, movement, amount_minor, cover });
        }
    };
    add(opened_on, PAY_IN, random.between(2, 11) * 10_000, Cover::Needed);
    let income_minor = random.between(30, 250) * 10_000;
    let income = match random.below(5) {
        0 | 1 => PAY_IN,
        kind => {
            let other = Some((random.pick(&BANKS), random.between(1_000_000, 99_999_999)));
            Movement { other, ..Movement::new("PRIJEM", "PREVOD Z UCTU", if kind == 2 { "DUCHOD" } else { "" }) }
        }
    };
    let (income_day, has_card) = (random.between(5, 15), random.once_in(12));
    let mut month = opened_on.with_day(1).unwrap_or(opened_on);
    // Some are overdrawn for some days of one month; the next income covers it.
    let mut overdraft = random.once_in(25).then(|| random.between(1, 2));
    while month <= end {
        add(day_of(month, income_day), income.clone(), income_minor, Cover::Needed);
        for order in orders.iter().filter(|order| day_of(month, order.day) >= order.from) {
            let other = Some((order.bank, order.account_to));
            let movement = Movement { other, ..Movement::new("VYDAJ", "PREVOD NA UCET", order.k_symbol) };
            add(day_of(month, order.day), movement, order.amount_minor, Cover::Needed);
        }
        for _ in 0..random.between(1, 2) {
            let direction = if random.once_in(20) { "VYBER" } else { "VYDAJ" };
            let amount_minor = random.between(1, (income_minor / 30_000).max(1)) * 10_000;
            let withdrawal = Movement::new(direction, "VYBER", "");
            add(day_of(month, random.between(10, 28)), withdrawal, amount_minor, Cover::Needed);
        }
        if has_card && random.once_in(2) {
            let (day, amount_minor) = (random.between(10, 28), random.between(2, 20) * 10_000);
            add(day_of(month, day), Movement::new("VYDAJ", "VYBER KARTOU", ""), amount_minor, Cover::Needed);
        }
        if overdraft == Some(0) {
            add(day_of(month, 27), Movement::new("VYDAJ", "VYBER", ""), income_minor * 2, Cover::Overdraft);
            let next = month + Months::new(1);
            add(day_of(next, 2), PAY_IN, income_minor * 2, Cover::Needed);
        }
        overdraft = overdraft.map(|months| months - 1);
        month = month + Months::new(1);
    }
    planned
}

fn lines<T>(header: &str, items: &[T], line: impl Fn(&T) -> String) -> String {
    let mut text = format!("{header}\r\n");
    for item in items {
        let _ = write!(text, "{}\r\n", line(item));
    }
    text
}

fn district_file() -> String {
    let districts: Vec<u64> = (1..=DISTRICTS).collect();
    lines("A1;A2;A3;A4;A5;A6;A7;A8;A9;A10;A11;A12;A13;A14;A15;A16", &districts, |id| {
        let (people, towns, salary, crimes) = (40_000 + id * 7_000, 20 + id, 8_000 + id * 150, 900 + id * 90);
        format!(
            r#"{id};"District {id}";"Region {}";{people};{towns};10;4;1;5;60.0;{salary};2.50;3.10;110;{crimes};{}"#,
            1 + id % 4,
            crimes + 40
        )
    })
}

/// As the data set writes dates: `yymmdd`.
fn short(date: NaiveDate) -> String {
    date.format("%y%m%d").to_string()
}

fn decimal(amount_minor: i64) -> String {
    let sign = if amount_minor < 0 { "-" } else { "" };
    let amount_minor = amount_minor.unsigned_abs();
    format!("{sign}{}.{:02}", amount_minor / 100, amount_minor % 100)
}

/// That day of the month; every month has the days that are asked for here.
fn day_of(month: NaiveDate, day: i64) -> NaiveDate {
    u32::try_from(day).ok().and_then(|day| month.with_day(day)).unwrap_or(month)
}

fn month_end(date: NaiveDate) -> NaiveDate {
    date.with_day(1).map_or(date, |first| first + Months::new(1) - Days::new(1))
}

fn days_between(from: NaiveDate, to: NaiveDate) -> u64 {
    u64::try_from((to - from).num_days()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
