//! Verifying bearer tokens.
//!
//! Invariants: a token that was verified is remembered by its hash until it expires or the keys
//! change, never longer; what is remembered is bounded; keys that cannot be read anew leave the old
//! ones in force; a flood of unknown key ids does not become a flood of requests to the issuer.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use chrono::Utc;
use hashlink::LruCache;
use jsonwebtoken::errors::ErrorKind;
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::config::{AuthSettings, JwksSource};
use super::jwks::{JwksError, Reader};
use super::keys::{KeySet, LEEWAY_S, Rules};
use super::permission::Role;
use super::principal::Principal;
use super::refusal::Refusal;
use crate::config::ConfigError;
use crate::http::ReadyCheck;

/// A longer token is refused unread, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest subject or client, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Verified tokens that are remembered at once.
const REMEMBERED_MAX: usize = 20_000;
/// How often the keys are read anew.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How long after a reading an unknown key id may cause another.
const REFRESH_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long a token with an unknown key id waits for a reading that is under way for another. Short:
/// ids can be made up, and an issuer may hang.
const READING_WAIT_MAX: Duration = Duration::from_millis(500);

/// Between readings while there are no keys at all, at least.
const FIRST_KEYS_WAIT_MIN: Duration = Duration::from_millis(20);

/// Under these names the institution's own processes and its bank act and keep their idempotency keys
/// (commands by webhook, of sagas, of the sweeper, of `daybook saga`): nobody else may have them.
const OWN_NAMES: [&str; 4] = ["bank", "daybook-saga", "daybook-sagas", "daybook-sweeper"];

/// Why entry control cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The settings do not say how tokens are verified.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The keys cannot be used.
    #[error("DAYBOOK_AUTH_JWKS: {0}")]
    Keys(String),
}

impl From<JwksError> for AuthError {
    fn from(error: JwksError) -> Self {
        Self::Keys(error.to_string())
    }
}

/// Verifies bearer tokens. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    rules: Rules,
    settings: AuthSettings,
    reader: Option<Reader>,
    keys: RwLock<Arc<KeySet>>,
    remembered: Mutex<LruCache<[u8; 32], Remembered>>,
    reading: tokio::sync::Mutex<LastReading>,
    refresh_again_after: Duration,
}

struct Remembered {
    principal: Principal,
    expires_s: u64,
}

#[derive(Default)]
struct LastReading {
    at: Option<Instant>,
    text: Vec<u8>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: Number,
    azp: Option<String>,
    client_id: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    daybook_accounts: Option<Vec<Uuid>>,
}

/// A claim that is there must be a list: `null` must not come to mean "all accounts".
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Uuid>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

impl Verifier {
    /// Reads the keys and, from a file or an address, goes on reading them now and then until the
    /// last clone is dropped. A file that cannot be read is an error; an address that does not
    /// answer is asked again, and until then every token gets 503 `keys_unavailable`. To be called
    /// inside a Tokio runtime.
    pub async fn start(settings: &AuthSettings) -> Result<Self, AuthError> {
        Self::start_with(settings, REFRESH_EVERY, REFRESH_AGAIN_AFTER).await
    }

