//! The date as of which loans are asked about.

use chrono::{NaiveDate, Utc};
use domain::{Currency, money};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::amount::Minor;
use crate::api::Api;
use crate::parameters::Parameters;

/// As of which date.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Names and documents what `read` reads.
pub(crate) struct LoanAsOf {
    /// A payment counts from its value date, an instalment or a charge is due from its due date on;
    /// the business date when left out.
    #[param(example = "2026-01-31", required = false)]
    pub(crate) as_of: NaiveDate,
}

/// The date that is asked for, or today in the institution's time zone.
pub(crate) fn read(parameters: &mut Parameters, api: &Api) -> NaiveDate {
    parameters.date("as_of").unwrap_or_else(|| Utc::now().with_timezone(&api.time_zone).date_naive())
}

/// Amounts of a loan by component; decimals in its currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComponentsView {
    /// Principal.
    #[schema(example = "1000.00")]
    principal: String,
    /// Interest.
    #[schema(example = "12.50")]
    interest: String,
    /// Fees.
    #[schema(example = "0.00")]
    fee: String,
    /// Penalties.
    #[schema(example = "0.00")]
    penalty: String,
    /// All of them together.
    #[schema(example = "1012.50")]
    total: String,
}

/// Amounts by component, in minor units: principal, interest, fee, penalty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Components(pub(crate) [i128; 4]);

impl Components {
    /// All of them together.
    pub(crate) fn total_minor(self) -> i128 {
        self.0.iter().sum()
    }

    /// These and those.
    pub(crate) fn plus(self, more: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] + more.0[at]))
    }

    /// These without those.
    pub(crate) fn less(self, less: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - less.0[at]))
    }

    /// As replies show them.
    pub(crate) fn view(self, currency: Currency) -> ComponentsView {
        let decimal = |minor| money::decimal(minor, currency);
        let [principal, interest, fee, penalty] = self.0.map(decimal);
        ComponentsView { principal, interest, fee, penalty, total: decimal(self.total_minor()) }
    }
}

impl From<[i64; 4]> for Components {
    fn from(minor: [i64; 4]) -> Self {
        Self(minor.map(i128::from))
    }
}

impl From<[Minor; 4]> for Components {
    fn from(minor: [Minor; 4]) -> Self {
        Self(minor.map(|minor| minor.0))
    }
}
