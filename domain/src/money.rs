//! Money: integer minor units and a currency. Never a float, never approximate.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::words::read_text;

/// The largest amount of one leg, in minor units: the largest integer that every JSON reader
/// keeps exactly (2^53 - 1).
pub const AMOUNT_MINOR_MAX: i64 = 9_007_199_254_740_991;

/// ISO 4217 codes with their number of decimals. A currency is used only once the ledger has
/// defined it; this table is what makes an unknown code or a too precise amount refusable at the
/// edge, without looking at any state.
const ISO_4217: &[(u8, &str)] = &[
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
    (
        2,
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP \
         CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR \
         JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN \
         NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
         SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG",
    ),
];

/// The decimals of every three-letter code, or [`NO_CURRENCY`]: a currency is read with every leg of the log.
static MINOR_UNITS: [u8; 26 * 26 * 26] = minor_units_by_code();

const NO_CURRENCY: u8 = u8::MAX;

/// Where a code of three upper-case letters is in [`MINOR_UNITS`].
const fn place(code: [u8; 3]) -> usize {
    ((code[0] - b'A') as usize * 26 + (code[1] - b'A') as usize) * 26 + (code[2] - b'A') as usize
}

const fn minor_units_by_code() -> [u8; 26 * 26 * 26] {
    let mut table = [NO_CURRENCY; 26 * 26 * 26];
    let mut group = 0;
    while group < ISO_4217.len() {
        let (minor_units, codes) = (ISO_4217[group].0, ISO_4217[group].1.as_bytes());
        let mut at = 0;
        // Codes are apart by one space each.
        while at + 3 <= codes.len() {
            table[place([codes[at], codes[at + 1], codes[at + 2]])] = minor_units;
            at += 4;
        }
        group += 1;
    }
    table
}

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency {
    code: [u8; 3],
    minor_units: u8,
}

impl Currency {
    /// The three-letter code.
    pub fn code(&self) -> &str {
        // The code was checked to be ASCII when the value was made.
        std::str::from_utf8(&self.code).unwrap_or("???")
    }

    /// How many decimals an amount has.
    pub fn minor_units(&self) -> u8 {
        self.minor_units
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self { code: *b"CZK", minor_units: 2 }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, str::parse)
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency { currency: text.chars().take(8).collect() };
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| unknown())?;
        if !code.iter().all(u8::is_ascii_uppercase) {
            return Err(unknown());
        }
        match MINOR_UNITS[place(code)] {
            NO_CURRENCY => Err(unknown()),
            minor_units => Ok(Self { code, minor_units }),
        }
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Z]{3}$"})
    }
}

/// A text that is no amount of money. Nothing is rounded and nothing is guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("`{text}` is not a decimal number such as 1234.56")]
    Malformed {
        /// What was given, shortened.
        text: String,
    },
    /// More decimals than the currency has.
    #[error("{currency} has {minor_units} decimals, the amount has {decimals}")]
    TooPrecise {
        /// The currency's code.
        currency: Currency,
        /// The decimals that the currency has.
        minor_units: u8,
        /// The decimals that were given.
        decimals: usize,
    },
    /// Beyond what one amount may be.
    #[error("the amount is beyond the limit of 9007199254740991 minor units")]
    TooLarge,
    /// Zero or below, where an amount must be positive.
    #[error("the amount must be greater than zero")]
    NotPositive,
    /// Below zero, where an amount must not be negative.
    #[error("the amount must not be negative")]
    Negative,
    /// No such currency in ISO 4217.
    #[error("`{currency}` is not a currency code of ISO 4217")]
    UnknownCurrency {
        /// What was given, shortened.
        currency: String,
    },
}

impl MoneyError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            MoneyError::Malformed { .. } => "amount_malformed",
            MoneyError::TooPrecise { .. } => "amount_too_precise",
            MoneyError::TooLarge => "amount_too_large",
            MoneyError::NotPositive => "amount_not_positive",
            MoneyError::Negative => "amount_negative",
            MoneyError::UnknownCurrency { .. } => "unknown_currency",
        }
    }
}

