//! What may be asked about a loan product.

use crate::book::{Missing, Reservation, ReservationKind};
use crate::ids::LoanProductId;
use crate::money::Currency;
use crate::product::{LoanAccounts, ProductTerms};
use crate::words::{Number, ReasonCode, Title};

/// A command on a loan product.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the fields are those of the events
pub enum LoanProductCommand {
    /// Offer a new product.
    DefineLoanProduct {
        product_id: LoanProductId,
        code: Number,
        name: Title,
        currency: Currency,
        terms: ProductTerms,
        accounts: LoanAccounts,
    },
    /// Change the terms for new applications.
    ReviseLoanProduct { product_id: LoanProductId, terms: ProductTerms },
    /// Offer it no longer.
    RetireLoanProduct { product_id: LoanProductId, reason: Option<ReasonCode> },
}

impl LoanProductCommand {
    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            LoanProductCommand::DefineLoanProduct { .. } => "DefineLoanProduct",
            LoanProductCommand::ReviseLoanProduct { .. } => "ReviseLoanProduct",
            LoanProductCommand::RetireLoanProduct { .. } => "RetireLoanProduct",
        }
    }

    /// The product that the command is about.
    pub fn target(&self) -> LoanProductId {
        match self {
            LoanProductCommand::DefineLoanProduct { product_id, .. }
            | LoanProductCommand::ReviseLoanProduct { product_id, .. }
            | LoanProductCommand::RetireLoanProduct { product_id, .. } => *product_id,
        }
    }

    pub(crate) fn needs(&self, needs: &mut Vec<Missing>) {
        match self {
            LoanProductCommand::DefineLoanProduct { code, accounts, .. } => {
                needs.push(Missing::Reservation(Reservation::new(ReservationKind::LoanProductCode, code.as_str())));
                needs.extend(accounts.all().map(|id| Missing::Stream(id.stream())));
            }
            LoanProductCommand::ReviseLoanProduct { .. } | LoanProductCommand::RetireLoanProduct { .. } => {}
        }
    }
}
