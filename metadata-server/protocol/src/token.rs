//! Session tokens: sealed, stateless, good for one instance and a limited time.
//!
//! ```text
//! key number (4) ‖ nonce (12) ‖ AES-256-GCM(expiry in seconds (8)) ‖ tag (16), as base64url
//! ```
//!
//! The instance's id is associated data, so a token of another instance does not open, whatever
//! port it comes through; a recycled port belongs to a new instance with a new id. An instance
//! with several ports uses one token on all of them. Nothing is stored, so tokens outlive
//! restarts and hold on every hypervisor that has the key. Comparison in constant time is the
//! AEAD's own. Random nonces are safe for 2^32 tokens a key (NIST SP 800-38D, section 8.3), which
//! is what the rotation of keys is for.
//!
//! Never reads a clock and makes no randomness; never logs a token.
//!
//! Follows EC2's IMDSv2 in what a guest sees: a time to live of 1 to 21,600 seconds.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mezame_model::{InstanceId, SecretDigest, snapshot::TokenKey};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};

/// A moment, in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

/// Where random bytes come from.
pub trait Randomness {
    /// Fills `out` with bytes that nobody can foresee.
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness>;
}

/// There are no random bytes. On Linux that can't be once the system has booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Why keys for tokens can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenKeyError {
    /// There is none.
    #[error("there is no token key")]
    None,
    /// It has not 32 bytes.
    #[error("token key {number} has {length} bytes instead of 32")]
    Length {
        /// Its number.
        number: u32,
        /// How many bytes it has.
        length: usize,
    },
}

/// For how long a token is good, 1 to 21,600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTtl(u32);

impl TokenTtl {
    /// The longest, in seconds: six hours.
    pub const MAX: u32 = 21_600;

    /// Parses the header's value: digits, and nothing else.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if !(1..=5).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = value.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        (1..=Self::MAX).contains(&seconds).then_some(Self(seconds))
    }

    /// In seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }
}

const NUMBER: usize = 4;
const NONCE: usize = 12;
const EXPIRY: usize = 8;
const TAG: usize = 16;
const SEALED: usize = NUMBER + NONCE + EXPIRY + TAG;
/// The length of a token as text.
const TEXT: usize = (SEALED * 4).div_ceil(3);
/// The longest instance id with the label and the key's number.
const AAD_MAX: usize = 64;

/// The keys that tokens are sealed with, expanded once.
pub struct TokenKeys {
    /// The first seals.
    keys: Box<[(u32, LessSafeKey)]>,
    /// Tags secrets' values; derived from the first.
    tagging: hmac::Key,
}

impl TokenKeys {
    /// Expands the keys of a site: the first seals, all open.
    pub fn new(keys: &[TokenKey]) -> Result<Self, TokenKeyError> {
        let first = keys.first().ok_or(TokenKeyError::None)?;
        let expand = |key: &TokenKey| {
            let bytes = key.key.expose();
            let unbound = UnboundKey::new(&AES_256_GCM, bytes)
                .map_err(|_| TokenKeyError::Length { number: key.number, length: bytes.len() })?;
            Ok((key.number, LessSafeKey::new(unbound)))
        };
        Ok(Self {
            keys: keys.iter().map(expand).collect::<Result<_, _>>()?,
            tagging: tagging_key(first),
        })
    }

    /// A tag of a secret's value that says nothing about it to whoever has no key of the site. The
    /// same on every server, until the first key is another.
    pub(crate) fn tag_of(&self, digest: &SecretDigest) -> u64 {
        let tag = hmac::sign(&self.tagging, digest.bytes());
        let first = tag.as_ref().first_chunk().copied();
        // HMAC-SHA-256 has 32 bytes.
        u64::from_be_bytes(first.unwrap_or_default())
    }

    /// Makes a token. None if there are no random bytes (one of zeroes could be foreseen), or if the
    /// cipher refuses, which it does for no input of this size.
    pub(crate) fn seal(
        &self,
        instance: &InstanceId,
        ttl: TokenTtl,
        now: UnixTime,
        random: &dyn Randomness,
    ) -> Option<String> {
        let (number, key) = self.keys.first()?;
        let mut nonce = [0; NONCE];
        random.fill(&mut nonce).ok()?;
        let mut expiry = now.0.saturating_add(u64::from(ttl.0)).to_be_bytes();
        let mut space = [0; AAD_MAX];
        let aad = associated(&mut space, *number, instance)?;
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut expiry,
            )
            .ok()?;
        let mut sealed = [0; SEALED];
        sealed[..NUMBER].copy_from_slice(&number.to_be_bytes());
        sealed[NUMBER..NUMBER + NONCE].copy_from_slice(&nonce);
        sealed[NUMBER + NONCE..SEALED - TAG].copy_from_slice(&expiry);
        sealed[SEALED - TAG..].copy_from_slice(tag.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The remaining seconds of a token of this instance, at least 1; None if it is not one, or
    /// its time is over.
    pub fn open(&self, token: &[u8], instance: &InstanceId, now: UnixTime) -> Option<u32> {
        if token.len() != TEXT {
            return None;
        }
        // The decoder wants room for whole groups, and refuses all but the one spelling.
        let mut sealed = [0; TEXT.div_ceil(4) * 3];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut sealed).ok()?;
        let sealed = sealed.get_mut(..length).filter(|sealed| sealed.len() == SEALED)?;
        let (number, rest) = sealed.split_first_chunk_mut::<NUMBER>()?;
        let number = u32::from_be_bytes(*number);
        let (nonce, expiry) = rest.split_first_chunk_mut::<NONCE>()?;
        let (_, key) = self.keys.iter().find(|(known, _)| *known == number)?;
        let mut space = [0; AAD_MAX];
        let aad = associated(&mut space, number, instance)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let expiry = key.open_in_place(nonce, Aad::from(aad), expiry).ok()?;
        let expiry = u64::from_be_bytes(<[u8; EXPIRY]>::try_from(&*expiry).ok()?);
        // A clock that went back must not lengthen a token beyond what any may have.
        let left = expiry.checked_sub(now.0)?.min(u64::from(TokenTtl::MAX));
        u32::try_from(left).ok().filter(|left| *left > 0)
    }
}

/// The key of tags: derived from the tokens' by HMAC, since a key has one use.
fn tagging_key(key: &TokenKey) -> hmac::Key {
    let whole = hmac::Key::new(hmac::HMAC_SHA256, key.key.expose());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&whole, b"mezame secret tag 1").as_ref())
}

/// What is authenticated along with the expiry: what this is, by which key, for which instance.
fn associated<'a>(
    space: &'a mut [u8; AAD_MAX],
    number: u32,
    instance: &InstanceId,
) -> Option<&'a [u8]> {
    const LABEL: &[u8] = b"mezame session 1";
    let id = instance.as_str().as_bytes();
    let length = LABEL.len() + NUMBER + id.len();
    let (label, rest) = space.get_mut(..length)?.split_at_mut(LABEL.len());
    label.copy_from_slice(LABEL);
    rest[..NUMBER].copy_from_slice(&number.to_be_bytes());
    rest[NUMBER..].copy_from_slice(id);
    Some(&space[..length])
}

#[cfg(test)]
mod tests;
