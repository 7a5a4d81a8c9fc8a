//! Making a clone's volume longer, while no guest runs on it.
//!
//! Recovery stands on a table that is made in advance, so an overlay's is made for its new part too;
//! QEMU can't do so while a guest runs. It gives the new part what it has freed of the file before, as
//! bitmaps and old tables, whose bytes would be taken for lost writes: so all of the new part is made a hole
//! before anything is put back. Bitmaps go first, since QEMU makes no image with one that a hard stop has
//! left longer; the next backup is a full one anyway.
//!
//! It may be stopped at any moment and asked for again, before a guest is started. It makes no volume
//! shorter, and no device or LUN longer.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
    process::Command,
};

use nix::fcntl::{FallocateFlags, fallocate};
use serde::Deserialize;
use serde_json::Value;

use super::{CloneError, InstantClone, Master, error::failed, lock::reserve, template};
use crate::{
    encryption::{
        MissingKey, VolumeKeys,
        header::{HEAD, HeaderFault, Luks},
        secret::Secrets,
    },
    program::qemu_img,
    volume::{
        Durability, HostCache, Place, Volume, VolumeError, VolumeId,
        recovery::{self, RecoveryError},
    },
};

/// Lengths that QEMU opens past the host's cache on any file system are whole such.
const BLOCK: u64 = 4096;

/// Why a volume is not made longer. It is as long as it was, or as long as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum GrowthError {
    /// QEMU has it open.
    #[error("{0} is in use: it is made longer while no guest runs on it")]
    InUse(VolumeId),
    /// What it is changes now: it is hydrated, restored, or on its way to another host.
    #[error("{0} is being handed over or moved, or was changed meanwhile")]
    Changing(VolumeId),
    /// It is longer already.
    #[error("{id} has {size} bytes, and is not made shorter")]
    Shorter {
        /// Which.
        id: VolumeId,
        /// Its length in bytes.
        size: u64,
    },
    /// No volume can be so long.
    #[error("a volume's length is a multiple of 4096 bytes, and {0} is none")]
    Odd(u64),
    /// It lies on a device or a LUN, which is as long as it is.
    #[error("{0} lies on a device or a LUN")]
    NoFile(VolumeId),
    /// A plain volume's LUKS header can't be read.
    #[error("the header of {0}")]
    Header(VolumeId, #[source] HeaderFault),
    /// Writes that a hard stop took can't be put back before.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Its class doesn't go with it.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A key that it is opened with was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// Its file, its record or one of QEMU's tools fails.
    #[error(transparent)]
    Clone(#[from] CloneError),
}

/// What is to become of a volume, and what that needs.
pub struct Growth<'a> {
    /// How long it was, in bytes, when a guest was started on it last: nobody has written behind that.
    pub from: u64,
    /// How long it is to be, as its guest sees it: whole blocks of 4096 bytes.
    pub size: u64,
    /// The class that its guest is started with.
    pub durability: Durability,
    /// As of its guest.
    pub cache: HostCache,
    /// The keys that it is opened with, and its master, if they are encrypted.
    pub keys: &'a VolumeKeys,
    /// A directory that only we may enter, for sockets.
    pub run: &'a Path,
}

impl InstantClone {
    /// The length of its overlay in bytes, as a guest sees it. A clone that was made longer has more than
    /// its master.
    pub fn size(&self) -> Result<u64, CloneError> {
        let path = self.path();
        let (file, _) = Place::File(path.into()).open().map_err(failed("opening", path))?;
        recovery::size_of(&file, path).map_err(CloneError::Template)
    }
}

impl Master {
    /// Makes a clone's volume longer, that no guest runs on. What is added reads as zeros, and all is
    /// durable.
    ///
    /// # Errors
    /// [`GrowthError::InUse`], [`GrowthError::Shorter`], [`GrowthError::Changing`],
    /// [`GrowthError::Odd`], [`GrowthError::NoFile`]: nothing was done. After others it may be repeated.
    pub fn grow(&self, id: &VolumeId, growth: &Growth<'_>) -> Result<(), GrowthError> {
        if !growth.size.is_multiple_of(BLOCK) {
            return Err(GrowthError::Odd(growth.size));
        }
        let clone = self.find(id)?;
        let volume = clone.volume(growth.durability, growth.cache)?;
        let Place::File(path) = volume.place() else {
            return Err(GrowthError::NoFile(id.clone()));
        };
        let file = hold(&volume)?;
        if is_recovered(&volume) {
            // Of one that was stopped.
            clear(&file, path, growth.from)?;
        }
        drop(file);
        if is_recovered(&volume) {
            clone.recover_with(growth.keys, growth.cache, growth.run)?;
        }
        let _locked = self.locked()?;
        let now = self.find(id)?;
        let is_same = now.record.identity == clone.record.identity
            && now.record.stage == clone.record.stage
            && !now.is_being_handed_over()
            && !now.is_moving();
        if !is_same {
            return Err(GrowthError::Changing(id.clone()));
        }
        if volume.is_overlay() {
            return grow_overlay(&volume, path, growth);
        }
        grow_plain(&volume, path, growth.size)
    }
}

