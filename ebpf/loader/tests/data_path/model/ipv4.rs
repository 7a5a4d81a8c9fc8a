//! IPv4 (RFC 791), with DHCP (RFC 2131).
//!
//! A client's request to everyone on the link goes to the service where the port is answered, and
//! so does any to the service's own address, whatever address it comes from. A server's message is
//! one of UDP from port 67 or to port 68.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use mezame_ebpf_loader::Verdict;

use super::{Fate, Model, Outside, address, transport, word};

impl Model {
    pub(super) fn may_use(&self, source: Ipv4Addr) -> bool {
        let link_local: Ipv4Network = "169.254.0.0/16".parse().unwrap();
        let first = source.octets()[0];
        let host = first != 0 && first != 127 && first < 224;
        host && (self.rules.addresses.contains(&source)
            || link_local.contains(source)
            || self.rules.allowed.iter().any(|range| range.contains(source)))
    }

    pub(super) fn ipv4(&self, outside: &Outside<'_>) -> Fate {
        let packet = outside.packet;
        let (Some(source), Some(destination)) = (address(packet, 12), address(packet, 16)) else {
            return Fate::Pass;
        };
        if self.is_service(source) {
            return Fate::Drop(Verdict::FromService);
        }
        let ports = udp_ports(packet);
        if !self.is_service(destination) {
            match ports {
                Some((67, _) | (_, 68)) if self.rules.dhcp_server => return Fate::Pass,
                Some((67, _) | (_, 68)) => return Fate::Drop(Verdict::DhcpServer),
                Some((_, 67))
                    if destination.is_broadcast()
                        && self.rules.answers.dhcp4
                        && !outside.is_tagged => {}
                _ => return Fate::Pass,
            }
        }
        let asks_for_address = matches!(ports, Some((_, 67)));
        self.to_service(outside, source, destination, asks_for_address).unwrap_or_else(Fate::Drop)
    }

    fn to_service(
        &self,
        outside: &Outside<'_>,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        asks_for_address: bool,
    ) -> Result<Fate, Verdict> {
        self.fault_outside(outside).map_or(Ok(()), Err)?;
        let packet = outside.packet;
        let header = header_length(packet);
        let total = usize::from(word(packet, 2).unwrap());
        let sound = packet[0] >> 4 == 4 && header >= 20 && total >= header && total <= packet.len();
        if outside.is_to_group() != destination.is_broadcast() || !sound {
            return Err(Verdict::Malformed);
        }
        if word(packet, 6).unwrap() & 0x3fff != 0 {
            return Err(Verdict::Fragment);
        }
        if header > 20 {
            return Err(Verdict::IpOptions);
        }
        let is_known = self.may_use(source);
        let is_answered = self.rules.answers.dhcp4;
        let is_heard = is_known || (asks_for_address && is_answered);
        if !is_heard {
            return Err(Verdict::SpoofedSource);
        }
        let (protocol, port) = transport::destination(packet[9], &packet[20..total])?;
        if asks_for_address && !is_answered {
            return Err(Verdict::NoService);
        }
        let service = self.service(destination, protocol, port).ok_or(Verdict::NoService)?;
        Ok(if is_known { Fate::Deliver(service) } else { Fate::DeliverOfNobody(service) })
    }
}

fn header_length(packet: &[u8]) -> usize {
    usize::from(packet[0] & 15) * 4
}

/// UDP's ports, where the packet has them: not in a piece but the first.
fn udp_ports(packet: &[u8]) -> Option<(u16, u16)> {
    let header = header_length(packet);
    let is_later_piece = word(packet, 6)? & 0x1fff != 0;
    if packet[9] != 17 || is_later_piece || header < 20 {
        return None;
    }
    transport::ports(packet.get(header..)?)
}
