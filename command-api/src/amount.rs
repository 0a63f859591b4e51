//! Amounts on the wire: a decimal text and a currency, read into money exactly or refused with the
//! error's own code. Nothing is rounded.

use domain::money::MoneyError;
use domain::{Currency, Money};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::fault::Fault;

/// An amount of money. The decimal has at most as many decimals as the currency.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": "1234.56", "currency": "CZK"}))]
pub(crate) struct Amount {
    /// A plain decimal as a text: no exponent, no separators.
    #[schema(pattern = r"^-?[0-9]+(\.[0-9]+)?$", example = "1234.56")]
    pub(crate) amount: String,
    /// A code of ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CZK")]
    pub(crate) currency: String,
}

impl Amount {
    /// The money; it must be above zero.
    pub(crate) fn positive(&self) -> Result<Money, Fault> {
        Money::parse_positive(&self.amount, self.currency()?).map_err(|error| fault("amount", &error))
    }

    /// The money; it must be zero or above.
    pub(crate) fn not_negative(&self) -> Result<Money, Fault> {
        let money = Money::parse(&self.amount, self.currency()?).map_err(|error| fault("amount", &error))?;
        if money.amount_minor < 0 { Err(fault("amount", &MoneyError::Negative)) } else { Ok(money) }
    }

    fn currency(&self) -> Result<Currency, Fault> {
        currency("currency", &self.currency)
    }
}

/// Reads a decimal in a currency that is known from elsewhere; it must be above zero.
pub(crate) fn positive(field: &'static str, text: &str, currency: Currency) -> Result<Money, Fault> {
    Money::parse_positive(text, currency).map_err(|error| fault(field, &error))
}

/// Reads a currency's code.
pub(crate) fn currency(field: &'static str, code: &str) -> Result<Currency, Fault> {
    code.parse().map_err(|error| fault(field, &error))
}

fn fault(field: &'static str, error: &MoneyError) -> Fault {
    Fault::new(field, error.code(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(amount: &str, currency: &str) -> Amount {
        Amount { amount: amount.to_owned(), currency: currency.to_owned() }
    }

    #[test]
    fn amounts_become_minor_units() {
        assert_eq!(amount("1234.5", "CZK").positive().unwrap().amount_minor, 123_450);
        assert_eq!(amount("7", "JPY").positive().unwrap().amount_minor, 7);
        assert_eq!(amount("0", "CZK").not_negative().unwrap().amount_minor, 0);
    }

    #[test]
    fn every_way_to_be_wrong_has_its_code_and_field() {
        let cases = [
            ("1e3", "CZK", "amount", "amount_malformed"),
            ("", "CZK", "amount", "amount_malformed"),
            ("1.234", "CZK", "amount", "amount_too_precise"),
            ("90071992547409.92", "CZK", "amount", "amount_too_large"),
            ("0.00", "CZK", "amount", "amount_not_positive"),
            ("-5", "CZK", "amount", "amount_not_positive"),
            ("1", "XYZ", "currency", "unknown_currency"),
            ("1", "czk", "currency", "unknown_currency"),
        ];
        for (text, code, field, expected) in cases {
            let fault = amount(text, code).positive().unwrap_err();
            assert_eq!((fault.field.as_ref(), fault.code), (field, expected), "{text} {code}");
        }
        assert_eq!(amount("-0.01", "CZK").not_negative().unwrap_err().code, "amount_negative");
    }
}
