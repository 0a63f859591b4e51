//! Request bodies read strictly: every way to be wrong has its own code and names the field.
//!
//! Invariants: nothing is guessed or dropped; the bytes that were read are kept beside the value,
//! for whoever must prove what was asked. A type read this way derives `Deserialize` with
//! `#[serde(deny_unknown_fields)]`.

mod objects;

use crate::problem::Problem;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use objects::Strict;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::Path;

/// A JSON body and the bytes it was read from.
///
/// Refusals: 415 without a JSON content type, 413 above the limit, 400 `malformed_json` (with line
/// and column), `unknown_field`, `missing_field`, `duplicate_field`, `invalid_type` or
/// `invalid_value` (with the field's path).
#[derive(Debug, Clone)]
pub struct StrictJson<T> {
    /// What the body says.
    pub value: T,
    /// The body's exact bytes.
    pub raw: Bytes,
}

impl<T, S> FromRequest<S> for StrictJson<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let raw = body(request, state).await?;
        let value = parse(&raw)?;
        Ok(Self { value, raw })
    }
}

/// The bytes of a body that is said to be JSON, for whoever reads them elsewhere, with the same
/// refusals as the extractor as far as they go.
///
/// # Errors
/// 415, 413, or 400 `incomplete_body`.
pub async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    if !is_json(request.headers()) {
        let detail = "the body must be JSON, with the header content-type: application/json";
        return Err(Problem::unsupported_media_type(detail));
    }
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::payload_too_large()
        } else {
            Problem::malformed("incomplete_body", "the body did not arrive whole")
        }
    })
}

/// Reads a JSON text strictly: the whole of it, with the same refusals as the extractor.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // Keeping track of the path costs as much as reading, and so does a look at each text for itself
    // whether it is UTF-8: only who is refused is told where.
    if let Ok(text) = std::str::from_utf8(text) {
        let mut json = serde_json::Deserializer::from_str(text);
        if let Ok(value) = T::deserialize(Strict(&mut json)) {
            json.end().map_err(|error| malformed(&error))?;
            return Ok(value);
        }
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| match error.inner() {
        // The reader of enums calls a number where it wants a text a fault of syntax; it is none.
        inner if inner.to_string().starts_with("expected value") && is_whole(text) => not_a_text(error.path()),
        inner => refusal(error.path(), inner),
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// A value as a JSON text, with room for so many bytes from the start: several times faster than into a
/// buffer that grows.
///
/// # Errors
/// As `serde_json::to_writer`: a map whose keys are no texts, or a value that refuses.
pub fn text<T: Serialize>(value: &T, bytes: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut text, value)?;
    Ok(text)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return true;
    }
    let media_type = media_type.to_ascii_lowercase();
    media_type.starts_with("application/") && media_type.ends_with("+json")
}

fn refusal(path: &Path, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => fault_of_field(path, error),
        Category::Syntax | Category::Eof | Category::Io => malformed(error),
    }
}

