//! Under which conditions connections are taken: TLS, how many, how patiently.
//!
//! Invariant: a certificate that was renewed is used without a restart; files that cannot be used
//! leave the certificate in force that was read before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// How often certificate and key are read anew.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

/// The conditions.
#[derive(Clone)]
pub struct Transport {
    pub(super) tls: Option<Arc<Tls>>,
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
        Self::reloading(settings, RELOAD_EVERY)
    }

    /// The same, where certificate and key are read anew so often; for tests.
    pub fn reloading(settings: &HttpSettings, every: Duration) -> Result<Self, TlsError> {
        let tls = settings.tls.as_ref().map(|files| Tls::try_new(files, every)).transpose()?.map(Arc::new);
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

/// Certificate and key as they were last read.
pub(super) struct Tls {
    files: TlsFiles,
    every: Duration,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    read: (Vec<u8>, Vec<u8>),
    looked: Instant,
}

impl Tls {
    fn try_new(files: &TlsFiles, every: Duration) -> Result<Self, TlsError> {
        let read = read(files)?;
        let current = Current { acceptor: acceptor(files, &read)?, read, looked: Instant::now() };
        Ok(Self { files: files.clone(), every, current: Mutex::new(current) })
    }

    /// What takes connections now. Two small files are read, now and then, by whoever comes next.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= self.every {
            current.looked = Instant::now();
            if let Err(error) = self.renew(&mut current) {
                tracing::error!(%error, "the certificate could not be read anew; the one before stays in force");
            }
        }
        current.acceptor.clone()
    }

    fn renew(&self, current: &mut Current) -> Result<(), TlsError> {
        let read = read(&self.files)?;
        if read != current.read {
            current.acceptor = acceptor(&self.files, &read)?;
            current.read = read;
            tracing::info!("another certificate is in force");
        }
        Ok(())
    }
}

fn read(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|cause| unusable(path)(pem::Error::Io(cause)));
    Ok((read(&files.certificate)?, read(&files.key)?))
}

fn unusable(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |cause| TlsError::File { path: path.to_owned(), cause }
}

/// TLS 1.3 and nothing older.
fn acceptor(files: &TlsFiles, (certificate, key): &(Vec<u8>, Vec<u8>)) -> Result<TlsAcceptor, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(unusable(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(unusable(&files.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
