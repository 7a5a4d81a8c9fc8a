//! The identity addresses that guests have in the metadata namespace.
//!
//! `0010` (4 bits) · port slot (24 bits) · address slot (4 bits), so 32.0.0.0/4. The namespace is
//! private: no route leads from it to anywhere else, so any range would do. One identity for each
//! (port, source address), since two source addresses of one port may use the same source port.
//! Pure arithmetic: nothing here looks anything up.

use core::net::Ipv4Addr;

/// A port's number on this hypervisor, 24 bits. User space gives it, and does not give it again
/// soon after the port is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PortSlot(u32);

impl PortSlot {
    /// The greatest slot.
    pub const MAX: Self = Self(0x00ff_ffff);

    /// Takes a number of at most 24 bits.
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The address by which the metadata-server sees one source address of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Identity(u32);

impl Identity {
    /// The first address of the range.
    pub const BASE: Ipv4Addr = Ipv4Addr::new(32, 0, 0, 0);
    /// The range's prefix length: the namespace routes `BASE/PREFIX` to the taps' side.
    pub const PREFIX: u8 = 4;
    /// The address slots of a port. All but the last stand for a source address each.
    pub const ADDRESSES: usize = 16;
    /// The address slot of a guest that asks for an address by DHCP from one that is not its
    /// port's, such as 0.0.0.0: what is sent to it reaches its whole link, by broadcast.
    pub const UNSPECIFIED: u8 = Self::ADDRESSES as u8 - 1;

    const BASE_BITS: u32 = 0x2000_0000;
    const ADDRESS_BITS: u32 = 4;

    /// The identity of address slot `n` (its low four bits) of a port.
    #[inline(always)]
    pub const fn new(slot: PortSlot, n: u8) -> Self {
        Self(Self::BASE_BITS | (slot.0 << Self::ADDRESS_BITS) | (n as u32 & 0xf))
    }

    /// The port slot and the address slot, or nothing for an address outside of the range.
    #[inline(always)]
    pub const fn parse(address: Ipv4Addr) -> Option<(PortSlot, u8)> {
        let bits = address.to_bits();
        if bits & 0xf000_0000 != Self::BASE_BITS {
            return None;
        }
        Some((PortSlot((bits >> Self::ADDRESS_BITS) & PortSlot::MAX.0), (bits & 0xf) as u8))
    }

    /// As an address.
    #[inline(always)]
    pub const fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_parsed_back_to_its_port_and_address_slot() {
        for number in [0, 1, 0xf, 0x10, 0x00ab_cdef, 0x00ff_ffff] {
            let slot = PortSlot::new(number).unwrap();
            for n in 0..16 {
                assert_eq!(Identity::parse(Identity::new(slot, n).address()), Some((slot, n)));
            }
        }
        assert_eq!(
            Identity::new(PortSlot::new(1).unwrap(), 2).address(),
            Ipv4Addr::new(32, 0, 0, 18)
        );
    }

    #[test]
    fn an_address_outside_of_the_range_is_no_identity() {
        for text in ["31.255.255.255", "48.0.0.0", "169.254.169.254", "0.0.0.0"] {
            assert_eq!(Identity::parse(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_slot_has_24_bits() {
        assert!(PortSlot::new(0x00ff_ffff).is_some());
        assert!(PortSlot::new(0x0100_0000).is_none());
    }
}
