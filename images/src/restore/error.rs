//! Why an image is not restored.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    archive::{ArchiveError, ImageId},
    clone::CloneError,
    encryption::{ImageError, MissingKey},
    storage_daemon::DaemonError,
    volume::{VolumeError, VolumeId},
};

/// Why an image is not restored. Unless it says otherwise, what was to be replaced is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file can't be made, read, written or named.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// QEMU has it open, or it is mounted, or another process restores it.
    #[error("{0} is in use")]
    InUse(VolumeId),
    /// It is on a LUN, which QEMU alone reaches, and has no lock.
    #[error(
        "{0} is on a LUN, which no restore writes to: export the image to it while nobody has it open"
    )]
    OnLun(VolumeId),
    /// It was being written over when that ended, so it holds a part of each. Restore it again, from
    /// this image or another.
    #[error("{id} is half restored from {image}; restore it again before its guest is started")]
    HalfRestored {
        /// Which volume.
        id: VolumeId,
        /// From which image.
        image: ImageId,
    },
    /// What the image is of was encrypted, what it was to be restored to is not, and that was not asked
    /// for.
    #[error("{0} is of an encrypted volume, and what it was to be restored to is not encrypted")]
    WouldBeClear(ImageId),
    /// Parts of the image can't be read, so nothing was written over.
    #[error("{damaged} chunks of {image} can't be read, the first of them at {first}")]
    Damaged {
        /// Which image.
        image: ImageId,
        /// How many.
        damaged: u64,
        /// Where on the disk, in bytes.
        first: u64,
    },
    /// The device is shorter than the image.
    #[error("{} has {length} bytes, and the image {size}", path.display())]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its length in bytes, without a header.
        length: u64,
        /// The image's.
        size: u64,
    },
    /// A block device has no name that another could get.
    #[error("{} is a device, which can only be written over", path.display())]
    NoName {
        /// The device.
        path: PathBuf,
    },
    /// There is a file of this name.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The new volume would be taken for the one that the backup is of.
    #[error("{0} is the volume that this is a backup of; a new volume has an id of its own")]
    SameVolume(VolumeId),
    /// An overlay is not written over.
    #[error("{0} is an overlay, which is restored to a file beside")]
    Overlay(VolumeId),
    /// Another restore of this volume is under way in another manner.
    #[error("another restore of {0} was begun; end or cancel that one")]
    OtherRestore(VolumeId),
    /// A record is not what we write.
    #[error("{} is not a record of ours", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The master that was made of the image has another length.
    #[error("the master {} is not of this image", path.display())]
    OtherMaster {
        /// Its directory.
        path: PathBuf,
    },
    /// A key was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// The archive, or writing what comes out of it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The master or its clone.
    #[error(transparent)]
    Clone(#[from] CloneError),
    /// An encrypted file can't be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An encrypted volume can't be written through QEMU's drivers.
    #[error("writing an encrypted volume")]
    Daemon(#[from] DaemonError),
    /// A class and a place that don't go together.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl RestoreError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.into(), source }
    }

    /// The same of a volume that may be in somebody's use.
    pub(super) fn io_of(
        id: &VolumeId,
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::ResourceBusy => Self::InUse(id.clone()),
            _ => Self::Io { doing, path: path.into(), source },
        }
    }
}
