//! What the kernel program and its loader share: identities, verdicts, and the maps' keys and
//! values.
//!
//! Map types are `#[repr(C)]` without padding and without pointers. A change to one of them, or
//! to what a number in it means, changes the pinned layout: raise [`LAYOUT`], so that a new loader
//! makes maps of its own instead of reading old ones wrongly. No I/O, no allocation, no clock.
#![no_std]

mod drop_record;
mod identity;
mod port;
mod service;
mod settings;
mod verdict;

pub use drop_record::DropRecord;
pub use identity::{Identity, PortSlot};
pub use port::{
    ALLOWED_KEY_SLOT_BITS, AllowedKey, DynamicSlot, Holder, Port, PortFlags, PortKey, PortState,
    TOKEN_COST, bpf_spin_lock,
};
pub use service::{Endpoint, address_bit};
pub use settings::{SERVICE_MAC, Settings, Totals};
pub use verdict::Verdict;

use core::net::Ipv4Addr;

/// The version of the maps' layout; part of the path that they are pinned under.
pub const LAYOUT: u32 = 1;

/// The most ports that one hypervisor can have; the maps' memory is taken as ports come.
pub const MAX_PORTS: usize = 1 << 18;
/// The most allowed ranges of all ports together.
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
