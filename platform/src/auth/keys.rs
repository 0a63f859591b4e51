//! The keys that tokens are verified with, each with the one algorithm that it is for.
//!
//! Invariant: the algorithm follows from the key (its type, curve and `alg`), never from a token, so
//! that a token cannot choose a weaker check, or have a public key taken for a shared secret.

use std::collections::HashMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use crate::secret::Secret;

/// The key id of tokens that are signed with the development secret.
pub(super) const DEVELOPMENT_KEY_ID: &str = "development";
/// Differences between clocks that are let pass, in seconds.
pub(super) const LEEWAY_S: u64 = 30;
/// More keys than this are no issuer's.
const KEYS_MAX: usize = 100;

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    #[error("not a JWKS document: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("no key in it can be used: an Ed25519, P-256 or RSA key for signatures is needed")]
    NoneUsable,
    #[error("two keys have the id {0:?}")]
    SameId(String),
}

/// What a token must say.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audience: String,
}

/// A key and the one way to verify with it.
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

impl Key {
    fn new(algorithm: Algorithm, key: DecodingKey, rules: &Rules) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_exp = true;
        validation.validate_nbf = true;
        validation.validate_aud = true;
        validation.set_issuer(&[&rules.issuer]);
        validation.set_audience(&[&rules.audience]);
        // `nbf` is checked where it is; many issuers leave it out.
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self { key, validation }
    }
}

/// Keys by their ids.
#[derive(Default)]
pub(super) struct KeySet {
    keys: HashMap<String, Key>,
    /// A key without an id, for tokens that name none.
    nameless: Option<Key>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// The usable keys of a JWKS document (RFC 7517); others in it are passed over, as other
    /// services may have theirs there.
    pub(super) fn from_jwks(text: &[u8], rules: &Rules) -> Result<Self, KeysError> {
        let document: Document = serde_json::from_slice(text)?;
        let mut set = Self::default();
        for value in document.keys.into_iter().take(KEYS_MAX) {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
                tracing::debug!("a key of the JWKS document is of a kind that is not known");
                continue;
            };
            let Some(algorithm) = algorithm(&jwk) else {
                tracing::debug!(kid = ?jwk.common.key_id, "a key of the JWKS document is not for our signatures");
                continue;
            };
            let Ok(key) = DecodingKey::from_jwk(&jwk) else {
                tracing::warn!(kid = ?jwk.common.key_id, "a key of the JWKS document cannot be read");
                continue;
            };
            let key = Key::new(algorithm, key, rules);
            match jwk.common.key_id {
                Some(id) => {
                    if set.keys.insert(id.clone(), key).is_some() {
                        return Err(KeysError::SameId(id));
                    }
                }
                None => set.nameless = Some(key),
            }
        }
        if set.keys.is_empty() && set.nameless.is_none() { Err(KeysError::NoneUsable) } else { Ok(set) }
    }

    /// The same with the development secret's key.
    pub(super) fn with_secret(mut self, secret: &Secret, rules: &Rules) -> Self {
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        self.keys.insert(DEVELOPMENT_KEY_ID.to_owned(), Key::new(Algorithm::HS256, key, rules));
        self
    }

    /// The key that a token names; one that names none is for the only key, or that without an id.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(id) => self.keys.get(id),
            None if self.nameless.is_some() => self.nameless.as_ref(),
            None if self.keys.len() == 1 => self.keys.values().next(),
            None => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len() + usize::from(self.nameless.is_some())
    }
}

/// The one algorithm that a key is for, if it is one of ours and the key is for verifying.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    let operations = jwk.common.key_operations.as_ref();
    if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return None;
    }
    let (named, algorithm) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (KeyAlgorithm::EdDSA, Algorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (KeyAlgorithm::ES256, Algorithm::ES256)
        }
        AlgorithmParameters::RSA(_) => (KeyAlgorithm::RS256, Algorithm::RS256),
        _ => return None,
    };
    jwk.common.key_algorithm.is_none_or(|given| given == named).then_some(algorithm)
}
