//! Commands on the ledger's frame: currencies, the chart of accounts, periods.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use domain::Command;
use domain::ledger::LedgerCommand;
use domain::words::{LedgerCode, PeriodId, Title};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount;
use crate::fault::Fault;
use crate::reply::{CommandReply, Subject};
use crate::request::{CommandRequest, path_text};
use crate::wire::{Day, LedgerClass, Nothing};

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::LedgerWrite, routes!(define_currency))
        .route(Permission::LedgerWrite, routes!(define_code))
        .route(Permission::PeriodsWrite, routes!(open_period))
        .route(Permission::PeriodsWrite, routes!(close_period))
}

/// A currency to keep accounts in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"code": "CZK", "minor_units": 2}))]
struct DefineCurrency {
    /// A code of ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CZK")]
    code: String,
    /// How many decimals its amounts have. It must be what ISO 4217 says, and may be left out.
    #[schema(maximum = 4, example = 2)]
    minor_units: Option<u8>,
}

/// A code of the chart of accounts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"code": "2010", "name": "Members' current accounts", "class": "liability", "control": true}))]
struct DefineLedgerCode {
    /// The code.
    #[schema(value_type = String, max_length = 16, pattern = "^[A-Za-z0-9.-]+$", example = "2010")]
    code: LedgerCode,
    /// What people call it.
    #[schema(value_type = String, max_length = 80, example = "Members' current accounts")]
    name: Title,
    /// Its class.
    class: LedgerClass,
    /// Whether members' accounts hang on it, and only those.
    #[serde(default)]
    control: bool,
}

/// An accounting period, from its first to its last day.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "1993-01", "from": "1993-01-01", "to": "1993-01-31"}))]
struct OpenPeriod {
    /// Its id.
    #[schema(value_type = String, max_length = 16, pattern = "^[A-Za-z0-9-]+$", example = "1993-01")]
    id: PeriodId,
    /// First day.
    from: Day,
    /// Last day.
    to: Day,
}

/// Keep accounts in a currency from now on.
#[utoipa::path(
    post, path = "/v1/ledger/currencies", tag = "ledger", operation_id = "defineCurrency",
    request_body = DefineCurrency,
    responses((status = 201, description = "The ledger has the currency.", body = CommandReply))
)]
async fn define_currency(
    State(state): State<AppState>,
    request: CommandRequest<DefineCurrency>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let currency = amount::currency("code", &body.code)?;
    let minor_units = currency.minor_units();
    if body.minor_units.is_some_and(|given| given != minor_units) {
        return Err(Fault::invalid("minor_units", format!("{currency} has {minor_units} decimals in ISO 4217")).into());
    }
    let command = LedgerCommand::DefineCurrency { currency };
    caller.send(&state, Command::Ledger(command), Subject::of_ledger(body.code)).await
}

/// Add a code to the chart of accounts.
#[utoipa::path(
    post, path = "/v1/ledger/codes", tag = "ledger", operation_id = "defineLedgerCode",
    request_body = DefineLedgerCode,
    responses((status = 201, description = "The chart has the code.", body = CommandReply))
)]
async fn define_code(
    State(state): State<AppState>,
    request: CommandRequest<DefineLedgerCode>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let subject = Subject::of_ledger(body.code.to_string());
    let command = LedgerCommand::DefineLedgerCode {
        ledger_code: body.code,
        name: body.name,
        class: body.class.into(),
        control: body.control,
    };
    caller.send(&state, Command::Ledger(command), subject).await
}

/// Open an accounting period.
#[utoipa::path(
    post, path = "/v1/ledger/periods", tag = "ledger", operation_id = "openPeriod",
    request_body = OpenPeriod,
    responses((status = 201, description = "The period takes bookings.", body = CommandReply))
)]
async fn open_period(State(state): State<AppState>, request: CommandRequest<OpenPeriod>) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let subject = Subject::of_ledger(body.id.to_string());
    let command = LedgerCommand::OpenPeriod { period: body.id, from: body.from.0, to: body.to.0 };
    caller.send(&state, Command::Ledger(command), subject).await
}

/// Close an accounting period: it takes nothing more.
#[utoipa::path(
    post, path = "/v1/ledger/periods/{id}/close", tag = "ledger", operation_id = "closePeriod",
    params(("id" = String, Path, description = "The period.", max_length = 16, pattern = "^[A-Za-z0-9-]+$", example = "1993-01")),
    request_body = Nothing,
    responses((status = 200, description = "The period is closed.", body = CommandReply))
)]
async fn close_period(
    State(state): State<AppState>,
    PathPeriod(period): PathPeriod,
    request: CommandRequest<Nothing>,
) -> Result<Response, Problem> {
    let subject = Subject::of_ledger(period.to_string());
    request.caller.send(&state, Command::Ledger(LedgerCommand::ClosePeriod { period }), subject).await
}

/// The period in a path.
struct PathPeriod(PeriodId);

impl<S: Send + Sync> FromRequestParts<S> for PathPeriod {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = path_text(parts, state).await?;
        Ok(Self(PeriodId::try_new(text).map_err(|error| Fault::word("id", &error))?))
    }
}
