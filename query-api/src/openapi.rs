//! The description of this API (OpenAPI 3.1), generated from the handlers and the types they
//! answer, and a page to browse it.
//!
//! Each handler describes what is its own. What every read has in common (its headers, its errors)
//! is added here, once. Names of components are not those of the command API, so that the two
//! descriptions can be merged.

use axum::routing::get;
use axum::{Json, Router};
use platform::Problem;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Header, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response};
use utoipa::{OpenApi as _, ToSchema as _};
use utoipa_swagger_ui::SwaggerUi;

use crate::api::documented;
use crate::events::{EndLine, ErrorLine};

/// Where the description of this API alone is served, whatever else is served beside it.
pub const SPECIFICATION_PATH: &str = "/openapi/query-api.json";

/// Every way in which a read can be answered with a problem: status, name, description.
const PROBLEMS: [(&str, &str, &str); 8] = [
    (
        "400",
        "ReadMalformed",
        "`unknown_parameter`, `invalid_value`, `invalid_cursor`, `invalid_path`: `errors` names each.",
    ),
    (
        "401",
        "ReadUnauthorized",
        "`token_missing`, `token_invalid`, `token_expired`, `token_not_yet_valid`: it is not known who asks.",
    ),
    (
        "403",
        "ReadForbidden",
        "`permission_missing`, whose `detail` names it; `account_not_permitted`: who asks may not.",
    ),
    ("404", "ReadNotFound", "There is no such thing up to the position of the reply; `code` names what."),
    ("429", "ReadRateLimited", "`rate_limited`: the subject or its address asks too often; wait as Retry-After says."),
    ("431", "ReadHeadersTooLarge", "`headers_too_large`: the headers are more, or larger, than is taken."),
    ("500", "ReadInternal", "An internal error."),
    (
        "503",
        "ReadUnavailable",
        "`not_yet_at_position`, `timeout`, `database_unavailable`, `keys_unavailable`: try again as Retry-After says.",
    ),
];

const DESCRIPTION: &str = "Reads of members, accounts, transactions, the trial balance, loans, sagas, and of the log itself.\n\n\
    Every reply says up to which position of the log it is complete (`daybook-position`), and every read may ask for \
    \"at least this position\" with `min_position`, the `position` of a command's reply for instance; it waits, or \
    answers 503 `not_yet_at_position`. It never silently answers from before.\n\n\
    Lists are read page by page with `cursor`. Amounts are decimals with exactly the currency's decimals. Personal \
    data is sealed. Unknown parameters are refused. What could not be applied says so: `parked` and the header \
    `daybook-parked`. Errors are problem documents (RFC 9457) with a stable `code`.\n\n\
    Every read needs a bearer token with the permission that its `security` names. A token that is limited to accounts \
    (`daybook_accounts`) reads those alone: others are not there (404), lists leave them out, transactions show only \
    the legs on them, and every read that is not by account is refused (403 `account_not_permitted`).";

/// The description of this API.
pub fn openapi() -> OpenApi {
    complete(documented().into_openapi())
}

/// `GET /openapi.json` and, under `/docs`, a page to browse it. To be merged into a router once:
/// where several APIs are served under one address, their descriptions are merged before.
pub fn docs(api: OpenApi) -> Router {
    SwaggerUi::new("/docs").url("/openapi.json", api).into()
}

/// `GET /openapi/query-api.json`.
pub(crate) fn specification() -> Router {
    Router::new().route(SPECIFICATION_PATH, get(async || Json(openapi())))
}

#[derive(utoipa::OpenApi)]
#[openapi(
    components(schemas(Problem, platform::FieldError, EndLine, ErrorLine)),
    tags(
        (name = "members", description = "Persons, groups and businesses that the institution serves."),
        (name = "accounts", description = "Members' accounts, and the institution's own."),
        (name = "transactions", description = "Double entry: balanced legs, posted together or not at all."),
        (name = "ledger", description = "Currencies, the chart of accounts, accounting periods."),
        (name = "loans", description = "Loans, their schedules and payments, arrears and the portfolio, as of a date."),
        (name = "sagas", description = "Disbursements, incoming payments and collections on their way."),
        (name = "events", description = "The log itself, for auditors: the exact stored bytes, in order."),
        (name = "operations", description = "How far the read models are."),
    )
)]
struct Common;

/// Adds what every read has in common.
fn complete(routes: OpenApi) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Daybook query API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let mut api = OpenApiBuilder::from(Common::openapi()).info(info).build();
    api.merge(routes);
    let components = api.components.get_or_insert_default();
    for (status, name, description) in PROBLEMS {
        components.responses.insert(name.to_owned(), problem(status, description).into());
    }
    for (path, item) in &mut api.paths.paths {
        if let Some(operation) = &mut item.get {
            describe(path, operation);
        }
    }
    api
}

fn describe(path: &str, operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            add_headers(path, response);
        }
    }
    for (status, name, _) in PROBLEMS {
        if status != "404" || path.contains('{') {
            let response = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.insert(status.to_owned(), response);
        }
    }
}

fn add_headers(path: &str, response: &mut Response) {
    let mut add = |name: &str, header: Header| {
        response.headers.insert(name.to_owned(), header.into());
    };
    add("daybook-position", header(Type::Integer, "Every event up to this position of the log is in the answer."));
    add("x-correlation-id", header(Type::String, "The name of the request."));
    add(
        "RateLimit-Limit",
        header(Type::Integer, "Requests a second that the nearer limit allows; absent without limits."),
    );
    add("RateLimit-Remaining", header(Type::Integer, "How many more it allows at once."));
    add("RateLimit-Reset", header(Type::Integer, "Seconds until it allows all of them again."));
    if !path.starts_with("/v1/events") {
        let about = "`true` where events of what was asked for could not be applied, so that it may be behind.";
        add("daybook-parked", header(Type::String, about));
    }
    if path.ends_with("/{id}") || path.ends_with("/balance") {
        add("ETag", header(Type::String, "The version, for a command's `If-Match`."));
    }
}

fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .header("x-correlation-id", header(Type::String, "The name of the request."));
    if matches!(status, "404" | "503") {
        let about = "The position up to which was looked, where one is known.";
        response = response.header("daybook-position", header(Type::Integer, about));
    }
    if matches!(status, "401" | "403") {
        response = response.header("WWW-Authenticate", header(Type::String, "What is needed (RFC 6750)."));
    }
    if matches!(status, "429" | "503") {
        response = response.header("Retry-After", header(Type::Integer, "Seconds to wait."));
    }
    response.build()
}

fn header(kind: Type, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind))).description(Some(description)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_is_described_whole() {
        let api = serde_json::to_value(openapi()).unwrap();
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = api["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 27);
        for (path, item) in paths {
            let operation = &item["get"];
            assert!(operation["operationId"].is_string(), "{path}");
            assert!(operation["summary"].is_string(), "{path}");
            let parameters = operation["parameters"].as_array().unwrap();
            let names: Vec<_> = parameters.iter().map(|p| p["name"].as_str().unwrap()).collect();
            assert!(names.contains(&"min_position") && names.contains(&"wait_ms"), "{path}");
            for parameter in parameters {
                assert!(parameter["description"].is_string(), "{path} {parameter}");
                assert_eq!(parameter["required"], parameter["in"] == "path", "{path} {parameter}");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses["200"]["headers"]["daybook-position"].is_object(), "{path}");
            assert_eq!(responses.contains_key("404"), path.contains('{'), "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = serde_json::to_string(&openapi()).unwrap();
        let api: serde_json::Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(api.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
