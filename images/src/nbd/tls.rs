//! TLS on the way to a server of blocks: what a client needs for it, and how it begins.
//!
//! A client that is given [`Credentials`] speaks TLS 1.3 or not at all: it believes the one authority
//! in them and no other, wants the server's name in the server's certificate, and shows a certificate
//! itself. Nothing falls back to less. The credentials are a secret; where they are kept, and how they
//! travel, is the caller's affair.
//!
//! After RFC 8446 and
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md#tls-support> (`FORCEDTLS`).

use std::{
    fmt,
    io::{Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::NbdError;

/// What a client is known by, and whom it believes. Whoever has it is that client: it has no readable
/// `Debug`, its key is zeroed when dropped, and it is written out by [`Serialize`] alone.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The one authority that is believed, in PEM.
    authority: String,
    /// Ours and what it takes up to the authority, in PEM.
    certificate: String,
    /// Ours, in PEM.
    #[serde(with = "secret_text")]
    key: Zeroizing<String>,
    /// The name that the server's certificate has to be for.
    server: String,
}

/// Credentials that are none.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A part of them is not what it should be.
    #[error("what should be the {0} is not")]
    Malformed(&'static str),
    /// The parts do not go together, or are of a kind that is not known.
    #[error("the certificates or the key can't be used")]
    Unusable(#[source] rustls::Error),
}

impl Credentials {
    /// Those of a client of any server: the authority's certificate, our own certificate and its
    /// key, all in PEM, and the name in the server's certificate.
    ///
    /// # Errors
    /// They are not what they should be; nothing is said of what is in them.
    pub fn of(
        authority: &str,
        certificate: &str,
        key: Zeroizing<String>,
        server: &str,
    ) -> Result<Self, CredentialsError> {
        let [authority, certificate, server] = [authority, certificate, server].map(str::to_owned);
        let credentials = Self { authority, certificate, key, server };
        credentials.config().and_then(|_| credentials.name()).map(|_| credentials)
    }

    fn name(&self) -> Result<ServerName<'static>, CredentialsError> {
        let name = ServerName::try_from(self.server.clone());
        name.map_err(|_| CredentialsError::Malformed("server's name"))
    }

    fn config(&self) -> Result<ClientConfig, CredentialsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authority, "authority")? {
            roots.add(authority).map_err(CredentialsError::Unusable)?;
        }
        let chain = certificates(&self.certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let key = key.map_err(|_| CredentialsError::Malformed("key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CredentialsError::Unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(CredentialsError::Unusable)?;
        // The name is for us to check; who looks on need not know it.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// All certificates of a text; one at least.
fn certificates(
    pem: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let malformed = || CredentialsError::Malformed(what);
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(malformed)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials").field("server", &self.server).finish_non_exhaustive()
    }
}

impl PartialEq for Credentials {
    /// The keys in constant time.
    fn eq(&self, other: &Self) -> bool {
        let is_same_key: bool = self.key.as_bytes().ct_eq(other.key.as_bytes()).into();
        let public = |of: &Self| (of.authority.clone(), of.certificate.clone(), of.server.clone());
        is_same_key && public(self) == public(other)
    }
}

impl Eq for Credentials {}

/// Begins TLS on a stream on which both sides have agreed to. When this returns, the server is known
/// to be the one that the authority knows by its name.
///
/// Whether the server takes us for the client that we say is told by the first reply alone (RFC 8446,
/// section 4.4.2): it fails then.
pub(super) fn begin(
    stream: &mut (impl Read + Write),
    credentials: &Credentials,
) -> Result<ClientConnection, NbdError> {
    let config = Arc::new(credentials.config()?);
    let connection = ClientConnection::new(config, credentials.name()?);
    let mut connection = connection.map_err(CredentialsError::Unusable)?;
    // Each turn reads or writes something, for as long as the stream's deadline lets it.
    while connection.is_handshaking() {
        connection.complete_io(stream).map_err(NbdError::Tls)?;
    }
    Ok(connection)
}

/// A secret in a document: serde's own text would be left in memory.
mod secret_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        into: S,
    ) -> Result<S::Ok, S::Error> {
        into.serialize_str(text)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}
