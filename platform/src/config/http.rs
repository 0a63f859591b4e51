//! How the HTTP APIs treat connections and callers: limits, proxies, browsers, TLS.

use super::{ConfigError, Values, invalid};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// The keys that are read here.
pub(super) const KEYS: [&str; 13] = [
    "DAYBOOK_RATE_LIMIT_SUBJECT",
    "DAYBOOK_RATE_LIMIT_ADDRESS",
    "DAYBOOK_CONCURRENCY_LIMIT_SUBJECT",
    "DAYBOOK_CONCURRENCY_LIMIT_ADDRESS",
    "DAYBOOK_TRUSTED_PROXIES",
    "DAYBOOK_CORS_ORIGINS",
    "DAYBOOK_TLS_CERT",
    "DAYBOOK_TLS_KEY",
    "DAYBOOK_HTTP_BODY_BYTES_MAX",
    "DAYBOOK_HTTP_HEADER_BYTES_MAX",
    "DAYBOOK_HTTP_HEADERS_MAX",
    "DAYBOOK_HTTP_REQUESTS_MAX",
    "DAYBOOK_HTTP_CONNECTIONS_MAX",
];

const RATE_PER_SUBJECT_DEFAULT: u32 = 500;
const RATE_PER_ADDRESS_DEFAULT: u32 = 2_000;
const CONCURRENCY_PER_SUBJECT_DEFAULT: u32 = 500;
const CONCURRENCY_PER_ADDRESS_DEFAULT: u32 = 1_000;
const RATE_MAX: u32 = 1_000_000;

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The settings of the HTTP APIs.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Requests a second of one subject, with a burst as large; `None` is no limit
    /// (`DAYBOOK_RATE_LIMIT_SUBJECT`, 500; `off`).
    pub rate_per_subject: Option<u32>,
    /// Requests a second from one address, with a burst as large; `None` is no limit
    /// (`DAYBOOK_RATE_LIMIT_ADDRESS`, 2000; `off`).
    pub rate_per_address: Option<u32>,
    /// Requests of one subject at work at once; `None` is no limit
    /// (`DAYBOOK_CONCURRENCY_LIMIT_SUBJECT`, 500; `off`).
    pub concurrency_per_subject: Option<u32>,
    /// Requests from one address at work at once; `None` is no limit
    /// (`DAYBOOK_CONCURRENCY_LIMIT_ADDRESS`, 1000; `off`).
    pub concurrency_per_address: Option<u32>,
    /// Networks of the proxies whose `X-Forwarded-For` is believed (`DAYBOOK_TRUSTED_PROXIES`, none).
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call the APIs (`DAYBOOK_CORS_ORIGINS`, none).
    pub cors_origins: Vec<String>,
    /// Certificate and key; `None` serves without TLS (`DAYBOOK_TLS_CERT`, `DAYBOOK_TLS_KEY`).
    pub tls: Option<TlsFiles>,
    /// Largest body in bytes (`DAYBOOK_HTTP_BODY_BYTES_MAX`, 1 MiB).
    pub body_bytes_max: usize,
    /// Names and values of all headers of a request in bytes (`DAYBOOK_HTTP_HEADER_BYTES_MAX`, 16 KiB).
    pub header_bytes_max: usize,
    /// Headers of a request (`DAYBOOK_HTTP_HEADERS_MAX`, 64; never more than 100).
    pub headers_max: usize,
    /// Requests at work at once in a process (`DAYBOOK_HTTP_REQUESTS_MAX`, 10,000).
    pub requests_max: usize,
    /// Connections open at once in a process (`DAYBOOK_HTTP_CONNECTIONS_MAX`, 10,000).
    pub connections_max: usize,
}

impl HttpSettings {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            rate_per_subject: rate(values, "DAYBOOK_RATE_LIMIT_SUBJECT", RATE_PER_SUBJECT_DEFAULT)?,
            rate_per_address: rate(values, "DAYBOOK_RATE_LIMIT_ADDRESS", RATE_PER_ADDRESS_DEFAULT)?,
            concurrency_per_subject: rate(
                values,
                "DAYBOOK_CONCURRENCY_LIMIT_SUBJECT",
                CONCURRENCY_PER_SUBJECT_DEFAULT,
            )?,
            concurrency_per_address: rate(
                values,
                "DAYBOOK_CONCURRENCY_LIMIT_ADDRESS",
                CONCURRENCY_PER_ADDRESS_DEFAULT,
            )?,
            trusted_proxies: list(values, "DAYBOOK_TRUSTED_PROXIES", network)?,
            cors_origins: list(values, "DAYBOOK_CORS_ORIGINS", origin)?,
            tls: tls(values)?,
            body_bytes_max: values.size("DAYBOOK_HTTP_BODY_BYTES_MAX", 1024 * 1024, 1..=64 * 1024 * 1024)?,
            header_bytes_max: values.size("DAYBOOK_HTTP_HEADER_BYTES_MAX", 16 * 1024, 1..=64 * 1024)?,
            headers_max: values.size("DAYBOOK_HTTP_HEADERS_MAX", 64, 1..=100)?,
            requests_max: values.size("DAYBOOK_HTTP_REQUESTS_MAX", 10_000, 1..=1_000_000)?,
            connections_max: values.size("DAYBOOK_HTTP_CONNECTIONS_MAX", 10_000, 1..=1_000_000)?,
        })
    }
}

