//! The identity addresses of IPv6 sources.
//!
//! `fdaf:e001` (32 bits) · port slot (24 bits) · prefix slot (8 bits) · the low half of the source
//! address as it is. So a guest may use any interface identifier without being known beforehand,
//! and two of its addresses are never taken for one. As with IPv4, the range leads nowhere but out
//! of the metadata namespace. Pure arithmetic: nothing here looks anything up.

use core::net::Ipv6Addr;

use crate::PortSlot;

/// The address by which the metadata-server sees one IPv6 source address of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity6 {
    slot: PortSlot,
    prefix: u8,
    interface: u64,
}

impl Identity6 {
    /// The first address of the range.
    pub const BASE: Ipv6Addr = Ipv6Addr::new(0xfdaf, 0xe001, 0, 0, 0, 0, 0, 0);
    /// The range's prefix length: the namespace routes `BASE/LENGTH` to the taps' side.
    pub const LENGTH: u8 = 32;
    /// The prefix slots of a port: how many upper halves of its source addresses are told apart
    /// at a time, the first and the last among them.
    pub const PREFIXES: usize = 8;
    /// The prefix slot of fe80::/64.
    pub const LINK_LOCAL: u8 = 0;
    /// The prefix slot of everyone on the guest's link: what is sent to it goes to ff02::1.
    pub const EVERYONE: u8 = Self::PREFIXES as u8 - 1;

    const BASE_WORD: u32 = 0xfdaf_e001;
    const PREFIX_BITS: u32 = 8;

    /// The identity of a source address's low half (host order) under a prefix slot of a port.
    #[inline(always)]
    pub const fn new(slot: PortSlot, prefix: u8, interface: u64) -> Self {
        Self { slot, prefix, interface }
    }

    /// The port slot.
    pub const fn slot(self) -> PortSlot {
        self.slot
    }

    /// The prefix slot.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The upper half, as two words in host order.
    #[inline(always)]
    pub const fn upper(slot: PortSlot, prefix: u8) -> [u32; 2] {
        [Self::BASE_WORD, (slot.number() << Self::PREFIX_BITS) | prefix as u32]
    }

    /// What an upper half stands for, or nothing where it is none of an identity's.
    #[inline(always)]
    pub const fn parse_upper(upper: [u32; 2]) -> Option<(PortSlot, u8)> {
        let prefix = upper[1] as u8;
        if upper[0] != Self::BASE_WORD || prefix as usize >= Self::PREFIXES {
            return None;
        }
        match PortSlot::new(upper[1] >> Self::PREFIX_BITS) {
            Some(slot) => Some((slot, prefix)),
            None => None,
        }
    }

    /// The identity that an address is, if it is one.
    pub const fn parse(address: Ipv6Addr) -> Option<Self> {
        let bits = address.to_bits();
        match Self::parse_upper([(bits >> 96) as u32, (bits >> 64) as u32]) {
            Some((slot, prefix)) => Some(Self { slot, prefix, interface: bits as u64 }),
            None => None,
        }
    }

    /// As an address.
    pub const fn address(self) -> Ipv6Addr {
        let [first, second] = Self::upper(self.slot, self.prefix);
        let upper = ((first as u128) << 32) | second as u128;
        Ipv6Addr::from_bits((upper << 64) | self.interface as u128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_parsed_back_to_its_parts() {
        for number in [0, 1, 0xff, 0x00ab_cdef, 0x00ff_ffff] {
            let slot = PortSlot::new(number).unwrap();
            for prefix in 0..8 {
                let identity = Identity6::new(slot, prefix, 0x0254_00ff_fe12_3456);
                assert_eq!(Identity6::parse(identity.address()), Some(identity));
            }
        }
        let identity = Identity6::new(PortSlot::new(0x12).unwrap(), 3, 0x9);
        assert_eq!(identity.address(), "fdaf:e001:0:1203::9".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn an_address_outside_of_the_range_is_no_identity() {
        for text in ["fdaf:e002::1", "fe80::1", "::ffff:32.0.0.1", "fdaf:e001:0:8::1", "::"] {
            assert_eq!(Identity6::parse(text.parse().unwrap()), None, "{text}");
        }
    }
}
