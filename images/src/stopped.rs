//! Volumes that no guest runs on: read under QEMU's own lock, so that no guest can be started on one
//! meanwhile. A capture and a backup both read so.
//!
//! What is read is the whole volume as its guest would see it, a clone with its master's bytes. Where it
//! is a plain file, it is read as such; else by QEMU's storage daemon. It writes to no volume but what
//! [recovery](crate::volume::recovery) puts back, and decides nothing about images.

mod error;

use std::{fs::File, path::Path};

pub use error::StoppedError;

use crate::{
    archive::{
        Archive, Imported, NewImage, Watch,
        source::{FileSource, Source},
    },
    background::in_background,
    backup::{
        freeze::{Consistency, CrashReason},
        name::PointId,
        offer::Offer,
        plan::{FullReason, Plan},
        source::NbdSource,
    },
    clone::{self, InstantClone},
    encryption::VolumeKeys,
    nbd::NbdAddress,
    storage_daemon::StorageDaemon,
    volume::{Data, Durability, HostCache, Volume, VolumeError, recovery},
};

/// A volume that no guest runs on.
#[derive(Debug, Clone, Copy)]
pub enum Stopped<'a> {
    /// A plain one, or an overlay that needs no recovery.
    Volume(&'a Volume),
    /// A clone, which is recovered first if its class is.
    Clone {
        /// Which.
        clone: &'a InstantClone,
        /// The class that its guest was started with.
        durability: Durability,
        /// As of its guest.
        cache: HostCache,
    },
}

impl Stopped<'_> {
    /// As QEMU opens it.
    ///
    /// # Errors
    /// The class is none of the volume's.
    pub fn volume(&self) -> Result<Volume, VolumeError> {
        match *self {
            Self::Volume(volume) => Ok(volume.clone()),
            Self::Clone { clone, durability, cache } => clone.volume(durability, cache),
        }
    }
}

/// One that no QEMU can open until this is dropped.
#[derive(Debug)]
pub struct Held {
    volume: Volume,
    file: File,
}

impl Held {
    /// Takes hold of it, after it is recovered if its class is. `run` is a directory that only we may
    /// enter, for sockets.
    ///
    /// # Errors
    /// [`StoppedError::InUse`], while QEMU has it open.
    pub fn take(stopped: Stopped<'_>, keys: &VolumeKeys, run: &Path) -> Result<Self, StoppedError> {
        let volume = stopped.volume()?;
        if let Stopped::Clone { clone, cache, .. } = stopped
            && volume.durability().needs_recovery()
        {
            clone.recover_with(keys, cache, run)?;
        }
        let path = volume.place().path();
        let path = path.ok_or_else(|| StoppedError::OnLun(volume.id().clone()))?;
        let file = hold(&volume, path)?;
        Ok(Self { volume, file })
    }

    /// What is held.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Reads it into the archive as this image, which is there whole and durable, or not at all.
    pub(crate) fn import(
        self,
        archive: &Archive,
        new: &NewImage<'_>,
        keys: &VolumeKeys,
        run: &Path,
        watch: &dyn Watch,
    ) -> Result<Imported, StoppedError> {
        let Self { volume, file } = self;
        // Guests may run on the processors that compress.
        let import = |source: &dyn Source| in_background(|| archive.import(new, source, watch));
        let is_whole = matches!(volume.data(), Data::Plain(_)) && !volume.is_part();
        if is_whole && volume.key().is_none() {
            let path = volume.place().path().unwrap_or(Path::new(""));
            let source = FileSource::of(file).map_err(StoppedError::io("reading", path))?;
            return Ok(import(&source)?);
        }
        // The file stays held, by us.
        let daemon = StorageDaemon::start_with(&read_only(&volume), &volume.secrets(keys)?, run)?;
        let offer = offer(&daemon, &volume)?;
        let imported = import(&NbdSource::whole(&offer, watch));
        // It wrote nothing, so however it ends, an image that is there is one.
        drop(daemon);
        drop(file);
        Ok(imported?)
    }
}

/// The volume's file or device, which no QEMU can open until it is dropped.
fn hold(volume: &Volume, path: &Path) -> Result<File, StoppedError> {
    let file = match clone::reserve(volume.place()) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            return Err(StoppedError::InUse(volume.id().clone()));
        }
        file => file.map_err(StoppedError::io("opening", path))?,
    };
    // A guest may have run, and have been killed, since it was recovered.
    let is_recovered = volume.durability().needs_recovery() && volume.is_overlay();
    if is_recovered && recovery::needs_recovery(&file, path)? {
        return Err(StoppedError::Unrecovered(volume.id().clone()));
    }
    Ok(file)
}

/// The volume as a daemon of ours opens it that writes nothing and takes no lock, since we have it.
fn read_only(volume: &Volume) -> serde_json::Value {
    let mut node = volume.blockdev();
    node["read-only"] = true.into();
    let mut file = &mut node["file"];
    file["read-only"] = true.into();
    if volume.is_part() && volume.key().is_some() {
        file = &mut file["file"];
        file["read-only"] = true.into();
    }
    file["locking"] = "off".into();
    node
}

/// What the daemon serves, as a point in time is read.
fn offer(daemon: &StorageDaemon, volume: &Volume) -> Result<Offer, StoppedError> {
    Ok(Offer {
        volume: volume.id().clone(),
        point: PointId::new([0; 16]),
        taken_ms: 0,
        consistency: Consistency::Crash(CrashReason::NotRunning),
        left_out: Vec::new(),
        size: daemon.open()?.size(),
        encrypted: volume.is_encrypted(),
        address: NbdAddress::Unix(daemon.blocks().into()),
        tls: None,
        export: volume.id().to_string(),
        plan: Plan::Full(FullReason::Wanted),
        changes: None,
    })
}
