//! Writing all of a volume that a block device or LUN carries: an image, or zeros.
//!
//! It is written through QEMU's storage daemon, encrypted or not, so that QEMU's lock keeps guests from
//! a device meanwhile and LUNs need nothing of their own. What is there already is read first and not
//! written again, but for zeros. All of the volume is written: what the disk carried before is not seen
//! by who gets it next. Whether it is whole is noted by the caller, on the disk
//! ([`crate::carrier::Carried`]) and, of one that held something before, in the host's [`Records`].

use super::{
    Origin, RestoreError,
    fetch::export,
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
    of.check_key(volume.key().is_some())?;
    let daemon = open(volume, of.keys, of.run)?;
    let exported = export(of, &daemon, watch)?;
    daemon.end()?;
    Ok(exported)
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
    let failed = |offset| move |source| ArchiveError::Target { offset, source };
    let mut at = from.min(size);
    while at < size {
        if watch.is_cancelled() {
            return Err(ArchiveError::Cancelled.into());
        }
        let part = STEP.min(size - at);
        target.write_zeros(part, at).map_err(failed(at))?;
        at += part;
        watch.tell(Progress { done: at, total: size, ..Progress::default() });
    }
    target.finish().map_err(failed(size))?;
    drop(target);
    Ok(daemon.end()?)
}

fn open(
    volume: &Volume,
    keys: &VolumeKeys,
    run: &std::path::Path,
) -> Result<StorageDaemon, RestoreError> {
    Ok(StorageDaemon::start_with(&volume.blockdev(), &volume.secrets(keys)?, run)?)
}
