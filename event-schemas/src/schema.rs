//! A JSON Schema (draft 2020-12) for every event type, derived from the Rust types.
//!
//! The Rust types are the source; the committed files are for readers in other languages and for
//! the check that a published version stays as it is. The text does not depend on which features
//! of `serde_json` another crate of the workspace turns on: keys are put in order here.

use std::collections::BTreeSet;

use domain::StreamKind;
use domain::account::AccountEvent;
use domain::event::EVENT_TYPES;
use domain::ledger::LedgerEvent;
use domain::loan::LoanEvent;
use domain::member::MemberEvent;
use domain::product::LoanProductEvent;
use domain::rejection::RejectionEvent;
use domain::saga::SagaEvent;
use domain::transaction::TransactionEvent;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::metadata::Metadata;

/// Where the schemas are published: an address below it is a schema's `$id`.
pub const SCHEMA_BASE: &str = "https://daybook.dev/schemas/";

/// A schema as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedSchema {
    /// Its path below the folder of schemas, for example `account/EntryPosted.v1.json`.
    pub path: String,
    /// Its text, with a newline at the end.
    pub json: String,
}

/// The schema of every event type in its current version, and of the metadata, by path.
pub fn generate() -> Vec<GeneratedSchema> {
    let mut schemas: Vec<GeneratedSchema> = EVENT_TYPES
        .iter()
        .filter_map(|(kind, event_type, version)| {
            let (branch, defs) = branch_of(&events_of(*kind), event_type)?;
            let path = format!("{}/{event_type}.v{version}.json", kind.name());
            Some(finish(path, event_type, branch, &defs))
        })
        .collect();
    let mut metadata = root_of::<Metadata>();
    let defs = take_defs(&mut metadata);
    schemas.push(finish("envelope/Metadata.v1.json".to_owned(), "Metadata", metadata, &defs));
    schemas.sort_by(|one, other| one.path.cmp(&other.path));
    schemas
}

fn events_of(kind: StreamKind) -> Map<String, Value> {
    match kind {
        StreamKind::Member => root_of::<MemberEvent>(),
        StreamKind::Account => root_of::<AccountEvent>(),
        StreamKind::Transaction => root_of::<TransactionEvent>(),
        StreamKind::Ledger => root_of::<LedgerEvent>(),
        StreamKind::Rejection => root_of::<RejectionEvent>(),
        StreamKind::LoanProduct => root_of::<LoanProductEvent>(),
        StreamKind::Loan => root_of::<LoanEvent>(),
        StreamKind::Saga => root_of::<SagaEvent>(),
    }
}

/// The schema of what is written, not of what would be read as well.
fn root_of<T: JsonSchema>() -> Map<String, Value> {
    let schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    match schema.to_value() {
        Value::Object(root) => root,
        // `true` or `false`: no type of ours is described so.
        _ => Map::new(),
    }
}

fn take_defs(root: &mut Map<String, Value>) -> Map<String, Value> {
    match root.remove("$defs") {
        Some(Value::Object(defs)) => defs,
        _ => Map::new(),
    }
}

/// The branch of an internally tagged enum's schema that describes one type.
fn branch_of(root: &Map<String, Value>, event_type: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let mut root = root.clone();
    let defs = take_defs(&mut root);
    // An enum of one variant is described without `oneOf` by some versions of schemars.
    let alone = Value::Object(root.clone());
    let branches = root.get("oneOf").and_then(Value::as_array).map_or(std::slice::from_ref(&alone), Vec::as_slice);
    let of_type = |branch: &&Value| {
        branch.pointer("/properties/type/const").and_then(Value::as_str).is_some_and(|name| name == event_type)
    };
    branches.iter().find(of_type).and_then(Value::as_object).map(|branch| (branch.clone(), defs))
}

fn finish(path: String, title: &str, mut schema: Map<String, Value>, all_defs: &Map<String, Value>) -> GeneratedSchema {
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("$id".to_owned(), format!("{SCHEMA_BASE}{path}").into());
    schema.insert("title".to_owned(), title.into());
    let mut names = BTreeSet::new();
    collect_refs(&Value::Object(schema.clone()), all_defs, &mut names);
    if !names.is_empty() {
        let defs = names.iter().filter_map(|name| Some((name.clone(), all_defs.get(name)?.clone()))).collect();
        schema.insert("$defs".to_owned(), Value::Object(defs));
    }
    // Serialising a tree of plain JSON values cannot fail; were it to, the empty text would show
    // as drift in every check.
    let text = serde_json::to_string_pretty(&InOrder(&Value::Object(schema))).unwrap_or_default();
    GeneratedSchema { path, json: text + "\n" }
}

/// The names of all definitions that a schema needs, directly or through others.
fn collect_refs(schema: &Value, defs: &Map<String, Value>, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/$defs/"));
            if let Some(name) = target
                && names.insert(name.to_owned())
                && let Some(definition) = defs.get(name)
            {
                collect_refs(definition, defs, names);
            }
            map.values().for_each(|value| collect_refs(value, defs, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_refs(item, defs, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The keys that a reader wants to see first, in this order; the others follow by name.
const FIRST: [&str; 8] = ["$schema", "$id", "title", "description", "type", "const", "properties", "required"];

/// A JSON value that writes its keys in one order, whatever the order they are kept in.
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut entries: Vec<(&String, &Value)> = map.iter().collect();
                let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
                entries.sort_by(|(one, _), (other, _)| (rank(one), *one).cmp(&(rank(other), *other)));
                let mut written = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    written.serialize_entry(key, &InOrder(value))?;
                }
                written.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(InOrder)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.0.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_has_a_schema_and_so_has_the_metadata() {
        let paths: Vec<String> = generate().into_iter().map(|schema| schema.path).collect();
        assert_eq!(paths.len(), EVENT_TYPES.len() + 1);
        for (kind, event_type, version) in EVENT_TYPES {
            assert!(paths.contains(&format!("{}/{event_type}.v{version}.json", kind.name())), "{event_type}");
        }
    }

    #[test]
    fn a_schema_brings_only_the_definitions_that_it_needs() {
        for schema in generate() {
            let value: Value = serde_json::from_str(&schema.json).unwrap();
            assert_eq!(value["$id"], format!("https://daybook.dev/schemas/{}", schema.path));
            assert!(value["description"].is_string(), "{} has no description", schema.path);
            let mut needed = BTreeSet::new();
            let defs = value["$defs"].as_object().cloned().unwrap_or_default();
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove("$defs");
            collect_refs(&without, &defs, &mut needed);
            assert_eq!(defs.keys().cloned().collect::<BTreeSet<_>>(), needed, "{}", schema.path);
        }
    }
}
