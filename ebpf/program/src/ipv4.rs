//! IPv4 frames out of a guest (RFC 791).
//!
//! DHCP (RFC 2131) is a service like others, but for its clients' addresses: they have none yet, or
//! one that is not theirs any more, and must be answered all the same. They are told apart by
//! their port, and the answer goes to nobody's tap but theirs.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::{
    DropRecord, Endpoint, Identity, Port, PortFlags, PortKey, PortSlot, Settings, Verdict,
    address_bit, mapped, unwire, wire,
};

use crate::{
    account::wire_frames,
    frame::{ETHERNET, Glance, HEAD, IPV4, Ports, Tag, UDP, Untagged, glance_ports, load},
    maps::{SERVICES, STATES},
    rewrite,
    source::{Allowed, admit, allowed},
    tap::{Finding, is_service, own_port},
    transport,
};

/// DHCP's ports, RFC 2131, section 4.1.
pub const DHCP_SERVER: u16 = 67_u16.to_be();
const DHCP_CLIENT: u16 = 68_u16.to_be();
const BROADCAST: u32 = u32::MAX;
/// More fragments, or an offset.
const FRAGMENTED: u16 = 0x3fff_u16.to_be();
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();

/// Whether a frame may concern us: never no where [`concerns`] says yes.
#[inline(always)]
pub fn may_concern(skb: *mut __sk_buff, glance: &Glance, settings: &Settings) -> bool {
    let bits = address_bit(glance.destination) | address_bit(glance.source);
    if settings.address_bits & bits != 0 {
        return true;
    }
    if glance.protocol != UDP {
        return false;
    }
    // With options, or a first byte that makes no sense, the port is elsewhere.
    glance.version_length & 0xf != 5
        || match glance_ports(skb, HEAD) {
            Some(ports) => is_of_dhcp_server(&ports) || is_to_dhcp_server(&ports),
            None => true,
        }
}

/// Whether a frame must be looked at further: to or from a service address, or DHCP.
#[inline(always)]
pub fn concerns(skb: *mut __sk_buff, frame: &Untagged, settings: &Settings) -> bool {
    is_service(settings, frame.head.destination)
        || is_service(settings, frame.head.source)
        || match udp_ports(skb, frame) {
            Some(ports) => is_of_dhcp_server(&ports) || is_dhcp_request(frame, &ports),
            None => false,
        }
}

/// Whether only a DHCP server (or a relay) sends from or to these. Clients take a reply by its
/// destination alone, so a server must not get by with a source port of its own choice.
#[inline(always)]
fn is_of_dhcp_server(ports: &Ports) -> bool {
    ports.source == DHCP_SERVER || ports.destination == DHCP_CLIENT
}

/// Whether a client sends to these (some from a port of their own choice).
#[inline(always)]
fn is_to_dhcp_server(ports: &Ports) -> bool {
    ports.destination == DHCP_SERVER
}

/// Whether a frame asks any DHCP server that hears it. A relay's is a server's.
#[inline(always)]
fn is_dhcp_request(frame: &Untagged, ports: &Ports) -> bool {
    frame.head.destination == BROADCAST && is_to_dhcp_server(ports) && !is_of_dhcp_server(ports)
}

/// UDP's ports, where the frame has them.
#[inline(always)]
fn udp_ports(skb: *mut __sk_buff, frame: &Untagged) -> Option<Ports> {
    let head = &frame.head;
    if head.protocol != UDP || head.fragment & FRAGMENT_OFFSET != 0 || head.header_length() < IPV4 {
        return None;
    }
    load(skb, ETHERNET + frame.skip + head.header_length())
}

