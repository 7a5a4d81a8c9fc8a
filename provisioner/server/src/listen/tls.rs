//! The operators' TLS listener: rustls with ring, TLS 1.2 and 1.3, bearer tokens.
//!
//! Without a certificate in the settings a self-signed one is made once and kept in the state
//! directory, so that clients can pin it. The handshake has a time limit, and runs in the
//! connection's own task: a client that does not shake hands keeps nobody waiting.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use super::{CallerOf, Connections};
use crate::{
    access::tokens::Tokens,
    settings::{TlsIdentity, TlsSettings},
};

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Why the TLS listener can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The address can't be listened on.
    #[error("{address}: can't be listened on")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can't be read or written.
    #[error("{path}: can't be used")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file has no certificate, or no key, in PEM.
    #[error("{path}: has no {wanted} in PEM form")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What it should have.
        wanted: &'static str,
    },
    /// Others than the owner may read the key.
    #[error("{path}: mode {mode:04o} lets others than the owner read the key; run `chmod 600`")]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// No certificate can be made.
    #[error("no certificate can be made")]
    Make(#[source] rcgen::Error),
    /// rustls does not take the pair.
    #[error("the certificate and its key can't be used")]
    Pair(#[source] rustls::Error),
}

/// The bound listener.
pub(crate) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    tokens: Arc<Tokens>,
}

impl TlsListener {
    /// Binds the address.
    pub(crate) async fn bind(
        settings: &TlsSettings,
        state_dir: &Path,
        tokens: Tokens,
    ) -> Result<Self, TlsError> {
        let identity = match &settings.identity {
            Some(identity) => identity.clone(),
            None => self_made(settings, state_dir)?,
        };
        let config = configure(&identity)?;
        let at = |source| TlsError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(at)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { listener, acceptor, tokens: Arc::new(tokens) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until the end comes.
    pub(crate) async fn serve(
        self,
        router: Router,
        ending: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut connections = Connections::new(ending);
        let result = loop {
            let (stream, peer) = match connections.next(|| self.listener.accept()).await {
                Ok(Some(accepted)) => accepted,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let (acceptor, tokens) = (self.acceptor.clone(), Arc::clone(&self.tokens));
            connections.serve(router.clone(), async move {
                keep_alive(&stream);
                let handshake = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => Some((stream, CallerOf::Token(tokens, peer))),
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "a TLS handshake failed");
                        None
                    }
                    Err(_) => {
                        tracing::debug!(%peer, "a TLS handshake took too long");
                        None
                    }
                }
            });
        };
        connections.finish().await;
        result
    }
}

/// An event stream may be silent for days: a peer that is gone is found out by probes.
fn keep_alive(stream: &TcpStream) {
    let set = setsockopt(stream, sockopt::KeepAlive, &true)
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepIdle, &60))
        .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &15));
    if let Err(error) = set.and_then(|()| setsockopt(stream, sockopt::TcpKeepCount, &4)) {
        tracing::debug!(%error, "a connection has no keep-alive probes");
    }
    let _ = stream.set_nodelay(true);
}

fn configure(identity: &TlsIdentity) -> Result<ServerConfig, TlsError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(&identity.certificate)?)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|chain: &Vec<_>| !chain.is_empty())
            .ok_or_else(|| TlsError::Pem {
                path: identity.certificate.clone(),
                wanted: "certificate",
            })?;
    let file = fs::metadata(&identity.key);
    let about = file.map_err(|source| TlsError::File { path: identity.key.clone(), source })?;
    if about.mode() & 0o077 != 0 {
        return Err(TlsError::Mode { path: identity.key.clone(), mode: about.mode() & 0o7777 });
    }
    let text = zeroize::Zeroizing::new(read(&identity.key)?);
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| TlsError::Pem { path: identity.key.clone(), wanted: "private key" })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.into(), source })
}

/// The pair in the state directory, made at the first start.
fn self_made(settings: &TlsSettings, state_dir: &Path) -> Result<TlsIdentity, TlsError> {
    let identity =
        TlsIdentity { certificate: state_dir.join("tls.crt"), key: state_dir.join("tls.key") };
    if identity.certificate.exists() && identity.key.exists() {
        return Ok(identity);
    }
    let mut names = vec!["localhost".to_owned(), settings.listen.ip().to_string()];
    names.extend(nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()));
    names.extend(settings.names.iter().cloned());
    let pair = rcgen::KeyPair::generate().map_err(TlsError::Make)?;
    let mut parameters = rcgen::CertificateParams::new(names).map_err(TlsError::Make)?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, "mezame provisioner");
    parameters.distinguished_name = name;
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = parameters.self_signed(&pair).map_err(TlsError::Make)?;
    let key = zeroize::Zeroizing::new(pair.serialize_pem());
    write(&identity.key, key.as_bytes(), 0o600)?;
    write(&identity.certificate, certificate.pem().as_bytes(), 0o644)?;
    Ok(identity)
}

/// Writes a file whole or not at all: half a certificate would keep the next start from working.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsError> {
    use std::io::Write;
    let at = |source| TlsError::File { path: path.into(), source };
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh);
    file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(at)
}
