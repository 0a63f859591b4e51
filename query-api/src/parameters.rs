//! The parameters of a read, parsed strictly: every fault is named, none is guessed away.
//!
//! Invariants: an unknown or repeated parameter is refused; all faults of a request are told at
//! once; a parameter that is given but empty is a fault, not an absence.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use chrono::{DateTime, NaiveDate, Utc};
use domain::words::InvalidWord;
use platform::{FieldError, Problem};
use utoipa::IntoParams;
use uuid::Uuid;

/// Items of a page when nothing is said.
pub(crate) const LIMIT_DEFAULT: u32 = 50;
/// Most items of a page.
pub(crate) const LIMIT_MAX: u32 = 500;
/// How long a read waits for its position when nothing is said, in milliseconds.
pub(crate) const WAIT_MS_DEFAULT: u64 = 5_000;
/// Longest that a read may be asked to wait, in milliseconds.
pub(crate) const WAIT_MS_MAX: u64 = 30_000;

const UNKNOWN: &str = "unknown_parameter";
const INVALID: &str = "invalid_value";

/// From when on a read may answer.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // Names and documents what `Parameters::freshness` reads.
pub(crate) struct Freshness {
    /// Answer only with everything up to this position applied, the `position` of a command's
    /// reply for instance; otherwise wait, and at last answer 503 `not_yet_at_position`.
    #[param(minimum = 0, example = 4711, required = false)]
    pub(crate) min_position: u64,
    /// How long to wait for `min_position`, in milliseconds; 5000 when left out.
    #[param(minimum = 0, maximum = 30000, example = 5000, required = false)]
    pub(crate) wait_ms: u64,
}

/// Which page of a list.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many items at most; 50 when left out.
    #[param(minimum = 1, maximum = 500, example = 50, required = false)]
    pub(crate) limit: u32,
    /// The `next_cursor` of the page before; opaque.
    pub(crate) cursor: Option<String>,
}

/// The query's parameters. Each is taken once by name; `finish` refuses what is left.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::malformed("invalid_query", rejection.body_text()))?;
        Ok(Self { pairs, errors: Vec::new() })
    }
}

