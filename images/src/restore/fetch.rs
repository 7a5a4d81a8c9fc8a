//! An image's bytes in a file that is about to become a volume or a master.
//!
//! In the clear, a fetch that was cut short goes on where it was: what is there is compared. An
//! encrypted file is begun anew, since what a stop left of its header may be of no use.

use std::{fs, io, path::Path};

use serde_json::json;

use super::{Origin, RestoreError, through_qemu::ThroughQemu};
use crate::{
    archive::{Exported, Watch, target::FileTarget},
    clone::durable,
    encryption::{
        KeyNumber,
        image::{self, Form},
        secret::{Secrets, key_name},
    },
    storage_daemon::StorageDaemon,
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};

/// What QEMU takes for the shortest part of a disk.
pub(super) const SECTOR: u64 = 512;

/// Fills a file with the image's bytes, made unless it is there, durable when this returns. With a key
/// it is LUKS over them.
pub(super) fn fetch(
    of: &Origin<'_>,
    id: &VolumeId,
    path: &Path,
    key: Option<KeyNumber>,
    watch: &dyn Watch,
) -> Result<Exported, RestoreError> {
    let exported = match key {
        None => clear(of, id, path, watch)?,
        Some(number) => sealed(of, id, path, number, watch)?,
    };
    durable::sync_parent(path).map_err(RestoreError::io("syncing", path))?;
    Ok(exported)
}

fn clear(
    of: &Origin<'_>,
    id: &VolumeId,
    path: &Path,
    watch: &dyn Watch,
) -> Result<Exported, RestoreError> {
    let target = match FileTarget::create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A link that somebody has put there is not followed.
            let metadata = fs::symlink_metadata(path).map_err(RestoreError::io("finding", path))?;
            if !metadata.is_file() {
                return Err(RestoreError::Exists { path: path.into() });
            }
            FileTarget::open(path)
        }
        made => made,
    };
    let target = target.map_err(RestoreError::io_of(id, "making", path))?;
    Ok(of.archive.export(of.image, &target, watch)?)
}

fn sealed(
    of: &Origin<'_>,
    id: &VolumeId,
    path: &Path,
    number: KeyNumber,
    watch: &dyn Watch,
) -> Result<Exported, RestoreError> {
    // What is beyond the image becomes zeros.
    let size = of.image.image().size.next_multiple_of(SECTOR);
    // Of an attempt that did not succeed, too.
    let anew = || durable::remove(path).and_then(|()| durable::create_private(path)).map(drop);
    image::make(path, size, &Form::Luks, (id, number, of.keys), anew)?;
    let data = Data::Plain(Place::File(path.into()));
    let volume = Volume::new(id.clone(), data, Durability::Plain, HostCache::Buffered)?;
    let exported = write(of, &volume.encrypted(number), watch)?;
    let file = fs::File::open(path).map_err(RestoreError::io("opening", path))?;
    file.sync_all().map_err(RestoreError::io("syncing", path))?;
    Ok(exported)
}

/// Fills a new file of so many bytes, with zeros behind the image, as qcow2 with LUKS in it. What is zeros
/// takes no room in it.
pub(super) fn fetch_compact(
    of: &Origin<'_>,
    id: &VolumeId,
    path: &Path,
    (size, number): (u64, KeyNumber),
    watch: &dyn Watch,
) -> Result<(), RestoreError> {
    let anew = || durable::remove(path).and_then(|()| durable::create_private(path)).map(drop);
    image::make(path, size, &Form::Alone, (id, number, of.keys), anew)?;
    let node = json!({
        "driver": "qcow2", "node-name": id.node(""), "backing": null,
        "encrypt": { "format": "luks", "key-secret": key_name(id, number) },
        "file": { "driver": "file", "filename": path, "node-name": id.node("file") },
    });
    let daemon = StorageDaemon::start_with(&node, &Secrets::of(id, number, of.keys)?, of.run)?;
    of.archive.export(of.image, &ThroughQemu::blank(&daemon)?, watch)?;
    daemon.end()?;
    let file = fs::File::open(path).map_err(RestoreError::io("opening", path))?;
    file.sync_all().map_err(RestoreError::io("syncing", path))?;
    durable::sync_parent(path).map_err(RestoreError::io("syncing", path))
}

/// Writes the image over all of an encrypted volume that is there.
pub(super) fn write(
    of: &Origin<'_>,
    volume: &Volume,
    watch: &dyn Watch,
) -> Result<Exported, RestoreError> {
    let secrets = volume.secrets(of.keys)?;
    let daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, of.run)?;
    let exported = export(of, &daemon, watch)?;
    daemon.end()?;
    Ok(exported)
}

/// The same to a daemon that has it open.
pub(super) fn export(
    of: &Origin<'_>,
    daemon: &StorageDaemon,
    watch: &dyn Watch,
) -> Result<Exported, RestoreError> {
    let target = ThroughQemu::new(daemon)?;
    Ok(of.archive.export(of.image, &target, watch)?)
}
