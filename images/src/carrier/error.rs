//! Why a disk can't carry a volume, or the one that it carries can't be had.

use std::io;

use super::MarkFault;
use crate::{
    encryption::{erasure::EraseError, header::HeaderFault, rotation::ImageError},
    iscsi::LunError,
    volume::{VolumeError, VolumeId},
};

/// Why it fails. `disk` is a path or a URL.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// It is mounted, part of another device, or a QEMU has it open.
    #[error("{disk} is in use: it is mounted, part of another device, or a QEMU has it open")]
    InUse {
        /// Which.
        disk: String,
    },
    /// It can't be opened, read or written.
    #[error("{doing} {disk}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Which.
        disk: String,
        /// Why not.
        source: io::Error,
    },
    /// The same of a LUN.
    #[error(transparent)]
    Lun(#[from] LunError),
    /// Its mark can't be believed.
    #[error("{disk}: {source}")]
    Mark {
        /// Which.
        disk: String,
        /// Why.
        source: MarkFault,
    },
    /// It is too short for a mark and a volume.
    #[error("{disk} has {length} bytes, and 2 MiB are the least")]
    TooShort {
        /// Which.
        disk: String,
        /// Its length.
        length: u64,
    },
    /// It is none of this pool's.
    #[error("{disk} is not this pool's: {found}")]
    NotOurs {
        /// Which.
        disk: String,
        /// What is there.
        found: String,
    },
    /// It carries something already.
    #[error("{disk} carries the volume {volume}")]
    Taken {
        /// Which.
        disk: String,
        /// What.
        volume: VolumeId,
    },
    /// It does not carry this volume, or does no more.
    #[error("{disk} does not carry the volume {volume}")]
    Replaced {
        /// Which.
        disk: String,
        /// What was looked for.
        volume: VolumeId,
    },
    /// QEMU enciphers nothing on LUNs here.
    #[error("{disk} is a LUN, and volumes on LUNs are not encrypted here")]
    NotEncrypted {
        /// Which.
        disk: String,
    },
    /// A LUKS header can't be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The header that was made is none.
    #[error("{disk}: {source}")]
    Header {
        /// Which.
        disk: String,
        /// What is wrong.
        source: HeaderFault,
    },
    /// Its keys can't be written over.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// A class and a place that don't go together.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}
