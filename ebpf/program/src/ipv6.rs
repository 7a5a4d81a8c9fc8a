//! IPv6 frames out of a guest (RFC 8200).
//!
//! As with IPv4, and with neighbour discovery (RFC 4861) in ARP's place. A router solicitation and
//! a DHCPv6 request (RFC 8415) are for whoever is on the link: they go to the service where the
//! port has it, and on into the tenant's network where it has not.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::{
    DropRecord, Endpoint6, Identity6, Plain, Port, PortFlags, PortKey, PortSlot, Settings, Verdict,
    address_bit6,
};

use crate::{
    account::wire_frames,
    extension::{self, Upper},
    frame::{
        ETHERNET, Head6, ICMP6, IPV6, Ports, TCP, Tag, UDP, Untagged, glance_ports, glance6, load,
    },
    maps::{SERVICES6, STATES},
    neighbour::{self, Solicitation},
    rewrite6,
    source6::{Allowed6, admit, allowed},
    tap::{Finding, is_service6, own_port},
    transport,
};

/// DHCPv6's ports, RFC 8415, section 7.2.
const DHCP_CLIENT: u16 = 546_u16.to_be();
const DHCP_SERVER: u16 = 547_u16.to_be();
/// ff02::1:2, all DHCP relay agents and servers.
const DHCP_SERVERS: [u32; 4] = [0xff02_0000_u32.to_be(), 0, 0, 0x0001_0002_u32.to_be()];
/// ff02::2, all routers.
const ROUTERS: [u32; 4] = [0xff02_0000_u32.to_be(), 0, 0, 2_u32.to_be()];

const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// The part of ICMPv6's header that is looked at (RFC 4443, section 2.1).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Icmp6Head {
    pub kind: u8,
    pub code: u8,
    pub checksum: u16,
}

// SAFETY: 1+1+2 bytes, aligned to 2, no padding.
unsafe impl Plain for Icmp6Head {}

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

/// Whether only a DHCP server, or a relay, sends from or to these.
#[inline(always)]
fn is_of_dhcp_server(ports: &Ports) -> bool {
    ports.source == DHCP_SERVER || ports.destination == DHCP_CLIENT
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
    let service = match destination(skb, frame, &head, &upper, settings, port, record) {
        Ok(Some(service)) => service,
        Ok(None) => return Finding::Pass,
        Err(Deviation::Refused(verdict)) => return Finding::Refused(verdict),
        Err(Deviation::Sent(action)) => return Finding::Sent(action),
    };
    match deliver(skb, frame, &head, &upper, &service, settings, port, record) {
        Ok(action) => Finding::Sent(action),
        Err(verdict) => Finding::Refused(verdict),
    }
}

/// What is not delivered.
enum Deviation {
    Refused(Verdict),
    Sent(i32),
}

