//! Volumes' keys: 32 random bytes each, and which of a volume's keys is which.
//!
//! These are the hypervisor's; keys that guests fetch for their own disks are the model's. They have
//! no `Debug` and are never part of an error, and their memory is zeroed. Where a key is kept is the
//! caller's affair: whoever forgets all copies of it has made the volume unreadable.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::environment::{Environment, NoRandomness};

/// The length of a key in bytes.
const LENGTH: usize = 32;

/// What a volume is opened with: 32 bytes that nobody can guess.
#[derive(Clone)]
pub struct VolumeKey(Zeroizing<[u8; LENGTH]>);

impl VolumeKey {
    /// A fresh key.
    pub fn make(from: &dyn Environment) -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        from.fill(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// A key that was made before.
    pub fn of(bytes: Zeroizing<[u8; LENGTH]>) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be sealed and kept.
    pub fn expose(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// As LUKS is given it. QEMU takes text alone for a passphrase.
    pub(super) fn passphrase(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// A key that further secrets are sealed with on their way to a QEMU that has this one already.
    pub(super) fn wrapping(&self) -> VolumeKey {
        let by = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let tag = hmac::sign(&by, b"mezame: secrets for a running QEMU, version 1");
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes.copy_from_slice(tag.as_ref());
        Self(bytes)
    }
}

impl PartialEq for VolumeKey {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for VolumeKey {}

/// Tells a volume's keys apart: each new one has a number that the volume never had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyNumber(pub u32);

impl std::fmt::Display for KeyNumber {
    fn fmt(&self, into: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(into)
    }
}

/// A key that is wanted was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {0} was not given")]
pub struct MissingKey(pub(super) String);

/// The keys that a volume is opened with: its own, by their numbers, and its master's.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct VolumeKeys {
    pub(super) own: BTreeMap<KeyNumber, VolumeKey>,
    master: Option<VolumeKey>,
}

impl VolumeKeys {
    /// None: for a volume that is not encrypted.
    pub fn none() -> Self {
        Self::default()
    }

    /// These and one of the volume's own.
    #[must_use]
    pub fn with(mut self, number: KeyNumber, key: VolumeKey) -> Self {
        self.own.insert(number, key);
        self
    }

    /// These and the one of the encrypted master that the volume is a clone of.
    #[must_use]
    pub fn with_master(mut self, key: VolumeKey) -> Self {
        self.master = Some(key);
        self
    }

    pub(super) fn own(&self, number: KeyNumber) -> Option<&VolumeKey> {
        self.own.get(&number)
    }

    pub(super) fn master(&self) -> Option<&VolumeKey> {
        self.master.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::fixed::FixedEnvironment;

    #[test]
    fn keys_are_equal_by_all_of_their_bytes_and_two_that_are_made_differ() {
        let environment = FixedEnvironment::new(1);
        let [one, other] = [(); 2].map(|()| VolumeKey::make(&environment).unwrap());
        assert!(one != other);
        assert!(one == VolumeKey::of(Zeroizing::new(*one.expose())));
        for at in 0..LENGTH {
            let mut bytes = Zeroizing::new(*one.expose());
            bytes[at] ^= 1;
            assert!(one != VolumeKey::of(bytes));
        }
    }

    #[test]
    fn what_seals_other_secrets_is_not_the_key_itself() {
        let key = VolumeKey::make(&FixedEnvironment::new(2)).unwrap();
        assert!(key.wrapping() != key);
        assert_ne!(*key.wrapping().passphrase(), *key.passphrase());
        assert!(key.wrapping() == key.wrapping());
    }
}
