//! IPv4 frames out of a guest (RFC 791, RFC 9293, RFC 768).

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::{
    DropRecord, Endpoint, Identity, Port, PortFlags, PortKey, PortSlot, Settings, Verdict,
    address_bit, unwire, wire,
};

use crate::{
    account::wire_frames,
    frame::{
        ETHERNET, Glance, IPV4, Ports, TCP, TcpHead, UDP, UdpHead, Untagged, glance_ports, load,
    },
    maps::{SERVICES, STATES},
    rewrite,
    source::{admit, allowed},
    tap::{Finding, is_service, own_port},
};

/// DHCP's ports, RFC 2131, section 4.1.
const DHCP_SERVER: u16 = 67_u16.to_be();
const DHCP_CLIENT: u16 = 68_u16.to_be();
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
        || match glance_ports(skb) {
            Some(ports) => is_of_dhcp_server(&ports),
            None => true,
        }
}

/// Whether a frame must be looked at further: to or from a service address, or DHCP.
#[inline(always)]
pub fn concerns(skb: *mut __sk_buff, frame: &Untagged, settings: &Settings) -> bool {
    is_service(settings, frame.head.destination)
        || is_service(settings, frame.head.source)
        || dhcp_ports(skb, frame).is_some()
}

/// Whether only a DHCP server (or a relay) sends from or to these. Clients take a reply by its
/// destination alone, so a server must not get by with a source port of its own choice.
#[inline(always)]
fn is_of_dhcp_server(ports: &Ports) -> bool {
    ports.source == DHCP_SERVER || ports.destination == DHCP_CLIENT
}

/// UDP's ports of a frame that only a DHCP server sends.
#[inline(always)]
fn dhcp_ports(skb: *mut __sk_buff, frame: &Untagged) -> Option<Ports> {
    let head = &frame.head;
    if head.protocol != UDP || head.fragment & FRAGMENT_OFFSET != 0 || head.header_length() < IPV4 {
        return None;
    }
    let ports: Ports = load(skb, ETHERNET + frame.skip + head.header_length())?;
    is_of_dhcp_server(&ports).then_some(ports)
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
    record.source = head.source;
    record.destination = head.destination;
    record.protocol = head.protocol;
    if is_service(settings, head.source) {
        return Finding::Refused(Verdict::FromService);
    }
    if !is_service(settings, head.destination) {
        // So it is a DHCP server's.
        if let Some(ports) = dhcp_ports(skb, frame) {
            record.source_port = u16::from_be(ports.source);
            record.destination_port = u16::from_be(ports.destination);
        }
        return match port {
            Some(port) if port.flags.has(PortFlags::DHCP_SERVER) => Finding::Pass,
            _ => Finding::Refused(Verdict::DhcpServer),
        };
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
    if head.to_mac[0] & 1 != 0
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
    let Some(may) = allowed(port, head.source) else { return Err(Verdict::SpoofedSource) };

    let ports = transport(skb, head.protocol, length - IPV4)?;
    record.source_port = u16::from_be(ports.source);
    record.destination_port = u16::from_be(ports.destination);
    let service = Endpoint {
        address: head.destination,
        port: ports.destination,
        protocol: head.protocol,
        reserved: 0,
    };
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

/// The ports of a segment of `length` bytes behind an IPv4 header without options.
#[inline(always)]
pub fn transport(skb: *mut __sk_buff, protocol: u8, length: u32) -> Result<Ports, Verdict> {
    const AT: u32 = ETHERNET + IPV4;
    if protocol == TCP {
        if length < 20 {
            return Err(Verdict::Malformed);
        }
        let Some(tcp) = load::<TcpHead>(skb, AT) else { return Err(Verdict::Malformed) };
        let offset = u32::from(tcp.offset >> 4) * 4;
        if offset < 20 || offset > length {
            return Err(Verdict::Malformed);
        }
        Ok(tcp.ports)
    } else if protocol == UDP {
        if length < 8 {
            return Err(Verdict::Malformed);
        }
        let Some(udp) = load::<UdpHead>(skb, AT) else { return Err(Verdict::Malformed) };
        let udp_length = u32::from(u16::from_be(udp.length));
        if udp_length < 8 || udp_length > length {
            return Err(Verdict::Malformed);
        }
        Ok(udp.ports)
    } else {
        Err(Verdict::NoService)
    }
}

/// The address of an identity address, for the way back.
#[inline(always)]
pub fn parse_identity(address: u32) -> Option<(PortSlot, u8)> {
    Identity::parse(unwire(address))
}
