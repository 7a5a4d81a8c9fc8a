//! Restoring a clone beside: its volume becomes a plain file in its pool, which its record names once
//! all of it is durable. The overlay is not written to.
//!
//! What the clone's record says is believed only while QEMU's locks on the overlay and on the plain file
//! that it names are held: until then another process may have handed its guest over, or restored it.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{Job, Restored, discard, fetch, free, hold_volume, moved, own_alike, remove, restored};
use crate::{
    archive::Exported,
    clone::{InstantClone, Master, reserve},
    encryption::{KeyNumber, Keyslots, erasure::erase_held},
    restore::{
        RestoreError,
        records::{Made, Record, Way},
    },
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId, recovery},
};

/// A clone that nobody has open, by its record as it is while this is there.
pub(super) struct HeldClone {
    pub(super) clone: InstantClone,
    /// What a guest is started from.
    file: File,
    /// The overlay of a clone that is plain: where a guest was handed over, it may be on either.
    overlay: Option<File>,
}

impl HeldClone {
    /// Takes QEMU's locks.
    ///
    /// # Errors
    /// [`RestoreError::InUse`], also where the clone has become another volume since it was looked up, or
    /// its guest is on its way to another host.
    pub(super) fn of(
        master: &Master,
        clone: &InstantClone,
        volume: &Volume,
    ) -> Result<Self, RestoreError> {
        let id = clone.id();
        let file = hold_volume(volume)?;
        let overlay = Place::File(clone.path().into());
        let overlay = clone
            .hydrated()
            .map(|_| reserve(&overlay).map_err(RestoreError::io_of(id, "opening", clone.path())));
        let overlay = overlay.transpose()?;
        let now = master.find(id)?;
        if now.hydrated() != clone.hydrated() || now.is_moving() {
            return Err(RestoreError::InUse(id.clone()));
        }
        Ok(Self { clone: now, file, overlay })
    }
}

/// The class and the cache that a clone's guest was started with.
pub(super) type Class = (Durability, HostCache);

impl Job<'_> {
    pub(super) fn clone(
        &self,
        master: &Master,
        clone: &InstantClone,
        (durability, cache): Class,
        keeps_old: bool,
    ) -> Result<Restored, RestoreError> {
        let volume = clone.volume(durability, cache)?;
        self.recover(clone, &volume)?;
        let HeldClone { clone, file, overlay: _overlay } = HeldClone::of(master, clone, &volume)?;
        let (clone, id) = (&clone, clone.id());
        let volume = clone.volume(durability, cache)?;
        let before = clone.hydrated().cloned();
        if let Some(Place::Device(path)) = before {
            return Err(RestoreError::NoName { path });
        }
        let record = self.records.read(id)?;
        if let (Some(record), Some(new)) = (&record, before.as_ref().and_then(Place::path))
            && let Some(kept) = self.ended(id, record, &file, new, volume.key())?
        {
            let done = Exported { size: self.of.image.image().size, written: 0 };
            let kept = match kept {
                Kept::Nothing => None,
                Kept::Plain(path) => Some(moved(&volume, Place::File(path))?),
                Kept::Overlay => whole(clone.overlay(durability, cache)?),
            };
            self.records.remove(id)?;
            return Ok(restored(volume, done, kept));
        }
        let new = new_for(clone, record, before.as_ref())?;
        let path = before.as_ref().and_then(Place::path).map(Path::to_path_buf);
        let (kept, removed) = if keeps_old { (path, None) } else { (None, path) };
        let way = |made| Way::Clone {
            new: new.clone(),
            removed: removed.clone(),
            kept: kept.clone(),
            made,
        };
        self.note(id, way(None))?;
        let exported = fetch(self.of, id, &new, volume.key(), self.watch)?;
        own_alike(&file, &new)?;
        let made = File::open(&new).and_then(|file| Made::of(&file));
        self.note(id, way(Some(made.map_err(RestoreError::io("reading", &new))?)))?;
        let keyslots = volume.key().map(Keyslots::One);
        let place = Place::File(new.clone());
        master.become_plain(id, before.as_ref(), &place, keyslots)?;
        if let Some(removed) = &removed {
            // No guest is started from it any more, and none can be while it is held.
            if volume.key().is_some() {
                // Where it can't be written over it is removed all the same.
                let _ = erase_held(&file, volume.place());
            }
            remove(removed)?;
        }
        self.records.remove(id)?;
        let kept = if removed.is_none() { whole(volume.clone()) } else { None };
        Ok(restored(moved(&volume, place)?, exported, kept))
    }

    /// Puts back what a hard stop has taken from an overlay that is to be kept, which can't be done once
    /// the clone is another volume. One that can't be put back is restored all the same: it may be what
    /// the restore is for.
    fn recover(&self, clone: &InstantClone, volume: &Volume) -> Result<(), RestoreError> {
        if clone.hydrated().is_none() && volume.durability().needs_recovery() {
            drop(hold_volume(volume)?);
            // Whether all of it is there is seen when no guest can be started any more.
            let _ = clone.recover_with(self.of.keys, volume.cache_mode(), self.of.run);
        }
        Ok(())
    }

    /// What a restore from this image has kept that had ended but for the end of its record, if that was
    /// it: the clone is what it made, and no guest has written to that.
    fn ended(
        &self,
        id: &VolumeId,
        record: &Record,
        held: &File,
        path: &Path,
        key: Option<KeyNumber>,
    ) -> Result<Option<Kept>, RestoreError> {
        let Way::Clone { new, removed, kept, made: Some(made) } = &record.way else {
            return Ok(None);
        };
        let now = Made::of(held).map_err(RestoreError::io("reading", path))?;
        if record.image != self.of.image.image().id || new != path || *made != now {
            return Ok(None);
        }
        Ok(Some(match (removed, kept) {
            (Some(removed), _) => {
                discard(id, removed, key)?;
                Kept::Nothing
            }
            (None, Some(kept)) => Kept::Plain(kept.clone()),
            (None, None) => Kept::Overlay,
        }))
    }
}

