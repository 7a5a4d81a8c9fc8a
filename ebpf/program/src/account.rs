//! Counting frames and recording drops.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT},
    helpers::generated::{bpf_ktime_get_ns, bpf_spin_lock, bpf_spin_unlock},
};
use mezame_ebpf_common::{DropRecord, Port, PortKey, PortState, TOKEN_COST, Totals, Verdict};

use crate::maps::{DROPS, STATES, TOTALS};

const SECOND: u64 = 1_000_000_000;

/// Counts a frame of a port.
#[inline(always)]
pub fn count(state: *mut PortState, verdict: Verdict) {
    // SAFETY: a map's value, changed under its lock.
    unsafe {
        bpf_spin_lock((&raw mut (*state).lock).cast());
        (*state).frames[verdict as usize] += 1;
        bpf_spin_unlock((&raw mut (*state).lock).cast());
    }
}

/// Counts a drop, records it unless too many were recorded lately, and drops.
// Inlined for the sake of the object: a function of its own has a symbol that is named after the
// directory it was built in.
#[inline(always)]
pub fn refuse(skb: *mut __sk_buff, record: &mut DropRecord, verdict: Verdict) -> i32 {
    // SAFETY: the context's fields are readable.
    record.length = unsafe { (*skb).len };
    record.verdict = verdict as u32;
    let key = PortKey { ifindex: record.ifindex, vlan: 0 };
    let may_record = match STATES.get_ptr_mut(key) {
        Some(state) => may_record_of_port(state, verdict),
        None => may_record_of_nobody(verdict),
    };
    if may_record && DROPS.output(*record, 0).is_err() {
        if let Some(totals) = TOTALS.get_ptr_mut(0) {
            // SAFETY: one value for each CPU, and tcx programs of one CPU don't interrupt each
            // other.
            unsafe { (*totals).lost_records += 1 };
        }
    }
    TC_ACT_SHOT as i32
}

#[inline(always)]
fn may_record_of_port(state: *mut PortState, verdict: Verdict) -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: a map's value, changed under its lock.
    unsafe {
        bpf_spin_lock((&raw mut (*state).lock).cast());
        (*state).frames[verdict as usize] += 1;
        if now.wrapping_sub((*state).window_ns) as i64 >= SECOND as i64 {
            (*state).window_ns = now;
            (*state).window_records = 0;
        }
        let may = (*state).window_records < PortState::RECORDS_A_SECOND;
        if may {
            (*state).window_records += 1;
        } else {
            (*state).suppressed += 1;
        }
        bpf_spin_unlock((&raw mut (*state).lock).cast());
        may
    }
}

#[inline(always)]
fn may_record_of_nobody(verdict: Verdict) -> bool {
    let Some(totals) = TOTALS.get_ptr_mut(0) else { return false };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: one value for each CPU, see above.
    unsafe {
        let totals: &mut Totals = &mut *totals;
        totals.frames[verdict as usize] += 1;
        if now.wrapping_sub(totals.window_ns) >= SECOND {
            totals.window_ns = now;
            totals.window_records = 0;
        }
        let may = totals.window_records < u64::from(PortState::RECORDS_A_SECOND);
        if may {
            totals.window_records += 1;
        } else {
            totals.suppressed += 1;
        }
        may
    }
}

/// Takes tokens out of a port's bucket, if it has enough. To be called under the lock.
///
/// # Safety
/// `state` points to a map's value whose lock is held.
#[inline(always)]
pub unsafe fn take_tokens(state: *mut PortState, port: &Port, frames: u32, now: u64) -> bool {
    let most = u64::from(port.burst) * TOKEN_COST;
    let cost = if frames > port.burst { most } else { u64::from(frames) * TOKEN_COST };
    // SAFETY: as promised by the caller.
    unsafe {
        // Another CPU may have read a later clock and come first.
        let elapsed = now.saturating_sub((*state).filled_ns);
        let mut tokens = (*state).tokens;
        if elapsed >= port.fill_ns {
            tokens = most;
        } else {
            tokens += elapsed * u64::from(port.frames_per_second);
            if tokens > most {
                tokens = most;
            }
        }
        if elapsed != 0 {
            (*state).filled_ns = now;
        }
        let enough = tokens >= cost;
        if enough {
            tokens -= cost;
        }
        (*state).tokens = tokens;
        enough
    }
}

/// How many frames of the wire a frame stands for: those that segmentation offload will make.
#[inline(always)]
pub fn wire_frames(skb: *mut __sk_buff) -> u32 {
    // SAFETY: the context's fields are readable.
    let (length, size) = unsafe { ((*skb).len, (*skb).gso_size) };
    // The kernel has not counted the segments of a frame that a guest hands over.
    if size == 0 { 1 } else { length.div_ceil(size) }
}
