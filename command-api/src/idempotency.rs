//! The idempotency key of a request, and what makes two requests the same one.
//!
//! Invariant: the canonical form is a part of the log (its HMAC is kept for ever), so it depends on
//! nothing but what the client sent: method, path, expected version and the body's JSON value.
//! Ids that the server mints are not in it; neither is the shape of our types, which grows.

use axum::http::{HeaderMap, HeaderName, Method};
use platform::Problem;

use crate::canonical::canonical;
use crate::fault::Fault;

/// The header that carries the key.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const FIELD: &str = "Idempotency-Key";
const KEY_LENGTH_MAX: usize = 255;

/// Reads the key: 1 to 255 visible ASCII characters, given once.
pub(crate) fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        let detail =
            "every command carries the header Idempotency-Key, so that it can be repeated without being done twice";
        return Err(Fault::new(FIELD, "idempotency_key_required", detail).into());
    };
    let bytes = value.as_bytes();
    let fits = (1..=KEY_LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(bytes) {
        Ok(key) if fits && values.next().is_none() => Ok(key.to_owned()),
        _ => {
            let detail = "an idempotency key is 1 to 255 visible ASCII characters, given once";
            Err(Fault::new(FIELD, "idempotency_key_invalid", detail).into())
        }
    }
}

/// What a client asked for, in the form that its HMAC is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CanonicalRequest {
    method: Method,
    path: String,
    expected_version: String,
    body: String,
}

impl CanonicalRequest {
    /// The canonical form. The body must be JSON, as it is once a type has been read from it.
    pub(crate) fn new(
        method: Method,
        path: &str,
        expected_version: Option<u64>,
        body: &[u8],
    ) -> Result<Self, serde_json::Error> {
        let body = canonical(body)?;
        let expected_version = expected_version.map_or_else(String::new, |version| version.to_string());
        Ok(Self { method, path: path.to_owned(), expected_version, body })
    }

    /// The parts, in their order.
    pub(crate) fn parts(&self) -> [&[u8]; 4] {
        [self.method.as_str().as_bytes(), self.path.as_bytes(), self.expected_version.as_bytes(), self.body.as_bytes()]
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn request(body: &str) -> CanonicalRequest {
        CanonicalRequest::new(Method::POST, "/v1/x", None, body.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_required_and_bounded() {
        let refused = |value: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            key(&headers).map_err(|problem| problem.code.to_string())
        };
        assert_eq!(refused(Some(b"a-1")).unwrap(), "a-1");
        assert_eq!(refused(Some(&[b'k'; 255])).unwrap().len(), 255);
        assert_eq!(refused(None).unwrap_err(), "idempotency_key_required");
        for bad in [&b""[..], b"two words", b"\xc3\xa9", &[b'k'; 256]] {
            assert_eq!(refused(Some(bad)).unwrap_err(), "idempotency_key_invalid");
        }
        let mut twice = HeaderMap::new();
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert_eq!(key(&twice).unwrap_err().code, "idempotency_key_invalid");
    }

    #[test]
    fn the_same_json_written_otherwise_is_the_same_request() {
        let written = request(r#"{"b":[1,{"d":"\u00e9","c":null}],"a":true}"#);
        let rewritten = request("{ \"a\": true,\n \"b\": [1, {\"c\": null, \"d\": \"é\"}] }");
        assert_eq!(written, rewritten);
        assert_eq!(written.body, r#"{"a":true,"b":[1,{"c":null,"d":"é"}]}"#);
    }

    #[test]
    fn every_difference_makes_another_request() {
        let base = request(r#"{"a":"1"}"#);
        assert_ne!(base, request(r#"{"a":1}"#));
        assert_ne!(base, request(r#"{"a":"1","b":null}"#));
        assert_ne!(base, CanonicalRequest::new(Method::POST, "/v1/y", None, br#"{"a":"1"}"#).unwrap());
        assert_ne!(base, CanonicalRequest::new(Method::PUT, "/v1/x", None, br#"{"a":"1"}"#).unwrap());
        assert_ne!(base, CanonicalRequest::new(Method::POST, "/v1/x", Some(1), br#"{"a":"1"}"#).unwrap());
    }
}
