//! The instance-identity document, signed so that a third party can check who an instance is.
//!
//! A guest hands document and signature to somebody else, who verifies them with the site's
//! certificate and needs no connection to us. Two forms: a bare RSA signature, and CMS with the
//! document inside, which `openssl cms -verify` reads. A signature costs about a millisecond, so
//! it is made only for the paths that hold one, and the last few are remembered: a guest that asks
//! in a loop must not occupy a CPU.
//!
//! Follows "Instance identity documents" in the Amazon EC2 User Guide, RFC 8017 (section 8.2) and
//! RFC 5652 (section 5; no signed attributes, so both forms hold the same signature).

mod chosen;

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use mezame_model::{
    Guest, ProjectName,
    date::Date,
    der::{Reader, element, tag},
    snapshot::SigningKey,
};
use ring::{
    digest,
    rand::SecureRandom,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};

pub(crate) use self::chosen::ChosenError;

/// Why the site's signing key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The private key is no PKCS #8 RSA key of 2048 to 4096 bits.
    #[error("the identity signing key is not usable: {0}")]
    Key(String),
    /// The certificate is no X.509 certificate.
    #[error("the identity certificate is no X.509 certificate in DER")]
    Certificate,
    /// The certificate is another key's.
    #[error("the identity certificate does not belong to the signing key")]
    Mismatch,
}

/// The site's signing key, parsed once.
pub struct Signer {
    key: RsaKeyPair,
    random: Box<dyn SecureRandom + Send + Sync>,
    certificate: Box<[u8]>,
    /// Issuer and serial number: how CMS says which certificate it means.
    issuer_and_serial: Box<[u8]>,
    /// Signatures by the digest of what they sign.
    made: Mutex<BTreeMap<[u8; 32], Arc<[u8]>>>,
    /// What was signed of late for those who name their own audience.
    chosen: Mutex<chosen::Chosen>,
}

impl Signer {
    /// How many signatures are remembered (256 bytes each, and as much again to find them).
    const REMEMBERED: usize = 1024;

    /// Parses the key and the certificate, and checks that they belong together. `random` is what
    /// the cryptography library wants beside every RSA key; no signature depends on it.
    pub fn new(
        key: &SigningKey,
        random: Box<dyn SecureRandom + Send + Sync>,
    ) -> Result<Self, SignerError> {
        let pair = RsaKeyPair::from_pkcs8(key.pkcs8.expose())
            .map_err(|rejected| SignerError::Key(rejected.to_string()))?;
        let certificate = Certificate::read(&key.certificate).ok_or(SignerError::Certificate)?;
        if certificate.public_key != pair.public_key().as_ref() {
            return Err(SignerError::Mismatch);
        }
        let issuer_and_serial =
            element(tag::SEQUENCE, &[certificate.issuer, certificate.serial]).into();
        let certificate = key.certificate.as_slice().into();
        let (made, chosen) = (Mutex::default(), Mutex::default());
        Ok(Self { key: pair, random, certificate, issuer_and_serial, made, chosen })
    }

    /// RSA PKCS #1 v1.5 with SHA-256 over the guest's document.
    pub(crate) fn signature(&self, guest: &Guest) -> Arc<[u8]> {
        self.sign(text(guest).as_bytes())
    }

    /// The document and its signature as CMS SignedData, in DER.
    pub(crate) fn cms(&self, guest: &Guest) -> Vec<u8> {
        let document = text(guest);
        self.cms_of(document.as_bytes(), &self.sign(document.as_bytes()))
    }

    /// Any content and its signature as CMS SignedData, in DER. What a guest may choose of the
    /// content must not let it read as another document that this key signs.
    pub(crate) fn cms_of(&self, content: &[u8], signature: &[u8]) -> Vec<u8> {
        const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
        const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
        const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
        const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

        let oid = |bytes| element(tag::OID, &[bytes]);
        let null = element(tag::NULL, &[]);
        let sha_256 = element(tag::SEQUENCE, &[&oid(SHA_256), &null]);
        let version = element(tag::INTEGER, &[&[1]]);
        let content = element(tag::OCTET_STRING, &[content]);
        let content = element(tag::SEQUENCE, &[&oid(DATA), &element(tag::CONTEXT_0, &[&content])]);
        let signer = element(
            tag::SEQUENCE,
            &[
                &version,
                &self.issuer_and_serial,
                &sha_256,
                &element(tag::SEQUENCE, &[&oid(RSA), &null]),
                &element(tag::OCTET_STRING, &[signature]),
            ],
        );
        let signed = element(
            tag::SEQUENCE,
            &[
                &version,
                &element(tag::SET, &[&sha_256]),
                &content,
                &element(tag::CONTEXT_0, &[&self.certificate]),
                &element(tag::SET, &[&signer]),
            ],
        );
        element(tag::SEQUENCE, &[&oid(SIGNED_DATA), &element(tag::CONTEXT_0, &[&signed])])
    }

