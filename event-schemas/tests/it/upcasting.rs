//! From an older version to the current one. No event has had an older version yet, so a made-up
//! one walks the way: before version 1 of `MemberRegistered` the branch was called the office, and
//! before that the office was a number.

use std::collections::BTreeSet;

use cqrs_es::EventEnvelope;
use cqrs_es::persist::{PersistenceError, SerializedEvent};
use domain::event::EVENT_TYPES;
use domain::member::MemberEvent;
use domain::{Event, Member, StreamKind};
use event_schemas::upcast::{DecodeError, UPCASTERS, Upcaster, Upcasters, decode, event_upcasters};
use serde_json::{Value, json};

fn office_to_branch(mut payload: Value) -> Result<Value, String> {
    let fields = payload.as_object_mut().ok_or("not an object")?;
    let office = fields.remove("office").ok_or("it has no office")?;
    fields.insert("branch".to_owned(), office);
    Ok(payload)
}

fn office_number_to_text(mut payload: Value) -> Result<Value, String> {
    let number = payload["office"].as_u64().ok_or("the office is no number")?;
    payload["office"] = Value::String(format!("office-{number}"));
    Ok(payload)
}

const fn step(from: &'static str, to: &'static str, upcast: fn(Value) -> Result<Value, String>) -> Upcaster {
    Upcaster { kind: StreamKind::Member, event_type: "MemberRegistered", from, to, upcast }
}

// The later step first: their order does not matter.
static MADE_UP: Upcasters =
    Upcasters::new(&[step("0", "1", office_to_branch), step("pre-0", "0", office_number_to_text)]);

const CURRENT: &str =
    r#"{"type": "MemberRegistered", "number": "M-7", "kind": "group", "personal": {}, "branch": "office-12"}"#;
const VERSION_0: &str =
    r#"{"type": "MemberRegistered", "number": "M-7", "kind": "group", "personal": {}, "office": "office-12"}"#;
const VERSION_PRE_0: &str =
    r#"{"type": "MemberRegistered", "number": "M-7", "kind": "group", "personal": {}, "office": 12}"#;

fn registered() -> MemberEvent {
    serde_json::from_str(CURRENT).unwrap()
}

fn member(version: &str, payload: &str) -> Result<Event, DecodeError> {
    MADE_UP.decode(StreamKind::Member, "MemberRegistered", version, payload)
}

#[test]
fn every_version_becomes_the_current_event() {
    for (version, payload) in [("1", CURRENT), ("0", VERSION_0), ("pre-0", VERSION_PRE_0)] {
        assert_eq!(member(version, payload).unwrap(), Event::Member(registered()), "version {version}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_never_skipped() {
    let decode_member = |event_type, version| decode(StreamKind::Member, event_type, version, CURRENT).unwrap_err();
    assert!(matches!(decode_member("MemberRenamed", "1"), DecodeError::UnknownType { .. }));
    assert!(matches!(decode_member("AccountClosed", "1"), DecodeError::UnknownType { .. }), "of another stream");
    assert!(matches!(decode_member("MemberRegistered", "2"), DecodeError::UnknownVersion { .. }));
    assert!(matches!(decode_member("MemberRegistered", "0"), DecodeError::UnknownVersion { .. }));
    assert!(matches!(decode_member("KycVerified", "1"), DecodeError::TypeMismatch { .. }));
    assert!(matches!(member("2", CURRENT), Err(DecodeError::UnknownVersion { .. })));
    assert!(matches!(member("1", "{"), Err(DecodeError::Payload { .. })));
    assert!(matches!(member("0", "{"), Err(DecodeError::Payload { .. })));
    let error = member("pre-0", VERSION_0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`MemberRegistered` cannot be brought from version pre-0 to 0: the office is no number"
    );
}

fn through_framework(upcasters: &Upcasters, version: &str, payload: &str) -> Result<MemberEvent, PersistenceError> {
    let mut event = SerializedEvent::new(
        "0190f3a0-1111-7000-8000-000000000001".to_owned(),
        1,
        "member".to_owned(),
        "MemberRegistered".to_owned(),
        version.to_owned(),
        serde_json::from_str(payload).unwrap(),
        json!({"tenant": "main"}),
    );
    // As the framework does on every load.
    for upcaster in upcasters.for_framework() {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            event = upcaster.upcast(event);
        }
    }
    EventEnvelope::<Member>::try_from(event).map(|envelope| envelope.payload)
}

#[test]
fn the_framework_reads_by_the_same_upcasters() {
    for (version, payload) in [("1", CURRENT), ("0", VERSION_0), ("pre-0", VERSION_PRE_0)] {
        assert_eq!(through_framework(&MADE_UP, version, payload).unwrap(), registered(), "version {version}");
    }
    assert_eq!(event_upcasters().len(), 1);
}

#[test]
fn the_framework_too_stops_at_what_it_cannot_read() {
    // All of these would fit the current type by their fields: `branch` is optional.
    for (version, payload, reason) in [
        ("2", CURRENT, "unknown version `2` of `MemberRegistered`"),
        ("1.0", CURRENT, "unknown version `1.0` of `MemberRegistered`"),
        ("pre-0", VERSION_0, "the office is no number"),
        ("0", CURRENT, "it has no office"),
    ] {
        let error = through_framework(&MADE_UP, version, payload).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn the_published_upcasters_are_sound() {
    assert_eq!(UPCASTERS.faults(), [""; 0]);
    assert_eq!(MADE_UP.faults(), [""; 0]);
    // The framework tells types apart by name alone.
    let names: BTreeSet<&str> = EVENT_TYPES.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names.len(), EVENT_TYPES.len());
}

#[test]
fn an_unsound_set_is_found_and_keeps_nobody_for_ever() {
    static CIRCLE: Upcasters = Upcasters::new(&[step("a", "b", Ok), step("b", "a", Ok)]);
    static ASTRAY: Upcasters = Upcasters::new(&[step("0", "9", Ok)]);
    static TWICE: Upcasters = Upcasters::new(&[step("0", "1", Ok), step("0", "1", Ok)]);
    static BEYOND: Upcasters = Upcasters::new(&[step("1", "1", Ok)]);
    static NOTHING: Upcasters = Upcasters::new(&[Upcaster { kind: StreamKind::Account, ..step("0", "1", Ok) }]);
    for (set, faults) in [(&CIRCLE, 2), (&ASTRAY, 1), (&TWICE, 1), (&BEYOND, 1), (&NOTHING, 1)] {
        assert_eq!(set.faults().len(), faults, "{:?}", set.faults());
    }
    for set in [&CIRCLE, &ASTRAY] {
        for version in ["a", "b", "0"] {
            let result = set.decode(StreamKind::Member, "MemberRegistered", version, CURRENT);
            assert!(matches!(result, Err(DecodeError::UnknownVersion { .. })), "{result:?}");
        }
    }
}
