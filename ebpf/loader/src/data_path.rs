//! The data path of this hypervisor.

use std::io;

use mezame_ebpf_common::{PortSlot, Verdict};

use crate::{DropEvents, PinRoot, PortRules, Service, Unsupported, Uplink};

/// Why the data path was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It can't run here.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Why a port was not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such device (any more).
    #[error("there is no device with index {0}")]
    NoDevice(u32),
}

/// Why a port was not detached.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// A map could not be changed.
    #[error("can't detach the port of device {ifindex}")]
    Map {
        /// The device.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing is attached there.
    #[error("nothing is attached to the device with index {0}")]
    NotAttached(u32),
}

/// Why the pins were not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A file of bpffs could not be removed.
    #[error("can't remove {path}")]
    Unlink {
        /// Which.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What a port's frames came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortCounters {
    frames: [u64; Verdict::COUNT],
    suppressed: u64,
}

impl PortCounters {
    /// Frames with a verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.frames[verdict as usize]
    }

    /// All verdicts with their frames.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> + '_ {
        Verdict::ALL.into_iter().map(|verdict| (verdict, self.of(verdict)))
    }

    /// Drops of which no event was written, since there were too many in that second.
    pub fn suppressed_events(&self) -> u64 {
        self.suppressed
    }
}

/// The programs and maps in the kernel.
pub struct DataPath(());

impl DataPath {
    /// Loads the data path, or adopts the one that is pinned under `root` and replaces its
    /// programs, without a gap for any port that is attached.
    pub fn open(root: &PinRoot, uplink: &Uplink, services: &[Service]) -> Result<Self, LoadError> {
        let _ = (root, uplink, services);
        Err(Unsupported::NotRoot.into())
    }

    /// Attaches a port to a device, or gives an attached one new rules. Takes the same time
    /// however many ports there are.
    pub fn attach(&mut self, ifindex: u32, rules: &PortRules) -> Result<(), AttachError> {
        let _ = rules;
        Err(AttachError::NoDevice(ifindex))
    }

    /// Attaches the program to a device that no port is known for: all that goes to a service
    /// address is dropped and counted.
    pub fn refuse(&mut self, ifindex: u32) -> Result<(), AttachError> {
        Err(AttachError::NoDevice(ifindex))
    }

    /// Detaches what is attached to a device, and leaves no entry behind; the device may be gone
    /// already.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), DetachError> {
        let _ = ifindex;
        Ok(())
    }

    /// The devices that a port is attached to, with the port's slot, in no order.
    pub fn attached(&self) -> Result<Vec<(u32, PortSlot)>, ReadError> {
        Ok(Vec::new())
    }

    /// What the frames of a device came to.
    pub fn counters(&self, ifindex: u32) -> Result<PortCounters, ReadError> {
        Err(ReadError::NotAttached(ifindex))
    }

    /// What the frames came to that belong to no port: replies to a port that is gone, frames of
    /// devices that nothing is known about. Its suppressed events are those that found the buffer
    /// full.
    pub fn totals(&self) -> Result<PortCounters, ReadError> {
        Ok(PortCounters { frames: [0; Verdict::COUNT], suppressed: 0 })
    }

    /// The stream of dropped frames.
    pub fn drops(&mut self) -> Result<DropEvents, ReadError> {
        Err(ReadError::NotAttached(0))
    }

    /// Takes every link, map and pin under `root` away: guests' frames pass as if this had never
    /// been.
    pub fn remove(root: &PinRoot) -> Result<(), RemoveError> {
        let _ = root;
        Ok(())
    }
}
