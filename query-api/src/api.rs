//! The routes together, with what every handler needs.

use event_store::LogReader;
use platform::Permission;
use platform::http::Routes;
use sqlx::PgPool;
use utoipa_axum::routes;

use crate::freshness::Gate;
use crate::{
    accounts, balances, entries, events, ledger, members, projections, statement, transactions, trial_balance,
};

/// What every handler needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) gate: Gate,
    pub(crate) log: LogReader,
}

impl Api {
    /// Reads of the read models on `views` and of the log by `log`, each under a role that needs
    /// SELECT only. Starts the process's one listener for applied positions, which ends with the
    /// last clone; to be called inside a Tokio runtime.
    pub fn start(views: PgPool, log: LogReader) -> Self {
        Self { gate: Gate::start(views), log }
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
        .route(Permission::EventsRead, routes!(events::list_events))
        .route(Permission::EventsRead, routes!(events::get_event))
        .route(Permission::ProjectionsRead, routes!(projections::list_projections))
}
