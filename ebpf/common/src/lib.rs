//! What the kernel program and its loader share: identities, verdicts, and the maps' keys and
//! values.
//!
//! Map types are `#[repr(C)]` without padding and without pointers. A change to one of them, or
//! to what a number in it means, changes the pinned layout: raise [`LAYOUT`], so that a new loader
//! makes maps of its own instead of reading old ones wrongly. No I/O, no allocation, no clock.
#![no_std]

mod drop_record;
mod identity;
mod identity6;
mod port;
mod service;
mod settings;
mod verdict;

pub use drop_record::DropRecord;
pub use identity::{Identity, PortSlot};
pub use identity6::Identity6;
pub use port::{
    ALLOWED_KEY_SLOT_BITS, AllowedKey, AllowedKey6, DynamicPrefix, DynamicSlot, Holder, Port,
    PortFlags, PortKey, PortState, TOKEN_COST, bpf_spin_lock,
};
pub use service::{Endpoint, Endpoint6, address_bit, address_bit6};
pub use settings::{SERVICE_MAC, Settings, Totals};
pub use verdict::Verdict;

use core::net::{Ipv4Addr, Ipv6Addr};

/// The version of the maps' layout; part of the path that they are pinned under.
pub const LAYOUT: u32 = 2;

/// The most ports that one hypervisor can have; the maps' memory is taken as ports come.
pub const MAX_PORTS: usize = 1 << 18;
/// The most allowed ranges of all ports together, of each family.
pub const MAX_RANGES: usize = 1 << 22;
/// The most services.
pub const MAX_SERVICES: usize = 1 << 10;
/// The ring buffer of dropped frames, in bytes: a power of two and whole pages.
pub const DROPS_BYTES: usize = 1 << 18;

/// Types that may be copied between the program and user space byte for byte.
///
/// # Safety
/// The type is `#[repr(C)]` (or an integer), has no padding, and every pattern of bits is a value
/// of it.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: integers have no padding and no invalid patterns.
unsafe impl Plain for u32 {}

// SAFETY: integers of one size.
unsafe impl Plain for [u32; 4] {}

/// An address as its four octets lie in a frame and in the maps.
#[inline(always)]
pub const fn wire(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The address that [`wire`] was made of.
#[inline(always)]
pub const fn unwire(bits: u32) -> Ipv4Addr {
    let [a, b, c, d] = bits.to_ne_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// An IPv6 address as its octets lie in a frame and in the maps, in four words.
#[inline(always)]
pub const fn wire6(address: Ipv6Addr) -> [u32; 4] {
    let o = address.octets();
    [
        u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
        u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
        u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
        u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
    ]
}

/// The address that [`wire6`] was made of.
#[inline(always)]
pub const fn unwire6(words: [u32; 4]) -> Ipv6Addr {
    let [a, b, c, d] = words;
    let bits = ((u32::from_be(a) as u128) << 96)
        | ((u32::from_be(b) as u128) << 64)
        | ((u32::from_be(c) as u128) << 32)
        | u32::from_be(d) as u128;
    Ipv6Addr::from_bits(bits)
}

/// An IPv4 address among IPv6 ones (RFC 4291, section 2.5.5.2), as it lies in a [`DropRecord`].
#[inline(always)]
pub const fn mapped(wire: u32) -> [u32; 4] {
    [0, 0, 0x0000_ffff_u32.to_be(), wire]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_from_its_words() {
        for text in ["::", "fd00:ec2::254", "fe80::a9fe:a9fe", "2001:db8:1:2:3:4:5:6"] {
            let address: Ipv6Addr = text.parse().unwrap();
            assert_eq!(unwire6(wire6(address)), address);
        }
        let v4 = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(unwire6(mapped(wire(v4))), v4.to_ipv6_mapped());
    }
}
