use serde_json::{Value, json};

use super::breaking_changes;

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "paths": {
            "/v1/accounts": {"post": {
                "parameters": [
                    {"in": "header", "name": "Idempotency-Key", "required": true, "schema": {"type": "string"}},
                    {"in": "header", "name": "If-Match", "required": false, "schema": {"type": "string"}},
                ],
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Open"}}}},
                "responses": {
                    "201": {
                        "headers": {"ETag": {"schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Reply"}}},
                    },
                    "409": {"$ref": "#/components/responses/Conflict"},
                },
            }},
            "/v1/accounts/{id}": {"get": {
                "parameters": [
                    {"in": "path", "name": "id", "required": true, "schema": {"type": "string", "format": "uuid"}},
                    {"in": "query", "name": "limit", "schema": {"type": ["integer", "null"], "maximum": 100}},
                ],
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Account"}}}}},
            }},
        },
        "components": {
            "responses": {"Conflict": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}},
            "schemas": {
                "Open": {
                    "type": "object", "additionalProperties": false, "required": ["product"],
                    "properties": {
                        "product": {"$ref": "#/components/schemas/Product", "description": "What kind."},
                        "number": {"type": "string", "maxLength": 34, "pattern": "^[a-z]+$"},
                        "limit": {"oneOf": [{"$ref": "#/components/schemas/Amount"}, {"type": "null"}]},
                        "holders": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {"role": {"type": "string"}}}},
                    },
                },
                "Product": {"type": "string", "enum": ["savings", "current"]},
                "Amount": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "string"}}},
                "Reply": {"type": "object", "required": ["id", "version"], "properties": {
                    "id": {"type": "string", "format": "uuid"}, "version": {"type": "integer"}, "note": {"type": ["string", "null"]},
                }},
                "Account": {"type": "object", "required": ["id"], "properties": {
                    "id": {"type": "string"},
                    "product": {"$ref": "#/components/schemas/Product"},
                    "within": {"$ref": "#/components/schemas/Account"},
                }},
            },
        },
    })
}

const POST: &str = "/paths/~1v1~1accounts/post";
const GET: &str = "/paths/~1v1~1accounts~1{id}/get";
const OPEN: &str = "/components/schemas/Open";

/// The document with one thing set, or taken away where there is no value.
fn with(changes: &[(&str, &str, Option<Value>)]) -> Value {
    let mut changed = document();
    for (owner, member, value) in changes {
        let owner = changed.pointer_mut(owner).and_then(Value::as_object_mut).unwrap();
        match value {
            Some(value) => owner.insert((*member).to_owned(), value.clone()),
            None => owner.remove(*member),
        };
    }
    changed
}

#[track_caller]
fn breaks(owner: &str, member: &str, value: Option<Value>, expected: &[&str]) {
    let found = breaking_changes(&document(), &with(&[(owner, member, value)]));
    assert_eq!(found, expected);
}

#[track_caller]
fn keeps(owner: &str, member: &str, value: Option<Value>) {
    breaks(owner, member, value, &[]);
}

#[test]
fn what_is_the_same_breaks_nothing() {
    assert_eq!(breaking_changes(&document(), &document()), Vec::<String>::new());
}

