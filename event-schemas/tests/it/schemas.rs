//! The committed schemas are those of the Rust types, and a published version stays as it is.

use std::fs;
use std::path::{Path, PathBuf};

use domain::StreamKind;
use event_schemas::Metadata;
use event_schemas::committed::{Fault, WriteError, check, lines, write};
use event_schemas::compatibility::incompatibilities;
use event_schemas::schema::{GeneratedSchema, generate};
use event_schemas::upcast::{UPCASTERS, Upcaster, Upcasters};

use serde_json::Value;

use crate::folder;

const PATH: &str = "member/MemberRegistered.v1.json";
const COPY: &str = "published/member/MemberRegistered.v1.json";
const OLD_PATH: &str = "member/MemberRegistered.v0.json";
const BEFORE: &str = r#"{"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}"#;
const WIDER: &str = r#"{"type": "object", "properties": {"number": {"type": "string"}, "note": {"type": "string"}}, "required": ["number"]}"#;
const RENAMED: &str = r#"{"type": "object", "properties": {"no": {"type": "string"}}, "required": ["no"]}"#;

static WITH_VERSION_0: Upcasters = Upcasters::new(&[Upcaster {
    kind: StreamKind::Member,
    event_type: "MemberRegistered",
    from: "0",
    to: "1",
    upcast: Ok,
}]);

#[test]
fn the_committed_schemas_are_those_of_the_rust_types_and_break_no_reader() {
    let faults = check(&folder("schemas"), &generate(), &UPCASTERS).unwrap();
    assert!(faults.is_empty(), "\n{}", lines(&faults));
}

