//! Whose certificates a client believes: this machine's authorities, or one file's.
//!
//! There is no way to believe any certificate: an installation's self-made one is given as
//! `--ca-file`.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that this machine believes.
    System,
    /// The certificates in a PEM file, and no others.
    File(PathBuf),
}

/// Why there are no authorities.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file can't be read as PEM.
    #[error("the certificate file {path} can't be read")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate in it is none.
    #[error("the certificate file {path} has a certificate that can't be used")]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// No certificate in it.
    #[error("the certificate file {path} has no certificate")]
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// This machine believes nobody.
    #[error("this machine has no certificate authorities")]
    NoneOnThisMachine,
    /// The cryptography does not do what TLS needs.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

impl Trust {
    /// The settings of TLS connections.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Tls)?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TrustError::NoneOnThisMachine);
                }
            }
            Self::File(path) => {
                let unreadable = |source| TrustError::Unreadable { path: path.clone(), source };
                for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                    roots
                        .add(certificate.map_err(unreadable)?)
                        .map_err(|source| TrustError::Unusable { path: path.clone(), source })?;
                }
                if roots.is_empty() {
                    return Err(TrustError::Empty { path: path.clone() });
                }
            }
        }
        Ok(roots)
    }
}