    /// Signs, or remembers having signed.
    fn sign(&self, message: &[u8]) -> Arc<[u8]> {
        let name = sha_256(message);
        let lock = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = lock().get(&name) {
            return Arc::clone(made);
        }
        // Outside the lock: others may sign meanwhile.
        let Some(signature) = self.make(message) else {
            // Nothing is remembered, and what is served verifies nowhere.
            return Arc::from([]);
        };
        let mut made = lock();
        if made.len() >= Self::REMEMBERED {
            made.clear();
        }
        made.insert(name, Arc::clone(&signature));
        signature
    }

    /// Signs. None where the processor erred. The padding has no random part, so the signature is
    /// the same whenever it is made (ring asks for a source all the same).
    fn make(&self, message: &[u8]) -> Option<Arc<[u8]>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, self.random.as_ref(), message, &mut signature)
            .ok()
            .map(|()| signature.into())
    }
}

/// The digest by which a signature is found again.
fn sha_256(message: &[u8]) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    name
}

/// What CMS needs of a certificate.
struct Certificate<'a> {
    /// The whole INTEGER.
    serial: &'a [u8],
    /// The whole Name.
    issuer: &'a [u8],
    /// The RSAPublicKey in the subject's key.
    public_key: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate (RFC 5280, section 4.1).
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut file = Reader(der);
        let mut outer = Reader(file.expect(tag::SEQUENCE)?.content);
        if !file.0.is_empty() {
            return None;
        }
        let mut body = Reader(outer.expect(tag::SEQUENCE)?.content);
        let mut serial = body.next()?;
        if serial.tag == tag::CONTEXT_0 {
            serial = body.next()?;
        }
        let _signature_algorithm = body.expect(tag::SEQUENCE)?;
        let issuer = body.expect(tag::SEQUENCE)?;
        let _validity = body.expect(tag::SEQUENCE)?;
        let _subject = body.expect(tag::SEQUENCE)?;
        let mut key = Reader(body.expect(tag::SEQUENCE)?.content);
        let _algorithm = key.expect(tag::SEQUENCE)?;
        let (unused, public_key) = key.expect(tag::BIT_STRING)?.content.split_first()?;
        let read = Self { serial: serial.whole, issuer: issuer.whole, public_key };
        (serial.tag == tag::INTEGER && *unused == 0).then_some(read)
    }
}

/// The document: EC2's fields in EC2's order and spacing.
pub(crate) fn text(guest: &Guest) -> String {
    let instance = &guest.instance;
    let private_ip = guest.primary().port.addresses.iter().find(|address| address.is_ipv4());
    let private_ip = private_ip.or(guest.primary().port.addresses.first()).map(IpAddr::to_string);
    let fields: [(&str, Option<String>); 15] = [
        ("accountId", Some(account_id(&instance.project))),
        ("architecture", Some("x86_64".into())),
        ("availabilityZone", Some(guest.zone())),
        ("billingProducts", None),
        ("devpayProductCodes", None),
        ("marketplaceProductCodes", None),
        ("imageId", Some(instance.image_id.to_string())),
        ("instanceId", Some(instance.id.to_string())),
        ("instanceType", Some(instance.instance_type.to_string())),
        ("kernelId", None),
        ("pendingTime", Some(Date::of(instance.launched_at).rfc3339())),
        ("privateIp", private_ip),
        ("ramdiskId", None),
        ("region", Some(guest.site.region.to_string())),
        ("version", Some("2017-09-30".into())),
    ];
    let mut out = String::with_capacity(512);
    for (at, (name, value)) in fields.iter().enumerate() {
        let before = if at == 0 { "{\n" } else { ",\n" };
        let value = serde_json::json!(value);
        // Writing to a String does not fail.
        let _ = write!(out, "{before}  \"{name}\" : {value}");
    }
    out + "\n}"
}

/// The twelve digits that stand for a project, as EC2 has accounts. Derived, so stable and never
/// stored; two projects of an installation may in theory share them, so the document proves the
/// instance id and not the owner alone.
pub(crate) fn account_id(project: &ProjectName) -> String {
    let hash = digest::digest(&digest::SHA256, project.as_str().as_bytes());
    let number = hash.as_ref()[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    format!("{:012}", number % 1_000_000_000_000)
}

#[cfg(test)]
mod tests;
