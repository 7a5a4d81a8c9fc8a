//! Why a volume that no guest runs on is not read. There is no image then.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    archive::ArchiveError,
    encryption::MissingKey,
    storage_daemon::DaemonError,
    volume::{VolumeError, VolumeId, recovery::RecoveryError},
};

/// Why it is not read.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// QEMU has it open, or it is mounted.
    #[error("{0} is in use")]
    InUse(VolumeId),
    /// It is on a LUN, which QEMU alone reaches, and has no lock.
    #[error("{0} is on a LUN: it is read while its guest runs")]
    OnLun(VolumeId),
    /// It was stopped hard, and what that took was not put back.
    #[error("{0} is to be recovered first")]
    Unrecovered(VolumeId),
    /// A file can't be opened or read.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A key that it is opened with was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// The class is not one of the volume's.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// What a hard stop took can't be put back.
    #[error("recovering it")]
    Recovery(#[from] RecoveryError),
    /// QEMU's drivers can't open it.
    #[error("opening it in QEMU's storage daemon")]
    Daemon(#[from] DaemonError),
    /// The archive, or reading the volume.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl StoppedError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.into(), source }
    }
}
