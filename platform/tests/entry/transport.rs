//! TLS, and clients that are slow on purpose.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use platform::http::Transport;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::{Served, development};

struct Identity {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Identity {
    fn new() -> Identity {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("daybook-tls-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        Identity { folder, certificate: cert.der().clone() }
    }

    /// Another certificate and key in the same files.
    fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        std::fs::write(self.folder.join("cert.pem"), cert.pem()).unwrap();
        cert.der().clone()
    }

    fn config(&self) -> platform::Config {
        let path = |name| self.folder.join(name).to_str().unwrap().to_owned();
        development(&[("DAYBOOK_TLS_CERT", &path("cert.pem")), ("DAYBOOK_TLS_KEY", &path("key.pem"))])
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Asks `GET /open` over TLS of that version.
async fn over_tls(
    served: &Served,
    certificate: CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(served.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /open HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

#[tokio::test]
async fn tls_is_1_3_and_nothing_older() {
    let identity = Identity::new();
    let config = identity.config();
    let served = Served::start(&config, Transport::try_new(config.http()).unwrap()).await;
    let reply = over_tls(&served, identity.certificate.clone(), &version::TLS13).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    assert!(reply.contains("strict-transport-security: max-age=31536000"), "{reply}");
    let error = over_tls(&served, identity.certificate.clone(), &version::TLS12).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let plain = reqwest::get(format!("{}/open", served.url)).await;
    assert!(plain.is_err(), "nothing is answered without TLS");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let identity = Identity::new();
    let config = identity.config();
    let served = Served::start(&config, Transport::reloading(config.http(), Duration::ZERO).unwrap()).await;
    let over = |certificate: CertificateDer<'static>| over_tls(&served, certificate, &version::TLS13);
    assert!(over(identity.certificate.clone()).await.is_ok());
    // As when only one of the files has been replaced yet.
    std::fs::write(identity.folder.join("key.pem"), "no key").unwrap();
    assert!(over(identity.certificate.clone()).await.is_ok(), "the one before stays in force");
    let renewed = identity.renew();
    assert!(over(renewed).await.is_ok());
    assert!(over(identity.certificate.clone()).await.is_err());
}

#[tokio::test]
async fn files_that_are_no_certificate_or_key_are_refused_by_name() {
    let identity = Identity::new();
    std::fs::write(identity.folder.join("key.pem"), "no key").unwrap();
    let Err(error) = Transport::try_new(identity.config().http()) else { panic!("it was taken") };
    assert!(error.to_string().contains("key.pem cannot be used for TLS"), "{error}");
}

/// Sends what is given and waits for the server to close the connection.
async fn closed_after(served: &Served, sent: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for part in sent {
        stream.write_all(part).await.unwrap();
    }
    let mut reply = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut reply)).await;
    let _ = closed.expect("the server closes the connection");
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test]
async fn a_client_that_says_nothing_or_not_enough_loses_its_connection() {
    let patience = Duration::from_millis(200);
    let transport = Transport::default().with_patience(patience, patience);
    let served = Served::start(&development(&[]), transport).await;
    let halves: [&[u8]; 4] = [b"", b"GET /open HT", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET /open HTTP/1.1\r\nx-a: b\r\n"];
    for half in halves {
        let reply = closed_after(&served, &[half]).await;
        assert!(!reply.contains("200 OK"), "{reply}");
    }
    let reply = closed_after(&served, &[b"GET /open HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /op"]).await;
    assert_eq!(reply.matches("200 OK").count(), 1, "the first is answered, the second never comes: {reply}");
    assert_eq!(served.get("/open", "").await.status(), 200, "others are served");
}

#[tokio::test]
async fn a_silent_client_of_tls_loses_its_connection() {
    let identity = Identity::new();
    let config = identity.config();
    let patience = Duration::from_millis(200);
    let transport = Transport::try_new(config.http()).unwrap().with_patience(patience, patience);
    let served = Served::start(&config, transport).await;
    assert_eq!(closed_after(&served, &[]).await, "");
    assert!(over_tls(&served, identity.certificate.clone(), &version::TLS13).await.is_ok());
}