/// What the volume was before, after it.
enum Kept {
    Nothing,
    Plain(PathBuf),
    Overlay,
}

/// The volume, unless it is an overlay of which a hard stop has taken something: what nobody could put
/// back can't be read either. It is there all the same.
fn whole(volume: Volume) -> Option<Volume> {
    let Data::Overlay { place, .. } = volume.data() else { return Some(volume) };
    let is_whole = !volume.durability().needs_recovery()
        || place.open().is_ok_and(|(file, _)| {
            recovery::needs_recovery(&file, &place.called()).is_ok_and(|needs| !needs)
        });
    is_whole.then_some(volume)
}

/// Where a clone's new volume is written: where it was begun, unless it has become that.
fn new_for(
    clone: &InstantClone,
    record: Option<Record>,
    before: Option<&Place>,
) -> Result<PathBuf, RestoreError> {
    let begun = match record.map(|record| record.way) {
        Some(Way::Clone { new, removed, .. }) if before.and_then(Place::path) == Some(&*new) => {
            // It had ended but for this.
            let key = clone.keyslots().map(Keyslots::opening);
            removed.map_or(Ok(()), |path| discard(clone.id(), &path, key))?;
            None
        }
        Some(Way::Clone { new, .. }) => Some(new),
        Some(Way::Beside { .. } | Way::Over) => {
            return Err(RestoreError::OtherRestore(clone.id().clone()));
        }
        None => None,
    };
    let stem = clone.path().with_extension("");
    begun.map_or_else(|| free(&stem, "restored-", ".raw"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encryption::VolumeKeys,
        testing::{ids, master, open, pool},
    };

    #[test]
    fn a_clone_that_has_become_another_volume_since_it_was_looked_up_is_not_held_nor_made_plain() {
        let directory = tempfile::tempdir().unwrap();
        let (master, _) = master(directory.path());
        let looked_up = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
        let volume = looked_up.volume(Durability::default(), HostCache::Direct).unwrap();
        drop(HeldClone::of(&master, &looked_up, &volume).unwrap());
        let plain = Place::File(directory.path().join("plain"));
        master.become_plain(looked_up.id(), None, &plain, None).unwrap();
        let refused = HeldClone::of(&master, &looked_up, &volume).err();
        assert!(matches!(refused, Some(RestoreError::InUse(_))), "{refused:?}");
        let other = Place::File(directory.path().join("other"));
        let refused = master.become_plain(looked_up.id(), None, &other, None).unwrap_err();
        assert!(matches!(refused, crate::clone::CloneError::InUse(_)), "{refused}");
        assert_eq!(master.find(looked_up.id()).unwrap().hydrated(), Some(&plain));
    }

    #[test]
    fn an_overlay_is_kept_as_a_volume_only_if_nothing_of_it_is_lost_once_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let (master, _) = master(directory.path());
        let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
        let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
        let daemon = open(&volume, &VolumeKeys::none(), directory.path());
        daemon.open().unwrap().write(1 << 20, &[7; 65536]).unwrap();
        // Dropped, it is killed: nothing was flushed.
        drop(daemon);
        assert_eq!(whole(volume.clone()), None);
        clone.recover(HostCache::Direct, directory.path()).unwrap();
        assert_eq!(whole(volume.clone()), Some(volume));
    }
}