/// Whether the text is one whole JSON value.
fn is_whole(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

fn not_a_text(path: &Path) -> Problem {
    let (code, message) = ("invalid_type", "expected one of the allowed texts");
    let field = field_path(path, code, message);
    Problem::malformed(code, format!("{field}: {message}")).with_error(field, code, message)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::malformed("malformed_json", format!("the body is not valid JSON: {error}"))
}

/// Tells the kinds of `serde`'s data errors apart by the fixed words their messages begin with
/// (`serde::de::Error`'s provided methods); it offers no other way.
fn fault_of_field(path: &Path, error: &serde_json::Error) -> Problem {
    let message = without_place(&error.to_string());
    let kinds = [
        ("unknown field", "unknown_field"),
        ("missing field", "missing_field"),
        ("duplicate field", "duplicate_field"),
        ("invalid type", "invalid_type"),
        ("invalid value", "invalid_value"),
        ("invalid length", "invalid_value"),
        ("unknown variant", "invalid_value"),
    ];
    let code =
        kinds.into_iter().find(|(words, _)| message.starts_with(words)).map_or("invalid_value", |(_, code)| code);
    let field = field_path(path, code, &message);
    let place = if field.is_empty() { "the body" } else { &field };
    Problem::malformed(code, format!("{place}: {message}")).with_error(field.clone(), code, message.clone())
}

/// The path of the field that is meant. `serde` names an unknown, missing or doubled field only in
/// its message, and gives the path of the object around it; so the name is added where the path
/// does not already end with it.
fn field_path(path: &Path, code: &str, message: &str) -> String {
    let at = match path.to_string() {
        root if root == "." => String::new(),
        at => at,
    };
    let names_its_field = matches!(code, "unknown_field" | "missing_field" | "duplicate_field");
    let Some(name) = message.split('`').nth(1).filter(|_| names_its_field) else {
        return at;
    };
    if at.is_empty() {
        name.to_owned()
    } else if code == "unknown_field" && (at == name || at.ends_with(&format!(".{name}"))) {
        at
    } else {
        format!("{at}.{name}")
    }
}

/// The message without ` at line N column M`, which says nothing to whom the path is named.
fn without_place(message: &str) -> String {
    match message.rsplit_once(" at line ") {
        Some((text, place)) if place.contains(" column ") => text.to_owned(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        legs: Vec<Leg>,
        #[serde(default)]
        narrative: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Leg {
        side: Side,
        amount_minor: i64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Side {
        Debit,
        Credit,
    }

    fn refused(text: &str) -> (String, String, String) {
        let problem = parse::<Body>(text.as_bytes()).unwrap_err();
        assert_eq!(problem.status, 400);
        let field = problem.errors.first().map_or("", |error| &error.field);
        (problem.code.to_string(), field.to_owned(), problem.detail.clone())
    }

    #[test]
    fn a_good_body_is_read() {
        let body: Body =
            parse(br#"{"legs":[{"side":"debit","amount_minor":5},{"side":"credit","amount_minor":5}]}"#).unwrap();
        assert_eq!(body.legs.len(), 2);
        assert_eq!(body.legs[0].amount_minor, 5);
        assert!(matches!(body.legs[0].side, Side::Debit));
        assert!(matches!(body.legs[1].side, Side::Credit));
        assert!(body.narrative.is_none());
    }

    #[test]
    fn every_fault_has_its_code_and_names_its_field() {
        let cases = [
            (r#"{"legs":[],"x":1}"#, "unknown_field", "x"),
            (r#"{"legs":[{"side":"debit","amount_minor":1,"legs":1}]}"#, "unknown_field", "legs[0].legs"),
            ("{}", "missing_field", "legs"),
            (r#"{"legs":[{"side":"debit"}]}"#, "missing_field", "legs[0].amount_minor"),
            (r#"{"legs":[],"legs":[]}"#, "duplicate_field", "legs"),
            (
                r#"{"legs":[{"side":"debit","amount_minor":1,"amount_minor":1}]}"#,
                "duplicate_field",
                "legs[0].amount_minor",
            ),
            (r#"{"legs":[{"side":"debit","amount_minor":"1"}]}"#, "invalid_type", "legs[0].amount_minor"),
            (r#"{"legs":[{"side":"debit","amount_minor":1e400}]}"#, "malformed_json", ""),
            (r#"{"legs":[{"side":"debit","amount_minor":1.5}]}"#, "invalid_type", "legs[0].amount_minor"),
            (r#"{"legs":[{"side":"both","amount_minor":1}]}"#, "invalid_value", "legs[0].side"),
            (r#"{"legs":[{"side":7,"amount_minor":1}]}"#, "invalid_type", "legs[0].side"),
            ("7", "invalid_type", ""),
            ("null", "invalid_type", ""),
            (r#"[[],"n"]"#, "invalid_type", ""),
            (r#"{"legs":[["debit",1]]}"#, "invalid_type", "legs[0]"),
        ];
        for (text, code, field) in cases {
            let (seen_code, seen_field, detail) = refused(text);
            assert_eq!((seen_code.as_str(), seen_field.as_str()), (code, field), "{text}: {detail}");
        }
    }

    #[test]
    fn broken_json_says_where() {
        for text in ["", "{", "{\"legs\":[}", "{\"legs\":[]} x", "{\"legs\":[]}{}", "\u{feff}{}"] {
            let (code, _, detail) = refused(text);
            assert_eq!(code, "malformed_json", "{text}: {detail}");
            assert!(detail.contains("line 1 column"), "{text}: {detail}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(refused(&format!("{{\"legs\":{deep}")).0, "invalid_type");
        assert_eq!(refused("{\"narrative\":\"\u{1}\"}").0, "malformed_json");
    }
}
