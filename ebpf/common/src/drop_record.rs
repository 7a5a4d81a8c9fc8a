//! The record that the program writes for a dropped frame.

use crate::Plain;

/// One dropped frame, as it lies in the ring buffer. Fields that the frame does not have, or that
/// were not read because the frame was dropped before, are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct DropRecord {
    /// The [`Verdict`](crate::Verdict)'s number.
    pub verdict: u32,
    /// The port's slot, or [`DropRecord::NO_SLOT`].
    pub slot: u32,
    /// The device that it came in by.
    pub ifindex: u32,
    /// The source address (ARP: the sender's), [wire](crate::wire6) order; an IPv4 address as a
    /// [mapped](crate::mapped) one.
    pub source: [u32; 4],
    /// The destination address (ARP and neighbour discovery: the target's), likewise.
    pub destination: [u32; 4],
    /// The frame's length in bytes.
    pub length: u32,
    /// The VLAN id of the outermost tag; 0 where there is none.
    pub vlan: u16,
    /// After the tags, host order.
    pub ethertype: u16,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// The source MAC.
    pub mac: [u8; 6],
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

// SAFETY: `repr(C)`; 4×4 + 2×16 + 4×2 + 8 = 64 bytes, a multiple of 4, so no padding; integers only.
unsafe impl Plain for DropRecord {}

impl DropRecord {
    /// Stands for "no port".
    pub const NO_SLOT: u32 = u32::MAX;
}

const _: () = assert!(size_of::<DropRecord>() == 64);
