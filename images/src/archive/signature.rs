//! Signatures of images, as `ssh-keygen -Y sign` makes them. Pure.
//!
//! Who makes images signs the file with an Ed25519 key, and a project trusts certain keys:
//!
//! ```text
//! ssh-keygen -Y sign -f KEY -n mezame-image disk.qcow2      (writes disk.qcow2.sig)
//! ```
//! The form is OpenSSH's PROTOCOL.sshsig, version 1. What is signed is the file's SHA-512 (or
//! SHA-256, with `-O hashalg=sha256`) under a namespace, so that a signature that was made for
//! something else, a commit say, vouches for no image.

use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use ring::{
    digest::{SHA256, SHA512, digest},
    signature::{ED25519, UnparsedPublicKey},
};

/// The namespace that images are signed under.
pub const NAMESPACE: &str = "mezame-image";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
const KIND: &[u8] = b"ssh-ed25519";
/// More than any signature with an Ed25519 key takes.
const LONGEST: usize = 4096;

/// Why a signature or a key is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Not of this form.
    #[error("it is no signature by `ssh-keygen -Y sign`")]
    Form,
    /// Not a key of this kind.
    #[error("only ssh-ed25519 keys are taken")]
    Kind,
    /// Made for another use.
    #[error("it was made for the namespace {0:?}, not for {NAMESPACE:?}")]
    Namespace(String),
    /// Made with a key that the project does not trust.
    #[error("it was made with the key {0}, which is not trusted")]
    Untrusted(KeyName),
    /// It is of another file, or was changed.
    #[error("it is no signature of this file")]
    Wrong,
}

/// Which digest of the file is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// `-O hashalg=sha256`.
    Sha256,
    /// What OpenSSH takes unless told.
    Sha512,
}

/// A key's fingerprint, as `ssh-keygen -l` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl fmt::Display for KeyName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A public key whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey([u8; 32]);

impl TrustedKey {
    /// Parses a line such as `ssh-ed25519 AAAA… who`.
    pub fn parse(line: &str) -> Result<Self, SignatureFault> {
        let mut words = line.split_ascii_whitespace();
        let (kind, blob) = (words.next(), words.next());
        if kind.map(str::as_bytes) != Some(KIND) {
            return Err(SignatureFault::Kind);
        }
        let blob = blob.and_then(|blob| STANDARD.decode(blob).ok()).ok_or(SignatureFault::Kind)?;
        parse_key(&blob).map(Self)
    }

    /// Its fingerprint.
    pub fn name(&self) -> KeyName {
        let mut blob = Vec::new();
        put(&mut blob, KIND);
        put(&mut blob, &self.0);
        KeyName(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &blob))))
    }
}

/// A signature that was read, and not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: TrustedKey,
    hash: Hash,
    reserved: Vec<u8>,
    signature: Vec<u8>,
}

impl Signature {
    /// Parses the file that `ssh-keygen -Y sign` wrote.
    pub fn parse(text: &str) -> Result<Self, SignatureFault> {
        let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        let body = body.filter(|body| body.len() <= LONGEST).ok_or(SignatureFault::Form)?;
        let body: String = body.split_ascii_whitespace().collect();
        let blob = STANDARD.decode(body).map_err(|_| SignatureFault::Form)?;
        let mut rest = blob.strip_prefix(MAGIC).ok_or(SignatureFault::Form)?;
        let version = rest.split_off(..4).ok_or(SignatureFault::Form)?;
        if version != [0, 0, 0, 1] {
            return Err(SignatureFault::Form);
        }
        let key = TrustedKey(parse_key(take(&mut rest)?)?);
        let namespace = take(&mut rest)?;
        let reserved = take(&mut rest)?.to_vec();
        let hash = match take(&mut rest)? {
            b"sha256" => Hash::Sha256,
            b"sha512" => Hash::Sha512,
            _ => return Err(SignatureFault::Form),
        };
        let mut inner = take(&mut rest)?;
        if take(&mut inner)? != KIND {
            return Err(SignatureFault::Kind);
        }
        let signature = take(&mut inner)?.to_vec();
        if !rest.is_empty() || !inner.is_empty() {
            return Err(SignatureFault::Form);
        }
        if namespace != NAMESPACE.as_bytes() {
            let name = String::from_utf8_lossy(namespace).chars().take(40).collect();
            return Err(SignatureFault::Namespace(name));
        }
        Ok(Self { key, hash, reserved, signature })
    }

