//! How much one caller may ask for: requests a second and at once by subject and by address, size of
//! headers.
//!
//! Invariants: what is kept of callers is bounded, the one not seen for longest forgotten first; an
//! address is the peer's unless the peer is a proxy that is trusted by configuration; an IPv6 caller
//! is its network of 64 bits, since it may have all of it.
//!
//! Replies carry the fields of draft-ietf-httpapi-ratelimit-headers-03 (`RateLimit-Limit`,
//! `RateLimit-Remaining`, `RateLimit-Reset`), of the limit that is nearer.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use hashlink::LruCache;
use ipnet::IpNet;

use super::arrival::Arrival;
use crate::problem::Problem;

/// The header in which proxies name the callers before them.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
pub(super) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// Callers of each kind that are kept count of at once.
const CALLERS_MAX: usize = 100_000;

/// How many requests a second, by whom; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) subject: Option<u32>,
    pub(super) address: Option<u32>,
    /// The same of requests that are at work at once.
    pub(super) at_once_subject: Option<u32>,
    pub(super) at_once_address: Option<u32>,
}

/// Counts requests.
pub(super) struct Limits {
    subjects: Option<Limiter<String>>,
    addresses: Option<Limiter<IpAddr>>,
    subjects_at_work: AtWork<String>,
    addresses_at_work: AtWork<IpAddr>,
}

impl Limits {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            subjects: rates.subject.and_then(NonZeroU32::new).map(Limiter::new),
            addresses: rates.address.and_then(NonZeroU32::new).map(Limiter::new),
            subjects_at_work: AtWork::new(rates.at_once_subject),
            addresses_at_work: AtWork::new(rates.at_once_address),
        }
    }

    /// A request of that subject goes to work, until what is returned is dropped; `None` if it has
    /// too many there.
    pub(super) fn begin_of_subject(&self, subject: &str) -> Option<AtWorkGuard<'_, String>> {
        self.subjects_at_work.begin(|| Some(subject.to_owned()))
    }

    /// The same of a request from that address.
    pub(super) fn begin_from_address(&self, address: Option<IpAddr>) -> Option<AtWorkGuard<'_, IpAddr>> {
        self.addresses_at_work.begin(|| address.map(network))
    }

    /// Counts a request of that subject.
    pub(super) fn count_subject(&self, subject: &str) -> Standing {
        self.subjects.as_ref().map_or(Standing::Unlimited, |limiter| limiter.count(&subject.to_owned()))
    }

    /// Counts a request from that address; a caller without one is a test's.
    pub(super) fn count_address(&self, address: Option<IpAddr>) -> Standing {
        match (&self.addresses, address) {
            (Some(limiter), Some(address)) => limiter.count(&network(address)),
            (_, _) => Standing::Unlimited,
        }
    }
}

/// Where a caller stands after a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody counts.
    Unlimited,
    /// Let pass: so many more at once, and after so many seconds all again.
    Within { limit: u32, remaining: u32, reset_s: u64 },
    /// Refused: so many seconds until the next.
    Exceeded { limit: u32, wait_s: u64 },
}

impl Standing {
    /// The one that leaves less.
    pub(super) fn nearer(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unlimited, standing) | (standing, Self::Unlimited) => standing,
            (Self::Exceeded { .. }, _) => self,
            (_, Self::Exceeded { .. }) => other,
            (Self::Within { remaining: mine, .. }, Self::Within { remaining: others, .. }) => {
                if mine <= others {
                    self
                } else {
                    other
                }
            }
        }
    }

    /// 429 `rate_limited`, if it was too much.
    pub(super) fn refusal(self) -> Option<Problem> {
        match self {
            Self::Exceeded { wait_s, .. } => Some(Problem::rate_limited(wait_s)),
            Self::Unlimited | Self::Within { .. } => None,
        }
    }

    /// Tells the caller.
    pub(super) fn tell(self, response: &mut Response) {
        let (limit, remaining, reset_s) = match self {
            Self::Unlimited => return,
            Self::Within { limit, remaining, reset_s } => (limit, remaining, reset_s),
            Self::Exceeded { limit, wait_s } => (limit, 0, wait_s),
        };
        let headers = response.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(limit));
        headers.insert(REMAINING, HeaderValue::from(remaining));
        headers.insert(RESET, HeaderValue::from(reset_s));
    }
}

