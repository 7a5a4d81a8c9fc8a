//! Why a volume is not captured. There is no image then.

use crate::{
    archive::ArchiveError,
    backup::pull::PullError,
    stopped::StoppedError,
    volume::{VolumeError, VolumeId},
};

/// Why a volume is not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The volume is encrypted, and the image's project is not.
    #[error("{0} is encrypted, and its image would not be: capture it into an encrypted project")]
    WouldBeClear(VolumeId),
    /// The class is not one of the volume's.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// No guest runs on it, and it can't be read.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Reading the point in time.
    #[error(transparent)]
    Pull(#[from] PullError),
}
