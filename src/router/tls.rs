//! TLS of clients: certificates from files, read again while the router runs.
//!
//! A connection keeps what it began with; new ones take what was read last. Files that are no pair change nothing but
//! the log.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::settings::TlsFiles;
use crate::metrics::certificate::CertificateState;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A file that is larger holds something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The protocols that are offered, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why files give no certificate.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

impl TlsError {
    fn of(file: &Path, why: impl fmt::Display) -> TlsError {
        TlsError { file: file.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// What is served with, and where it came from.
pub(super) struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    state: Arc<CertificateState>,
    /// The bytes that were looked at last, whether or not they were any good.
    seen: Mutex<Result<Bytes, String>>,
}

/// The bytes of all files.
#[derive(Clone, PartialEq, Eq)]
struct Bytes {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files for the first time.
    pub(super) fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let bytes = Bytes::read(&files)?;
        let state = Arc::<CertificateState>::default();
        let (config, ends_at_s) = bytes.config(&files)?;
        state.serve(ends_at_s);
        let config = ArcSwap::new(Arc::new(config));
        Ok(Tls { files, config, state, seen: Mutex::new(Ok(bytes)) })
    }

    /// What metrics tell of the certificate.
    pub(super) fn state(&self) -> Arc<CertificateState> {
        Arc::clone(&self.state)
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Takes over what is in the files now; says in the log what came of it, where `is_asked` also that nothing did.
    fn look(&self, is_asked: bool) {
        let read = Bytes::read(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = read.as_ref().map(Bytes::clone).map_err(ToString::to_string);
        if now == *seen && !is_asked {
            return;
        }
        *seen = now;
        match read.and_then(|bytes| bytes.config(&self.files)) {
            Ok((config, ends_at_s)) => {
                self.config.store(Arc::new(config));
                self.state.serve(ends_at_s);
                tracing::info!(
                    "new connections are served with the certificate that is in {} now",
                    self.files.cert.display()
                );
            }
            Err(why) => {
                self.state.refuse();
                tracing::error!(
                    file = %why.file.display(),
                    "the certificate is not replaced, and the one before is served on: {why}"
                );
            }
        }
    }
}

impl Bytes {
    fn read(files: &TlsFiles) -> Result<Bytes, TlsError> {
        let read = |path: &Path, is_secret: bool| {
            let read = || {
                let mut file = File::open(path)?;
                let found = file.metadata()?;
                if found.len() > FILE_BYTES_MAX {
                    return Err(io::Error::other("too large for a PEM file of certificates or a key"));
                }
                let mode = found.permissions().mode() & 0o777;
                if is_secret && mode & 0o007 != 0 {
                    return Err(io::Error::other(format!(
                        "everybody on this machine may read the key (mode {mode:o}); chmod o= {}, and let a group have it \
                         if serin is not its owner",
                        path.display()
                    )));
                }
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            read().map_err(|why| TlsError::of(path, why))
        };
        Ok(Bytes {
            cert: read(&files.cert, false)?,
            key: read(&files.key, true)?,
            client_ca: files.client_ca.as_deref().map(|file| read(file, false)).transpose()?,
        })
    }

    /// What to serve with, and when the first of the chain's certificates ends, in seconds since 1970.
    fn config(&self, files: &TlsFiles) -> Result<(ServerConfig, i64), TlsError> {
        let chain = certificates(&self.cert, &files.cert)?;
        let mut ends_at_s = i64::MAX;
        for certificate in &chain {
            let (_, certificate) = X509Certificate::from_der(certificate)
                .map_err(|why| TlsError::of(&files.cert, format!("no certificate: {why}")))?;
            ends_at_s = ends_at_s.min(certificate.validity().not_after.timestamp());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|why| TlsError::of(&files.key, format!("no private key in PEM: {why}")))?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|why| TlsError::of(&files.cert, why))?;
        let config = match self.client_ca.as_deref().zip(files.client_ca.as_deref()) {
            None => config.with_no_client_auth(),
            Some((bytes, file)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(bytes, file)? {
                    roots.add(certificate).map_err(|why| TlsError::of(file, why))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                config.with_client_cert_verifier(verifier.map_err(|why| TlsError::of(file, why))?)
            }
        };
        let mut config = config.with_single_cert(chain, key).map_err(|why| {
            TlsError::of(&files.key, format!("no pair with {}: {why}", files.cert.display()))
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // Its keys are new with every certificate: what was agreed on before, client certificates among it, is not
        // resumed after.
        config.ticketer = ring::Ticketer::new().map_err(|why| TlsError::of(&files.cert, why))?;
        Ok((config, ends_at_s))
    }
}

fn certificates(bytes: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|why| TlsError::of(file, format!("no certificates in PEM: {why}")))?;
    if chain.is_empty() { Err(TlsError::of(file, "no certificate in PEM")) } else { Ok(chain) }
}

/// Looks at the files now and then, on a thread of its own, until it is dropped.
pub(super) struct Watching(Sender<()>);

impl Watching {
    /// Begins to look.
    pub(super) fn begin(tls: Arc<Tls>) -> io::Result<Watching> {
        let (ask, asked) = channel();
        std::thread::Builder::new().name("certificates".to_owned()).spawn(move || watch(&tls, &asked))?;
        Ok(Watching(ask))
    }

    /// Looks now.
    pub(super) fn look(&self) {
        // The thread ends only with this.
        let _ = self.0.send(());
    }
}

fn watch(tls: &Tls, asked: &Receiver<()>) {
    loop {
        match asked.recv_timeout(LOOK_EVERY) {
            Ok(()) => tls.look(true),
            Err(RecvTimeoutError::Timeout) => tls.look(false),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
