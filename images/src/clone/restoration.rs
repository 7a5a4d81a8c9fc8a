//! Restoring a clone: its volume becomes a plain one that was written beside, as when it is hydrated.
//!
//! The overlay is not touched. It holds what the guest had until then, and goes with the clone.

use super::{CloneError, InstantClone, Master, Ownership, Record, handover::Stage};
use crate::{
    encryption::Keyslots,
    volume::{Data, Durability, HostCache, Place, Volume, VolumeError, VolumeId},
};

impl Master {
    /// Notes that a clone's volume is this plain one from now on, which is durable and is opened by
    /// these keys.
    ///
    /// # Errors
    /// [`CloneError::InUse`], where it is not what it was before: that plain volume, or its overlay.
    pub(crate) fn become_plain(
        &self,
        id: &VolumeId,
        before: Option<&Place>,
        place: &Place,
        plain_keyslots: Option<Keyslots>,
    ) -> Result<InstantClone, CloneError> {
        let stage = Stage::Plain(place.clone());
        self.locked()?.change(id, |record| {
            if record.stage.plain() != before {
                return Err(CloneError::InUse(id.clone()));
            }
            Ok(Record { stage, is_held: false, plain_keyslots, ..record })
        })?;
        self.find(id)
    }
}

impl InstantClone {
    /// Whether its guest is on its way from one host to another, as its record says.
    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.record.owner, Ownership::Moving { .. })
    }

    /// Its overlay, whether a guest is still started from that or not.
    pub(crate) fn overlay(
        &self,
        durability: Durability,
        cache: HostCache,
    ) -> Result<Volume, VolumeError> {
        let place = Place::File(self.record.path.clone());
        let data = Data::Overlay { place, backing: self.backing.clone() };
        self.described(data, durability, cache, self.record.keyslots)
    }

    /// Such a volume, opened by these keys, as it is reached from here.
    pub(super) fn described(
        &self,
        data: Data,
        durability: Durability,
        cache: HostCache,
        keyslots: Option<Keyslots>,
    ) -> Result<Volume, VolumeError> {
        let mut volume = Volume::new(self.id.clone(), data, durability, cache)?;
        if let Some(access) = &self.access {
            volume = volume.reached_by(access.initiator());
        }
        Ok(match keyslots {
            Some(keyslots) => volume.encrypted(keyslots.opening()),
            None => volume,
        })
    }
}
