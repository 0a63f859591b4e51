//! An issuer of tokens with keys of its own, that can also forge them.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example.org";

pub(crate) enum Key {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Shared(Vec<u8>),
}

impl Key {
    pub(crate) fn ed() -> Key {
        Key::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn ec() -> Key {
        Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn rsa() -> Key {
        Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Key::Ed(_) => "EdDSA",
            Key::Ec(_) => "ES256",
            Key::Rsa(_) => "RS256",
            Key::Shared(_) => "HS256",
        }
    }

    /// What everybody may know of it.
    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            Key::Ed(key) => key.public_key().as_ref().to_vec(),
            Key::Ec(key) => key.public_key().as_ref().to_vec(),
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
            Key::Shared(secret) => secret.clone(),
        }
    }

    pub(crate) fn jwk(&self, id: &str) -> Value {
        let public = self.public();
        match self {
            Key::Ed(_) => json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": base64(&public)}),
            Key::Ec(_) => json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256",
                "x": base64(&public[1..33]), "y": base64(&public[33..])}),
            // PKCS #1: the modulus of 2048 bits begins after two headers and a zero.
            Key::Rsa(_) => json!({"kty": "RSA", "kid": id, "n": base64(&public[9..265]), "e": "AQAB"}),
            Key::Shared(secret) => json!({"kty": "oct", "kid": id, "alg": "HS256", "k": base64(secret)}),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Ed(key) => key.sign(message).as_ref().to_vec(),
            Key::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; 256];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Key::Shared(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
        }
    }

    /// A token with that header and those claims, signed with this key whatever the header says.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let signature = base64(&self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A good token under that key id.
    pub(crate) fn good(&self, id: &str) -> String {
        self.token(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": id}), &claims(json!({})))
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// Good claims, with those changed; `null` takes one out.
pub(crate) fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "daybook", "sub": "ann", "azp": "desk",
        "nbf": now(), "exp": now() + 600, "roles": ["clerk", "admin-of-something-else"]});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

pub(crate) fn document(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}
