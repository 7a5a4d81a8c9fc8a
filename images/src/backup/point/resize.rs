//! Making a running guest's disk longer or shorter, which ends what is known of its changes.
//!
//! QEMU forgets what a dirty bitmap said of a part that is cut off, and takes the same part for
//! unchanged when the disk is made longer again, though it is zeros then. Two lengths that are equal
//! tell nothing of that. So the bitmaps go first, and the next backup reads all.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`block_resize`).

use serde_json::json;

use super::{Freeze, PointError, survey, take_down::check_drive};
use crate::{
    backup::disk::Disk,
    qmp::{Qmp, block::BitmapChange},
};

/// Gives a running guest's disk another length, in bytes: a multiple of 512. A point in time of it
/// is taken down. The next backup is [`FullReason::SizeChanged`] or [`FullReason::BitmapMissing`].
///
/// What is cut off is lost. Of a raw volume on a block device, that has to be as long before.
///
/// # Errors
/// Where QEMU refuses, the disk is as long as it was, and the next backup may be a full one all the
/// same. It refuses while the disk is exported, as to a flusher: that has to end before.
///
/// [`FullReason::SizeChanged`]: crate::backup::plan::FullReason::SizeChanged
/// [`FullReason::BitmapMissing`]: crate::backup::plan::FullReason::BitmapMissing
pub fn resize(
    qmp: &mut Qmp,
    disk: &Disk,
    size: u64,
    agent: Option<&dyn Freeze>,
) -> Result<(), PointError> {
    let surveys = survey(qmp, std::slice::from_ref(disk), agent)?;
    if qmp.is_moving()? {
        return Err(PointError::Moving);
    }
    check_drive(qmp, disk, disk.node())?;
    let bitmaps = surveys.iter().flat_map(|survey| &survey.bitmaps);
    let removed: Vec<_> =
        bitmaps.map(|bitmap| BitmapChange::Remove(bitmap.name.to_string())).collect();
    qmp.change_bitmaps(removed.iter().map(|change| (disk.node(), change)))?;
    let length = json!({ "node-name": disk.node(), "size": size });
    Ok(qmp.execute("block_resize", length).map(drop)?)
}