#[test]
fn metadata_fit_their_schema_and_are_a_flat_map_of_strings() {
    let text = fs::read_to_string(folder("schemas/envelope/Metadata.v1.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let full = Metadata {
        tenant: "main".to_owned(),
        branch: Some("prague".to_owned()),
        command_id: "0190f3a0-0000-7000-8000-0000000000ff".to_owned(),
        client: "teller".to_owned(),
        idempotency_key: "k-1".to_owned(),
        request_hmac: "00".repeat(32),
        actor: "dev".to_owned(),
        correlation_id: "c-1".to_owned(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    for metadata in [Metadata { branch: None, traceparent: None, ..full.clone() }, full] {
        let value = serde_json::to_value(&metadata).unwrap();
        assert!(validator.is_valid(&value), "{value}");
        assert!(value.as_object().unwrap().values().all(serde_json::Value::is_string), "{value}");
        assert_eq!(serde_json::from_value::<Metadata>(value).unwrap(), metadata);
    }
}

fn empty(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemas").join(name);
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn schema(path: &str, json: &str) -> Vec<GeneratedSchema> {
    vec![GeneratedSchema { path: path.to_owned(), json: format!("{json}\n") }]
}

fn text(dir: &Path, path: &str) -> String {
    fs::read_to_string(dir.join(path)).unwrap()
}

#[test]
fn what_is_written_is_found_in_order_and_writing_again_changes_nothing() {
    let dir = empty("fresh");
    assert_eq!(check(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap().len(), 2, "both files are missing");
    assert_eq!(write(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap(), [PATH, COPY]);
    assert_eq!(check(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap(), []);
    assert_eq!(write(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap(), [""; 0]);
}

#[test]
fn drift_is_found_file_by_file_and_mended_by_writing() {
    let dir = empty("drift");
    write(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap();
    let faults = check(&dir, &schema(PATH, WIDER), &UPCASTERS).unwrap();
    assert_eq!(faults, [Fault::Drifted { path: PATH.to_owned() }, Fault::Drifted { path: COPY.to_owned() }]);
    assert!(lines(&faults).contains("write it anew with `daybook schemas`"), "{}", lines(&faults));
    write(&dir, &schema(PATH, WIDER), &UPCASTERS).unwrap();
    assert_eq!(check(&dir, &schema(PATH, WIDER), &UPCASTERS).unwrap(), []);
    // Having gone out, the new field is published as well.
    assert!(matches!(write(&dir, &schema(PATH, BEFORE), &UPCASTERS), Err(WriteError::Refused(_))));
}

#[test]
fn an_incompatible_change_of_a_published_version_is_refused_with_what_to_do() {
    let dir = empty("incompatible");
    write(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap();
    let error = write(&dir, &schema(PATH, RENAMED), &UPCASTERS).unwrap_err().to_string();
    for part in [
        "`number`: the field was removed or renamed",
        "`no`: a required field was added",
        "a new version",
        "an upcaster",
        "a golden sample",
    ] {
        assert!(error.contains(&part.replace("an upcaster", "upcaster")), "{part}: {error}");
    }
    assert_eq!(text(&dir, PATH), format!("{BEFORE}\n"), "nothing is written");
    // Nor does it help to write the file by hand.
    fs::write(dir.join(PATH), format!("{RENAMED}\n")).unwrap();
    let faults = check(&dir, &schema(PATH, RENAMED), &UPCASTERS).unwrap();
    assert!(matches!(faults.as_slice(), [Fault::Incompatible { path, .. }] if path == COPY), "{faults:?}");
}

#[test]
fn an_older_version_stays_as_long_as_it_is_read() {
    let dir = empty("older");
    write(&dir, &schema(OLD_PATH, BEFORE), &UPCASTERS).unwrap();
    let now = schema(PATH, RENAMED);
    // Its type has moved on to version 1 without an upcaster.
    let orphaned = [Fault::Orphaned { path: OLD_PATH.to_owned() }];
    let found = check(&dir, &now, &UPCASTERS).unwrap();
    assert!(orphaned.iter().all(|fault| found.contains(fault)), "{found:?}");
    assert!(matches!(write(&dir, &now, &UPCASTERS), Err(WriteError::Refused(faults)) if faults == orphaned));
    // With one, both versions are kept.
    assert_eq!(write(&dir, &now, &WITH_VERSION_0).unwrap(), [PATH, COPY]);
    assert_eq!(check(&dir, &now, &WITH_VERSION_0).unwrap(), []);
    // The old one can be neither changed nor lost.
    fs::write(dir.join(OLD_PATH), RENAMED).unwrap();
    assert!(matches!(check(&dir, &now, &WITH_VERSION_0).unwrap().as_slice(), [Fault::Incompatible { .. }]));
    fs::remove_file(dir.join(OLD_PATH)).unwrap();
    assert_eq!(check(&dir, &now, &WITH_VERSION_0).unwrap(), [Fault::Missing { path: OLD_PATH.to_owned() }]);
    assert_eq!(write(&dir, &now, &WITH_VERSION_0).unwrap(), [OLD_PATH]);
    assert_eq!(text(&dir, OLD_PATH), format!("{BEFORE}\n"));
}

#[test]
fn a_broken_published_copy_is_found() {
    let dir = empty("broken");
    write(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap();
    fs::write(dir.join(COPY), "{").unwrap();
    let faults = check(&dir, &schema(PATH, BEFORE), &UPCASTERS).unwrap();
    assert!(matches!(faults.as_slice(), [Fault::Unreadable { path, .. }] if path == COPY), "{faults:?}");
    assert!(matches!(write(&dir, &schema(PATH, BEFORE), &UPCASTERS), Err(WriteError::Refused(_))));
}

/// A schema that never had the field.
fn never_had(schema: &Value, field: &str) -> Value {
    let mut schema = schema.clone();
    schema["required"].as_array_mut().unwrap().retain(|name| name != field);
    schema
}

#[test]
fn no_field_of_any_published_event_can_be_lost_or_added_as_required_unnoticed() {
    for schema in generate() {
        let published: Value = serde_json::from_str(&schema.json).unwrap();
        for field in published["properties"].as_object().unwrap().keys() {
            let mut current = published.clone();
            current["properties"].as_object_mut().unwrap().remove(field);
            assert!(!incompatibilities(&published, &current).is_empty(), "{}: without {field}", schema.path);
            // The other way round the field is new: it may be, unless it is required.
            let required = published["required"].as_array().unwrap().iter().any(|name| name == field);
            let added = incompatibilities(&never_had(&current, field), &published);
            assert_eq!(added.is_empty(), !required, "{}: with {field}: {added:?}", schema.path);
        }
    }
}
