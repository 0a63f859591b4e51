//! What a bank's reply means. Where it leaves a doubt, the outcome is unknown.

use chrono::NaiveDate;
use serde::Deserialize;
use uuid::Uuid;

use super::{Answer, PayOutOutcome, PortError, Status};

const TEXT_LENGTH_MAX: usize = 300;

/// An order as the bank shows it. Fields that are not known are left for later versions.
#[derive(Deserialize)]
struct WireOrder {
    id: Uuid,
    state: WireState,
    bank_reference: Option<String>,
    settled_on: Option<NaiveDate>,
    code: Option<String>,
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireState {
    Accepted,
    Settled,
    Refused,
}

/// As much of a problem document as matters here.
#[derive(Deserialize, Default)]
#[serde(default)]
struct WireProblem {
    code: String,
    detail: String,
}

/// The reply to an order.
pub(super) fn of_order(id: Uuid, status: u16, body: &[u8]) -> Answer {
    match status {
        200..=202 => outcome(id, body),
        _ => Err(refusal_to_answer(status, &problem(body))),
    }
}

/// The reply to a question. Only the bank's own word says that it does not know an id: a 404 of
/// something in between says nothing.
pub(super) fn of_status(id: Uuid, status: u16, body: &[u8]) -> Status {
    match status {
        200 => outcome(id, body).map(Some),
        404 if problem(body).code == "unknown_payment" => Ok(None),
        _ => Err(refusal_to_answer(status, &problem(body))),
    }
}

fn outcome(id: Uuid, body: &[u8]) -> Answer {
    let unreadable = |reason: String| PortError::Unknown { reason: format!("the reply cannot be read: {reason}") };
    let order: WireOrder = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    if order.id != id {
        return Err(unreadable("it is about another order".to_owned()));
    }
    match order.state {
        WireState::Accepted => Ok(PayOutOutcome::Accepted),
        WireState::Settled => {
            let bank_reference = order.bank_reference.filter(|reference| !reference.is_empty());
            match (bank_reference, order.settled_on) {
                (Some(bank_reference), Some(settled_on)) => Ok(PayOutOutcome::Settled { bank_reference, settled_on }),
                _ => Err(unreadable("it is settled without a reference or a date".to_owned())),
            }
        }
        WireState::Refused => Ok(PayOutOutcome::Refused {
            code: short(&order.code.unwrap_or_else(|| "refused".to_owned())),
            detail: short(&order.detail.unwrap_or_default()),
        }),
    }
}

/// What a status other than success means for an order. Only statuses that say for certain that the
/// request was turned away before anything was done are more than unknown.
fn refusal_to_answer(status: u16, problem: &WireProblem) -> PortError {
    let words = short(&format!("{status} {} {}", problem.code, problem.detail));
    match status {
        401 | 403 => PortError::Unauthorized,
        409 if problem.code == "id_reused" => PortError::Conflict { detail: words },
        429 => PortError::NotSent { reason: words },
        400 | 404 | 405 | 411 | 413..=415 | 422 | 431 => PortError::Misconfigured { detail: words },
        _ => PortError::Unknown { reason: words },
    }
}

fn problem(body: &[u8]) -> WireProblem {
    serde_json::from_slice(body).unwrap_or_default()
}

/// At most so much of another's words, without what breaks lines.
fn short(text: &str) -> String {
    text.chars()
        .take(TEXT_LENGTH_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::{of_order, of_status};
    use crate::payments::{PayOutOutcome, PortError};
    use uuid::Uuid;

    const ID: Uuid = Uuid::from_u128(7);

    fn order(fields: &str) -> Vec<u8> {
        format!(r#"{{"id":"{ID}",{fields}}}"#).into_bytes()
    }

    #[test]
    fn a_reply_is_believed_only_if_it_is_whole_and_about_the_order() {
        let settled = order(r#""state":"settled","bank_reference":"B-1","settled_on":"2026-01-02","more":1"#);
        assert!(
            matches!(of_order(ID, 201, &settled), Ok(PayOutOutcome::Settled { bank_reference, .. }) if bank_reference == "B-1")
        );
        assert_eq!(of_order(ID, 200, &order(r#""state":"accepted""#)), Ok(PayOutOutcome::Accepted));
        let refused = order(r#""state":"refused","code":"account_closed","detail":"a\nb""#);
        let expected = PayOutOutcome::Refused { code: "account_closed".into(), detail: "a b".into() };
        assert_eq!(of_status(ID, 200, &refused), Ok(Some(expected)));
        for doubtful in [
            Vec::new(),
            b"ok".to_vec(),
            settled[..settled.len() / 2].to_vec(),
            order(r#""state":"settled""#),
            order(r#""state":"settled","bank_reference":"","settled_on":"2026-01-02""#),
            order(r#""state":"lost""#),
            format!(r#"{{"id":"{}","state":"refused"}}"#, Uuid::nil()).into_bytes(),
        ] {
            assert!(matches!(of_order(ID, 200, &doubtful), Err(PortError::Unknown { .. })), "{doubtful:?}");
        }
    }

    #[test]
    fn no_status_is_called_a_failure_unless_it_certainly_is_one() {
        let code = |status: u16, body: &str| of_order(ID, status, body.as_bytes()).unwrap_err().code();
        for status in [204, 206, 301, 302, 303, 307, 408, 409, 425, 500, 502, 503, 504, 599] {
            assert_eq!(code(status, "<html>"), "unknown", "{status}");
        }
        for status in [400, 404, 405, 413, 415, 422] {
            assert_eq!(code(status, ""), "misconfigured", "{status}");
        }
        assert_eq!((code(401, ""), code(403, ""), code(429, "")), ("unauthorized", "unauthorized", "not_sent"));
        assert_eq!(code(409, r#"{"code":"id_reused","detail":""}"#), "conflict");
    }

    #[test]
    fn only_the_bank_itself_says_that_it_does_not_know_an_id() {
        assert_eq!(of_status(ID, 404, br#"{"code":"unknown_payment","detail":"never seen"}"#), Ok(None));
        for body in ["", "<html>Not Found</html>", r#"{"code":"not_found","detail":""}"#] {
            assert!(matches!(of_status(ID, 404, body.as_bytes()), Err(PortError::Misconfigured { .. })), "{body}");
        }
    }
}
