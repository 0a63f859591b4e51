//! The small values of requests as they are on the wire, read strictly into the domain's types.
//!
//! Invariant: each has exactly one spelling, so that what the log holds has one too.

use chrono::{DateTime, NaiveDate, Timelike, Utc};
use domain::{account, calc, ledger, loan, member, product, transaction};
use serde::{Deserialize, Deserializer, de};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fault::Fault;

/// Reads an id: a UUID in its hyphenated form, in either case, not nil.
pub(crate) fn parse_id(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == 36;
    Uuid::try_parse(text).ok().filter(|id| hyphenated && !id.is_nil())
}

/// What an id must be, for messages.
pub(crate) const ID_RULE: &str = "an id is a UUID such as 0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980, and not nil";

/// An id in a body.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(value_type = String, format = Uuid, example = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980")]
pub(crate) struct Id(pub(crate) Uuid);

impl Id {
    /// The client's id, or a new one that sorts by time.
    pub(crate) fn or_new(id: Option<Id>) -> Uuid {
        id.map_or_else(Uuid::now_v7, |Id(id)| id)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_id(&text).map(Id).ok_or_else(|| de::Error::custom(ID_RULE))
    }
}

/// A date `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = Date, example = "1993-01-31")]
pub(crate) struct Day(pub(crate) NaiveDate);

impl Day {
    fn parse(text: &str) -> Option<Day> {
        let bytes = text.as_bytes();
        let spelled = bytes.len() == 10
            && bytes
                .iter()
                .enumerate()
                .all(|(at, byte)| if matches!(at, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() });
        // The year 0 is none of ISO 8601's agreed ones and none of PostgreSQL's.
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| spelled && !text.starts_with("0000")).map(Day)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Day::parse(&text).ok_or_else(|| de::Error::custom("a date is written YYYY-MM-DD and must exist"))
    }
}

/// A point in time as RFC 3339 has it, to the microsecond at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2030-01-31T12:00:00Z")]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl Moment {
    fn parse(text: &str) -> Option<Moment> {
        let at = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
        // A leap second or a nanosecond would be another moment once a database has rounded it; an
        // offset can move the year out of those that have four digits.
        let exact = at.nanosecond() < 1_000_000_000 && at.nanosecond() % 1_000 == 0;
        let year = chrono::Datelike::year(&at);
        (exact && (1..=9999).contains(&year)).then_some(Moment(at))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Moment::parse(&text).ok_or_else(|| {
            de::Error::custom("a time is written as RFC 3339 has it, to the microsecond at most: 2030-01-31T12:00:00Z")
        })
    }
}

/// The date, where the client gave one.
pub(crate) fn date(day: Option<Day>) -> Option<NaiveDate> {
    day.map(|Day(date)| date)
}

