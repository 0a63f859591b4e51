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

use crate::{AppState, accounts, ledger, members, transactions};

/// Every way in which a command can be answered with a problem: status, name, description.
const PROBLEMS: [(&str, &str, &str); 11] = [
    ("400", "Malformed", "The request cannot be read; `errors` names each field. Nothing was left behind."),
    ("401", "Unauthorized", "It is not known who asks."),
    ("404", "NotFound", "Something that the command names is not there."),
    ("405", "MethodNotAllowed", "The path does not take this method."),
    ("409", "Conflict", "It is there, or in use, already; or the idempotency key was used for another request."),
    ("412", "PreconditionFailed", "The version is not the one that `If-Match` expects."),
    ("413", "PayloadTooLarge", "The body is larger than is taken."),
    ("415", "UnsupportedMediaType", "The body is not said to be JSON."),
    ("422", "RuleViolated", "A business rule refuses; further members say what it is about. The refusal is recorded."),
    ("500", "Internal", "An internal error; repeat the request as it was, under the same key."),
    ("503", "Unavailable", "Not now; repeat the request as it was, under the same key, as Retry-After says."),
];

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
    "narrative_needs_member",
    "too_many_parties",
];

const DESCRIPTION: &str = "Commands on members, accounts, transactions and the ledger's frame.\n\n\
    Every command carries an `Idempotency-Key`. The same request under the same key gets the first reply again, for \
    ever, with the header `idempotency-replayed: true`; another request under it is refused with 409. A reply says \
    which version the thing has now, and the position in the log up to which a read can wait (`min_position`).\n\n\
    Amounts are decimals with a currency, ids are UUIDs that a client may choose, and unknown fields are refused. \
    Errors are problem documents (RFC 9457) with a stable `code`.";

/// The routes of all nouns with their description, before what they have in common is added.
pub(crate) fn described_routes() -> Routes<AppState> {
    Routes::new()
        .merge(members::routes())
        .merge(accounts::routes())
        .merge(transactions::routes())
        .merge(ledger::routes())
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
        "NotFound" => of_class(RejectionClass::NotFound).chain(["not_found"]).collect(),
        "Conflict" => of_class(RejectionClass::Conflict).chain(["idempotency_key_reused"]).collect(),
        "PreconditionFailed" => of_class(RejectionClass::Precondition).collect(),
        "RuleViolated" => of_class(RejectionClass::Rule).chain(["member_erased"]).collect(),
        "Unavailable" => vec!["overloaded", "unavailable", "timeout", "sealing_unavailable"],
        _ => return description.to_owned(),
    };
    format!("{description}\n\nCodes: `{}`.", codes.join("`, `"))
}

fn describe(operation: &mut Operation) {
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
        if let RefOr::T(response) = response {
            add_headers(response, status == "201");
        }
    }
    for (status, name, _) in PROBLEMS {
        let response = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.entry(status.to_owned()).or_insert(response);
    }
}

fn add_headers(response: &mut Response, created: bool) {
    let mut add = |name: &str, header: Header| {
        response.headers.insert(name.to_owned(), header.into());
    };
    add("ETag", header(Type::String, "The version, for a later `If-Match`."));
    add("daybook-position", header(Type::Integer, "The position of the command's last event in the log."));
    add("idempotency-replayed", header(Type::String, "`true` where this is the reply to an earlier, equal request."));
    add("x-correlation-id", header(Type::String, "The name of the request."));
    if created {
        add("Location", header(Type::String, "Where what was created can be read, if it can be alone."));
    }
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
    if name == "Unavailable" {
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
        assert_eq!(paths.len(), 23);
        for (path, item) in paths {
            let operation = &item["post"];
            assert!(operation["operationId"].is_string(), "{path}");
            assert!(operation["summary"].is_string(), "{path}");
            assert!(operation["requestBody"].is_object(), "{path}");
            let names: Vec<_> =
                operation["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
            assert!(names.contains(&"Idempotency-Key") && names.contains(&"If-Match"), "{path}");
            assert_eq!(names.contains(&"id"), path.contains("{id}"), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") != responses.contains_key("201"), "{path}");
            for (status, _, _) in PROBLEMS {
                assert!(responses.contains_key(status), "{path} {status}");
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
