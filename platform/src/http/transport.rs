//! Under which conditions connections are taken: TLS, how many, how large their heads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::{HttpSettings, TlsFiles};

/// From the connection to its first request; a TLS handshake is a part of it.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// From a reply to the whole head of the next request; longer than clients keep idle connections
/// (90 s is common), so that it is they who close them.
const NEXT_REQUEST_TIMEOUT: Duration = Duration::from_secs(95);

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of what it must hold.
    #[error("{path} cannot be used for TLS: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: pem::Error,
    },
    /// The certificate and the key do not go together, or are of a kind that is not known.
    #[error("certificate and key cannot be used for TLS: {0}")]
    Unusable(#[from] rustls::Error),
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The conditions.
#[derive(Clone)]
pub struct Transport {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) connections_max: usize,
    pub(super) first_request_timeout: Duration,
    pub(super) next_request_timeout: Duration,
}

impl Default for Transport {
    /// Without TLS, 10,000 connections at once.
    fn default() -> Self {
        Self {
            tls: None,
            connections_max: 10_000,
            first_request_timeout: FIRST_REQUEST_TIMEOUT,
            next_request_timeout: NEXT_REQUEST_TIMEOUT,
        }
    }
}

impl Transport {
    /// As the settings say; certificate and key are read now.
    pub fn try_new(settings: &HttpSettings) -> Result<Self, TlsError> {
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        Ok(Self { tls, connections_max: settings.connections_max, ..Self::default() })
    }

    /// The same with other patience: with clients that are silent after they have connected, and
    /// between requests.
    #[must_use]
    pub fn with_patience(mut self, first_request: Duration, next_request: Duration) -> Self {
        self.first_request_timeout = first_request;
        self.next_request_timeout = next_request;
        self
    }
}

/// TLS 1.3 and nothing older.
fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |cause| TlsError::File { path, cause }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(unreadable(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
