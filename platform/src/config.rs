//! The configuration of every role, typed, from the environment and optionally an env file.
//!
//! Invariants: it is read and validated once, at the start; the process environment wins over the
//! file; an unknown `DAYBOOK_*` key is refused, so a misspelt key never means a silent default;
//! nothing secret prints, in errors neither. An empty value counts as not set.

mod bank;
mod http;
mod telemetry;

pub use telemetry::{OpsListen, Otlp, OtlpProtocol};

use crate::auth::{self, AuthSettings};
use crate::env_file::{self, EnvFileError};
use crate::secret::{Secret, SecretKey};
use chrono_tz::Tz;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

pub use bank::{BankAuth, BankConfig, IncomingAccounts};
pub use http::{HttpSettings, TlsFiles};

/// The directives of the log filter when `RUST_LOG` says nothing.
pub const LOG_FILTER_DEFAULT: &str = "info,rdkafka=warn,librdkafka=warn,sqlx=warn";

const PREFIX: &str = "DAYBOOK_";

/// Every key that this struct reads or that the set-up keeps beside them.
const KNOWN_KEYS: [&str; 25] = [
    "DAYBOOK_LOG_OWNER_URL",
    "DAYBOOK_LOG_WRITER_URL",
    "DAYBOOK_LOG_READER_URL",
    "DAYBOOK_KEYS_URL",
    "DAYBOOK_VIEWS_OWNER_URL",
    "DAYBOOK_VIEWS_READER_URL",
    "DAYBOOK_ANALYST_URL",
    "DAYBOOK_TOPIC",
    "DAYBOOK_PARTITIONS",
    "DAYBOOK_REPLICATION",
    "DAYBOOK_TENANT",
    "DAYBOOK_TIME_ZONE",
    "DAYBOOK_COMMAND_API_LISTEN",
    "DAYBOOK_QUERY_API_LISTEN",
    "DAYBOOK_ALL_LISTEN",
    "DAYBOOK_MASTER_KEY",
    "DAYBOOK_LOG_FORMAT",
    "DAYBOOK_OPS_LISTEN",
    "DAYBOOK_OTLP_ENDPOINT",
    "DAYBOOK_OTLP_PROTOCOL",
    "DAYBOOK_OTLP_SAMPLE",
    "DAYBOOK_SETUP_SEED",
    "DAYBOOK_SETUP_PREFIX",
    "DAYBOOK_ENV_FILE",
    "DAYBOOK_CACHE_STREAMS",
];

/// Keys that only scripts, tests and tools read.
const SCRIPT_KEYS: [&str; 5] =
    ["DAYBOOK_HOME", "DAYBOOK_PG_PORT", "DAYBOOK_KAFKA_PORT", "DAYBOOK_DATA", "DAYBOOK_TOKEN"];
const TEST_PREFIX: &str = "DAYBOOK_TEST_";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The env file cannot be used.
    #[error(transparent)]
    EnvFile(#[from] EnvFileError),
    /// A key with our prefix that nothing reads.
    #[error("{key} is not a known key; did you mean {nearest}?")]
    UnknownKey {
        /// The key as it was given.
        key: String,
        /// The known key that is closest to it.
        nearest: &'static str,
    },
    /// A value that is not what its key needs; the value itself is not told.
    #[error("{key} is not valid: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What its value must be.
        reason: String,
    },
    /// A key that this role needs.
    #[error("{key} is not set; run `daybook setup`")]
    NotSet {
        /// The key.
        key: &'static str,
    },
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The configuration of the whole binary; each role asks it for what it needs.
#[derive(Debug, Clone)]
pub struct Config {
    log_owner: Option<Secret>,
    log_writer: Option<Secret>,
    log_reader: Option<Secret>,
    keys: Option<Secret>,
    views_owner: Option<Secret>,
    views_reader: Option<Secret>,
    analyst: Option<Secret>,
    master_key: Option<SecretKey>,
    brokers: Option<String>,
    topic: String,
    partitions: i32,
    replication: i32,
    tenant: String,
    time_zone: Tz,
    cache_streams: usize,
    command_api_listen: SocketAddr,
    query_api_listen: SocketAddr,
    all_listen: SocketAddr,
    auth: AuthSettings,
    http: HttpSettings,
    log_format: LogFormat,
    log_filter: String,
    ops_listen: OpsListen,
    otlp: Option<Otlp>,
    bank: BankConfig,
}

