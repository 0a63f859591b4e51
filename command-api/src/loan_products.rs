//! Commands on loan products.

use axum::extract::State;
use axum::response::Response;
use domain::product::LoanProductCommand;
use domain::words::{Number, ReasonCode, Title};
use domain::{Command, LoanProductId, Rejection};
use platform::http::Routes;
use platform::{Permission, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::AppState;
use crate::amount;
use crate::fault::Faults;
use crate::loan_terms::{LoanProductAccounts, LoanProductTerms};
use crate::reply::{CommandReply, Subject, unrecorded};
use crate::request::{CommandRequest, PathId, cannot_read};
use crate::wire::Id;

/// The routes of this noun.
pub(crate) fn routes() -> Routes<AppState> {
    Routes::new()
        .route(Permission::LoanProductsWrite, routes!(define))
        .route(Permission::LoanProductsWrite, routes!(revise))
        .route(Permission::LoanProductsWrite, routes!(retire))
}

/// A product to be offered. These terms are its version 1.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DefineLoanProduct {
    /// The client's own id for the product; minted if absent.
    id: Option<Id>,
    /// The code by which people know it; unique.
    #[schema(value_type = String, max_length = 34, pattern = "^[A-Za-z0-9./-]+$", example = "PERSONAL")]
    code: Number,
    /// Its name.
    #[schema(value_type = String, max_length = 80, example = "Personal loan")]
    name: Title,
    /// The currency of its loans, a code of ISO 4217 that the ledger has defined.
    #[schema(pattern = "^[A-Z]{3}$", example = "CZK")]
    currency: String,
    /// What its loans may be.
    terms: LoanProductTerms,
    /// Where its loans post, for as long as there are any.
    accounts: LoanProductAccounts,
}

/// The terms of the next version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReviseLoanProduct {
    /// All of them, also those that stay.
    terms: LoanProductTerms,
}

/// Why, if it is worth recording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "replaced"}))]
struct RetireLoanProduct {
    /// Why, as a code.
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "replaced")]
    reason: Option<ReasonCode>,
}

/// Offer a loan product.
#[utoipa::path(
    post, path = "/v1/loan-products", tag = "loan products", operation_id = "defineLoanProduct",
    request_body = DefineLoanProduct,
    responses((status = 201, description = "The product can be applied for.", body = CommandReply))
)]
async fn define(
    State(state): State<AppState>,
    request: CommandRequest<DefineLoanProduct>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    let mut faults = Faults::default();
    let currency = faults.keep(amount::currency("currency", &body.currency));
    // Amounts cannot be read in a currency that is none.
    let read = currency.and_then(|currency| Some((currency, body.terms.read(currency, &mut faults)?)));
    let Some((currency, terms)) = read else {
        return Err(faults.into_problem());
    };
    let command = LoanProductCommand::DefineLoanProduct {
        product_id: LoanProductId(Id::or_new(body.id)),
        code: body.code,
        name: body.name,
        currency,
        terms,
        accounts: body.accounts.into(),
    };
    caller.send(&state, Command::LoanProduct(command), Subject::created("/v1/loan-products")).await
}

/// Change the terms for new applications.
///
/// Loans that were applied for before keep their terms.
#[utoipa::path(
    post, path = "/v1/loan-products/{id}/revise", tag = "loan products", operation_id = "reviseLoanProduct",
    params(("id" = Uuid, Path, description = "The loan product.")),
    request_body = ReviseLoanProduct,
    responses((status = 200, description = "New applications are on these terms.", body = CommandReply))
)]
async fn revise(
    State(state): State<AppState>,
    PathId(product_id): PathId<LoanProductId>,
    request: CommandRequest<ReviseLoanProduct>,
) -> Result<Response, Problem> {
    let CommandRequest { body, caller } = request;
    // Said when it was defined and never changed since, so that it does not matter when it is read.
    let currency = match state.door().product_currency(product_id).await {
        Ok(Some(currency)) => currency,
        Ok(None) => {
            let problem = unrecorded(&Rejection::LoanProductNotFound { product_id });
            return caller.repeated_or(&state, Subject::changed(), problem).await;
        }
        Err(error) => return Err(cannot_read(&error)),
    };
    let mut faults = Faults::default();
    let Some(terms) = body.terms.read(currency, &mut faults) else {
        return Err(faults.into_problem());
    };
    let command = LoanProductCommand::ReviseLoanProduct { product_id, terms };
    caller.send(&state, Command::LoanProduct(command), Subject::changed()).await
}

/// Offer a loan product no longer.
///
/// Its loans go on.
#[utoipa::path(
    post, path = "/v1/loan-products/{id}/retire", tag = "loan products", operation_id = "retireLoanProduct",
    params(("id" = Uuid, Path, description = "The loan product.")),
    request_body = RetireLoanProduct,
    responses((status = 200, description = "It cannot be applied for any more.", body = CommandReply))
)]
async fn retire(
    State(state): State<AppState>,
    PathId(product_id): PathId<LoanProductId>,
    request: CommandRequest<RetireLoanProduct>,
) -> Result<Response, Problem> {
    let command = LoanProductCommand::RetireLoanProduct { product_id, reason: request.body.reason };
    request.caller.send(&state, Command::LoanProduct(command), Subject::changed()).await
}