impl Parameters {
    /// The parameter's value by a rule of its own; a fault is what the rule says is needed.
    pub(crate) fn value<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, text) = self.pairs.remove(at);
        if self.pairs.iter().any(|(key, _)| key == name) {
            self.pairs.retain(|(key, _)| key != name);
            self.refuse(name, "given more than once".to_owned());
            return None;
        }
        match read(&text) {
            Ok(value) => Some(value),
            Err(needed) => {
                self.refuse(name, needed);
                None
            }
        }
    }

    /// Names a fault of a parameter that was read well but does not fit.
    pub(crate) fn refuse(&mut self, name: &str, detail: String) {
        self.errors.push(FieldError { field: name.to_owned(), code: INVALID.into(), detail });
    }

    /// An id.
    pub(crate) fn id(&mut self, name: &str) -> Option<Uuid> {
        self.value(name, |text| Uuid::try_parse(text).map_err(|_| "a UUID is needed".to_owned()))
    }

    /// A business date.
    pub(crate) fn date(&mut self, name: &str) -> Option<NaiveDate> {
        self.value(name, |text| {
            // chrono also takes `2026-1-5`; ISO 8601 has ten characters.
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
            date.ok_or_else(|| "a date like 2026-01-31 is needed".to_owned())
        })
    }

    /// A point in time.
    pub(crate) fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        self.value(name, |text| {
            let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
            time.map_err(|_| "a time like 2026-01-31T12:00:00Z is needed (in a URL, write + as %2B)".to_owned())
        })
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &str, min: u64, max: u64) -> Option<u64> {
        self.value(name, |text| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| digits && (min..=max).contains(number));
            number.ok_or_else(|| format!("a whole number from {min} to {max} is needed"))
        })
    }

    /// Yes or no.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.value(name, |text| text.parse().map_err(|_| "true or false is needed".to_owned()))
    }

    /// One of a few words.
    pub(crate) fn choice(&mut self, name: &str, choices: &[&'static str]) -> Option<&'static str> {
        self.value(name, |text| {
            let choice = choices.iter().copied().find(|choice| *choice == text);
            choice.ok_or_else(|| format!("one of {} is needed", choices.join(", ")))
        })
    }

    /// A word with a rule, such as a ledger code.
    pub(crate) fn word<T: TryFrom<String, Error = InvalidWord>>(&mut self, name: &str) -> Option<T> {
        self.value(name, |text| T::try_from(text.to_owned()).map_err(|invalid| invalid.to_string()))
    }

    /// A value that reads from its text and says itself what is wrong with it.
    pub(crate) fn parsed<T>(&mut self, name: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.value(name, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// From when on the read may answer.
    pub(crate) fn freshness(&mut self) -> Freshness {
        Freshness {
            min_position: self.number("min_position", 0, i64::MAX as u64).unwrap_or(0),
            wait_ms: self.number("wait_ms", 0, WAIT_MS_MAX).unwrap_or(WAIT_MS_DEFAULT),
        }
    }

    /// Which page.
    pub(crate) fn page(&mut self) -> Page {
        let limit = self.number("limit", 1, LIMIT_MAX.into());
        Page {
            limit: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(LIMIT_DEFAULT),
            cursor: self.value("cursor", |text| Ok(text.to_owned())),
        }
    }

    /// All faults found, unknown parameters among them.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        let unknown = !self.pairs.is_empty();
        for (name, _) in std::mem::take(&mut self.pairs) {
            let name: String = name.chars().take(64).collect();
            let detail = "this path takes no such parameter".to_owned();
            self.errors.push(FieldError { field: name, code: UNKNOWN.into(), detail });
        }
        let Some(first) = self.errors.first() else {
            return Ok(());
        };
        let detail = format!("{}: {}", first.field, first.detail);
        let code = if unknown { UNKNOWN } else { INVALID };
        let mut problem = Problem::malformed(code, detail);
        problem.errors = self.errors;
        Err(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        let uri: axum::http::Uri = format!("/v1/x?{query}").parse().unwrap();
        let Query(pairs) = Query::try_from_uri(&uri).unwrap();
        Parameters { pairs, errors: Vec::new() }
    }

    fn refused(query: &str, take: impl FnOnce(&mut Parameters)) -> (String, Vec<String>) {
        let mut parameters = parameters(query);
        take(&mut parameters);
        let problem = parameters.finish().unwrap_err();
        (problem.code.into_owned(), problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let (code, fields) = refused("from=2026-2-1&to=x&colour=red", |p| {
            assert_eq!(p.date("from"), None);
            assert_eq!(p.date("to"), None);
        });
        assert_eq!(code, UNKNOWN);
        assert_eq!(fields, ["from", "to", "colour"]);
    }

    #[test]
    fn values_out_of_their_rule_are_refused() {
        for (query, name) in
            [("n=0", "n"), ("n=11", "n"), ("n=", "n"), ("n=%2B5", "n"), ("n=1&n=1", "n"), ("n=1e1", "n")]
        {
            let (code, fields) = refused(query, |p| assert_eq!(p.number(name, 1, 10), None));
            assert_eq!((code.as_str(), fields), (INVALID, vec![name.to_owned()]), "{query}");
        }
        let (_, fields) = refused("t=2026-01-01", |p| assert_eq!(p.time("t"), None));
        assert_eq!(fields, ["t"]);
    }

    #[test]
    fn good_values_are_taken() {
        let mut p = parameters("limit=500&min_position=7&t=2026-01-31T12:00:00%2B02:00&side=debit");
        assert_eq!(p.page().limit, 500);
        assert_eq!(p.freshness().min_position, 7);
        assert_eq!(p.time("t").unwrap().to_rfc3339(), "2026-01-31T10:00:00+00:00");
        assert_eq!(p.choice("side", &["credit", "debit"]), Some("debit"));
        assert_eq!(p.date("from"), None);
        assert!(p.finish().is_ok());
    }
}
