//! IPv6 (RFC 8200), with DHCPv6 (RFC 8415).
//!
//! What no guest may say, it may not say behind extension headers either; what goes to a service has
//! none. A request to the link's servers and a solicitation of its routers go to the service where
//! the port is answered, and on into the tenant's network otherwise.

use std::net::Ipv6Addr;

use mezame_ebpf_loader::{Protocol, Verdict};

use super::{
    Fate, Model, Outside, address6,
    chain::{Chain, chain},
    transport, word,
};

const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const UDP: u8 = 17;
const ICMP: u8 = 58;

impl Model {
    pub(super) fn may_use_6(&self, source: Ipv6Addr) -> bool {
        let upper = source.to_bits() >> 64;
        let is_link_local = upper == 0xfe80 << 48;
        // ::/64 holds the unspecified address, loopback's and IPv4's.
        let is_host = !source.is_multicast() && upper != 0;
        is_link_local || (is_host && self.rules.allowed6.iter().any(|range| range.contains(source)))
    }

    pub(super) fn ipv6(&self, outside: &Outside<'_>) -> Fate {
        let packet = outside.packet;
        if packet.len() < 40 {
            return Fate::Pass;
        }
        if self.is_service(address6(packet, 8).unwrap()) {
            return Fate::Drop(Verdict::FromService);
        }
        let Some(chain) = chain(packet) else { return Fate::Drop(Verdict::ExtensionHeader) };
        match chain.protocol {
            ICMP => self.icmp(outside, &chain),
            UDP => self.udp(outside, &chain),
            _ => self.to_its_destination(outside, &chain),
        }
    }

    /// To a service if one is at the destination; else it is none of ours.
    fn to_its_destination(&self, outside: &Outside<'_>, chain: &Chain<'_>) -> Fate {
        let destination = address6(outside.packet, 24).unwrap();
        if self.is_service(destination) {
            self.to_service_6(outside, chain, destination)
        } else {
            Fate::Pass
        }
    }

    fn udp(&self, outside: &Outside<'_>, chain: &Chain<'_>) -> Fate {
        let destination = address6(outside.packet, 24).unwrap();
        let is_ours = self.is_service(destination);
        match transport::ports(chain.upper) {
            Some((547, _) | (_, 546)) if !is_ours && !self.rules.dhcp_server => {
                Fate::Drop(Verdict::DhcpServer)
            }
            Some((547, _) | (_, 546)) if !is_ours => Fate::Pass,
            Some((_, 547)) if destination == SERVERS => {
                if self.rules.answers.dhcp6 && !outside.is_tagged {
                    self.to_service_6(outside, chain, destination)
                } else {
                    Fate::Pass
                }
            }
            Some((_, 547)) if is_ours && !self.rules.answers.dhcp6 => {
                Fate::Drop(Verdict::NoService)
            }
            _ => self.to_its_destination(outside, chain),
        }
    }

    /// What is wrong with a packet to a service, or a solicitation of a router, around its inside.
    pub(super) fn fault_around(&self, outside: &Outside<'_>, chain: &Chain<'_>) -> Option<Verdict> {
        if let Some(verdict) = self.fault_outside(outside) {
            return Some(verdict);
        }
        let destination = address6(outside.packet, 24).unwrap();
        if outside.is_to_group() != destination.is_multicast() || !is_whole(outside.packet) {
            return Some(Verdict::Malformed);
        }
        if chain.is_piece {
            return Some(Verdict::Fragment);
        }
        chain.has_headers.then_some(Verdict::ExtensionHeader)
    }

    fn to_service_6(&self, outside: &Outside<'_>, chain: &Chain<'_>, to: Ipv6Addr) -> Fate {
        if let Some(verdict) = self.fault_around(outside, chain) {
            return Fate::Drop(verdict);
        }
        if !self.may_use_6(address6(outside.packet, 8).unwrap()) {
            return Fate::Drop(Verdict::SpoofedSource);
        }
        match transport::destination(chain.protocol, payload(outside.packet)) {
            Ok((protocol, port)) => self
                .service(to, protocol, port)
                .map_or(Fate::Drop(Verdict::NoService), Fate::Deliver),
            Err(verdict) => Fate::Drop(verdict),
        }
    }

    pub(super) fn router_service(&self, routers: Ipv6Addr) -> Fate {
        self.service(routers, Protocol::Icmp6, 0)
            .map_or(Fate::Drop(Verdict::NoService), Fate::Deliver)
    }
}

/// Whether a packet's version is right and all of its payload there.
pub(super) fn is_whole(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6 && usize::from(word(packet, 4).unwrap()) + 40 <= packet.len()
}

/// The payload of a whole packet.
pub(super) fn payload(packet: &[u8]) -> &[u8] {
    &packet[40..40 + usize::from(word(packet, 4).unwrap())]
}
