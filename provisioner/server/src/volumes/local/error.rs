//! What the library's errors are to whoever gave an order.

use mezame_images::{
    archive::{ArchiveError, store::StoreError},
    backup::{point::PointError, pull::PullError, stopped::StoppedBackupError},
    capture::CaptureError,
    carrier::CarrierError,
    clone::{CloneError, HydrationError},
    encryption::{
        erasure::EraseError,
        rotation::{ImageError, RotationError},
    },
    qmp::QmpError,
    restore::RestoreError,
    stopped::StoppedError,
    storage_daemon::DaemonError,
    volume::{VolumeError, recovery::RecoveryError},
};

use super::super::executor::{ExecutorError, Reason};
use crate::{fault::chain, images::ImagesError};

/// An error with all of its causes, and what it is.
fn told(reason: Reason, error: &dyn std::error::Error) -> ExecutorError {
    ExecutorError::new(reason, chain(error))
}

/// What a monitor's error is. One that answers is the right one to ask, unless it has no such disk.
fn asked(error: &QmpError) -> Reason {
    match error {
        QmpError::Refused { class, .. } if class != "DeviceNotFound" => Reason::Conflict,
        _ => Reason::Monitor,
    }
}

/// Whether a program of QEMU's ended since somebody else has a file open.
fn is_of_a_lock(said: &str) -> bool {
    said.contains("\" lock") || said.contains("Is another process using")
}

