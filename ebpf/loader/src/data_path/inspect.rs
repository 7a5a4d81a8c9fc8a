//! Looking at what is in the kernel: for tests, and for whoever wonders what is going on.

use aya::programs::ProgramError;

use super::{DataPath, ReadError};

impl DataPath {
    /// The kernel's ids of the programs at guests' taps and at the uplink, as `bpftool prog`
    /// lists them.
    pub fn programs(&self) -> Result<(u32, u32), ProgramError> {
        Ok((self.guest.info()?.id(), self.uplink.info()?.id()))
    }

    /// The id of the program that a device's link runs; nothing if no link is pinned for it.
    pub fn linked_program(&self, ifindex: u32) -> std::io::Result<Option<u32>> {
        self.links.port(ifindex).program()
    }

    /// How many entries there are in all maps that hold ports. Takes time by their number.
    pub fn entries(&self) -> Result<usize, ReadError> {
        let maps = &self.maps;
        Ok(maps.ports.keys()?.len()
            + maps.states.keys()?.len()
            + maps.holders.keys()?.len()
            + maps.ranges.count()?
            + maps.ranges6.count()?)
    }
}