/// How many requests of each caller are at work; of nobody else is anything kept.
struct AtWork<K: Hash + Eq + Clone> {
    max: Option<u32>,
    callers: Mutex<HashMap<K, u32>>,
}

impl<K: Hash + Eq + Clone> AtWork<K> {
    fn new(max: Option<u32>) -> Self {
        Self { max, callers: Mutex::default() }
    }

    fn begin(&self, caller: impl FnOnce() -> Option<K>) -> Option<AtWorkGuard<'_, K>> {
        let Some((max, caller)) = self.max.and_then(|max| Some((max, caller()?))) else {
            return Some(AtWorkGuard { counted: None });
        };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = callers.get(&caller).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        callers.insert(caller.clone(), count + 1);
        Some(AtWorkGuard { counted: Some((self, caller)) })
    }

    fn end(&self, caller: &K) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        match callers.get_mut(caller) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(callers.remove(caller)),
        }
    }
}

/// A request at work; given up, timed out or panicked, it is dropped as well.
pub(super) struct AtWorkGuard<'a, K: Hash + Eq + Clone> {
    counted: Option<(&'a AtWork<K>, K)>,
}

impl<K: Hash + Eq + Clone> Drop for AtWorkGuard<'_, K> {
    fn drop(&mut self) {
        if let Some((at_work, caller)) = &self.counted {
            at_work.end(caller);
        }
    }
}

struct Limiter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Callers<K>, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(per_second);
        let callers = Callers(Mutex::new(LruCache::new(CALLERS_MAX)));
        Self { limiter: RateLimiter::new(quota, callers, DefaultClock::default()), per_second }
    }

    fn count(&self, caller: &K) -> Standing {
        let limit = self.per_second.get();
        match self.limiter.check_key(caller) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                // The burst is one second's worth.
                Standing::Within { limit, remaining, reset_s: u64::from(remaining < limit) }
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.limiter.clock().now());
                Standing::Exceeded { limit, wait_s: whole_seconds(wait) }
            }
        }
    }
}

/// Seconds, rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// When each caller's next request is due, for a bounded number of callers.
struct Callers<K: Hash + Eq>(Mutex<LruCache<K, Nanos>>);

impl<K: Hash + Eq + Clone> StateStore for Callers<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, caller: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, due) = decide(callers.get(caller).copied())?;
        callers.insert(caller.clone(), due);
        Ok(outcome)
    }
}

/// The caller's address: the peer's, or, behind trusted proxies, the last that none of them has.
pub(super) fn client_address(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut address = Arrival::of(extensions)?.peer.ip().to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&address) {
        return Some(address);
    }
    let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
    // From the nearest on: what is beyond the first that is not trusted may be made up.
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(&address) {
            break;
        }
        let Ok(before) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        address = before.to_canonical();
    }
    Some(address)
}

