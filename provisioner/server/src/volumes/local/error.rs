//! What the library's errors are to whoever gave an order.

use mezame_images::{
    archive::ArchiveError,
    backup::{point::PointError, pull::PullError},
    capture::CaptureError,
    clone::{CloneError, HydrationError},
    encryption::rotation::RotationError,
    qmp::QmpError,
    restore::RestoreError,
    storage_daemon::DaemonError,
    volume::{VolumeError, recovery::RecoveryError},
};

use super::super::executor::{ExecutorError, Reason};
use crate::images::{ImagesError, chain};

/// An error with all of its causes, and what it is.
fn told(reason: Reason, error: &dyn std::error::Error) -> ExecutorError {
    ExecutorError::new(reason, chain(error))
}

impl From<CloneError> for ExecutorError {
    fn from(error: CloneError) -> Self {
        let reason = match &error {
            CloneError::InUse(_) | CloneError::Busy { .. } => Reason::InUse,
            CloneError::NoPool { .. }
            | CloneError::OtherPool { .. }
            | CloneError::PoolCopied { .. } => Reason::NoPool,
            CloneError::Exists(_)
            | CloneError::NoClone(_)
            | CloneError::PoolExists { .. }
            | CloneError::NotOwner { .. }
            | CloneError::Replaced { .. }
            | CloneError::HasClones { .. } => Reason::Conflict,
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<RecoveryError> for ExecutorError {
    fn from(error: RecoveryError) -> Self {
        let reason = match &error {
            // Most often a guest runs on it.
            RecoveryError::Daemon(DaemonError::Ended { .. }) => Reason::InUse,
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<HydrationError> for ExecutorError {
    fn from(error: HydrationError) -> Self {
        let reason = match &error {
            HydrationError::Qmp(_) | HydrationError::NoJob(_) | HydrationError::Late(_) => {
                Reason::Monitor
            }
            HydrationError::Plain(_)
            | HydrationError::Begun(_)
            | HydrationError::Moving(_)
            | HydrationError::WouldBeClear(_) => Reason::Conflict,
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<RotationError> for ExecutorError {
    fn from(error: RotationError) -> Self {
        let reason = match &error {
            RotationError::Qmp(_) | RotationError::Secret(_) => Reason::Monitor,
            RotationError::NotEncrypted | RotationError::Underway(_) => Reason::Conflict,
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<PointError> for ExecutorError {
    fn from(error: PointError) -> Self {
        let reason = match &error {
            PointError::Qmp(_) | PointError::NoDisk(_) | PointError::Secret(_) => Reason::Monitor,
            PointError::Job(_) | PointError::Moving | PointError::Elsewhere { .. } => {
                Reason::Conflict
            }
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<PullError> for ExecutorError {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Archive(error) => error.into(),
            refused @ PullError::WouldBeClear(_) => told(Reason::Conflict, &refused),
            broken => told(Reason::Failed, &broken),
        }
    }
}

impl From<ArchiveError> for ExecutorError {
    fn from(error: ArchiveError) -> Self {
        let reason = match &error {
            ArchiveError::Cancelled => Reason::Cancelled,
            ArchiveError::Target { .. } => Reason::Failed,
            _ => Reason::Image,
        };
        told(reason, &error)
    }
}

impl From<RestoreError> for ExecutorError {
    fn from(error: RestoreError) -> Self {
        let reason = match &error {
            RestoreError::InUse(_) => Reason::InUse,
            RestoreError::HalfRestored { .. } => Reason::HalfRestored,
            RestoreError::Damaged { .. } => Reason::Image,
            RestoreError::OnLun(_)
            | RestoreError::WouldBeClear(_)
            | RestoreError::TooSmall { .. }
            | RestoreError::NoName { .. }
            | RestoreError::Exists { .. }
            | RestoreError::SameVolume(_)
            | RestoreError::Overlay(_)
            | RestoreError::OtherRestore(_)
            | RestoreError::OtherMaster { .. }
            | RestoreError::Volume(_) => Reason::Conflict,
            _ => Reason::Failed,
        };
        match error {
            RestoreError::Archive(error) => error.into(),
            RestoreError::Clone(error) => error.into(),
            error => told(reason, &error),
        }
    }
}

impl From<CaptureError> for ExecutorError {
    fn from(error: CaptureError) -> Self {
        let reason = match &error {
            CaptureError::InUse(_) => Reason::InUse,
            CaptureError::OnLun(_) | CaptureError::WouldBeClear(_) | CaptureError::Volume(_) => {
                Reason::Conflict
            }
            _ => Reason::Failed,
        };
        match error {
            CaptureError::Archive(error) => error.into(),
            CaptureError::Pull(error) => error.into(),
            CaptureError::Recovery(error) => error.into(),
            error => told(reason, &error),
        }
    }
}

impl From<ImagesError> for ExecutorError {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Archive(error) => error.into(),
            error => told(Reason::Image, &error),
        }
    }
}

impl From<QmpError> for ExecutorError {
    fn from(error: QmpError) -> Self {
        told(Reason::Monitor, &error)
    }
}

impl From<VolumeError> for ExecutorError {
    fn from(error: VolumeError) -> Self {
        told(Reason::Conflict, &error)
    }
}
