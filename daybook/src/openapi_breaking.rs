//! What would break a client: a published OpenAPI document against that of the code.
//!
//! A request may be taken that was refused, never the other way round; a reply may tell more, never
//! less or otherwise. So a request's schema must allow all that the published one allowed, and a
//! reply's must keep what the published one promised. A new value of an enumeration in a reply is no
//! break: clients pass over what they do not know. Descriptions and examples are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const UPPER_BOUNDS: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];
const LOWER_BOUNDS: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
/// References and choices nested deeper than this lead in a circle.
const NESTING_MAX: usize = 8;

/// Pairs of schemas that are being compared: one that contains itself comes to them again.
type Open = Vec<(Value, Value)>;

/// Whatever of the published contract the current one no longer keeps, one sentence each; none when
/// every client of the published one can go on as it is.
pub(crate) fn breaking_changes(published: &Value, current: &Value) -> Vec<String> {
    let comparison = Comparison { published, current };
    let now = operations(current);
    let mut changes = Vec::new();
    for (key, old) in operations(published) {
        match now.get(&key) {
            None => changes.push(format!("{} is gone", old.name())),
            Some(new) => comparison.operation(&old, new, &mut changes),
        }
    }
    changes
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

struct Operation<'a> {
    path: &'a str,
    method: &'static str,
    item: &'a Value,
    operation: &'a Value,
}

impl Operation<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    /// Parameters by place and name. One in the path goes by its place in it: its name is ours alone.
    fn parameters(&self, document: &Value) -> BTreeMap<(String, String), Map<String, Value>> {
        let in_path: Vec<&str> = self.path.split('/').filter_map(template).collect();
        let lists = [self.item, self.operation].into_iter().filter_map(|owner| owner.get("parameters")?.as_array());
        let mut found = BTreeMap::new();
        for parameter in lists.flatten().map(|parameter| resolved(document, parameter)) {
            let (place, name) = (text(&parameter, "in").to_owned(), text(&parameter, "name"));
            let name = match place.as_str() {
                "path" => in_path.iter().position(|known| *known == name).unwrap_or(usize::MAX).to_string(),
                "header" => name.to_lowercase(),
                _ => name.to_owned(),
            };
            found.insert((place, name), parameter);
        }
        found
    }
}

/// The name in a segment like `{id}`.
fn template(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn operations(document: &Value) -> BTreeMap<(String, &'static str), Operation<'_>> {
    let mut found = BTreeMap::new();
    for (path, item) in members(document.get("paths")) {
        let segments = path.split('/').map(|segment| template(segment).map_or(segment, |_| "{}"));
        let key = segments.collect::<Vec<_>>().join("/");
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                found.insert((key.clone(), method), Operation { path, method, item, operation });
            }
        }
    }
    found
}

struct Comparison<'a> {
    published: &'a Value,
    current: &'a Value,
}

