//! What a loan's schedule would be. No command: it looks at no state and leaves nothing behind.

use axum::Json;
use domain::calc::{self, CalcError};
use domain::money::decimal;
use domain::{Currency, calc::Instalment};
use platform::extract::StrictQuery;
use platform::http::Routes;
use platform::{Permission, Problem, StrictJson};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::Amount;
use crate::fault::Faults;
use crate::loan_terms::LoanScheduleTerms;
use crate::wire::{Day, Nothing, annual_rate, date};

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new().route(Permission::LoansRead, routes!(preview))
}

/// A loan as it could be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "principal": {"amount": "100.00", "currency": "CZK"},
    "annual_rate": "7",
    "instalments": 6,
    "disbursed_on": "2024-01-01",
    "terms": {
        "frequency": {"every": 1, "unit": "months"},
        "method": "reducing_balance",
        "amortization": "equal_instalments",
        "day_count": "thirty_360",
        "rounding": "half_even",
    },
}))]
struct PreviewLoanSchedule {
    /// How much is lent.
    principal: Amount,
    /// The nominal annual rate in percent.
    #[schema(pattern = r"^[0-9]{1,4}(\.[0-9]{1,6})?$", example = "7")]
    annual_rate: String,
    /// In how many instalments it is paid back.
    #[schema(minimum = 1, maximum = 600)]
    instalments: u16,
    /// From when interest counts.
    disbursed_on: Day,
    /// When the first instalment is due. Default: one period after the disbursement.
    first_due_on: Option<Day>,
    /// The other terms.
    terms: LoanScheduleTerms,
}

/// A loan's schedule.
#[derive(Debug, Serialize, ToSchema)]
struct LoanSchedule {
    /// The currency of all amounts.
    #[schema(value_type = String, example = "CZK")]
    currency: Currency,
    /// What is due when.
    instalments: Vec<LoanScheduleInstalment>,
    /// What it comes to.
    totals: LoanScheduleTotals,
}

/// One instalment.
#[derive(Debug, Serialize, ToSchema)]
struct LoanScheduleInstalment {
    /// Its number, from 1.
    number: u16,
    /// The day from which its interest is charged.
    #[schema(value_type = String, format = Date)]
    from: chrono::NaiveDate,
    /// The day on which it is due.
    #[schema(value_type = String, format = Date)]
    due_on: chrono::NaiveDate,
    /// The principal in it.
    #[schema(example = "16.43")]
    principal: String,
    /// The interest in it.
    #[schema(example = "0.58")]
    interest: String,
    /// Both together.
    #[schema(example = "17.01")]
    due: String,
    /// The principal that is left afterwards.
    #[schema(example = "83.57")]
    balance: String,
}

/// The sums over all instalments.
#[derive(Debug, Serialize, ToSchema)]
struct LoanScheduleTotals {
    /// The principal: what is lent.
    #[schema(example = "100.00")]
    principal: String,
    /// The interest.
    #[schema(example = "2.05")]
    interest: String,
    /// Both together.
    #[schema(example = "102.05")]
    due: String,
}

impl LoanSchedule {
    fn new(instalments: &[Instalment], currency: Currency) -> Self {
        let sum = |of: fn(&Instalment) -> i64| instalments.iter().map(|one| i128::from(of(one))).sum::<i128>();
        let amount = |minor: i128| decimal(minor, currency);
        Self {
            currency,
            instalments: instalments
                .iter()
                .map(|one| LoanScheduleInstalment {
                    number: one.number,
                    from: one.from,
                    due_on: one.due_on,
                    principal: amount(one.principal_minor.into()),
                    interest: amount(one.interest_minor.into()),
                    due: amount(one.due_minor().into()),
                    balance: amount(one.balance_minor.into()),
                })
                .collect(),
            totals: LoanScheduleTotals {
                principal: amount(sum(|one| one.principal_minor)),
                interest: amount(sum(|one| one.interest_minor)),
                due: amount(sum(Instalment::due_minor)),
            },
        }
    }
}

impl PreviewLoanSchedule {
    fn read(&self) -> Result<(calc::Terms, Currency), Problem> {
        let mut faults = Faults::default();
        let principal = faults.at(|| "principal".to_owned(), self.principal.positive());
        let rate = faults.keep(annual_rate("annual_rate", &self.annual_rate));
        let Some(principal) = principal else {
            return Err(faults.into_problem());
        };
        let loan = calc::Terms {
            principal_minor: principal.amount_minor,
            minor_units: principal.currency.minor_units(),
            annual_rate: rate.unwrap_or_default(),
            method: calc::InterestMethod::default(),
            amortization: calc::Amortization::default(),
            day_count: calc::DayCount::default(),
            frequency: calc::Frequency::default(),
            instalments: self.instalments,
            disbursed_on: self.disbursed_on.0,
            first_due_on: date(self.first_due_on),
            rounding: calc::Rounding::default(),
            instalment_multiple_minor: None,
        };
        match self.terms.read(loan, principal.currency, &mut faults) {
            Some(terms) if faults.is_empty() => Ok((terms, principal.currency)),
            _ => Err(faults.into_problem()),
        }
    }
}

/// Terms that give no schedule, with the field that is to be looked at first.
fn no_schedule(error: &CalcError) -> Problem {
    let field = match error {
        CalcError::PrincipalNotPositive | CalcError::PrincipalTooLarge => "principal",
        CalcError::InstalmentsOutOfRange { .. } | CalcError::InstalmentTooSmall { .. } => "instalments",
        CalcError::FrequencyNotPositive => "terms.frequency",
        CalcError::FirstDueNotAfterDisbursement => "first_due_on",
        CalcError::DateOutOfRange => "disbursed_on",
        CalcError::MultipleNotPositive => "terms.instalment_multiple",
        CalcError::AmountTooLarge | CalcError::WeightsUnusable => "annual_rate",
    };
    Problem::unprocessable(error.code(), error.to_string()).with_error(field, error.code(), error.to_string())
}

/// Compute what a loan's schedule would be.
///
/// The same terms always give the same schedule, and a loan paid out on that day has this one.
/// Nothing is recorded, so that no `Idempotency-Key` is needed.
#[utoipa::path(
    post, path = "/v1/loan-schedules/preview", tag = "loans", operation_id = "previewLoanSchedule",
    request_body = PreviewLoanSchedule,
    responses(
        (status = 200, description = "The schedule.", body = LoanSchedule),
        (status = 422, description = "The terms give no schedule; `code` says why.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn preview(
    StrictQuery(Nothing {}): StrictQuery<Nothing>,
    StrictJson { value, .. }: StrictJson<PreviewLoanSchedule>,
) -> Result<Json<LoanSchedule>, Problem> {
    let (terms, currency) = value.read()?;
    let instalments = calc::schedule(&terms).map_err(|error| no_schedule(&error))?;
    Ok(Json(LoanSchedule::new(&instalments, currency)))
}
