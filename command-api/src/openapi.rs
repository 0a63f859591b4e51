//! The description of this API (OpenAPI 3.1), generated from the handlers and the types they read,
//! and a page to browse it.
//!
//! Each handler describes what is its own. What every command has in common (its headers, its
//! errors) is added here, once.

use axum::Router;
use domain::rejection::{REJECTION_CODES, RejectionClass};
use platform::Problem;
use platform::http::Routes;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Header, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response};
use utoipa::{OpenApi as _, ToSchema as _};
use utoipa_swagger_ui::SwaggerUi;

use crate::{AppState, accounts, batches, disbursements, ledger, loan_products, loans, members, payments};
use crate::{repayments, sagas, schedules, transactions, webhook};

/// Every way in which a command can be answered with a problem: status, name, description.
const PROBLEMS: [(&str, &str, &str); 14] = [
    ("400", "Malformed", "The request cannot be read; `errors` names each field. Nothing was left behind."),
    ("401", "Unauthorized", "It is not known who asks. Nothing was left behind."),
    ("403", "Forbidden", "Who asks may not do this; `detail` names the permission. Nothing was left behind."),
    ("404", "NotFound", "Something that the command names is not there."),
    ("405", "MethodNotAllowed", "The path does not take this method."),
    ("409", "Conflict", "It is there, or in use, already; or the idempotency key was used for another request."),
    ("412", "PreconditionFailed", "The version is not the one that `If-Match` expects."),
    ("413", "PayloadTooLarge", "The body is larger than is taken."),
    ("415", "UnsupportedMediaType", "The body is not said to be JSON."),
    ("422", "RuleViolated", "A business rule refuses; further members say what it is about. The refusal is recorded."),
    (
        "429",
        "RateLimited",
        "The subject or its address asks too often; wait as Retry-After says. Nothing was left behind.",
    ),
    ("431", "HeadersTooLarge", "The headers are more, or larger, than is taken."),
    ("500", "Internal", "An internal error; repeat the request as it was, under the same key."),
    ("503", "Unavailable", "Not now; repeat the request as it was, under the same key, as Retry-After says."),
];

/// The operation that only computes.
const PREVIEW: &str = "previewLoanSchedule";

/// The operation on many things, which have no version together.
const BATCH: &str = "postTransactionBatch";

/// What is no command: it takes no `Idempotency-Key` and no version. By operation id, with the
/// statuses that it never answers.
const NO_COMMANDS: [(&str, &[&str]); 2] =
    [(PREVIEW, &["404", "409", "412"]), ("receivePaymentWebhook", &["403", "412", "415"])];

/// The headers of commands alone.
const COMMAND_HEADERS: [&str; 2] = ["Idempotency-Key", "If-Match"];

/// The codes of what is refused without looking at any state; those of the rules are the domain's.
const MALFORMED_CODES: &[&str] = &[
    "malformed_json",
    "incomplete_body",
    "unknown_field",
    "missing_field",
    "duplicate_field",
    "invalid_type",
    "invalid_value",
    "invalid_path",
    "invalid_query",
    "idempotency_key_required",
    "idempotency_key_invalid",
    "if_match_invalid",
    "if_match_not_applicable",
    "amount_malformed",
    "amount_too_precise",
    "amount_too_large",
    "amount_not_positive",
    "amount_negative",
    "unknown_currency",
    "leg_count",
    "ambiguous_legs",
    "ambiguous_limit",
    "annual_rate_invalid",
    "ambiguous_destination",
    "ambiguous_resolution",
    "narrative_needs_member",
    "too_many_parties",
];

const DESCRIPTION: &str = "Commands on members, accounts, transactions, loans and the ledger's frame.\n\n\
    Every command carries an `Idempotency-Key`. The same request under the same key gets the first reply again, for \
    ever, with the header `idempotency-replayed: true`; another request under it is refused with 409. A reply says \
    which version the thing has now, and the position in the log up to which a read can wait (`min_position`).\n\n\
    Amounts are decimals with a currency, ids are UUIDs that a client may choose, and unknown fields are refused. \
    Errors are problem documents (RFC 9457) with a stable `code`.\n\n\
    Every command needs a bearer token with the permission that its `security` names. A reply shows the balances of \
    those accounts that its caller may see; a repetition is shown as its own caller may see it.";

