//! Faults to order: what a client gets to know goes wrong, what the bank has done does not.
//!
//! Rules are held against each request in their order; the first that fires decides. Which requests
//! a rule fires on follows from the seed and the order of requests, so a run can be had again. Faults
//! are not in the journal: a bank that starts anew behaves.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The longest that a fault may hold something up.
pub(crate) const DELAY_MS_MAX: u64 = 3_600_000;
const RULES_MAX: usize = 100;
const COPIES_MAX: u64 = 10;

/// All faults that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Faults {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    requests: Vec<Rule<RequestFault>>,
    #[serde(default)]
    webhooks: Vec<Rule<WebhookFault>>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Pay,
    PayStatus,
    Cancel,
    Return,
    ReturnStatus,
}

/// When a fault happens: to every so many of those that match, by chance, at most so many times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule<F> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<Operation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    fault: F,
}

/// How a request goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RequestFault {
    /// The connection ends; nothing is done.
    DropBefore,
    /// It is done; the connection ends without a reply.
    DropAfter,
    /// 500; nothing is done.
    ErrorBefore,
    /// It is done; 500.
    ErrorAfter,
    /// It is done at once; the reply comes later.
    AnswerLate { delay_ms: u64 },
    /// It is done later, also when the client has gone by then.
    WorkLate { delay_ms: u64 },
    /// It is done; the reply breaks off in its middle.
    Garble,
    /// A new order is refused with this code; one that is known stays as it is.
    Refuse { code: String },
    /// A new order stays accepted for so long, then it is settled.
    StayAccepted { for_ms: u64 },
}

/// How news goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum WebhookFault {
    /// It is sent so many times more.
    Duplicate { copies: u64 },
    /// It is sent that much later.
    Late { delay_ms: u64 },
    /// It is sent at some time until then, so that later news overtakes it.
    Shuffle { within_ms: u64 },
}

/// When to send a piece of news: each is a wait before the first try, in milliseconds; the first is
/// the one that is tried until it is taken, the others are sent once.
pub(crate) type Deliveries = Vec<u64>;

/// The faults in force, and how often each has been looked at and fired.
#[derive(Debug, Default)]
pub(crate) struct Switchboard(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    faults: Faults,
    random: Random,
    requests: Vec<Counts>,
    webhooks: Vec<Counts>,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    matched: u64,
    fired: u64,
}

impl Faults {
    /// Refuses what could hold the bank up for ever.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.requests.len() > RULES_MAX || self.webhooks.len() > RULES_MAX {
            return Err(format!("at most {RULES_MAX} rules of a kind are taken"));
        }
        self.requests.iter().try_for_each(Rule::check)?;
        self.webhooks.iter().try_for_each(Rule::check)?;
        if self.webhooks.iter().any(|rule| rule.operation.is_some() || rule.account_number.is_some()) {
            return Err("rules of webhooks have no operation and no account_number".to_owned());
        }
        let request_delays = self.requests.iter().map(|rule| match rule.fault {
            RequestFault::AnswerLate { delay_ms } | RequestFault::WorkLate { delay_ms } => delay_ms,
            RequestFault::StayAccepted { for_ms } => for_ms,
            _ => 0,
        });
        let webhook_delays = self.webhooks.iter().map(|rule| match rule.fault {
            WebhookFault::Late { delay_ms } => delay_ms,
            WebhookFault::Shuffle { within_ms } => within_ms,
            WebhookFault::Duplicate { .. } => 0,
        });
        if request_delays.chain(webhook_delays).any(|delay_ms| delay_ms > DELAY_MS_MAX) {
            return Err(format!("nothing may take longer than {DELAY_MS_MAX} ms"));
        }
        let copied =
            |rule: &Rule<WebhookFault>| matches!(rule.fault, WebhookFault::Duplicate { copies } if copies > COPIES_MAX);
        if self.webhooks.iter().any(copied) {
            return Err(format!("at most {COPIES_MAX} copies are sent"));
        }
        Ok(())
    }
}

impl<F> Rule<F> {
    fn check(&self) -> Result<(), String> {
        if self.every == Some(0) {
            return Err("every must be 1 or more".to_owned());
        }
        if self.percent.is_some_and(|percent| percent > 100) {
            return Err("percent must be 100 or less".to_owned());
        }
        Ok(())
    }

    fn fires(&self, counts: &mut Counts, random: &mut Random) -> bool {
        counts.matched += 1;
        let fires = self.every.is_none_or(|every| counts.matched.is_multiple_of(every))
            && self.times.is_none_or(|times| counts.fired < times)
            && self.percent.is_none_or(|percent| random.below(100) < percent);
        counts.fired += u64::from(fires);
        fires
    }
}

