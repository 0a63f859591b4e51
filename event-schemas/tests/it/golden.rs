//! Golden samples: `golden/{type}.v{version}.json`, each an array of events as a log holds them.
//! Every one decodes for ever. Samples are added, never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use domain::StreamKind;
use domain::event::EVENT_TYPES;
use domain::rejection::REJECTION_CODES;
use event_schemas::upcast::{current_version, decode};
use jsonschema::Validator;
use serde_json::Value;

use crate::folder;

struct Golden {
    kind: StreamKind,
    event_type: String,
    version: String,
    samples: Vec<Value>,
}

impl Golden {
    fn schema(&self) -> Value {
        let path = format!("schemas/{}/{}.v{}.json", self.kind.name(), self.event_type, self.version);
        let text = fs::read_to_string(folder(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap()
    }

    fn validator(&self) -> Validator {
        jsonschema::options().should_validate_formats(true).build(&self.schema()).unwrap()
    }

    fn decodes(&self, sample: &Value) -> bool {
        decode(self.kind, &self.event_type, &self.version, &sample.to_string()).is_ok()
    }
}

fn goldens() -> Vec<Golden> {
    let mut goldens = Vec::new();
    for entry in fs::read_dir(folder("golden")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let (event_type, version) = file
            .strip_suffix(".json")
            .and_then(|name| name.split_once(".v"))
            .expect("a name such as EntryPosted.v1.json");
        let Some((kind, _, _)) = EVENT_TYPES.iter().find(|(_, name, _)| *name == event_type) else {
            panic!("{file}: there is no event type `{event_type}` any more, but a log may hold one");
        };
        goldens.push(Golden {
            kind: *kind,
            event_type: event_type.to_owned(),
            version: version.to_owned(),
            samples: serde_json::from_str(&fs::read_to_string(&path).unwrap()).expect(file),
        });
    }
    goldens
}

#[test]
fn every_type_and_version_has_a_sample() {
    let have: BTreeSet<(String, String)> = goldens()
        .into_iter()
        .filter(|golden| !golden.samples.is_empty())
        .map(|golden| (golden.event_type, golden.version))
        .collect();
    let mut need: BTreeSet<(String, String)> =
        EVENT_TYPES.iter().map(|(_, name, version)| (String::from(*name), String::from(*version))).collect();
    for kind in StreamKind::ALL {
        // Older versions have their schemas there.
        for entry in fs::read_dir(folder("schemas/published").join(kind.name())).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            if let Some((name, version)) = file.strip_suffix(".json").and_then(|name| name.split_once(".v")) {
                need.insert((name.to_owned(), version.to_owned()));
            }
        }
    }
    let missing: Vec<String> =
        need.difference(&have).map(|(name, version)| format!("event-schemas/golden/{name}.v{version}.json")).collect();
    assert!(missing.is_empty(), "add a golden sample of each: {missing:#?}");
}

#[test]
fn every_sample_decodes_and_comes_back_as_it_was() {
    for golden in goldens() {
        for sample in &golden.samples {
            let event = decode(golden.kind, &golden.event_type, &golden.version, &sample.to_string())
                .unwrap_or_else(|error| panic!("{error}\n{sample}"));
            assert_eq!(event.name(), golden.event_type);
            let written = serde_json::to_value(&event).unwrap();
            if current_version(golden.kind, &golden.event_type) == Some(&golden.version) {
                assert_eq!(written, *sample);
            } else {
                let current = event.version();
                assert!(
                    decode(golden.kind, event.name(), current, &written.to_string()).is_ok_and(|again| again == event)
                );
            }
        }
    }
}

#[test]
fn every_sample_fits_its_schema() {
    for golden in goldens() {
        let validator = golden.validator();
        for sample in &golden.samples {
            let errors: Vec<String> = validator.iter_errors(sample).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{} version {}: {errors:#?}\n{sample}", golden.event_type, golden.version);
        }
    }
}

#[test]
fn schema_and_code_agree_on_what_is_required() {
    for golden in goldens() {
        let (schema, validator) = (golden.schema(), golden.validator());
        let required: BTreeSet<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for sample in &golden.samples {
            for field in sample.as_object().unwrap().keys() {
                let mut without = sample.clone();
                without.as_object_mut().unwrap().remove(field);
                let needed = required.contains(field.as_str());
                assert_eq!(validator.is_valid(&without), !needed, "schema: {} without {field}", golden.event_type);
                assert_eq!(golden.decodes(&without), !needed, "code: {} without {field}", golden.event_type);
            }
            let mut more = sample.clone();
            more["a_later_field"] = Value::Bool(true);
            assert!(validator.is_valid(&more) && golden.decodes(&more), "a new optional field must be bearable");
        }
    }
}

#[test]
fn every_optional_field_is_sampled_present_and_absent() {
    for golden in goldens() {
        let schema = golden.schema();
        let required: BTreeSet<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for field in schema["properties"].as_object().unwrap().keys() {
            let with = golden.samples.iter().filter(|sample| sample.get(field).is_some()).count();
            assert!(with > 0, "no sample of {} has `{field}`", golden.event_type);
            let optional = !required.contains(field.as_str());
            assert_eq!(with < golden.samples.len(), optional, "samples of {} without `{field}`", golden.event_type);
        }
    }
}

#[test]
fn every_reason_of_a_rejection_is_sampled() {
    let mut have: BTreeMap<String, usize> = BTreeMap::new();
    for golden in goldens().iter().filter(|golden| golden.event_type == "CommandRejected") {
        for sample in &golden.samples {
            *have.entry(sample["rejection"]["code"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let missing: Vec<&str> =
        REJECTION_CODES.iter().map(|(code, _)| *code).filter(|code| !have.contains_key(*code)).collect();
    assert!(missing.is_empty(), "add a sample of each to event-schemas/golden/CommandRejected.v1.json: {missing:#?}");
}

/// What a later Daybook may know and this one does not must stop its reader, and never be taken for nothing.
#[test]
fn an_unknown_kind_inside_a_saga_does_not_decode() {
    let decodes = |event_type: &str, payload: &str| decode(StreamKind::Saga, event_type, "1", payload).is_ok();
    let resumed = |resolution: &str| format!(r#"{{"type":"SagaResumed","resolution":{resolution}}}"#);
    assert!(decodes("SagaResumed", &resumed(r#"{"kind":"return_payment"}"#)));
    for resolution in [r#"{"kind":"forgive"}"#, r#"{"kind":"assign_loan"}"#, r#"{}"#, r#""return_payment""#] {
        assert!(!decodes("SagaResumed", &resumed(resolution)), "{resolution}");
    }
    for process in [r#"{"kind":"write_off"}"#, r#"{"kind":"collection"}"#, "null"] {
        assert!(!decodes("SagaStarted", &format!(r#"{{"type":"SagaStarted","process":{process}}}"#)), "{process}");
    }
}
