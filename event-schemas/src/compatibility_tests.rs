//! The check itself can fail: small made-up pairs of schemas.

use serde_json::json;

use super::*;

fn published() -> Value {
    json!({
        "title": "LimitChanged",
        "type": "object",
        "properties": {
            "type": {"type": "string", "const": "LimitChanged"},
            "amount_minor": {"type": "integer", "format": "int64"},
            "branch": {"type": ["string", "null"]},
            "side": {"description": "Which.", "$ref": "#/$defs/Side"},
            "legs": {"type": "array", "items": {"$ref": "#/$defs/Leg"}},
            "why": {"anyOf": [{"$ref": "#/$defs/Why"}, {"type": "null"}]},
            "personal": {"type": "object", "additionalProperties": {"type": "string"}}
        },
        "required": ["type", "amount_minor", "side", "legs"],
        "$defs": {
            "Side": {"oneOf": [
                {"type": "string", "const": "debit", "description": "The left."},
                {"type": "string", "const": "credit"}
            ]},
            "Leg": {
                "type": "object",
                "properties": {"leg": {"type": "integer", "minimum": 0, "maximum": 65535}},
                "required": ["leg"]
            },
            "Why": {"oneOf": [
                {"type": "object", "properties": {"code": {"type": "string", "const": "a"}}, "required": ["code"]},
                {
                    "type": "object",
                    "properties": {"code": {"type": "string", "const": "b"}, "n": {"type": "integer"}},
                    "required": ["code", "n"]
                }
            ]}
        }
    })
}

/// The published schema with one change, and what the check says of it.
fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut current = published();
    change(&mut current);
    incompatibilities(&published(), &current).iter().map(Incompatibility::to_string).collect()
}

fn remove(schema: &mut Value, pointer: &str, key: &str) {
    schema.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key).unwrap();
}

#[test]
fn what_is_unchanged_is_compatible() {
    assert_eq!(after(|_| {}), [""; 0]);
}

#[test]
fn a_new_optional_field_is_compatible() {
    assert_eq!(after(|s| s["properties"]["note"] = json!({"type": "string"})), [""; 0]);
}

#[test]
fn words_and_ways_of_writing_may_change() {
    let changes = after(|s| {
        s["title"] = json!("Limit");
        s["description"] = json!("New words.");
        s["properties"]["side"]["description"] = json!("Other words.");
        s["$defs"]["Side"] = json!({"type": "string", "enum": ["credit", "debit"]});
        // A Rust type was renamed; what is written stayed.
        let leg = s["$defs"]["Leg"].clone();
        s["$defs"]["TransactionLeg"] = leg;
        remove(s, "/$defs", "Leg");
        s["properties"]["legs"]["items"] = json!({"$ref": "#/$defs/TransactionLeg"});
    });
    assert_eq!(changes, [""; 0]);
}

#[test]
fn an_enumeration_and_a_set_of_variants_may_grow() {
    let changes = after(|s| {
        s["$defs"]["Side"]["oneOf"].as_array_mut().unwrap().push(json!({"type": "string", "const": "both"}));
        let variant = json!({"type": "object", "properties": {"code": {"const": "c"}}, "required": ["code"]});
        s["$defs"]["Why"]["oneOf"].as_array_mut().unwrap().insert(0, variant);
    });
    assert_eq!(changes, [""; 0]);
}

#[test]
fn a_removed_field_is_found() {
    for field in ["branch", "amount_minor"] {
        let changes = after(|s| remove(s, "/properties", field));
        assert_eq!(changes, [format!("`{field}`: the field was removed or renamed")]);
    }
}

#[test]
fn a_renamed_field_is_found() {
    let changes = after(|s| {
        remove(s, "/properties", "amount_minor");
        s["properties"]["minor"] = json!({"type": "integer", "format": "int64"});
        s["required"] = json!(["type", "minor", "side", "legs"]);
    });
    assert_eq!(changes, ["`amount_minor`: the field was removed or renamed", "`minor`: a required field was added"]);
}

#[test]
fn a_retyped_field_is_found() {
    let changes = after(|s| s["properties"]["amount_minor"] = json!({"type": "string"}));
    assert_eq!(changes, ["`amount_minor`: the type was changed from integer to string"]);
    let changes = after(|s| s["properties"]["amount_minor"]["format"] = json!("int32"));
    assert_eq!(changes, ["`amount_minor`: `format` was changed from \"int64\" to \"int32\""]);
    let changes = after(|s| s["$defs"]["Leg"]["properties"]["leg"]["maximum"] = json!(255));
    assert_eq!(changes, ["`legs[].leg`: `maximum` was changed from 65535 to 255"]);
    let changes = after(|s| s["properties"]["personal"]["additionalProperties"] = json!({"type": "integer"}));
    assert_eq!(changes, ["`personal.*`: the type was changed from string to integer"]);
    let changes = after(|s| s["properties"]["personal"] = json!({"type": "object"}));
    assert_eq!(changes, ["`personal`: `additionalProperties` was added or removed"]);
    let changes = after(|s| s["properties"]["branch"] = json!({"type": "string"}));
    assert_eq!(changes, ["`branch`: the type was changed from null or string to string"]);
    let changes = after(|s| s["properties"]["branch"] = json!(false));
    assert_eq!(changes, ["`branch`: what may stand here was changed"]);
    let changes = after(|s| s["additionalProperties"] = json!(false));
    assert_eq!(changes, ["`additionalProperties` was added or removed"]);
}

