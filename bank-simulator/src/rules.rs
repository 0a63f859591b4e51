//! What this bank refuses.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::amount::{Amount, decimal};

/// A refusal, with its code and words; of an id it is the last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into() }
    }

    /// An order that was cancelled before it came.
    pub(crate) fn cancelled() -> Self {
        Self::new("cancelled", "this id was cancelled before its order came")
    }

    /// An account that takes no money any more.
    pub(crate) fn closed() -> Self {
        Self::new("account_closed", "the account of the payee is closed")
    }
}

/// An account at another bank.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    pub(crate) account_number: String,
    pub(crate) bank_code: String,
}

/// The rules that need no state.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    bank_codes: BTreeSet<String>,
    amount_max: Decimal,
}

impl Rules {
    pub(crate) fn new(bank_codes: &[String], amount_max: &str) -> Result<Self, String> {
        let amount_max = decimal(amount_max).ok_or("the largest amount must be a decimal such as 10000000.00")?;
        Ok(Self { bank_codes: bank_codes.iter().cloned().collect(), amount_max })
    }

    /// Whether money could go there.
    pub(crate) fn destination(&self, to: &Destination) -> Result<(), Refusal> {
        let number = &to.account_number;
        if !self.bank_codes.contains(&to.bank_code) {
            return Err(Refusal::new("unknown_bank", "no bank has this code"));
        }
        if !(1..=34).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(Refusal::new("invalid_account", "an account number has 1 to 34 letters, digits or hyphens"));
        }
        Ok(())
    }

    /// Whether one payment may be of that size.
    pub(crate) fn amount(&self, amount: &Amount) -> Result<(), Refusal> {
        if amount.amount > self.amount_max {
            let detail = format!("one payment moves at most {}", self.amount_max);
            return Err(Refusal::new("amount_over_limit", detail));
        }
        Ok(())
    }
}
