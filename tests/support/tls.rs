//! Certificates that are made for a test, and clients that believe in them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serin::router::settings::{TlsConfig, TlsFiles};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// The name that certificates are for.
pub const NAME: &str = "test.example";

/// An authority with a directory of what it signed.
pub struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// How a client begins.
#[derive(Clone, Default)]
pub struct Greeting<'a> {
    /// The protocols it offers, the better first.
    pub protocols: &'a [&'a str],
    /// The versions of TLS that it speaks; all unless given.
    pub versions: Option<&'static [&'static SupportedProtocolVersion]>,
    /// The certificate it shows.
    pub shows: Option<(PathBuf, PathBuf)>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { directory, issuer }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Signs a certificate, in files by this name; whatever was in them is replaced, the key first.
    pub fn sign(&self, file: &str) -> (PathBuf, PathBuf) {
        self.sign_for(file, NAME)
    }

    /// The same for a host of another name.
    pub fn sign_for(&self, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let path = |ending| self.directory.path().join(format!("{file}.{ending}"));
        replace(&path("key"), &key.serialize_pem());
        replace(&path("pem"), &cert.pem());
        (path("pem"), path("key"))
    }

    /// A listener for TLS on a free port, with a certificate of its own.
    pub fn listener(&self, client_ca: Option<PathBuf>) -> TlsConfig {
        let (cert, key) = self.sign("server");
        TlsConfig { addr: "127.0.0.1:0".parse().unwrap(), files: TlsFiles { cert, key, client_ca } }
    }

    /// Connects, and agrees on what is spoken.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        greeting: Greeting<'_>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_over(TcpStream::connect(addr).await?, greeting).await
    }

    /// The same over a connection that is there.
    pub async fn connect_over(
        &self,
        stream: TcpStream,
        greeting: Greeting<'_>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.client(&greeting);
        TlsConnector::from(Arc::new(config)).connect(NAME.try_into().unwrap(), stream).await
    }

    fn client(&self, greeting: &Greeting<'_>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let all = tokio_rustls::rustls::ALL_VERSIONS;
        let builder = builder.with_protocol_versions(greeting.versions.unwrap_or(all)).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match &greeting.shows {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        };
        config.alpn_protocols =
            greeting.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

/// Puts a text in the place of a file in one step.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    if path.extension().is_some_and(|ending| ending == "key") {
        std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o640)).unwrap();
    }
    std::fs::rename(&beside, path).unwrap();
}
