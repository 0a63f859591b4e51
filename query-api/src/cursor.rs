//! Where a page of a list ends: opaque to the client, so that it may change.
//!
//! A cursor is the base64url of a JSON array: the name of the list (its order included) and the
//! sort key of the last item. One of another list or order is refused, never misread.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest cursor that is looked at, in characters.
const LENGTH_MAX: usize = 512;

/// The cursor after an item with that sort key.
pub(crate) fn write(list: &str, key: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(list, key))?))
}

/// The sort key in a cursor of that list; anything else is 400 `invalid_cursor`.
pub(crate) fn read<K: DeserializeOwned>(list: &str, cursor: Option<&str>) -> Result<Option<K>, Problem> {
    cursor.map(|cursor| decode(list, cursor).ok_or_else(invalid)).transpose()
}

fn decode<K: DeserializeOwned>(list: &str, cursor: &str) -> Option<K> {
    let bytes = URL_SAFE_NO_PAD.decode(Some(cursor).filter(|cursor| cursor.len() <= LENGTH_MAX)?).ok()?;
    let (of, key): (String, K) = serde_json::from_slice(&bytes).ok()?;
    (of == list).then_some(key)
}

/// 400 `invalid_cursor`.
pub(crate) fn invalid() -> Problem {
    let detail = "the cursor is none that this list, in this order, has given; begin without one";
    Problem::malformed("invalid_cursor", detail).with_error("cursor", "invalid_cursor", "not a cursor of this list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_list_only() {
        let cursor = write("entries", &("2026-01-01", 7)).unwrap();
        assert_eq!(read::<(String, i64)>("entries", Some(&cursor)).unwrap(), Some(("2026-01-01".to_owned(), 7)));
        assert_eq!(read::<(String, i64)>("entries", None).unwrap(), None);
        for (list, cursor) in [("accounts", cursor.as_str()), ("entries", ""), ("entries", "!"), ("entries", "W10")] {
            assert_eq!(read::<(String, i64)>(list, Some(cursor)).unwrap_err().code, "invalid_cursor", "{cursor}");
        }
    }
}
