//! Restoring a clone: its volume becomes a plain one that was written beside, as when it is hydrated.
//!
//! The overlay is not touched. It holds what the guest had until then, and goes with the clone.

use super::{CloneError, InstantClone, Master, Record, handover::Stage};
use crate::{
    encryption::Keyslots,
    volume::{Place, VolumeId},
};

impl Master {
    /// Notes that a clone's volume is this plain one from now on, which is durable and is opened by
    /// these keys.
    pub(crate) fn become_plain(
        &self,
        id: &VolumeId,
        place: &Place,
        plain_keyslots: Option<Keyslots>,
    ) -> Result<InstantClone, CloneError> {
        let stage = Stage::Plain(place.clone());
        self.locked()?.change(id, |record| {
            Ok::<_, CloneError>(Record { stage, is_held: false, plain_keyslots, ..record })
        })?;
        self.find(id)
    }
}