/// The body of a command that needs nothing more than its path: `{}`.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(crate) struct Nothing {}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident = $domain:ty { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant),+ }

        impl From<$name> for $domain {
            fn from(choice: $name) -> Self {
                match choice { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

choice!(
    /// What a member is.
    MemberKind = member::MemberKind { Person, Group, Business }
);
choice!(
    /// What kind of account it is; `internal` is the institution's own.
    Product = account::Product { Savings, Current, FixedDeposit, Internal }
);
choice!(
    /// What a holder may do: own the account, or dispose of it without owning it.
    HolderRole = account::HolderRole { Owner, Disponent }
);
choice!(
    /// Which entries are meant.
    FreezeScope = account::FreezeScope { Debit, Credit, Both }
);
choice!(
    /// A side of an account.
    Side = domain::Side { Debit, Credit }
);
choice!(
    /// The type of a transaction.
    TransactionKind = transaction::TransactionKind {
        Deposit, Withdrawal, Transfer, Fee, Interest, LoanDisbursement, LoanRepayment, Adjustment,
    }
);
choice!(
    /// The class of a ledger code; it gives the normal side.
    LedgerClass = ledger::LedgerClass { Asset, Liability, Equity, Income, Expense }
);
choice!(
    /// What a payment on a loan settles.
    LoanComponent = product::Component { Penalty, Fee, Interest, Principal }
);
choice!(
    /// What can be charged on a loan besides what its schedule says.
    LoanChargeKind = product::Component { Fee, Penalty }
);
choice!(
    /// What to do with money beyond all that is owed: pass it on to the loan's settlement account
    /// (refused where there is none), or leave it where it came from.
    Surplus = loan::Surplus { ToSettlementAccount, Leave }
);
choice!(
    /// On what interest is charged: the principal that is left, or the whole of it over the whole term.
    InterestMethod = calc::InterestMethod { ReducingBalance, Flat }
);
choice!(
    /// What is equal: the instalments, or the principal in them.
    Amortization = calc::Amortization { EqualInstalments, EqualPrincipal }
);
choice!(
    /// How much of a year a period is.
    DayCount = calc::DayCount {
        /// Months of 30 days over 360.
        #[serde(rename = "thirty_360")]
        Thirty360,
        /// The days over 365.
        #[serde(rename = "actual_365")]
        Actual365,
        /// The days over 360.
        #[serde(rename = "actual_360")]
        Actual360,
        /// The days over 364.
        #[serde(rename = "actual_364")]
        Actual364,
        /// The days of each calendar year over its length.
        ActualActual,
        /// A month is a twelfth of a year, a week a 52nd, a day a 365th.
        RepaymentPeriod,
    }
);
choice!(
    /// How a figure between two minor units becomes one of them.
    Rounding = calc::Rounding { HalfEven, HalfUp, HalfDown, Up, Down }
);

/// A unit of time between instalments.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FrequencyUnit {
    Months,
    Weeks,
    Days,
}

/// The time between two instalments.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"every": 1, "unit": "months"}))]
pub(crate) struct Frequency {
    /// How many units: 1 to 255 months or weeks, or 1 to 65535 days.
    #[schema(minimum = 1, maximum = 65535, example = 1)]
    every: u16,
    /// The unit.
    unit: FrequencyUnit,
}

impl Frequency {
    /// The domain's.
    pub(crate) fn read(self) -> Result<calc::Frequency, Fault> {
        if self.every == 0 {
            return Err(Fault::invalid("every", "instalments must be at least one day, week or month apart"));
        }
        let few = || {
            let detail = "instalments must be at most 255 months or weeks apart";
            u8::try_from(self.every).map_err(|_| Fault::invalid("every", detail))
        };
        match self.unit {
            FrequencyUnit::Months => few().map(calc::Frequency::Months),
            FrequencyUnit::Weeks => few().map(calc::Frequency::Weeks),
            FrequencyUnit::Days => Ok(calc::Frequency::Days(self.every)),
        }
    }
}

/// Reads an annual rate in percent.
pub(crate) fn annual_rate(field: &'static str, text: &str) -> Result<calc::AnnualRate, Fault> {
    text.parse().map_err(|error: calc::InvalidRate| Fault::new(field, error.code(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980";
        assert_eq!(parse_id(id).unwrap().to_string(), id);
        for bad in [
            "",
            "7",
            "0190a5d07c3e7b1a9f2e3d4c5b6a7980",
            "{0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980}",
            "urn:uuid:0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980",
            "00000000-0000-0000-0000-000000000000",
            "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a798g",
        ] {
            assert!(parse_id(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_date_has_one_spelling_and_exists() {
        assert_eq!(Day::parse("1996-02-29").unwrap().0.to_string(), "1996-02-29");
        let bad = [
            "",
            "1993-1-31",
            "1993-02-29",
            "+1993-01-01",
            "12345-01-01",
            "0000-01-01",
            "1993-01-01T00:00",
            "１993-01-0",
        ];
        for text in bad {
            assert!(Day::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_time_is_exact_to_the_microsecond() {
        let at = Moment::parse("2030-01-31T13:00:00.000001+01:00").unwrap().0;
        assert_eq!(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true), "2030-01-31T12:00:00.000001Z");
        let bad = ["", "2030-01-31", "2030-01-31T12:00:00", "2030-01-31T12:00:00.0000001Z", "2030-06-30T23:59:60Z"];
        for text in bad {
            assert!(Moment::parse(text).is_none(), "{text}");
        }
    }
}
