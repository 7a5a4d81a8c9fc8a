//! Making the volume that a disk carries longer, as far as the disk goes, while no guest runs on it.
//!
//! What is behind a volume may be another's that the disk carried before. So that becomes zeros first, and
//! the mark is written last: what is stopped before has changed nothing.

use super::{Carried, Carrier, CarrierError, Owner, open::Mode};
use crate::{
    archive::{Progress, Watch},
    volume::VolumeId,
};

/// How much becomes zeros between two looks whether it is to end.
const PART: u64 = 64 << 20;

impl Carrier {
    /// Makes the volume that it carries longer, in bytes as its guest sees it; what is added reads as
    /// zeros, but where it is encrypted. A guest that runs on a LUN, which no lock tells of, sees it when it
    /// is started next. Nothing is done where it is as long.
    ///
    /// # Errors
    /// [`CarrierError::InUse`], [`CarrierError::Full`], [`CarrierError::Replaced`] and
    /// [`CarrierError::Cancelled`]; it is as long as it was.
    pub fn grow(
        &self,
        owner: &Owner,
        volume: &VolumeId,
        size: u64,
        watch: &dyn Watch,
    ) -> Result<Carried, CarrierError> {
        let open = self.open(Mode::Alone)?;
        let capacity = open.seen()?.capacity;
        let (mark, next) = open.ours(owner)?;
        let carried = mark.carried.clone().filter(|carried| carried.volume == *volume);
        let carried = carried.ok_or_else(|| self.replaced(volume))?;
        if size <= carried.size {
            return Ok(carried);
        }
        let header = carried.length.saturating_sub(carried.size);
        let length = size.saturating_add(header);
        if length > capacity {
            return Err(CarrierError::Full { disk: self.to_string(), capacity, needed: length });
        }
        let (mut at, total) = (carried.length, length - carried.length);
        while at < length {
            if watch.is_cancelled() {
                return Err(CarrierError::Cancelled { disk: self.to_string() });
            }
            let end = length.min(at + PART);
            open.wipe(at..end)?;
            at = end;
            let done = at - carried.length;
            watch.tell(Progress { done, total, written: done });
        }
        let grown = Carried { size, length, ..carried };
        open.write(&mark, next, Some(grown.clone()))?;
        Ok(grown)
    }
}
