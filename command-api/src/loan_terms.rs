//! The terms of loan products and of schedules, as they are on the wire.
//!
//! Amounts in a product's terms are decimals in the product's currency, which is said once and never
//! changes.

use domain::product::{CollectionPolicy, Component, LoanAccounts, ProductTerms};
use domain::{AccountId, Currency, calc};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::amount;
use crate::fault::Faults;
use crate::wire::{Amortization, DayCount, Frequency, Id, InterestMethod, LoanComponent, Rounding, annual_rate};

/// The terms that loans of a product are given on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "principal_min": "1000.00",
    "principal_max": "500000.00",
    "annual_rate_min": "9",
    "annual_rate_max": "14.5",
    "instalments_min": 6,
    "instalments_max": 60,
    "frequency": {"every": 1, "unit": "months"},
    "method": "reducing_balance",
    "amortization": "equal_instalments",
    "day_count": "thirty_360",
    "rounding": "half_even",
    "allocation_order": ["penalty", "fee", "interest", "principal"],
    "collection": {"retry_after_days": [1, 3, 7]},
}))]
pub(crate) struct LoanProductTerms {
    /// The least principal, a decimal in the product's currency.
    #[schema(pattern = r"^[0-9]+(\.[0-9]+)?$", example = "1000.00")]
    principal_min: String,
    /// The largest principal, a decimal in the product's currency.
    #[schema(pattern = r"^[0-9]+(\.[0-9]+)?$", example = "500000.00")]
    principal_max: String,
    /// The least nominal annual rate in percent: 0 to 1000, at most six decimals.
    #[schema(pattern = r"^[0-9]{1,4}(\.[0-9]{1,6})?$", example = "9")]
    annual_rate_min: String,
    /// The largest nominal annual rate in percent.
    #[schema(pattern = r"^[0-9]{1,4}(\.[0-9]{1,6})?$", example = "14.5")]
    annual_rate_max: String,
    /// The fewest instalments.
    #[schema(minimum = 1, maximum = 600)]
    instalments_min: u16,
    /// The most instalments.
    #[schema(minimum = 1, maximum = 600)]
    instalments_max: u16,
    /// How often an instalment is due.
    frequency: Frequency,
    /// On what interest is charged.
    method: InterestMethod,
    /// What is equal.
    amortization: Amortization,
    /// How days count.
    day_count: DayCount,
    /// How amounts are rounded to minor units.
    rounding: Rounding,
    /// Equal instalments are rounded to a multiple of this decimal; the last absorbs the difference.
    #[schema(pattern = r"^[0-9]+(\.[0-9]+)?$", example = "10.00")]
    instalment_multiple: Option<String>,
    /// In which order a payment settles what is due with an instalment: each of the four once.
    /// Default: penalty, fee, interest, principal.
    #[schema(min_items = 4, max_items = 4)]
    allocation_order: Option<Vec<LoanComponent>>,
    /// Collect what is due from the settlement account by itself; absent: nothing is collected so.
    collection: Option<LoanCollection>,
}

/// How what is due is collected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"retry_after_days": [1, 3, 7]}))]
pub(crate) struct LoanCollection {
    /// On which days after the due date to try again when there was not enough: 1 to 365, ascending.
    #[schema(max_items = 365)]
    retry_after_days: Vec<u16>,
}

