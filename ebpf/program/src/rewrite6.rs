//! Changing IPv6 addresses, ports and MACs in place; see `rewrite` for what stays as it is.
//!
//! Not for frames whose sum a card has made (CHECKSUM_COMPLETE): with IPv6 their sum would have to
//! stay (`BPF_F_IPV6`, which kernels before 6.16 don't know). Taps and veths hand over none.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT},
    helpers::generated::{bpf_csum_diff, bpf_l4_csum_replace, bpf_redirect},
};
use mezame_ebpf_common::{Endpoint6, SERVICE_MAC, Settings};

use crate::{
    frame::{ETHERNET, Head6, ICMP6, IPV6, TCP},
    rewrite::{drop_priority_tag, enter, store, store_macs},
};

const IP_SOURCE: u32 = ETHERNET + 8;
const UPPER: u32 = ETHERNET + IPV6;
const SOURCE_PORT: u32 = UPPER;
const DESTINATION_PORT: u32 = UPPER + 2;

/// Makes a guest's frame one from its identity to the service's target, and sends it.
#[inline(always)]
pub fn into_namespace(
    skb: *mut __sk_buff,
    head: &Head6,
    service: &Endpoint6,
    target: &Endpoint6,
    identity: [u32; 4],
    settings: &Settings,
) -> i32 {
    let to = Addresses { source: identity, destination: target.address };
    drop_priority_tag(skb);
    let done = replace_addresses(skb, service.protocol, head, &to)
        && replace_port(skb, service.protocol, DESTINATION_PORT, service.port, target.port)
        && store_macs(skb, settings.peer_mac, settings.host_mac);
    if !done {
        return TC_ACT_SHOT as i32;
    }
    enter(skb, settings)
}

/// Where a frame for a guest goes.
#[derive(Clone, Copy)]
pub struct Guest {
    pub address: [u32; 4],
    pub mac: [u8; 6],
    pub ifindex: u32,
}

/// Makes a reply one to the guest from `source` (and the port `to`, where it was `from`), and
/// sends it to the tap.
#[inline(always)]
pub fn to_guest(
    skb: *mut __sk_buff,
    head: &Head6,
    source: [u32; 4],
    from: u16,
    to: u16,
    guest: &Guest,
) -> i32 {
    let addresses = Addresses { source, destination: guest.address };
    let done = replace_addresses(skb, head.next_header, head, &addresses)
        && replace_port(skb, head.next_header, SOURCE_PORT, from, to)
        && store_macs(skb, guest.mac, SERVICE_MAC);
    if !done {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(guest.ifindex, 0) as i32 }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Addresses {
    source: [u32; 4],
    destination: [u32; 4],
}

/// Changes both addresses, and the checksum by their difference.
#[inline(always)]
fn replace_addresses(skb: *mut __sk_buff, protocol: u8, head: &Head6, to: &Addresses) -> bool {
    const BYTES: u32 = 32;
    let from = (&raw const head.source).cast_mut().cast();
    let into = core::ptr::from_ref(to).cast_mut().cast();
    let (offset, flags) = checksum_of(protocol);
    let flags = flags | u64::from(BPF_F_PSEUDO_HDR);
    // SAFETY: the helpers read 32 bytes of each: the header's two addresses lie side by side.
    unsafe {
        let difference = bpf_csum_diff(from, BYTES, into, BYTES, 0);
        if bpf_l4_csum_replace(skb, offset, 0, difference as u64, flags) != 0 {
            return false;
        }
    }
    store(skb, IP_SOURCE, to)
}

#[inline(always)]
fn replace_port(skb: *mut __sk_buff, protocol: u8, at: u32, from: u16, to: u16) -> bool {
    if from == to || protocol == ICMP6 {
        return true;
    }
    let (offset, flags) = checksum_of(protocol);
    // SAFETY: a helper on the context with plain numbers.
    let changed =
        unsafe { bpf_l4_csum_replace(skb, offset, from.into(), to.into(), flags | 2) == 0 };
    changed && store(skb, at, &to)
}

/// Where the checksum is, and how a zero is written. UDP's must not become zero: over IPv6 it has a
/// checksum always, so receivers throw that away (RFC 8200, section 8.1). One that came in as zero
/// stays so, and is thrown away.
#[inline(always)]
fn checksum_of(protocol: u8) -> (u32, u64) {
    match protocol {
        TCP => (UPPER + 16, 0),
        ICMP6 => (UPPER + 2, 0),
        _ => (UPPER + 6, u64::from(BPF_F_MARK_MANGLED_0)),
    }
}
