//! The annual rate.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A percent has so many parts, which is what six decimals can say.
const PARTS_OF_A_PERCENT: u32 = 1_000_000;
const DECIMALS: usize = 6;
const PERCENT_MAX: u32 = 1000;

/// An annual nominal rate in percent, exact: 0 to 1000 with at most six decimals. Its text has no
/// trailing zeros, so equal rates have equal texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AnnualRate(u32);

/// A text that is no annual rate. Nothing is rounded and nothing is guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a rate in percent from 0 to 1000 with at most six decimals, such as 12.5")]
pub struct InvalidRate {
    /// What was given, shortened.
    pub text: String,
}

impl InvalidRate {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        "annual_rate_invalid"
    }
}

impl AnnualRate {
    /// Whether no interest is charged.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The rate in percent: 12.5 for 12.5 % a year.
    pub fn percent(self) -> Decimal {
        (Decimal::from(self.0) / Decimal::from(PARTS_OF_A_PERCENT)).normalize()
    }

    /// The rate as a numerator over [`AnnualRate::DENOMINATOR`].
    pub(super) fn numerator(self) -> i128 {
        self.0.into()
    }

    /// What [`AnnualRate::numerator`] is over: a hundred percents of a million parts.
    pub(super) const DENOMINATOR: i128 = 100 * PARTS_OF_A_PERCENT as i128;
}

impl FromStr for AnnualRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate { text: text.chars().take(32).collect() };
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(invalid()),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
        if !digits || whole.is_empty() || whole.len() > 4 || fraction.len() > DECIMALS {
            return Err(invalid());
        }
        let padding = std::iter::repeat_n(b'0', DECIMALS - fraction.len());
        // At most ten digits, which a u64 holds.
        let parts = (whole.bytes().chain(fraction.bytes()).chain(padding))
            .fold(0_u64, |parts, digit| parts * 10 + u64::from(digit - b'0'));
        let parts = u32::try_from(parts).map_err(|_| invalid())?;
        if parts > PERCENT_MAX * PARTS_OF_A_PERCENT { Err(invalid()) } else { Ok(Self(parts)) }
    }
}

impl fmt::Display for AnnualRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.percent().fmt(f)
    }
}

impl From<AnnualRate> for String {
    fn from(rate: AnnualRate) -> String {
        rate.to_string()
    }
}

impl TryFrom<String> for AnnualRate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl JsonSchema for AnnualRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnnualRate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,4}(\\.[0-9]{1,6})?$",
            "description": "An annual nominal rate in percent: a decimal from 0 to 1000 with at most six decimals.",
        })
    }
}
