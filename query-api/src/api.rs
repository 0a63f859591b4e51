//! The routes together, with what every handler needs.

use event_store::LogReader;
use sqlx::PgPool;
use utoipa_axum::router::OpenApiRouter;
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
pub(crate) fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(members::list_members))
        .routes(routes!(members::get_member))
        .routes(routes!(accounts::list_accounts))
        .routes(routes!(accounts::get_account))
        .routes(routes!(entries::list_entries))
        .routes(routes!(statement::get_statement))
        .routes(routes!(balances::get_balance))
        .routes(routes!(transactions::list_transactions))
        .routes(routes!(transactions::get_transaction))
        .routes(routes!(trial_balance::get_trial_balance))
        .routes(routes!(ledger::list_ledger_codes))
        .routes(routes!(ledger::list_currencies))
        .routes(routes!(ledger::list_periods))
        .routes(routes!(events::list_events))
        .routes(routes!(events::get_event))
        .routes(routes!(projections::list_projections))
}
