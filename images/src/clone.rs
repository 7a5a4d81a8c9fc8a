//! Instant clones: many volumes that share one master and hold what differs from it.
//!
//! A master is a directory with an image that nobody writes any more; a clone is an overlay in a
//! pool, on another file system where wanted. What a master keeps of its clones is a record
//! each, written before the clone can be used and removed after it is gone, so that a master with
//! clones can't be removed, whenever the host stops.
//!
//! ```text
//!   MASTER/image            the bytes, mode 0444
//!         /master.json      what they were when they were sealed
//!         /lock             held while records change
//!         /clones/ID.json   where the clone is, and which file
//!         /luns/ID.json     which LUN the clone is on, and who may write to it
//!   POOL/pool.json          which makes it a pool
//!       /ID.qcow2           the clone
//!       /templates/…        an empty clone of each master, which clones are copies of
//! ```
//! It starts no guest and never opens an image but through QEMU's tools.
//!
//! A clone is not made by `qemu-img create` each: its table is made in advance (which recovery
//! stands on, see [`crate::volume::recovery`]), and that of an empty clone is the same for all.

mod adoption;
pub(crate) mod durable;
mod encrypted;
mod error;
mod growth;
mod handover;
mod hydration;
mod lock;
mod lun;
mod ownership;
mod plain;
mod pool;
mod record;
mod removal;
mod restoration;
mod sealing;
mod template;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use error::CloneError;
pub use growth::{Growth, GrowthError};
pub use hydration::{EncryptedTarget, Hydration, HydrationError, Progress};
pub(crate) use lock::{is_named, keep_from_qemu, reserve};
pub use lun::LunClone;
pub use ownership::{Claim, HostName, HostNameError, Owner, Ownership, Start};
pub use plain::erase_old;
pub(crate) use plain::remove as remove_plain;
pub use pool::Pool;
pub(crate) use pool::private_directory as make_private_directory;

use crate::encryption::{KeyNumber, Keyslots, VolumeKeys};
use crate::iscsi::LunAccess;
use crate::volume::{
    Backing, Data, Durability, HostCache, Place, Volume, VolumeError, VolumeId,
    recovery::{Recovered, RecoveryError},
};
use durable::{sync_directory, write_new};
use error::failed;
use handover::Stage;
use record::Record;
use sealing::{Manifest, Sealed};

const IMAGE: &str = "image";
const LOCK: &str = "lock";
const CLONES: &str = "clones";

/// An image that nobody writes any more.
#[derive(Debug)]
pub struct Master {
    directory: PathBuf,
    manifest: Manifest,
    access: Option<LunAccess>,
}

impl Master {
    /// Its length in bytes, as a guest sees it.
    pub fn size(&self) -> u64 {
        self.manifest.size
    }

    /// What its clones name as theirs.
    pub fn backing(&self) -> Backing {
        let Manifest { format, is_encrypted, .. } = self.manifest;
        let place = match &self.manifest.sealed {
            Sealed::File { .. } => Place::File(self.directory.join(IMAGE)),
            Sealed::Lun { lun, .. } => Place::Lun(lun.clone()),
        };
        Backing { place, format, is_encrypted }
    }

    /// Says how LUNs are reached from here: its own, if it is on one, and its clones'.
    #[must_use]
    pub fn reached_by(self, access: LunAccess) -> Self {
        Self { access: Some(access), ..self }
    }

    /// Makes clones in a pool, each the length of the master. All of them are there and durable
    /// when this returns; with an error, those before it are.
    ///
    /// # Errors
    /// [`CloneError::WouldBeClear`], if the master is encrypted: parts of it would be copied into
    /// these. [`clone_encrypted`](Self::clone_encrypted) makes others.
    pub fn clone_into(
        &self,
        pool: &Pool,
        ids: &[VolumeId],
    ) -> Result<Vec<InstantClone>, CloneError> {
        if self.manifest.is_encrypted {
            return Err(CloneError::WouldBeClear { path: self.directory.clone() });
        }
        self.make(pool, ids, None)
    }

    /// Makes clones, encrypted or not.
    fn make(
        &self,
        pool: &Pool,
        ids: &[VolumeId],
        key: Option<(KeyNumber, &VolumeKeys)>,
    ) -> Result<Vec<InstantClone>, CloneError> {
        self.answers()?;
        let is_there = |id| self.record_path(id).exists() || self.lun_path(id).exists();
        let unnamed = match (key, ids) {
            // Before others wait for it.
            (Some((number, keys)), [id]) if !is_there(id) => {
                template::make_unnamed(self, pool.path(), id, number, keys)?
            }
            _ => None,
        };
        let _locks = (self.lock()?, pool.lock()?);
        self.check()?;
        let mut seen = HashSet::new();
        if let Some(id) = ids.iter().find(|id| !seen.insert(*id) || is_there(id)) {
            return Err(CloneError::Exists(id.clone()));
        }
        let origin = match key {
            None => Origin::Template(template::Template::of(self, pool.path())?),
            Some((number, keys)) => Origin::Encrypted(number, keys, unnamed),
        };
        let mut made = Vec::with_capacity(ids.len());
        let result = ids.iter().try_for_each(|id| {
            made.push(self.stage(&origin, pool, id)?);
            Ok(())
        });
        // Every record is durable before any clone has its name.
        let clones = self.directory.join(CLONES);
        sync_directory(&clones).map_err(failed("syncing", &clones))?;
        for clone in &made {
            let (new, path) = (new_path(&clone.record.path), &clone.record.path);
            durable::name_once(&new, path).map_err(failed("naming", path))?;
        }
        sync_directory(pool.path()).map_err(failed("syncing", pool.path()))?;
        result.map(|()| made)
    }

