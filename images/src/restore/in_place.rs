//! Restoring over a volume that no guest runs on: what it held is replaced by an image.
//!
//! ```text
//!  plain file   PATH.restoring is written; then PATH is that, and the old one PATH.replaced-N or gone
//!  clone        ID.restored-N.raw is written in its pool; then its record says that it is plain, and
//!               that. The overlay stays until the clone is removed
//!  device       the image is read to its end; then the device is written over
//! ```
//! The first two lose nothing, whenever they end: the volume is the old one until all of the new one
//! is durable. The third may leave a part of each, which its record says until it is repeated
//! ([`Records::check`]); a file can be restored so too, where there is no room for both.
//!
//! QEMU's own lock on the volume is held from the beginning to the end, so no guest can be started on
//! it meanwhile; an overlay is recovered before, by a QEMU that has that lock. Bitmaps of what has changed since the last backup are not carried over: the next
//! backup reads all, and says so.

mod clone;

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use self::clone::HeldClone;
use super::{
    Origin, RestoreError, beside,
    fetch::fetch,
    over::write_over,
    records::{Made, Record, Records, Way},
};
use crate::{
    archive::{Exported, Watch},
    clone::{CloneError, Master, durable, is_named, remove_plain, reserve},
    encryption::{KeyNumber, erasure::erase_held},
    volume::{Data, Durability, FileIdentity, HostCache, Place, Volume, VolumeId},
};

/// How many old files of a volume are kept at most.
const MOST_KEPT: u32 = 10_000;

/// A volume that no guest runs on.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A plain one.
    Plain(&'a Volume),
    /// A clone, which becomes plain.
    Clone {
        /// Its master.
        master: &'a Master,
        /// Which.
        id: &'a VolumeId,
        /// The class that its guest was started with.
        durability: Durability,
        /// As of its guest.
        cache: HostCache,
    },
}

/// How a volume is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// To a new file, which takes the old one's place at the end. There must be room for both.
    Beside {
        /// Whether the old one is kept. A clone's overlay is in any case.
        keeps_old: bool,
    },
    /// Over a plain volume as it lies there. For block devices, and where there is no room.
    Over,
}

/// A volume that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What a guest is started with from now on. Its next backup reads all.
    pub volume: Volume,
    /// Its length in bytes, which is the image's; of a device, the image's.
    pub size: u64,
    /// Bytes that were written; the others are holes, or were there.
    pub written: u64,
    /// What the volume held before, where that was kept. It has the same id, so no guest is to run on
    /// it; it can be captured.
    pub kept: Option<Volume>,
}

/// Restores a volume from an image of any disk. If it fails, or ends before its end, do it again, or
/// [`cancel`] it.
///
/// # Errors
/// [`RestoreError::InUse`]; [`RestoreError::Damaged`], before anything is written over;
/// [`RestoreError::NoName`]; [`RestoreError::OtherRestore`]; [`RestoreError::WouldBeClear`], as the
/// volume is encrypted afterwards if it was before.
pub fn restore(
    records: &Records,
    of: &Origin<'_>,
    subject: Subject<'_>,
    manner: Manner,
    watch: &dyn Watch,
) -> Result<Restored, RestoreError> {
    let job = Job { records, of, watch };
    match subject {
        Subject::Plain(volume) => {
            of.check_key(volume.key().is_some())?;
            match manner {
                Manner::Beside { keeps_old } => job.beside(volume, keeps_old),
                Manner::Over => job.over(volume),
            }
        }
        Subject::Clone { master, id, durability, cache } => {
            let clone = master.find(id)?;
            let volume = clone.volume(durability, cache)?;
            of.check_key(volume.key().is_some())?;
            match manner {
                Manner::Beside { keeps_old } => {
                    job.clone(master, &clone, (durability, cache), keeps_old)
                }
                Manner::Over => job.over(&volume),
            }
        }
    }
}

