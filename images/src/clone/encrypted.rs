//! Encrypted clones: made with a header each, opened by the keys that their records name, given
//! other keys, and erased.
//!
//! A clone of a master that is in the clear is encrypted by itself: what is the master's can be read
//! there, and what is written cannot. It is not a copy of a template, since the key that its data is
//! encrypted with would be every clone's.

use std::{cell::Cell, collections::BTreeSet, path::Path};

use super::{CloneError, InstantClone, Master, Pool, Record};
use crate::{
    encryption::{
        KeyNumber, Keyslots, VolumeKeys,
        erasure::Erased,
        rotation::{self, Header, RotationError},
    },
    volume::{
        Durability, HostCache, VolumeId,
        recovery::{self, Recovered, RecoveryError},
    },
};

impl Master {
    /// Makes an encrypted clone in a pool, with the key of this number among `keys`. It takes about two
    /// seconds of a processor, in which QEMU measures how fast that hashes.
    pub fn clone_encrypted(
        &self,
        pool: &Pool,
        id: &VolumeId,
        number: KeyNumber,
        keys: &VolumeKeys,
    ) -> Result<InstantClone, CloneError> {
        let made = self.make(pool, std::slice::from_ref(id), Some((number, keys)))?;
        made.into_iter().next().ok_or_else(|| CloneError::NoClone(id.clone()))
    }

    /// Has another key open a clone's volume, and no other: see [`rotation::rotate`]. What was begun
    /// is ended. A key may be forgotten once [`InstantClone::keys_needed`] doesn't name it.
    pub fn rotate_key(
        &self,
        id: &VolumeId,
        to: KeyNumber,
        header: &mut dyn Header,
    ) -> Result<(), RotationError> {
        let clone = self.find(id)?;
        let keyslots = clone.keyslots().ok_or(RotationError::NotEncrypted)?;
        // What we take the record to say; nobody else may change it meanwhile.
        let known = Cell::new(keyslots);
        rotation::rotate(keyslots, to, header, &mut |after| {
            self.locked()?.change(id, |mut record| {
                let is_same = record.stage.plain() == clone.hydrated();
                if !is_same || record.keyslots_in_use() != Some(known.get()) {
                    return Err(RotationError::Changed);
                }
                record.set_keyslots_in_use(after);
                Ok(record)
            })?;
            known.set(after);
            Ok(())
        })
    }

    /// Removes a clone as [`remove_clone`](Self::remove_clone) does, having written over the keys in
    /// its overlay; how far that can be trusted. A plain volume that it has become is the caller's to
    /// erase ([`crate::encryption::erasure::erase`]).
    pub fn erase_clone(&self, clone: &InstantClone) -> Result<Erased, CloneError> {
        let _lock = self.lock()?;
        let record = self.find(&clone.id)?.record;
        if record.identity != clone.record.identity {
            return Err(CloneError::Replaced { path: record.path });
        }
        self.forget(&clone.id, &record)
    }
}

impl InstantClone {
    /// Which keys open its volume; none if that is not encrypted.
    pub fn keyslots(&self) -> Option<Keyslots> {
        self.record.keyslots_in_use()
    }

    /// The keys that may not be forgotten: those of its overlay and of a plain volume.
    pub fn keys_needed(&self) -> BTreeSet<KeyNumber> {
        let both = [self.record.keyslots, self.record.plain_keyslots];
        both.into_iter().flatten().flat_map(Keyslots::needed).collect()
    }

    /// [`recover`](Self::recover) for a clone that is encrypted, or whose master is.
    pub fn recover_with(
        &self,
        keys: &VolumeKeys,
        cache: HostCache,
        run: &Path,
    ) -> Result<Recovered, RecoveryError> {
        if self.hydrated().is_some() {
            return Ok(Recovered::default());
        }
        let volume = self.volume(Durability::default(), cache)?;
        let keys = match &self.access {
            Some(access) => keys.clone().with_accounts_of(access.keys()),
            None => keys.clone(),
        };
        recovery::recover(&volume, &self.record.identity, &keys, run)
    }
}

impl Record {
    /// Those of the volume that a guest is started from.
    fn keyslots_in_use(&self) -> Option<Keyslots> {
        if self.stage.plain().is_some() { self.plain_keyslots } else { self.keyslots }
    }

    fn set_keyslots_in_use(&mut self, keyslots: Keyslots) {
        let of = if self.stage.plain().is_some() {
            &mut self.plain_keyslots
        } else {
            &mut self.keyslots
        };
        *of = Some(keyslots);
    }
}
