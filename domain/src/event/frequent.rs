//! The two events that nearly all of a log is made of, read as the bytes that they were written as.
//!
//! A reader of any JSON allows for any order of fields, any spacing and any spelling, and that takes longer than to
//! read. Daybook's own writer uses one of each, so that whoever knows the type beforehand can follow that text.
//! Invariant: what is read here is what the general way reads; whatever is written otherwise is left to that way,
//! errors with it.

use chrono::NaiveDate;
use uuid::Uuid;

use crate::account::AccountEvent;
use crate::event::Event;
use crate::ids::{AccountId, TransactionId};
use crate::money::Side;
use crate::transaction::{Leg, Reverses, TransactionEvent, TransactionKind};
use crate::words::{ExternalReference, LedgerCode, ReasonCode, Sealed};

/// The event, if it is of a frequent type and written in the usual way.
pub(super) fn read(event_type: &str, payload: &str) -> Option<Event> {
    let mut text = Written(payload.as_bytes());
    let event = match event_type {
        "EntryPosted" => text.entry_posted()?.into(),
        "TransactionPosted" => text.transaction_posted()?.into(),
        _ => return None,
    };
    text.0.is_empty().then_some(event)
}

/// What is left of a payload. Each of its readers takes what it names, or finds something else there.
struct Written<'a>(&'a [u8]);