impl Comparison<'_> {
    fn operation(&self, old: &Operation<'_>, new: &Operation<'_>, changes: &mut Vec<String>) {
        let name = old.name();
        self.parameters(&name, old, new, changes);
        self.body(&name, old.operation.get("requestBody"), new.operation.get("requestBody"), changes);
        let now = new.operation.get("responses");
        for (status, response) in members(old.operation.get("responses")) {
            match now.and_then(|responses| responses.get(status)) {
                None => changes.push(format!("{name}: the response {status} is gone")),
                Some(now) => self.response(&format!("{name} response {status}"), response, now, changes),
            }
        }
    }

    fn parameters(&self, name: &str, old: &Operation<'_>, new: &Operation<'_>, changes: &mut Vec<String>) {
        let (before, now) = (old.parameters(self.published), new.parameters(self.current));
        for ((place, key), parameter) in &before {
            let what = format!("{name}: the {place} parameter `{}`", text(parameter, "name"));
            match now.get(&(place.clone(), key.clone())) {
                None => changes.push(format!("{what} is gone")),
                Some(now) => {
                    if is_required(now) && !is_required(parameter) {
                        changes.push(format!("{what} is required now"));
                    }
                    let schemas = (schema_of(parameter), schema_of(now));
                    changes.extend(self.schema(&what, schemas, Direction::Request, &mut Open::new()));
                }
            }
        }
        for ((place, _), parameter) in now.iter().filter(|(key, now)| is_required(now) && !before.contains_key(*key)) {
            changes.push(format!("{name}: the {place} parameter `{}` is new and required", text(parameter, "name")));
        }
    }

    fn body(&self, name: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<String>) {
        let old = old.map(|body| resolved(self.published, body));
        let new = new.map(|body| resolved(self.current, body));
        let Some(new) = new else {
            if old.is_some() {
                changes.push(format!("{name}: the request body is gone"));
            }
            return;
        };
        if is_required(&new) && !old.as_ref().is_some_and(is_required) {
            changes.push(format!("{name}: a request body is required now"));
        }
        if let Some(old) = old {
            self.content(&format!("{name} request body"), &old, &new, Direction::Request, changes);
        }
    }

    fn response(&self, name: &str, old: &Value, new: &Value, changes: &mut Vec<String>) {
        let (old, new) = (resolved(self.published, old), resolved(self.current, new));
        let headers = |response: &Map<String, Value>, document: &Value| -> BTreeMap<String, Map<String, Value>> {
            let headers = members(response.get("headers"));
            headers.map(|(name, header)| (name.to_lowercase(), resolved(document, header))).collect()
        };
        let now = headers(&new, self.current);
        for (header, before) in headers(&old, self.published) {
            let what = format!("{name}: the header `{header}`");
            match now.get(&header) {
                None => changes.push(format!("{what} is gone")),
                Some(now) => {
                    let schemas = (schema_of(&before), schema_of(now));
                    changes.extend(self.schema(&what, schemas, Direction::Reply, &mut Open::new()));
                }
            }
        }
        self.content(name, &old, &new, Direction::Reply, changes);
    }

    fn content(
        &self,
        name: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        direction: Direction,
        changes: &mut Vec<String>,
    ) {
        for (media_type, before) in members(old.get("content")) {
            match new.get("content").and_then(|content| content.get(media_type)) {
                None => changes.push(format!("{name}: the content type {media_type} is gone")),
                Some(now) => {
                    let schemas = [before, now].map(|media| media.get("schema").cloned().unwrap_or_default());
                    changes.extend(self.schema(name, (&schemas[0], &schemas[1]), direction, &mut Open::new()));
                }
            }
        }
    }

    /// Compares a published schema with a current one. Each alternative of the side that must not
    /// grow is held against the one of the other side that fits it best.
    fn schema(&self, at: &str, (old, new): (&Value, &Value), direction: Direction, open: &mut Open) -> Vec<String> {
        if open.iter().any(|(before, now)| before == old && now == new) {
            return Vec::new();
        }
        open.push((old.clone(), new.clone()));
        let (old, new) = (alternatives(self.published, old, 0), alternatives(self.current, new, 0));
        let (given, allowed) = match direction {
            Direction::Request => (&old, &new),
            Direction::Reply => (&new, &old),
        };
        let mut changes = Vec::new();
        for one in given {
            let fitting = allowed.iter().filter(|other| takes(kind(other), kind(one)));
            let compared = fitting.map(|other| match direction {
                Direction::Request => self.alternative(at, (one, other), direction, open),
                Direction::Reply => self.alternative(at, (other, one), direction, open),
            });
            match (compared.min_by_key(Vec::len), old.as_slice(), new.as_slice(), direction) {
                (Some(least), ..) => changes.extend(least),
                (None, [old], [new], _) => changes.push(format!("{at} is {} now, not {}", kind(new), kind(old))),
                (None, .., Direction::Request) => changes.push(format!("{at} no longer takes {}", kind(one))),
                (None, .., Direction::Reply) => changes.push(format!("{at} may be {} now", kind(one))),
            }
        }
        open.pop();
        changes.dedup();
        changes
    }

    fn alternative(
        &self,
        at: &str,
        (old, new): (&Map<String, Value>, &Map<String, Value>),
        direction: Direction,
        open: &mut Open,
    ) -> Vec<String> {
        let mut changes = Vec::new();
        let (before, now) = (text(old, "format"), text(new, "format"));
        let loses = match direction {
            Direction::Request => now,
            Direction::Reply => before,
        };
        if before != now && !loses.is_empty() {
            changes.push(format!("{at} has the format `{now}` now, not `{before}`"));
        }
        if direction == Direction::Request {
            narrowed(at, old, new, &mut changes);
        }
        self.properties(at, (old, new), direction, open, &mut changes);
        if let (Some(old), Some(new)) = (old.get("items"), new.get("items")) {
            changes.extend(self.schema(&format!("{at}[]"), (old, new), direction, open));
        }
        changes
    }

    fn properties(
        &self,
        at: &str,
        (old, new): (&Map<String, Value>, &Map<String, Value>),
        direction: Direction,
        open: &mut Open,
        changes: &mut Vec<String>,
    ) {
        let now = new.get("properties");
        for (name, before) in members(old.get("properties")) {
            match now.and_then(|properties| properties.get(name)) {
                None => changes.push(format!("{at}: the property `{name}` is gone")),
                Some(now) => changes.extend(self.schema(&format!("{at}.{name}"), (before, now), direction, open)),
            }
        }
        let (before, required) = (required(old), required(new));
        match direction {
            Direction::Request => {
                for name in required.difference(&before) {
                    changes.push(format!("{at}: the property `{name}` is required now"));
                }
            }
            Direction::Reply => {
                for name in before.difference(&required).filter(|name| now.is_some_and(|now| now.get(name).is_some())) {
                    changes.push(format!("{at}: the property `{name}` may be missing now"));
                }
            }
        }
        match (old.get("additionalProperties"), new.get("additionalProperties")) {
            (Some(old @ Value::Object(_)), Some(new @ Value::Object(_))) => {
                changes.extend(self.schema(&format!("{at}.*"), (old, new), direction, open));
            }
            (old, Some(Value::Bool(false))) if direction == Direction::Request && old != Some(&Value::Bool(false)) => {
                changes.push(format!("{at} takes no other properties now"));
            }
            _ => {}
        }
    }
}

