//! What the maps hold for a port.
//!
//! | Map | Key | Value | Written by |
//! |---|---|---|---|
//! | `PORTS` | [`PortKey`] | [`Port`] | user space; replaced as a whole, so a reader never sees half |
//! | `STATES` | [`PortKey`] | [`PortState`] | made and removed by user space, changed by the program |
//! | `HOLDERS` | port slot | [`Holder`] | user space |
//! | `RANGES` | [`AllowedKey`] | 1 allowed, 0 the port's first entry | user space |
//! | `RANGES6` | [`AllowedKey6`] | the same | user space |
//!
//! The program never inserts: a flood can't evict another port's entries or fill a map.

use crate::{Identity, Identity6, Plain, Verdict};

/// Where a frame comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortKey {
    /// The device.
    pub ifindex: u32,
    /// The VLAN on a trunk; 0 for untagged frames, and so far always.
    pub vlan: u32,
}

// SAFETY: two integers of the same size.
unsafe impl Plain for PortKey {}

/// What a port may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct PortFlags(pub u16);

impl PortFlags {
    /// The guest may answer DHCP requests of others and advertise itself as a router.
    pub const DHCP_SERVER: u16 = 1;
    /// The port has ranges in `RANGES` besides 169.254.0.0/16.
    pub const RANGES: u16 = 2;
    /// DHCPv4 is answered by a service; without it, such frames pass.
    pub const DHCP4: u16 = 4;
    /// The same for DHCPv6.
    pub const DHCP6: u16 = 8;
    /// The same for router solicitations.
    pub const ROUTER: u16 = 16;
    /// The port has addresses or ranges in `RANGES6` besides fe80::/64.
    pub const RANGES6: u16 = 32;

    /// Whether a flag is set.
    #[inline(always)]
    pub const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }
}

/// The rules of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Port {
    /// Its slot, the middle of its identities.
    pub slot: u32,
    /// Differs for each tenancy of a slot or a device.
    pub generation: u32,
    /// The only source MAC of its frames.
    pub mac: [u8; 6],
    /// What it may do.
    pub flags: PortFlags,
    /// Bucket: frames a second.
    pub frames_per_second: u32,
    /// Bucket: frames at once.
    pub burst: u32,
    /// Bucket: nanoseconds from empty to full.
    pub fill_ns: u64,
    /// Source addresses that always have the address slot of their index, wire order; 0: the slot
    /// is free for an address of a range.
    pub addresses: [u32; Identity::ADDRESSES],
}

// SAFETY: `repr(C)`; 4+4+6+2+4+4+8+64 = 96 bytes, `fill_ns` at offset 24, so no padding.
unsafe impl Plain for Port {}
const _: () = assert!(size_of::<Port>() == 96);

impl Port {
    /// At most so many addresses have a slot of their own; the rest of the slots serves ranges.
    pub const PREASSIGNED: usize = 12;
}

/// What one frame takes from a bucket, so that a refill of less than a frame isn't lost.
pub const TOKEN_COST: u64 = 1_000_000_000;

/// The kernel's lock; it is found by this name in the value's type information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)] // The kernel looks for it by this name.
#[repr(C)]
pub struct bpf_spin_lock {
    /// The kernel's own.
    pub val: u32,
}

/// An address of a range, while it has an address slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct DynamicSlot {
    /// When a frame last came from it, by the monotonic clock; 0: never.
    pub used_ns: u64,
    /// Wire order; 0: free.
    pub address: u32,
    /// Zero.
    pub reserved: u32,
}

/// The upper half of an IPv6 source address, while it has a prefix slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct DynamicPrefix {
    /// When a frame last came from it, by the monotonic clock; 0: never.
    pub used_ns: u64,
    /// Wire order, the first octet at the lowest address; 0: free.
    pub upper: u64,
}

/// What changes with a port's frames, all of it under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PortState {
    /// Held for a few instructions at a time.
    pub lock: bpf_spin_lock,
    /// Drop records written since `window_ns`.
    pub window_records: u32,
    /// When the second began that drop records are counted in.
    pub window_ns: u64,
    /// When the bucket was filled last.
    pub filled_ns: u64,
    /// What the bucket holds, in [`TOKEN_COST`] a frame.
    pub tokens: u64,
    /// Drops of which no record was written, since the port had its share of that second.
    pub suppressed: u64,
    /// Addresses of ranges, by address slot.
    pub dynamic: [DynamicSlot; Identity::ADDRESSES],
    /// Upper halves of IPv6 sources, by prefix slot; the first and the last are not used.
    pub prefixes: [DynamicPrefix; Identity6::PREFIXES],
    /// Frames by [`Verdict`]. Not one for each CPU: a port's frames come by one or two, and a
    /// hundred CPUs times a hundred thousand ports would take gigabytes.
    pub frames: [u64; Verdict::COUNT],
}

// SAFETY: `repr(C)`; 4+4 and then multiples of 8, so no padding; integers only.
unsafe impl Plain for PortState {}
const _: () = assert!(size_of::<PortState>() == 40 + 16 * 16 + 16 * 8 + 8 * Verdict::COUNT);

impl PortState {
    /// As many drop records may a port write in a second.
    pub const RECORDS_A_SECOND: u32 = 32;

    /// A new port's: nothing counted. Its `filled_ns` of 0 makes the bucket full at once.
    pub const EMPTY: Self = Self {
        lock: bpf_spin_lock { val: 0 },
        window_records: 0,
        window_ns: 0,
        filled_ns: 0,
        tokens: 0,
        suppressed: 0,
        dynamic: [DynamicSlot { used_ns: 0, address: 0, reserved: 0 }; Identity::ADDRESSES],
        prefixes: [DynamicPrefix { used_ns: 0, upper: 0 }; Identity6::PREFIXES],
        frames: [0; Verdict::COUNT],
    };
}

/// Who holds a port slot. The way back believes an identity only if the port at this key still
/// has this slot and this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Holder {
    /// Where the port is.
    pub key: PortKey,
    /// The generation that the slot was given in.
    pub generation: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: four integers of the same size.
unsafe impl Plain for Holder {}

/// The data of a key of `RANGES`; both in big-endian order, so that a prefix of its bits is a
/// slot and then a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AllowedKey {
    /// The port's slot, big-endian.
    pub slot: u32,
    /// The first address of the range, wire order.
    pub address: u32,
}

// SAFETY: two integers of the same size.
unsafe impl Plain for AllowedKey {}

/// As [`AllowedKey`], for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AllowedKey6 {
    /// The port's slot, big-endian.
    pub slot: u32,
    /// The first address of the range, wire order.
    pub address: [u32; 4],
}

// SAFETY: integers of the same size.
unsafe impl Plain for AllowedKey6 {}

/// The bits of an [`AllowedKey`] or [`AllowedKey6`] before those of the address.
pub const ALLOWED_KEY_SLOT_BITS: u32 = 32;
