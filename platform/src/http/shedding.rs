//! Refusing what cannot be done in time, before anything is done for it.
//!
//! Under overload most requests end here, so a refusal is cheap: no span, nothing read of its body, and one
//! log line a second that counts them instead of one each. Probes are let in: a process that has much to do
//! lives.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::measure;
use crate::problem::Problem;

/// While a crowd waits for its refusals, each at work counts as so many: who is let in then is not to share the
/// processor with as many as in a short peak.
const EACH_IN_A_CROWD: usize = 5;

/// How often the log says how many were refused.
const TELL_EVERY_S: u64 = 1;

/// Whether what comes now could not be done in time, with so many requests at work.
#[derive(Clone)]
pub(super) struct Overloaded(Arc<dyn Fn(usize) -> bool + Send + Sync>);

impl Overloaded {
    pub(super) fn when(check: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl fmt::Debug for Overloaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Overloaded")
    }
}

/// A request at work, until it is dropped. A count and no semaphore: nobody waits for one, and each end of a
/// semaphore's permit takes a lock.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a AtomicUsize);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets requests in, or not.
pub(super) struct Shedding {
    at_work: AtomicUsize,
    at_once: usize,
    overloaded: Option<Overloaded>,
    began: Instant,
    /// Refused since the log was told, and the second in which it was.
    untold: AtomicU64,
    told_at_s: AtomicU64,
}

impl Shedding {
    /// So many at work at once, and none while it is overloaded.
    pub(super) fn new(at_once: usize, overloaded: Option<Overloaded>) -> Self {
        Self {
            at_work: AtomicUsize::new(0),
            at_once,
            overloaded,
            began: Instant::now(),
            untold: AtomicU64::new(0),
            told_at_s: AtomicU64::new(0),
        }
    }

    /// A request for that path goes to work until what is returned is dropped; a probe counts as no work
    /// where there is no room. `is_crowded`: many wait for their refusals.
    pub(super) fn admit(&self, path: &str, is_crowded: bool) -> Result<Option<Permit<'_>>, Problem> {
        if measure::is_liveness(path) {
            return Ok(None);
        }
        let each = if is_crowded { EACH_IN_A_CROWD } else { 1 };
        let at_work = || self.at_work.load(Ordering::Relaxed);
        let is_overloaded = || self.overloaded.as_ref().is_some_and(|check| (check.0)(at_work() * each));
        let detail = match self.begin() {
            None => "too many requests are at work; try again as the header Retry-After says",
            Some(_) if !measure::is_probe(path) && is_overloaded() => {
                "more commands come than can be done; try again as the header Retry-After says"
            }
            Some(permit) => return Ok(Some(permit)),
        };
        measure::shed("overloaded");
        self.tell();
        Err(Problem::unavailable("overloaded", detail))
    }

    fn begin(&self) -> Option<Permit<'_>> {
        let one_more = |at_work| (at_work < self.at_once).then_some(at_work + 1);
        let begun = self.at_work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        begun.ok().map(|_| Permit(&self.at_work))
    }

    fn tell(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let (now_s, told_at_s) = (self.began.elapsed().as_secs() + 1, self.told_at_s.load(Ordering::Relaxed));
        let is_due = now_s >= told_at_s + TELL_EVERY_S;
        if is_due && self.told_at_s.compare_exchange(told_at_s, now_s, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let refused = self.untold.swap(0, Ordering::Relaxed);
            tracing::warn!(refused, "more requests than can be done: refused with 503 overloaded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_work_ends_and_leaves_room() {
        let shedding = Shedding::new(1, None);
        let at_work = shedding.admit("/v1/loans", false).unwrap();
        let refused = shedding.admit("/v1/loans", false).unwrap_err();
        assert_eq!((refused.code.as_ref(), refused.retry_after_seconds), ("overloaded", Some(1)));
        assert!(shedding.admit("/readyz", false).is_err() && shedding.admit("/healthz", false).is_ok());
        drop(at_work);
        assert!(shedding.admit("/v1/loans", false).is_ok());
    }

    #[test]
    fn while_overloaded_only_probes_are_let_in() {
        let shedding = Shedding::new(10, Some(Overloaded::when(|at_work| at_work > 2)));
        let at_work = [shedding.admit("/v1/loans", false).unwrap(), shedding.admit("/v1/loans", false).unwrap()];
        assert_eq!(shedding.admit("/v1/loans", false).unwrap_err().code, "overloaded");
        assert!(shedding.admit("/readyz", false).is_ok() && shedding.admit("/healthz", false).is_ok());
        drop(at_work);
        assert!(shedding.admit("/v1/loans", false).is_ok());
    }

    #[test]
    fn beside_a_crowd_fewer_are_let_in() {
        let shedding = Shedding::new(10, Some(Overloaded::when(|at_work| at_work > 5)));
        let _at_work = shedding.admit("/v1/loans", true).unwrap();
        assert_eq!(shedding.admit("/v1/loans", true).unwrap_err().code, "overloaded");
        assert!(shedding.admit("/v1/loans", false).is_ok());
    }
}
