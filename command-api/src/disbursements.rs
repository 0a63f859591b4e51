//! Paying a loan out: into a member's account at once, or to another bank, which takes a saga.

use axum::extract::State;
use axum::response::Response;
use domain::loan::LoanCommand;
use domain::words::Sealed;
use domain::{AccountId, Command, LoanId, Rejection};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::fault::{Fault, Faults};
use crate::loans::transaction_id;
use crate::reply::{CommandReply, Subject, unrecorded};
use crate::request::{CommandRequest, PathId};
use crate::sealing::cannot_seal;
use crate::wire::{Day, Id, date};

const ACCOUNT_NUMBER_CHARS_MAX: usize = 34;
const BANK_CODE_CHARS_MAX: usize = 11;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new().route(Permission::LoansDisburse, routes!(disburse))
}

/// Where the money goes: either `to_account_id`, or `funding_account_id` and `to_bank`.
// No `Debug`: an account at another bank is a person's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"to_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980"}),
    json!({
        "funding_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
        "to_bank": {"account_number": "19-2000145399", "bank_code": "AB"},
    })
))]
struct DisburseLoan {
    /// The member's account that it is paid into, at once.
    to_account_id: Option<Id>,
    /// The internal account that the money for another bank comes from; it is held there until that
    /// bank has it.
    funding_account_id: Option<Id>,
    /// The account at another bank. It is sealed under the member's key.
    to_bank: Option<BankAccount>,
    /// The business date. Default: the business date.
    booking_date: Option<Day>,
    /// From when interest counts. Default: the booking date.
    disbursed_on: Option<Day>,
    /// When the first instalment is due. Default: one period after the disbursement.
    first_due_on: Option<Day>,
    /// The client's own id for the transaction; minted if absent, and told in the reply.
    transaction_id: Option<Id>,
}

/// An account at another bank.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BankAccount {
    /// Its number there.
    #[schema(max_length = 34, pattern = "^[A-Za-z0-9-]+$", example = "19-2000145399")]
    account_number: String,
    /// The bank's code.
    #[schema(max_length = 11, pattern = "^[A-Za-z0-9]+$", example = "AB")]
    bank_code: String,
}

/// Where a loan is paid out to.
enum Destination {
    Account(AccountId),
    Bank { funding_account_id: AccountId, account: BankAccount },
}

impl BankAccount {
    fn check(&self, faults: &mut Faults) {
        let fits = |text: &str, chars_max: usize, hyphens: bool| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || (hyphens && byte == b'-');
            (1..=chars_max).contains(&text.len()) && text.bytes().all(allowed)
        };
        if !fits(&self.account_number, ACCOUNT_NUMBER_CHARS_MAX, true) {
            let detail = format!("must be 1 to {ACCOUNT_NUMBER_CHARS_MAX} letters, digits or hyphens");
            faults.push(Fault::invalid("to_bank.account_number", detail));
        }
        if !fits(&self.bank_code, BANK_CODE_CHARS_MAX, false) {
            let detail = format!("must be 1 to {BANK_CODE_CHARS_MAX} letters or digits");
            faults.push(Fault::invalid("to_bank.bank_code", detail));
        }
    }
}

fn destination(
    to_account_id: Option<Id>,
    funding_account_id: Option<Id>,
    to_bank: Option<BankAccount>,
) -> Result<Destination, Problem> {
    let rule = "give either to_account_id, or funding_account_id and to_bank";
    let mut faults = Faults::default();
    if let Some(account) = &to_bank {
        account.check(&mut faults);
    }
    let destination = match (to_account_id, funding_account_id, to_bank) {
        (Some(Id(id)), None, None) => Some(Destination::Account(AccountId(id))),
        (Some(_), _, _) => faults.keep(Err(Fault::new("to_account_id", "ambiguous_destination", rule))),
        (None, Some(Id(id)), Some(account)) => Some(Destination::Bank { funding_account_id: AccountId(id), account }),
        (None, Some(_), None) => faults.keep(Err(Fault::missing("to_bank", rule))),
        (None, None, Some(_)) => faults.keep(Err(Fault::missing("funding_account_id", rule))),
        (None, None, None) => faults.keep(Err(Fault::missing("to_account_id", rule))),
    };
    match destination {
        Some(destination) if faults.is_empty() => Ok(destination),
        _ => Err(faults.into_problem()),
    }
}

/// The account sealed under the key of the member whose loan it is.
async fn seal(state: &AppState, loan_id: LoanId, account: &BankAccount) -> Result<Sealed, Problem> {
    let plain = serde_json::to_string(account).map_err(|error| {
        tracing::error!(%error, "a bank account cannot be written down");
        Problem::internal()
    })?;
    let sealed = state.door().seal_payout(loan_id, &plain).await;
    let sealed = sealed.map_err(|error| cannot_seal("to_bank", &error))?;
    sealed.ok_or_else(|| unrecorded(&Rejection::LoanNotFound { loan_id }))
}

/// Pay an approved loan out.
///
/// Into a member's account it is paid at once. To another bank the money is held, and a saga pays it
/// out; the loan is active once that bank has it.
#[utoipa::path(
    post, path = "/v1/loans/{id}/disburse", tag = "loans", operation_id = "disburseLoan",
    params(("id" = Uuid, Path, description = "The loan.")),
    request_body = DisburseLoan,
    responses((status = 200, description = "The loan is paid out, or on its way to another bank.", body = CommandReply))
)]
async fn disburse(
    State(state): State<AppState>,
    PathId(loan_id): PathId<LoanId>,
    request: CommandRequest<DisburseLoan>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let DisburseLoan { booking_date, disbursed_on, first_due_on, .. } = body;
    let transaction_id = transaction_id(body.transaction_id);
    let (booking_date, disbursed_on, first_due_on) = (date(booking_date), date(disbursed_on), date(first_due_on));
    let command = match destination(body.to_account_id, body.funding_account_id, body.to_bank)? {
        Destination::Account(to_account_id) => LoanCommand::DisburseLoan {
            loan_id,
            transaction_id,
            to_account_id,
            booking_date,
            disbursed_on,
            first_due_on,
        },
        Destination::Bank { funding_account_id, account } => match seal(&state, loan_id, &account).await {
            Ok(destination) => LoanCommand::StartDisbursement {
                loan_id,
                transaction_id,
                funding_account_id,
                destination,
                booking_date,
                disbursed_on,
                first_due_on,
            },
            Err(problem) => return caller.repeated_or(&state, Subject::changed(), problem).await,
        },
    };
    caller.send(&state, Command::Loan(command), Subject::changed()).await
}