    /// Which digest of the file it is of.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether one of these keys has signed a file with this digest; gives that key's name.
    pub fn verify(&self, trusted: &[TrustedKey], of: &[u8]) -> Result<KeyName, SignatureFault> {
        let name = self.key.name();
        if !trusted.contains(&self.key) {
            return Err(SignatureFault::Untrusted(name));
        }
        let mut message = MAGIC.to_vec();
        put(&mut message, NAMESPACE.as_bytes());
        put(&mut message, &self.reserved);
        put(
            &mut message,
            match self.hash {
                Hash::Sha256 => b"sha256",
                Hash::Sha512 => b"sha512",
            },
        );
        put(&mut message, of);
        let key = UnparsedPublicKey::new(&ED25519, &self.key.0);
        key.verify(&message, &self.signature).map_err(|_| SignatureFault::Wrong)?;
        Ok(name)
    }
}

impl Hash {
    /// The digest's algorithm.
    pub(crate) fn algorithm(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        }
    }
}

fn parse_key(blob: &[u8]) -> Result<[u8; 32], SignatureFault> {
    let mut rest = blob;
    let kind = take(&mut rest)?;
    if kind != KIND {
        return Err(SignatureFault::Kind);
    }
    let key = take(&mut rest)?.try_into().map_err(|_| SignatureFault::Kind)?;
    if rest.is_empty() { Ok(key) } else { Err(SignatureFault::Kind) }
}

/// Takes a string of RFC 4251: a length of four bytes, and as many bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SignatureFault> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(SignatureFault::Form)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (part, after) = after.split_at_checked(length).ok_or(SignatureFault::Form)?;
    *rest = after;
    Ok(part)
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    // What is put here is never longer than a signature.
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By OpenSSH 9.2: of the six bytes `image\n`, and the same with SHA-256.
    const KEY: &str = include_str!("signature/key.pub");
    const SIGNED: [(&str, Hash); 2] = [
        (include_str!("signature/sha512.sig"), Hash::Sha512),
        (include_str!("signature/sha256.sig"), Hash::Sha256),
    ];

    fn of(hash: Hash, text: &[u8]) -> Vec<u8> {
        digest(hash.algorithm(), text).as_ref().to_vec()
    }

    #[test]
    fn what_ssh_keygen_signed_is_verified() {
        let key = TrustedKey::parse(KEY).unwrap();
        for (text, hash) in SIGNED {
            let signature = Signature::parse(text).unwrap();
            assert_eq!(signature.hash(), hash);
            let name = signature.verify(std::slice::from_ref(&key), &of(hash, b"image\n")).unwrap();
            assert_eq!(name.to_string(), include_str!("signature/key.name").trim());
            let other = signature.verify(std::slice::from_ref(&key), &of(hash, b"other\n"));
            assert_eq!(other, Err(SignatureFault::Wrong));
        }
    }

    #[test]
    fn a_key_that_is_not_trusted_vouches_for_nothing() {
        let signature = Signature::parse(SIGNED[0].0).unwrap();
        let refused = signature.verify(&[TrustedKey([1; 32])], &of(Hash::Sha512, b"image\n"));
        assert!(matches!(refused, Err(SignatureFault::Untrusted(_))));
        assert!(signature.verify(&[], &of(Hash::Sha512, b"image\n")).is_err());
    }

    #[test]
    fn a_signature_for_another_use_is_refused() {
        let refused = Signature::parse(include_str!("signature/git.sig"));
        assert_eq!(refused, Err(SignatureFault::Namespace("git".into())));
    }

    #[test]
    fn every_changed_byte_of_a_signature_is_noticed() {
        let key = TrustedKey::parse(KEY).unwrap();
        let body: String = SIGNED[0].0.lines().filter(|line| !line.starts_with('-')).collect();
        let blob = STANDARD.decode(body).unwrap();
        for at in 0..blob.len() {
            let mut bad = blob.clone();
            bad[at] ^= 1;
            let text = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bad));
            let verified = Signature::parse(&text).and_then(|signature| {
                let of = of(signature.hash(), b"image\n");
                signature.verify(std::slice::from_ref(&key), &of)
            });
            assert!(verified.is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Signature::parse(&format!("{BEGIN}\n{}\n{END}", STANDARD.encode(&bytes)));
            let mut blob = MAGIC.to_vec();
            blob.extend_from_slice(&[0, 0, 0, 1]);
            blob.extend_from_slice(&bytes);
            let _ = Signature::parse(&format!("{BEGIN}\n{}\n{END}", STANDARD.encode(&blob)));
            let _ = TrustedKey::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
