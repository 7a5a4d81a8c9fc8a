//! Attaching ports to devices, and detaching them.
//!
//! Every step here takes the same time however many ports there are. The order of the steps is
//! such that a frame always meets whole rules, or none and is refused: a port's entry in `PORTS`
//! comes last and goes first. What an earlier port left at a recycled interface index goes before
//! the program is at the device, so that no guest is taken for the one before. A step that was
//! interrupted is found again by the entry in `HOLDERS`, which is there whenever others are.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
};

use aya::programs::ProgramError;
use ipnetwork::{Ipv4Network, Ipv6Network};
use mezame_ebpf_common::{
    DynamicSlot, Holder, Identity, Port, PortFlags, PortKey, PortState, TOKEN_COST, wire, wire6,
};

use super::DataPath;
use crate::{PortRules, maps::MapFault, ranges::Range};

/// Why a port was not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such device (any more).
    #[error("there is no device with index {0}")]
    NoDevice(u32),
    /// The rules can't be kept.
    #[error("a port can't have the MAC {0:02x?}")]
    Mac([u8; 6]),
    /// A service address, or one that no host may have.
    #[error("a port can't have the address {0}")]
    Address(IpAddr),
    /// Nothing would ever pass.
    #[error("a port's rate and burst must be at least 1")]
    Rate,
    /// The link could not be made.
    #[error("can't attach to the device with index {ifindex}")]
    Link {
        /// The device.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The program is not there.
    #[error("the program can't be attached")]
    Program(#[source] Box<ProgramError>),
    /// A map failed, or has no room.
    #[error(transparent)]
    Map(#[from] MapFault),
}

/// Why a port was not detached. Detaching can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// A map failed.
    #[error(transparent)]
    Map(#[from] MapFault),
    /// The link could not be removed.
    #[error("can't detach from the device with index {ifindex}")]
    Link {
        /// The device.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl DataPath {
    /// Attaches a port to a device, or gives an attached one new rules. Another port that was
    /// there is forgotten, and so is the place where this port was before. Takes the same time
    /// however many ports there are.
    pub fn attach(&mut self, ifindex: u32, rules: &PortRules) -> Result<(), AttachError> {
        let key = PortKey { ifindex, vlan: 0 };
        self.check(rules)?;
        let slot = rules.slot.number();
        let old = self.maps.ports.get(key)?;
        let same = |port: &Port| port.slot == slot && port.generation == rules.generation;
        if !old.as_ref().is_some_and(same) {
            self.forget_device(ifindex)?;
        }
        let old = old.filter(same);
        self.link(ifindex)?;
        if let Some(holder) = self.maps.holders.get(slot)?
            && holder.key != key
        {
            // The port moves here. Its old device is refused from now on.
            self.maps.ports.remove(holder.key)?;
        }
        let state = match self.maps.states.get(key)? {
            Some(state) => state,
            None => {
                let state = fresh(rules.rate.burst);
                self.maps.states.set(key, state)?;
                state
            }
        };
        let taken = old.map_or([0; Identity::ADDRESSES], |port| port.addresses);
        let (addresses, rest) = assign(&rules.addresses, &taken, &state.dynamic);
        let mut ranges6: Vec<_> = rules.allowed6.iter().map(range6).collect();
        ranges6.sort_unstable();
        ranges6.dedup();
        let mut ranges: Vec<_> = rules.allowed.iter().map(range).collect();
        ranges.extend(rest.into_iter().map(|address| Range { length: 32, address }));
        ranges.sort_unstable();
        ranges.dedup();
        let holder = Holder { key, generation: rules.generation, reserved: 0 };
        self.maps.holders.set(slot, holder)?;
        self.maps.ranges.set(slot, &ranges)?;
        self.maps.ranges6.set(slot, &ranges6)?;
        let flags = [
            (PortFlags::DHCP_SERVER, rules.dhcp_server),
            (PortFlags::RANGES, !ranges.is_empty()),
            (PortFlags::RANGES6, !ranges6.is_empty()),
            (PortFlags::DHCP4, rules.answers.dhcp4),
            (PortFlags::DHCP6, rules.answers.dhcp6),
            (PortFlags::ROUTER, rules.answers.router),
        ];
        let flags =
            flags.into_iter().filter(|(_, is_set)| *is_set).fold(0, |all, (one, _)| all | one);
        let port = Port {
            slot,
            generation: rules.generation,
            mac: rules.mac,
            flags: PortFlags(flags),
            frames_per_second: rules.rate.frames_per_second,
            burst: rules.rate.burst,
            fill_ns: u64::from(rules.rate.burst) * TOKEN_COST
                / u64::from(rules.rate.frames_per_second)
                + 1,
            addresses,
        };
        Ok(self.maps.ports.set(key, port)?)
    }

    /// Attaches the program to a device that no port is known for: all that goes to a service
    /// address is dropped and counted. A port that was attached there is forgotten.
    pub fn refuse(&mut self, ifindex: u32) -> Result<(), AttachError> {
        let key = PortKey { ifindex, vlan: 0 };
        if self.maps.ports.get(key)?.is_some() {
            self.forget_device(ifindex)?;
        }
        self.link(ifindex)?;
        if self.maps.states.get(key)?.is_none() {
            self.maps.states.set(key, fresh(1))?;
        }
        Ok(())
    }

    /// Detaches what is attached to a device, and leaves no entry behind. The device may be gone
    /// already, and nothing may be attached.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), DetachError> {
        self.forget_device(ifindex)?;
        let link = self.links.port(ifindex);
        link.remove().map_err(|source| DetachError::Link { ifindex, source })
    }

    /// Removes a device's entries from all maps; its port's too, if that has not moved elsewhere.
    pub(super) fn forget_device(&mut self, ifindex: u32) -> Result<(), MapFault> {
        let key = PortKey { ifindex, vlan: 0 };
        if let Some(port) = self.maps.ports.get(key)? {
            self.maps.ports.remove(key)?;
            let holder = self.maps.holders.get(port.slot)?;
            if holder.is_none_or(|holder| holder.key == key) {
                self.forget_slot(port.slot)?;
            }
        }
        self.maps.states.remove(key)
    }

    /// Removes the entries of a slot that no port has any more.
    pub(super) fn forget_slot(&mut self, slot: u32) -> Result<(), MapFault> {
        self.maps.ranges.clear(slot)?;
        self.maps.ranges6.clear(slot)?;
        self.maps.holders.remove(slot)
    }

    fn link(&mut self, ifindex: u32) -> Result<(), AttachError> {
        let program = self.guest.fd().map_err(|error| AttachError::Program(Box::new(error)))?;
        self.links.port(ifindex).ensure(program.as_fd(), ifindex).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::ENODEV) => AttachError::NoDevice(ifindex),
                _ => AttachError::Link { ifindex, source },
            }
        })
    }

    fn check(&self, rules: &PortRules) -> Result<(), AttachError> {
        if rules.mac[0] & 1 == 1 || rules.mac == [0; 6] {
            return Err(AttachError::Mac(rules.mac));
        }
        if rules.rate.burst == 0 || rules.rate.frames_per_second == 0 {
            return Err(AttachError::Rate);
        }
        for address in &rules.addresses {
            let first = address.octets()[0];
            if first == 0
                || first == 127
                || first >= 224
                || self.maps.addresses.get(wire(*address))?.is_some()
            {
                return Err(AttachError::Address((*address).into()));
            }
        }
        for range in rules.allowed6.iter().filter(|range| range.prefix() == 128) {
            let address = range.ip();
            if address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || self.maps.addresses6.get(wire6(address))?.is_some()
            {
                return Err(AttachError::Address(address.into()));
            }
        }
        Ok(())
    }
}

