//! A new instance's volume out of an image: a plain one, or an instant clone of a master that is made
//! of the image.
//!
//! The new volume has an id of its own. A volume that went by the id of the one that was backed up
//! would have that one's backups for its own.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use super::{
    Origin, RestoreError, beside, fetch::fetch, held::Held, masters::Masters, over::write_over,
    records::Records,
};
use crate::{
    archive::Watch,
    backup::pull,
    clone::{CloneError, InstantClone, Pool, durable},
    encryption::{KeyNumber, VolumeKey},
    volume::{Data, Durability, FileIdentity, HostCache, Place, Volume, VolumeId},
};

/// A plain volume of an image's length and bytes, encrypted if there is a key's number.
///
/// A file is written beside (`PATH.restoring`) and gets its name when all of it is durable; if that is
/// cut short, doing it again goes on. `PATH.restoring.lock` is there meanwhile. A block device is
/// written over, which its record says until it is done ([`Records::check`]); one that is encrypted
/// must have its header.
///
/// # Errors
/// [`RestoreError::Exists`], [`RestoreError::SameVolume`], [`RestoreError::InUse`],
/// [`RestoreError::WouldBeClear`]; [`CloneError::Busy`] while somebody else makes this file.
pub fn plain(
    records: &Records,
    of: &Origin<'_>,
    id: &VolumeId,
    place: Place,
    cache: HostCache,
    key: Option<KeyNumber>,
    watch: &dyn Watch,
) -> Result<Volume, RestoreError> {
    check_id(of, id)?;
    of.check_key(key.is_some())?;
    let volume = Volume::new(id.clone(), Data::Plain(place), Durability::Plain, cache)?;
    let volume = key.into_iter().fold(volume, Volume::encrypted);
    match volume.place() {
        Place::Device(_) => write_over(records, of, &volume, watch).map(drop)?,
        Place::File(path) => file(of, id, path, key, watch)?,
        Place::Lun(_) => return Err(RestoreError::OnLun(id.clone())),
    }
    Ok(volume)
}

/// An instant clone of the image's master, which is made of it unless it is there.
///
/// # Errors
/// [`RestoreError::SameVolume`]; [`RestoreError::WouldBeClear`]; [`RestoreError::Clone`] where there is
/// one of this id.
pub fn instant(
    masters: &Masters,
    of: &Origin<'_>,
    pool: &Pool,
    id: &VolumeId,
    watch: &dyn Watch,
) -> Result<InstantClone, RestoreError> {
    check_id(of, id)?;
    let master = masters.held(of, of.image.image().size, None, watch)?;
    let made = master.clone_into(pool, std::slice::from_ref(id))?;
    made.into_iter().next().ok_or_else(|| CloneError::NoClone(id.clone()).into())
}

/// The same, both encrypted: the master with a key of its own, which the caller keeps
/// ([`Masters::obtain_encrypted`]), and the clone with the one of this number.
///
/// # Errors
/// [`RestoreError::SameVolume`]; [`RestoreError::OtherMaster`]; [`RestoreError::Clone`].
pub fn instant_encrypted(
    masters: &Masters,
    of: &Origin<'_>,
    pool: &Pool,
    id: &VolumeId,
    (key, master_key): (KeyNumber, &VolumeKey),
    watch: &dyn Watch,
) -> Result<InstantClone, RestoreError> {
    check_id(of, id)?;
    let master = masters.held(of, of.image.image().size, Some(master_key), watch)?;
    let keys = of.keys.clone().with_master(master_key.clone());
    Ok(master.clone_encrypted(pool, id, key, &keys)?)
}

fn check_id(of: &Origin<'_>, id: &VolumeId) -> Result<(), RestoreError> {
    let labels = of.image.image().detail.as_ref().map(|detail| &detail.labels);
    let backed_up = labels.and_then(|labels| labels.get(pull::VOLUME));
    if backed_up.is_some_and(|volume| volume == id.as_str()) {
        return Err(RestoreError::SameVolume(id.clone()));
    }
    Ok(())
}

/// A new file, which has its name once it is whole.
fn file(
    of: &Origin<'_>,
    id: &VolumeId,
    path: &Path,
    key: Option<KeyNumber>,
    watch: &dyn Watch,
) -> Result<(), RestoreError> {
    let new = beside(path, ".restoring");
    let lock = beside(&new, ".lock");
    // What has a name is one's own from its making to its last name.
    let held = Held::alone(&lock)?.ok_or_else(|| CloneError::Busy { path: lock.clone() })?;
    let made = named(of, id, path, &new, key, watch);
    if !is_there(&new)? {
        // Nobody goes on with it.
        durable::remove(&lock).map_err(RestoreError::io("removing", &lock))?;
    }
    drop(held);
    made?;
    durable::sync_parent(path).map_err(RestoreError::io("syncing", path))
}

/// Makes it under the one name and gives it the other, alone.
fn named(
    of: &Origin<'_>,
    id: &VolumeId,
    path: &Path,
    new: &Path,
    key: Option<KeyNumber>,
    watch: &dyn Watch,
) -> Result<(), RestoreError> {
    if is_there(path)? {
        // By a process that was stopped before it could take the other name away.
        if !is_same(path, new)? {
            return Err(RestoreError::Exists { path: path.into() });
        }
    } else {
        fetch(of, id, new, key, watch)?;
        match fs::hard_link(new, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RestoreError::Exists { path: path.into() });
            }
            linked => linked.map_err(RestoreError::io("naming", path))?,
        }
    }
    durable::remove(new).map_err(RestoreError::io("removing", new))
}

fn is_there(path: &Path) -> Result<bool, RestoreError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|_| true).map_err(RestoreError::io("finding", path)),
    }
}

/// Whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> Result<bool, RestoreError> {
    if !is_there(other)? {
        return Ok(false);
    }
    let identity = |path: &Path| {
        let of = File::open(path).and_then(|file| FileIdentity::of(&file));
        of.map_err(RestoreError::io("reading", path))
    };
    Ok(identity(one)? == identity(other)?)
}
