//! Adopting a pool that was copied, and the clones in it.
//!
//! A copy of a pool has the same names and other files, whose holes may be others. It is taken for
//! the pool only when whoever copied it says so, and a clone in it only if nothing is to be
//! recovered in the copy: then its table says all, and its holes nothing.
//!
//! What can't be seen in a copy is a write of zeroes that the table lacks and that the copying made
//! a hole of. So clones are to be recovered, or closed by QEMU, before they are copied.

use std::{ffi::OsStr, path::Path};

use super::{
    CloneError, Master, Pool,
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
    /// [`CloneError::InUse`]. Those before it are adopted.
    pub fn adopt(&self, pool: &Pool) -> Result<Vec<VolumeId>, CloneError> {
        let _locks = (self.lock()?, pool.lock()?);
        let mut adopted = Vec::new();
        for clone in self.clones()? {
            let name = clone.record.path.file_name().unwrap_or(OsStr::new("none"));
            let path = pool.path().join(name);
            if clone.record.pool == *pool.identity() || !path.exists() {
                continue;
            }
            let identity = check_copy(&clone.id, &path)?;
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

/// That a copy needs no recovery, and which file it is.
fn check_copy(id: &VolumeId, path: &Path) -> Result<FileIdentity, CloneError> {
    let (file, _) = Place::File(path.into()).open().map_err(failed("opening", path))?;
    let writable = std::fs::File::options().read(true).write(true).open(path);
    let writable = writable.map_err(failed("opening", path))?;
    if !lock::keep_from_qemu(&writable).map_err(failed("locking", path))? {
        return Err(CloneError::InUse(id.clone()));
    }
    if recovery::needs_recovery(&file, path).map_err(CloneError::Template)? {
        return Err(CloneError::Unrecovered(id.clone()));
    }
    file.sync_all().map_err(failed("syncing", path))?;
    FileIdentity::of(&file).map_err(failed("reading", path))
}