impl Switchboard {
    /// Puts these faults in force instead of all others, counting from zero.
    pub(crate) fn set(&self, faults: Faults) {
        let mut board = self.lock();
        board.random = Random::new(faults.seed);
        board.requests = vec![Counts::default(); faults.requests.len()];
        board.webhooks = vec![Counts::default(); faults.webhooks.len()];
        board.faults = faults;
    }

    pub(crate) fn get(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// The fault that happens to this request, if one does.
    pub(crate) fn request(&self, operation: Operation, account_number: Option<&str>) -> Option<RequestFault> {
        let mut board = self.lock();
        let Board { faults, random, requests, .. } = &mut *board;
        faults
            .requests
            .iter()
            .zip(requests)
            .filter(|(rule, _)| rule.operation.is_none_or(|wanted| wanted == operation))
            .filter(|(rule, _)| rule.account_number.is_none() || rule.account_number.as_deref() == account_number)
            .find_map(|(rule, counts)| rule.fires(counts, random).then(|| rule.fault.clone()))
    }

    /// When a new piece of news is sent.
    pub(crate) fn deliveries(&self) -> Deliveries {
        let mut board = self.lock();
        let Board { faults, random, webhooks, .. } = &mut *board;
        let mut fault = None;
        for (rule, counts) in faults.webhooks.iter().zip(webhooks) {
            if rule.fires(counts, random) {
                fault = Some(&rule.fault);
                break;
            }
        }
        match fault {
            None => vec![0],
            Some(WebhookFault::Late { delay_ms }) => vec![*delay_ms],
            Some(WebhookFault::Shuffle { within_ms }) => vec![random.below(within_ms.saturating_add(1))],
            Some(WebhookFault::Duplicate { copies }) => (0..=*copies).map(|_| 0).collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, Operation, RequestFault, Switchboard};

    fn faults(text: &str) -> Faults {
        serde_json::from_str(text).unwrap()
    }

    fn fired(board: &Switchboard, count: usize) -> Vec<bool> {
        (0..count).map(|_| board.request(Operation::Pay, Some("7")).is_some()).collect()
    }

    #[test]
    fn a_rule_fires_on_what_it_names_every_so_often_and_so_many_times() {
        let board = Switchboard::default();
        let rule = r#"{"requests":[{"operation":"pay","account_number":"7","every":2,"times":2,"fault":{"kind":"drop_after"}}]}"#;
        board.set(faults(rule));
        assert_eq!(board.request(Operation::PayStatus, Some("7")), None);
        assert_eq!(board.request(Operation::Pay, Some("8")), None);
        assert_eq!(fired(&board, 7), [false, true, false, true, false, false, false]);
        board.set(faults(rule));
        assert_eq!(board.request(Operation::Pay, Some("7")), None);
        assert_eq!(board.request(Operation::Pay, Some("7")), Some(RequestFault::DropAfter));
    }

    #[test]
    fn chance_follows_from_the_seed() {
        let board = Switchboard::default();
        let of_seed = |seed: u64| {
            board.set(faults(&format!(
                r#"{{"seed":{seed},"requests":[{{"percent":30,"fault":{{"kind":"error_before"}}}}]}}"#
            )));
            fired(&board, 1_000)
        };
        let first = of_seed(1);
        assert_eq!(first, of_seed(1));
        assert_ne!(first, of_seed(2));
        let count = first.iter().filter(|fired| **fired).count();
        assert!((250..350).contains(&count), "{count}");
    }

    #[test]
    fn faults_that_cannot_be_are_refused() {
        for text in [
            r#"{"requests":[{"every":0,"fault":{"kind":"drop_before"}}]}"#,
            r#"{"requests":[{"percent":101,"fault":{"kind":"drop_before"}}]}"#,
            r#"{"requests":[{"fault":{"kind":"answer_late","delay_ms":3600001}}]}"#,
            r#"{"webhooks":[{"fault":{"kind":"duplicate","copies":11}}]}"#,
            r#"{"webhooks":[{"operation":"pay","fault":{"kind":"duplicate","copies":1}}]}"#,
        ] {
            assert!(faults(text).check().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Faults>(r#"{"requests":[{"fault":{"kind":"explode"}}]}"#).is_err());
        assert!(serde_json::from_str::<Faults>(r#"{"request":[]}"#).is_err());
    }
}
