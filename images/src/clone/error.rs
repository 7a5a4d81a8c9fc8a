//! Why a master or a clone can't be had.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::ownership::Ownership;
use crate::{
    encryption::rotation::ImageError,
    environment::NoRandomness,
    iscsi::{Lun, LunError},
    qcow2::Qcow2Fault,
    volume::{VolumeError, VolumeId, recovery::RecoveryError},
};

/// Why a master or a clone can't be had.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// A file can't be read, written, made or removed.
    #[error("{} {}", doing, path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// One of QEMU's tools refused.
    #[error("qemu-img: {said}")]
    Tool {
        /// What it said.
        said: String,
    },
    /// The image stands on another file.
    #[error("{} names a backing file or a data file; a master stands alone", path.display())]
    NotAlone {
        /// The image.
        path: PathBuf,
    },
    /// The image is not qcow2 as a master is.
    #[error("the image {}", path.display())]
    Qcow2 {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        source: Qcow2Fault,
    },
    /// There is a master of this name, and an image that is not in it.
    #[error("{} is there already", path.display())]
    MasterExists {
        /// Its directory.
        path: PathBuf,
    },
    /// Another image is where this one was to be sealed, from a sealing that was stopped.
    #[error("{} holds another image; seal that one, or move it away", path.display())]
    Leftover {
        /// The directory.
        path: PathBuf,
    },
    /// The image has been changed since it was sealed: no clone of it can be trusted.
    #[error("the master {} is not as it was when it was sealed", path.display())]
    Changed {
        /// Its directory.
        path: PathBuf,
    },
    /// Clones stand on it.
    #[error("the master {} has {clones} clones, such as {example}", path.display())]
    HasClones {
        /// Its directory.
        path: PathBuf,
        /// How many.
        clones: usize,
        /// One of them.
        example: VolumeId,
    },
    /// There is a clone of this id.
    #[error("{0} is there already")]
    Exists(VolumeId),
    /// There is no clone of this id.
    #[error("the master has no clone {0}")]
    NoClone(VolumeId),
    /// There is no pool in this directory.
    #[error("{} is no pool: mount its file system, or make the pool by 'mezame volume pool create'", path.display())]
    NoPool {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        source: io::Error,
    },
    /// There is a pool in this directory already.
    #[error("{} is a pool already", path.display())]
    PoolExists {
        /// The directory.
        path: PathBuf,
    },
    /// The pool is a copy of the one that was made.
    #[error("the pool {} is a copy of the one that was made; adopt it first", path.display())]
    PoolCopied {
        /// The directory.
        path: PathBuf,
    },
    /// There is another pool where the clone's was.
    #[error("{} is another pool than the one that the clone was made in", path.display())]
    OtherPool {
        /// The directory.
        path: PathBuf,
    },
    /// QEMU has it open.
    #[error("{0} is in use")]
    InUse(VolumeId),
    /// Another host may start it, or the same one by a later claim, or nobody may.
    #[error("{volume} is not this one's to start, move or remove: {ownership}")]
    NotOwner {
        /// The clone.
        volume: VolumeId,
        /// Whose it is.
        ownership: Box<Ownership>,
    },
    /// Another file has the clone's name, or something else is on its LUN.
    #[error("{} is not what was made; it is left alone", path.display())]
    Replaced {
        /// The file, or the LUN.
        path: PathBuf,
    },
    /// Another process of ours holds a lock for too long.
    #[error("{} is held by somebody else", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A record or a manifest is not what we write.
    #[error("{} is not a record of ours", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A clone that was copied lacks writes that only the original's holes tell of.
    #[error("{0} was copied before it was recovered, or without its holes")]
    Unrecovered(VolumeId),
    /// The file that a clone was copied from has been written since the copy was begun.
    #[error("{0} was written after it was copied, or meanwhile; copy it anew, to a new file")]
    Outdated(VolumeId),
    /// The pool's file system doesn't tell holes, or an overlay's table is not as it should be.
    #[error("an overlay, or its file system, is not as it should be")]
    Template(#[source] RecoveryError),
    /// What is secret of the master would be copied where it is not.
    #[error("the master {} is encrypted, so its clones are to be", path.display())]
    WouldBeClear {
        /// Its directory.
        path: PathBuf,
    },
    /// An image that was to be encrypted is not.
    #[error("{} is not encrypted with LUKS, or not by QEMU", path.display())]
    NotEncrypted {
        /// The image.
        path: PathBuf,
    },
    /// An encrypted overlay can't be made.
    #[error(transparent)]
    Encryption(#[from] ImageError),
    /// A LUN can't be used.
    #[error(transparent)]
    Lun(#[from] LunError),
    /// Another clone of the master is on this LUN.
    #[error("{lun} is the clone {id}'s")]
    LunTaken {
        /// The LUN.
        lun: Box<Lun>,
        /// The clone.
        id: VolumeId,
    },
    /// A clone can't be marked as the one it is.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The class doesn't go with an overlay.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CloneError {
    move |source| CloneError::Io { doing, path: path.into(), source }
}
