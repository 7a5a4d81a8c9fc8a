//! Who freezes a guest's file systems for the moment of a point in time, in the calls that take one:
//! a backup, a capture of a running guest's volume, a schedule.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whom to ask, for how long, and whether to go on without. Exactly one of `instance` and
/// `guest_agent` is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freezing {
    /// An instance of the project, by its name or id: its agent, `guest-agent`, is asked through the
    /// metadata-server of the volumes' host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The socket, on the volumes' host, of the serial port at which `qemu-ga` listens in the guest;
    /// one of the QEMU that has the volumes open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_agent: Option<PathBuf>,
    /// Whether nothing comes to be where the guest could not be frozen. It is as after a power cut
    /// otherwise, and says why.
    #[serde(default)]
    pub required: bool,
    /// How long the guest may be frozen at most, in milliseconds, 1 to 60000; 10 seconds without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u32>,
}
