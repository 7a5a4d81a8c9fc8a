//! IPv6 frames out of a guest (RFC 8200).
//!
//! As with IPv4, and with neighbour discovery (RFC 4861) in ARP's place. A router solicitation and
//! a DHCPv6 request (RFC 8415) are for whoever is on the link: they go to the service where the
//! port has it, and on into the tenant's network where it has not.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::{
    DropRecord, Endpoint6, Identity6, Port, PortKey, PortSlot, Settings, Verdict, address_bit6,
};

use crate::{
    account::wire_frames,
    addressee6::{
        Addressee, DHCP_SERVER, Incoming, NEIGHBOUR_ADVERTISEMENT, ROUTER_SOLICITATION,
        is_of_dhcp_server,
    },
    extension,
    frame::{ETHERNET, Head6, ICMP6, IPV6, TCP, UDP, Untagged, glance_ports, glance6, load},
    maps::{SERVICES6, STATES},
    rewrite6,
    source6::{Allowed6, admit, allowed},
    tap::{Finding, is_service6, own_port},
    transport,
};

/// Whether an untagged frame may concern us: never no where [`judge`] would not let it pass.
#[inline(always)]
pub fn may_concern(skb: *mut __sk_buff, settings: &Settings) -> bool {
    const HEADS: u32 = ETHERNET + IPV6;
    let Some(glance) = glance6(skb) else { return true };
    let bits = address_bit6(glance.destination) | address_bit6(glance.source);
    if settings.address_bits6 & bits != 0 {
        return true;
    }
    match glance.next_header {
        TCP => false,
        UDP => match glance_ports(skb, HEADS) {
            Some(ports) => is_of_dhcp_server(&ports) || ports.destination == DHCP_SERVER,
            None => true,
        },
        ICMP6 => match glance_ports(skb, HEADS) {
            // The type is the first byte of what would be UDP's source port.
            Some(ports) => {
                let [kind, _] = ports.source.to_ne_bytes();
                matches!(kind, ROUTER_SOLICITATION..=NEIGHBOUR_ADVERTISEMENT)
            }
            None => true,
        },
        other => extension::is_extension(other),
    }
}

/// Judges a frame, and rewrites it if it may go to a service.
#[inline(always)]
pub fn judge(
    skb: *mut __sk_buff,
    frame: &Untagged,
    settings: &Settings,
    port: Option<&Port>,
    record: &mut DropRecord,
) -> Finding {
    let at = ETHERNET + frame.skip;
    let Some(head) = load::<Head6>(skb, at) else { return Finding::Pass };
    record.source = head.source;
    record.destination = head.destination;
    record.protocol = head.next_header;
    if is_service6(settings, head.source) {
        return Finding::Refused(Verdict::FromService);
    }
    // SAFETY: the context's fields are readable.
    let frame_length = unsafe { (*skb).len };
    let length = u32::from(u16::from_be(head.payload_length));
    let end = frame_length.min(at + IPV6 + length);
    let Some(upper) = extension::walk(skb, at + IPV6, head.next_header, end) else {
        return Finding::Refused(Verdict::ExtensionHeader);
    };
    record.protocol = upper.protocol;
    let incoming = Incoming { skb, frame, head: &head, upper: &upper, settings, port };
    let delivered = match incoming.addressee(record) {
        Ok(Addressee::Other) => return Finding::Pass,
        Ok(Addressee::Answered(action)) => Ok(action),
        Ok(Addressee::Service(address)) => deliver(&incoming, address, record),
        Err(verdict) => Err(verdict),
    };
    match delivered {
        Ok(action) => Finding::Sent(action),
        Err(verdict) => Finding::Refused(verdict),
    }
}

/// Sends a frame to the service at an address, which may be a group's.
#[inline(always)]
fn deliver(
    incoming: &Incoming<'_>,
    address: [u32; 4],
    record: &mut DropRecord,
) -> Result<i32, Verdict> {
    let Incoming { skb, frame, head, upper, .. } = *incoming;
    let port = own_port(frame, incoming.port)?;
    let length = u32::from(u16::from_be(head.payload_length));
    // SAFETY: the context's fields are readable.
    let frame_length = unsafe { (*skb).len };
    let [first, ..] = head.destination[0].to_ne_bytes();
    if (frame.head.to_mac[0] & 1 != 0) != (first == 0xff)
        || !head.is_version_6()
        || ETHERNET + IPV6 + length > frame_length
    {
        return Err(Verdict::Malformed);
    }
    if upper.is_fragment {
        return Err(Verdict::Fragment);
    }
    if upper.is_extended {
        return Err(Verdict::ExtensionHeader);
    }
    // Before the source, so that the record of a spoofed one has its ports.
    let inside = inside(incoming, length, record);
    let may = match allowed(port, head.source) {
        Some(may) => may,
        // A guest may solicit before it has any address.
        None if upper.protocol == ICMP6 && head.source == [0; 4] => {
            Allowed6::Slot(Identity6::EVERYONE)
        }
        None => return Err(Verdict::SpoofedSource),
    };
    let service = Endpoint6 { address, port: inside?, protocol: upper.protocol, reserved: 0 };
    send(incoming, &service, port, may, record)
}

/// The service's port, 0 for a router solicitation, once the lengths inside were found to agree.
#[inline(always)]
fn inside(incoming: &Incoming<'_>, length: u32, record: &mut DropRecord) -> Result<u16, Verdict> {
    if incoming.upper.protocol == ICMP6 {
        // RFC 4861, section 6.1.1.
        let is_sound = length >= 8 && incoming.head.hop_limit == 255;
        return if is_sound { Ok(0) } else { Err(Verdict::Malformed) };
    }
    let protocol = incoming.upper.protocol;
    let ports = transport::ports(incoming.skb, ETHERNET + IPV6, protocol, length)?;
    record.source_port = u16::from_be(ports.source);
    record.destination_port = u16::from_be(ports.destination);
    Ok(ports.destination)
}

#[inline(always)]
fn send(
    incoming: &Incoming<'_>,
    service: &Endpoint6,
    port: &Port,
    may: Allowed6,
    record: &DropRecord,
) -> Result<i32, Verdict> {
    let Incoming { skb, head, settings, .. } = *incoming;
    // SAFETY: user space replaces entries as a whole.
    let Some(target) = (unsafe { SERVICES6.get(service) }) else { return Err(Verdict::NoService) };
    let key = PortKey { ifindex: record.ifindex, vlan: 0 };
    // A port's state is made before the port: without one, it is being taken away.
    let Some(state) = STATES.get_ptr_mut(key) else { return Err(Verdict::UnknownPort) };
    let frames = wire_frames(skb);
    let Some(n) = admit(state, port, head.source, may, frames, Verdict::Delivered) else {
        return Err(Verdict::RateLimited);
    };
    let Some(slot) = PortSlot::new(port.slot) else { return Err(Verdict::UnknownPort) };
    let [a, b] = Identity6::upper(slot, n);
    let identity = [a.to_be(), b.to_be(), head.source[2], head.source[3]];
    Ok(rewrite6::into_namespace(skb, head, service, target, identity, settings))
}
