//! Adopting a pool that was copied, and the clones in it.
//!
//! A copy of a pool has the same names and other files, whose holes may be others. It is taken for
//! the pool only when whoever copied it says so, and a clone in it only if nothing is to be
//! recovered in the copy: then its table says all, and its holes nothing.
//!
//! What can't be seen in a copy is a write of zeroes that the table lacks and that the copying made
//! a hole of. So clones are to be recovered, or closed by QEMU, before they are copied.
//!
//! Nor can what was written to the original since. So where that is still there, nobody may have
//! it open, and it must not have changed since the copy came to be: by the time of its last
//! change and that of the copy's birth, which are the host's clock's.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, ErrorKind},
    path::Path,
};

use super::{
    CloneError, InstantClone, Master, Pool,
    durable::{self, write_new},
    failed, json, lock,
    record::Record,
};
use crate::volume::{FileIdentity, Place, VolumeId, recovery};

impl Master {
    /// Takes the copies of this master's clones in an adopted pool for its clones, in place of the
    /// files that they were copied from, which are not touched. Which those were; clones that are in
    /// this pool already are not among them.
    ///
    /// # Errors
    /// [`CloneError::Unrecovered`] for a clone that something is to be recovered in;
    /// [`CloneError::InUse`] for one whose copy or original QEMU has open; [`CloneError::Outdated`] for
    /// one whose original was written after it was copied. Those before it are adopted.
    pub fn adopt(&self, pool: &Pool) -> Result<Vec<VolumeId>, CloneError> {
        let _locks = (self.lock()?, pool.lock()?);
        let mut adopted = Vec::new();
        for clone in self.clones()? {
            let name = clone.record.path.file_name().unwrap_or(OsStr::new("none"));
            let path = pool.path().join(name);
            if clone.record.pool == *pool.identity() || !path.exists() {
                continue;
            }
            // Both are kept from QEMU until the record says which one it is.
            let (copy, _copy_lock) = check_copy(&clone.id, &path)?;
            let identity = FileIdentity::of(&copy).map_err(failed("reading", &path))?;
            let _original_lock = check_original(&clone, &path, &copy)?;
            let record = Record { path, identity, pool: pool.identity().clone(), ..clone.record };
            let at = self.record_path(&clone.id);
            write_new(&at, &json(&record))
                .and_then(|()| durable::sync_parent(&at))
                .map_err(failed("writing", &at))?;
            adopted.push(clone.id);
        }
        Ok(adopted)
    }
}

/// That a copy needs no recovery; the copy, and what keeps QEMU from opening it.
fn check_copy(id: &VolumeId, path: &Path) -> Result<(File, File), CloneError> {
    let (file, _) = Place::File(path.into()).open().map_err(failed("opening", path))?;
    let writable = File::options().read(true).write(true).open(path);
    let writable = writable.map_err(failed("opening", path))?;
    if !lock::keep_from_qemu(&writable).map_err(failed("locking", path))? {
        return Err(CloneError::InUse(id.clone()));
    }
    if recovery::needs_recovery(&file, path).map_err(CloneError::Template)? {
        return Err(CloneError::Unrecovered(id.clone()));
    }
    file.sync_all().map_err(failed("syncing", path))?;
    Ok((file, writable))
}

/// That the file which was copied, where it is still there, is in nobody's use and has not changed since;
/// what keeps QEMU from opening it.
fn check_original(
    clone: &InstantClone,
    copied_to: &Path,
    copy: &File,
) -> Result<Option<File>, CloneError> {
    let path = &clone.record.path;
    if path == copied_to {
        return Ok(None);
    }
    let (original, _) = match Place::File(path.clone()).open() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("opening", path))?,
    };
    // Another file has its name: the original is gone.
    if FileIdentity::of(&original).map_err(failed("reading", path))? != clone.record.identity {
        return Ok(None);
    }
    let writable = match File::options().read(true).write(true).open(path) {
        // Nobody writes there.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => None,
        opened => Some(opened.map_err(failed("opening", path))?),
    };
    if let Some(file) = &writable
        && !lock::keep_from_qemu(file).map_err(failed("locking", path))?
    {
        return Err(CloneError::InUse(clone.id.clone()));
    }
    let is_later = changed_after(&original, copy).map_err(failed("reading", path))?;
    if is_later { Err(CloneError::Outdated(clone.id.clone())) } else { Ok(writable) }
}

/// Whether a file's bytes changed after its copy was begun: a copy has its time of birth then, and
/// where the file system keeps none, no later one than that of its own last change.
fn changed_after(original: &File, copy: &File) -> io::Result<bool> {
    let copy: Metadata = copy.metadata()?;
    let begun = copy.created().or_else(|_| copy.modified())?;
    Ok(original.metadata()?.modified()? > begun)
}