/// The routes of all nouns with their description, before what they have in common is added.
pub(crate) fn described_routes() -> Routes<AppState> {
    Routes::new()
        .merge(members::routes())
        .merge(accounts::routes())
        .merge(transactions::routes())
        .merge(batches::routes())
        .merge(ledger::routes())
        .merge(loan_products::routes())
        .merge(loans::routes())
        .merge(disbursements::routes())
        .merge(repayments::routes())
        .merge(schedules::routes())
        .merge(payments::routes())
        .merge(webhook::routes())
        .merge(sagas::routes())
}

/// The description of this API.
pub fn openapi() -> OpenApi {
    complete(described_routes().into_openapi())
}

/// `GET /openapi.json` and, under `/docs`, a page to browse it. To be merged into a router once:
/// where several APIs are served under one address, their descriptions are merged before.
pub fn docs(api: OpenApi) -> Router {
    SwaggerUi::new("/docs").url("/openapi.json", api).into()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    components(schemas(Problem, platform::FieldError)),
    tags(
        (name = "members", description = "Persons, groups and businesses that the institution serves."),
        (name = "accounts", description = "Members' accounts, and the institution's own."),
        (name = "transactions", description = "Double entry: balanced legs, posted together or not at all."),
        (name = "ledger", description = "Currencies, the chart of accounts, accounting periods."),
        (name = "loan products", description = "The terms that loans are given on, by version, and where they post."),
        (name = "loans", description = "Applied for, approved, paid out, paid back; each moves money in one transaction."),
        (name = "payments", description = "Payments that came in from other banks."),
        (name = "sagas", description = "Work that takes time or touches other banks, and what people decide about it."),
    )
)]
struct Common;

/// Adds what every command has in common.
fn complete(routes: OpenApi) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Daybook command API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let mut api = OpenApiBuilder::from(Common::openapi()).info(info).build();
    api.merge(routes);
    let components = api.components.get_or_insert_default();
    for (_, name, description) in PROBLEMS {
        let description = with_codes(name, description);
        components.responses.insert(name.to_owned(), problem(name, &description).into());
    }
    for item in api.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten();
        operations.for_each(describe);
    }
    api
}

/// The description with the codes that a client may act on.
fn with_codes(name: &str, description: &str) -> String {
    let of_class = |class| REJECTION_CODES.iter().filter(move |(_, of)| *of == class).map(|(code, _)| *code);
    let codes: Vec<&str> = match name {
        "Malformed" => MALFORMED_CODES.to_vec(),
        "Unauthorized" => vec!["token_missing", "token_invalid", "token_expired", "token_not_yet_valid"],
        "Forbidden" => vec!["permission_missing", "account_not_permitted"],
        "RateLimited" => vec!["rate_limited"],
        "HeadersTooLarge" => vec!["headers_too_large"],
        "NotFound" => of_class(RejectionClass::NotFound).chain(["not_found"]).collect(),
        "Conflict" => of_class(RejectionClass::Conflict).chain(["idempotency_key_reused"]).collect(),
        "PreconditionFailed" => of_class(RejectionClass::Precondition).collect(),
        "RuleViolated" => of_class(RejectionClass::Rule).chain(["member_erased"]).collect(),
        "Unavailable" => vec!["overloaded", "unavailable", "timeout", "sealing_unavailable", "keys_unavailable"],
        _ => return description.to_owned(),
    };
    format!("{description}\n\nCodes: `{}`.", codes.join("`, `"))
}

