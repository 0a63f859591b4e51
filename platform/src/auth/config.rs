//! What entry control needs to know: where keys come from, and what tokens must say.
//!
//! Invariant: a secret that both sides know (HS256) is for development only; with it, production is
//! refused at the start, since whoever can verify such a token can make one.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::secret::Secret;

/// The audience of tokens when nothing is said.
pub const AUDIENCE_DEFAULT: &str = "daybook";
/// The issuer of tokens in development when nothing is said.
pub const DEVELOPMENT_ISSUER: &str = "daybook-development";
/// Shortest development secret, in bytes: as long as the hash (RFC 7518, 3.2).
const SECRET_LENGTH_MIN: usize = 32;

const ENVIRONMENT: &str = "DAYBOOK_ENVIRONMENT";
const JWKS: &str = "DAYBOOK_AUTH_JWKS";
const ISSUER: &str = "DAYBOOK_AUTH_ISSUER";
const AUDIENCE: &str = "DAYBOOK_AUTH_AUDIENCE";
const DEV_SECRET: &str = "DAYBOOK_AUTH_DEV_SECRET";

/// The keys that are read here.
pub(crate) const KEYS: [&str; 5] = [ENVIRONMENT, JWKS, ISSUER, AUDIENCE, DEV_SECRET];

/// Where the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// For real; the default.
    Production,
    /// On a developer's machine, or in a test.
    Development,
}

/// Where the public keys of the issuer come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// An address, `https://` or `http://`.
    Address(String),
}

/// The settings of entry control, validated.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    pub(super) environment: Environment,
    pub(super) jwks: Option<JwksSource>,
    pub(super) issuer: Option<String>,
    pub(super) audience: String,
    pub(super) development_secret: Option<Secret>,
}

impl AuthSettings {
    /// Reads and validates them; `get` gives a key's value where it is set.
    pub(crate) fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, ConfigError> {
        let environment = match get(ENVIRONMENT) {
            None | Some("production") => Environment::Production,
            Some("development") => Environment::Development,
            Some(_) => return Err(invalid(ENVIRONMENT, "production or development is needed")),
        };
        let jwks = get(JWKS).map(source).transpose()?;
        let development_secret = match get(DEV_SECRET) {
            Some(_) if environment == Environment::Production => {
                let reason = "a shared secret is for DAYBOOK_ENVIRONMENT=development only; \
                              name the issuer's public keys with DAYBOOK_AUTH_JWKS";
                return Err(invalid(DEV_SECRET, reason));
            }
            Some(secret) if secret.len() < SECRET_LENGTH_MIN => {
                return Err(invalid(DEV_SECRET, "at least 32 characters are needed"));
            }
            secret => secret.map(Secret::new),
        };
        let issuer = get(ISSUER).map(str::to_owned);
        let issuer = match environment {
            Environment::Development => issuer.or_else(|| Some(DEVELOPMENT_ISSUER.to_owned())),
            Environment::Production => issuer,
        };
        let audience = get(AUDIENCE).unwrap_or(AUDIENCE_DEFAULT).to_owned();
        Ok(Self { environment, jwks, issuer, audience, development_secret })
    }

    /// Where the process runs (`DAYBOOK_ENVIRONMENT`, production).
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Whether nothing is set with which a token could be verified.
    pub fn has_no_keys(&self) -> bool {
        self.jwks.is_none() && self.development_secret.is_none()
    }

    pub(super) fn needed_issuer(&self) -> Result<&str, ConfigError> {
        self.issuer.as_deref().ok_or(ConfigError::NotSet { key: ISSUER })
    }

    pub(super) fn needed_secret(&self) -> Result<&Secret, ConfigError> {
        self.development_secret.as_ref().ok_or(ConfigError::NotSet { key: DEV_SECRET })
    }

    pub(super) fn need_keys(&self) -> Result<(), ConfigError> {
        if self.has_no_keys() { Err(ConfigError::NotSet { key: JWKS }) } else { Ok(()) }
    }
}

fn source(text: &str) -> Result<JwksSource, ConfigError> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return match reqwest::Url::parse(text) {
            Ok(url) if url.has_host() => Ok(JwksSource::Address(text.to_owned())),
            Ok(_) | Err(_) => Err(invalid(JWKS, "a path, or an address like https://issuer/keys is needed")),
        };
    }
    if text.contains("://") {
        return Err(invalid(JWKS, "a path, or an address that begins with https:// or http:// is needed"));
    }
    Ok(JwksSource::File(PathBuf::from(text)))
}

fn invalid(key: &'static str, reason: &str) -> ConfigError {
    ConfigError::Invalid { key, reason: reason.to_owned() }
}
