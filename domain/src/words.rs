//! Short texts with rules: numbers that people read, references, reason codes, sealed texts.
//!
//! Events carry no free plain text: a reason is a code and a narrative is sealed, so that no
//! personal data can slip into the log in the clear.

use std::fmt::Display;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// Reads a text and makes a value of it; the text is borrowed where the reader has it, since most of a log
/// is texts that become something else.
pub(crate) fn read_text<'de, D, T, E>(deserializer: D, make: impl FnOnce(&str) -> Result<T, E>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: Display,
{
    struct Text<T, F>(F, PhantomData<T>);

    impl<T, E: Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<T, F> {
        type Value = T;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<R: serde::de::Error>(self, text: &str) -> Result<T, R> {
            (self.0)(text).map_err(R::custom)
        }
    }

    deserializer.deserialize_str(Text(make, PhantomData))
}

/// A text that breaks the rule of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidWord {
    /// What kind of word it should have been.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $max:literal, $pattern:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the rule of its kind.
            pub fn try_new(text: impl Into<String>) -> Result<Self, InvalidWord> {
                let text: String = text.into();
                let valid: fn(char) -> bool = $valid;
                if text.is_empty() || text.chars().nth($max).is_some() || !text.chars().all(valid) {
                    return Err(InvalidWord { what: $what, rule: $rule });
                }
                Ok(Self(text.into_boxed_str()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": $max, "pattern": $pattern})
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidWord;

            fn try_from(text: String) -> Result<Self, InvalidWord> {
                Self::try_new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read_text(deserializer, |text| Self::try_new(text))
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.0.into_string()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// A number by which people know a member or an account; unique among its kind.
    Number, "a number", "1 to 34 letters, digits, `-`, `.` or `/`", 34, "^[A-Za-z0-9./-]+$",
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/')
);
word!(
    /// The reference under which the outside world knows a transaction; unique.
    ExternalReference, "an external reference", "1 to 64 printable ASCII characters without spaces", 64, "^[!-~]+$",
    |c| c.is_ascii_graphic()
);
word!(
    /// Why something was done, as a code and never as free text, for example `court_order`.
    ReasonCode, "a reason", "a code of 1 to 64 lower-case letters, digits, `_` or `-`, for example `court_order`", 64, "^[a-z0-9_-]+$",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-')
);
word!(
    /// A code of the chart of accounts.
    LedgerCode, "a ledger code", "1 to 16 letters, digits, `.` or `-`", 16, "^[A-Za-z0-9.-]+$",
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
);
word!(
    /// The id of an accounting period, for example `1993-01`.
    PeriodId, "a period id", "1 to 16 letters, digits or `-`", 16, "^[A-Za-z0-9-]+$",
    |c| c.is_ascii_alphanumeric() || c == '-'
);
word!(
    /// A branch of the institution.
    Branch, "a branch", "1 to 32 letters, digits, `-` or `_`", 32, "^[A-Za-z0-9_-]+$",
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
);
word!(
    /// The name of an internal account or a ledger code; never a person's name.
    Title, "a name", "1 to 80 printable characters", 80, "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
    |c| !c.is_control()
);
word!(
    /// A text sealed under a member's key: base64 of version, nonce, ciphertext and tag.
    /// It is opaque here; the event store's `sealing` module writes and opens it.
    Sealed, "a sealed text", "1 to 8192 base64 characters", 8192, "^[A-Za-z0-9+/=]+$",
    |c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_code_so_that_nobody_writes_a_name_into_the_log() {
        assert!(ReasonCode::try_new("court_order").is_ok());
        assert!(ReasonCode::try_new("Mr Smith asked").is_err());
        assert!(serde_json::from_str::<ReasonCode>("\"Mr Smith\"").is_err());
    }

    #[test]
    fn words_are_bounded() {
        assert!(Number::try_new("x".repeat(34)).is_ok());
        assert!(Number::try_new("x".repeat(35)).is_err());
        assert!(Number::try_new("").is_err());
        assert!(Title::try_new("č".repeat(80)).is_ok(), "counted in characters, not in bytes");
        assert!(Title::try_new("č".repeat(81)).is_err());
        assert!(Title::try_new("a\u{0}b").is_err());
    }
}