#[test]
fn paths_and_methods_stay() {
    breaks("/paths", "/v1/accounts", None, &["POST /v1/accounts is gone"]);
    breaks("/paths/~1v1~1accounts~1{id}", "get", None, &["GET /v1/accounts/{id} is gone"]);
    keeps("/paths", "/v1/more", Some(json!({"get": {"responses": {}}})));
    let written = document().to_string();
    let renamed = written
        .replace("/v1/accounts/{id}", "/v1/accounts/{account_id}")
        .replace(r#""in":"path","name":"id""#, r#""in":"path","name":"account_id""#);
    assert_ne!(written, renamed);
    let renamed = serde_json::from_str(&renamed).unwrap();
    assert_eq!(breaking_changes(&document(), &renamed), Vec::<String>::new(), "a name in a path is not sent");
}

#[test]
fn parameters_stay_and_none_becomes_necessary() {
    let key = json!({"in": "header", "name": "idempotency-key", "required": true, "schema": {"type": "string"}});
    let matched =
        |required| json!({"in": "header", "name": "If-Match", "required": required, "schema": {"type": "string"}});
    let new = |required| json!({"in": "query", "name": "dry", "required": required, "schema": {"type": "string"}});
    let parameters = |list: &[Value]| Some(Value::Array(list.to_vec()));
    keeps(POST, "parameters", parameters(&[key.clone(), matched(false), new(false)]));
    let gone = "POST /v1/accounts: the header parameter `If-Match` is gone";
    breaks(POST, "parameters", parameters(std::slice::from_ref(&key)), &[gone]);
    let required = "POST /v1/accounts: the header parameter `If-Match` is required now";
    breaks(POST, "parameters", parameters(&[key.clone(), matched(true)]), &[required]);
    let added = "POST /v1/accounts: the query parameter `dry` is new and required";
    breaks(POST, "parameters", parameters(&[key, matched(false), new(true)]), &[added]);
    let limit = "GET /v1/accounts/{id}: the query parameter `limit`";
    let schema = format!("{GET}/parameters/1/schema");
    breaks(&schema, "maximum", Some(json!(50)), &[&format!("{limit}: maximum is 50 now, not 100")]);
    breaks(&schema, "type", Some(json!("integer")), &[&format!("{limit} no longer takes null")]);
    breaks(&schema, "minimum", Some(json!(1)), &[&format!("{limit}: minimum is 1 now, not none")]);
    keeps(&schema, "type", Some(json!(["number", "null"])));
    keeps(&schema, "maximum", None);
}

#[test]
fn a_request_takes_what_it_took() {
    let at = "POST /v1/accounts request body";
    breaks(&format!("{OPEN}/properties"), "number", None, &[&format!("{at}: the property `number` is gone")]);
    let required = format!("{at}: the property `number` is required now");
    breaks(OPEN, "required", Some(json!(["number", "product"])), &[&required]);
    breaks(
        "/components/schemas/Product",
        "enum",
        Some(json!(["savings", "deposit"])),
        &[&format!("{at}.product no longer takes the value \"current\"")],
    );
    let number = format!("{OPEN}/properties/number");
    breaks(&number, "type", Some(json!("integer")), &[&format!("{at}.number is integer now, not string")]);
    breaks(&number, "maxLength", Some(json!(10)), &[&format!("{at}.number: maxLength is 10 now, not 34")]);
    breaks(&number, "pattern", Some(json!("^a$")), &[&format!("{at}.number: the pattern is another one now")]);
    breaks(&number, "enum", Some(json!(["a"])), &[&format!("{at}.number takes certain values only now")]);
    breaks(&number, "format", Some(json!("uuid")), &[&format!("{at}.number has the format `uuid` now, not ``")]);
    let holders = format!("{OPEN}/properties/holders");
    breaks(&holders, "minItems", Some(json!(2)), &[&format!("{at}.holders: minItems is 2 now, not 1")]);
    let role = format!("{at}.holders[]: the property `role` is gone");
    breaks(&format!("{holders}/items/properties"), "role", None, &[&role]);
    let limit = format!("{OPEN}/properties/limit");
    let only = Some(json!([{"$ref": "#/components/schemas/Amount"}]));
    breaks(&limit, "oneOf", only, &[&format!("{at}.limit no longer takes null")]);
    breaks(
        "/components/schemas/Amount",
        "required",
        Some(json!(["amount", "currency"])),
        &[&format!("{at}.limit: the property `currency` is required now")],
    );
    breaks(
        &holders,
        "items",
        Some(json!({"type": "object", "additionalProperties": false, "properties": {"role": {"type": "string"}}})),
        &[&format!("{at}.holders[] takes no other properties now")],
    );
}

#[test]
fn a_request_may_take_more() {
    let new = json!({"type": "string"});
    keeps(&format!("{OPEN}/properties"), "branch", Some(new));
    keeps(OPEN, "required", None);
    keeps(OPEN, "additionalProperties", None);
    keeps("/components/schemas/Product", "enum", Some(json!(["savings", "current", "deposit"])));
    let number = format!("{OPEN}/properties/number");
    keeps(&number, "type", Some(json!(["string", "null"])));
    keeps(&number, "maxLength", Some(json!(64)));
    keeps(&number, "pattern", None);
    keeps(
        &format!("{OPEN}/properties/limit"),
        "oneOf",
        Some(json!([
            {"type": "null"}, {"$ref": "#/components/schemas/Amount"}, {"type": "string"},
        ])),
    );
    // The same schema written at its place.
    let product = json!({"type": "string", "enum": ["current", "savings"]});
    keeps(&format!("{OPEN}/properties"), "product", Some(product));
}

#[test]
fn a_body_stays_and_none_becomes_necessary() {
    breaks(POST, "requestBody", None, &["POST /v1/accounts: the request body is gone"]);
    let content = Some(json!({"text/plain": {}}));
    let gone = "POST /v1/accounts request body: the content type application/json is gone";
    breaks(&format!("{POST}/requestBody"), "content", content, &[gone]);
    let body = Some(json!({"required": true, "content": {}}));
    breaks(GET, "requestBody", body, &["GET /v1/accounts/{id}: a request body is required now"]);
    keeps(&format!("{POST}/requestBody"), "required", None);
}

#[test]
fn a_reply_tells_what_it_told() {
    let at = "POST /v1/accounts response 201";
    let responses = format!("{POST}/responses");
    breaks(&responses, "409", None, &["POST /v1/accounts: the response 409 is gone"]);
    breaks(&format!("{responses}/201"), "headers", None, &[&format!("{at}: the header `etag` is gone")]);
    breaks(
        "/components/responses/Conflict",
        "content",
        None,
        &["POST /v1/accounts response 409: the content type application/problem+json is gone"],
    );
    let reply = "/components/schemas/Reply";
    breaks(&format!("{reply}/properties"), "note", None, &[&format!("{at}: the property `note` is gone")]);
    breaks(&format!("{reply}/properties"), "id", None, &[&format!("{at}: the property `id` is gone")]);
    breaks(reply, "required", Some(json!(["id"])), &[&format!("{at}: the property `version` may be missing now")]);
    let version = format!("{reply}/properties/version");
    breaks(&version, "type", Some(json!("string")), &[&format!("{at}.version is string now, not integer")]);
    breaks(&version, "type", Some(json!(["integer", "null"])), &[&format!("{at}.version may be null now")]);
    breaks(&version, "type", Some(json!("number")), &[&format!("{at}.version is number now, not integer")]);
    let format = format!("{at}.id has the format `` now, not `uuid`");
    breaks(&format!("{reply}/properties/id"), "format", None, &[&format]);
}

#[test]
fn a_reply_may_tell_more() {
    keeps("/components/schemas/Reply/properties", "position", Some(json!({"type": "integer"})));
    keeps("/components/schemas/Reply", "required", Some(json!(["id", "version", "note"])));
    keeps("/components/schemas/Reply/properties/note", "type", Some(json!("string")));
    keeps(&format!("{POST}/responses"), "422", Some(json!({"description": "new"})));
    // A value that clients do not know yet.
    keeps("/components/schemas/Product", "enum", Some(json!(["savings", "current", "deposit"])));
}

#[test]
fn a_schema_within_itself_comes_to_an_end() {
    let within = "/components/schemas/Account/properties";
    let found = breaking_changes(&document(), &with(&[(within, "product", None)]));
    assert_eq!(found, ["GET /v1/accounts/{id} response 200: the property `product` is gone"]);
    let account = json!({"$ref": "#/components/schemas/Account"});
    let many: serde_json::Map<String, Value> = (0..20).map(|at| (at.to_string(), account.clone())).collect();
    let tree = with(&[("/components/schemas/Account", "properties", Some(Value::Object(many)))]);
    assert_eq!(breaking_changes(&tree, &tree), Vec::<String>::new());
    let choice = with(&[("/components/schemas/Account", "oneOf", Some(json!([account, account])))]);
    assert_eq!(breaking_changes(&choice, &choice), Vec::<String>::new());
}

#[test]
fn what_is_no_document_breaks_or_promises_nothing() {
    assert_eq!(breaking_changes(&Value::Null, &document()), Vec::<String>::new());
    assert_eq!(breaking_changes(&document(), &json!([])).len(), 2);
    let dangling = with(&[(POST, "requestBody", Some(json!({"$ref": "#/nowhere"})))]);
    assert!(!breaking_changes(&document(), &dangling).is_empty());
}

/// The published documents are promises: the code of today keeps them.
#[test]
fn nothing_published_is_broken() {
    let published = [
        (include_str!("../../../docs/openapi/published/command-api.json"), command_api::openapi()),
        (include_str!("../../../docs/openapi/published/query-api.json"), query_api::openapi()),
    ];
    for (published, current) in published {
        let published: Value = serde_json::from_str(published).unwrap();
        let current = serde_json::to_value(current).unwrap();
        assert!(!published["paths"].as_object().unwrap().is_empty());
        assert_eq!(breaking_changes(&published, &current), Vec::<String>::new());
    }
}