/// An amount in integer minor units of its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Minor units (cents, hellers); an integer.
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// An amount of so many minor units.
    pub const fn new(amount_minor: i64, currency: Currency) -> Self {
        Self { amount_minor, currency }
    }

    /// Reads a decimal such as `1234.56`, exactly: fewer decimals than the currency has are fine,
    /// more are refused, and so are exponents, signs other than a leading `-`, spaces and separators.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed { text: text.chars().take(32).collect() };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(malformed()),
            Some(parts) => parts,
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let minor_units = usize::from(currency.minor_units);
        if fraction.len() > minor_units {
            return Err(MoneyError::TooPrecise {
                currency,
                minor_units: currency.minor_units,
                decimals: fraction.len(),
            });
        }
        let padding = std::iter::repeat_n(b'0', minor_units - fraction.len());
        let mut amount_minor: i64 = 0;
        for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
            amount_minor = amount_minor
                .checked_mul(10)
                .and_then(|n| n.checked_add(i64::from(digit - b'0')))
                .filter(|n| *n <= AMOUNT_MINOR_MAX)
                .ok_or(MoneyError::TooLarge)?;
        }
        Ok(Self { amount_minor: if negative { -amount_minor } else { amount_minor }, currency })
    }

    /// Reads a decimal that must be greater than zero.
    pub fn parse_positive(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let money = Self::parse(text, currency)?;
        if money.amount_minor <= 0 { Err(MoneyError::NotPositive) } else { Ok(money) }
    }

    /// The decimal with exactly the currency's decimals, for example `1234.50`.
    pub fn decimal(&self) -> String {
        decimal(self.amount_minor.into(), self.currency)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

/// Minor units as a decimal with exactly the currency's decimals. Sums of many amounts may be
/// wider than one amount, hence `i128`.
pub fn decimal(amount_minor: i128, currency: Currency) -> String {
    let minor_units = usize::from(currency.minor_units);
    let absolute = amount_minor.unsigned_abs();
    // The narrower type is several times faster to write, and every single amount fits it.
    let digits = u64::try_from(absolute).map_or_else(|_| absolute.to_string(), |absolute| absolute.to_string());
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(minor_units));
    let mut text = String::with_capacity(digits.len() + minor_units + 3);
    text.push_str(if amount_minor < 0 { "-" } else { "" });
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if minor_units > 0 {
        text.push('.');
        text.extend(std::iter::repeat_n('0', minor_units.saturating_sub(fraction.len())));
        text.push_str(fraction);
    }
    text
}

/// A side of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The left side: increases assets and expenses.
    #[default]
    Debit,
    /// The right side: increases liabilities, equity and income.
    Credit,
}

impl Side {
    /// The other side.
    pub const fn opposite(self) -> Side {
        match self {
            Side::Debit => Side::Credit,
            Side::Credit => Side::Debit,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Debit => "debit",
            Side::Credit => "credit",
        }
    }

    /// The change that an amount on this side makes to a balance with that normal side, in minor units.
    pub const fn change_minor(self, amount_minor: i64, normal_side: Side) -> i64 {
        match (self, normal_side) {
            (Side::Debit, Side::Debit) | (Side::Credit, Side::Credit) => amount_minor,
            (Side::Debit, Side::Credit) | (Side::Credit, Side::Debit) => -amount_minor,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn amounts_are_read_exactly() {
        let czk = currency("CZK");
        for (text, minor) in [("0", 0), ("1234.56", 123_456), ("7.5", 750), ("-0.01", -1), ("0001", 100)] {
            assert_eq!(Money::parse(text, czk).unwrap().amount_minor, minor, "{text}");
        }
        assert_eq!(Money::parse("1234", currency("JPY")).unwrap().amount_minor, 1234);
        assert_eq!(Money::parse("1.234", currency("KWD")).unwrap().amount_minor, 1234);
        assert_eq!(Money::parse("90071992547409.91", czk).unwrap().amount_minor, AMOUNT_MINOR_MAX);
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_own_reason() {
        let czk = currency("CZK");
        for text in ["", "-", ".5", "5.", "1e3", "1,000", "+1", " 1", "1 ", "NaN", "0x10", "1.2.3", "--1", "١"] {
            assert!(matches!(Money::parse(text, czk), Err(MoneyError::Malformed { .. })), "{text:?}");
        }
        assert!(matches!(Money::parse("1.234", czk), Err(MoneyError::TooPrecise { .. })));
        assert!(matches!(Money::parse("1.0", currency("JPY")), Err(MoneyError::TooPrecise { .. })));
        assert_eq!(Money::parse("90071992547409.92", czk), Err(MoneyError::TooLarge));
        assert_eq!(Money::parse(&"9".repeat(400), czk), Err(MoneyError::TooLarge));
        assert_eq!(Money::parse_positive("0.00", czk), Err(MoneyError::NotPositive));
        assert_eq!(Money::parse_positive("-1", czk), Err(MoneyError::NotPositive));
        for text in ["", "czk", "XXX", "CZKK", "ČK"] {
            assert!(matches!(text.parse::<Currency>(), Err(MoneyError::UnknownCurrency { .. })), "{text}");
        }
    }

    #[test]
    fn decimals_read_back() {
        for code in ["CZK", "JPY", "KWD"] {
            for minor in [0, 1, -1, 99, -100, 123_456_789, AMOUNT_MINOR_MAX, -AMOUNT_MINOR_MAX] {
                let money = Money::new(minor, currency(code));
                assert_eq!(Money::parse(&money.decimal(), money.currency).unwrap(), money);
            }
        }
        assert_eq!(Money::new(-5, currency("CZK")).to_string(), "-0.05 CZK");
    }
}