#[test]
fn a_new_required_field_is_found() {
    let changes = after(|s| {
        s["properties"]["note"] = json!({"type": "string"});
        s["required"] = json!(["type", "amount_minor", "side", "legs", "note"]);
    });
    assert_eq!(changes, ["`note`: a required field was added"]);
    let changes = after(|s| s["required"] = json!(["type", "amount_minor", "side", "legs", "branch"]));
    assert_eq!(changes, ["`branch`: the field has become required"]);
    let changes = after(|s| s["required"] = json!(["type", "amount_minor", "side"]));
    assert_eq!(changes, ["`legs`: the field is no longer always there"]);
    let changes = after(|s| {
        s["$defs"]["Leg"]["properties"]["side"] = json!({"$ref": "#/$defs/Side"});
        s["$defs"]["Leg"]["required"] = json!(["leg", "side"]);
    });
    assert_eq!(changes, ["`legs[].side`: a required field was added"]);
}

#[test]
fn a_narrowed_enumeration_is_found() {
    let changes = after(|s| s["$defs"]["Side"] = json!({"type": "string", "enum": ["credit"]}));
    assert_eq!(changes, ["`side`: the value \"debit\" was removed"]);
    let changes = after(|s| s["properties"]["type"]["const"] = json!("LimitSet"));
    assert_eq!(changes, ["`type`: the value \"LimitChanged\" was removed"]);
    let changes = after(|s| s["properties"]["amount_minor"]["enum"] = json!([1, 2]));
    assert_eq!(changes, ["`amount_minor`: was narrowed to an enumeration"]);
    let changes = after(|s| s["$defs"]["Side"] = json!({"type": "string"}));
    assert_eq!(changes, ["`side`: is no longer an enumeration"]);
}

#[test]
fn a_changed_variant_is_found() {
    let why = |change: fn(&mut Value)| {
        let mut current = published();
        change(&mut current["$defs"]["Why"]["oneOf"]);
        let mut root = published();
        // Without `anyOf` around it, so that the variant itself is named.
        for schema in [&mut root, &mut current] {
            schema["properties"]["why"] = json!({"$ref": "#/$defs/Why"});
        }
        incompatibilities(&root, &current).iter().map(Incompatibility::to_string).collect::<Vec<_>>()
    };
    assert_eq!(why(|v| drop(v.as_array_mut().unwrap().remove(0))), ["`why`: the variant with code \"a\" was removed"]);
    assert_eq!(
        why(|v| v[1]["properties"]["n"] = json!({"type": "string"})),
        ["`why(code=\"b\").n`: the type was changed from integer to string"]
    );
    let changes = after(|s| drop(s["$defs"]["Why"]["oneOf"].as_array_mut().unwrap().remove(0)));
    assert_eq!(changes, ["`why`: alternative 1 was changed or removed"]);
    let changes = after(|s| s["properties"]["why"] = json!({"anyOf": [{"$ref": "#/$defs/Why"}]}));
    assert_eq!(changes, ["`why`: alternative 2 was changed or removed"]);
}

#[test]
fn the_words_of_a_pattern_may_only_grow() {
    let of = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let fits = |before: &str, after: &str| incompatibilities(&of(before), &of(after)).is_empty();
    let published = "^(ledger/main|(member|account)/[0-9a-f-]{36})$";
    assert!(fits(published, "^(ledger/main|(member|loan|account)/[0-9a-f-]{36})$"));
    for changed in [
        "^(ledger/main|(member)/[0-9a-f-]{36})$",
        "^(ledger/main|(member|loan)/[0-9a-f-]{36})$",
        "^(ledger/main|(member|account|)/[0-9a-f-]{36})$",
        "^(ledger/main|(member|account|x*)/[0-9a-f-]{36})$",
        "^(ledger/main|(member|account)/[0-9a-f-]{35})$",
        "^(ledger/other|(member|account)/[0-9a-f-]{36})$",
        "(member|account)",
        "",
    ] {
        assert!(!fits(published, changed), "{changed}");
    }
    assert!(!incompatibilities(&of(published), &json!({"type": "string"})).is_empty());
}

#[test]
fn recursive_and_broken_references_end() {
    let tree = json!({
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}}
    });
    assert_eq!(incompatibilities(&tree, &tree), []);
    let circle = json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}});
    assert_eq!(incompatibilities(&circle, &circle), []);
    let nowhere = json!({"$ref": "#/$defs/B"});
    assert!(!incompatibilities(&nowhere, &json!({"$ref": "#/$defs/C"})).is_empty());
}
