//! The data path as the watch on taps needs it: one trait, the kernel's and one in memory.
//!
//! Both go through the same contract suite (`plane/tests.rs`).

use std::{collections::BTreeMap, os::fd::RawFd};

use mezame_ebpf_loader::PortSlot;
use mezame_ebpf_loader::{DataPath, DropEvent, DropEvents, PortCounters, PortRules};

/// Why the data path did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// A port was not attached.
    #[error("attaching to device {ifindex} failed")]
    Attach {
        /// The device.
        ifindex: u32,
        /// Why.
        #[source]
        source: mezame_ebpf_loader::AttachError,
    },
    /// A port was not detached.
    #[error("detaching from device {ifindex} failed")]
    Detach {
        /// The device.
        ifindex: u32,
        /// Why.
        #[source]
        source: mezame_ebpf_loader::DetachError,
    },
    /// What a program of another layout has pinned is still there.
    #[error("taking the data path of another version away failed")]
    Retire(#[source] mezame_ebpf_loader::RemoveError),
    /// Something was not read.
    #[error("reading the data path failed")]
    Read(#[source] mezame_ebpf_loader::ReadError),
    /// A stream of drops on which none comes can't be made.
    #[error("making a pipe for dropped frames failed")]
    Pipe(#[source] std::io::Error),
}

/// What attaches ports to devices.
pub trait DataPlane: Send {
    /// Attaches a port, or gives an attached one new rules.
    fn attach(&mut self, ifindex: u32, rules: &PortRules) -> Result<(), PlaneError>;

    /// Makes a device one that nobody is known for: it reaches no service.
    fn refuse(&mut self, ifindex: u32) -> Result<(), PlaneError>;

    /// Takes everything off a device, which may be gone already.
    fn detach(&mut self, ifindex: u32) -> Result<(), PlaneError>;

    /// Takes away what a program of another layout has attached, once the ports are attached here.
    fn retire_other_layouts(&mut self) -> Result<(), PlaneError>;

    /// The devices that ports are attached to.
    fn attached(&self) -> Result<Vec<(u32, PortSlot)>, PlaneError>;

    /// What the frames of a device came to.
    fn counters(&self, ifindex: u32) -> Result<PortCounters, PlaneError>;

    /// The devices that are refused, with what their frames came to.
    fn refused(&self) -> Result<Vec<(u32, PortCounters)>, PlaneError>;

    /// What the frames of no port came to.
    fn totals(&self) -> Result<PortCounters, PlaneError>;

    /// The stream of drops; there is one reader.
    fn drops(&mut self) -> Result<Box<dyn Drops>, PlaneError>;
}

/// A stream of dropped frames with a descriptor that is readable when there is one.
pub trait Drops: Send + std::os::fd::AsRawFd {
    /// The next, if there is one now.
    fn next(&mut self) -> Option<DropEvent>;
}

impl Drops for DropEvents {
    fn next(&mut self) -> Option<DropEvent> {
        Self::next(self)
    }
}

impl DataPlane for DataPath {
    fn attach(&mut self, ifindex: u32, rules: &PortRules) -> Result<(), PlaneError> {
        Self::attach(self, ifindex, rules).map_err(|source| PlaneError::Attach { ifindex, source })
    }

    fn refuse(&mut self, ifindex: u32) -> Result<(), PlaneError> {
        Self::refuse(self, ifindex).map_err(|source| PlaneError::Attach { ifindex, source })
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), PlaneError> {
        Self::detach(self, ifindex).map_err(|source| PlaneError::Detach { ifindex, source })
    }

    fn retire_other_layouts(&mut self) -> Result<(), PlaneError> {
        Self::retire_other_layouts(self).map_err(PlaneError::Retire)
    }

    fn attached(&self) -> Result<Vec<(u32, PortSlot)>, PlaneError> {
        Self::attached(self).map_err(PlaneError::Read)
    }

    fn counters(&self, ifindex: u32) -> Result<PortCounters, PlaneError> {
        Self::counters(self, ifindex).map_err(PlaneError::Read)
    }

    fn refused(&self) -> Result<Vec<(u32, PortCounters)>, PlaneError> {
        Self::refused(self).map_err(PlaneError::Read)
    }

    fn totals(&self) -> Result<PortCounters, PlaneError> {
        Self::totals(self).map_err(PlaneError::Read)
    }

    fn drops(&mut self) -> Result<Box<dyn Drops>, PlaneError> {
        Ok(Box::new(Self::drops(self).map_err(PlaneError::Read)?))
    }
}

/// A data path in memory: keeps what it is told and counts nothing.
#[derive(Debug, Default)]
pub struct MemoryPlane {
    /// The devices that exist. An attempt on another fails, as in the kernel.
    pub devices: std::collections::BTreeSet<u32>,
    ports: BTreeMap<u32, Option<PortRules>>,
}

impl MemoryPlane {
    /// With devices that exist and nothing attached.
    pub fn with_devices(devices: impl IntoIterator<Item = u32>) -> Self {
        Self { devices: devices.into_iter().collect(), ports: BTreeMap::new() }
    }

    /// The rules that a device has, if a port is attached to it.
    pub fn rules(&self, ifindex: u32) -> Option<&PortRules> {
        self.ports.get(&ifindex)?.as_ref()
    }

    /// Whether everything is refused from a device.
    pub fn is_refused(&self, ifindex: u32) -> bool {
        matches!(self.ports.get(&ifindex), Some(None))
    }

    fn put(&mut self, ifindex: u32, rules: Option<PortRules>) -> Result<(), PlaneError> {
        if !self.devices.contains(&ifindex) {
            let source = mezame_ebpf_loader::AttachError::NoDevice(ifindex);
            return Err(PlaneError::Attach { ifindex, source });
        }
        self.ports.insert(ifindex, rules);
        Ok(())
    }
}

impl DataPlane for MemoryPlane {
    fn attach(&mut self, ifindex: u32, rules: &PortRules) -> Result<(), PlaneError> {
        self.put(ifindex, Some(rules.clone()))
    }

    fn refuse(&mut self, ifindex: u32) -> Result<(), PlaneError> {
        self.put(ifindex, None)
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), PlaneError> {
        self.ports.remove(&ifindex);
        Ok(())
    }

    fn retire_other_layouts(&mut self) -> Result<(), PlaneError> {
        Ok(())
    }

    fn attached(&self) -> Result<Vec<(u32, PortSlot)>, PlaneError> {
        Ok(self.ports.iter().filter_map(|(at, rules)| Some((*at, rules.as_ref()?.slot))).collect())
    }

    fn counters(&self, ifindex: u32) -> Result<PortCounters, PlaneError> {
        Err(PlaneError::Read(mezame_ebpf_loader::ReadError::NotAttached(ifindex)))
    }

    fn refused(&self) -> Result<Vec<(u32, PortCounters)>, PlaneError> {
        let refused = self.ports.iter().filter(|(_, rules)| rules.is_none());
        Ok(refused.map(|(at, _)| (*at, PortCounters::default())).collect())
    }

    fn totals(&self) -> Result<PortCounters, PlaneError> {
        Ok(PortCounters::default())
    }

    fn drops(&mut self) -> Result<Box<dyn Drops>, PlaneError> {
        Ok(Box::new(NoDrops::new()?))
    }
}

/// A stream on which nothing ever comes: the reading end of a pipe, the writing end kept open.
struct NoDrops(std::io::PipeReader, #[expect(dead_code, reason = "held open")] std::io::PipeWriter);

impl NoDrops {
    fn new() -> Result<Self, PlaneError> {
        let (reader, writer) = std::io::pipe().map_err(PlaneError::Pipe)?;
        Ok(Self(reader, writer))
    }
}

impl std::os::fd::AsRawFd for NoDrops {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drops for NoDrops {
    fn next(&mut self) -> Option<DropEvent> {
        None
    }
}

#[cfg(test)]
mod tests;