impl LoanProductTerms {
    /// The domain's terms; what is wrong is kept in `faults`, and then there are none. Ranges that
    /// contradict themselves are for the domain to refuse.
    pub(crate) fn read(self, currency: Currency, faults: &mut Faults) -> Option<ProductTerms> {
        let under = |field: &str| format!("terms.{field}");
        let mut decimal = |field, text: &str| {
            let money = faults.at(|| "terms".to_owned(), amount::positive(field, text, currency));
            money.map(|money| money.amount_minor)
        };
        let principal_min_minor = decimal("principal_min", &self.principal_min);
        let principal_max_minor = decimal("principal_max", &self.principal_max);
        let multiple = self.instalment_multiple.map(|text| decimal("instalment_multiple", &text));
        let mut rate = |field, text: &str| faults.at(|| "terms".to_owned(), annual_rate(field, text));
        let annual_rate_min = rate("annual_rate_min", &self.annual_rate_min);
        let annual_rate_max = rate("annual_rate_max", &self.annual_rate_max);
        let frequency = faults.at(|| under("frequency"), self.frequency.read());
        let order = self.allocation_order.map(|order| order.into_iter().map(Component::from).collect());
        Some(ProductTerms {
            principal_min_minor: principal_min_minor?,
            principal_max_minor: principal_max_minor?,
            annual_rate_min: annual_rate_min?,
            annual_rate_max: annual_rate_max?,
            instalments_min: self.instalments_min,
            instalments_max: self.instalments_max,
            frequency: frequency?,
            method: self.method.into(),
            amortization: self.amortization.into(),
            day_count: self.day_count.into(),
            rounding: self.rounding.into(),
            instalment_multiple_minor: match multiple {
                Some(multiple) => Some(multiple?),
                None => None,
            },
            allocation_order: order.unwrap_or_else(|| Component::ALL.to_vec()),
            collection: self
                .collection
                .map(|collection| CollectionPolicy { retry_after_days: collection.retry_after_days }),
        })
    }
}

/// The internal accounts that a product's loans post to. The first three take entries of loans only
/// from then on.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoanProductAccounts {
    /// Principal owed to us: an asset.
    portfolio_account_id: Id,
    /// Interest earned and not yet paid: an asset.
    interest_receivable_account_id: Id,
    /// Fees and penalties charged and not yet paid: an asset.
    charges_receivable_account_id: Id,
    /// Interest earned: an income.
    interest_income_account_id: Id,
    /// Fees earned: an income.
    fee_income_account_id: Id,
    /// Penalties earned: an income.
    penalty_income_account_id: Id,
    /// Losses on loans written off: an expense.
    write_off_account_id: Id,
}

impl From<LoanProductAccounts> for LoanAccounts {
    fn from(accounts: LoanProductAccounts) -> Self {
        Self {
            portfolio_account_id: AccountId(accounts.portfolio_account_id.0),
            interest_receivable_account_id: AccountId(accounts.interest_receivable_account_id.0),
            charges_receivable_account_id: AccountId(accounts.charges_receivable_account_id.0),
            interest_income_account_id: AccountId(accounts.interest_income_account_id.0),
            fee_income_account_id: AccountId(accounts.fee_income_account_id.0),
            penalty_income_account_id: AccountId(accounts.penalty_income_account_id.0),
            write_off_account_id: AccountId(accounts.write_off_account_id.0),
        }
    }
}

/// Those terms that a schedule is computed from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "frequency": {"every": 1, "unit": "months"},
    "method": "reducing_balance",
    "amortization": "equal_instalments",
    "day_count": "thirty_360",
    "rounding": "half_even",
}))]
pub(crate) struct LoanScheduleTerms {
    /// How often an instalment is due.
    frequency: Frequency,
    /// On what interest is charged.
    method: InterestMethod,
    /// What is equal.
    amortization: Amortization,
    /// How days count.
    day_count: DayCount,
    /// How amounts are rounded to minor units.
    rounding: Rounding,
    /// Equal instalments are rounded to a multiple of this decimal; the last absorbs the difference.
    #[schema(pattern = r"^[0-9]+(\.[0-9]+)?$", example = "10.00")]
    instalment_multiple: Option<String>,
}

impl LoanScheduleTerms {
    /// The same terms for one loan; what is wrong is kept in `faults`, and then there are none.
    pub(crate) fn read(&self, loan: calc::Terms, currency: Currency, faults: &mut Faults) -> Option<calc::Terms> {
        let frequency = faults.at(|| "terms.frequency".to_owned(), self.frequency.read());
        let multiple = self
            .instalment_multiple
            .as_ref()
            .map(|text| faults.at(|| "terms".to_owned(), amount::positive("instalment_multiple", text, currency)));
        Some(calc::Terms {
            frequency: frequency?,
            method: self.method.into(),
            amortization: self.amortization.into(),
            day_count: self.day_count.into(),
            rounding: self.rounding.into(),
            instalment_multiple_minor: match multiple {
                Some(multiple) => Some(multiple?.amount_minor),
                None => None,
            },
            ..loan
        })
    }
}