fn rate(values: &Values<'_>, key: &'static str, default: u32) -> Result<Option<u32>, ConfigError> {
    match values.get(key) {
        None => Ok(Some(default)),
        Some("off") => Ok(None),
        Some(text) => {
            let rate = text.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate));
            rate.map(Some).ok_or_else(|| invalid(key, format!("off, or a number of requests from 1 to {RATE_MAX}")))
        }
    }
}

fn list<T>(
    values: &Values<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, ConfigError> {
    let Some(text) = values.get(key) else {
        return Ok(Vec::new());
    };
    text.split(',').map(|item| read(item.trim()).map_err(|needed| invalid(key, needed))).collect()
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address(text)).map_err(|_| "networks like 10.0.0.0/8, or addresses, are needed")
}

/// An origin as browsers send it: scheme, host, perhaps a port, nothing behind.
fn origin(text: &str) -> Result<String, &'static str> {
    let needed = "origins like https://desk.example.org are needed";
    let url = reqwest::Url::parse(text).map_err(|_| needed)?;
    let origin = url.origin().ascii_serialization();
    if matches!(url.scheme(), "http" | "https") && origin == text { Ok(origin) } else { Err(needed) }
}

fn tls(values: &Values<'_>) -> Result<Option<TlsFiles>, ConfigError> {
    match (values.get("DAYBOOK_TLS_CERT"), values.get("DAYBOOK_TLS_KEY")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() })),
        (Some(_), None) => Err(invalid("DAYBOOK_TLS_CERT", "DAYBOOK_TLS_KEY must be set as well")),
        (None, Some(_)) => Err(invalid("DAYBOOK_TLS_KEY", "DAYBOOK_TLS_CERT must be set as well")),
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn config(values: &[(&str, &str)]) -> Result<Config, String> {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Config::from_values(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_can_be_set_and_switched_off() {
        let unset = config(&[]).unwrap();
        assert_eq!((unset.http().rate_per_subject, unset.http().rate_per_address), (Some(500), Some(2_000)));
        let off = config(&[("DAYBOOK_RATE_LIMIT_SUBJECT", "off"), ("DAYBOOK_RATE_LIMIT_ADDRESS", "50000")]).unwrap();
        assert_eq!((off.http().rate_per_subject, off.http().rate_per_address), (None, Some(50_000)));
        let at_once = |config: &Config| (config.http().concurrency_per_subject, config.http().concurrency_per_address);
        assert_eq!(at_once(&unset), (Some(500), Some(1_000)));
        let values = [("DAYBOOK_CONCURRENCY_LIMIT_SUBJECT", "7"), ("DAYBOOK_CONCURRENCY_LIMIT_ADDRESS", "off")];
        assert_eq!(at_once(&config(&values).unwrap()), (Some(7), None));
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for (key, value) in [
            ("DAYBOOK_RATE_LIMIT_SUBJECT", "0"),
            ("DAYBOOK_CONCURRENCY_LIMIT_ADDRESS", "none"),
            ("DAYBOOK_TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
            ("DAYBOOK_CORS_ORIGINS", "*"),
            ("DAYBOOK_CORS_ORIGINS", "https://desk.example.org/"),
            ("DAYBOOK_CORS_ORIGINS", "file:///x"),
            ("DAYBOOK_TLS_CERT", "cert.pem"),
            ("DAYBOOK_TLS_KEY", "key.pem"),
            ("DAYBOOK_HTTP_HEADERS_MAX", "101"),
            ("DAYBOOK_ENVIRONMENT", "staging"),
            ("DAYBOOK_AUTH_JWKS", "ftp://issuer/keys"),
            ("DAYBOOK_AUTH_DEV_SECRET", "0123456789abcdef0123456789abcdef"),
        ] {
            let error = config(&[(key, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{key} is not valid")), "{error}");
        }
        let short = [("DAYBOOK_ENVIRONMENT", "development"), ("DAYBOOK_AUTH_DEV_SECRET", "hunter2")];
        let error = config(&short).unwrap_err();
        assert!(error.contains("32 characters") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn proxies_and_origins_are_lists() {
        let config = config(&[
            ("DAYBOOK_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
            ("DAYBOOK_CORS_ORIGINS", "https://desk.example.org,http://localhost:3000"),
        ]);
        let http = config.unwrap().http().clone();
        assert_eq!(http.trusted_proxies.len(), 2);
        assert_eq!(http.cors_origins, ["https://desk.example.org", "http://localhost:3000"]);
    }
}
