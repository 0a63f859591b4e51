//! Whether a published schema has changed in a way that breaks a reader.
//!
//! A log is read for ever, by this code and by others. So within one version a field may only be
//! added, and only as an optional one; an enumeration, a set of variants or the words of a pattern
//! may only grow. Everything else is a new version. Whatever this check does not understand counts as a change.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde_json::{Map, Value};

/// One change that breaks readers of a published version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// Where in the event, for example `legs[].side`; empty for the event as a whole.
    pub at: String,
    /// What has changed.
    pub change: String,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.change) } else { write!(f, "`{}`: {}", self.at, self.change) }
    }
}

/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: [&str; 11] = [
    "$schema",
    "$id",
    "$defs",
    "$comment",
    "title",
    "description",
    "default",
    "deprecated",
    "examples",
    "readOnly",
    "writeOnly",
];
/// Keywords that are compared by rules of their own.
const UNDERSTOOD: [&str; 9] =
    ["type", "properties", "required", "enum", "const", "oneOf", "anyOf", "items", "additionalProperties"];

/// What has changed from the published schema to the current one that breaks a reader; empty if
/// both can be read by the same code.
pub fn incompatibilities(published: &Value, current: &Value) -> Vec<Incompatibility> {
    let mut comparison = Comparison { published, current, seen: HashSet::new(), found: Vec::new() };
    comparison.compare("", published, current);
    comparison.found
}

struct Comparison<'a> {
    published: &'a Value,
    current: &'a Value,
    /// Pairs of references that are being compared or have been: a recursive type must end.
    seen: HashSet<(String, String)>,
    found: Vec<Incompatibility>,
}

impl Comparison<'_> {
    fn report(&mut self, at: &str, change: impl Into<String>) {
        self.found.push(Incompatibility { at: at.to_owned(), change: change.into() });
    }

    fn compare(&mut self, at: &str, published: &Value, current: &Value) {
        if let (Some(one), Some(other)) = (reference(published), reference(current))
            && !self.seen.insert((one.to_owned(), other.to_owned()))
        {
            return;
        }
        let (published, current) = (resolve(self.published, published), resolve(self.current, current));
        let (Value::Object(one), Value::Object(other)) = (&published, &current) else {
            if published != current {
                self.report(at, "what may stand here was changed");
            }
            return;
        };
        match (values_of(one), values_of(other)) {
            (Some(before), Some(after)) => {
                for value in before.difference(&after) {
                    self.report(at, format!("the value {value} was removed"));
                }
                return;
            }
            (None, Some(_)) => return self.report(at, "was narrowed to an enumeration"),
            (Some(_), None) => return self.report(at, "is no longer an enumeration"),
            (None, None) => {}
        }
        let (before, after) = (types_of(one), types_of(other));
        if before != after {
            let list = |types: &BTreeSet<String>| types.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
            return self.report(at, format!("the type was changed from {} to {}", list(&before), list(&after)));
        }
        self.compare_fields(at, one, other);
        for keyword in ["oneOf", "anyOf"] {
            self.compare_variants(at, keyword, one.get(keyword), other.get(keyword));
        }
        for (keyword, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            match (one.get(keyword), other.get(keyword)) {
                (Some(before), Some(after)) => self.compare(&format!("{at}{suffix}"), before, after),
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => self.report(at, format!("`{keyword}` was added or removed")),
            }
        }
        self.compare_rest(at, one, other);
    }

    fn compare_fields(&mut self, at: &str, published: &Map<String, Value>, current: &Map<String, Value>) {
        let (before, after) = (fields_of(published), fields_of(current));
        let (needed_before, needed_after) = (required_of(published), required_of(current));
        let path = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for (name, field) in &before {
            let at = path(name);
            let Some(now) = after.get(name) else {
                self.report(&at, "the field was removed or renamed");
                continue;
            };
            match (needed_before.contains(name), needed_after.contains(name)) {
                (true, false) => self.report(&at, "the field is no longer always there"),
                (false, true) => self.report(&at, "the field has become required"),
                (true, true) | (false, false) => {}
            }
            self.compare(&at, field, now);
        }
        for name in after.keys().filter(|name| !before.contains_key(*name) && needed_after.contains(*name)) {
            self.report(&path(name), "a required field was added");
        }
    }

    fn compare_variants(&mut self, at: &str, keyword: &str, published: Option<&Value>, current: Option<&Value>) {
        let (before, after) = match (published.and_then(Value::as_array), current.and_then(Value::as_array)) {
            (Some(before), Some(after)) => (before.clone(), after.clone()),
            (None, None) => return,
            (Some(_), None) | (None, Some(_)) => {
                return self.report(at, format!("`{keyword}` was added or removed"));
            }
        };
        for (index, variant) in before.iter().enumerate() {
            if let Some(tag) = self.tag_of(self.published, variant) {
                let (name, value) = &tag;
                match after.iter().find(|other| self.tag_of(self.current, other).as_ref() == Some(&tag)) {
                    Some(now) => self.compare(&format!("{at}({name}={value})"), variant, now),
                    None => self.report(at, format!("the variant with {name} {value} was removed")),
                }
            } else if !after.iter().any(|now| self.fits(variant, now)) {
                self.report(at, format!("alternative {} was changed or removed", index + 1));
            }
        }
    }

    /// The field whose one value tells a variant from the others, with that value.
    fn tag_of(&self, root: &Value, variant: &Value) -> Option<(String, String)> {
        let variant = resolve(root, variant);
        fields_of(variant.as_object()?).into_iter().find_map(|(name, field)| {
            let field = resolve(root, &field);
            let values = values_of(field.as_object()?)?;
            if values.len() == 1 { values.into_iter().next().map(|value| (name, value)) } else { None }
        })
    }

    fn fits(&self, published: &Value, current: &Value) -> bool {
        let mut inner =
            Comparison { published: self.published, current: self.current, seen: self.seen.clone(), found: Vec::new() };
        inner.compare("", published, current);
        inner.found.is_empty()
    }

    fn compare_rest(&mut self, at: &str, published: &Map<String, Value>, current: &Map<String, Value>) {
        let keywords: BTreeSet<&String> = published.keys().chain(current.keys()).collect();
        for keyword in keywords {
            let name = keyword.as_str();
            if ANNOTATIONS.contains(&name) || UNDERSTOOD.contains(&name) {
                continue;
            }
            let (before, after) = (published.get(keyword), current.get(keyword));
            let grown = name == "pattern" && words_only_grew(before, after);
            if before != after && !grown {
                let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
                self.report(at, format!("`{keyword}` was changed from {} to {}", show(before), show(after)));
            }
        }
    }
}

