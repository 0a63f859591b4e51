//! Amounts of any currency. The bank only adds and compares, so a decimal is all it needs.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

const SCALE_MAX: u32 = 4;
const LENGTH_MAX: usize = 20;

/// A positive amount of money; `100.0` equals `100.00`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub(crate) struct Amount {
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    amount: String,
    currency: String,
}

impl TryFrom<Wire> for Amount {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let amount = decimal(&wire.amount).filter(|amount| *amount > Decimal::ZERO);
        let Some(amount) = amount else {
            return Err("invalid value: the amount must be a decimal greater than zero, such as \"1234.56\"".to_owned());
        };
        if wire.currency.len() != 3 || !wire.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err("invalid value: the currency must be three capital letters".to_owned());
        }
        Ok(Self { amount, currency: wire.currency })
    }
}

impl From<Amount> for Wire {
    fn from(amount: Amount) -> Self {
        Self { amount: amount.amount.to_string(), currency: amount.currency }
    }
}

/// Reads digits with at most one point; nothing else that a number may look like elsewhere.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > LENGTH_MAX || !digits(whole) || !digits(fraction) {
        return None;
    }
    text.parse().ok().filter(|amount: &Decimal| amount.scale() <= SCALE_MAX)
}

#[cfg(test)]
mod tests {
    use super::{Amount, decimal};

    #[test]
    fn only_plain_positive_decimals_are_amounts() {
        for text in ["1", "0.01", "1234.5678", "99999999999999.99"] {
            assert!(decimal(text).is_some(), "{text}");
        }
        for text in
            ["", ".5", "5.", "-1", "+1", "1e3", "1_000", "1,000", "1.23456", " 1", "1.2.3", "123456789012345678901"]
        {
            assert!(decimal(text).is_none(), "{text}");
        }
        let read = |text: &str| serde_json::from_str::<Amount>(text);
        assert!(read(r#"{"amount":"0.00","currency":"CZK"}"#).is_err());
        assert!(read(r#"{"amount":"1.00","currency":"czk"}"#).is_err());
        assert!(read(r#"{"amount":"1.00","currency":"CZK","x":1}"#).is_err());
        let same = r#"{"amount":"100.0","currency":"CZK"}"#;
        assert_eq!(read(same).unwrap(), read(r#"{"amount":"100.00","currency":"CZK"}"#).unwrap());
        assert_eq!(serde_json::to_string(&read(same).unwrap()).unwrap(), same);
    }
}
