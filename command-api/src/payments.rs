//! Payments that came in from other banks, however they are heard of.
//!
//! Invariant: the bank's reference names a payment, for ever and alone: saga and transaction have
//! ids that follow from it, and it is taken once, whichever way it comes.

use axum::extract::State;
use axum::response::Response;
use domain::saga::SagaCommand;
use domain::words::{ExternalReference, Number};
use domain::{AccountId, Command, Money, SagaId, TransactionId};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount::Amount;
use crate::fault::{Fault, Faults};
use crate::reply::{CommandReply, Subject};
use crate::request::CommandRequest;
use crate::wire::{Day, Id, date};

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new().route(Permission::PaymentsReceive, routes!(receive))
}

/// A payment that another bank has sent us.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "bank_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980",
    "suspense_account_id": "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981",
    "amount": {"amount": "2500.00", "currency": "CZK"},
    "bank_reference": "SIM1-00000017",
    "loan_number": "L-0001",
}))]
struct ReceivePayment {
    /// The internal account that stands for our account at the other bank.
    bank_account_id: Id,
    /// The internal account where it waits for its loan.
    suspense_account_id: Id,
    /// How much, above zero.
    amount: Amount,
    /// How the bank knows it; unique.
    #[schema(value_type = String, max_length = 64, pattern = "^[!-~]+$", example = "SIM1-00000017")]
    bank_reference: ExternalReference,
    /// The number of the loan that it is for, as the payer gave it. Absent: a person decides.
    #[schema(value_type = Option<String>, max_length = 34, pattern = "^[A-Za-z0-9./-]+$", example = "L-0001")]
    loan_number: Option<Number>,
    /// The business date. Default: the business date.
    booking_date: Option<Day>,
    /// From when it counts. Default: the booking date.
    value_date: Option<Day>,
}

/// An incoming payment, read.
#[derive(Clone)]
pub(crate) struct Incoming {
    pub(crate) bank_account_id: AccountId,
    pub(crate) suspense_account_id: AccountId,
    pub(crate) amount: Money,
    pub(crate) bank_reference: ExternalReference,
    pub(crate) loan_number: Option<Number>,
    pub(crate) booking_date: Option<chrono::NaiveDate>,
    pub(crate) value_date: Option<chrono::NaiveDate>,
}

impl From<Incoming> for Command {
    fn from(payment: Incoming) -> Self {
        Command::Saga(SagaCommand::ReceivePayment {
            saga_id: SagaId::of_incoming_payment(&payment.bank_reference),
            transaction_id: TransactionId::of_incoming_payment(&payment.bank_reference),
            bank_account_id: payment.bank_account_id,
            suspense_account_id: payment.suspense_account_id,
            amount: payment.amount,
            bank_reference: payment.bank_reference,
            loan_number: payment.loan_number,
            booking_date: payment.booking_date,
            value_date: payment.value_date,
        })
    }
}

/// The loan's number in what a payer wrote: its one word with a digit, without what surrounds it.
/// Where there are several, or none that could be a number, a person reads it at the bank. All else
/// that was written stays out of the log, since it may name people.
pub fn loan_number_in(reference: &str) -> Option<Number> {
    let mut words = reference.split_whitespace().filter(|word| word.bytes().any(|byte| byte.is_ascii_digit()));
    let word = words.next().filter(|_| words.next().is_none())?;
    Number::try_new(word.trim_matches(|c: char| !c.is_alphanumeric())).ok()
}

/// Hand in a payment that another bank has sent.
///
/// It is booked into suspense, and a saga finds its loan; where it finds none, a person decides. The
/// reply is about the saga.
#[utoipa::path(
    post, path = "/v1/incoming-payments", tag = "payments", operation_id = "receivePayment",
    request_body = ReceivePayment,
    responses((status = 201, description = "The payment waits in suspense for its loan.", body = CommandReply))
)]
async fn receive(State(state): State<AppState>, request: CommandRequest<ReceivePayment>) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let amount = faults.at(|| "amount".to_owned(), body.amount.positive());
    if body.bank_account_id.0 == body.suspense_account_id.0 {
        let detail = "must be another account than bank_account_id";
        faults.push(Fault::invalid("suspense_account_id", detail));
    }
    let (Some(amount), true) = (amount, faults.is_empty()) else {
        return Err(faults.into_problem());
    };
    let payment = Incoming {
        bank_account_id: AccountId(body.bank_account_id.0),
        suspense_account_id: AccountId(body.suspense_account_id.0),
        amount,
        bank_reference: body.bank_reference,
        loan_number: body.loan_number,
        booking_date: date(body.booking_date),
        value_date: date(body.value_date),
    };
    caller.send(&state, payment.into(), Subject::created("/v1/sagas")).await
}

#[cfg(test)]
mod tests {
    use super::loan_number_in;

    #[test]
    fn a_loans_number_is_the_one_word_with_a_digit() {
        let found = |reference| loan_number_in(reference).map(String::from);
        for (reference, number) in
            [("4959", "4959"), (" L-0001 ", "L-0001"), ("loan 4959", "4959"), ("splátka: #A/17, děkuji", "A/17")]
        {
            assert_eq!(found(reference).as_deref(), Some(number), "{reference}");
        }
        let long = "1".repeat(35);
        for reference in
            ["", "Novak", "Jana Nováková", "4959 or 4960", "L-0001 of May 2024", "VS:4959", "číslo٣", &long]
        {
            assert_eq!(found(reference), None, "{reference}");
        }
    }
}
