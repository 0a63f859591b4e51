//! The version that a caller expects: `If-Match: "5"`, or a bare `5`.

use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use platform::Problem;

use crate::fault::Fault;

const FIELD: &str = "If-Match";

/// Reads the expected version. A list, `*` and weak tags are refused: a version is one and exact.
pub(crate) fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let version = value.to_str().ok().and_then(version).filter(|_| values.next().is_none());
    version.map(Some).ok_or_else(|| {
        let detail = "If-Match names the one expected version, as the header ETag gave it: \"5\"";
        Fault::new(FIELD, "if_match_invalid", detail).into()
    })
}

/// A command that brings something into being has no version to expect.
pub(crate) fn refuse_on_new(expected_version: Option<u64>) -> Result<(), Problem> {
    match expected_version {
        None => Ok(()),
        Some(_) => {
            let detail = "this command creates something, which has no version yet; leave If-Match out";
            Err(Fault::new(FIELD, "if_match_not_applicable", detail).into())
        }
    }
}

fn version(text: &str) -> Option<u64> {
    let text = text.trim_matches(' ');
    let digits = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let spelled = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| spelled).filter(|version| i64::try_from(*version).is_ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(value: &'static str) -> Result<Option<u64>, Problem> {
        let mut headers = HeaderMap::new();
        headers.append(IF_MATCH, HeaderValue::from_static(value));
        expected_version(&headers)
    }

    #[test]
    fn a_version_is_bare_or_quoted() {
        assert_eq!(read("\"5\"").unwrap(), Some(5));
        assert_eq!(read("5").unwrap(), Some(5));
        assert_eq!(expected_version(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in
            ["", "*", "W/\"5\"", "\"5", "5\"", "\"5\", \"6\"", "0", "05", "+5", "-5", "5.0", "9223372036854775808"]
        {
            assert_eq!(read(bad).unwrap_err().code, "if_match_invalid", "{bad}");
        }
    }
}
