//! What comes out of the metadata namespace by IPv6: replies, and router advertisements.
//!
//! An advertisement's source says which router it speaks for, so it is left as it is. What goes to
//! no identity is the namespace's own talk (multicast listener reports and the like): it stays in.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT};
use mezame_ebpf_common::{DropRecord, Endpoint6, Identity6, PortSlot, PortState, Verdict};

use crate::{
    account::{count, refuse},
    addressee6::{Icmp6Head, ROUTER_ADVERTISEMENT},
    frame::{ETHERNET, Head6, ICMP6, IPV6, TYPE_IPV6, load},
    maps::TARGETS6,
    neighbour::{EVERYONE, EVERYONE_MAC},
    rewrite6::{self, Guest},
    source6::words_of,
    transport,
    uplink::holder_of,
};

/// Sends a reply to its guest.
#[inline(always)]
pub fn judge(skb: *mut __sk_buff, mac: [u8; 6]) -> i32 {
    let Some(head) = load::<Head6>(skb, ETHERNET) else { return TC_ACT_SHOT as i32 };
    let upper = [u32::from_be(head.destination[0]), u32::from_be(head.destination[1])];
    let Some((slot, n)) = Identity6::parse_upper(upper) else { return TC_ACT_SHOT as i32 };
    let mut record = DropRecord {
        verdict: 0,
        slot: slot.number(),
        // SAFETY: the context's fields are readable.
        ifindex: unsafe { (*skb).ifindex },
        source: head.source,
        destination: head.destination,
        length: 0,
        vlan: 0,
        ethertype: u16::from_be(TYPE_IPV6),
        source_port: 0,
        destination_port: 0,
        mac,
        protocol: head.next_header,
        reserved: 0,
    };
    match reply(skb, &head, slot, n, &mut record) {
        Ok(action) => action,
        Err(verdict) => refuse(skb, &mut record, verdict),
    }
}

#[inline(always)]
fn reply(
    skb: *mut __sk_buff,
    head: &Head6,
    slot: PortSlot,
    n: u8,
    record: &mut DropRecord,
) -> Result<i32, Verdict> {
    let length = u32::from(u16::from_be(head.payload_length));
    // SAFETY: the context's fields are readable.
    if ETHERNET + IPV6 + length > unsafe { (*skb).len } {
        return Err(Verdict::BadReply);
    }
    let mut source = head.source;
    let (mut from, mut to) = (0, 0);
    if head.next_header == ICMP6 {
        match load::<Icmp6Head>(skb, ETHERNET + IPV6) {
            Some(icmp) if icmp.kind == ROUTER_ADVERTISEMENT => {}
            _ => return Err(Verdict::BadReply),
        }
    } else {
        let Ok(ports) = transport::ports(skb, ETHERNET + IPV6, head.next_header, length) else {
            return Err(Verdict::BadReply);
        };
        record.source_port = u16::from_be(ports.source);
        record.destination_port = u16::from_be(ports.destination);
        let target = Endpoint6 {
            address: head.source,
            port: ports.source,
            protocol: head.next_header,
            reserved: 0,
        };
        // SAFETY: user space replaces entries as a whole.
        let Some(service) = (unsafe { TARGETS6.get(target) }) else {
            return Err(Verdict::BadReply);
        };
        (source, from, to) = (service.address, ports.source, service.port);
    }
    let (holder, port, state) = holder_of(slot)?;
    let mut guest = Guest {
        address: [0, 0, head.destination[2], head.destination[3]],
        mac: port.mac,
        ifindex: holder.key.ifindex,
    };
    if n == Identity6::EVERYONE {
        if head.next_header != ICMP6 {
            return Err(Verdict::BadReply);
        }
        (guest.address, guest.mac) = (EVERYONE, EVERYONE_MAC);
    } else {
        let [a, b] = words_of(upper_half(state, n));
        if a | b == 0 {
            return Err(Verdict::StaleIdentity);
        }
        (guest.address[0], guest.address[1]) = (a, b);
    }
    let action = rewrite6::to_guest(skb, head, source, from, to, &guest);
    count(state, Verdict::Returned);
    Ok(action)
}

/// The upper half in a prefix slot, wire order; 0 if there is none.
#[inline(always)]
fn upper_half(state: *mut PortState, n: u8) -> u64 {
    if n == Identity6::LINK_LOCAL {
        return u64::from_ne_bytes([0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
    }
    let n = usize::from(n) & (Identity6::PREFIXES - 1);
    // SAFETY: a map's value and an index within the array. One aligned load, as with IPv4.
    unsafe { (&raw const (*state).prefixes[n].upper).read_volatile() }
}
