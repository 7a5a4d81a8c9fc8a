//! Changing addresses, ports and MACs in place.
//!
//! The length stays, and checksums are changed by the difference alone (RFC 1624): a frame whose
//! checksum was wrong stays wrong, one whose checksum is still to be made (offloaded) is made
//! right later, and segmentation offload works on.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT},
    helpers::generated::{
        bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_peer,
        bpf_skb_change_type, bpf_skb_store_bytes, bpf_skb_vlan_pop,
    },
};
use mezame_ebpf_common::{Endpoint, SERVICE_MAC, Settings};

use crate::frame::{ETHERNET, Head, IPV4, TCP};

const IP_CHECKSUM: u32 = ETHERNET + 10;
const IP_SOURCE: u32 = ETHERNET + 12;
const SOURCE_PORT: u32 = ETHERNET + IPV4;
const DESTINATION_PORT: u32 = ETHERNET + IPV4 + 2;
const TCP_CHECKSUM: u32 = ETHERNET + IPV4 + 16;
const UDP_CHECKSUM: u32 = ETHERNET + IPV4 + 6;
/// `skb->pkt_type` of a frame for this host.
const PACKET_HOST: u32 = 0;

/// Makes a guest's frame one from its identity to the service's target, and sends it.
#[inline(always)]
pub fn into_namespace(
    skb: *mut __sk_buff,
    head: &Head,
    service: &Endpoint,
    target: &Endpoint,
    identity: u32,
    settings: &Settings,
) -> i32 {
    let from = Addresses { source: head.source, destination: head.destination };
    let to = Addresses { source: identity, destination: target.address };
    drop_priority_tag(skb);
    let done = replace_addresses(skb, head.protocol, from, to)
        && replace_port(skb, head.protocol, DESTINATION_PORT, service.port, target.port)
        && store_macs(skb, settings.peer_mac, settings.host_mac);
    if !done {
        return TC_ACT_SHOT as i32;
    }
    enter(skb, settings)
}

/// Sends a rewritten frame into the namespace.
#[inline(always)]
pub fn enter(skb: *mut __sk_buff, settings: &Settings) -> i32 {
    // SAFETY: plain helpers on the context.
    unsafe {
        // The tap took it for another host's where the guest sent it to a router's MAC, and for a
        // broadcast where it asked for an address.
        if (*skb).pkt_type != PACKET_HOST {
            bpf_skb_change_type(skb, PACKET_HOST);
        }
        bpf_redirect_peer(settings.uplink, 0) as i32
    }
}

/// Makes a target's reply one from the service to the guest, and sends it to the tap.
#[inline(always)]
pub fn to_guest(
    skb: *mut __sk_buff,
    head: &Head,
    target: &Endpoint,
    service: &Endpoint,
    guest: u32,
    mac: [u8; 6],
    ifindex: u32,
) -> i32 {
    let from = Addresses { source: head.source, destination: head.destination };
    let to = Addresses { source: service.address, destination: guest };
    let done = replace_addresses(skb, head.protocol, from, to)
        && replace_port(skb, head.protocol, SOURCE_PORT, target.port, service.port)
        && store_macs(skb, mac, SERVICE_MAC);
    if !done {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Takes away a tag that has a priority and no VLAN.
#[inline(always)]
pub fn drop_priority_tag(skb: *mut __sk_buff) {
    // SAFETY: the context's fields are readable, and the helper takes it.
    unsafe {
        if (*skb).vlan_present != 0 {
            bpf_skb_vlan_pop(skb);
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Addresses {
    source: u32,
    destination: u32,
}

#[inline(always)]
fn replace_addresses(skb: *mut __sk_buff, protocol: u8, from: Addresses, to: Addresses) -> bool {
    replace_address(skb, protocol, from.source, to.source)
        && replace_address(skb, protocol, from.destination, to.destination)
        && store(skb, IP_SOURCE, &to)
}

/// Changes both checksums for another address.
#[inline(always)]
fn replace_address(skb: *mut __sk_buff, protocol: u8, from: u32, to: u32) -> bool {
    if from == to {
        return true;
    }
    let (offset, flags) = transport_checksum(protocol);
    let flags = flags | u64::from(BPF_F_PSEUDO_HDR) | 4;
    // SAFETY: helpers on the context with plain numbers.
    unsafe {
        bpf_l4_csum_replace(skb, offset, from.into(), to.into(), flags) == 0
            && bpf_l3_csum_replace(skb, IP_CHECKSUM, from.into(), to.into(), 4) == 0
    }
}

#[inline(always)]
fn replace_port(skb: *mut __sk_buff, protocol: u8, at: u32, from: u16, to: u16) -> bool {
    if from == to {
        return true;
    }
    let (offset, flags) = transport_checksum(protocol);
    // SAFETY: a helper on the context with plain numbers.
    let changed =
        unsafe { bpf_l4_csum_replace(skb, offset, from.into(), to.into(), flags | 2) == 0 };
    changed && store(skb, at, &to)
}

/// Where the checksum is, and whether zero means that there is none (UDP).
#[inline(always)]
fn transport_checksum(protocol: u8) -> (u32, u64) {
    if protocol == TCP {
        (TCP_CHECKSUM, 0)
    } else {
        (UDP_CHECKSUM, u64::from(BPF_F_MARK_MANGLED_0))
    }
}

/// Writes both MACs.
#[inline(always)]
pub fn store_macs(skb: *mut __sk_buff, to: [u8; 6], from: [u8; 6]) -> bool {
    store(skb, 0, &[to, from])
}

/// Writes a value into the frame.
#[inline(always)]
pub fn store<T>(skb: *mut __sk_buff, offset: u32, value: &T) -> bool {
    let from = core::ptr::from_ref(value).cast_mut().cast();
    // SAFETY: the helper reads as many bytes as the value has. It fails, and changes nothing,
    // where the frame is shorter.
    unsafe { bpf_skb_store_bytes(skb, offset, from, size_of::<T>() as u32, 0) == 0 }
}
