//! Personal data is sealed before it becomes an event: AES-256-GCM under a key per member, the
//! member and the field as associated data. The keys are wrapped by a master key and kept in a
//! database of their own, so that erasing a person is destroying a key while the log stays whole.
//!
//! A sealed text is base64 of: version 1, nonce (12 bytes), ciphertext and tag. A sealed narrative
//! is base64 of: version 2, the number of members (one byte), their ids (16 bytes each), nonce,
//! ciphertext and tag; its key derives (HKDF-SHA256) from those of all its members, in the order
//! of their ids, so that destroying one of them erases it.

use std::collections::HashMap;
use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::words::{InvalidWord, Sealed};
use domain::{MemberId, Reservation, TransactionId};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sqlx::{PgPool, Row};
use uuid::Uuid;
use zeroize::Zeroizing;

const FIELD: u8 = 1;
const NARRATIVE: u8 = 2;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

type Key = Zeroizing<[u8; KEY_BYTES]>;

/// What can go wrong when sealing or opening.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The database of the keys did not answer, or refused.
    #[error("the keys' database: {0}")]
    Database(#[from] sqlx::Error),
    /// The member has no key.
    #[error("member {0} has no key")]
    NoKey(MemberId),
    /// The member's key was destroyed: what it sealed is erased.
    #[error("the key of member {0} was destroyed")]
    Destroyed(MemberId),
    /// Not sealed by this key for this purpose, or changed since.
    #[error("the sealed text does not open with this key")]
    NotOpened,
    /// No randomness to be had from the system.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// Longer than a sealed text may be.
    #[error(transparent)]
    TooLong(#[from] InvalidWord),
}

/// Seals and opens personal data, and makes the HMACs of requests and reservations. Cheap to clone.
#[derive(Clone)]
pub struct Sealing {
    pool: PgPool,
    keys: Arc<Derived>,
}

struct Derived {
    wrap: Key,
    request: Key,
    reservation: Key,
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealing")
    }
}

impl Sealing {
    /// Derives the keys for wrapping and for HMACs from the master key (32 bytes). `pool` is the
    /// database of members' keys.
    pub fn new(pool: PgPool, master_key: &[u8; KEY_BYTES]) -> Self {
        let derive = |purpose: &str| derived(&[master_key], purpose.as_bytes());
        let keys = Derived {
            wrap: derive("daybook.wrap.1"),
            request: derive("daybook.request.1"),
            reservation: derive("daybook.reservation.1"),
        };
        Self { pool, keys: Arc::new(keys) }
    }

