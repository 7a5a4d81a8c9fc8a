//! Why a volume is not captured. There is no image then.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    archive::ArchiveError,
    backup::pull::PullError,
    encryption::MissingKey,
    storage_daemon::DaemonError,
    volume::{VolumeError, VolumeId, recovery::RecoveryError},
};

/// Why a volume is not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// QEMU has it open, or it is mounted.
    #[error("{0} is in use: stop its guest, or capture a point in time of it")]
    InUse(VolumeId),
    /// It is on a LUN, which QEMU alone reaches, and has no lock.
    #[error("{0} is on a LUN: capture a point in time of its running guest")]
    OnLun(VolumeId),
    /// It was stopped hard, and what that took was not put back.
    #[error("{0} is to be recovered first")]
    Unrecovered(VolumeId),
    /// The volume is encrypted, and the image's project is not.
    #[error("{0} is encrypted, and its image would not be: capture it into an encrypted project")]
    WouldBeClear(VolumeId),
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
    /// Reading the point in time.
    #[error(transparent)]
    Pull(#[from] PullError),
}

impl CaptureError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.into(), source }
    }
}
