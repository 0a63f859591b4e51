//! The fold of a loan product's events.

use serde::{Deserialize, Serialize};

use crate::money::Currency;
use crate::product::{LoanAccounts, LoanProductEvent, ProductTerms};

/// A loan product.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoanProduct {
    /// The currency of its loans.
    pub currency: Currency,
    /// The version of its terms, from 1.
    pub version: u32,
    /// The terms of that version.
    pub terms: ProductTerms,
    /// Where its loans post.
    pub accounts: LoanAccounts,
    /// Whether it can no longer be applied for.
    pub retired: bool,
}

impl LoanProduct {
    /// Applies an event.
    pub fn fold(&mut self, event: &LoanProductEvent) {
        match event {
            LoanProductEvent::LoanProductDefined { currency, terms, accounts, .. } => {
                self.currency = *currency;
                self.version = 1;
                self.terms.clone_from(terms);
                self.accounts = *accounts;
            }
            LoanProductEvent::LoanProductRevised { version, terms } => {
                self.version = *version;
                self.terms.clone_from(terms);
            }
            LoanProductEvent::LoanProductRetired { .. } => self.retired = true,
        }
    }
}
