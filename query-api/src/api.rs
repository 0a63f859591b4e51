//! The routes together, with what every handler needs.

use chrono_tz::Tz;
use event_store::LogReader;
use platform::Permission;
use platform::http::Routes;
use sqlx::PgPool;
use utoipa_axum::routes;

use crate::by_key::ByKey;
use crate::current_balances::CurrentBalances;
use crate::freshness::Gate;
use crate::{
    accounts, arrears, balances, entries, events, ledger, loan_products, loan_repayments, loan_schedule, loans,
    members, portfolio, projections, sagas, statement, transactions, trial_balance,
};

/// What every handler needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) gate: Gate,
    pub(crate) current_balances: CurrentBalances,
    pub(crate) by_key: ByKey,
    pub(crate) log: LogReader,
    /// In which the business date is today.
    pub(crate) time_zone: Tz,
}

impl Api {
    /// Reads of the read models on `views` and of the log by `log`, each under a role that needs
    /// SELECT only. Starts the process's one listener for applied positions and its readers of
    /// balances, which end with the last clone; to be called inside a Tokio runtime.
    pub fn start(views: PgPool, log: LogReader) -> Self {
        let current_balances = CurrentBalances::start(&views);
        let by_key = ByKey::new(&views);
        Self { gate: Gate::start(views), current_balances, by_key, log, time_zone: Tz::UTC }
    }

    /// The same for an institution in that time zone, by which the business date is told; UTC
    /// where nothing is said.
    #[must_use]
    pub fn in_time_zone(self, time_zone: Tz) -> Self {
        Self { time_zone, ..self }
    }
}

/// Every route with its documentation.
pub(crate) fn documented() -> Routes<Api> {
    Routes::new()
        .route(Permission::MembersRead, routes!(members::list_members))
        .route(Permission::MembersRead, routes!(members::get_member))
        .route(Permission::AccountsRead, routes!(accounts::list_accounts))
        .route(Permission::AccountsRead, routes!(accounts::get_account))
        .route(Permission::BalancesRead, routes!(entries::list_entries))
        .route(Permission::BalancesRead, routes!(statement::get_statement))
        .route(Permission::BalancesRead, routes!(balances::get_balance))
        .route(Permission::TransactionsRead, routes!(transactions::list_transactions))
        .route(Permission::TransactionsRead, routes!(transactions::get_transaction))
        .route(Permission::ReportsRead, routes!(trial_balance::get_trial_balance))
        .route(Permission::LedgerRead, routes!(ledger::list_ledger_codes))
        .route(Permission::LedgerRead, routes!(ledger::list_currencies))
        .route(Permission::LedgerRead, routes!(ledger::list_periods))
        .route(Permission::LoanProductsRead, routes!(loan_products::list_loan_products))
        .route(Permission::LoanProductsRead, routes!(loan_products::get_loan_product))
        .route(Permission::LoansRead, routes!(loans::list_loans))
        .route(Permission::LoansRead, routes!(arrears::list_arrears))
        .route(Permission::LoansRead, routes!(portfolio::get_portfolio_at_risk))
        .route(Permission::LoansRead, routes!(loans::get_loan))
        .route(Permission::LoansRead, routes!(loan_schedule::get_schedule))
        .route(Permission::LoansRead, routes!(loan_repayments::list_repayments))
        .route(Permission::LoansRead, routes!(arrears::get_arrears))
        .route(Permission::SagasRead, routes!(sagas::list_sagas))
        .route(Permission::SagasRead, routes!(sagas::get_saga))
        .route(Permission::EventsRead, routes!(events::list_events))
        .route(Permission::EventsRead, routes!(events::get_event))
        .route(Permission::ProjectionsRead, routes!(projections::list_projections))
}
