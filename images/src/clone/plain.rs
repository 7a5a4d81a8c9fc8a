//! Removing the plain volume that a clone has become, which is no file of the clone's.
//!
//! Only a regular file is removed. A block device is somebody else's: its header is written over, and
//! it stays. So is a LUN, whose header stays too.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;

use super::{CloneError, InstantClone, Master, durable, failed, lock};
use crate::{
    encryption::erasure::{self, Doubt, EraseError, Erased},
    volume::{Place, VolumeId},
};

impl Master {
    /// Removes the plain volume that a clone was hydrated into, and writes over its keys before if it
    /// is encrypted; where they can't be, it is removed all the same. Nothing where it is gone. The
    /// clone itself, and its overlay, stay: without
    /// [`erase_clone`](Self::erase_clone) after this, its record names a volume that is not there.
    ///
    /// # Errors
    /// [`CloneError::InUse`], while QEMU has it open; then nothing has been removed.
    pub fn erase_plain(&self, clone: &InstantClone) -> Result<Erased, CloneError> {
        let record = self.find(clone.id())?.record;
        let Some(place) = record.stage.plain() else { return Ok(Erased::Nothing) };
        remove(clone.id(), place, record.plain_keyslots.is_some())
    }

    /// The same of the target of a hydration that was not ended, which may hold all that the volume
    /// does. Nothing of a clone that has become a plain volume: that one is [`Self::erase_plain`]'s.
    ///
    /// # Errors
    /// [`CloneError::InUse`], while QEMU copies into it; then nothing has been removed.
    pub fn erase_target(&self, clone: &InstantClone, target: &Place) -> Result<Erased, CloneError> {
        let record = self.find(clone.id())?.record;
        if record.stage.plain().is_some() {
            return Ok(Erased::Nothing);
        }
        // What is encrypted is hydrated so, whether that is still noted or not.
        let is_encrypted = record.plain_keyslots.or(record.keyslots).is_some();
        remove(clone.id(), target, is_encrypted)
    }
}

/// Removes an old file of a plain volume, and writes over its keys before if it has a LUKS header; where
/// they can't be, it is removed all the same. The caller knows that no clone's record names it.
///
/// # Errors
/// [`CloneError::InUse`], while QEMU has it open; then nothing has been removed.
pub fn erase_old(id: &VolumeId, path: &Path) -> Result<Erased, CloneError> {
    let mut options = File::options();
    options.read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    let mut magic = [0; 6];
    let read = options.open(path).and_then(|mut file| file.read(&mut magic));
    read.map_err(failed("reading", path))?;
    remove(id, &Place::File(path.into()), magic == *b"LUKS\xba\xbe")
}

/// Removes a plain volume's file, and writes over its keys before. Nothing where it is gone.
///
/// # Errors
/// [`CloneError::InUse`], while QEMU has it open; then nothing has been removed.
pub(crate) fn remove(
    id: &VolumeId,
    place: &Place,
    is_encrypted: bool,
) -> Result<Erased, CloneError> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    let held = match place {
        Place::Device(_) | Place::Lun(_) => None,
        Place::File(path) => match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Erased::Nothing),
            file => Some((path, file.map_err(failed("opening", path))?)),
        },
    };
    let erased = match is_encrypted {
        true => match erasure::erase(place) {
            Err(EraseError::InUse(_)) => return Err(CloneError::InUse(id.clone())),
            erased => erased.unwrap_or(Erased::Unsure(Doubt::Failed)),
        },
        false => Erased::Nothing,
    };
    if let Some((path, file)) = held {
        if !lock::keep_from_qemu(&file).map_err(failed("locking", path))? {
            return Err(CloneError::InUse(id.clone()));
        }
        durable::remove(path).map_err(failed("removing", path))?;
        durable::sync_parent(path).map_err(failed("syncing", path))?;
    }
    Ok(erased)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        clone::{Locked, Pool, Stage},
        volume::{Format, VolumeId},
    };

    fn hydrated(root: &std::path::Path) -> (Master, InstantClone) {
        let image = root.join("raw");
        fs::write(&image, vec![1; 1 << 20]).unwrap();
        let master = Master::seal(&image, Format::Raw, &root.join("master")).unwrap();
        let pool = Pool::create(&root.join("pool")).unwrap();
        let id = VolumeId::parse("web").unwrap();
        master.clone_into(&pool, std::slice::from_ref(&id)).unwrap();
        let plain = Place::File(root.join("web.raw"));
        let mark = |locked: Locked<'_>| locked.mark(&id, Stage::Plain(plain), false);
        mark(master.locked().unwrap()).unwrap();
        let clone = master.find(&id).unwrap();
        (master, clone)
    }

    #[test]
    fn a_plain_volume_that_nobody_has_open_is_removed_and_a_second_time_there_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (master, clone) = hydrated(root.path());
        let path = root.path().join("web.raw");
        fs::write(&path, vec![2; 1 << 20]).unwrap();
        assert_eq!(master.erase_plain(&clone).unwrap(), Erased::Nothing);
        assert!(!path.exists());
        assert_eq!(master.erase_plain(&clone).unwrap(), Erased::Nothing);
        // Its overlay is another matter.
        assert!(clone.path().exists());
        master.erase_clone(&clone).unwrap();
        assert!(!clone.path().exists());
    }

    #[test]
    fn the_target_of_a_hydration_that_was_not_ended_is_removed_and_a_plain_volume_is_not_one() {
        let root = tempfile::tempdir().unwrap();
        let (master, clone) = hydrated(root.path());
        let path = root.path().join("web.raw");
        fs::write(&path, vec![2; 1 << 20]).unwrap();
        let target = Place::File(path.clone());
        assert_eq!(master.erase_target(&clone, &target).unwrap(), Erased::Nothing);
        assert!(path.exists());
        master.locked().unwrap().mark(clone.id(), Stage::Overlay, false).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        assert!(lock::keep_from_qemu(&file).unwrap());
        assert!(matches!(master.erase_target(&clone, &target), Err(CloneError::InUse(_))));
        assert!(path.exists());
        drop(file);
        master.erase_target(&clone, &target).unwrap();
        assert!(!path.exists());
        assert_eq!(master.erase_target(&clone, &target).unwrap(), Erased::Nothing);
    }

    #[test]
    fn an_old_file_is_removed_unless_it_is_open_or_no_file() {
        let root = tempfile::tempdir().unwrap();
        let (path, link) = (root.path().join("web.raw"), root.path().join("web.restored-0.raw"));
        let id = VolumeId::parse("web").unwrap();
        fs::write(&path, vec![2; 1 << 20]).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(erase_old(&id, &link).is_err() && path.exists());
        let file = File::options().read(true).write(true).open(&path).unwrap();
        assert!(lock::keep_from_qemu(&file).unwrap());
        assert!(matches!(erase_old(&id, &path), Err(CloneError::InUse(_))));
        drop(file);
        assert_eq!(erase_old(&id, &path).unwrap(), Erased::Nothing);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_is_open_stays() {
        let root = tempfile::tempdir().unwrap();
        let (master, clone) = hydrated(root.path());
        let path = root.path().join("web.raw");
        fs::write(&path, vec![2; 1 << 20]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        // As QEMU holds it.
        assert!(lock::keep_from_qemu(&file).unwrap());
        assert!(matches!(master.erase_plain(&clone), Err(CloneError::InUse(_))));
        assert!(path.exists());
    }
}
