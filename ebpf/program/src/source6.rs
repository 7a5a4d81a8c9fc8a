//! Which IPv6 source addresses a port may use, and the prefix slot of each.
//!
//! Any of fe80::/64: a guest makes itself one, perhaps anew at each boot (RFC 8981), before anybody
//! could know it; its MAC has been checked. The others by the port's addresses and ranges. The
//! upper half of an address takes a prefix slot, the least recently used: only the port's own guest
//! can push one out, and only by using more prefixes than any has.

use aya_ebpf::{
    btf_maps::lpm_trie::Key,
    helpers::generated::{bpf_ktime_get_ns, bpf_spin_lock, bpf_spin_unlock},
};
use mezame_ebpf_common::{
    ALLOWED_KEY_SLOT_BITS, AllowedKey6, Identity6, Port, PortFlags, PortState, Verdict,
};

use crate::{account::take_tokens, maps::RANGES6};

/// An address that the port may use.
#[derive(Clone, Copy)]
pub enum Allowed6 {
    /// Under a prefix slot that is always the same.
    Slot(u8),
    /// Under one that its upper half has or gets.
    Dynamic,
}

/// fe80::/64.
const LINK_LOCAL: u32 = 0xfe80_0000_u32.to_be();

/// Whether a port may use an address that is no service address.
#[inline(always)]
pub fn allowed(port: &Port, address: [u32; 4]) -> Option<Allowed6> {
    if address[0] == LINK_LOCAL && address[1] == 0 {
        return Some(Allowed6::Slot(Identity6::LINK_LOCAL));
    }
    if !port.flags.has(PortFlags::RANGES6) || is_no_source(address) {
        return None;
    }
    let key = AllowedKey6 { slot: port.slot.to_be(), address };
    match RANGES6.get(&Key::new(ALLOWED_KEY_SLOT_BITS + 128, key)) {
        Some(1) => Some(Allowed6::Dynamic),
        _ => None,
    }
}

/// Multicast, unspecified, loopback and IPv4's (RFC 4291, sections 2.5 and 2.7).
#[inline(always)]
fn is_no_source(address: [u32; 4]) -> bool {
    let [first, ..] = address[0].to_ne_bytes();
    first == 0xff || address[0] | address[1] == 0
}

/// Takes tokens for a frame from an address, counts it under `verdict`, and says the address's
/// prefix slot. Nothing if the port's bucket is empty.
#[inline(always)]
pub fn admit(
    state: *mut PortState,
    port: &Port,
    address: [u32; 4],
    allowed: Allowed6,
    frames: u32,
    verdict: Verdict,
) -> Option<u8> {
    let upper = upper_of(address);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: a map's value, changed under its lock; no helper is called while it is held.
    unsafe {
        bpf_spin_lock((&raw mut (*state).lock).cast());
        let enough = take_tokens(state, port, frames, now);
        let mut slot = 0;
        if enough {
            (*state).frames[verdict as usize] += 1;
            slot = match allowed {
                Allowed6::Slot(n) => n,
                Allowed6::Dynamic => dynamic_slot(state, upper, now),
            };
        }
        bpf_spin_unlock((&raw mut (*state).lock).cast());
        enough.then_some(slot)
    }
}

/// The slot that an upper half has, or the one used least lately, which it then gets.
///
/// # Safety
/// `state` points to a map's value whose lock is held.
#[inline(always)]
unsafe fn dynamic_slot(state: *mut PortState, upper: u64, now: u64) -> u8 {
    const FIRST: usize = Identity6::LINK_LOCAL as usize + 1;
    let mut found = FIRST;
    let mut oldest = u64::MAX;
    for n in FIRST..Identity6::EVERYONE as usize {
        // SAFETY: `n` is within the array; the lock is held.
        let (used, has) = unsafe {
            let slot = &raw const (*state).prefixes[n];
            ((*slot).used_ns, (*slot).upper)
        };
        if has == upper {
            found = n;
            break;
        }
        if used < oldest {
            oldest = used;
            found = n;
        }
    }
    // SAFETY: as above; the mask keeps what the verifier can't see.
    unsafe {
        let slot = &raw mut (*state).prefixes[found & (Identity6::PREFIXES - 1)];
        (*slot).upper = upper;
        (*slot).used_ns = now;
    }
    found as u8
}

/// The upper half of an address, as the maps hold it.
#[inline(always)]
fn upper_of(address: [u32; 4]) -> u64 {
    // The program is built for little-endian machines alone.
    u64::from(address[0]) | u64::from(address[1]) << 32
}

/// The words of an upper half.
#[inline(always)]
pub fn words_of(upper: u64) -> [u32; 2] {
    [upper as u32, (upper >> 32) as u32]
}
