//! Commands on a loan's life: applied for, decided about, given up, closed. Paying out is in
//! `disbursements`, paying back in `repayments`.

use axum::extract::State;
use axum::response::Response;
use domain::loan::LoanCommand;
use domain::words::{Branch, Number, ReasonCode};
use domain::{AccountId, Command, LoanId, LoanProductId, MemberId, Money, TransactionId, calc};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::Amount;
use crate::fault::Faults;
use crate::reply::{CommandReply, Subject};
use crate::request::{CommandRequest, PathId};
use crate::wire::{Day, Id, Nothing, annual_rate, date};

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::LoansApply, routes!(apply))
        .route(Permission::LoansApprove, routes!(approve))
        .route(Permission::LoansApprove, routes!(reject))
        .route(Permission::LoansWriteOff, routes!(write_off))
        .route(Permission::LoansRepay, routes!(close))
}

/// A loan that a member asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "number": "L-0001",
    "member_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980",
    "product_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
    "principal": {"amount": "50000.00", "currency": "CZK"},
    "annual_rate": "12.5",
    "instalments": 24,
    "settlement_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7982",
}))]
struct ApplyForLoan {
    /// The client's own id for the loan; minted if absent.
    id: Option<Id>,
    /// The number by which people and payments know it; unique.
    #[schema(value_type = String, max_length = 34, pattern = "^[A-Za-z0-9./-]+$", example = "L-0001")]
    number: Number,
    /// Who asks: an active member whose KYC check has passed.
    member_id: Id,
    /// The product; the loan keeps the terms of its present version.
    product_id: Id,
    /// How much.
    principal: Amount,
    /// The nominal annual rate in percent. Default: the least that the product allows.
    #[schema(pattern = r"^[0-9]{1,4}(\.[0-9]{1,6})?$", example = "12.5")]
    annual_rate: Option<String>,
    /// In how many instalments it is paid back.
    #[schema(minimum = 1, maximum = 600)]
    instalments: u16,
    /// The member's account from which it is collected and to which surplus goes.
    settlement_account_id: Option<Id>,
    /// What it is for, as a code.
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "housing")]
    purpose: Option<ReasonCode>,
    /// The branch that keeps the loan.
    #[schema(value_type = Option<String>, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "prague")]
    branch: Option<Branch>,
    /// Default: the business date.
    applied_on: Option<Day>,
}

/// On what the loan is given; what is left out stays as it was asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"principal": {"amount": "40000.00", "currency": "CZK"}}))]
struct ApproveLoan {
    /// How much.
    principal: Option<Amount>,
    /// The nominal annual rate in percent.
    #[schema(pattern = r"^[0-9]{1,4}(\.[0-9]{1,6})?$", example = "12.5")]
    annual_rate: Option<String>,
    /// In how many instalments it is paid back.
    #[schema(minimum = 1, maximum = 600)]
    instalments: Option<u16>,
    /// Default: the business date.
    approved_on: Option<Day>,
}

/// Why, as a code and never as free text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "income_too_low"}))]
struct RejectLoan {
    /// A code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "income_too_low")]
    reason: ReasonCode,
}

/// Why what is owed is given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "insolvency"}))]
struct WriteOffLoan {
    /// A code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "insolvency")]
    reason: ReasonCode,
    /// The business date of the loss. Default: the business date.
    booking_date: Option<Day>,
    /// The client's own id for the transaction; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

/// The id of a transaction that a command makes: the client's, or a new one.
pub(crate) fn transaction_id(id: Option<Id>) -> TransactionId {
    TransactionId(Id::or_new(id))
}

/// An amount that may be left out, above zero.
fn principal(amount: Option<&Amount>, faults: &mut Faults) -> Option<Option<Money>> {
    match amount {
        Some(amount) => faults.at(|| "principal".to_owned(), amount.positive()).map(Some),
        None => Some(None),
    }
}

/// A rate that may be left out.
fn rate(text: Option<&str>, faults: &mut Faults) -> Option<Option<calc::AnnualRate>> {
    match text {
        Some(text) => faults.keep(annual_rate("annual_rate", text)).map(Some),
        None => Some(None),
    }
}

/// Ask for a loan.
#[utoipa::path(
    post, path = "/v1/loans", tag = "loans", operation_id = "applyForLoan",
    request_body = ApplyForLoan,
    responses((status = 201, description = "The loan is applied for.", body = CommandReply))
)]
async fn apply(State(state): State<AppState>, request: CommandRequest<ApplyForLoan>) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let asked = faults.at(|| "principal".to_owned(), body.principal.positive());
    let annual_rate = rate(body.annual_rate.as_deref(), &mut faults);
    let (Some(principal), Some(annual_rate)) = (asked, annual_rate) else {
        return Err(faults.into_problem());
    };
    let branch = body.branch.clone();
    let command = LoanCommand::ApplyForLoan {
        loan_id: LoanId(Id::or_new(body.id)),
        number: body.number,
        member_id: MemberId(body.member_id.0),
        product_id: LoanProductId(body.product_id.0),
        principal,
        annual_rate,
        instalments: body.instalments,
        settlement_account_id: body.settlement_account_id.map(|Id(id)| AccountId(id)),
        purpose: body.purpose,
        branch: body.branch,
        applied_on: date(body.applied_on),
    };
    caller.at_branch(branch).send(&state, Command::Loan(command), Subject::created("/v1/loans")).await
}

/// Approve a loan, perhaps for less or on other terms than asked for.
#[utoipa::path(
    post, path = "/v1/loans/{id}/approve", tag = "loans", operation_id = "approveLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = ApproveLoan,
    responses((status = 200, description = "The loan can be paid out.", body = CommandReply))
)]
async fn approve(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<ApproveLoan>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let principal = principal(body.principal.as_ref(), &mut faults);
    let annual_rate = rate(body.annual_rate.as_deref(), &mut faults);
    let (Some(principal), Some(annual_rate)) = (principal, annual_rate) else {
        return Err(faults.into_problem());
    };
    let command = LoanCommand::ApproveLoan {
        loan_id,
        principal,
        annual_rate,
        instalments: body.instalments,
        approved_on: date(body.approved_on),
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Do not give a loan that was applied for or approved.
#[utoipa::path(
    post, path = "/v1/loans/{id}/reject", tag = "loans", operation_id = "rejectLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = RejectLoan,
    responses((status = 200, description = "The loan is not given.", body = CommandReply))
)]
async fn reject(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<RejectLoan>,
) -> Result<Response, Problem> {
    let command = LoanCommand::RejectLoan { loan_id, reason: request.body.reason };
    request.caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Write off as lost what is owed.
#[utoipa::path(
    post, path = "/v1/loans/{id}/write-off", tag = "loans", operation_id = "writeOffLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = WriteOffLoan,
    responses((status = 200, description = "What was owed is a loss.", body = CommandReply))
)]
async fn write_off(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<WriteOffLoan>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let command = LoanCommand::WriteOffLoan {
        loan_id,
        transaction_id: transaction_id(body.transaction_id),
        reason: body.reason,
        booking_date: date(body.booking_date),
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Close the file of a loan that is repaid or written off.
#[utoipa::path(
    post, path = "/v1/loans/{id}/close", tag = "loans", operation_id = "closeLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = Nothing,
    responses((status = 200, description = "The file is closed.", body = CommandReply))
)]
async fn close(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<Nothing>,
) -> Result<Response, Problem> {
    let command = LoanCommand::CloseLoan { loan_id };
    request.caller.send(&state, Command::Loan(command), Subject::changed()).await
}