impl<'a> Written<'a> {
    fn entry_posted(&mut self) -> Option<AccountEvent> {
        self.then(r#"{"type":"EntryPosted","transaction_id":""#)?;
        let transaction_id = TransactionId(self.uuid()?);
        self.then(r#"","posting":"#)?;
        let posting = self.integer()?;
        self.then(r#","leg":"#)?;
        let leg = self.integer()?;
        self.then(r#","kind":""#)?;
        let kind = self.kind()?;
        self.then(r#","side":""#)?;
        let side = self.side()?;
        self.then(r#","amount_minor":"#)?;
        let amount_minor = self.integer()?;
        self.then(r#","booking_date":""#)?;
        let booking_date = self.date()?;
        self.then(r#"","value_date":""#)?;
        let value_date = self.date()?;
        self.then(r#"","balance_minor":"#)?;
        let balance_minor = self.integer()?;
        self.then(r#","hold_released_minor":"#)?;
        let hold_released_minor = self.integer()?;
        self.then("}")?;
        Some(AccountEvent::EntryPosted {
            transaction_id,
            posting,
            leg,
            kind,
            side,
            amount_minor,
            booking_date,
            value_date,
            balance_minor,
            hold_released_minor,
        })
    }

    fn transaction_posted(&mut self) -> Option<TransactionEvent> {
        self.then(r#"{"type":"TransactionPosted","kind":""#)?;
        let kind = self.kind()?;
        self.then(r#","booking_date":""#)?;
        let booking_date = self.date()?;
        self.then(r#"","value_date":""#)?;
        let value_date = self.date()?;
        self.then(r#"","legs":["#)?;
        let mut legs = Vec::with_capacity(2);
        while self.then("]").is_none() {
            if !legs.is_empty() {
                self.then(",")?;
            }
            legs.push(self.leg()?);
        }
        let reverses = match self.then(r#","reverses":{"transaction_id":""#) {
            Some(()) => Some(self.reverses()?),
            None => None,
        };
        let external_reference = match self.then(r#","external_reference":""#) {
            Some(()) => Some(ExternalReference::try_new(self.word()?).ok()?),
            None => None,
        };
        let narrative = match self.then(r#","narrative":""#) {
            Some(()) => Some(Sealed::try_new(self.word()?).ok()?),
            None => None,
        };
        self.then("}")?;
        Some(TransactionEvent::TransactionPosted {
            kind,
            booking_date,
            value_date,
            legs,
            reverses,
            external_reference,
            narrative,
        })
    }

    fn leg(&mut self) -> Option<Leg> {
        self.then(r#"{"leg":"#)?;
        let leg = self.integer()?;
        self.then(r#","account_id":""#)?;
        let account_id = AccountId(self.uuid()?);
        self.then(r#"","ledger_code":""#)?;
        let ledger_code = LedgerCode::try_new(self.word()?).ok()?;
        self.then(r#","side":""#)?;
        let side = self.side()?;
        self.then(r#","amount_minor":"#)?;
        let amount_minor = self.integer()?;
        self.then(r#","currency":""#)?;
        let currency = self.word()?.parse().ok()?;
        let component = match self.then(r#","component":""#) {
            Some(()) => Some(self.word()?.to_owned()),
            None => None,
        };
        self.then("}")?;
        Some(Leg { leg, account_id, ledger_code, side, amount_minor, currency, component })
    }

    fn reverses(&mut self) -> Option<Reverses> {
        let transaction_id = TransactionId(self.uuid()?);
        self.then(r#"","reason":""#)?;
        let reason = ReasonCode::try_new(self.word()?).ok()?;
        self.then("}")?;
        Some(Reverses { transaction_id, reason })
    }

    fn then(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected.as_bytes())?;
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Printable ASCII without escapes, and the quote that ends it.
    fn word(&mut self) -> Option<&'a str> {
        let length = self.0.iter().position(|byte| *byte == b'"')?;
        let word = self.take(length)?;
        self.then("\"")?;
        let plain = word.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
        if plain { std::str::from_utf8(word).ok() } else { None }
    }

    fn kind(&mut self) -> Option<TransactionKind> {
        let word = self.word()?;
        TransactionKind::ALL.into_iter().find(|kind| kind.name() == word)
    }

    fn side(&mut self) -> Option<Side> {
        match self.word()? {
            "debit" => Some(Side::Debit),
            "credit" => Some(Side::Credit),
            _ => None,
        }
    }

    /// Of 36 characters, so that only the hyphenated spelling fits.
    fn uuid(&mut self) -> Option<Uuid> {
        Uuid::try_parse_ascii(self.take(36)?).ok()
    }

    /// Of up to 18 digits, which an `i64` holds; without zeros before it, which JSON does not allow.
    fn integer<T: TryFrom<i64>>(&mut self) -> Option<T> {
        let negative = self.then("-").is_some();
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = self.take(length)?;
        let fits = match digits {
            [b'0'] => !negative,
            [b'1'..=b'9', ..] => length <= 18,
            _ => false,
        };
        if !fits {
            return None;
        }
        let number = number(digits);
        T::try_from(if negative { -number } else { number }).ok()
    }

    /// As the log has it, `2024-02-29`.
    fn date(&mut self) -> Option<NaiveDate> {
        let text = self.take(10)?;
        let plain = text.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        if !plain {
            return None;
        }
        let part = |range| text.get(range).map(number);
        let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
        NaiveDate::from_ymd_opt(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)
    }
}

/// What at most 18 digits mean.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamKind;

    const ENTRY: &str = r#"{"type":"EntryPosted","transaction_id":"00000000-0000-0000-0000-00000000004d","posting":1,"leg":2,"kind":"transfer","side":"debit","amount_minor":100,"booking_date":"2024-02-29","value_date":"1993-01-31","balance_minor":-5,"hold_released_minor":0}"#;
    const TRANSACTION: &str = r#"{"type":"TransactionPosted","kind":"deposit","booking_date":"2024-02-29","value_date":"2024-03-01","legs":[{"leg":1,"account_id":"00000000-0000-0000-0000-000000000001","ledger_code":"1000","side":"debit","amount_minor":7,"currency":"CZK"},{"leg":2,"account_id":"00000000-0000-0000-0000-000000000002","ledger_code":"2100","side":"credit","amount_minor":7,"currency":"CZK","component":"fee"}],"external_reference":"BANK-1"}"#;
    const REVERSAL: &str = r#"{"type":"TransactionPosted","kind":"adjustment","booking_date":"2024-02-29","value_date":"2024-03-01","legs":[{"leg":1,"account_id":"00000000-0000-0000-0000-000000000001","ledger_code":"1000","side":"debit","amount_minor":7,"currency":"CZK"}],"reverses":{"transaction_id":"00000000-0000-0000-0000-00000000004d","reason":"court_order"},"narrative":"AbC+/09="}"#;
    const FREQUENT: [(StreamKind, &str, &str); 3] = [
        (StreamKind::Account, "EntryPosted", ENTRY),
        (StreamKind::Transaction, "TransactionPosted", TRANSACTION),
        (StreamKind::Transaction, "TransactionPosted", REVERSAL),
    ];

    fn general(kind: StreamKind, payload: &str) -> Option<Event> {
        Event::from_payload(kind, payload).ok()
    }

    #[test]
    fn a_frequent_event_is_read_as_it_is_written_and_as_the_general_way_reads_it() {
        for (kind, event_type, payload) in FREQUENT {
            let read = read(event_type, payload);
            assert_eq!(read, general(kind, payload));
            assert_eq!(serde_json::to_string(&read.unwrap()).unwrap(), payload);
        }
    }

    /// Every change of one piece of a payload: taken away, doubled, of another kind, and every byte of it changed or
    /// the last one. What the quick way reads, the general way reads the same.
    #[test]
    fn what_is_unusual_is_never_read_otherwise() {
        let others = [
            "null",
            "\"x\"",
            "-1",
            "-0",
            "007",
            "1.5",
            "1e2",
            "70000",
            "9223372036854775807",
            "-9223372036854775808",
            "999999999999999999",
            "\"\\u0064ebit\"",
            "{}",
            "[]",
            "\"24-02-29\"",
            "\"2023-02-29\"",
            "\"\u{e9}\"",
        ];
        let same = |kind, event_type, payload: &str| {
            if let Some(event) = read(event_type, payload) {
                assert_eq!(Some(event), general(kind, payload), "{payload}");
            }
        };
        for (kind, event_type, payload) in FREQUENT {
            for at in 0..payload.len() {
                same(kind, event_type, &payload[..at]);
                for other in "0 9\"\\-}{],:AfE.\u{7f}\n".chars() {
                    same(kind, event_type, &format!("{}{other}{}", &payload[..at], &payload[at + 1..]));
                    same(kind, event_type, &format!("{}{other}{}", &payload[..at], &payload[at..]));
                }
            }
            let fields: Vec<(String, serde_json::Value)> =
                serde_json::from_str::<serde_json::Map<_, _>>(payload).unwrap().into_iter().collect();
            for (changed, _) in &fields {
                let written = |value: &dyn Fn(&str, &serde_json::Value) -> Option<String>| {
                    let fields = fields.iter().filter_map(|(name, was)| value(name, was));
                    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
                };
                same(kind, event_type, &written(&|name, was| (name != changed).then(|| format!("\"{name}\":{was}"))));
                same(
                    kind,
                    event_type,
                    &written(&|name, was| {
                        let field = format!("\"{name}\":{was}");
                        Some(if name == changed { format!("{field},{field}") } else { field })
                    }),
                );
                for other in others {
                    let changed = written(&|name, was| {
                        let value = if name == changed { other.to_owned() } else { was.to_string() };
                        Some(format!("\"{name}\":{value}"))
                    });
                    same(kind, event_type, &changed);
                }
            }
        }
    }
}
