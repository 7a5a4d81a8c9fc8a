//! Removing the files of a clone: those that its record means, and no others that have their names.
//!
//! A name says little: the file may have been replaced by a restored one, or be what another
//! clone is made in. So each file is opened and told by its identity first, and QEMU is kept from
//! opening it from then on. What is not the clone's stays.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;

use super::{CloneError, Pool, durable, failed, lock, new_path, record::Record};
use crate::{
    encryption::erasure::{self, Erased},
    volume::{FileIdentity, Place, VolumeId},
};

/// Removes a clone's files, under the lock of its pool. The keys in an encrypted one are written over
/// before; how far that can be trusted.
///
/// # Errors
/// [`CloneError::InUse`], [`CloneError::Replaced`]; then nothing has been removed.
pub(super) fn remove_files(id: &VolumeId, record: &Record) -> Result<Erased, CloneError> {
    let new = new_path(&record.path);
    // Held until the names are gone.
    let named = take(id, record, &record.path)?;
    if let Taken::Other = named {
        return Err(CloneError::Replaced { path: record.path.clone() });
    }
    let staged = take(id, record, &new)?;
    let mut erased = Erased::Nothing;
    for (taken, path) in [(&named, &record.path), (&staged, &new)] {
        if let Taken::Ours(file) = taken {
            // Two names of one file: what was seen of the first is what was there.
            if erased == Erased::Nothing {
                erased = erasure::erase_overlay(file, &Place::File(path.clone()))?;
            }
            durable::remove(path).map_err(failed("removing", path))?;
        }
    }
    Ok(erased)
}

/// What has a name.
enum Taken {
    Nothing,
    Other,
    /// The clone's file, which QEMU can't open while this is held.
    Ours(File),
}

fn take(id: &VolumeId, record: &Record, path: &Path) -> Result<Taken, CloneError> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Nothing),
        file => file.map_err(failed("opening", path))?,
    };
    if FileIdentity::of(&file).map_err(failed("reading", path))? != record.identity {
        return Ok(Taken::Other);
    }
    if lock::keep_from_qemu(&file).map_err(failed("locking", path))? {
        return Ok(Taken::Ours(file));
    }
    Err(CloneError::InUse(id.clone()))
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
