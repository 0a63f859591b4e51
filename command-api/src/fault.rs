//! What is wrong with which field of a request, collected, so that a client learns all of it at once.

use std::borrow::Cow;

use domain::words::InvalidWord;
use platform::Problem;

/// More faults than this are not told: whoever sends more has one cause for them all.
const FAULTS_MAX: usize = 20;

/// One fault. The field's path is relative to the value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: Cow<'static, str>,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Fault {
    /// A fault of a field.
    pub(crate) fn new(field: impl Into<Cow<'static, str>>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }

    /// A value that breaks the rule of its kind.
    pub(crate) fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(field, "invalid_value", detail)
    }

    /// A field that this command needs.
    pub(crate) fn missing(field: &'static str, detail: impl Into<String>) -> Self {
        Self::new(field, "missing_field", detail)
    }

    /// A word that breaks the rule of its kind.
    pub(crate) fn word(field: &'static str, error: &InvalidWord) -> Self {
        Self::invalid(field, error.to_string())
    }
}

impl From<Fault> for Problem {
    /// The problem of this one fault.
    fn from(fault: Fault) -> Problem {
        Faults(vec![fault]).into_problem()
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// One more.
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(fault);
        }
    }

    /// The value, or its fault kept under this place in the body.
    pub(crate) fn at<T>(&mut self, place: impl FnOnce() -> String, read: Result<T, Fault>) -> Option<T> {
        read.map_err(|fault| {
            let place = place();
            let field = match (place.is_empty(), fault.field.is_empty()) {
                (true, _) => fault.field,
                (false, true) => Cow::Owned(place),
                (false, false) => Cow::Owned(format!("{place}.{}", fault.field)),
            };
            self.push(Fault { field, ..fault });
        })
        .ok()
    }

    /// The faults of what stands at this place, kept under it.
    pub(crate) fn under(&mut self, place: impl Fn() -> String, inner: Faults) {
        inner.0.into_iter().for_each(|fault| {
            self.at(&place, Err::<(), _>(fault));
        });
    }

    /// The value, or its fault kept as it is.
    pub(crate) fn keep<T>(&mut self, read: Result<T, Fault>) -> Option<T> {
        self.at(String::new, read)
    }

    /// Whether nothing was wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes on only when there are none.
    pub(crate) fn none_or_problem(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(self.into_problem()) }
    }

    /// 400 with the code of the first fault and all of them by field.
    pub(crate) fn into_problem(self) -> Problem {
        let (code, detail) = match self.0.first() {
            Some(first) if first.field.is_empty() => (first.code, first.detail.clone()),
            Some(first) => (first.code, format!("{}: {}", first.field, first.detail)),
            None => ("invalid_value", "the request is not valid".to_owned()),
        };
        let problem = Problem::malformed(code, detail);
        self.0.into_iter().fold(problem, |problem, fault| problem.with_error(fault.field, fault.code, fault.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_under_its_own_path() {
        let mut faults = Faults::default();
        assert_eq!(faults.keep(Ok(7)), Some(7));
        assert_eq!(faults.at(|| "legs[1].amount".to_owned(), Err::<(), _>(Fault::invalid("currency", "no"))), None);
        assert_eq!(faults.keep(Err::<(), _>(Fault::missing("legs", "none"))), None);
        let problem = faults.into_problem();
        assert_eq!((problem.status, problem.code.as_ref()), (400, "invalid_value"));
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["legs[1].amount.currency", "legs"]);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut faults = Faults::default();
        (0..1_000).for_each(|_| faults.push(Fault::invalid("x", "no")));
        assert_eq!(faults.into_problem().errors.len(), FAULTS_MAX);
    }
}
