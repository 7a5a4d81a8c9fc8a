//! ARP out of a guest (RFC 826, RFC 5227).
//!
//! A probe for a service address (sender 0.0.0.0) is answered like a request: so the guest learns
//! that the address is taken and does not use it.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_redirect};
use mezame_ebpf_common::{
    DropRecord, Identity, Plain, Port, PortKey, SERVICE_MAC, Settings, Verdict, mapped,
};

use crate::{
    frame::{ETHERNET, TYPE_ARP, TYPE_IPV4, Untagged, load},
    maps::STATES,
    rewrite::{drop_priority_tag, store},
    source::{Allowed, admit, allowed},
    tap::{Finding, is_service, own_port, same_mac},
};

/// ARP for IPv4 on Ethernet, wire order.
#[derive(Clone, Copy)]
#[repr(C)]
struct Arp {
    hardware: u16,
    protocol: u16,
    hardware_length: u8,
    protocol_length: u8,
    operation: u16,
    sender_mac: [u8; 6],
    sender: [u16; 2],
    target_mac: [u8; 6],
    target: [u16; 2],
}

// SAFETY: 28 bytes of integers aligned to 2, no padding.
unsafe impl Plain for Arp {}

const ETHERNET_HARDWARE: u16 = 1_u16.to_be();
const REQUEST: u16 = 1_u16.to_be();
const REPLY: u16 = 2_u16.to_be();

/// An answer from its first byte.
#[repr(C)]
struct Answer {
    to_mac: [u8; 6],
    from_mac: [u8; 6],
    ethertype: u16,
    arp: Arp,
}

/// Judges an ARP frame, and turns a request for a service address into the answer.
#[inline(always)]
pub fn judge(
    skb: *mut __sk_buff,
    frame: &Untagged,
    settings: &Settings,
    port: Option<&Port>,
    record: &mut DropRecord,
) -> Finding {
    let Some(arp) = load::<Arp>(skb, ETHERNET + frame.skip) else { return Finding::Pass };
    // Whatever hardware it names: receivers also take IEEE 802's 6 for Ethernet (RFC 5494).
    if arp.protocol != TYPE_IPV4 || arp.hardware_length != 6 || arp.protocol_length != 4 {
        return Finding::Pass;
    }
    let (sender, target) = (join(arp.sender), join(arp.target));
    record.source = mapped(sender);
    record.destination = mapped(target);
    if is_service(settings, sender) {
        return Finding::Refused(Verdict::ArpClaim);
    }
    if arp.hardware != ETHERNET_HARDWARE || !is_service(settings, target) {
        return Finding::Pass;
    }
    match request(skb, frame, &arp, sender, port, record) {
        Ok(action) => Finding::Sent(action),
        Err(verdict) => Finding::Refused(verdict),
    }
}

#[inline(always)]
fn request(
    skb: *mut __sk_buff,
    frame: &Untagged,
    arp: &Arp,
    sender: u32,
    port: Option<&Port>,
    record: &DropRecord,
) -> Result<i32, Verdict> {
    let port = own_port(frame, port)?;
    if !same_mac(&arp.sender_mac, &port.mac) {
        return Err(Verdict::WrongMac);
    }
    if arp.operation != REQUEST {
        return Err(Verdict::Malformed);
    }
    if sender != 0 && allowed(port, sender).is_none() {
        return Err(Verdict::SpoofedSource);
    }
    let key = PortKey { ifindex: record.ifindex, vlan: 0 };
    let Some(state) = STATES.get_ptr_mut(key) else { return Err(Verdict::UnknownPort) };
    // An answer needs no identity: any slot, so that none is taken from an address in use.
    const NONE: Allowed = Allowed::Slot(Identity::ADDRESSES as u8 - 1);
    if admit(state, port, sender, NONE, 1, Verdict::ArpAnswered).is_none() {
        return Err(Verdict::RateLimited);
    }
    drop_priority_tag(skb);
    let answer = Answer {
        to_mac: arp.sender_mac,
        from_mac: SERVICE_MAC,
        ethertype: TYPE_ARP,
        arp: Arp {
            operation: REPLY,
            sender_mac: SERVICE_MAC,
            sender: arp.target,
            target_mac: arp.sender_mac,
            target: arp.sender,
            ..*arp
        },
    };
    if !store(skb, 0, &answer) {
        return Err(Verdict::Malformed);
    }
    // SAFETY: a helper without pointers.
    Ok(unsafe { bpf_redirect(record.ifindex, 0) } as i32)
}

#[inline(always)]
fn join(halves: [u16; 2]) -> u32 {
    let [a, b] = halves[0].to_ne_bytes();
    let [c, d] = halves[1].to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