    /// The same with other waits; for tests.
    pub async fn start_with(
        settings: &AuthSettings,
        refresh_every: Duration,
        refresh_again_after: Duration,
    ) -> Result<Self, AuthError> {
        settings.need_keys()?;
        let rules = Rules { issuer: settings.needed_issuer()?.to_owned(), audience: settings.audience.clone() };
        if let Some(JwksSource::Address(url)) = &settings.jwks
            && url.starts_with("http://")
        {
            tracing::warn!("the issuer's keys come over http: whoever is on the way can change them");
        }
        let reader = settings.jwks.clone().map(Reader::try_new).transpose()?;
        let inner = Arc::new(Inner {
            keys: RwLock::new(Arc::new(with_secret(KeySet::default(), settings, &rules))),
            rules,
            settings: settings.clone(),
            reader,
            remembered: Mutex::new(LruCache::new(REMEMBERED_MAX)),
            reading: tokio::sync::Mutex::default(),
            refresh_again_after,
        });
        if let Some(reader) = &inner.reader {
            match inner.refresh().await {
                Err(error) if reader.is_file() => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "no keys to verify tokens with yet"),
                Ok(()) => {}
            }
            tokio::spawn(go_on_refreshing(Arc::downgrade(&inner), refresh_every));
        }
        Ok(Self(inner))
    }

    /// Who a token is of.
    pub async fn verify(&self, token: &str) -> Result<Principal, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TokenInvalid);
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.0.remembered(&hash) {
            return known;
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| refused(error.kind()))?;
        if header.crit.is_some() {
            // What must be understood (RFC 7515, 4.1.11) is not understood here.
            return Err(refused(&ErrorKind::InvalidToken));
        }
        let id = header.kid.as_deref();
        let mut keys = self.0.keys();
        if keys.find(id).is_none() {
            self.0.refresh_for_unknown_key().await?;
            keys = self.0.keys();
        }
        let Some(key) = keys.find(id) else {
            let refusal =
                if keys.len() == 0 { Refusal::KeysUnavailable } else { refused(&ErrorKind::InvalidSignature) };
            return Err(refusal);
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation);
        let claims = claims.map_err(|error| refused(error.kind()))?.claims;
        let expires_s = claims.exp.as_u64().or_else(|| claims.exp.as_f64().map(|exp| exp as u64)).unwrap_or(0);
        let principal = principal(claims)?;
        self.0.remember(&keys, hash, Remembered { principal: principal.clone(), expires_s });
        Ok(principal)
    }

    /// The check of `/readyz`: whether there are keys to verify tokens with.
    pub fn ready_check(&self) -> ReadyCheck {
        let verifier = self.clone();
        ReadyCheck::new("token-keys", move || {
            let ready = verifier.0.keys().len() > 0;
            async move { if ready { Ok(()) } else { Err("the issuer's keys have not been read".to_owned()) } }
        })
    }

    /// How many tokens are remembered.
    pub fn remembered_count(&self) -> usize {
        self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Verifier").field("keys", &self.0.keys().len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Result<Principal, Refusal>> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(hash)?;
        if now_s() > found.expires_s.saturating_add(LEEWAY_S) {
            remembered.remove(hash);
            return Some(Err(Refusal::TokenExpired));
        }
        Some(Ok(found.principal.clone()))
    }

    /// Remembers a token unless the keys have changed since it was verified.
    fn remember(&self, verified_with: &Arc<KeySet>, hash: [u8; 32], token: Remembered) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(verified_with, &self.keys()) {
            remembered.insert(hash, token);
        }
    }

    /// Reads the keys anew for a token that names one that is not known, unless they have just been.
    /// `KeysUnavailable` where another reading does not end: the key may be in it.
    async fn refresh_for_unknown_key(&self) -> Result<(), Refusal> {
        let recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < self.refresh_again_after);
        if self.reader.is_none() {
            return Ok(());
        }
        let Ok(mut last) = tokio::time::timeout(READING_WAIT_MAX, self.reading.lock()).await else {
            return Err(Refusal::KeysUnavailable);
        };
        if recent(last.at) {
            return Ok(());
        }
        if let Err(error) = self.read(&mut last).await {
            tracing::warn!(%error, "the keys could not be read anew; the old ones stay in force");
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<(), JwksError> {
        let mut last = self.reading.lock().await;
        self.read(&mut last).await
    }

    async fn read(&self, last: &mut LastReading) -> Result<(), JwksError> {
        let Some(reader) = &self.reader else {
            return Ok(());
        };
        last.at = Some(Instant::now());
        let text = reader.read().await?;
        if text == last.text {
            return Ok(());
        }
        let keys = with_secret(Reader::parse(&text, &self.rules)?, &self.settings, &self.rules);
        tracing::info!(count = keys.len(), "keys to verify tokens with");
        last.text = text;
        // A key that is gone may have been stolen: what it signed is verified again. Held together,
        // so that nothing is remembered under the old keys afterwards.
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        remembered.clear();
        Ok(())
    }
}

fn with_secret(keys: KeySet, settings: &AuthSettings, rules: &Rules) -> KeySet {
    match &settings.development_secret {
        Some(secret) => keys.with_secret(secret, rules),
        None => keys,
    }
}

/// Reads the keys anew now and then; soon again while there are none, since nobody can be let in and
/// a process that is not ready is not asked.
async fn go_on_refreshing(inner: Weak<Inner>, every: Duration) {
    loop {
        let wait = match inner.upgrade() {
            Some(inner) if inner.keys().len() == 0 => inner.refresh_again_after.max(FIRST_KEYS_WAIT_MIN).min(every),
            Some(_) => every,
            None => return,
        };
        tokio::time::sleep(wait).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        if let Err(error) = inner.refresh().await {
            tracing::warn!(%error, "the keys could not be read anew; the old ones stay in force");
        }
    }
}

/// Which refusal it is; the reason goes to the log, since it would help who forges.
fn refused(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::ExpiredSignature => Refusal::TokenExpired,
        ErrorKind::ImmatureSignature => Refusal::TokenNotYetValid,
        reason => {
            tracing::debug!(?reason, "a token is refused");
            Refusal::TokenInvalid
        }
    }
}

fn principal(claims: Claims) -> Result<Principal, Refusal> {
    let client = claims.azp.or(claims.client_id).unwrap_or_else(|| claims.sub.clone());
    if !is_name(&claims.sub) || !is_name(&client) {
        return Err(refused(&ErrorKind::InvalidSubject));
    }
    // An issuer names roles of other services too.
    let roles = claims.roles.iter().filter_map(|role| Role::named(role));
    let accounts = claims.daybook_accounts.map(|accounts| accounts.into_iter().collect());
    Ok(Principal::new(claims.sub, client, roles, accounts))
}

/// Whether a text can be a caller's name in the log: not empty, not long, nothing that cannot be
/// printed, and not one of our own.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) && !OWN_NAMES.contains(&text)
}

fn now_s() -> u64 {
    u64::try_from(Utc::now().timestamp()).unwrap_or(0)
}
