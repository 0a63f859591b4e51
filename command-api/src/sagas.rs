//! What people do about sagas: let one that waits go on, decide about a payment, give one up.

use axum::extract::State;
use axum::response::Response;
use domain::saga::{Resolution, SagaCommand};
use domain::words::ReasonCode;
use domain::{Command, LoanId, SagaId};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::fault::Fault;
use crate::reply::{CommandReply, Subject};
use crate::request::{CommandRequest, PathId};
use crate::wire::{Id, Nothing};

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    // Letting a saga go on is the platform's business; deciding whose money it is, an officer's.
    Routes::new()
        .route_any(&[Permission::SagasManage, Permission::PaymentsMatch], routes!(resume))
        .route(Permission::SagasManage, routes!(abandon))
}

/// What was decided, where something had to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({}),
    json!({"resolution": {"assign_loan": {"loan_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980"}}}),
    json!({"resolution": {"return_payment": {}}})
))]
struct ResumeSaga {
    /// Of an incoming payment that waits for a person. Absent: the step is tried again at once.
    resolution: Option<SagaResolution>,
}

/// Exactly one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SagaResolution {
    /// The payment is for this loan.
    assign_loan: Option<AssignLoan>,
    /// The payment goes back to where it came from.
    return_payment: Option<Nothing>,
}

/// Which loan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssignLoan {
    /// The loan.
    loan_id: Id,
}

/// Why a saga is given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "settled_by_hand"}))]
struct AbandonSaga {
    /// A code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "settled_by_hand")]
    reason: ReasonCode,
}

impl SagaResolution {
    fn read(&self) -> Result<Resolution, Fault> {
        let rule = "give exactly one of assign_loan and return_payment";
        match (&self.assign_loan, self.return_payment) {
            (Some(AssignLoan { loan_id }), None) => Ok(Resolution::AssignLoan { loan_id: LoanId(loan_id.0) }),
            (None, Some(Nothing {})) => Ok(Resolution::ReturnPayment),
            (Some(_), Some(_)) => Err(Fault::new("resolution", "ambiguous_resolution", rule)),
            (None, None) => Err(Fault::missing("resolution", rule)),
        }
    }
}

/// Let a saga go on at once: one that waits for a person, or for the time of its next try.
///
/// With a `resolution` it needs `payments:match`, without one `sagas:manage`.
#[utoipa::path(
    post, path = "/v1/sagas/{id}/resume", tag = "sagas", operation_id = "resumeSaga",
    params(("id" = Uuid, Path, description = "The saga.")),
    request_body = ResumeSaga,
    responses((status = 200, description = "It goes on.", body = CommandReply))
)]
async fn resume(
    State(state): State<AppState>,
    PathId(saga_id): PathId<SagaId>,
    request: CommandRequest<ResumeSaga>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    caller.check_may(if body.resolution.is_some() { Permission::PaymentsMatch } else { Permission::SagasManage })?;
    let resolution = body.resolution.map(|resolution| resolution.read()).transpose()?;
    let command = SagaCommand::ResumeSaga { saga_id, resolution };
    caller.send(&state, Command::Saga(command), Subject::changed()).await
}

/// Give a saga up; where something has to be undone first, begin with that.
#[utoipa::path(
    post, path = "/v1/sagas/{id}/abandon", tag = "sagas", operation_id = "abandonSaga",
    params(("id" = Uuid, Path, description = "The saga.")),
    request_body = AbandonSaga,
    responses((status = 200, description = "It is given up, or is being undone.", body = CommandReply))
)]
async fn abandon(
    State(state): State<AppState>,
    PathId(saga_id): PathId<SagaId>,
    request: CommandRequest<AbandonSaga>,
) -> Result<Response, Problem> {
    let command = SagaCommand::AbandonSaga { saga_id, reason: request.body.reason };
    request.caller.send(&state, Command::Saga(command), Subject::changed()).await
}
