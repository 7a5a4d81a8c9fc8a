//! A pool: a directory that clones are made in.
//!
//! It is made once, on purpose, and has a file that says so. A directory without one is no pool:
//! it may be where one is mounted at other times, and that nothing is in it then doesn't mean that
//! its clones are gone. Each clone's record says of which pool it is, so another pool at the same
//! place is noticed too. [`Pool::open`] makes nothing.
//!
//! ```text
//!   POOL/pool.json      which file this one is; in a copy, it is another
//!       /pool.lock      held while clones are made or removed
//! ```

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{CloneError, InstantClone, durable, failed, json, lock, record::Record, template};
use crate::volume::{FileIdentity, recovery};

const MARKER: &str = "pool.json";
const LOCK: &str = "pool.lock";

/// A directory for clones.
#[derive(Debug)]
pub struct Pool {
    directory: PathBuf,
    identity: FileIdentity,
}

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    /// Which file it is itself.
    identity: FileIdentity,
}

impl Pool {
    /// Makes a pool of a directory, which is made unless it is there, and which only we may enter
    /// from then on.
    ///
    /// # Errors
    /// [`CloneError::PoolExists`]; [`CloneError::Template`] where the file system doesn't tell
    /// holes.
    pub fn create(directory: &Path) -> Result<Self, CloneError> {
        private_directory(directory).map_err(failed("making", directory))?;
        let directory = fs::canonicalize(directory).map_err(failed("finding", directory))?;
        recovery::check_holes(&directory).map_err(CloneError::Template)?;
        let path = directory.join(LOCK);
        make_lock(&path)?;
        let _lock = lock::hold(&path)?;
        let path = directory.join(MARKER);
        if path.exists() {
            return Err(CloneError::PoolExists { path: directory });
        }
        let identity = write_marker(&path).map_err(failed("writing", &path))?;
        // Its own name, too.
        durable::sync_parent(&directory).map_err(failed("syncing", &directory))?;
        Ok(Self { directory, identity })
    }

    /// Takes a copy of a pool for one, under an identity of its own. What is in it is taken by
    /// [`Master::adopt`](super::Master::adopt).
    ///
    /// # Errors
    /// [`CloneError::PoolExists`] for one that is no copy.
    pub fn adopt(directory: &Path) -> Result<Self, CloneError> {
        let (pool, is_copy) = Self::look(directory)?;
        if !is_copy {
            return Err(CloneError::PoolExists { path: pool.directory });
        }
        private_directory(&pool.directory).map_err(failed("protecting", &pool.directory))?;
        recovery::check_holes(&pool.directory).map_err(CloneError::Template)?;
        let path = pool.directory.join(LOCK);
        make_lock(&path)?;
        let _lock = lock::hold(&path)?;
        // Their holes may have been lost; they are made again when they are wanted.
        template::remove_all(&pool.directory)?;
        let path = pool.directory.join(MARKER);
        let identity = write_marker(&path).map_err(failed("writing", &path))?;
        Ok(Self { identity, ..pool })
    }

    /// A pool that was made before.
    ///
    /// # Errors
    /// [`CloneError::NoPool`], most often since its file system is not mounted;
    /// [`CloneError::PoolCopied`].
    pub fn open(directory: &Path) -> Result<Self, CloneError> {
        match Self::look(directory)? {
            (pool, false) => Ok(pool),
            (pool, true) => Err(CloneError::PoolCopied { path: pool.directory }),
        }
    }

    /// A pool, and whether it is a copy of the one that was made.
    fn look(directory: &Path) -> Result<(Self, bool), CloneError> {
        let none = |source| CloneError::NoPool { path: directory.into(), source };
        let directory = fs::canonicalize(directory).map_err(none)?;
        let path = directory.join(MARKER);
        let file = File::open(&path).map_err(none)?;
        let marker: Marker = io::read_to_string(&file)
            .map_err(failed("reading", &path))
            .map(|text| serde_json::from_str(&text))?
            .map_err(|source| CloneError::Record { path: path.clone(), source })?;
        let identity = FileIdentity::of(&file).map_err(failed("reading", &path))?;
        let is_copy = identity != marker.identity;
        Ok((Self { directory, identity }, is_copy))
    }

    /// The pool that a clone was made in.
    pub(super) fn of(record: &Record) -> Result<Self, CloneError> {
        let pool = Self::open(record.path.parent().unwrap_or(Path::new("/")))?;
        if pool.identity == record.pool {
            return Ok(pool);
        }
        Err(CloneError::OtherPool { path: pool.directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    pub(super) fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    /// Held while clones are made or removed; given back when dropped.
    pub(super) fn lock(&self) -> Result<File, CloneError> {
        lock::hold(&self.directory.join(LOCK))
    }
}

impl InstantClone {
    /// That the pool is there that it was made in.
    pub fn check_pool(&self) -> Result<(), CloneError> {
        Pool::of(&self.record).map(drop)
    }
}

/// Makes a lock, unless it is there.
pub(super) fn make_lock(path: &Path) -> Result<(), CloneError> {
    let mut lock = File::options();
    lock.create(true).truncate(false).write(true).mode(0o600);
    lock.open(path).map(drop).map_err(failed("making", path))
}

/// Makes a directory that only we may enter, or makes one so.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Writes the file that makes a directory a pool; which file it is.
fn write_marker(path: &Path) -> io::Result<FileIdentity> {
    let new = path.with_extension("new");
    // Of a creation that was stopped.
    durable::remove(&new)?;
    let file = durable::create_private(&new)?;
    let identity = FileIdentity::of(&file)?;
    io::Write::write_all(&mut &file, &json(&Marker { identity: identity.clone() }))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    durable::sync_parent(path)?;
    Ok(identity)
}