/// What counts as one caller.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Refuses headers that are too many or too large: 431.
pub(super) fn check_headers(headers: &HeaderMap, count_max: usize, bytes_max: usize) -> Result<(), Problem> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() <= count_max && bytes <= bytes_max {
        return Ok(());
    }
    let detail = format!("a request may have {count_max} headers with {bytes_max} bytes in all");
    Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn address(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Arrival { peer: peer.parse().unwrap(), stopping: CancellationToken::new() }));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client_address(&extensions, &headers, &trusted).unwrap().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(address("198.51.100.9:1", &["203.0.113.1"], &proxies), "198.51.100.9");
        assert_eq!(address("10.0.0.1:1", &["203.0.113.1"], &[]), "10.0.0.1");
        assert_eq!(address("10.0.0.1:1", &["203.0.113.1"], &proxies), "203.0.113.1");
        assert_eq!(address("10.0.0.1:1", &["1.1.1.1, 203.0.113.1, 10.0.0.2"], &proxies), "203.0.113.1");
        assert_eq!(address("10.0.0.1:1", &["1.1.1.1", "203.0.113.1"], &proxies), "203.0.113.1");
        assert_eq!(address("10.0.0.1:1", &["1.1.1.1, unknown"], &proxies), "10.0.0.1");
        assert_eq!(address("[::ffff:10.0.0.1]:1", &["203.0.113.1"], &proxies), "203.0.113.1");
    }

    #[test]
    fn a_caller_has_its_second_and_no_more() {
        let limits = Limits::new(Rates { subject: Some(3), ..Rates::default() });
        for remaining in [2, 1, 0] {
            let standing = limits.count_subject("ann");
            assert_eq!(standing, Standing::Within { limit: 3, remaining, reset_s: 1 });
        }
        let refused = limits.count_subject("ann");
        assert_eq!(refused, Standing::Exceeded { limit: 3, wait_s: 1 });
        assert_eq!(refused.refusal().unwrap().code, "rate_limited");
        assert!(matches!(limits.count_subject("bob"), Standing::Within { .. }));
        assert_eq!(limits.count_address("192.0.2.1".parse().ok()), Standing::Unlimited);
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        let limits = Limits::new(Rates { address: Some(1), ..Rates::default() });
        assert!(matches!(limits.count_address("2001:db8::1".parse().ok()), Standing::Within { .. }));
        assert!(matches!(limits.count_address("2001:db8::ffff:2".parse().ok()), Standing::Exceeded { .. }));
        assert!(matches!(limits.count_address("2001:db8:0:1::1".parse().ok()), Standing::Within { .. }));
    }

    #[test]
    fn a_caller_has_so_many_at_work_and_what_ends_is_forgotten() {
        let rates = Rates { at_once_subject: Some(2), at_once_address: Some(1), ..Rates::default() };
        let limits = Limits::new(rates);
        let first = limits.begin_of_subject("ann").unwrap();
        let second = limits.begin_of_subject("ann").unwrap();
        assert!(limits.begin_of_subject("ann").is_none());
        assert!(limits.begin_of_subject("bob").is_some());
        drop(first);
        let third = limits.begin_of_subject("ann");
        assert!(third.is_some() && limits.begin_of_subject("ann").is_none());
        drop((second, third));
        assert!(limits.subjects_at_work.callers.lock().unwrap().is_empty());
        let from = |address: &str| limits.begin_from_address(address.parse().ok());
        let one = from("2001:db8::1").unwrap();
        assert!(from("2001:db8::ffff:2").is_none() && from("2001:db8:0:1::1").is_some());
        assert!(limits.begin_from_address(None).is_some() && limits.begin_from_address(None).is_some());
        drop(one);
        assert!(from("2001:db8::ffff:2").is_some());
    }

    #[test]
    fn the_nearer_limit_is_told() {
        let within = |remaining| Standing::Within { limit: 9, remaining, reset_s: 1 };
        assert_eq!(within(3).nearer(within(2)), within(2));
        assert_eq!(within(3).nearer(Standing::Unlimited), within(3));
        let exceeded = Standing::Exceeded { limit: 9, wait_s: 1 };
        assert_eq!(within(0).nearer(exceeded), exceeded);
    }

    #[test]
    fn what_is_kept_of_callers_is_bounded() {
        let limits = Limits::new(Rates { address: Some(5), ..Rates::default() });
        for caller in 0..u32::try_from(CALLERS_MAX + 500).unwrap() {
            limits.count_address(Some(IpAddr::from(caller.to_be_bytes())));
        }
        let limiter = limits.addresses.unwrap().limiter.into_state_store();
        assert_eq!(limiter.0.lock().unwrap().len(), CALLERS_MAX);
    }

    #[test]
    fn headers_are_counted_and_measured() {
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("12345"));
        assert!(check_headers(&headers, 1, 6).is_ok());
        assert_eq!(check_headers(&headers, 1, 5).unwrap_err().status, 431);
        assert_eq!(check_headers(&headers, 0, 6).unwrap_err().code, "headers_too_large");
    }
}