impl Config {
    /// Reads the process environment, and under it the env file if one is given, and validates
    /// every value.
    pub fn load(env_file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut values = match env_file {
            Some(path) => env_file::read(path)?,
            None => BTreeMap::new(),
        };
        // A variable that is not Unicode cannot be one of ours, unless it is misspelt: then its
        // absence is told by name where it is needed.
        let environment =
            std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        values.extend(environment.filter(|(key, value)| is_ours(key) && !value.is_empty()));
        Self::from_values(&values)
    }

    /// Validates values given as a map (of a provisioning, of a test); the environment is not read.
    pub fn from_values(values: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        for key in values.keys() {
            refuse_unknown(key)?;
        }
        let values = Values(values);
        Ok(Self {
            log_owner: values.postgres_url("DAYBOOK_LOG_OWNER_URL")?,
            log_writer: values.postgres_url("DAYBOOK_LOG_WRITER_URL")?,
            log_reader: values.postgres_url("DAYBOOK_LOG_READER_URL")?,
            keys: values.postgres_url("DAYBOOK_KEYS_URL")?,
            views_owner: values.postgres_url("DAYBOOK_VIEWS_OWNER_URL")?,
            views_reader: values.postgres_url("DAYBOOK_VIEWS_READER_URL")?,
            analyst: values.postgres_url("DAYBOOK_ANALYST_URL")?,
            master_key: values.master_key("DAYBOOK_MASTER_KEY")?,
            brokers: values.brokers("KAFKA_BROKERS")?,
            topic: values.name("DAYBOOK_TOPIC", "daybook.events", 249, "._-")?,
            partitions: values.count("DAYBOOK_PARTITIONS", 12, 1000)?,
            replication: values.count("DAYBOOK_REPLICATION", 1, 15)?,
            tenant: values.name("DAYBOOK_TENANT", "main", 64, "_-")?,
            time_zone: values.time_zone("DAYBOOK_TIME_ZONE")?,
            cache_streams: values.size("DAYBOOK_CACHE_STREAMS", 200_000, 1_000..=100_000_000)?,
            command_api_listen: values.listen("DAYBOOK_COMMAND_API_LISTEN", 7401)?,
            query_api_listen: values.listen("DAYBOOK_QUERY_API_LISTEN", 7402)?,
            all_listen: values.listen("DAYBOOK_ALL_LISTEN", 7400)?,
            auth: AuthSettings::read(|key| values.get(key))?,
            http: HttpSettings::read(&values)?,
            log_format: values.log_format("DAYBOOK_LOG_FORMAT")?,
            bank: BankConfig::read(&values)?,
            log_filter: values.get("RUST_LOG").unwrap_or(LOG_FILTER_DEFAULT).to_owned(),
            ops_listen: telemetry::ops_listen(&values)?,
            otlp: telemetry::otlp(&values)?,
        })
    }

    /// URL of the event-store database as its owner (`DAYBOOK_LOG_OWNER_URL`; migrations only).
    pub fn log_owner(&self) -> Result<&Secret, ConfigError> {
        needed(self.log_owner.as_ref(), "DAYBOOK_LOG_OWNER_URL")
    }

    /// URL of the event-store database as a writer (`DAYBOOK_LOG_WRITER_URL`).
    pub fn log_writer(&self) -> Result<&Secret, ConfigError> {
        needed(self.log_writer.as_ref(), "DAYBOOK_LOG_WRITER_URL")
    }

    /// URL of the event-store database as a reader (`DAYBOOK_LOG_READER_URL`; SELECT only).
    pub fn log_reader(&self) -> Result<&Secret, ConfigError> {
        needed(self.log_reader.as_ref(), "DAYBOOK_LOG_READER_URL")
    }

    /// URL of the database of wrapped member keys (`DAYBOOK_KEYS_URL`).
    pub fn keys(&self) -> Result<&Secret, ConfigError> {
        needed(self.keys.as_ref(), "DAYBOOK_KEYS_URL")
    }