/// What a request's schema no longer takes, though of the same type.
fn narrowed(at: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<String>) {
    match (values(old), values(new)) {
        (Some(old), Some(new)) => {
            for value in old.iter().filter(|value| !new.contains(value)) {
                changes.push(format!("{at} no longer takes the value {value}"));
            }
        }
        (None, Some(_)) => changes.push(format!("{at} takes certain values only now")),
        (_, None) => {}
    }
    let number = |schema: &Map<String, Value>, bound: &str| schema.get(bound).and_then(Value::as_f64);
    let bounds =
        UPPER_BOUNDS.iter().map(|bound| (*bound, true)).chain(LOWER_BOUNDS.iter().map(|bound| (*bound, false)));
    for (bound, is_upper) in bounds {
        let Some(now) = number(new, bound) else { continue };
        let narrower = number(old, bound).is_none_or(|before| if is_upper { now < before } else { now > before });
        // Zero is where counting begins: it bounds nothing.
        let bounds_nothing = bound.starts_with("minL") || bound.starts_with("minI") || bound.starts_with("minP");
        if narrower && !(bounds_nothing && now <= 0.0) {
            let before = old.get(bound).map_or_else(|| "none".to_owned(), Value::to_string);
            changes.push(format!("{at}: {bound} is {} now, not {before}", new[bound]));
        }
    }
    if new.get("pattern").is_some_and(|now| old.get("pattern") != Some(now)) {
        changes.push(format!("{at}: the pattern is another one now"));
    }
}

/// A schema as the alternatives that it allows, each of one type, references followed.
fn alternatives(document: &Value, schema: &Value, nesting: usize) -> Vec<Map<String, Value>> {
    let mut schema = resolved(document, schema);
    if let Some(Value::Array(parts)) = schema.remove("allOf") {
        for part in parts {
            schema = merged(schema, resolved(document, &part));
        }
    }
    for choice in ["oneOf", "anyOf"] {
        if nesting < NESTING_MAX
            && let Some(Value::Array(choices)) = schema.remove(choice)
        {
            let whole = |one: &Value| Value::Object(merged(schema.clone(), resolved(document, one)));
            return choices.iter().flat_map(|one| alternatives(document, &whole(one), nesting + 1)).collect();
        }
    }
    let Some(Value::Array(types)) = schema.get("type").cloned() else { return vec![schema] };
    let of_type = |of_type: Value| {
        let mut one = if of_type == "null" { Map::new() } else { schema.clone() };
        one.insert("type".to_owned(), of_type);
        one
    };
    types.into_iter().map(of_type).collect()
}

/// Follows references. In OpenAPI 3.1 what stands beside one counts as well.
fn resolved(document: &Value, value: &Value) -> Map<String, Value> {
    let mut object = value.as_object().cloned().unwrap_or_default();
    for _ in 0..NESTING_MAX {
        let Some(Value::String(reference)) = object.remove("$ref") else { break };
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        object = merged(target.and_then(Value::as_object).cloned().unwrap_or_default(), object);
    }
    object
}

/// Both together: properties and what is required add up, else the second one counts.
fn merged(mut first: Map<String, Value>, second: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in second {
        match (key.as_str(), first.get_mut(&key), value) {
            ("properties", Some(Value::Object(all)), Value::Object(more)) => all.extend(more),
            ("required", Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (_, _, value) => _ = first.insert(key, value),
        }
    }
    first
}

/// The type of a schema, or what its other members tell of it.
fn kind(schema: &Map<String, Value>) -> &str {
    let of_value = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match schema.get("type").and_then(Value::as_str) {
        Some(name) => name,
        None if schema.contains_key("properties") => "object",
        None if schema.contains_key("items") => "array",
        None => values(schema).and_then(|values| values.first().copied()).map_or("any", of_value),
    }
}

/// Whether the one type takes all values of the other.
fn takes(wide: &str, narrow: &str) -> bool {
    wide == narrow || wide == "any" || (wide == "number" && narrow == "integer")
}

/// The only values that a schema allows; `None` where it does not name them.
fn values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().filter(|value| !value.is_null()).collect()),
        (None, _) => None,
    }
}

fn required(schema: &Map<String, Value>) -> BTreeSet<&str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A parameter's or body's own mark; a schema's is a list.
fn is_required(object: &Map<String, Value>) -> bool {
    object.get("required") == Some(&Value::Bool(true))
}

fn schema_of(object: &Map<String, Value>) -> &Value {
    object.get("schema").unwrap_or(&Value::Null)
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}
