//! Removing clones, what crashes have left of them, and masters without any.
//!
//! Of a clone the files go that its record means, and no others that have their names.
//!
//! A name says little: the file may have been replaced by a restored one, or be what another
//! clone is made in. So each file is opened and told by its identity first, and QEMU is kept from
//! opening it from then on. What is not the clone's stays.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;

use super::{
    CLONES, CloneError, Master, Pool, beside,
    durable::{self, sync_directory},
    failed, lock, new_path,
    record::{self, Record},
    template,
};
use crate::{
    encryption::erasure::{self, Doubt, Erased},
    volume::{FileIdentity, Place, VolumeId},
};

impl Master {
    pub(super) fn forget(&self, id: &VolumeId, record: &Record) -> Result<Erased, CloneError> {
        let pool = Pool::of(record)?;
        let _lock = pool.lock()?;
        let erased = remove_files(id, record)?;
        // The record goes only when the clone is gone for good.
        sync_directory(pool.path()).map_err(failed("syncing", pool.path()))?;
        let at = self.record_path(id);
        durable::remove(&at).map_err(failed("removing", &at))?;
        let clones = self.directory.join(CLONES);
        sync_directory(&clones).map_err(failed("syncing", &clones))?;
        if !record::is_any_in(&clones, pool.identity())? {
            template::remove(self, pool.path())?;
        }
        Ok(erased)
    }

    /// Forgets clones that a crash left half made or half removed; which those were. What it left
    /// in their pools of clones that have no record yet is removed as well.
    ///
    /// # Errors
    /// Where a pool is not there nothing is forgotten in any: what is not seen may not be gone.
    pub fn sweep(&self) -> Result<Vec<VolumeId>, CloneError> {
        let _lock = self.lock()?;
        let clones = self.clones()?;
        let mut pools = BTreeMap::new();
        for clone in &clones {
            let pool = Pool::of(&clone.record)?;
            pools.insert(pool.path().to_owned(), pool);
        }
        for pool in pools.values() {
            remove_unrecorded(pool, |id| self.record_path(id).exists())?;
        }
        let mut swept = Vec::new();
        for clone in clones {
            let is_there = clone.record.path.try_exists();
            if !is_there.map_err(failed("finding", &clone.record.path))? {
                self.forget(&clone.id, &clone.record)?;
                swept.push(clone.id);
            }
        }
        Ok(swept)
    }

    /// The ids of its clones, wherever they are.
    pub(crate) fn clone_ids(&self) -> Result<Vec<VolumeId>, CloneError> {
        let mut ids: Vec<_> = self.clones()?.into_iter().map(|clone| clone.id).collect();
        ids.extend(self.on_luns()?);
        Ok(ids)
    }

    /// Removes the master, if it has no clone.
    pub fn remove(self) -> Result<(), CloneError> {
        let _lock = self.lock()?;
        let ids = self.clone_ids()?;
        if let Some(example) = ids.first().cloned() {
            let (path, clones) = (self.directory.clone(), ids.len());
            return Err(CloneError::HasClones { path, clones, example });
        }
        let gone = beside(&self.directory, ".removed");
        if gone.exists() {
            // Of a master of the same name, whose removal was stopped.
            fs::remove_dir_all(&gone).map_err(failed("removing", &gone))?;
        }
        fs::rename(&self.directory, &gone).map_err(failed("removing", &self.directory))?;
        fs::remove_dir_all(&gone).map_err(failed("removing", &gone))
    }
}

/// Removes a clone's files, under the lock of its pool. The keys in an encrypted one are written over
/// before; how far that can be trusted. Where they can't be, it is removed all the same.
///
/// # Errors
/// [`CloneError::InUse`], [`CloneError::Replaced`]; then nothing has been removed.
pub(super) fn remove_files(id: &VolumeId, record: &Record) -> Result<Erased, CloneError> {
    let new = new_path(&record.path);
    let named = open(record, &record.path)?;
    if let Found::Other = named {
        return Err(CloneError::Replaced { path: record.path.clone() });
    }
    let staged = open(record, &new)?;
    let ours = [(named, &record.path), (staged, &new)]
        .into_iter()
        .filter_map(
            |(found, path)| if let Found::Ours(file) = found { Some((file, path)) } else { None },
        )
        .collect::<Vec<_>>();
    // Both may be there, if its naming was cut short. They are one file, which is held until its
    // names are gone.
    let Some((file, path)) = ours.first() else { return Ok(Erased::Nothing) };
    if !lock::keep_from_qemu(file).map_err(failed("locking", path))? {
        return Err(CloneError::InUse(id.clone()));
    }
    let erased = erasure::erase_overlay(file, &Place::File((*path).clone()));
    for (_, path) in &ours {
        durable::remove(path).map_err(failed("removing", path))?;
    }
    Ok(erased.unwrap_or(Erased::Unsure(Doubt::Failed)))
}

/// What has a name.
enum Found {
    Nothing,
    Other,
    /// The clone's file.
    Ours(File),
}

fn open(record: &Record, path: &Path) -> Result<Found, CloneError> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        file => file.map_err(failed("opening", path))?,
    };
    let identity = FileIdentity::of(&file).map_err(failed("reading", path))?;
    Ok(if identity == record.identity { Found::Ours(file) } else { Found::Other })
}

/// Removes what cloning made in a pool and was stopped before there was a record of it.
///
/// Such a file may be of another master's clone: without its pool's lock nobody is making one, so
/// it is a leftover as well, and that master forgets the clone.
pub(super) fn remove_unrecorded(
    pool: &Pool,
    is_recorded: impl Fn(&VolumeId) -> bool,
) -> Result<(), CloneError> {
    let _lock = pool.lock()?;
    let entries = fs::read_dir(pool.path()).map_err(failed("reading", pool.path()))?;
    for entry in entries {
        let path = entry.map_err(failed("reading", pool.path()))?.path();
        let is_new = path.extension().is_some_and(|extension| extension == "new");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(id) = stem.and_then(|stem| VolumeId::parse(stem).ok()) else { continue };
        if is_new && !is_recorded(&id) && is_half_made(&path).map_err(failed("reading", &path))? {
            durable::remove(&path).map_err(failed("removing", &path))?;
        }
    }
    Ok(())
}

/// Whether a file may be a beginning of an overlay, which nobody has open: what else somebody gives
/// such a name stays.
fn is_half_made(path: &Path) -> io::Result<bool> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    // A symbolic link, or a directory.
    let Ok(mut file) = options.open(path) else { return Ok(false) };
    let mut magic = [0; 4];
    let is_overlay = match file.metadata()? {
        metadata if !metadata.is_file() => false,
        metadata if metadata.len() == 0 => true,
        _ => file.read_exact(&mut magic).is_ok() && magic == *b"QFI\xfb",
    };
    Ok(is_overlay && lock::keep_from_qemu(&file)?)
}
