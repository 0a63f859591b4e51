//! Where a process tells of itself: the operations listener and the collector of traces.

use std::net::SocketAddr;

use super::{ConfigError, Values, invalid};

/// The listener for `/metrics`, `/healthz` and `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpsListen {
    /// At the role's usual port on this machine.
    Usual,
    /// Here.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// How spans travel to the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// OTLP over gRPC, usually port 4317.
    Grpc,
    /// OTLP over HTTP with protobuf bodies, usually port 4318.
    Http,
}

/// A collector of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// Its URL; over HTTP without the path `/v1/traces`.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Which share of the traces that begin here is recorded, 0 to 1; a trace that a caller began is
    /// recorded if the caller says so.
    pub sample_ratio: f64,
}

pub(super) fn ops_listen(values: &Values<'_>) -> Result<OpsListen, ConfigError> {
    const KEY: &str = "DAYBOOK_OPS_LISTEN";
    match values.get(KEY) {
        None => Ok(OpsListen::Usual),
        Some("off") => Ok(OpsListen::Off),
        Some(text) => text
            .parse()
            .map(OpsListen::At)
            .map_err(|_| invalid(KEY, "an address like 127.0.0.1:7410, or `off`, is needed")),
    }
}

pub(super) fn otlp(values: &Values<'_>) -> Result<Option<Otlp>, ConfigError> {
    const ENDPOINT: &str = "DAYBOOK_OTLP_ENDPOINT";
    const PROTOCOL: &str = "DAYBOOK_OTLP_PROTOCOL";
    const SAMPLE: &str = "DAYBOOK_OTLP_SAMPLE";
    let protocol = match values.get(PROTOCOL) {
        None | Some("grpc") => OtlpProtocol::Grpc,
        Some("http") => OtlpProtocol::Http,
        Some(_) => return Err(invalid(PROTOCOL, "grpc or http is needed")),
    };
    let sample_ratio = match values.get(SAMPLE) {
        None => 1.0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|ratio: &f64| (0.0..=1.0).contains(ratio))
            .ok_or_else(|| invalid(SAMPLE, "a share from 0 to 1 is needed"))?,
    };
    let Some(endpoint) = values.get(ENDPOINT) else { return Ok(None) };
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    if !rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')) {
        return Err(invalid(ENDPOINT, "a URL like http://collector:4317 is needed"));
    }
    Ok(Some(Otlp { endpoint: endpoint.trim_end_matches('/').to_owned(), protocol, sample_ratio }))
}

#[cfg(test)]
mod tests {
    use super::{OpsListen, OtlpProtocol};
    use crate::Config;
    use std::collections::BTreeMap;

    fn config(values: &[(&str, &str)]) -> Result<Config, String> {
        let values: BTreeMap<String, String> =
            values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Config::from_values(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named() {
        assert_eq!(config(&[]).unwrap().otlp(), None);
        assert_eq!(config(&[("DAYBOOK_OTLP_PROTOCOL", "http")]).unwrap().otlp(), None);
        let named = config(&[("DAYBOOK_OTLP_ENDPOINT", "http://c:4317/"), ("DAYBOOK_OTLP_SAMPLE", "0.1")]).unwrap();
        let otlp = named.otlp().unwrap();
        assert_eq!((otlp.endpoint.as_str(), otlp.protocol), ("http://c:4317", OtlpProtocol::Grpc));
        assert_eq!(otlp.sample_ratio.to_string(), "0.1");
    }

    #[test]
    fn the_operations_listener_is_usual_elsewhere_or_off() {
        assert_eq!(config(&[]).unwrap().ops_listen(), OpsListen::Usual);
        assert_eq!(config(&[("DAYBOOK_OPS_LISTEN", "off")]).unwrap().ops_listen(), OpsListen::Off);
        let at = config(&[("DAYBOOK_OPS_LISTEN", "127.0.0.1:9000")]).unwrap().ops_listen();
        assert_eq!(at, OpsListen::At("127.0.0.1:9000".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (key, value) in [
            ("DAYBOOK_OPS_LISTEN", "no"),
            ("DAYBOOK_OTLP_ENDPOINT", "collector:4317"),
            ("DAYBOOK_OTLP_ENDPOINT", "http://"),
            ("DAYBOOK_OTLP_PROTOCOL", "udp"),
            ("DAYBOOK_OTLP_SAMPLE", "1.5"),
            ("DAYBOOK_OTLP_SAMPLE", "NaN"),
        ] {
            let error = config(&[(key, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{key} is not valid")), "{error}");
        }
    }
}