/// Gives up a restore that was begun: what was written beside is removed, and the volume is what it
/// was. One that has come to its end stays.
///
/// # Errors
/// [`RestoreError::HalfRestored`] of one that is written over: that has to be ended.
pub fn cancel(records: &Records, subject: Subject<'_>) -> Result<(), RestoreError> {
    match subject {
        Subject::Plain(volume) => {
            let id = volume.id();
            records.check(id)?;
            let held = hold_volume(volume)?;
            match records.read(id)?.map(|record| record.way) {
                Some(Way::Beside { new, old, kept, .. }) => {
                    unlink_kept(&held, local(volume)?, &old, kept.as_deref())?;
                    discard(id, &new, volume.key())?;
                }
                // A clone that was restored is a plain volume too, and what it is now is not to be removed.
                Some(Way::Clone { .. }) => return Err(RestoreError::OtherRestore(id.clone())),
                Some(Way::Over) | None => {}
            }
            records.remove(id)
        }
        Subject::Clone { master, id, durability, cache } => {
            records.check(id)?;
            let clone = master.find(id)?;
            let volume = clone.volume(durability, cache)?;
            let held = HeldClone::of(master, &clone, &volume)?;
            match records.read(id)?.map(|record| record.way) {
                Some(Way::Clone { new, removed, .. }) => {
                    let now = held.clone.hydrated().and_then(Place::path);
                    let unused = if now == Some(&*new) { removed } else { Some(new) };
                    unused.map_or(Ok(()), |path| discard(id, &path, volume.key()))?;
                }
                Some(Way::Beside { .. }) => return Err(RestoreError::OtherRestore(id.clone())),
                Some(Way::Over) | None => {}
            }
            records.remove(id)
        }
    }
}

struct Job<'a> {
    records: &'a Records,
    of: &'a Origin<'a>,
    watch: &'a dyn Watch,
}

impl Job<'_> {
    fn beside(&self, volume: &Volume, keeps_old: bool) -> Result<Restored, RestoreError> {
        let Data::Plain(Place::File(path)) = volume.data() else {
            return Err(RestoreError::NoName { path: local(volume)?.into() });
        };
        let id = volume.id();
        let held = hold_volume(volume)?;
        // Where a link leads: renamed over the link, the new file would be elsewhere than the old one.
        let path = &fs::canonicalize(path).map_err(RestoreError::io("finding", path))?;
        let old = identity(&held, path)?;
        let image = self.of.image.image();
        match self.records.read(id)? {
            Some(Record { way: Way::Beside { kept, made, .. }, image: of })
                if of == image.id && made.is_some() && made == Made::of(&held).ok() =>
            {
                // It had ended but for the end of its record.
                durable::sync_parent(path).map_err(RestoreError::io("syncing", path))?;
                self.records.remove(id)?;
                let kept = kept.map(|kept| moved(volume, Place::File(kept))).transpose()?;
                let done = Exported { size: image.size, written: 0 };
                return Ok(restored(volume.clone(), done, kept));
            }
            Some(Record { way: Way::Beside { old, kept, .. }, .. }) => {
                unlink_kept(&held, path, &old, kept.as_deref())?;
            }
            Some(_) => return Err(RestoreError::OtherRestore(id.clone())),
            None => {}
        }
        let new = beside(path, ".restoring");
        let kept = if keeps_old { Some(free(path, "replaced-", "")?) } else { None };
        let way = |old, made| Way::Beside { new: new.clone(), old, kept: kept.clone(), made };
        self.note(id, way(old.clone(), None))?;
        let exported = fetch(self.of, id, &new, volume.key(), self.watch)?;
        own_alike(&held, &new)?;
        let made = File::open(&new).and_then(|file| Made::of(&file));
        let made = made.map_err(RestoreError::io("reading", &new))?;
        self.note(id, way(old, Some(made)))?;
        if !is_named(&held, path).map_err(RestoreError::io("finding", path))? {
            return Err(RestoreError::InUse(id.clone()));
        }
        if let Some(kept) = &kept {
            fs::hard_link(path, kept).map_err(RestoreError::io("keeping", kept))?;
        }
        fs::rename(&new, path).map_err(RestoreError::io("naming", path))?;
        durable::sync_parent(path).map_err(RestoreError::io("syncing", path))?;
        if kept.is_none() && volume.key().is_some() {
            // The key that opens the new one opens it too. That it can't be written over stops nothing.
            let _ = erase_held(&held, volume.place());
        }
        self.records.remove(id)?;
        let kept = kept.map(|kept| moved(volume, Place::File(kept))).transpose()?;
        Ok(restored(volume.clone(), exported, kept))
    }

    fn over(&self, volume: &Volume) -> Result<Restored, RestoreError> {
        if volume.is_overlay() {
            return Err(RestoreError::Overlay(volume.id().clone()));
        }
        let exported = write_over(self.records, self.of, volume, self.watch)?;
        Ok(restored(volume.clone(), exported, None))
    }

    fn note(&self, id: &VolumeId, way: Way) -> Result<(), RestoreError> {
        self.records.write(id, &Record { image: self.of.image.image().id, way })
    }
}