/// Whether two patterns differ only in groups of plain words, such as `(member|account)`, that have
/// grown: the same to a reader as an enumeration that has grown.
fn words_only_grew(published: Option<&Value>, current: Option<&Value>) -> bool {
    let (Some(before), Some(after)) = (published.and_then(Value::as_str), current.and_then(Value::as_str)) else {
        return false;
    };
    let ((frame_before, words_before), (frame_after, words_after)) = (groups_of(before), groups_of(after));
    frame_before == frame_after
        && words_before.len() == words_after.len()
        && words_before.iter().zip(&words_after).all(|(before, after)| before.is_subset(after))
}

/// A pattern with each of its groups of plain words emptied, and the words of each.
fn groups_of(pattern: &str) -> (String, Vec<BTreeSet<&str>>) {
    let (mut frame, mut groups, mut rest) = (String::new(), Vec::new(), pattern);
    while let Some((before, inside)) = rest.split_once('(') {
        frame.push_str(before);
        frame.push('(');
        rest = inside;
        if let Some((words, after)) = inside.split_once(')')
            && words
                .split('|')
                .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        {
            groups.push(words.split('|').collect());
            frame.push(')');
            rest = after;
        }
    }
    frame.push_str(rest);
    (frame, groups)
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref").and_then(Value::as_str)
}

/// The schema with its reference replaced by what it refers to; keywords beside it stay. A
/// reference that leads nowhere, or in a circle, stays and is compared by its text.
fn resolve(root: &Value, schema: &Value) -> Value {
    let mut resolved = schema.clone();
    for _ in 0..16 {
        let target = reference(&resolved).and_then(|text| text.strip_prefix('#')).and_then(|text| root.pointer(text));
        let Some(Value::Object(target)) = target else { break };
        let mut merged = target.clone();
        if let Value::Object(beside) = &resolved {
            merged.extend(
                beside.iter().filter(|(key, _)| *key != "$ref").map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        resolved = Value::Object(merged);
    }
    resolved
}

/// The values of an enumeration, however it is written: `const`, `enum`, or `oneOf` of constants.
fn values_of(schema: &Map<String, Value>) -> Option<BTreeSet<String>> {
    if let Some(value) = schema.get("const") {
        return Some(BTreeSet::from([value.to_string()]));
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return Some(values.iter().map(Value::to_string).collect());
    }
    let variants = schema.get("oneOf")?.as_array()?;
    let mut all = BTreeSet::new();
    for variant in variants {
        let variant = variant.as_object()?;
        if !variant.contains_key("const") && !variant.contains_key("enum") {
            return None;
        }
        all.extend(values_of(variant)?);
    }
    Some(all)
}

fn types_of(schema: &Map<String, Value>) -> BTreeSet<String> {
    match schema.get("type") {
        Some(Value::String(name)) => BTreeSet::from([name.clone()]),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

fn fields_of(schema: &Map<String, Value>) -> BTreeMap<String, Value> {
    match schema.get("properties") {
        Some(Value::Object(fields)) => fields.iter().map(|(name, field)| (name.clone(), field.clone())).collect(),
        _ => BTreeMap::new(),
    }
}

fn required_of(schema: &Map<String, Value>) -> BTreeSet<String> {
    match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
#[path = "compatibility_tests.rs"]
mod tests;