fn describe(operation: &mut Operation) {
    let id = operation.operation_id.as_deref();
    let no_command = NO_COMMANDS.iter().find(|(known, _)| id == Some(*known));
    let never = no_command.map_or(&[][..], |(_, never)| *never);
    let computed = id == Some(PREVIEW);
    let parameters = operation.parameters.get_or_insert_default();
    for (name, required, description, pattern) in [
        ("Idempotency-Key", Required::True, "Names this request; 1 to 255 visible ASCII characters.", "^[!-~]{1,255}$"),
        (
            "If-Match",
            Required::False,
            "The expected version, as the header ETag gave it.",
            "^(\"[1-9][0-9]*\"|[1-9][0-9]*)$",
        ),
        ("x-correlation-id", Required::False, "Ties requests together in replies, logs and events.", "^[!-~]{1,128}$"),
        ("traceparent", Required::False, "W3C trace context.", "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"),
    ] {
        if no_command.is_some() && COMMAND_HEADERS.contains(&name) {
            continue;
        }
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(required)
            .description(Some(description))
            .schema(Some(schema));
        parameters.push(parameter.build().into());
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
        {
            add_common_headers(response);
            if !computed {
                add_headers(response, status == "201");
            }
            if id == Some(BATCH) {
                response.headers.remove("ETag");
            }
        }
    }
    for (status, name, _) in PROBLEMS.iter().filter(|(status, ..)| !never.contains(status)) {
        let response = RefOr::Ref(Ref::from_response_name(*name));
        operation.responses.responses.entry((*status).to_owned()).or_insert(response);
    }
}

fn add_headers(response: &mut Response, created: bool) {
    let mut add = |name: &str, header: Header| {
        response.headers.insert(name.to_owned(), header.into());
    };
    add("ETag", header(Type::String, "The version, for a later `If-Match`."));
    add("daybook-position", header(Type::Integer, "The position of the command's last event in the log."));
    add("idempotency-replayed", header(Type::String, "`true` where this is the reply to an earlier, equal request."));
    if created {
        add("Location", header(Type::String, "Where what was created can be read, if it can be alone."));
    }
}

fn add_common_headers(response: &mut Response) {
    let mut add = |name: &str, header: Header| {
        response.headers.insert(name.to_owned(), header.into());
    };
    add("x-correlation-id", header(Type::String, "The name of the request."));
    add(
        "RateLimit-Limit",
        header(Type::Integer, "Requests a second that the nearer limit allows; absent without limits."),
    );
    add("RateLimit-Remaining", header(Type::Integer, "How many more it allows at once."));
    add("RateLimit-Reset", header(Type::Integer, "Seconds until it allows all of them again."));
}

fn problem(name: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .header("x-correlation-id", header(Type::String, "The name of the request."))
        .build();
    let mut add = |name: &str, header: Header| {
        response.headers.insert(name.to_owned(), header.into());
    };
    if matches!(name, "NotFound" | "Conflict" | "PreconditionFailed" | "RuleViolated") {
        let about = "The position of the recorded refusal, where there is one.";
        add("daybook-position", header(Type::Integer, about));
        add(
            "idempotency-replayed",
            header(Type::String, "`true` where this is the reply to an earlier, equal request."),
        );
    }
    if name == "Unauthorized" || name == "Forbidden" {
        add("WWW-Authenticate", header(Type::String, "What is needed (RFC 6750)."));
    }
    if name == "Unavailable" || name == "RateLimited" {
        add("Retry-After", header(Type::Integer, "Seconds to wait."));
    }
    response
}

fn header(kind: Type, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind))).description(Some(description)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_described_whole() {
        let api = serde_json::to_value(openapi()).unwrap();
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = api["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 43);
        for (path, item) in paths {
            let operation = &item["post"];
            assert!(operation["operationId"].is_string(), "{path}");
            assert!(operation["summary"].is_string(), "{path}");
            assert!(operation["requestBody"].is_object(), "{path}");
            let names: Vec<_> =
                operation["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
            let id = operation["operationId"].as_str().unwrap();
            let no_command = NO_COMMANDS.iter().find(|(known, _)| *known == id);
            for header in COMMAND_HEADERS {
                assert_eq!(names.contains(&header), no_command.is_none(), "{path}: {header}");
            }
            assert_eq!(names.contains(&"id"), path.contains("{id}"), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") != responses.contains_key("201"), "{path}");
            for (status, _, _) in PROBLEMS {
                let never = no_command.is_some_and(|(_, never)| never.contains(&status));
                assert_eq!(responses.contains_key(status), !never, "{path} {status}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = serde_json::to_string(&openapi()).unwrap();
        let api: serde_json::Value = serde_json::from_str(&text).unwrap();
        let references = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
        for pointer in references {
            assert!(api.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