/// A state with a full bucket.
fn fresh(burst: u32) -> PortState {
    PortState { tokens: u64::from(burst) * TOKEN_COST, ..PortState::EMPTY }
}

/// A range as the trie holds it.
fn range(network: &Ipv4Network) -> Range<u32> {
    Range { length: network.prefix(), address: wire(network.network()) }
}

fn range6(network: &Ipv6Network) -> Range<[u32; 4]> {
    Range { length: network.prefix(), address: wire6(network.network()) }
}

/// The slots that stand for an address.
const NAMED: std::ops::Range<usize> = 0..Identity::UNSPECIFIED as usize;

/// Gives addresses their slots, and says which of them are left for the slots of ranges.
///
/// An address keeps the slot that it has, be it one of its own or one of a range: its connections
/// go on.
fn assign(
    addresses: &[Ipv4Addr],
    taken: &[u32; Identity::ADDRESSES],
    dynamic: &[DynamicSlot; Identity::ADDRESSES],
) -> ([u32; Identity::ADDRESSES], Vec<u32>) {
    let mut slots = [0; Identity::ADDRESSES];
    let mut wanted: Vec<u32> = Vec::new();
    for address in addresses {
        let address = wire(*address);
        if !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    let rest = wanted.split_off(wanted.len().min(Port::PREASSIGNED));
    let mut homeless = Vec::new();
    for address in wanted {
        let own = taken.iter().position(|has| *has == address);
        // A slot of its own stands before what a range has in the same.
        let of_range = || NAMED.clone().find(|n| taken[*n] == 0 && dynamic[*n].address == address);
        match own.or_else(of_range).filter(|n| slots[*n] == 0) {
            Some(n) => slots[n] = address,
            None => homeless.push(address),
        }
    }
    for address in homeless {
        // Rather a slot that no address of a range uses now.
        let free = |n: &usize| slots[*n] == 0;
        let unused = NAMED.clone().find(|n| free(n) && dynamic[*n].address == 0);
        if let Some(n) = unused.or_else(|| NAMED.clone().find(free)) {
            slots[n] = address;
        }
    }
    (slots, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u32; Identity::ADDRESSES] = [0; Identity::ADDRESSES];
    const UNUSED: [DynamicSlot; Identity::ADDRESSES] = PortState::EMPTY.dynamic;

    fn many(count: u8) -> Vec<Ipv4Addr> {
        (0..count).map(|n| Ipv4Addr::new(10, 0, 0, n + 1)).collect()
    }

    #[test]
    fn addresses_that_stay_keep_their_slots_when_others_come_and_go() {
        let (before, _) = assign(&many(3), &NONE, &UNUSED);
        let after = [Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 3)];
        let (slots, _) = assign(&after, &before, &UNUSED);
        assert_eq!(slots[2], wire(after[1]));
        assert!(slots.contains(&wire(after[0])));
    }

    #[test]
    fn an_address_of_a_range_keeps_its_slot_when_it_becomes_the_ports_own() {
        let address = Ipv4Addr::new(10, 0, 0, 7);
        let mut dynamic = UNUSED;
        dynamic[9] = DynamicSlot { used_ns: 1, address: wire(address), reserved: 0 };
        let (slots, _) = assign(&[address], &NONE, &dynamic);
        assert_eq!(slots[9], wire(address));
    }

    #[test]
    fn some_slots_are_left_for_ranges_however_many_addresses_a_port_has() {
        let (slots, rest) = assign(&many(40), &NONE, &UNUSED);
        assert_eq!(slots.iter().filter(|slot| **slot != 0).count(), Port::PREASSIGNED);
        assert_eq!(rest.len(), 40 - Port::PREASSIGNED);
    }

    #[test]
    fn an_address_that_is_named_twice_has_one_slot() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let (slots, _) = assign(&[address, address], &NONE, &UNUSED);
        assert_eq!(slots.iter().filter(|slot| **slot != 0).count(), 1);
    }
}
