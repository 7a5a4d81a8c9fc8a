//! Sealing of what must not lie readable in the database: records, reports, keys.
//!
//! AES-256-GCM (NIST SP 800-38D, RFC 5116) under a numbered key, with a random 96-bit nonce and
//! the row's name as associated data, so that a sealed body put into another row does not open.
//! One key seals at most 2^32 bodies at random nonces; rotation resets that count.
//!
//! A sealed body: version (1 byte) · key number (4 bytes, big endian) · nonce (12) · ciphertext
//! and tag. Nothing here touches a file; see [`key_file`].

pub(crate) mod key_file;

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::environment::{Environment, NoRandomness, random};

/// The form of sealed bodies that this code writes.
const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 12;

/// Why a body can't be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key file doesn't have the key that the body was sealed with.
    #[error("the key file has no key number {number}")]
    UnknownKey {
        /// The key's number.
        number: u32,
    },
    /// Not a sealed body, or of a newer form.
    #[error("the stored body has an unknown form")]
    Form,
    /// The body was changed, or belongs to another row.
    #[error("the stored body does not open: it was changed, moved, or sealed with another key")]
    Forged,
    /// No nonce could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// One sealing key.
#[derive(Clone)]
pub(crate) struct SealingKey {
    pub(crate) number: u32,
    bytes: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    /// A key of these bytes.
    pub(crate) fn new(number: u32, bytes: [u8; 32]) -> Self {
        Self { number, bytes: Zeroizing::new(bytes) }
    }

    /// A fresh key.
    pub(crate) fn make(number: u32, from: &dyn Environment) -> Result<Self, NoRandomness> {
        Ok(Self { number, bytes: Zeroizing::new(random(from)?) })
    }

    fn aead(&self) -> LessSafeKey {
        // 32 bytes is the one length that AES-256 takes, so this can't fail.
        let key = UnboundKey::new(&AES_256_GCM, &*self.bytes).unwrap_or_else(|_| unreachable!());
        LessSafeKey::new(key)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SealingKey({})", self.number)
    }
}

/// The keys in force: the newest seals, all open.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    /// Newest first; never empty.
    keys: Arc<[SealingKey]>,
}

impl Keyring {
    /// A ring of these keys, newest first. None of no key.
    pub(crate) fn new(mut keys: Vec<SealingKey>) -> Option<Self> {
        keys.sort_by_key(|key| std::cmp::Reverse(key.number));
        if keys.is_empty() { None } else { Some(Self { keys: keys.into() }) }
    }

    /// A ring of one key.
    pub(crate) fn of(key: SealingKey) -> Self {
        Self { keys: Arc::new([key]) }
    }

    /// This ring and one key more.
    pub(crate) fn with(&self, key: SealingKey) -> Self {
        let mut keys = [&[key], self.keys()].concat();
        keys.sort_by_key(|key| std::cmp::Reverse(key.number));
        Self { keys: keys.into() }
    }

    /// A ring of the newest key alone.
    pub(crate) fn newest(&self) -> Self {
        Self::of(self.keys[0].clone())
    }

    /// The keys, newest first.
    pub(crate) fn keys(&self) -> &[SealingKey] {
        &self.keys
    }

    /// The number of the key that seals.
    pub(crate) fn current(&self) -> u32 {
        self.keys[0].number
    }

    /// Seals a body for the row that `row` names.
    pub(crate) fn seal(
        &self,
        row: &[u8],
        body: &[u8],
        from: &dyn Environment,
    ) -> Result<Vec<u8>, SealError> {
        let key = &self.keys[0];
        let nonce: [u8; 12] = random(from)?;
        let mut out = Vec::with_capacity(HEADER + body.len() + 16);
        out.push(VERSION);
        out.extend_from_slice(&key.number.to_be_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(body);
        let tag = key
            .aead()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(row),
                &mut out[HEADER..],
            )
            .map_err(|_| SealError::Form)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens a body that was sealed for the row that `row` names.
    pub(crate) fn open(&self, row: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (header, body) = sealed.split_at_checked(HEADER).ok_or(SealError::Form)?;
        let number = key_number(sealed)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.number == number)
            .ok_or(SealError::UnknownKey { number })?;
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&header[5..]);
        let mut plain = Zeroizing::new(body.to_vec());
        let length = key
            .aead()
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(row), &mut plain)
            .map_err(|_| SealError::Forged)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// The number of the key that a body was sealed with.
pub(crate) fn key_number(sealed: &[u8]) -> Result<u32, SealError> {
    match sealed {
        [VERSION, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(SealError::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::fixed::FixedEnvironment;

    fn ring(numbers: &[u32]) -> Keyring {
        let keys = numbers.iter().map(|n| SealingKey::new(*n, [u8::try_from(*n).unwrap(); 32]));
        Keyring::new(keys.collect()).unwrap()
    }

    #[test]
    fn a_sealed_body_opens_in_its_own_row_only() {
        let environment = FixedEnvironment::new();
        let keys = ring(&[1]);
        let sealed = keys.seal(b"a", b"hunter2", &environment).unwrap();
        assert_eq!(&**keys.open(b"a", &sealed).unwrap(), b"hunter2");
        assert_eq!(keys.open(b"b", &sealed), Err(SealError::Forged));
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let environment = FixedEnvironment::new();
        let keys = ring(&[1]);
        let sealed = keys.seal(b"a", b"hunter2", &environment).unwrap();
        for at in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(keys.open(b"a", &bad).is_err(), "bit {at}");
        }
        for length in 0..sealed.len() {
            assert!(keys.open(b"a", &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn the_newest_key_seals_and_older_ones_still_open() {
        let environment = FixedEnvironment::new();
        let old = ring(&[1]).seal(b"a", b"x", &environment).unwrap();
        let both = ring(&[1, 2]);
        let new = both.seal(b"a", b"x", &environment).unwrap();
        assert_eq!((key_number(&old), key_number(&new)), (Ok(1), Ok(2)));
        assert!(both.open(b"a", &old).is_ok());
        assert_eq!(ring(&[2]).open(b"a", &old), Err(SealError::UnknownKey { number: 1 }));
    }

    #[test]
    fn two_sealings_of_one_body_differ() {
        let environment = FixedEnvironment::new();
        let keys = ring(&[1]);
        let first = keys.seal(b"a", b"x", &environment).unwrap();
        assert_ne!(first, keys.seal(b"a", b"x", &environment).unwrap());
    }
}
