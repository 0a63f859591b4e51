//! How Daybook and its bank reach and know each other.

use super::{ConfigError, Values, invalid, needed};
use crate::secret::Secret;
use crate::signature::SECRET_BYTES_MIN;
use axum::http::Uri;
use uuid::Uuid;

/// The keys that are read here.
pub(super) const KEYS: [&str; 7] = [
    "DAYBOOK_BANK_URL",
    "DAYBOOK_BANK_SECRET",
    "DAYBOOK_BANK_AUTH",
    "DAYBOOK_BANK_TIMEOUT_MS",
    "DAYBOOK_WEBHOOK_SECRETS",
    INCOMING_BANK_ACCOUNT,
    INCOMING_SUSPENSE_ACCOUNT,
];

const INCOMING_BANK_ACCOUNT: &str = "DAYBOOK_INCOMING_BANK_ACCOUNT";
const INCOMING_SUSPENSE_ACCOUNT: &str = "DAYBOOK_INCOMING_SUSPENSE_ACCOUNT";

const TIMEOUT_MS_DEFAULT: i32 = 10_000;
const TIMEOUT_MS_MAX: i32 = 120_000;

/// How requests to the bank prove who sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankAuth {
    /// The secret itself, as a bearer token: over https only, but for a bank on this machine.
    Bearer,
    /// A signature over time, method, path and body: the secret never leaves (`signature`).
    Hmac,
}

/// Where payments that come in are booked; both are internal accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingAccounts {
    /// The one that stands for our account at the bank (`DAYBOOK_INCOMING_BANK_ACCOUNT`).
    pub bank_account: Uuid,
    /// The one where a payment waits for its loan (`DAYBOOK_INCOMING_SUSPENSE_ACCOUNT`).
    pub suspense_account: Uuid,
}

/// The settings of the payment port and of the bank's webhooks.
#[derive(Debug, Clone)]
pub struct BankConfig {
    url: Option<String>,
    secret: Option<Secret>,
    auth: BankAuth,
    timeout_ms: u32,
    webhook_secrets: Vec<Secret>,
    incoming: Option<IncomingAccounts>,
}

impl BankConfig {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        let timeout_ms = values.count("DAYBOOK_BANK_TIMEOUT_MS", TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX)?;
        Ok(Self {
            url: url(values, "DAYBOOK_BANK_URL")?,
            secret: values.get("DAYBOOK_BANK_SECRET").map(|text| secret("DAYBOOK_BANK_SECRET", text)).transpose()?,
            auth: match values.get("DAYBOOK_BANK_AUTH") {
                None | Some("hmac") => BankAuth::Hmac,
                Some("bearer") => BankAuth::Bearer,
                Some(_) => return Err(invalid("DAYBOOK_BANK_AUTH", "hmac or bearer is needed")),
            },
            timeout_ms: timeout_ms.unsigned_abs(),
            webhook_secrets: values
                .get("DAYBOOK_WEBHOOK_SECRETS")
                .map(|list| list.split(',').map(|text| secret("DAYBOOK_WEBHOOK_SECRETS", text.trim())).collect())
                .transpose()?
                .unwrap_or_default(),
            incoming: incoming(values)?,
        })
    }

    /// Address of the bank's HTTP interface (`DAYBOOK_BANK_URL`).
    pub fn url(&self) -> Result<&str, ConfigError> {
        needed(self.url.as_deref(), "DAYBOOK_BANK_URL")
    }

    /// The secret shared with the bank for requests to it (`DAYBOOK_BANK_SECRET`).
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// How requests prove who sends them (`DAYBOOK_BANK_AUTH`, hmac).
    pub fn auth(&self) -> BankAuth {
        self.auth
    }

    /// How long one request to the bank may take, in milliseconds, up to two minutes
    /// (`DAYBOOK_BANK_TIMEOUT_MS`, 10,000).
    pub fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    /// The secrets of the bank's webhooks, two while one takes over from the other
    /// (`DAYBOOK_WEBHOOK_SECRETS`, a list with commas; empty: no webhook is taken).
    pub fn webhook_secrets(&self) -> &[Secret] {
        &self.webhook_secrets
    }

    /// Where payments that the bank tells of are booked; `None` where that is not set.
    pub fn incoming(&self) -> Option<IncomingAccounts> {
        self.incoming
    }
}

/// An address without user, query or fragment: what a request adds is only a path.
fn url(values: &Values<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(text) = values.get(key) else {
        return Ok(None);
    };
    let parsed = text.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
            && !text.contains('#')
    });
    match parsed {
        Some(_) => Ok(Some(text.trim_end_matches('/').to_owned())),
        None => Err(invalid(key, "an address like https://bank.example or http://127.0.0.1:7403 is needed")),
    }
}

