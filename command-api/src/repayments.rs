//! What changes what is owed on a loan: payments and their reversal, collection, accrual, charges.

use axum::extract::State;
use axum::response::Response;
use domain::loan::LoanCommand;
use domain::words::{ExternalReference, ReasonCode};
use domain::{AccountId, Command, LoanId, TransactionId};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::Amount;
use crate::fault::Faults;
use crate::loans::transaction_id;
use crate::reply::{CommandReply, Subject};
use crate::request::{CommandRequest, PathId, PathIds};
use crate::wire::{Day, Id, LoanChargeKind, Surplus, date};

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::LoansRepay, routes!(repay))
        .route(Permission::LoansReverse, routes!(reverse))
        .route(Permission::LoansRepay, routes!(collect))
        .route(Permission::LoansCharge, routes!(accrue))
        .route(Permission::LoansCharge, routes!(charge))
}

/// A payment on a loan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "from_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980",
    "amount": {"amount": "2500.00", "currency": "CZK"},
}))]
struct RepayLoan {
    /// Where the money comes from: a member's account, or an internal one where it has arrived.
    from_account_id: Id,
    /// How much, above zero.
    amount: Amount,
    /// What to do with more than is owed.
    #[serde(default = "to_settlement_account")]
    #[schema(default = "to_settlement_account")]
    surplus: Surplus,
    /// The business date. Default: the business date.
    booking_date: Option<Day>,
    /// From when it counts as paid. Default: the booking date.
    value_date: Option<Day>,
    /// How the outside world knows the payment; unique.
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^[!-~]+$", example = "2024-17")]
    external_reference: Option<ExternalReference>,
    /// The client's own id for the transaction; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

fn to_settlement_account() -> Surplus {
    Surplus::ToSettlementAccount
}

/// Why a payment is undone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "booked_twice"}))]
struct ReverseRepayment {
    /// A code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "booked_twice")]
    reason: ReasonCode,
    /// The business date of the reversal. Default: the business date.
    booking_date: Option<Day>,
    /// The client's own id for the reversal; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

/// Up to which due date.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
struct CollectDue {
    /// Of instalments due until then. Default, and at most: the business date.
    through: Option<Day>,
    /// The client's own id for the transaction; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

/// Up to which due date.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
struct AccrueInterest {
    /// Of instalments due until then; also the business date of the accrual. Default: the business date.
    through: Option<Day>,
    /// The client's own id for the transaction; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

/// A fee or a penalty.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "component": "penalty",
    "amount": {"amount": "150.00", "currency": "CZK"},
    "reason": "late_payment",
}))]
struct ChargeLoan {
    /// Which of the two.
    component: LoanChargeKind,
    /// How much, above zero.
    amount: Amount,
    /// Why, as a code.
    #[schema(value_type = String, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "late_payment")]
    reason: ReasonCode,
    /// The business date; it is due with the next instalment from then on. Default: the business date.
    booking_date: Option<Day>,
    /// The client's own id for the transaction; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

/// Take a payment on a loan.
///
/// It settles instalments in the order of their due dates, those to come included, and in each the
/// components in the order of the loan's terms.
#[utoipa::path(
    post, path = "/v1/loans/{id}/repayments", tag = "loans", operation_id = "repayLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = RepayLoan,
    responses((status = 200, description = "The payment is taken; the loan is repaid if nothing is left.", body = CommandReply))
)]
async fn repay(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<RepayLoan>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let Some(amount) = faults.at(|| "amount".to_owned(), body.amount.positive()) else {
        return Err(faults.into_problem());
    };
    let command = LoanCommand::RepayLoan {
        loan_id,
        transaction_id: transaction_id(body.transaction_id),
        from_account_id: AccountId(body.from_account_id.0),
        amount,
        surplus: body.surplus.into(),
        booking_date: date(body.booking_date),
        value_date: date(body.value_date),
        external_reference: body.external_reference,
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Undo a payment on a loan, whole.
#[utoipa::path(
    post, path = "/v1/loans/{id}/repayments/{transaction_id}/reverse", tag = "loans",
    operation_id = "reverseRepayment",
    params(
        ("id" = Uuid, Path, description = "The loan."),
        ("transaction_id" = Uuid, Path, description = "The transaction of the payment."),
    ),
    request_body = ReverseRepayment,
    responses((status = 200, description = "What the payment settled is owed again.", body = CommandReply))
)]
async fn reverse(
    State(state): State<AppState>,
    PathIds(loan_id, repayment_id): PathIds<LoanId, TransactionId>,
    request: CommandRequest<ReverseRepayment>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let command = LoanCommand::ReverseRepayment {
        loan_id,
        transaction_id: transaction_id(body.transaction_id),
        repayment_id,
        reason: body.reason,
        booking_date: date(body.booking_date),
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Take all that is due on a loan from its settlement account.
#[utoipa::path(
    post, path = "/v1/loans/{id}/collect", tag = "loans", operation_id = "collectDue",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = CollectDue,
    responses((status = 200, description = "All that was due is paid.", body = CommandReply))
)]
async fn collect(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<CollectDue>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let command = LoanCommand::CollectDue {
        loan_id,
        transaction_id: transaction_id(body.transaction_id),
        through: date(body.through),
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Recognise the interest of instalments that have come due as earned.
#[utoipa::path(
    post, path = "/v1/loans/{id}/accrue", tag = "loans", operation_id = "accrueInterest",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = AccrueInterest,
    responses((status = 200, description = "The interest is a receivable.", body = CommandReply))
)]
async fn accrue(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<AccrueInterest>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let command = LoanCommand::AccrueInterest {
        loan_id,
        transaction_id: transaction_id(body.transaction_id),
        through: date(body.through),
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}

/// Charge a fee or a penalty on a loan.
#[utoipa::path(
    post, path = "/v1/loans/{id}/charges", tag = "loans", operation_id = "chargeLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = ChargeLoan,
    responses((status = 200, description = "It is owed with the next instalment.", body = CommandReply))
)]
async fn charge(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<ChargeLoan>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let Some(amount) = faults.at(|| "amount".to_owned(), body.amount.positive()) else {
        return Err(faults.into_problem());
    };
    let command = LoanCommand::ChargeLoan {
        loan_id,
        transaction_id: transaction_id(body.transaction_id),
        component: body.component.into(),
        amount,
        reason: body.reason,
        booking_date: date(body.booking_date),
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}
