//! An authority that is made for one purpose and forgotten: it vouches for one server and its clients,
//! and nobody can ask it for more, since its key is never written anywhere.
//!
//! It makes keys and certificates and keeps none. The randomness of the keys is ring's own, which takes
//! no other; the clock is passed in. Keys that are handed out are zeroed when dropped; the copies that
//! rcgen and ring hold while this runs are freed without that.
//!
//! The certificates are of RFC 5280's profile, and such as QEMU's check of its own takes
//! (<https://www.qemu.org/docs/master/system/tls.html>).

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::tls::{Credentials, CredentialsError};

/// How long a certificate is good for, from when it is made.
pub const VALID_DAYS: u32 = 7;
/// It is good from so long before on: the clock of another machine may be behind.
const EARLIER: Duration = Duration::hours(24);
/// Who a client is, as its certificate says.
const CLIENT: &str = "mezame puller";

/// A certificate or a key can't be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Of what makes them.
    #[error("making certificates")]
    Make(#[source] rcgen::Error),
    /// The clock says a time that certificates have no form for.
    #[error("the clock says no time that a certificate can have")]
    Clock,
    /// They were made and can't be used.
    #[error("making certificates")]
    Use(#[from] CredentialsError),
}

/// When a certificate is good.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    from: OffsetDateTime,
    until: OffsetDateTime,
}

impl Validity {
    /// From a day before this time, in milliseconds since 1970, to [`VALID_DAYS`] after it.
    pub fn around(now_ms: u64) -> Result<Self, CertificateError> {
        let seconds = i64::try_from(now_ms / 1000).map_err(|_| CertificateError::Clock)?;
        let now = OffsetDateTime::from_unix_timestamp(seconds);
        let now = now.map_err(|_| CertificateError::Clock)?;
        let until = now.checked_add(Duration::days(VALID_DAYS.into()));
        let from = now.checked_sub(EARLIER);
        let ends = from.zip(until).ok_or(CertificateError::Clock)?;
        Ok(Self { from: ends.0, until: ends.1 })
    }
}

/// The authority, for as long as it is needed to make certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    server: String,
}

/// A certificate and its key, in PEM, as a server reads them. It has no `Debug`.
pub struct ServerPair {
    /// What it shows.
    pub certificate: String,
    /// What it keeps.
    pub key: Zeroizing<String>,
}

impl Authority {
    /// One for a server of this name, which need not be a host's.
    pub fn make(server: &str, valid: Validity) -> Result<Self, CertificateError> {
        let mut parameters = parameters("mezame point in time", Vec::new(), valid)?;
        // Nobody below it vouches for anybody.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let issuer =
            CertifiedIssuer::self_signed(parameters, key).map_err(CertificateError::Make)?;
        Ok(Self { issuer, server: server.into() })
    }

    /// Its certificate, in PEM: what a server knows clients by.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// The server's half.
    pub fn server(&self, valid: Validity) -> Result<ServerPair, CertificateError> {
        let names = vec![self.server.clone()];
        let (certificate, key) =
            self.issue("mezame hypervisor", names, ExtendedKeyUsagePurpose::ServerAuth, valid)?;
        Ok(ServerPair { certificate, key })
    }

    /// A client's half.
    pub fn client(&self, valid: Validity) -> Result<Credentials, CertificateError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let (certificate, key) = self.issue(CLIENT, Vec::new(), usage, valid)?;
        Ok(Credentials::of(&self.certificate(), &certificate, key, &self.server)?)
    }

    /// What a client's certificate says it is, as gnutls writes it (RFC 4514).
    pub fn client_identity() -> String {
        format!("CN={CLIENT}")
    }

    fn issue(
        &self,
        who: &str,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        valid: Validity,
    ) -> Result<(String, Zeroizing<String>), CertificateError> {
        let mut parameters = parameters(who, names, valid)?;
        // Without a key usage, which QEMU 7.2 wants to be one of RSA's if it is there.
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.extended_key_usages = vec![usage];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let made = parameters.signed_by(&key, &self.issuer).map_err(CertificateError::Make)?;
        Ok((made.pem(), Zeroizing::new(key.serialize_pem())))
    }
}

fn parameters(
    who: &str,
    names: Vec<String>,
    valid: Validity,
) -> Result<CertificateParams, CertificateError> {
    let mut parameters = CertificateParams::new(names).map_err(CertificateError::Make)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, who);
    parameters.distinguished_name = name;
    (parameters.not_before, parameters.not_after) = (valid.from, valid.until);
    Ok(parameters)
}
