use super::{Config, LogFormat, edits_between};
use std::collections::BTreeMap;

fn config(values: &[(&str, &str)]) -> Result<Config, String> {
    let values: BTreeMap<String, String> =
        values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Config::from_values(&values).map_err(|error| error.to_string())
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let config = config(&[]).unwrap();
    assert_eq!(config.topic(), "daybook.events");
    assert_eq!(config.partitions(), 12);
    assert_eq!(config.tenant(), "main");
    assert_eq!(config.time_zone(), chrono_tz::UTC);
    assert_eq!(config.all_listen().to_string(), "127.0.0.1:7400");
    assert_eq!(config.auth().environment(), crate::auth::Environment::Production);
    assert_eq!(config.log_format(), LogFormat::Text);
}

#[test]
fn what_a_role_needs_and_lacks_is_named() {
    let error = config(&[]).unwrap().log_writer().unwrap_err().to_string();
    assert_eq!(error, "DAYBOOK_LOG_WRITER_URL is not set; run `daybook setup`");
}

#[test]
fn a_misspelt_key_is_refused_and_the_nearest_named() {
    assert_eq!(
        config(&[("DAYBOOK_LOG_WRITE_URL", "x")]).unwrap_err(),
        "DAYBOOK_LOG_WRITE_URL is not a known key; did you mean DAYBOOK_LOG_WRITER_URL?"
    );
    assert!(config(&[("DAYBOOK_HOME", "x"), ("DAYBOOK_TEST_ANY", "x"), ("PATH", "x")]).is_ok());
}

#[test]
fn values_are_validated_and_secrets_stay_untold() {
    for (key, value) in [
        ("DAYBOOK_LOG_WRITER_URL", "mysql://u:hunter2@h/d"),
        ("DAYBOOK_LOG_WRITER_URL", "postgres://u:hunter2@h:x/d"),
        ("DAYBOOK_PARTITIONS", "0"),
        ("DAYBOOK_PARTITIONS", "1001"),
        ("DAYBOOK_ALL_LISTEN", "localhost"),
        ("DAYBOOK_MASTER_KEY", "hunter2"),
        ("DAYBOOK_LOG_FORMAT", "xml"),
        ("DAYBOOK_TIME_ZONE", "Mars/Olympus"),
        ("DAYBOOK_TENANT", "a/b"),
        ("KAFKA_BROKERS", "127.0.0.1"),
    ] {
        let error = config(&[(key, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{key} is not valid")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_empty_value_counts_as_not_set() {
    assert_eq!(config(&[("DAYBOOK_TOPIC", "")]).unwrap().topic(), "daybook.events");
}

#[test]
fn printing_a_configuration_tells_no_secret() {
    let config = config(&[("DAYBOOK_KEYS_URL", "postgres://u:hunter2@h/d")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(config.keys().unwrap().expose().contains("hunter2"));
}

#[test]
fn distance_between_keys() {
    assert_eq!(edits_between("kitten", "sitting"), 3);
    assert_eq!(edits_between("", "abc"), 3);
    assert_eq!(edits_between("abc", "abc"), 0);
}
