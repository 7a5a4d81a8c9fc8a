//! Which part of a port's identities each of its source addresses has.
//!
//! What a port has of its own is always the same; what it has by a range, or by a prefix, takes the
//! place that was used least lately.

use std::net::{Ipv4Addr, Ipv6Addr};

use mezame_ebpf_loader::{Identity, Identity6};

pub(super) struct Slots {
    own: Vec<Ipv4Addr>,
    ranged: Places<Ipv4Addr>,
    prefixes: Places<[u8; 8]>,
}

impl Slots {
    pub(super) fn new(own: Vec<Ipv4Addr>) -> Self {
        let ranged = Places::new(usize::from(Identity::UNSPECIFIED) - own.len());
        let prefixes = Places::new(usize::from(Identity6::EVERYONE - Identity6::LINK_LOCAL) - 1);
        Self { own, ranged, prefixes }
    }

    /// The address slot of a source, which is in use from now on.
    pub(super) fn of(&mut self, source: Ipv4Addr) -> u8 {
        let own = self.own.iter().position(|own| *own == source);
        own.unwrap_or_else(|| self.own.len() + self.ranged.of(source)) as u8
    }

    /// The prefix slot of a source, likewise.
    pub(super) fn of_6(&mut self, source: Ipv6Addr) -> u8 {
        let upper: [u8; 8] = source.octets()[..8].try_into().unwrap();
        if upper == LINK_LOCAL {
            return Identity6::LINK_LOCAL;
        }
        Identity6::LINK_LOCAL + 1 + self.prefixes.of(upper) as u8
    }

    /// The source that has an address slot.
    pub(super) fn address(&self, n: u8) -> Option<Ipv4Addr> {
        let n = usize::from(n);
        self.own.get(n).copied().or_else(|| self.ranged.places.get(n - self.own.len())?.0)
    }

    /// The upper half that has a prefix slot.
    pub(super) fn upper(&self, n: u8) -> Option<[u8; 8]> {
        if n == Identity6::LINK_LOCAL {
            return Some(LINK_LOCAL);
        }
        self.prefixes.places.get(usize::from(n - Identity6::LINK_LOCAL - 1))?.0
    }
}

/// fe80::/64.
const LINK_LOCAL: [u8; 8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];

struct Places<T> {
    /// Each with the time of its last use.
    places: Vec<(Option<T>, u64)>,
    clock: u64,
}

impl<T: Copy + PartialEq> Places<T> {
    fn new(count: usize) -> Self {
        Self { places: vec![(None, 0); count], clock: 0 }
    }

    fn of(&mut self, tenant: T) -> usize {
        self.clock += 1;
        let found = self.places.iter().position(|place| place.0 == Some(tenant));
        let n = found
            .unwrap_or_else(|| (0..self.places.len()).min_by_key(|n| self.places[*n].1).unwrap());
        self.places[n] = (Some(tenant), self.clock);
        n
    }
}
