//! A header that nobody has open, changed by qemu-img.

use super::{Header, RotationError, running::sync};
use crate::{
    encryption::{
        KeyNumber, VolumeKeys,
        image::{Change, amend, opens},
    },
    volume::Volume,
};

/// The header of a volume that no QEMU has open; if one has, qemu-img is refused its lock.
pub struct Offline<'a> {
    volume: &'a Volume,
    keys: &'a VolumeKeys,
}

impl<'a> Offline<'a> {
    /// That of a volume, by its own keys, the new one among them.
    pub fn new(volume: &'a Volume, keys: &'a VolumeKeys) -> Self {
        Self { volume, keys }
    }
}

impl Header for Offline<'_> {
    fn add(&mut self, opening: KeyNumber, new: KeyNumber) -> Result<(), RotationError> {
        amend(self.volume, opening, new, Change::Add, self.keys)?;
        sync(self.volume)
    }

    fn remove(&mut self, staying: KeyNumber, old: KeyNumber) -> Result<(), RotationError> {
        amend(self.volume, staying, old, Change::Remove, self.keys)?;
        sync(self.volume)
    }

    fn opens(&mut self, key: KeyNumber) -> Result<bool, RotationError> {
        Ok(opens(self.volume, key, self.keys)?)
    }

    fn forget(&mut self, _: KeyNumber) -> Result<(), RotationError> {
        Ok(())
    }
}
