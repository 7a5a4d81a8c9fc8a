//! What comes out of the metadata namespace.
//!
//! Nothing but replies of services leaves it. An identity is believed only while the port that
//! holds its slot has the generation that the slot was given in.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT};
use mezame_ebpf_common::{
    DropRecord, Endpoint, Holder, Identity, Port, PortSlot, PortState, Verdict, mapped,
};

use crate::{
    account::{count, refuse},
    frame::{ETHERNET, HEAD, Head, IPV4, TYPE_IPV4, TYPE_IPV6, UDP},
    ipv4::{DHCP_SERVER, parse_identity},
    maps::{HOLDERS, PORTS, STATES, TARGETS},
    rewrite, transport, uplink6,
};

/// Sends a reply to its guest.
#[inline(always)]
pub fn ingress(skb: *mut __sk_buff) -> i32 {
    let Some(head) = Head::load(skb, 0) else { return TC_ACT_SHOT as i32 };
    if head.ethertype == TYPE_IPV6 {
        return uplink6::judge(skb, head.from_mac);
    }
    if head.ethertype != TYPE_IPV4 {
        return TC_ACT_SHOT as i32;
    }
    let mut record = DropRecord {
        verdict: 0,
        slot: DropRecord::NO_SLOT,
        // SAFETY: the context's fields are readable.
        ifindex: unsafe { (*skb).ifindex },
        source: mapped(head.source),
        destination: mapped(head.destination),
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
    let Ok(ports) = transport::ports(skb, HEAD, head.protocol, length - IPV4) else {
        return Err(Verdict::BadReply);
    };
    record.source_port = u16::from_be(ports.source);
    record.destination_port = u16::from_be(ports.destination);
    let target =
        Endpoint { address: head.source, port: ports.source, protocol: head.protocol, reserved: 0 };
    // SAFETY: user space replaces entries as a whole.
    let Some(service) = (unsafe { TARGETS.get(target) }) else { return Err(Verdict::BadReply) };
    let (holder, port, state) = holder_of(slot)?;
    let (mut guest, mut mac) = (guest_address(port, state, n), port.mac);
    if n == Identity::UNSPECIFIED {
        if head.protocol != UDP || service.port != DHCP_SERVER {
            return Err(Verdict::BadReply);
        }
        (guest, mac) = (u32::MAX, [0xff; 6]);
    }
    if guest == 0 {
        return Err(Verdict::StaleIdentity);
    }
    let ifindex = holder.key.ifindex;
    let action = rewrite::to_guest(skb, head, &target, service, guest, mac, ifindex);
    count(state, Verdict::Returned);
    Ok(action)
}

/// The port that holds a slot, where it is, and what changes with it.
#[inline(always)]
pub fn holder_of(
    slot: PortSlot,
) -> Result<(&'static Holder, &'static Port, *mut PortState), Verdict> {
    // SAFETY: user space replaces entries as a whole; the old one lives on until the program ends.
    let Some(holder) = (unsafe { HOLDERS.get(slot.number()) }) else {
        return Err(Verdict::StaleIdentity);
    };
    // SAFETY: as above.
    let Some(port) = (unsafe { PORTS.get(holder.key) }) else { return Err(Verdict::StaleIdentity) };
    if port.slot != slot.number() || port.generation != holder.generation {
        return Err(Verdict::StaleIdentity);
    }
    let Some(state) = STATES.get_ptr_mut(holder.key) else { return Err(Verdict::StaleIdentity) };
    Ok((holder, port, state))
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