    /// Whether the keys' database answers, for readiness checks.
    ///
    /// # Errors
    /// It does not, or refuses.
    pub async fn ping(&self) -> Result<(), SealingError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// The pool of the keys' database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Makes the member's key; it is committed when this returns. Idempotent. A key whose member
    /// never comes into being harms nothing.
    ///
    /// # Errors
    /// The database does not answer, or the key was destroyed.
    pub async fn create_key(&self, member: MemberId) -> Result<(), SealingError> {
        let key = random::<KEY_BYTES>()?;
        let wrapped = sealed(&self.keys.wrap, &wrap_context(member), &*key)?;
        let created =
            sqlx::query("INSERT INTO member_keys (member_id, wrapped_key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(member.0)
                .bind(wrapped)
                .execute(&self.pool)
                .await?;
        if created.rows_affected() == 0 {
            self.key(member).await?;
        }
        Ok(())
    }

    /// Destroys the member's key: all that it sealed is erased, in the log, in Kafka and in backups
    /// of both. Idempotent.
    pub async fn destroy_key(&self, member: MemberId) -> Result<(), SealingError> {
        sqlx::query(
            "UPDATE member_keys SET wrapped_key = NULL, destroyed_at = now() \
             WHERE member_id = $1 AND destroyed_at IS NULL",
        )
        .bind(member.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Seals one field of a member's personal data.
    pub async fn seal_field(&self, member: MemberId, field: &str, plain: &str) -> Result<Sealed, SealingError> {
        let key = self.key(member).await?;
        let mut bytes = vec![FIELD];
        bytes.extend(sealed(&key, &field_context(member, field), plain.as_bytes())?);
        Ok(Sealed::try_new(BASE64.encode(bytes))?)
    }

    /// Opens one field of a member's personal data.
    pub async fn open_field(&self, member: MemberId, field: &str, text: &Sealed) -> Result<String, SealingError> {
        let bytes = BASE64.decode(text.as_str()).map_err(|_| SealingError::NotOpened)?;
        let [FIELD, rest @ ..] = bytes.as_slice() else { return Err(SealingError::NotOpened) };
        opened(&*self.key(member).await?, &field_context(member, field), rest)
    }

    /// Seals the free text of a transaction for the members party to it; at least one, at most 255.
    pub async fn seal_narrative(
        &self,
        transaction: TransactionId,
        members: &[MemberId],
        plain: &str,
    ) -> Result<Sealed, SealingError> {
        self.keys(members.iter().copied()).await?.seal_narrative(transaction, members, plain)
    }

    /// Opens the free text of a transaction; impossible once one party's key is destroyed.
    pub async fn open_narrative(&self, transaction: TransactionId, text: &Sealed) -> Result<String, SealingError> {
        let bytes = BASE64.decode(text.as_str()).map_err(|_| SealingError::NotOpened)?;
        let [NARRATIVE, count, ..] = bytes.as_slice() else { return Err(SealingError::NotOpened) };
        let header = 2 + usize::from(*count) * 16;
        let (context, rest) = bytes.split_at_checked(header).ok_or(SealingError::NotOpened)?;
        let members: Vec<MemberId> =
            context[2..].chunks_exact(16).filter_map(|id| Uuid::from_slice(id).ok()).map(MemberId).collect();
        let key = self.keys(members.iter().copied()).await?.narrative_key(transaction, &members)?;
        opened(&key, context, rest)
    }

    /// The HMAC of a request's parts. It identifies a request without keeping it.
    pub fn request_hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac(&self.keys.request, parts)
    }

    /// The HMAC under which a unique value is reserved.
    pub(crate) fn reservation_hmac(&self, reservation: &Reservation) -> [u8; 32] {
        hmac(&self.keys.reservation, &[reservation.kind.name().as_bytes(), reservation.value.as_bytes()])
    }

    /// A value by which a log knows the key that its reservations were made with.
    pub(crate) fn key_check(&self, tenant: &str) -> [u8; 32] {
        hmac(&self.keys.reservation, &[b"key_check", tenant.as_bytes()])
    }

    /// The keys of these members, with one look for them all.
    ///
    /// # Errors
    /// The database does not answer, or a key was not wrapped by this master key. A member without a
    /// key is none: whoever needs that key learns it.
    pub async fn keys(&self, members: impl Iterator<Item = MemberId>) -> Result<MemberKeys, SealingError> {
        let mut wanted: Vec<Uuid> = members.map(|member| member.0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let rows = sqlx::query("SELECT member_id, wrapped_key FROM member_keys WHERE member_id = ANY($1)")
            .bind(wanted)
            .fetch_all(&self.pool)
            .await?;
        let mut keys = HashMap::with_capacity(rows.len());
        for row in &rows {
            let member = MemberId(row.try_get("member_id")?);
            let wrapped: Option<Vec<u8>> = row.try_get("wrapped_key")?;
            keys.insert(member, wrapped.map(|wrapped| self.unwrapped(member, &wrapped)).transpose()?);
        }
        Ok(MemberKeys(keys))
    }

    fn unwrapped(&self, member: MemberId, wrapped: &[u8]) -> Result<Key, SealingError> {
        let plain = Zeroizing::new(opened_bytes(&self.keys.wrap, &wrap_context(member), wrapped)?);
        let key: [u8; KEY_BYTES] = plain.as_slice().try_into().map_err(|_| SealingError::NotOpened)?;
        Ok(Zeroizing::new(key))
    }

    async fn key(&self, member: MemberId) -> Result<Key, SealingError> {
        self.keys(std::iter::once(member)).await?.of(member).cloned()
    }
}

/// Keys of members, to seal several texts with. A key that was destroyed is known as such.
pub struct MemberKeys(HashMap<MemberId, Option<Key>>);

impl MemberKeys {
    /// Seals the free text of a transaction for the members party to it; at least one, at most 255.
    ///
    /// # Errors
    /// One of them has no key, or it was destroyed; or the text is too long.
    pub fn seal_narrative(
        &self,
        transaction: TransactionId,
        members: &[MemberId],
        plain: &str,
    ) -> Result<Sealed, SealingError> {
        let mut members = members.to_vec();
        members.sort_unstable();
        members.dedup();
        let count = u8::try_from(members.len()).map_err(|_| SealingError::NotOpened)?;
        if count == 0 {
            return Err(SealingError::NotOpened);
        }
        let key = self.narrative_key(transaction, &members)?;
        let mut bytes = vec![NARRATIVE, count];
        bytes.extend(members.iter().flat_map(|member| *member.0.as_bytes()));
        let context = bytes.clone();
        bytes.extend(sealed(&key, &context, plain.as_bytes())?);
        Ok(Sealed::try_new(BASE64.encode(bytes))?)
    }

    fn narrative_key(&self, transaction: TransactionId, members: &[MemberId]) -> Result<Key, SealingError> {
        let keys = members.iter().map(|member| self.of(*member)).collect::<Result<Vec<_>, _>>()?;
        let material: Vec<&[u8; KEY_BYTES]> = keys.into_iter().map(|key| &**key).collect();
        Ok(derived(&material, format!("daybook.narrative.1/{transaction}").as_bytes()))
    }

    fn of(&self, member: MemberId) -> Result<&Key, SealingError> {
        let key = self.0.get(&member).ok_or(SealingError::NoKey(member))?;
        key.as_ref().ok_or(SealingError::Destroyed(member))
    }
}

fn wrap_context(member: MemberId) -> Vec<u8> {
    format!("member-key/{member}").into_bytes()
}

fn field_context(member: MemberId, field: &str) -> Vec<u8> {
    format!("member/{member}/{field}").into_bytes()
}

fn derived(material: &[&[u8; KEY_BYTES]], purpose: &[u8]) -> Key {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let joined: Zeroizing<Vec<u8>> = Zeroizing::new(material.iter().flat_map(|key| **key).collect());
    // HKDF refuses only outputs of more than 255 hashes; this is one.
    #[allow(clippy::expect_used)]
    Hkdf::<Sha256>::new(None, &joined).expand(purpose, &mut *key).expect("32 bytes are within HKDF's limit");
    key
}

fn hmac(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&**key).expect("any key length fits HMAC");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SealingError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(SealingError::Random)?;
    Ok(bytes)
}

fn sealed(key: &[u8; KEY_BYTES], context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealingError> {
    let nonce = random::<NONCE_BYTES>()?;
    let ciphertext = Aes256Gcm::new(key.into())
        .encrypt(&Nonce::from(*nonce), Payload { msg: plain, aad: context })
        .map_err(|_| SealingError::NotOpened)?;
    let mut bytes = nonce.to_vec();
    bytes.extend(ciphertext);
    Ok(bytes)
}

fn opened_bytes(key: &[u8; KEY_BYTES], context: &[u8], bytes: &[u8]) -> Result<Vec<u8>, SealingError> {
    let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealingError::NotOpened)?;
    Aes256Gcm::new(key.into())
        .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: context })
        .map_err(|_| SealingError::NotOpened)
}

fn opened(key: &[u8; KEY_BYTES], context: &[u8], bytes: &[u8]) -> Result<String, SealingError> {
    String::from_utf8(opened_bytes(key, context, bytes)?).map_err(|_| SealingError::NotOpened)
}
