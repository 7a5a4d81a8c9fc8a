//! What is the same for all ports.

use crate::{Plain, Verdict};

/// The MAC that every service address has, on every hypervisor alike: a guest that is migrated
/// finds its ARP and neighbour caches still right. Locally administered.
pub const SERVICE_MAC: [u8; 6] = [0x02, 0xa9, 0xfe, 0xa9, 0xfe, 0x01];

/// The only element of `SETTINGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// The [bits](crate::address_bit) of all service addresses.
    pub address_bits: u64,
    /// The [bits](crate::address_bit6) of all IPv6 service addresses.
    pub address_bits6: u64,
    /// The host's end of the veth that leads into the metadata namespace.
    pub uplink: u32,
    /// The MAC of that end.
    pub host_mac: [u8; 6],
    /// The MAC of the end in the namespace.
    pub peer_mac: [u8; 6],
    /// SHA-256 of the object whose programs all links run; zero until they do.
    pub program: [u8; 32],
}

// SAFETY: `repr(C)`; 8+8+4+6+6+32 = 64 bytes, a multiple of 8, so no padding; integers only.
unsafe impl Plain for Settings {}
const _: () = assert!(size_of::<Settings>() == 64);

/// The only element of `TOTALS`, one for each CPU: what can be counted at no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Totals {
    /// Frames by [`Verdict`], of devices without a [`PortState`](crate::PortState).
    pub frames: [u64; Verdict::COUNT],
    /// Drop records that found the ring buffer full.
    pub lost_records: u64,
    /// When the second began that records without a port are counted in, by the monotonic clock.
    pub window_ns: u64,
    /// Records without a port since then.
    pub window_records: u64,
    /// Drops without a port of which no record was written.
    pub suppressed: u64,
}

// SAFETY: integers of one size.
unsafe impl Plain for Totals {}
