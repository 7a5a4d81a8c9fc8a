//! Neighbour solicitations for the service addresses (RFC 4861), answered at the tap.
//!
//! One that looks for a duplicate (from ::) is answered like others, to the whole link: so the
//! guest learns that the address is taken and does not use it (RFC 4862, section 5.4.4).
//!
//! Of what RFC 4861, section 7.1.1, asks of a solicitation its checksum and its options are not
//! looked at: the answer depends on neither, and goes to nobody but the guest itself. Where the guest
//! has left a checksum to be made, the answer is marked so too, and the one that is made in the place
//! that the guest named spoils it, for that guest alone. No system does that for neighbour discovery.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_csum_diff, bpf_redirect, bpf_skb_change_tail},
};
use mezame_ebpf_common::{DropRecord, Identity6, PortKey, SERVICE_MAC, Verdict};

use crate::{
    addressee6::{Incoming, NEIGHBOUR_ADVERTISEMENT},
    frame::{ETHERNET, Head6, ICMP6, IPV6, TYPE_IPV6},
    maps::STATES,
    rewrite::{drop_priority_tag, store},
    source6::{Allowed6, admit, allowed},
    tap::own_port,
};

/// An advertisement from its IPv6 header on.
#[repr(C)]
struct Advertisement {
    head: Head6,
    kind: u8,
    code: u8,
    checksum: u16,
    flags: u32,
    target: [u32; 4],
    option: u8,
    option_length: u8,
    mac: [u8; 6],
}

/// The bytes of an advertisement behind the IPv6 header.
const MESSAGE: u32 = 32;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const SOLICITED: u32 = 0x4000_0000_u32.to_be();
const OVERRIDE: u32 = 0x2000_0000_u32.to_be();
/// ff02::1 and its MAC.
pub const EVERYONE: [u32; 4] = [0xff02_0000_u32.to_be(), 0, 0, 1_u32.to_be()];
pub const EVERYONE_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// A solicitation that is long enough to have a target.
pub struct Solicitation {
    pub code: u8,
    pub target: [u32; 4],
}

/// The shortest solicitation, RFC 4861, section 7.1.1.
const SHORTEST: u32 = 24;

/// Turns a solicitation for a service address into the answer.
#[inline(always)]
pub fn answer(
    incoming: &Incoming<'_>,
    asked: Solicitation,
    record: &DropRecord,
) -> Result<i32, Verdict> {
    let Incoming { skb, frame, head, .. } = *incoming;
    let port = own_port(frame, incoming.port)?;
    check(incoming, &asked)?;
    let is_probe = head.source == [0; 4];
    if !is_probe && allowed(port, head.source).is_none() {
        return Err(Verdict::SpoofedSource);
    }
    let key = PortKey { ifindex: record.ifindex, vlan: 0 };
    let Some(state) = STATES.get_ptr_mut(key) else { return Err(Verdict::UnknownPort) };
    // An answer needs no identity: a slot of nobody's.
    const NONE: Allowed6 = Allowed6::Slot(Identity6::EVERYONE);
    if admit(state, port, head.source, NONE, 1, Verdict::NeighbourAnswered).is_none() {
        return Err(Verdict::RateLimited);
    }
    drop_priority_tag(skb);
    let (to, to_mac, flags) = if is_probe {
        (EVERYONE, EVERYONE_MAC, OVERRIDE)
    } else {
        (head.source, frame.head.from_mac, SOLICITED | OVERRIDE)
    };
    let ethernet = Ethernet { to: to_mac, from: SERVICE_MAC, kind: TYPE_IPV6 };
    if !write(skb, &ethernet, asked.target, to, flags) {
        return Err(Verdict::Malformed);
    }
    // SAFETY: a helper without pointers.
    Ok(unsafe { bpf_redirect(record.ifindex, 0) } as i32)
}

/// What RFC 4861 asks of a solicitation, section 7.1.1.
#[inline(always)]
fn check(incoming: &Incoming<'_>, asked: &Solicitation) -> Result<(), Verdict> {
    let head = incoming.head;
    if incoming.upper.is_extended {
        return Err(Verdict::ExtensionHeader);
    }
    let length = u32::from(u16::from_be(head.payload_length));
    // SAFETY: the context's fields are readable.
    let frame_length = unsafe { (*incoming.skb).len };
    if !head.is_version_6()
        || head.hop_limit != 255
        || asked.code != 0
        || length < SHORTEST
        || ETHERNET + IPV6 + length > frame_length
    {
        return Err(Verdict::Malformed);
    }
    Ok(())
}

/// Puts an advertisement of a service address in the frame's place. Made where it is stored: the
/// program's stack has no room for two.
#[inline(always)]
fn write(
    skb: *mut __sk_buff,
    ethernet: &Ethernet,
    target: [u32; 4],
    to: [u32; 4],
    flags: u32,
) -> bool {
    let mut advertisement = Advertisement {
        head: Head6 {
            version_class_flow: 0x6000_0000_u32.to_be(),
            payload_length: (MESSAGE as u16).to_be(),
            next_header: ICMP6,
            hop_limit: 255,
            source: target,
            destination: to,
        },
        kind: NEIGHBOUR_ADVERTISEMENT,
        code: 0,
        checksum: 0,
        flags,
        target,
        option: TARGET_LINK_LAYER_ADDRESS,
        option_length: 1,
        mac: SERVICE_MAC,
    };
    advertisement.checksum = checksum(&mut advertisement);
    // SAFETY: a helper on the context with plain numbers.
    let resized = unsafe { bpf_skb_change_tail(skb, ETHERNET + IPV6 + MESSAGE, 0) == 0 };
    resized && store(skb, 0, ethernet) && store(skb, ETHERNET, &advertisement)
}

#[repr(C)]
struct Ethernet {
    to: [u8; 6],
    from: [u8; 6],
    kind: u16,
}

/// ICMPv6's checksum: over the addresses, the length, the protocol and the message (RFC 4443,
/// section 2.3). Addresses and message lie side by side.
#[inline(always)]
fn checksum(advertisement: &mut Advertisement) -> u16 {
    const SEED: u32 = MESSAGE.to_be() + (ICMP6 as u32).to_be();
    const BYTES: u32 = 32 + MESSAGE;
    let from = (&raw mut advertisement.head.source).cast();
    // SAFETY: the helper reads so many bytes of the value.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from, BYTES, SEED) } as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