    /// URL of the read-model database as its owner (`DAYBOOK_VIEWS_OWNER_URL`).
    pub fn views_owner(&self) -> Result<&Secret, ConfigError> {
        needed(self.views_owner.as_ref(), "DAYBOOK_VIEWS_OWNER_URL")
    }

    /// URL of the read-model database as a reader (`DAYBOOK_VIEWS_READER_URL`).
    pub fn views_reader(&self) -> Result<&Secret, ConfigError> {
        needed(self.views_reader.as_ref(), "DAYBOOK_VIEWS_READER_URL")
    }

    /// URL of the read-model database for people with SQL (`DAYBOOK_ANALYST_URL`; read only).
    pub fn analyst(&self) -> Result<&Secret, ConfigError> {
        needed(self.analyst.as_ref(), "DAYBOOK_ANALYST_URL")
    }

    /// The key of 32 bytes that wraps all others (`DAYBOOK_MASTER_KEY`).
    pub fn master_key(&self) -> Result<&SecretKey, ConfigError> {
        needed(self.master_key.as_ref(), "DAYBOOK_MASTER_KEY")
    }

    /// Bootstrap list of the Kafka brokers (`KAFKA_BROKERS`).
    pub fn brokers(&self) -> Result<&str, ConfigError> {
        needed(self.brokers.as_deref(), "KAFKA_BROKERS")
    }

    /// Name of the topic of events (`DAYBOOK_TOPIC`, `daybook.events`).
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Number of the topic's partitions, 1 to 1000 (`DAYBOOK_PARTITIONS`, 12).
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Number of copies of each partition (`DAYBOOK_REPLICATION`, 1).
    pub fn replication(&self) -> i32 {
        self.replication
    }

    /// Name of the tenant (`DAYBOOK_TENANT`, `main`).
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Time zone of the tenant's business dates (`DAYBOOK_TIME_ZONE`, UTC).
    pub fn time_zone(&self) -> Tz {
        self.time_zone
    }

    /// How many accounts, loans and other streams a command API keeps in memory, 1,000 to 100 million
    /// (`DAYBOOK_CACHE_STREAMS`, 200,000; an account takes about a kibibyte).
    pub fn cache_streams(&self) -> usize {
        self.cache_streams
    }

    /// Where the command API listens (`DAYBOOK_COMMAND_API_LISTEN`, 127.0.0.1:7401).
    pub fn command_api_listen(&self) -> SocketAddr {
        self.command_api_listen
    }

    /// Where the query API listens (`DAYBOOK_QUERY_API_LISTEN`, 127.0.0.1:7402).
    pub fn query_api_listen(&self) -> SocketAddr {
        self.query_api_listen
    }

    /// Where all roles in one process listen (`DAYBOOK_ALL_LISTEN`, 127.0.0.1:7400).
    pub fn all_listen(&self) -> SocketAddr {
        self.all_listen
    }

    /// How callers prove who they are.
    pub fn auth(&self) -> &AuthSettings {
        &self.auth
    }

    /// How the HTTP APIs treat connections and callers.
    pub fn http(&self) -> &HttpSettings {
        &self.http
    }

    /// How log lines are written (`DAYBOOK_LOG_FORMAT`, text).
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// How we and our bank reach and know each other.
    pub fn bank(&self) -> &BankConfig {
        &self.bank
    }

    /// Directives of the log filter (`RUST_LOG`).
    pub fn log_filter(&self) -> &str {
        &self.log_filter
    }

    /// Where `/metrics` and the probes are served (`DAYBOOK_OPS_LISTEN`; by role, or `off`).
    pub fn ops_listen(&self) -> OpsListen {
        self.ops_listen
    }

    /// The collector of traces (`DAYBOOK_OTLP_ENDPOINT`, `DAYBOOK_OTLP_PROTOCOL`, `DAYBOOK_OTLP_SAMPLE`; off).
    pub fn otlp(&self) -> Option<&Otlp> {
        self.otlp.as_ref()
    }
}

/// The values given, each read as what its key needs.
struct Values<'a>(&'a BTreeMap<String, String>);

