//! Writing all of a volume that a block device or LUN carries: an image, or zeros.
//!
//! It is written through QEMU's storage daemon, encrypted or not, so that QEMU's lock keeps guests from
//! a device meanwhile and LUNs need nothing of their own. What is there already is read first and not
//! written again, but for zeros. All of the volume is written: what the disk carried before is not seen
//! by who gets it next. Whether it is whole is noted by the caller, on the disk
//! ([`crate::carrier::Carried`]) and, of one that held something before, in the host's [`Records`].

use std::ops::Range;

use super::{
    Origin, RestoreError,
    records::{Record, Records, Way},
    through_qemu::ThroughQemu,
};
use crate::{
    archive::{ArchiveError, Exported, ImageId, Progress, Watch, target::Target},
    encryption::VolumeKeys,
    storage_daemon::StorageDaemon,
    volume::{Volume, VolumeId},
};

/// How much is made zeros between two looks at whether it is to go on.
const STEP: u64 = 16 << 20;

/// That an image can be read to its end, before anything is written over for it.
///
/// # Errors
/// [`RestoreError::Damaged`]; [`RestoreError::WouldBeClear`].
pub fn verify(of: &Origin<'_>, is_encrypted: bool, watch: &dyn Watch) -> Result<(), RestoreError> {
    of.check_key(is_encrypted)?;
    super::over::verify(of, watch)
}

/// Notes that a volume is about to be written over: until [`end`] it holds a part of each.
pub fn begin(records: &Records, id: &VolumeId, image: ImageId) -> Result<(), RestoreError> {
    records.write(id, &Record { image, way: Way::Over })
}

/// Notes that all of it is written.
pub fn end(records: &Records, id: &VolumeId) -> Result<(), RestoreError> {
    records.remove(id)
}

/// Writes the image over all of a volume that nobody has open; what is behind the image becomes zeros.
///
/// # Errors
/// [`RestoreError::WouldBeClear`]; [`RestoreError::Archive`] where the volume is shorter than the image.
pub fn fill(of: &Origin<'_>, volume: &Volume, watch: &dyn Watch) -> Result<Exported, RestoreError> {
    Held::of(of, volume)?.fill(of, watch)
}

/// A volume that is kept from guests by QEMU's lock, and not yet written.
pub struct Held(StorageDaemon);

impl Held {
    /// Opens it for the image that it is to hold.
    ///
    /// # Errors
    /// [`RestoreError::WouldBeClear`]; [`RestoreError::Daemon`], also where a QEMU has it open.
    pub fn of(of: &Origin<'_>, volume: &Volume) -> Result<Self, RestoreError> {
        of.check_key(volume.key().is_some())?;
        Ok(Self(open(volume, of.keys, of.run)?))
    }

    /// Writes the image over all of it; what is behind the image becomes zeros.
    ///
    /// # Errors
    /// [`RestoreError::Archive`], where the volume is shorter than the image, too.
    pub fn fill(self, of: &Origin<'_>, watch: &dyn Watch) -> Result<Exported, RestoreError> {
        let Self(daemon) = self;
        let target = ThroughQemu::new(&daemon)?;
        let (size, from) = (target.size(), of.image.image().size);
        let behind = size.saturating_sub(from);
        zero(&target, from..size, watch, &|done| Progress {
            done,
            total: size,
            ..Progress::default()
        })?;
        let rest = Rest { of: watch, before: behind };
        let exported = of.archive.export(of.image, &target.cleared(), &rest)?;
        daemon.end()?;
        Ok(exported)
    }
}

/// Makes all of a volume zeros that nobody has open, from this byte on.
pub fn clear(
    volume: &Volume,
    from: u64,
    (keys, run): (&VolumeKeys, &std::path::Path),
    watch: &dyn Watch,
) -> Result<(), RestoreError> {
    let daemon = open(volume, keys, run)?;
    let target = ThroughQemu::new(&daemon)?;
    let size = target.size();
    let from = from.min(size);
    let told = |done| Progress { done: from + done, total: size, ..Progress::default() };
    zero(&target, from..size, watch, &told)?;
    target.finish().map_err(|source| ArchiveError::Target { offset: size, source })?;
    drop(target);
    Ok(daemon.end()?)
}

/// Makes a part zeros, step by step.
fn zero(
    target: &ThroughQemu<'_>,
    part: Range<u64>,
    watch: &dyn Watch,
    told: &dyn Fn(u64) -> Progress,
) -> Result<(), ArchiveError> {
    let mut at = part.start;
    while at < part.end {
        if watch.is_cancelled() {
            return Err(ArchiveError::Cancelled);
        }
        let step = STEP.min(part.end - at);
        let failed = |source| ArchiveError::Target { offset: at, source };
        target.write_zeros(step, at).map_err(failed)?;
        at += step;
        watch.tell(told(at - part.start));
    }
    Ok(())
}

/// What comes after so many bytes, for whoever looks on at all of it.
struct Rest<'a> {
    of: &'a dyn Watch,
    before: u64,
}

impl Watch for Rest<'_> {
    fn tell(&self, progress: Progress) {
        let (done, total) = (self.before + progress.done, self.before + progress.total);
        self.of.tell(Progress { done, total, ..progress });
    }

    fn is_cancelled(&self) -> bool {
        self.of.is_cancelled()
    }
}

fn open(
    volume: &Volume,
    keys: &VolumeKeys,
    run: &std::path::Path,
) -> Result<StorageDaemon, RestoreError> {
    Ok(StorageDaemon::start_with(&volume.blockdev(), &volume.secrets(keys)?, run)?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::volume::{Data, Durability, HostCache, Place};

    /// Wants no more once so many bytes are done.
    struct Until {
        at: u64,
        seen: AtomicU64,
    }

    impl Watch for Until {
        fn tell(&self, progress: Progress) {
            self.seen.store(progress.done, Ordering::SeqCst);
        }

        fn is_cancelled(&self) -> bool {
            self.seen.load(Ordering::SeqCst) >= self.at
        }
    }

    #[test]
    fn zeros_are_told_of_step_by_step_and_end_where_nobody_wants_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        File::create(&path).unwrap().set_len(3 * STEP).unwrap();
        let (id, data) = (VolumeId::parse("web").unwrap(), Data::Plain(Place::File(path)));
        let volume = Volume::new(id, data, Durability::Plain, HostCache::Buffered).unwrap();
        let until = |at| Until { at, seen: AtomicU64::new(0) };
        let (keys, run) = (VolumeKeys::none(), directory.path());
        let some = until(2 * STEP);
        let error = clear(&volume, 0, (&keys, run), &some).unwrap_err();
        assert!(matches!(error, RestoreError::Archive(ArchiveError::Cancelled)), "{error}");
        assert_eq!(some.seen.load(Ordering::SeqCst), 2 * STEP);
        let all = until(u64::MAX);
        clear(&volume, STEP, (&keys, run), &all).unwrap();
        assert_eq!(all.seen.load(Ordering::SeqCst), 3 * STEP);
    }
}