/// The service that a frame goes to. None where it is not ours.
#[inline(always)]
fn destination(
    skb: *mut __sk_buff,
    frame: &Untagged,
    head: &Head6,
    upper: &Upper,
    settings: &Settings,
    port: Option<&Port>,
    record: &mut DropRecord,
) -> Result<Option<Endpoint6>, Deviation> {
    let has = |flag| matches!(port, Some(port) if port.flags.has(flag));
    let is_ours = is_service6(settings, head.destination);
    let mut service =
        Endpoint6 { address: head.destination, port: 0, protocol: upper.protocol, reserved: 0 };
    match upper.protocol {
        ICMP6 => {
            let Some(icmp) = load::<Icmp6Head>(skb, upper.at) else { return too_short(is_ours) };
            match icmp.kind {
                NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => {
                    // RFC 6980 forbids it, and the target may be in another piece.
                    if upper.is_fragment {
                        return Err(Deviation::Refused(Verdict::Fragment));
                    }
                    let Some(target) = load::<[u32; 4]>(skb, upper.at + 8) else {
                        return too_short(is_ours);
                    };
                    if is_service6(settings, target) {
                        record.destination = target;
                        if icmp.kind == NEIGHBOUR_ADVERTISEMENT {
                            return Err(Deviation::Refused(Verdict::NeighbourClaim));
                        }
                        let asked = Solicitation { code: icmp.code, target };
                        let sent = neighbour::answer(skb, frame, head, upper, asked, port, record);
                        return Err(match sent {
                            Ok(action) => Deviation::Sent(action),
                            Err(verdict) => Deviation::Refused(verdict),
                        });
                    }
                }
                ROUTER_ADVERTISEMENT if !has(PortFlags::DHCP_SERVER) => {
                    return Err(Deviation::Refused(Verdict::RouterAdvertisement));
                }
                ROUTER_SOLICITATION if has(PortFlags::ROUTER) && frame.tag == Tag::None => {
                    service.address = ROUTERS;
                    return Ok(Some(service));
                }
                _ => {}
            }
            if is_ours {
                return Err(Deviation::Refused(Verdict::NoService));
            }
            return Ok(None);
        }
        UDP => {
            let Some(ports) = load::<Ports>(skb, upper.at) else {
                return if is_ours { Ok(Some(service)) } else { Ok(None) };
            };
            record.source_port = u16::from_be(ports.source);
            record.destination_port = u16::from_be(ports.destination);
            service.port = ports.destination;
            if !is_ours {
                if is_of_dhcp_server(&ports) {
                    return if has(PortFlags::DHCP_SERVER) {
                        Ok(None)
                    } else {
                        Err(Deviation::Refused(Verdict::DhcpServer))
                    };
                }
                let is_dhcp = ports.destination == DHCP_SERVER && head.destination == DHCP_SERVERS;
                return if is_dhcp && has(PortFlags::DHCP6) && frame.tag == Tag::None {
                    Ok(Some(service))
                } else {
                    Ok(None)
                };
            }
            if ports.destination == DHCP_SERVER && !has(PortFlags::DHCP6) && port.is_some() {
                return Err(Deviation::Refused(Verdict::NoService));
            }
        }
        _ => {}
    }
    Ok(is_ours.then_some(service))
}

/// What becomes of a message that is cut off, and no piece of one: no receiver takes it.
#[inline(always)]
fn too_short(is_ours: bool) -> Result<Option<Endpoint6>, Deviation> {
    if is_ours { Err(Deviation::Refused(Verdict::Malformed)) } else { Ok(None) }
}

#[inline(always)]
fn deliver(
    skb: *mut __sk_buff,
    frame: &Untagged,
    head: &Head6,
    upper: &Upper,
    service: &Endpoint6,
    settings: &Settings,
    port: Option<&Port>,
    record: &mut DropRecord,
) -> Result<i32, Verdict> {
    let port = own_port(frame, port)?;
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
    let is_solicitation = upper.protocol == ICMP6;
    // Before the source, so that the record of a spoofed one has its ports.
    let inside = if is_solicitation {
        // RFC 4861, section 6.1.1.
        if length < 8 || head.hop_limit != 255 { Err(Verdict::Malformed) } else { Ok(0) }
    } else {
        match transport::ports(skb, ETHERNET + IPV6, upper.protocol, length) {
            Ok(ports) => {
                record.source_port = u16::from_be(ports.source);
                record.destination_port = u16::from_be(ports.destination);
                Ok(ports.destination)
            }
            Err(verdict) => Err(verdict),
        }
    };
    let may = match allowed(port, head.source) {
        Some(may) => may,
        // A guest may solicit before it has any address.
        None if is_solicitation && head.source == [0; 4] => Allowed6::Slot(Identity6::EVERYONE),
        None => return Err(Verdict::SpoofedSource),
    };
    let destination_port = inside?;
    if destination_port != service.port {
        let service = Endpoint6 { port: destination_port, ..*service };
        return send(skb, head, &service, settings, port, record, may);
    }
    send(skb, head, service, settings, port, record, may)
}

#[inline(always)]
fn send(
    skb: *mut __sk_buff,
    head: &Head6,
    service: &Endpoint6,
    settings: &Settings,
    port: &Port,
    record: &DropRecord,
    may: Allowed6,
) -> Result<i32, Verdict> {
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
