//! What whoever pulls a backup is told: where the point in time is read, and what it is. Plain
//! data, made to travel as JSON.
//!
//! It is the hypervisor's word. Who does not trust that for more than its own guests checks that the
//! volume is of one, and sets the address himself: a path is one on the machine of who pulls.

use serde::{Deserialize, Serialize};

use super::{
    freeze::Consistency,
    name::{BitmapName, PointId},
    plan::Plan,
};
use crate::{nbd::NbdAddress, volume::VolumeId};

/// One disk at one point in time, to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The volume.
    pub volume: VolumeId,
    /// The point in time. Disks that were opened together have the same one.
    pub point: PointId,
    /// When it was, in milliseconds since 1970.
    pub taken_ms: u64,
    /// What it holds of what the guest was doing.
    pub consistency: Consistency,
    /// Its length in bytes.
    pub size: u64,
    /// Where it is read.
    pub address: NbdAddress,
    /// What the export is called there.
    pub export: String,
    /// What is to be read.
    pub plan: Plan,
    /// The bitmap that says what has changed, where that is read.
    pub changes: Option<BitmapName>,
}
