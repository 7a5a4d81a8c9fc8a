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
    #[error("what is written on {disk} can't be believed")]
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
    /// The volume that it carries can't become so long.
    #[error("{disk} takes {capacity} bytes, and {needed} are needed")]
    Full {
        /// Which.
        disk: String,
        /// How much of it a volume can take, in bytes.
        capacity: u64,
        /// How much it would take.
        needed: u64,
    },
    /// Making the volume longer was ended before it was done; it is as long as it was.
    #[error("making the volume on {disk} longer was ended")]
    Cancelled {
        /// Which.
        disk: String,
    },
    /// It is none of this pool's.
    #[error("{disk} is not this pool's: {found}")]
    NotOurs {
        /// Which.
        disk: String,
        /// What is there.
        found: String,
    },
    /// It carries a volume of somebody else's, or may.
    #[error(
        "{disk} is not taken over: {found}. Where nothing of that is needed and nobody uses it, make \
         its last 2 MiB zeros first"
    )]
    Carries {
        /// Which.
        disk: String,
        /// What is there.
        found: String,
    },
    /// Writing what it carries failed, and it may say either.
    #[error("what {disk} carries now is not sure")]
    Unsure {
        /// Which.
        disk: String,
        /// Why.
        source: Box<CarrierError>,
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
    #[error("{disk} has no LUKS header, though one was made")]
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
