//! What comes out of the metadata namespace.
//!
//! Nothing but replies of services leaves it. An identity is believed only while the port that
//! holds its slot has the generation that the slot was given in.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT};
use mezame_ebpf_common::{DropRecord, Endpoint, Identity, Port, PortState, Verdict};

use crate::{
    account::{count, refuse},
    frame::{ETHERNET, Head, IPV4, TYPE_IPV4},
    ipv4::{parse_identity, transport},
    maps::{HOLDERS, PORTS, STATES, TARGETS},
    rewrite,
};

/// Sends a reply to its guest.
#[inline(always)]
pub fn ingress(skb: *mut __sk_buff) -> i32 {
    // What is no IPv4 is the namespace's own talk (neighbour discovery and the like): it stays in.
    let Some(head) = Head::load(skb, 0) else { return TC_ACT_SHOT as i32 };
    if head.ethertype != TYPE_IPV4 {
        return TC_ACT_SHOT as i32;
    }
    let mut record = DropRecord {
        verdict: 0,
        slot: DropRecord::NO_SLOT,
        // SAFETY: the context's fields are readable.
        ifindex: unsafe { (*skb).ifindex },
        source: head.source,
        destination: head.destination,
        length: 0,
        vlan: 0,
        ethertype: u16::from_be(TYPE_IPV4),
        source_port: 0,
        destination_port: 0,
        mac: head.from_mac,
        protocol: head.protocol,
        reserved: 0,
    };
    match reply(skb, &head, &mut record) {
        Ok(action) => action,
        Err(verdict) => refuse(skb, &mut record, verdict),
    }
}

#[inline(always)]
fn reply(skb: *mut __sk_buff, head: &Head, record: &mut DropRecord) -> Result<i32, Verdict> {
    let length = u32::from(u16::from_be(head.total_length));
    // SAFETY: the context's fields are readable.
    let frame_length = unsafe { (*skb).len };
    const FRAGMENTED: u16 = 0x3fff_u16.to_be();
    if head.version_length != 0x45
        || head.fragment & FRAGMENTED != 0
        || length < IPV4
        || ETHERNET + length > frame_length
    {
        return Err(Verdict::BadReply);
    }
    let Some((slot, n)) = parse_identity(head.destination) else { return Err(Verdict::BadReply) };
    record.slot = slot.number();
    let Ok(ports) = transport(skb, head.protocol, length - IPV4) else {
        return Err(Verdict::BadReply);
    };
    record.source_port = u16::from_be(ports.source);
    record.destination_port = u16::from_be(ports.destination);
    let target =
        Endpoint { address: head.source, port: ports.source, protocol: head.protocol, reserved: 0 };
    // SAFETY: here and below: user space replaces entries as a whole.
    let Some(service) = (unsafe { TARGETS.get(target) }) else { return Err(Verdict::BadReply) };
    let Some(holder) = (unsafe { HOLDERS.get(slot.number()) }) else {
        return Err(Verdict::StaleIdentity);
    };
    let Some(port) = (unsafe { PORTS.get(holder.key) }) else { return Err(Verdict::StaleIdentity) };
    if port.slot != slot.number() || port.generation != holder.generation {
        return Err(Verdict::StaleIdentity);
    }
    let Some(state) = STATES.get_ptr_mut(holder.key) else { return Err(Verdict::StaleIdentity) };
    let guest = guest_address(port, state, n);
    if guest == 0 {
        return Err(Verdict::StaleIdentity);
    }
    let ifindex = holder.key.ifindex;
    let action = rewrite::to_guest(skb, head, &target, service, guest, port.mac, ifindex);
    count(state, Verdict::Returned);
    Ok(action)
}

/// The guest's address in an address slot; 0 if there is none.
#[inline(always)]
fn guest_address(port: &Port, state: *mut PortState, n: u8) -> u32 {
    let n = usize::from(n) & (Identity::ADDRESSES - 1);
    let own = port.addresses[n];
    if own != 0 {
        return own;
    }
    // SAFETY: a map's value and an index within the array. One aligned load: without the lock,
    // it is an address from before or after a change, never a mixture.
    unsafe { (&raw const (*state).dynamic[n].address).read_volatile() }
}