/// Makes holes of what the file has of an overlay from this byte on, in places that nobody has written.
fn clear(file: &File, path: &Path, from: u64) -> Result<(), GrowthError> {
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    for range in recovery::open_data(file, path, from)? {
        let place = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let punched =
            fallocate(file.as_fd(), hole, place(range.start), place(range.end - range.start));
        punched.map_err(|error| failed("making holes in", path)(error.into()))?;
    }
    Ok(())
}

/// Its file, which no QEMU can open until it is dropped.
fn hold(volume: &Volume) -> Result<File, GrowthError> {
    let path = volume.place().called();
    reserve(volume.place()).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => GrowthError::InUse(volume.id().clone()),
        _ => failed("opening", &path)(error).into(),
    })
}

fn is_recovered(volume: &Volume) -> bool {
    volume.is_overlay() && volume.durability().needs_recovery()
}

fn check_length(volume: &Volume, size: u64, wanted: u64) -> Result<(), GrowthError> {
    if wanted >= size {
        return Ok(());
    }
    Err(GrowthError::Shorter { id: volume.id().clone(), size })
}

fn grow_plain(volume: &Volume, path: &Path, size: u64) -> Result<(), GrowthError> {
    let file = hold(volume)?;
    let header = if volume.key().is_some() { payload(&file, volume, path)? } else { 0 };
    let length = file.metadata().map_err(failed("reading", path))?.len();
    check_length(volume, length.saturating_sub(header), size)?;
    let grown = file.set_len(header + size).and_then(|()| file.sync_all());
    Ok(grown.map_err(failed("making longer", path))?)
}

/// Where an encrypted plain volume's first byte is.
fn payload(file: &File, volume: &Volume, path: &Path) -> Result<u64, GrowthError> {
    let mut head = vec![0; HEAD];
    file.read_exact_at(&mut head, 0).map_err(failed("reading", path))?;
    let luks = Luks::parse(&head);
    Ok(luks.map_err(|fault| GrowthError::Header(volume.id().clone(), fault))?.payload)
}

fn grow_overlay(volume: &Volume, path: &Path, growth: &Growth<'_>) -> Result<(), GrowthError> {
    let before = {
        let file = hold(volume)?;
        // A guest may have run, and have been killed, since it was recovered.
        if is_recovered(volume) && recovery::needs_recovery(&file, path)? {
            return Err(GrowthError::InUse(volume.id().clone()));
        }
        recovery::size_of(&file, path)?
    };
    check_length(volume, before, growth.size)?;
    if growth.size > before {
        let tool = Tool::of(volume, growth.keys)?;
        for name in tool.bitmaps()? {
            let mut remove = tool.command("bitmap")?;
            remove.arg("--remove").arg(&tool.image).arg(&name);
            template::run(remove)?;
        }
        let mut resize = tool.command("resize")?;
        resize.args(["-q", "--preallocation=metadata"]).arg(&tool.image);
        resize.arg(growth.size.to_string());
        template::run(resize)?;
    }
    let file = hold(volume)?;
    if is_recovered(volume) {
        // QEMU copies what the old end's cluster has of the master, too.
        clear(&file, path, before - before % template::CLUSTER)?;
    }
    file.sync_all().map_err(failed("syncing", path))?;
    if is_recovered(volume) {
        recovery::check_places(&file, path, growth.from.min(before))?;
        if recovery::needs_recovery(&file, path)? {
            return Err(RecoveryError::NoHoles { path: path.into() }.into());
        }
    }
    Ok(())
}

/// qemu-img on an overlay without its master, which it needs nothing of.
struct Tool {
    image: String,
    secrets: Secrets,
}

#[derive(Deserialize)]
struct Bitmap {
    name: String,
}

impl Tool {
    fn of(volume: &Volume, keys: &VolumeKeys) -> Result<Self, MissingKey> {
        let mut node = volume.blockdev();
        node["backing"] = Value::Null;
        let secrets = match volume.key() {
            Some(number) => Secrets::of(volume.id(), number, keys)?,
            None => Secrets::none(),
        };
        Ok(Self { image: format!("json:{node}"), secrets })
    }

    fn command(&self, name: &str) -> Result<Command, CloneError> {
        let mut command = qemu_img(name);
        self.secrets.attach(&mut command).map_err(failed("running", Path::new("qemu-img")))?;
        Ok(command)
    }

    /// The names of its bitmaps.
    fn bitmaps(&self) -> Result<Vec<String>, CloneError> {
        let mut info = self.command("info")?;
        info.arg("--output=json").arg(&self.image);
        let said = template::run(info)?;
        let parsed = serde_json::from_slice(&said).and_then(|info: Value| {
            let bitmaps = info["format-specific"]["data"]["bitmaps"].clone();
            serde_json::from_value::<Option<Vec<Bitmap>>>(bitmaps)
        });
        let record = |source| CloneError::Record { path: "qemu-img info".into(), source };
        let bitmaps = parsed.map_err(record)?.unwrap_or_default();
        Ok(bitmaps.into_iter().map(|bitmap| bitmap.name).collect())
    }
}

#[cfg(test)]
mod tests;
