//! The service table: data, so that another service is another entry.
//!
//! `SERVICES` leads from what a guest addresses to what listens in the metadata namespace,
//! `TARGETS` back, and `ADDRESSES` holds each service address once (ARP is answered for those).
//! `SERVICES6`, `TARGETS6` and `ADDRESSES6` are the same for IPv6. A broadcast or multicast address
//! that leads to a service is in `SERVICES` alone.

use crate::Plain;

/// An address, port and protocol: a service as guests see it, or its target in the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Endpoint {
    /// Wire order.
    pub address: u32,
    /// Wire order.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

// SAFETY: `repr(C)`; 4+2+1+1 bytes, aligned to 4, so no padding; integers only.
unsafe impl Plain for Endpoint {}

/// As [`Endpoint`], for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Endpoint6 {
    /// Wire order.
    pub address: [u32; 4],
    /// Wire order; 0 where the protocol has none.
    pub port: u16,
    /// IP protocol number: 6, 17 or 58.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

// SAFETY: `repr(C)`; 16+2+1+1 bytes, aligned to 4, so no padding; integers only.
unsafe impl Plain for Endpoint6 {}

/// The bit of an address in [`Settings::address_bits`](crate::Settings::address_bits): an address
/// whose bit is not set is no service address. Most frames are sorted out by this alone.
#[inline(always)]
pub const fn address_bit(wire: u32) -> u64 {
    // Fibonacci hashing: the product's top six bits depend on all bits of the address.
    1 << (wire.wrapping_mul(0x9e37_79b9) >> 26)
}

/// The bit of an IPv6 address in [`Settings::address_bits6`](crate::Settings::address_bits6).
#[inline(always)]
pub const fn address_bit6(wire: [u32; 4]) -> u64 {
    address_bit(wire[0] ^ wire[1].rotate_left(8) ^ wire[2].rotate_left(16) ^ wire[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn few_of_a_networks_addresses_share_the_bit_of_a_service_address() {
        let service = address_bit(wire([169, 254, 169, 254].into()));
        let shared = (0..=u16::MAX)
            .map(|low| wire((0xc0a8_0000 | u32::from(low)).into()))
            .filter(|address| address_bit(*address) & service != 0)
            .count();
        assert!(shared < 65536 / 32, "{shared} of 65536");
    }
}