fn restored(volume: Volume, exported: Exported, kept: Option<Volume>) -> Restored {
    let Exported { size, written } = exported;
    Restored { volume, size, written, kept }
}

/// The same volume as a plain one elsewhere.
fn moved(volume: &Volume, place: Place) -> Result<Volume, RestoreError> {
    let data = Data::Plain(place);
    let moved = Volume::new(volume.id().clone(), data, Durability::Plain, volume.cache_mode())?;
    Ok(match volume.key() {
        Some(key) => moved.encrypted(key),
        None => moved,
    })
}

/// The path of a volume that is none on a LUN.
pub(super) fn local(volume: &Volume) -> Result<&Path, RestoreError> {
    volume.place().path().ok_or_else(|| RestoreError::OnLun(volume.id().clone()))
}

/// A volume's file, which no QEMU can open until it is dropped.
fn hold_volume(volume: &Volume) -> Result<File, RestoreError> {
    let path = local(volume)?;
    reserve(volume.place()).map_err(RestoreError::io_of(volume.id(), "opening", path))
}

fn identity(file: &File, path: &Path) -> Result<FileIdentity, RestoreError> {
    FileIdentity::of(file).map_err(RestoreError::io("reading", path))
}

/// Removes the second name of the old file, where it has not lost its first one.
fn unlink_kept(
    held: &File,
    path: &Path,
    old: &FileIdentity,
    kept: Option<&Path>,
) -> Result<(), RestoreError> {
    let Some(kept) = kept.filter(|_| identity(held, path).is_ok_and(|now| now == *old)) else {
        return Ok(());
    };
    let is_it = File::open(kept).and_then(|file| FileIdentity::of(&file));
    if is_it.is_ok_and(|kept| kept == *old) { remove(kept) } else { Ok(()) }
}

/// Gives the new file the old one's owner and mode, so that who ran the guest can.
fn own_alike(old: &File, new: &Path) -> Result<(), RestoreError> {
    let failed = || RestoreError::io("handing over", new);
    let like = old.metadata().map_err(failed())?;
    let file = File::open(new).map_err(failed())?;
    let own = file.metadata().map_err(failed())?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid())).map_err(failed())?;
    }
    // Of a file, and not of who may set its owner's rights.
    let mode = Permissions::from_mode(like.mode() & 0o777);
    file.set_permissions(mode).and_then(|()| file.sync_all()).map_err(failed())
}

/// The first name of a row that nothing has.
fn free(path: &Path, part: &str, extension: &str) -> Result<PathBuf, RestoreError> {
    let name = |number| beside(path, &format!(".{part}{number}{extension}"));
    for number in 0..MOST_KEPT {
        match fs::symlink_metadata(name(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(name(number)),
            found => found.map_err(RestoreError::io("finding", path))?,
        };
    }
    Err(RestoreError::Exists { path: name(MOST_KEPT - 1) })
}

/// Removes a file of a volume that is encrypted by this key, if it is. Its header is written over before,
/// since the key goes on opening the volume; where it can't be, it is removed all the same.
///
/// # Errors
/// [`RestoreError::InUse`], while QEMU has it open: then it is there as it was.
fn discard(id: &VolumeId, path: &Path, key: Option<KeyNumber>) -> Result<(), RestoreError> {
    match remove_plain(id, &Place::File(path.into()), key.is_some()) {
        Ok(_) => Ok(()),
        Err(CloneError::InUse(id)) => Err(RestoreError::InUse(id)),
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> Result<(), RestoreError> {
    durable::remove(path)
        .and_then(|()| durable::sync_parent(path))
        .map_err(RestoreError::io("removing", path))
}
