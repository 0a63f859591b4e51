//! The two events that nearly all of a log is made of, read straight into their fields.
//!
//! An enum that is told apart by a key inside it (`"type"`) is read by serde into a buffer first, since the key
//! could come last; that takes longer than the reading. Whoever knows the type beforehand needs no buffer.
//! Invariant: what is read here is what the general way reads; whatever looks unusual is left to that way,
//! errors with it.

use chrono::NaiveDate;
use serde::{Deserialize, Deserializer};

use crate::account::AccountEvent;
use crate::event::Event;
use crate::ids::TransactionId;
use crate::money::Side;
use crate::transaction::{Leg, Reverses, TransactionEvent, TransactionKind};
use crate::words::{ExternalReference, Sealed, read_text};

/// The event, if it is of a frequent type and written in the usual way.
pub(super) fn read(event_type: &str, payload: &str) -> Option<Event> {
    match event_type {
        "EntryPosted" => serde_json::from_str::<EntryPosted<'_>>(payload).ok()?.event(),
        "TransactionPosted" => serde_json::from_str::<TransactionPosted<'_>>(payload).ok()?.event(),
        _ => None,
    }
}

#[derive(Deserialize)]
struct EntryPosted<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    transaction_id: TransactionId,
    posting: u32,
    leg: u16,
    kind: TransactionKind,
    side: Side,
    amount_minor: i64,
    #[serde(deserialize_with = "date")]
    booking_date: NaiveDate,
    #[serde(deserialize_with = "date")]
    value_date: NaiveDate,
    balance_minor: i64,
    hold_released_minor: i64,
}

impl EntryPosted<'_> {
    fn event(self) -> Option<Event> {
        let event = AccountEvent::EntryPosted {
            transaction_id: self.transaction_id,
            posting: self.posting,
            leg: self.leg,
            kind: self.kind,
            side: self.side,
            amount_minor: self.amount_minor,
            booking_date: self.booking_date,
            value_date: self.value_date,
            balance_minor: self.balance_minor,
            hold_released_minor: self.hold_released_minor,
        };
        (self.event_type == event.name()).then_some(Event::Account(event))
    }
}

#[derive(Deserialize)]
struct TransactionPosted<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    kind: TransactionKind,
    #[serde(deserialize_with = "date")]
    booking_date: NaiveDate,
    #[serde(deserialize_with = "date")]
    value_date: NaiveDate,
    legs: Vec<Leg>,
    reverses: Option<Reverses>,
    external_reference: Option<ExternalReference>,
    narrative: Option<Sealed>,
}

impl TransactionPosted<'_> {
    fn event(self) -> Option<Event> {
        let event = TransactionEvent::TransactionPosted {
            kind: self.kind,
            booking_date: self.booking_date,
            value_date: self.value_date,
            legs: self.legs,
            reverses: self.reverses,
            external_reference: self.external_reference,
            narrative: self.narrative,
        };
        (self.event_type == event.name()).then_some(Event::Transaction(event))
    }
}

/// A date as the log has it, `2024-02-29`; any other spelling is left to the general way.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    read_text(deserializer, |text| plain_date(text).ok_or("not a plain date"))
}

fn plain_date(text: &str) -> Option<NaiveDate> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else { return None };
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0_u32, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
    };
    let year = i32::try_from(number(&[y1, y2, y3, y4])?).ok()?;
    NaiveDate::from_ymd_opt(year, number(&[m1, m2])?, number(&[d1, d2])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamKind;

    const ENTRY: &str = r#"{"type":"EntryPosted","transaction_id":"00000000-0000-0000-0000-00000000004d","posting":1,"leg":2,"kind":"transfer","side":"debit","amount_minor":100,"booking_date":"2024-02-29","value_date":"1993-01-31","balance_minor":-5,"hold_released_minor":0}"#;
    const TRANSACTION: &str = r#"{"type":"TransactionPosted","kind":"deposit","booking_date":"2024-02-29","value_date":"2024-03-01","legs":[{"leg":1,"account_id":"00000000-0000-0000-0000-000000000001","ledger_code":"1000","side":"debit","amount_minor":7,"currency":"CZK"},{"leg":2,"account_id":"00000000-0000-0000-0000-000000000002","ledger_code":"2100","side":"credit","amount_minor":7,"currency":"CZK","component":"fee"}],"external_reference":"BANK-1"}"#;

    fn general(kind: StreamKind, payload: &str) -> Option<Event> {
        Event::from_payload(kind, payload).ok()
    }

    #[test]
    fn a_frequent_event_is_read_as_the_general_way_reads_it() {
        for (kind, event_type, payload) in
            [(StreamKind::Account, "EntryPosted", ENTRY), (StreamKind::Transaction, "TransactionPosted", TRANSACTION)]
        {
            let read = read(event_type, payload);
            assert!(read.is_some(), "{event_type} is read without a buffer");
            assert_eq!(read, general(kind, payload));
        }
    }

    /// Every change of one piece of a payload: taken away, doubled, of another kind. What the quick way reads,
    /// the general way reads the same.
    #[test]
    fn what_is_unusual_is_never_read_otherwise() {
        let others = ["null", "\"x\"", "-1", "1.5", "70000", "\"\\u0064ebit\"", "{}", "\"24-02-29\"", "\"2023-02-29\""];
        for (kind, event_type, payload) in
            [(StreamKind::Account, "EntryPosted", ENTRY), (StreamKind::Transaction, "TransactionPosted", TRANSACTION)]
        {
            let fields: Vec<(String, serde_json::Value)> =
                serde_json::from_str::<serde_json::Map<_, _>>(payload).unwrap().into_iter().collect();
            for (changed, _) in &fields {
                let written = |value: &dyn Fn(&str, &serde_json::Value) -> Option<String>| {
                    let fields = fields.iter().filter_map(|(name, was)| value(name, was));
                    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
                };
                let mut payloads = vec![
                    written(&|name, was| (name != changed).then(|| format!("\"{name}\":{was}"))),
                    written(&|name, was| {
                        let field = format!("\"{name}\":{was}");
                        Some(if name == changed { format!("{field},{field}") } else { field })
                    }),
                ];
                payloads.extend(others.iter().map(|other| {
                    written(&|name, was| {
                        let value = if name == changed { (*other).to_owned() } else { was.to_string() };
                        Some(format!("\"{name}\":{value}"))
                    })
                }));
                for payload in payloads {
                    if let Some(event) = read(event_type, &payload) {
                        assert_eq!(Some(event), general(kind, &payload), "{payload}");
                    }
                }
            }
        }
    }
}
