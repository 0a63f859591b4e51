//! Sums of posted legs by day: of each ledger code for the trial balance, of each internal account for its
//! balance, now and as of a date.
//!
//! A sum is fed by transactions of every partition, so each partition has a row of its own and
//! readers add them up. Within a batch a sum is written once.
//!
//! A member's account has entries, which say its balances better, and no sums: they would be two rows of each
//! transfer that nobody reads. Which account is a member's follows from its ledger code, since all accounts of a
//! control code are and no other. Only where a partition is ahead of the one that defines the code, as
//! it may be at the very beginning of a log, sums of a member's account are written all the same; nobody reads those
//! either.

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDate;
use domain::money::Side;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use uuid::Uuid;

use super::legs::posted;
use super::{ApplyError, Fact, ReadModel};

/// Debits and credits, in minor units. Sums of many amounts may be wider than one amount.
#[derive(Clone, Copy, Default)]
struct Sum {
    debit_minor: i128,
    credit_minor: i128,
}

impl Sum {
    fn add(&mut self, side: Side, amount_minor: i64) {
        let sum = match side {
            Side::Debit => &mut self.debit_minor,
            Side::Credit => &mut self.credit_minor,
        };
        *sum = sum.saturating_add(i128::from(amount_minor));
    }
}

/// Booking date, value date, partition.
type Day = (NaiveDate, NaiveDate, i32);

#[derive(Default)]
pub(super) struct Sums<'a> {
    by_code: BTreeMap<(&'a str, &'a str, Day), Sum>,
    by_account: BTreeMap<(Uuid, Day), OfAccount<'a>>,
}

/// An account's day.
struct OfAccount<'a> {
    ledger_code: &'a str,
    sum: Sum,
}

impl<'a> ReadModel<'a> for Sums<'a> {
    const TABLES: &'static [&'static str] = &["ledger_daily", "account_daily"];

    fn collect(&mut self, fact: &Fact<'a>) {
        let Some(posted) = posted(fact) else { return };
        let day = (posted.booking_date, posted.value_date, fact.partition);
        for leg in posted.legs {
            let code = (leg.ledger_code.as_str(), leg.currency.code(), day);
            self.by_code.entry(code).or_default().add(leg.side, leg.amount_minor);
            let of_account = OfAccount { ledger_code: leg.ledger_code.as_str(), sum: Sum::default() };
            let of_account = self.by_account.entry((leg.account_id.0, day)).or_insert(of_account);
            of_account.sum.add(leg.side, leg.amount_minor);
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let (by_code, mut by_account) = (std::mem::take(&mut self.by_code), std::mem::take(&mut self.by_account));
        let control = add_by_code(connection, &by_code).await?;
        by_account.retain(|_, of_account| !control.contains(of_account.ledger_code));
        add_by_account(connection, &by_account).await
    }
}

/// Gives which of the codes are control codes, as far as they are defined yet.
async fn add_by_code(
    connection: &mut PgConnection,
    sums: &BTreeMap<(&str, &str, Day), Sum>,
) -> Result<HashSet<String>, ApplyError> {
    if sums.is_empty() {
        return Ok(HashSet::new());
    }
    let amounts = Amounts::of(sums.values());
    let statement = format!(
        "INSERT INTO ledger_daily AS d (ledger_code, currency, booking_date, value_date, partition, debit_minor, \
             credit_minor) \
         SELECT u.code, u.currency, u.booking, u.value, u.part, u.debit::numeric, u.credit::numeric \
         FROM unnest($1::text[], $2::text[], $3::date[], $4::date[], $5::int[], $6::{of}[], $7::{of}[]) \
              AS u (code, currency, booking, value, part, debit, credit) \
         ON CONFLICT (ledger_code, currency, booking_date, value_date, partition) DO UPDATE \
         SET debit_minor = d.debit_minor + EXCLUDED.debit_minor, credit_minor = d.credit_minor + EXCLUDED.credit_minor \
         RETURNING d.ledger_code, \
             EXISTS (SELECT 1 FROM ledger_codes c WHERE c.ledger_code = d.ledger_code AND c.control) AS control",
        of = amounts.sql_type()
    );
    let query = sqlx::query(&statement)
        .bind(sums.keys().map(|key| key.0).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.1).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.2.0).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.2.1).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.2.2).collect::<Vec<_>>());
    let mut codes = HashSet::new();
    for row in amounts.bind_to(query).fetch_all(connection).await? {
        if row.try_get("control")? {
            codes.insert(row.try_get("ledger_code")?);
        }
    }
    Ok(codes)
}

async fn add_by_account(
    connection: &mut PgConnection,
    sums: &BTreeMap<(Uuid, Day), OfAccount<'_>>,
) -> Result<(), ApplyError> {
    if sums.is_empty() {
        return Ok(());
    }
    let amounts = Amounts::of(sums.values().map(|of_account| &of_account.sum));
    let statement = format!(
        "INSERT INTO account_daily AS d (account_id, booking_date, value_date, partition, debit_minor, credit_minor) \
         SELECT u.id, u.booking, u.value, u.part, u.debit::numeric, u.credit::numeric \
         FROM unnest($1::uuid[], $2::date[], $3::date[], $4::int[], $5::{of}[], $6::{of}[]) \
              AS u (id, booking, value, part, debit, credit) \
         ON CONFLICT (account_id, booking_date, value_date, partition) DO UPDATE \
         SET debit_minor = d.debit_minor + EXCLUDED.debit_minor, credit_minor = d.credit_minor + EXCLUDED.credit_minor",
        of = amounts.sql_type()
    );
    let query = sqlx::query(&statement)
        .bind(sums.keys().map(|key| key.0).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.1.0).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.1.1).collect::<Vec<_>>())
        .bind(sums.keys().map(|key| key.1.2).collect::<Vec<_>>());
    amounts.bind_to(query).execute(connection).await?;
    Ok(())
}

/// Debits and credits as parameters: as integers where all fit, else as text, since the client has no
/// integer as wide as these, and text costs the database more.
enum Amounts {
    Integers(Vec<i64>, Vec<i64>),
    Texts(Vec<String>, Vec<String>),
}

impl Amounts {
    fn of<'s>(sums: impl Iterator<Item = &'s Sum> + Clone) -> Self {
        let narrow = |sum: &Sum| Some((i64::try_from(sum.debit_minor).ok()?, i64::try_from(sum.credit_minor).ok()?));
        match sums.clone().map(narrow).collect::<Option<Vec<_>>>() {
            Some(integers) => {
                let (debits, credits) = integers.into_iter().unzip();
                Self::Integers(debits, credits)
            }
            None => {
                let (debits, credits) =
                    sums.map(|sum| (sum.debit_minor.to_string(), sum.credit_minor.to_string())).unzip();
                Self::Texts(debits, credits)
            }
        }
    }

    fn sql_type(&self) -> &'static str {
        match self {
            Self::Integers(..) => "bigint",
            Self::Texts(..) => "text",
        }
    }

    fn bind_to<'q>(self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        match self {
            Self::Integers(debits, credits) => query.bind(debits).bind(credits),
            Self::Texts(debits, credits) => query.bind(debits).bind(credits),
        }
    }
}
