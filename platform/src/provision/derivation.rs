//! What follows from the seed: passwords of roles, the first master key, and the seed's own mark.

use crate::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A new seed: 32 random bytes in hex; `None` if the system gives no randomness.
pub fn generate_seed() -> Option<Secret> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).ok()?;
    Some(Secret::new(hex::encode(seed)))
}

/// The password of a role, 64 hex digits.
pub(super) fn password(seed: &Secret, role: &str) -> String {
    derive(seed, &["password", role])
}

/// The master key of a prefix's first environment, 64 hex digits. Deriving it means that an env
/// file that was lost is made again from the seed.
pub(super) fn master_key(seed: &Secret, prefix: &str) -> String {
    derive(seed, &["master-key", prefix])
}

/// The settings with which the APIs can be used on a developer's machine: a secret of its own for
/// tokens (`daybook token` mints them), and no limits of what one caller may ask.
pub fn development_settings(seed: &Secret, prefix: &str) -> [(String, String); 6] {
    [
        ("DAYBOOK_ENVIRONMENT", "development".to_owned()),
        ("DAYBOOK_AUTH_DEV_SECRET", derive(seed, &["development-tokens", prefix])),
        ("DAYBOOK_RATE_LIMIT_SUBJECT", "off".to_owned()),
        ("DAYBOOK_RATE_LIMIT_ADDRESS", "off".to_owned()),
        ("DAYBOOK_CONCURRENCY_LIMIT_SUBJECT", "off".to_owned()),
        ("DAYBOOK_CONCURRENCY_LIMIT_ADDRESS", "off".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}

/// A mark by which a seed is known again and that does not give it away.
pub(super) fn fingerprint(seed: &Secret) -> String {
    let mut mark = derive(seed, &["fingerprint"]);
    mark.truncate(16);
    mark
}

/// HMAC-SHA256 of the labels under the seed, in hex.
fn derive(seed: &Secret, labels: &[&str]) -> String {
    // HMAC takes a key of any length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(seed.expose().as_bytes()) {
        Ok(mac) => mac,
        Err(hmac::digest::InvalidLength) => unreachable!("HMAC takes a key of any length"),
    };
    mac.update(b"daybook setup v1");
    for label in labels {
        mac.update(&[0]);
        mac.update(label.as_bytes());
    }
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::{development_settings, fingerprint, generate_seed, master_key, password};
    use crate::secret::Secret;

    #[test]
    fn everything_follows_from_the_seed_and_nothing_is_the_same_twice() {
        let seed = Secret::new("a seed of some length");
        assert_eq!(password(&seed, "daybook_owner"), password(&seed, "daybook_owner"));
        let mut all = [
            password(&seed, "daybook_owner"),
            password(&seed, "daybook_writer"),
            password(&Secret::new("another seed of some"), "daybook_owner"),
            master_key(&seed, "daybook"),
            master_key(&seed, "other"),
            development_settings(&seed, "daybook")[1].1.clone(),
            development_settings(&seed, "other")[1].1.clone(),
            generate_seed().unwrap().expose().to_owned(),
            generate_seed().unwrap().expose().to_owned(),
        ];
        assert!(all.iter().all(|text| text.len() == 64));
        all.sort();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(fingerprint(&seed).len(), 16);
    }
}
