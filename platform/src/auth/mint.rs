//! Tokens for development, signed with the secret that the environment shares.

use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

use super::config::AuthSettings;
use super::keys::DEVELOPMENT_KEY_ID;
use super::permission::Role;
use crate::config::ConfigError;
use crate::secret::Secret;

/// Why no token can be minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// There is no development secret here.
    #[error("tokens are minted in development only; elsewhere the issuer gives them: {0}")]
    Settings(#[from] ConfigError),
    /// The token could not be signed.
    #[error("the token could not be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// What a development token says.
#[derive(Debug, Clone)]
pub struct DevelopmentToken {
    /// Who it is for.
    pub subject: String,
    /// The client, if another than the subject.
    pub client: Option<String>,
    /// The roles.
    pub roles: Vec<Role>,
    /// The only accounts that it is for; `None` is all.
    pub accounts: Option<Vec<Uuid>>,
    /// How long it is valid from now on.
    pub ttl: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    azp: Option<&'a str>,
    iat: i64,
    nbf: i64,
    exp: i64,
    roles: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daybook_accounts: Option<&'a [Uuid]>,
}

impl DevelopmentToken {
    /// The token, signed. Only where the settings hold a development secret.
    pub fn mint(&self, settings: &AuthSettings) -> Result<Secret, MintError> {
        let secret = settings.needed_secret()?;
        let now = Utc::now().timestamp();
        let claims = Claims {
            iss: settings.needed_issuer()?,
            aud: &settings.audience,
            sub: &self.subject,
            azp: self.client.as_deref(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX)),
            roles: self.roles.iter().map(|role| role.name()).collect(),
            daybook_accounts: self.accounts.as_deref(),
        };
        let header = Header { kid: Some(DEVELOPMENT_KEY_ID.to_owned()), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(secret.expose().as_bytes());
        Ok(Secret::new(jsonwebtoken::encode(&header, &claims, &key)?))
    }
}
