//! Signatures of messages between us and a bank: HMAC-SHA256 over the time and the message, in one
//! header, `daybook-signature: t=SECONDS,v1=HEX`.
//!
//! A webhook signs `{t}.{body}`. A request to the bank signs `{t}.{METHOD} {path and query}\n{body}`,
//! so that it cannot be sent again to another path.
//!
//! Invariants: signatures are compared in constant time; a message older or newer than the tolerance
//! is refused however well it is signed, and its time cannot be changed without the secret. Within
//! the tolerance the same message may come twice, as at-least-once delivery demands: whoever takes
//! it must be idempotent by the name that the message carries.

use crate::secret::Secret;
use axum::http::{HeaderName, Method};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// The header that carries a signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("daybook-signature");
/// How far the time of a message may be from ours, in seconds, either way.
pub const TOLERANCE_S: u64 = 300;
/// The shortest secret that is taken, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

const HEADER_BYTES_MAX: usize = 1024;
const SIGNATURES_MAX: usize = 8;

/// Why a message is not taken as the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is not there.
    #[error("the header daybook-signature is missing")]
    Missing,
    /// The header is not `t=SECONDS,v1=HEX`.
    #[error("the header daybook-signature is not like t=SECONDS,v1=HEX")]
    Malformed,
    /// The time of the message is too far from ours.
    #[error("the signature's time is more than {TOLERANCE_S} seconds from ours")]
    OutOfTime,
    /// No secret of ours made this signature.
    #[error("the signature does not fit the message")]
    Wrong,
}

impl SignatureError {
    /// Stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Malformed => "signature_malformed",
            Self::OutOfTime => "signature_out_of_time",
            Self::Wrong => "signature_wrong",
        }
    }
}

/// The header's value for a message at that time (seconds since the epoch), signed with every
/// secret given: two while the receiver changes from one to the other.
pub fn sign(secrets: &[Secret], at_s: u64, message: &[u8]) -> String {
    let mut value = format!("t={at_s}");
    for secret in secrets {
        let signature = mac(secret, at_s, message).finalize().into_bytes();
        // Writing to a text cannot fail.
        let _ = write!(value, ",v1={}", hex::encode(signature));
    }
    value
}

/// Whether the header's value signs this message, by any of the secrets, and not too long ago;
/// answers the message's time, in seconds since the epoch.
///
/// # Errors
/// `Malformed`, `OutOfTime`, `Wrong`; without a single secret everything is `Wrong`.
pub fn verify(secrets: &[Secret], header: &str, message: &[u8], now_s: u64) -> Result<u64, SignatureError> {
    let (at_s, given) = read(header).ok_or(SignatureError::Malformed)?;
    if at_s.abs_diff(now_s) > TOLERANCE_S {
        return Err(SignatureError::OutOfTime);
    }
    let mut fits = false;
    for secret in secrets {
        // Once a secret: a header with many signatures must not cost its sender less than us.
        let expected = mac(secret, at_s, message);
        for signature in &given {
            // Each comparison takes the same time, and all are made.
            fits |= expected.clone().verify_slice(signature).is_ok();
        }
    }
    if fits { Ok(at_s) } else { Err(SignatureError::Wrong) }
}

/// What a request to the bank signs; the path is with its query, as it is on the wire.
pub fn request_message(method: &Method, path_and_query: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{method} {path_and_query}\n").into_bytes();
    message.extend_from_slice(body);
    message
}

/// Whether these bytes are the secret, in a time that tells nothing of it.
pub fn is_secret(secret: &Secret, given: &[u8]) -> bool {
    let expected = mac(secret, 0, secret.expose().as_bytes()).finalize().into_bytes();
    mac(secret, 0, given).verify_slice(&expected).is_ok()
}

fn mac(secret: &Secret, at_s: u64, message: &[u8]) -> Hmac<Sha256> {
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) {
        Ok(mac) => mac,
        Err(hmac::digest::InvalidLength) => unreachable!("HMAC takes a key of any length"),
    };
    mac.update(format!("{at_s}.").as_bytes());
    mac.update(message);
    mac
}

/// The time and the signatures of a header; fields of other names are left for later versions.
fn read(header: &str) -> Option<(u64, Vec<[u8; 32]>)> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut at_s = None;
    let mut signatures = Vec::new();
    for field in header.split(',') {
        let (name, value) = field.trim().split_once('=')?;
        match name {
            "t" if at_s.is_none() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                at_s = Some(value.parse().ok()?);
            }
            "t" => return None,
            "v1" => {
                let mut signature = [0; 32];
                hex::decode_to_slice(value, &mut signature).ok()?;
                signatures.push(signature);
            }
            _ => {}
        }
    }
    let countable = (1..=SIGNATURES_MAX).contains(&signatures.len());
    at_s.filter(|_| countable).map(|at_s| (at_s, signatures))
}

