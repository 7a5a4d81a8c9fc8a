//! To whom an IPv6 frame goes: to a service, to us at the tap, or into the tenant's network.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::{DropRecord, Plain, Port, PortFlags, Settings, Verdict};

use crate::{
    extension::Upper,
    frame::{Head6, ICMP6, Ports, Tag, UDP, Untagged, load},
    neighbour::{self, Solicitation},
    tap::is_service6,
};

/// DHCPv6's ports, RFC 8415, section 7.2.
const DHCP_CLIENT: u16 = 546_u16.to_be();
pub const DHCP_SERVER: u16 = 547_u16.to_be();
/// ff02::1:2, all DHCP relay agents and servers.
const DHCP_SERVERS: [u32; 4] = [0xff02_0000_u32.to_be(), 0, 0, 0x0001_0002_u32.to_be()];
/// ff02::2, all routers.
const ROUTERS: [u32; 4] = [0xff02_0000_u32.to_be(), 0, 0, 2_u32.to_be()];

pub const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

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

/// To whom a frame goes.
pub enum Addressee {
    /// Not to us.
    Other,
    /// To the service at this address, which may be a group's.
    Service([u32; 4]),
    /// It was answered already; the action that the program returns.
    Answered(i32),
}

/// A frame, what was read of it, and the port that it came by.
pub struct Incoming<'a> {
    pub skb: *mut __sk_buff,
    pub frame: &'a Untagged,
    pub head: &'a Head6,
    pub upper: &'a Upper,
    pub settings: &'a Settings,
    pub port: Option<&'a Port>,
}

impl Incoming<'_> {
    /// Judges to whom it goes.
    #[inline(always)]
    pub fn addressee(&self, record: &mut DropRecord) -> Result<Addressee, Verdict> {
        match self.upper.protocol {
            ICMP6 => self.of_icmp(record),
            UDP => self.of_udp(record),
            _ => Ok(self.of_address()),
        }
    }

    #[inline(always)]
    fn of_icmp(&self, record: &mut DropRecord) -> Result<Addressee, Verdict> {
        let Some(icmp) = load::<Icmp6Head>(self.skb, self.upper.at) else {
            return self.too_short();
        };
        match icmp.kind {
            NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => {
                // RFC 6980 forbids it, and the target may be in another piece.
                if self.upper.is_fragment {
                    return Err(Verdict::Fragment);
                }
                let Some(target) = load::<[u32; 4]>(self.skb, self.upper.at + 8) else {
                    return self.too_short();
                };
                if is_service6(self.settings, target) {
                    record.destination = target;
                    if icmp.kind == NEIGHBOUR_ADVERTISEMENT {
                        return Err(Verdict::NeighbourClaim);
                    }
                    let asked = Solicitation { code: icmp.code, target };
                    return neighbour::answer(self, asked, record).map(Addressee::Answered);
                }
            }
            ROUTER_ADVERTISEMENT if !self.may(PortFlags::DHCP_SERVER) => {
                return Err(Verdict::RouterAdvertisement);
            }
            ROUTER_SOLICITATION if self.is_answered(PortFlags::ROUTER) => {
                return Ok(Addressee::Service(ROUTERS));
            }
            _ => {}
        }
        if self.is_ours() { Err(Verdict::NoService) } else { Ok(Addressee::Other) }
    }

    #[inline(always)]
    fn of_udp(&self, record: &mut DropRecord) -> Result<Addressee, Verdict> {
        // What is too short for ports is found out where it is delivered.
        let Some(ports) = load::<Ports>(self.skb, self.upper.at) else {
            return Ok(self.of_address());
        };
        record.source_port = u16::from_be(ports.source);
        record.destination_port = u16::from_be(ports.destination);
        let is_to_server = ports.destination == DHCP_SERVER;
        if self.is_ours() {
            // A device without a port is told so first.
            if is_to_server && self.port.is_some() && !self.may(PortFlags::DHCP6) {
                return Err(Verdict::NoService);
            }
            return Ok(self.of_address());
        }
        if is_of_dhcp_server(&ports) {
            let may = self.may(PortFlags::DHCP_SERVER);
            return if may { Ok(Addressee::Other) } else { Err(Verdict::DhcpServer) };
        }
        let is_request = is_to_server && self.head.destination == DHCP_SERVERS;
        if is_request && self.is_answered(PortFlags::DHCP6) {
            return Ok(Addressee::Service(DHCP_SERVERS));
        }
        Ok(Addressee::Other)
    }

    /// By its destination alone.
    #[inline(always)]
    fn of_address(&self) -> Addressee {
        if self.is_ours() { Addressee::Service(self.head.destination) } else { Addressee::Other }
    }

    /// What becomes of a message that is cut off, and no piece of one: no receiver takes it.
    #[inline(always)]
    fn too_short(&self) -> Result<Addressee, Verdict> {
        if self.is_ours() { Err(Verdict::Malformed) } else { Ok(Addressee::Other) }
    }

    #[inline(always)]
    fn is_ours(&self) -> bool {
        is_service6(self.settings, self.head.destination)
    }

    #[inline(always)]
    fn may(&self, flag: u16) -> bool {
        matches!(self.port, Some(port) if port.flags.has(flag))
    }

    /// Whether what it asks everyone on its link goes to a service. A tagged frame is another
    /// network's.
    #[inline(always)]
    fn is_answered(&self, flag: u16) -> bool {
        self.may(flag) && self.frame.tag == Tag::None
    }
}

/// Whether only a DHCP server, or a relay, sends from or to these.
#[inline(always)]
pub fn is_of_dhcp_server(ports: &Ports) -> bool {
    ports.source == DHCP_SERVER || ports.destination == DHCP_CLIENT
}
