//! Values that must not be printed.
//!
//! Invariants: neither `Debug` nor `Display` shows the value, and its memory is overwritten when it
//! is dropped. Only `expose` gives it out, so a search for that word finds every use.

use std::fmt;
use zeroize::Zeroizing;

const REDACTED: &str = "[redacted]";

/// A text that must not be printed: a password, or a URL that holds one.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text into keeping.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

/// A key of 32 bytes that must not be printed.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Takes a key into keeping.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Reads a key from its 64 hex digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut key = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(text, key.as_mut_slice()).ok()?;
        Some(Self(key))
    }

    /// The bytes themselves, for the one call that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretKey};

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
        let key = SecretKey::from_hex(&"0f".repeat(32)).unwrap();
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert_eq!(key.expose(), &[0x0f; 32]);
    }

    #[test]
    fn a_key_is_exactly_64_hex_digits() {
        assert!(SecretKey::from_hex(&"0".repeat(63)).is_none());
        assert!(SecretKey::from_hex(&"0".repeat(66)).is_none());
        assert!(SecretKey::from_hex(&"g".repeat(64)).is_none());
    }
}
