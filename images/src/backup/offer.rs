//! What whoever pulls a backup is told: where the point in time is read, and what it is. Plain
//! data, made to travel as JSON.
//!
//! One that is served by TLS has a key in it, which whoever holds it reads the disk by: it is to be
//! kept and sent as a secret, and is worth nothing once the point in time is closed.
//!
//! It is the hypervisor's word. Who does not trust that for more than its own guests checks that the
//! volume is of one, and sets the address himself: a path is one on the machine of who pulls.

use serde::{Deserialize, Serialize};

use super::{
    freeze::{Consistency, LeftOut},
    name::{BitmapName, PointId},
    plan::Plan,
};
use crate::{
    nbd::{NbdAddress, Protection, tls::Credentials},
    volume::VolumeId,
};

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
    /// File systems that were not frozen though the others were, where it is `application`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: LeftOut,
    /// Its length in bytes.
    pub size: u64,
    /// Whether its volume is encrypted at the hypervisor. What is read is in the clear.
    #[serde(default)]
    pub encrypted: bool,
    /// Where it is read.
    pub address: NbdAddress,
    /// What it is read by, where it is served by TLS. Without that it isn't read there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Credentials>,
    /// What the export is called there.
    pub export: String,
    /// What is to be read.
    pub plan: Plan,
    /// The bitmap that says what has changed, where that is read.
    pub changes: Option<BitmapName>,
}

impl Offer {
    /// TLS where it is served so, else this.
    pub(super) fn protection<'a>(&'a self, otherwise: Protection<'a>) -> Protection<'a> {
        self.tls.as_ref().map_or(otherwise, Protection::Tls)
    }
}
