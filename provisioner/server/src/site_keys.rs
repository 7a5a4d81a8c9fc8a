//! The keys that all guests of an installation share: session-token keys and the signing key.
//!
//! Token keys go round: a new one seals, the ones before it open until the longest-lived token
//! that they sealed has ended. The signing key is made once, since third parties hold its
//! certificate. ring makes no RSA keys, so the `rsa` crate makes this one; ring does all signing.
//!
//! ```text
//! token key:  newest (seals, opens) ──rotation──► superseded (opens) ──6 h and a margin──► gone
//! ```

use mezame_model::{
    SecretBytes,
    snapshot::{SigningKey, Site, TokenKey},
};
use rsa::pkcs8::EncodePrivateKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::environment::{Environment, NoRandomness, random};

/// The longest life of a session token, in milliseconds: 21,600 s, EC2's limit.
pub(crate) const LONGEST_TOKEN_MS: u64 = 21_600_000;

/// How long a hypervisor may go on sealing with a key that was superseded, because the snapshot
/// with the new one has not come yet, in milliseconds.
pub(crate) const MARGIN_MS: u64 = 900_000;

/// Most token keys at once. Rotating by hand, again and again, must not grow the snapshot.
const MOST_TOKEN_KEYS: usize = 64;

/// What the store keeps of the installation; sealed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSite {
    region: String,
    domain: String,
    token_keys: Vec<StoredTokenKey>,
    signing_key: SigningKey,
    /// Whether an image archive was ever made or opened. Not known of an installation that is older
    /// than this note.
    #[serde(default)]
    had_archive: Option<bool>,
}

/// A token key and its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredTokenKey {
    key: TokenKey,
    made_ms: u64,
    /// When the next key took over.
    superseded_ms: Option<u64>,
}