#[cfg(test)]
mod tests {
    use super::{SignatureError, TOLERANCE_S, is_secret, request_message, sign, verify};
    use crate::secret::Secret;
    use axum::http::Method;

    const AT_S: u64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"id":"1"}"#;
    // printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac whsec-0123456789abcdef
    const BY_OPENSSL: &str = "51ab7b92e010e78aa00efd39576b4c5b7a55dceae782c446fe893eb8748de0fc";
    // printf '1700000000.PUT /payments/7\n{"id":"1"}' | openssl dgst -sha256 -hmac whsec-0123456789abcdef
    const REQUEST_BY_OPENSSL: &str = "b189f387f1c947da05ad04640c2198f5a28c99fe84d436bd76b97045fa665b95";

    fn secret() -> Secret {
        Secret::new("whsec-0123456789abcdef")
    }

    fn other() -> Secret {
        Secret::new("another secret of ours")
    }

    #[test]
    fn signatures_are_those_that_openssl_makes() {
        assert_eq!(sign(&[secret()], AT_S, BODY), format!("t=1700000000,v1={BY_OPENSSL}"));
        let request = request_message(&Method::PUT, "/payments/7", BODY);
        assert_eq!(sign(&[secret()], AT_S, &request), format!("t=1700000000,v1={REQUEST_BY_OPENSSL}"));
    }

    #[test]
    fn a_signature_counts_for_its_message_and_its_time_only() {
        let header = sign(&[secret()], AT_S, BODY);
        assert_eq!(verify(&[secret()], &header, BODY, AT_S), Ok(AT_S));
        assert_eq!(verify(&[secret()], &header, br#"{"id":"2"}"#, AT_S), Err(SignatureError::Wrong));
        assert_eq!(verify(&[other()], &header, BODY, AT_S), Err(SignatureError::Wrong));
        assert_eq!(verify(&[], &header, BODY, AT_S), Err(SignatureError::Wrong));
        // A message sent again under a newer time is no longer what was signed.
        let newer = header.replace("t=1700000000", "t=1700000200");
        assert_eq!(verify(&[secret()], &newer, BODY, AT_S + 200), Err(SignatureError::Wrong));
    }

    #[test]
    fn an_old_or_early_message_is_refused_from_the_second_after_the_tolerance() {
        let header = sign(&[secret()], AT_S, BODY);
        for now_s in [AT_S + TOLERANCE_S, AT_S - TOLERANCE_S] {
            assert_eq!(verify(&[secret()], &header, BODY, now_s), Ok(AT_S));
        }
        for now_s in [AT_S + TOLERANCE_S + 1, AT_S - TOLERANCE_S - 1, 0, u64::MAX] {
            assert_eq!(verify(&[secret()], &header, BODY, now_s), Err(SignatureError::OutOfTime));
        }
    }

    #[test]
    fn a_secret_is_known_by_its_bytes() {
        assert!(is_secret(&secret(), b"whsec-0123456789abcdef"));
        for given in [&b""[..], b"whsec-0123456789abcde", b"whsec-0123456789abcdef0"] {
            assert!(!is_secret(&secret(), given));
        }
    }

    #[test]
    fn two_secrets_count_while_one_takes_over_from_the_other() {
        let old = sign(&[other()], AT_S, BODY);
        assert_eq!(verify(&[secret(), other()], &old, BODY, AT_S), Ok(AT_S));
        let both = sign(&[secret(), other()], AT_S, BODY);
        for one in [secret(), other()] {
            assert_eq!(verify(&[one], &both, BODY, AT_S), Ok(AT_S));
        }
    }

    #[test]
    fn what_is_no_signature_is_malformed() {
        let v1 = BY_OPENSSL;
        let nine = format!("t=1700000000{}", format!(",v1={v1}").repeat(9));
        let wrong = [
            String::new(),
            "t=1700000000".to_owned(),
            format!("v1={v1}"),
            format!("t=,v1={v1}"),
            format!("t=-1,v1={v1}"),
            format!("t=+1700000000,v1={v1}"),
            format!("t=99999999999999999999,v1={v1}"),
            format!("t=1700000000,t=1700000000,v1={v1}"),
            "t=1700000000,v1=abc".to_owned(),
            format!("t=1700000000,v1={v1}00"),
            format!("t=1700000000,v1={v1},"),
            format!("t=1700000000,v1={v1}{}", ",v0=x".repeat(400)),
            nine,
        ];
        for header in wrong {
            assert_eq!(verify(&[secret()], &header, BODY, AT_S), Err(SignatureError::Malformed), "{header}");
        }
        // A scheme that comes later does not break today's readers.
        assert_eq!(verify(&[secret()], &format!("t=1700000000,v2=x,v1={v1}"), BODY, AT_S), Ok(AT_S));
    }
}
