//! The one spelling of a JSON value: without spaces, keys sorted, of a key that is given twice the last
//! value. Written while it is read, so that no tree of it is made.
//!
//! Invariant: a part of the log (an HMAC over it is kept for ever), so it never changes.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_json::de::Read;

/// The canonical spelling of a JSON text. Depth is bounded by the parser.
pub(crate) fn canonical(text: &[u8]) -> Result<String, serde_json::Error> {
    match std::str::from_utf8(text) {
        // Looked at once as a whole, and not each text in it.
        Ok(text) => write(serde_json::Deserializer::from_str(text), text.len()),
        Err(_) => write(serde_json::Deserializer::from_slice(text), text.len()),
    }
}

fn write<'de, R: Read<'de>>(mut json: serde_json::Deserializer<R>, bytes: usize) -> Result<String, serde_json::Error> {
    let mut out = String::with_capacity(bytes);
    Value(&mut out).deserialize(&mut json)?;
    json.end()?;
    Ok(out)
}

/// Appends the value that is read.
struct Value<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push_str("null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push_str(&value.to_string());
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push_str(&value.to_string());
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match Number::from_f64(value) {
            Some(number) => self.0.push_str(&number.to_string()),
            None => self.0.push_str("null"),
        }
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        push_plain(self.0, text);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        push_text(self.0, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push('[');
        let begin = self.0.len();
        loop {
            let before = self.0.len();
            if before > begin {
                self.0.push(',');
            }
            if items.next_element_seed(Value(self.0))?.is_none() {
                self.0.truncate(before);
                self.0.push(']');
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let out = self.0;
        out.push('{');
        let begin = out.len();
        let mut written: Vec<(Cow<'de, str>, Range<usize>)> = Vec::with_capacity(8);
        while let Some(Key(key)) = members.next_key()? {
            if !written.is_empty() {
                out.push(',');
            }
            let from = out.len();
            match &key {
                Cow::Borrowed(key) => push_plain(out, key),
                Cow::Owned(key) => push_text(out, key),
            }
            out.push(':');
            members.next_value_seed(Value(out))?;
            written.push((key, from..out.len()));
        }
        if !written.is_sorted_by(|(before, _), (after, _)| before < after) {
            sort(out, begin, written);
        }
        out.push('}');
        Ok(())
    }
}

/// Puts an object's members, written from `begin` on, into the order of their keys.
fn sort(out: &mut String, begin: usize, mut written: Vec<(Cow<'_, str>, Range<usize>)>) {
    let unsorted = out.split_off(begin);
    // Stable: of equal keys the last that was given stays last.
    written.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (at, (key, range)) in written.iter().enumerate() {
        if written.get(at + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if out.len() > begin {
            out.push(',');
        }
        out.push_str(&unsorted[range.start - begin..range.end - begin]);
    }
}

/// Appends a text in which nothing has to be escaped, such as one that the parser lends out: nothing was.
fn push_plain(out: &mut String, text: &str) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Appends any text as JSON has it.
fn push_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// A key, borrowed where nothing in it is escaped.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::canonical;

    /// The form by way of a tree, as it was first written; what is kept of requests depends on it.
    fn by_tree(value: &Value) -> String {
        let join = |parts: Vec<String>| parts.join(",");
        match value {
            Value::Object(members) => {
                let mut keys: Vec<&String> = members.keys().collect();
                keys.sort_unstable();
                let member = |key: &String| format!("{}:{}", Value::String(key.clone()), by_tree(&members[key]));
                format!("{{{}}}", join(keys.into_iter().map(member).collect()))
            }
            Value::Array(items) => format!("[{}]", join(items.iter().map(by_tree).collect())),
            other => other.to_string(),
        }
    }

    #[test]
    fn the_form_is_that_of_the_sorted_tree() {
        for text in [
            "{}",
            " [ ] ",
            "null",
            r#""a\u0000\"\\\/é\ud83d\ude00\n""#,
            r#"{"b":1,"a":2}"#,
            r#"{"a":2,"b":1,"aa":0,"":[{}]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"a":[1,{"z":null,"y":{"x":true,"w":false}}],"b":{"d":1,"c":2}}"#,
            r#"{"\u0061":1,"b\"":2,"a ":3}"#,
            "[0,-0,1.0,1.50,-1,1e2,1E-7,1.7976931348623157e308,18446744073709551615,18446744073709551616]",
            "[-9223372036854775808,-9223372036854775809,0.1,100000000000000000000.5,5e-324]",
        ] {
            let tree: Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical(text.as_bytes()).unwrap(), by_tree(&tree), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_has_none() {
        let deep = "[".repeat(1_000);
        for text in ["", "{", "[1,]", "{\"a\":}", "{} x", "1e400", "nul", "\"\u{1}\"", &deep, "{\"a\" 1}"] {
            let refused = canonical(text.as_bytes()).unwrap_err();
            let tree = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(refused.to_string(), tree.to_string(), "{text}");
        }
    }
}