/// Both accounts or neither, and not one for both.
fn incoming(values: &Values<'_>) -> Result<Option<IncomingAccounts>, ConfigError> {
    let account = |key: &'static str| {
        let id = values.get(key).map(|text| Uuid::try_parse(text).ok().filter(|id| !id.is_nil()));
        id.map(|id| id.ok_or_else(|| invalid(key, "the id of an account is needed"))).transpose()
    };
    match (account(INCOMING_BANK_ACCOUNT)?, account(INCOMING_SUSPENSE_ACCOUNT)?) {
        (None, None) => Ok(None),
        (Some(bank_account), Some(suspense_account)) if bank_account != suspense_account => {
            Ok(Some(IncomingAccounts { bank_account, suspense_account }))
        }
        (Some(_), Some(_)) => Err(invalid(INCOMING_SUSPENSE_ACCOUNT, "another account than the bank's is needed")),
        (Some(_), None) => Err(invalid(INCOMING_SUSPENSE_ACCOUNT, "it is needed beside the bank's account")),
        (None, Some(_)) => Err(invalid(INCOMING_BANK_ACCOUNT, "it is needed beside the suspense account")),
    }
}

fn secret(key: &'static str, text: &str) -> Result<Secret, ConfigError> {
    if text.len() < SECRET_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(key, format!("at least {SECRET_BYTES_MIN} visible ASCII characters are needed")));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::BankAuth;
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn config(values: &[(&str, &str)]) -> Result<Config, String> {
        let values: BTreeMap<_, _> = values.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Config::from_values(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn webhooks_have_one_secret_or_two_and_none_prints() {
        let secrets = "first-secret-of-ours, second-secret-of-ours";
        let config = config(&[("DAYBOOK_WEBHOOK_SECRETS", secrets), ("DAYBOOK_BANK_URL", "http://127.0.0.1:7403/")]);
        let config = config.unwrap();
        let bank = config.bank();
        let exposed: Vec<_> = bank.webhook_secrets().iter().map(|secret| secret.expose()).collect();
        assert_eq!(exposed, ["first-secret-of-ours", "second-secret-of-ours"]);
        assert_eq!(
            (bank.url().unwrap(), bank.auth(), bank.timeout_ms()),
            ("http://127.0.0.1:7403", BankAuth::Hmac, 10_000)
        );
        assert!(!format!("{config:?}").contains("of-ours"));
    }

    #[test]
    fn what_would_be_unsafe_is_refused_without_showing_it() {
        for (key, value) in [
            ("DAYBOOK_WEBHOOK_SECRETS", "short"),
            ("DAYBOOK_WEBHOOK_SECRETS", "first-secret-of-ours,"),
            ("DAYBOOK_BANK_SECRET", "with a space in it"),
            ("DAYBOOK_BANK_AUTH", "basic"),
            ("DAYBOOK_BANK_URL", "ftp://bank.example"),
            ("DAYBOOK_BANK_URL", "https://user:secret@bank.example"),
            ("DAYBOOK_BANK_URL", "https://bank.example/?key=secret"),
            ("DAYBOOK_BANK_TIMEOUT_MS", "999999"),
            ("DAYBOOK_INCOMING_BANK_ACCOUNT", "1010"),
            ("DAYBOOK_INCOMING_SUSPENSE_ACCOUNT", "00000000-0000-0000-0000-000000000000"),
        ] {
            let error = config(&[(key, value)]).unwrap_err();
            assert!(error.contains(key) && !error.contains(value), "{error}");
        }
        assert!(config(&[]).unwrap().bank().url().is_err());
    }

    #[test]
    fn incoming_payments_need_both_accounts_or_none() {
        let (bank, suspense) = ("DAYBOOK_INCOMING_BANK_ACCOUNT", "DAYBOOK_INCOMING_SUSPENSE_ACCOUNT");
        let (one, two) = ("0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7980", "0190a5d0-7c3e-7b1a-9f2e-3d4c5b6a7981");
        assert_eq!(config(&[]).unwrap().bank().incoming(), None);
        let both = config(&[(bank, one), (suspense, two)]).unwrap().bank().incoming().unwrap();
        assert_eq!((both.bank_account.to_string(), both.suspense_account.to_string()), (one.into(), two.into()));
        for (values, named) in [
            (vec![(bank, one)], suspense),
            (vec![(suspense, one)], bank),
            (vec![(bank, one), (suspense, one)], suspense),
        ] {
            assert!(config(&values).unwrap_err().contains(named));
        }
    }
}