impl Values<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn postgres_url(&self, key: &'static str) -> Result<Option<Secret>, ConfigError> {
        let Some(url) = self.get(key) else {
            return Ok(None);
        };
        let scheme_fits = url.starts_with("postgres://") || url.starts_with("postgresql://");
        // The parser's own message may quote the URL and with it the password.
        if !scheme_fits || PgConnectOptions::from_str(url).is_err() {
            return Err(invalid(key, "a URL like postgres://user:password@host:port/database is needed"));
        }
        Ok(Some(Secret::new(url)))
    }

    fn master_key(&self, key: &'static str) -> Result<Option<SecretKey>, ConfigError> {
        self.get(key)
            .map(|text| SecretKey::from_hex(text).ok_or_else(|| invalid(key, "64 hex digits are needed")))
            .transpose()
    }

    fn brokers(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(list) = self.get(key) else {
            return Ok(None);
        };
        for broker in list.split(',') {
            let fits = broker
                .trim()
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !fits {
                return Err(invalid(key, "a list like host:port,host:port is needed"));
            }
        }
        Ok(Some(list.to_owned()))
    }

    fn name(
        &self,
        key: &'static str,
        default: &str,
        length_max: usize,
        punctuation: &str,
    ) -> Result<String, ConfigError> {
        let name = self.get(key).unwrap_or(default);
        let fits =
            name.len() <= length_max && name.chars().all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c));
        if fits {
            Ok(name.to_owned())
        } else {
            Err(invalid(key, format!("at most {length_max} letters, digits or any of {punctuation} are needed")))
        }
    }

    fn count(&self, key: &'static str, default: i32, max: i32) -> Result<i32, ConfigError> {
        let Some(text) = self.get(key) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|count| (1..=max).contains(count))
            .ok_or_else(|| invalid(key, format!("a number from 1 to {max} is needed")))
    }

    fn size(&self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let size = text.parse().ok().filter(|size| range.contains(size));
        size.ok_or_else(|| invalid(key, format!("a number from {} to {} is needed", range.start(), range.end())))
    }

    fn time_zone(&self, key: &'static str) -> Result<Tz, ConfigError> {
        self.get(key).map_or(Ok(Tz::UTC), |text| {
            text.parse().map_err(|_| invalid(key, "a name like UTC or Europe/Prague is needed"))
        })
    }

    fn listen(&self, key: &'static str, port: u16) -> Result<SocketAddr, ConfigError> {
        self.get(key).map_or(Ok(SocketAddr::from(([127, 0, 0, 1], port))), |text| {
            text.parse().map_err(|_| invalid(key, "an address like 127.0.0.1:7400 is needed"))
        })
    }

    fn log_format(&self, key: &'static str) -> Result<LogFormat, ConfigError> {
        match self.get(key) {
            None | Some("text") => Ok(LogFormat::Text),
            Some("json") => Ok(LogFormat::Json),
            Some(_) => Err(invalid(key, "json or text is needed")),
        }
    }
}

fn invalid(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key, reason: reason.into() }
}

fn needed<T>(value: Option<T>, key: &'static str) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::NotSet { key })
}

fn is_ours(key: &str) -> bool {
    key.starts_with(PREFIX) || key == "KAFKA_BROKERS" || key == "RUST_LOG"
}

fn known_keys() -> impl Iterator<Item = &'static str> {
    KNOWN_KEYS.into_iter().chain(auth::KEYS).chain(bank::KEYS).chain(http::KEYS)
}

fn refuse_unknown(key: &str) -> Result<(), ConfigError> {
    let unread = !key.starts_with(PREFIX)
        || key.starts_with(TEST_PREFIX)
        || SCRIPT_KEYS.contains(&key)
        || known_keys().any(|known| known == key);
    if unread {
        return Ok(());
    }
    let nearest = known_keys().min_by_key(|known| edits_between(key, known)).unwrap_or(PREFIX);
    Err(ConfigError::UnknownKey { key: key.to_owned(), nearest })
}

/// Levenshtein's distance: the least number of insertions, deletions and replacements.
fn edits_between(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = *cell;
            *cell = replaced.min(previous + 1).min(*cell + 1);
            previous = *cell;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
