//! How much a guest may ask of its volume: operations and bytes a second.
//!
//! The limits are the device's, not the volume's: what the host does itself (flushes, hydration, a
//! backup) is not counted. They can be changed while the guest runs, and have to be set again in
//! each QEMU that the guest is started in or moved to. A request that is over them waits.
//!
//! After `block_set_io_throttle` in <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Volume;
use crate::qmp::{Qmp, QmpError};

/// The most that a guest may do with one volume, reads and writes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Operations a second, each of whatever length; no limit without.
    pub operations: Option<NonZeroU32>,
    /// Bytes a second; no limit without.
    pub bytes: Option<NonZeroU64>,
}

impl Limits {
    /// Sets the limits of a running guest's volume, in place of those that it had.
    pub fn apply(self, qmp: &mut Qmp, volume: &Volume) -> Result<(), QmpError> {
        qmp.execute("block_set_io_throttle", self.arguments(volume)).map(drop)
    }

    fn arguments(self, volume: &Volume) -> Value {
        json!({
            // The disk itself; the device's own id is that of the PCI card around it.
            "id": format!("/machine/peripheral/{}/virtio-backend", volume.id().node("disk")),
            "bps": self.bytes.map_or(0, NonZeroU64::get),
            "bps_rd": 0,
            "bps_wr": 0,
            "iops": self.operations.map_or(0, NonZeroU32::get),
            "iops_rd": 0,
            "iops_wr": 0,
        })
    }
}