impl From<CloneError> for ExecutorError {
    fn from(error: CloneError) -> Self {
        let reason = match &error {
            CloneError::InUse(_) | CloneError::Busy { .. } => Reason::InUse,
            // A guest was started just now.
            CloneError::Tool { said } if is_of_a_lock(said) => Reason::InUse,
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
            // A guest runs on it: QEMU says so of its locks.
            RecoveryError::Daemon(DaemonError::Ended { said }) if is_of_a_lock(said) => {
                Reason::InUse
            }
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<HydrationError> for ExecutorError {
    fn from(error: HydrationError) -> Self {
        let reason = match &error {
            HydrationError::Qmp(error) => asked(error),
            HydrationError::NoDisk(_) | HydrationError::NoJob(_) | HydrationError::Late(_) => {
                Reason::Monitor
            }
            HydrationError::Target { source, .. }
                if source.kind() == std::io::ErrorKind::ResourceBusy =>
            {
                Reason::InUse
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
            RotationError::Qmp(error) => asked(error),
            RotationError::Secret(_) => Reason::Monitor,
            RotationError::NotEncrypted | RotationError::Underway(_) | RotationError::Moving => {
                Reason::Conflict
            }
            // QEMU has it open: qemu-img gets no lock.
            RotationError::Image(ImageError::Tool { said }) if said.contains("lock") => {
                Reason::InUse
            }
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<CarrierError> for ExecutorError {
    fn from(error: CarrierError) -> Self {
        let reason = match &error {
            CarrierError::InUse { .. } => Reason::InUse,
            CarrierError::Full { .. } => Reason::NoRoom,
            CarrierError::Cancelled { .. } => Reason::Cancelled,
            CarrierError::NotOurs { .. }
            | CarrierError::Taken { .. }
            | CarrierError::Replaced { .. }
            | CarrierError::NotEncrypted { .. }
            | CarrierError::Carries { .. }
            | CarrierError::TooShort { .. } => Reason::Conflict,
            CarrierError::Erase(EraseError::InUse(_)) => Reason::InUse,
            _ => Reason::Failed,
        };
        told(reason, &error)
    }
}

impl From<PointError> for ExecutorError {
    fn from(error: PointError) -> Self {
        let reason = match &error {
            PointError::Qmp(error) => asked(error),
            PointError::NoDisk(_) | PointError::Secret(_) => Reason::Monitor,
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
            // It is damaged, and its place is there.
            ArchiveError::Store(StoreError::Missing { .. }) => Reason::Image,
            ArchiveError::Store(_)
            | ArchiveError::FolderMissing { .. }
            | ArchiveError::NoArchive => Reason::Archive,
            ArchiveError::KeyNeeded { .. } | ArchiveError::OtherKey { .. } => Reason::NoKey,
            _ => Reason::Image,
        };
        told(reason, &error)
    }
}

impl From<RestoreError> for ExecutorError {
    fn from(error: RestoreError) -> Self {
        let reason = match &error {
            RestoreError::InUse(_) => Reason::InUse,
            RestoreError::Daemon(DaemonError::Ended { said }) if is_of_a_lock(said) => {
                Reason::InUse
            }
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
            CaptureError::WouldBeClear(_) | CaptureError::Volume(_) => Reason::Conflict,
            _ => Reason::Failed,
        };
        match error {
            CaptureError::Archive(error) => error.into(),
            CaptureError::Pull(error) => error.into(),
            CaptureError::Stopped(error) => error.into(),
            error => told(reason, &error),
        }
    }
}

impl From<StoppedError> for ExecutorError {
    fn from(error: StoppedError) -> Self {
        let reason = match &error {
            StoppedError::InUse(_) => Reason::InUse,
            StoppedError::OnLun(_) | StoppedError::Volume(_) => Reason::Conflict,
            _ => Reason::Failed,
        };
        match error {
            StoppedError::Archive(error) => error.into(),
            StoppedError::Recovery(error) => error.into(),
            error => told(reason, &error),
        }
    }
}

impl From<StoppedBackupError> for ExecutorError {
    fn from(error: StoppedBackupError) -> Self {
        match error {
            StoppedBackupError::Stopped(error) => error.into(),
            error => told(Reason::Conflict, &error),
        }
    }
}

impl From<ImagesError> for ExecutorError {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Archive(error) => error.into(),
            ImagesError::NotMade { .. } | ImagesError::Place(_) | ImagesError::Away { .. } => {
                told(Reason::Archive, &error)
            }
            error => told(Reason::Image, &error),
        }
    }
}

impl From<QmpError> for ExecutorError {
    fn from(error: QmpError) -> Self {
        told(asked(&error), &error)
    }
}

impl From<VolumeError> for ExecutorError {
    fn from(error: VolumeError) -> Self {
        told(Reason::Conflict, &error)
    }
}

#[cfg(test)]
mod tests {
    use mezame_images::archive::ObjectName;

    use super::*;

    #[test]
    fn a_monitor_that_refuses_is_none_that_can_not_be_asked() {
        let refused = |class: &str| QmpError::Refused {
            command: "blockdev-mirror".into(),
            class: class.into(),
            description: "Need a root block node".into(),
        };
        let reason = |error: QmpError| ExecutorError::from(HydrationError::from(error)).reason;
        assert_eq!(reason(refused("GenericError")), Reason::Conflict);
        assert_eq!(reason(refused("DeviceNotFound")), Reason::Monitor);
        assert_eq!(reason(QmpError::Closed), Reason::Monitor);
    }

    #[test]
    fn an_archive_that_is_away_is_no_image_that_is_damaged() {
        let reason = |error: ArchiveError| ExecutorError::from(error).reason;
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let name = ObjectName::parse("meta").unwrap();
        let store = StoreError::Unsettled { name: name.clone(), source: full };
        assert_eq!(reason(store.into()), Reason::Archive);
        assert_eq!(reason(ArchiveError::NoArchive), Reason::Archive);
        assert_eq!(reason(StoreError::Missing { name }.into()), Reason::Image);
        let away = ImagesError::Away { why: "it does not answer".into() };
        assert_eq!(ExecutorError::from(away).reason, Reason::Archive);
    }

    #[test]
    fn a_daemon_that_ends_means_a_running_guest_only_where_it_says_so() {
        let reason = |said: &str| {
            let ended = DaemonError::Ended { said: said.into() };
            let restored = ExecutorError::from(RestoreError::Daemon(ended)).reason;
            let ended = DaemonError::Ended { said: said.into() };
            let reason = ExecutorError::from(RecoveryError::Daemon(ended)).reason;
            assert_eq!(restored, reason);
            reason
        };
        let locked = "Failed to get shared \"write\" lock\nIs another process using the image";
        assert_eq!(reason(locked), Reason::InUse);
        assert_eq!(reason("Could not open '/p/web.qcow2': Image is corrupt"), Reason::Failed);
        assert_eq!(reason("--blockdev: Invalid argument"), Reason::Failed);
    }

    #[test]
    fn a_header_that_a_qemu_has_open_is_in_use() {
        let said = "Failed to get \"consistent read\" lock".into();
        let error = ExecutorError::from(RotationError::Image(ImageError::Tool { said }));
        assert_eq!(error.reason, Reason::InUse);
        assert_eq!(ExecutorError::from(RotationError::Moving).reason, Reason::Conflict);
    }
}
