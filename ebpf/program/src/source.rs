//! Which source addresses a port may use, and the address slot of each.
//!
//! A port's own addresses have slots given by user space. An address of an allowed range takes
//! one of the other slots, the least recently used: only the port's own guest can push it out.

use aya_ebpf::{
    btf_maps::lpm_trie::Key,
    helpers::generated::{bpf_ktime_get_ns, bpf_spin_lock, bpf_spin_unlock},
};
use mezame_ebpf_common::{
    ALLOWED_KEY_SLOT_BITS, AllowedKey, Identity, Port, PortFlags, PortState, Verdict,
};

use crate::{account::take_tokens, maps::RANGES};

/// An address that the port may use.
#[derive(Clone, Copy)]
pub enum Allowed {
    /// With a slot of its own.
    Slot(u8),
    /// By a range.
    Range,
}

/// Whether a port may use an address that is no service address.
#[inline(always)]
pub fn allowed(port: &Port, address: u32) -> Option<Allowed> {
    let [first, second, ..] = address.to_ne_bytes();
    // This network, loopback, multicast and above: never a source (RFC 1122, section 3.2.1.3).
    if first == 0 || first == 127 || first >= 224 {
        return None;
    }
    for n in 0..Identity::UNSPECIFIED as usize {
        if port.addresses[n] == address {
            return Some(Allowed::Slot(n as u8));
        }
    }
    // Any link-local address, RFC 3927: a guest takes one before DHCP has answered.
    if first == 169 && second == 254 {
        return Some(Allowed::Range);
    }
    if port.flags.has(PortFlags::RANGES) {
        let key = AllowedKey { slot: port.slot.to_be(), address };
        if let Some(1) = RANGES.get(&Key::new(ALLOWED_KEY_SLOT_BITS + 32, key)) {
            return Some(Allowed::Range);
        }
    }
    None
}

/// Takes tokens for a frame from an address, counts it under `verdict`, and says the address's
/// slot. Nothing if the port's bucket is empty.
#[inline(always)]
pub fn admit(
    state: *mut PortState,
    port: &Port,
    address: u32,
    allowed: Allowed,
    frames: u32,
    verdict: Verdict,
) -> Option<u8> {
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
                Allowed::Slot(n) => n,
                Allowed::Range => dynamic_slot(state, port, address, now),
            };
        }
        bpf_spin_unlock((&raw mut (*state).lock).cast());
        enough.then_some(slot)
    }
}

/// The slot that an address has, or the one used least lately, which it then gets.
///
/// # Safety
/// `state` points to a map's value whose lock is held.
#[inline(always)]
unsafe fn dynamic_slot(state: *mut PortState, port: &Port, address: u32, now: u64) -> u8 {
    let mut found = 0;
    let mut oldest = u64::MAX;
    for n in 0..Identity::UNSPECIFIED as usize {
        if port.addresses[n] != 0 {
            continue;
        }
        // SAFETY: `n` is within the array; the lock is held.
        let slot = unsafe { &raw const (*state).dynamic[n] };
        // SAFETY: as above.
        let (used, has) = unsafe { ((*slot).used_ns, (*slot).address) };
        if has == address {
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
        let slot = &raw mut (*state).dynamic[found & (Identity::ADDRESSES - 1)];
        (*slot).address = address;
        (*slot).used_ns = now;
    }
    found as u8
}
