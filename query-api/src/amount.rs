//! Money as the APIs write it: decimal strings with exactly the currency's decimals.

use domain::{Currency, money};
use serde::Serialize;
use serde_json::Value;
use sqlx::error::BoxDynError;
use utoipa::ToSchema;

/// An amount of money.
// A name of its own in the description: the command API has an `Amount` for what it takes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AmountView)]
pub(crate) struct Amount {
    /// A decimal with exactly the currency's decimals.
    #[schema(example = "1234.56")]
    pub(crate) amount: String,
    /// The code of ISO 4217.
    #[schema(example = "CZK")]
    pub(crate) currency: String,
}

impl Amount {
    /// So many minor units.
    pub(crate) fn new(amount_minor: impl Into<i128>, currency: Currency) -> Self {
        Self { amount: money::decimal(amount_minor.into(), currency), currency: currency.code().to_owned() }
    }
}

/// Terms of loans in the form in which they are asked for: amounts that events have in minor units
/// are decimals of the currency.
pub(crate) fn terms_view(terms: Value, currency: Currency) -> Value {
    let Value::Object(terms) = terms else { return terms };
    let shown = terms.into_iter().map(|(name, value)| match (name.strip_suffix("_minor"), value.as_i64()) {
        (Some(amount), Some(minor)) => (amount.to_owned(), Value::String(money::decimal(minor.into(), currency))),
        _ => (name, value),
    });
    Value::Object(shown.collect())
}

/// A currency as a row has it. The projector writes none that the domain does not know.
pub(crate) fn currency(code: &str) -> Result<Currency, sqlx::Error> {
    code.parse().map_err(undecodable)
}

/// A sum of minor units that the statement has cast to text: it may be wider than 64 bits.
pub(crate) fn sum_minor(text: &str) -> Result<i128, sqlx::Error> {
    text.parse().map_err(undecodable)
}

/// A sum of minor units, in a row whose statement has cast it to text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minor(pub(crate) i128);

impl TryFrom<String> for Minor {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// A debit and a credit sum as a balance on the normal side.
pub(crate) fn on_normal_side(normal_side: &str, debit_minor: i128, credit_minor: i128) -> i128 {
    if normal_side == "debit" { debit_minor - credit_minor } else { credit_minor - debit_minor }
}

fn undecodable(error: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