    /// A clone without its name, and its record.
    fn stage(
        &self,
        origin: &Origin<'_>,
        pool: &Pool,
        id: &VolumeId,
    ) -> Result<InstantClone, CloneError> {
        let path = pool.path().join(format!("{id}.qcow2"));
        if path.exists() {
            return Err(CloneError::Exists(id.clone()));
        }
        let new = new_path(&path);
        // Of a cloning that was stopped before its record was there: nobody else is at work here.
        durable::remove(&new).map_err(failed("removing", &new))?;
        let (identity, keyslots) = match origin {
            Origin::Template(template) => (template.copy_to(&new)?, None),
            Origin::Encrypted(number, keys, unnamed) => {
                let identity = match unnamed {
                    Some(file) => template::name(file, &new)?,
                    None => template::make_encrypted(self, &new, id, *number, keys)?,
                };
                (identity, Some(Keyslots::One(*number)))
            }
        };
        let record = Record {
            path,
            identity,
            pool: pool.identity().clone(),
            stage: Stage::Overlay,
            is_held: false,
            keyslots,
            plain_keyslots: None,
            owner: Ownership::default(),
        };
        let at = self.record_path(id);
        if let Err(error) = write_new(&at, &json(&record)) {
            // Nobody would find it again.
            let _ = durable::remove(&new_path(&record.path));
            return Err(failed("writing", &at)(error));
        }
        Ok(self.clone_of(id.clone(), record))
    }

    fn clone_of(&self, id: VolumeId, record: Record) -> InstantClone {
        InstantClone { id, record, backing: self.backing(), access: self.access.clone() }
    }

    /// Its clones, by their ids.
    pub fn clones(&self) -> Result<Vec<InstantClone>, CloneError> {
        record::read_all(&self.directory.join(CLONES))?
            .into_iter()
            .map(|(id, record)| Ok(self.clone_of(id, record)))
            .collect()
    }

    /// One of its clones.
    pub fn find(&self, id: &VolumeId) -> Result<InstantClone, CloneError> {
        let record = record::read(&self.record_path(id))?;
        let record = record.ok_or_else(|| CloneError::NoClone(id.clone()))?;
        Ok(self.clone_of(id.clone(), record))
    }

    /// Removes a clone that no guest runs on, and all that was written to it.
    ///
    /// # Errors
    /// [`CloneError::InUse`], while QEMU has it open; [`CloneError::Replaced`], if another file has its
    /// name, or another clone its id by now. Nothing is removed then.
    pub fn remove_clone(&self, clone: &InstantClone) -> Result<(), CloneError> {
        self.erase_clone(clone).map(drop)
    }

    /// Holds the master's lock for several notes.
    fn locked(&self) -> Result<Locked<'_>, CloneError> {
        Ok(Locked { master: self, _lock: self.lock()? })
    }

    fn record_path(&self, id: &VolumeId) -> PathBuf {
        self.directory.join(CLONES).join(format!("{id}.json"))
    }

    /// Held while records change; given back when dropped.
    fn lock(&self) -> Result<File, CloneError> {
        lock::hold(&self.directory.join(LOCK))
    }
}

/// A master whose records nobody else changes.
struct Locked<'a> {
    master: &'a Master,
    _lock: File,
}

impl Locked<'_> {
    /// Notes what a clone's volume is from now on, and whether its guest is held.
    fn mark(&self, id: &VolumeId, stage: Stage, is_held: bool) -> Result<Record, CloneError> {
        self.change(id, |record| Ok(Record { stage, is_held, ..record }))
    }

    /// Changes a clone's record, which is durable then; what it says.
    fn change<E: From<CloneError>>(
        &self,
        id: &VolumeId,
        to: impl FnOnce(Record) -> Result<Record, E>,
    ) -> Result<Record, E> {
        let record = to(self.master.find(id)?.record)?;
        let at = self.master.record_path(id);
        write_new(&at, &json(&record))
            .and_then(|()| durable::sync_parent(&at))
            .map_err(failed("writing", &at))?;
        Ok(record)
    }
}

/// A volume that holds what differs from its master.
#[derive(Debug, Clone)]
pub struct InstantClone {
    id: VolumeId,
    record: Record,
    backing: Backing,
    access: Option<LunAccess>,
}

impl InstantClone {
    /// Its id.
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    /// Its overlay.
    pub fn path(&self) -> &Path {
        &self.record.path
    }

    /// The plain volume that it has become, which is used in its place.
    pub fn hydrated(&self) -> Option<&Place> {
        self.record.stage.plain()
    }

    /// As QEMU is told of it. A clone that was hydrated is a plain volume, whatever class is asked
    /// for: its overlay is not what its guest has written last.
    pub fn volume(&self, durability: Durability, cache: HostCache) -> Result<Volume, VolumeError> {
        let Some(place) = self.hydrated() else { return self.overlay(durability, cache) };
        self.described(Data::Plain(place.clone()), Durability::Plain, cache, self.keyslots())
    }

    /// Puts back what a hard stop took, which is to be done before each start of a guest on it. A
    /// plain volume has nothing to put back. For one that is encrypted, see
    /// [`recover_with`](Self::recover_with).
    pub fn recover(&self, cache: HostCache, run: &Path) -> Result<Recovered, RecoveryError> {
        self.recover_with(&VolumeKeys::none(), cache, run)
    }
}

/// What clones are made of.
enum Origin<'a> {
    /// Copies of an empty one.
    Template(template::Template),
    /// Each by itself, with a header of its own: it is there already without a name, or is to be made.
    Encrypted(KeyNumber, &'a VolumeKeys, Option<File>),
}

/// A name beside a directory's.
fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What a clone is called until its record is durable.
fn new_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Our own types have no map with keys that are not text, nor a writer that fails.
    serde_json::to_vec(value).unwrap_or_default()
}