/// Why no keys can be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The RSA key can't be made.
    #[error("no RSA key can be made")]
    Rsa(#[source] rsa::Error),
    /// The RSA key can't be written as PKCS #8.
    #[error("the RSA key can't be encoded")]
    Encoding(#[source] rsa::pkcs8::Error),
    /// No certificate can be made for it.
    #[error("no certificate can be made for the signing key")]
    Certificate(#[source] rcgen::Error),
    /// The clock is beyond all calendars.
    #[error("the clock says {0} ms since 1970, which is no date")]
    Clock(u64),
    /// More rotations than keys may be kept.
    #[error("{MOST_TOKEN_KEYS} token keys are in force already; the oldest ends within 6 h 15 min")]
    TooManyTokenKeys,
}

impl StoredSite {
    /// Fresh keys for a new installation. Takes a few hundred milliseconds of CPU.
    pub(crate) fn make(
        region: &str,
        domain: &str,
        environment: &dyn Environment,
    ) -> Result<Self, KeyError> {
        let now = environment.now_ms();
        let key = TokenKey { number: 1, key: SecretBytes::new(random::<32>(environment)?.into()) };
        Ok(Self {
            region: region.into(),
            domain: domain.into(),
            token_keys: vec![StoredTokenKey { key, made_ms: now, superseded_ms: None }],
            signing_key: make_signing_key(region, environment)?,
            had_archive: Some(false),
        })
    }

    /// Token keys alone, for tests that don't sign.
    #[cfg(test)]
    pub(crate) fn without_signing_key(environment: &dyn Environment) -> Self {
        let key = TokenKey { number: 1, key: SecretBytes::new(vec![7; 32]) };
        let made_ms = environment.now_ms();
        Self {
            region: "local-1".into(),
            domain: "mezame.internal".into(),
            token_keys: vec![StoredTokenKey { key, made_ms, superseded_ms: None }],
            signing_key: SigningKey { pkcs8: SecretBytes::new(vec![]), certificate: vec![] },
            had_archive: Some(false),
        }
    }

    /// The same with a signing key, for tests that need one and no new one.
    #[cfg(test)]
    pub(crate) fn with_signing_key(self, signing_key: SigningKey) -> Self {
        Self { signing_key, ..self }
    }

    /// As guests' hypervisors get it.
    pub(crate) fn site(&self) -> Site {
        Site {
            region: self.region.as_str().into(),
            domain: self.domain.as_str().into(),
            token_keys: self.token_keys.iter().map(|stored| stored.key.clone()).collect(),
            signing_key: self.signing_key.clone(),
        }
    }

    /// The same keys under the region and domain of the settings. None where they are so already.
    pub(crate) fn renamed(&self, region: &str, domain: &str) -> Option<Self> {
        if self.region == region && self.domain == domain {
            return None;
        }
        Some(Self { region: region.into(), domain: domain.into(), ..self.clone() })
    }

    /// Whether there was ever an image archive, as far as that is known.
    pub(crate) fn had_archive(&self) -> Option<bool> {
        self.had_archive
    }

    /// The same with a note that there is an archive. None where it has that already.
    pub(crate) fn with_archive(&self) -> Option<Self> {
        let is_noted = self.had_archive == Some(true);
        (!is_noted).then(|| Self { had_archive: Some(true), ..self.clone() })
    }

    /// A new token key in front; those before it stay while a token of theirs can live.
    pub(crate) fn rotated(&self, environment: &dyn Environment) -> Result<Self, KeyError> {
        let now = environment.now_ms();
        let mut next = self.pruned(now).unwrap_or_else(|| self.clone());
        if next.token_keys.len() >= MOST_TOKEN_KEYS {
            return Err(KeyError::TooManyTokenKeys);
        }
        for stored in &mut next.token_keys {
            stored.superseded_ms.get_or_insert(now);
        }
        let number = next.token_keys.iter().map(|s| s.key.number).max().unwrap_or(0) + 1;
        let key = TokenKey { number, key: SecretBytes::new(random::<32>(environment)?.into()) };
        next.token_keys.insert(0, StoredTokenKey { key, made_ms: now, superseded_ms: None });
        Ok(next)
    }

    /// Without the keys that no living token can have been sealed with. None where all are needed.
    pub(crate) fn pruned(&self, now_ms: u64) -> Option<Self> {
        let needed = |stored: &StoredTokenKey| {
            stored.superseded_ms.is_none_or(|at| now_ms < at.saturating_add(KEPT_MS))
        };
        if self.token_keys.iter().all(needed) {
            return None;
        }
        let mut next = self.clone();
        next.token_keys.retain(needed);
        Some(next)
    }

    /// When something is to be done to the token keys, in milliseconds since 1970: the next
    /// rotation or the next removal, whichever is first.
    pub(crate) fn next_due_ms(&self, rotation_ms: u64) -> u64 {
        let removals = self.token_keys.iter().filter_map(|s| Some(s.superseded_ms? + KEPT_MS));
        removals.chain([self.rotation_due_ms(rotation_ms)]).min().unwrap_or(u64::MAX)
    }

    /// When the newest token key is to be superseded.
    pub(crate) fn rotation_due_ms(&self, rotation_ms: u64) -> u64 {
        self.token_keys.first().map_or(0, |newest| newest.made_ms.saturating_add(rotation_ms))
    }

    /// The certificate that instance-identity documents are verified with, as PEM.
    pub(crate) fn certificate_pem(&self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let encoded = STANDARD.encode(&self.signing_key.certificate);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in encoded.as_bytes().chunks(64) {
            // Base64 is ASCII, so every piece of it is text.
            pem.push_str(std::str::from_utf8(line).unwrap_or_default());
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }
}

/// How long a superseded key is kept.
const KEPT_MS: u64 = LONGEST_TOKEN_MS + MARGIN_MS;

/// RSA with 2048 bits, as EC2's own signatures have, and a certificate of twenty years.
fn make_signing_key(region: &str, environment: &dyn Environment) -> Result<SigningKey, KeyError> {
    let mut source = RsaRandomness { from: environment, failed: false };
    let key = rsa::RsaPrivateKey::new(&mut source, 2048).map_err(KeyError::Rsa)?;
    if source.failed {
        return Err(NoRandomness.into());
    }
    let pkcs8 = key.to_pkcs8_der().map_err(KeyError::Encoding)?;
    let pkcs8 = Zeroizing::new(pkcs8.as_bytes().to_vec());
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
        &pkcs8.as_slice().into(),
        &rcgen::PKCS_RSA_SHA256,
    )
    .map_err(KeyError::Certificate)?;
    let certificate = self_signed(region, &pair, environment)?;
    Ok(SigningKey { pkcs8: SecretBytes::new(pkcs8.to_vec()), certificate })
}

fn self_signed(
    region: &str,
    pair: &rcgen::KeyPair,
    environment: &dyn Environment,
) -> Result<Vec<u8>, KeyError> {
    let now = environment.now_ms();
    let no_date = || KeyError::Clock(now);
    let seconds = i64::try_from(now / 1000).map_err(|_| no_date())?;
    let from = time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| no_date())?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::OrganizationName, "Mezame");
    name.push(rcgen::DnType::CommonName, format!("instance identity {region}"));
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = name;
    // A verifier's clock may be behind ours by some hours.
    parameters.not_before = from - time::Duration::days(1);
    parameters.not_after = from + time::Duration::days(20 * 365);
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let serial: [u8; 16] = random(environment)?;
    parameters.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    let made = parameters.self_signed(pair).map_err(KeyError::Certificate)?;
    Ok(made.der().to_vec())
}

/// Our randomness in the form that the `rsa` crate asks for. It can't fail there, so a failure
/// is remembered and makes the key worthless.
struct RsaRandomness<'a> {
    from: &'a dyn Environment,
    failed: bool,
}

impl rsa::rand_core::RngCore for RsaRandomness<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        if self.from.fill(buffer).is_err() {
            self.failed = true;
            // Not zeroes: the search for primes must end.
            for (at, byte) in buffer.iter_mut().enumerate() {
                *byte = byte.wrapping_add(u8::try_from(at % 251).unwrap_or(0)).wrapping_add(1);
            }
        }
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(buffer);
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for RsaRandomness<'_> {}

#[cfg(test)]
mod tests;