/// Judges a frame that [`concerns`] us, and rewrites it if it may go to a service.
#[inline(always)]
pub fn judge(
    skb: *mut __sk_buff,
    frame: &Untagged,
    settings: &Settings,
    port: Option<&Port>,
    record: &mut DropRecord,
) -> Finding {
    let head = &frame.head;
    record.source = mapped(head.source);
    record.destination = mapped(head.destination);
    record.protocol = head.protocol;
    if is_service(settings, head.source) {
        return Finding::Refused(Verdict::FromService);
    }
    if !is_service(settings, head.destination) {
        // So it is a DHCP server's, or a request to any.
        let Some(ports) = udp_ports(skb, frame) else { return Finding::Pass };
        record.source_port = u16::from_be(ports.source);
        record.destination_port = u16::from_be(ports.destination);
        let has = |flag| matches!(port, Some(port) if port.flags.has(flag));
        if is_of_dhcp_server(&ports) {
            return if has(PortFlags::DHCP_SERVER) {
                Finding::Pass
            } else {
                Finding::Refused(Verdict::DhcpServer)
            };
        }
        if !has(PortFlags::DHCP4) || frame.tag != Tag::None {
            return Finding::Pass;
        }
    }
    match to_service(skb, frame, settings, port, record) {
        Ok(action) => Finding::Sent(action),
        Err(verdict) => Finding::Refused(verdict),
    }
}

#[inline(always)]
fn to_service(
    skb: *mut __sk_buff,
    frame: &Untagged,
    settings: &Settings,
    port: Option<&Port>,
    record: &mut DropRecord,
) -> Result<i32, Verdict> {
    let head = &frame.head;
    let port = own_port(frame, port)?;
    let length = u32::from(u16::from_be(head.total_length));
    // SAFETY: the context's fields are readable.
    let frame_length = unsafe { (*skb).len };
    if (head.to_mac[0] & 1 != 0) != (head.destination == BROADCAST)
        || head.version_length >> 4 != 4
        || head.header_length() < IPV4
        || length < head.header_length()
        || ETHERNET + length > frame_length
    {
        return Err(Verdict::Malformed);
    }
    if head.fragment & FRAGMENTED != 0 {
        return Err(Verdict::Fragment);
    }
    if head.header_length() != IPV4 {
        return Err(Verdict::IpOptions);
    }
    let is_dhcp = matches!(
        udp_ports(skb, frame), Some(ports) if ports.destination == DHCP_SERVER
    );
    let may = match allowed(port, head.source) {
        Some(may) => may,
        None if is_dhcp && port.flags.has(PortFlags::DHCP4) => Allowed::Slot(Identity::UNSPECIFIED),
        None => return Err(Verdict::SpoofedSource),
    };
    let ports = transport::ports(skb, HEAD, head.protocol, length - IPV4)?;
    record.source_port = u16::from_be(ports.source);
    record.destination_port = u16::from_be(ports.destination);
    let service = Endpoint {
        address: head.destination,
        port: ports.destination,
        protocol: head.protocol,
        reserved: 0,
    };
    if is_dhcp && !port.flags.has(PortFlags::DHCP4) {
        return Err(Verdict::NoService);
    }
    // SAFETY: user space replaces entries as a whole.
    let Some(target) = (unsafe { SERVICES.get(service) }) else { return Err(Verdict::NoService) };

    let key = PortKey { ifindex: record.ifindex, vlan: 0 };
    // A port's state is made before the port: without one, it is being taken away.
    let Some(state) = STATES.get_ptr_mut(key) else { return Err(Verdict::UnknownPort) };
    let frames = wire_frames(skb);
    let Some(n) = admit(state, port, head.source, may, frames, Verdict::Delivered) else {
        return Err(Verdict::RateLimited);
    };
    let Some(slot) = PortSlot::new(port.slot) else { return Err(Verdict::UnknownPort) };
    let identity = wire(Identity::new(slot, n).address());
    Ok(rewrite::into_namespace(skb, head, &service, target, identity, settings))
}

/// The address of an identity address, for the way back.
#[inline(always)]
pub fn parse_identity(address: u32) -> Option<(PortSlot, u8)> {
    Identity::parse(unwire(address))
}
