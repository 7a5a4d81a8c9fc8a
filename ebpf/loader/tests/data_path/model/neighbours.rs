//! Neighbour discovery (RFC 4861), which is never in pieces (RFC 6980).

use std::net::Ipv6Addr;

use mezame_ebpf_loader::{SERVICE_MAC, Verdict};

use super::{
    super::frames6::Packet6,
    Fate, Model, Outside, address6,
    chain::Chain,
    ipv6::{is_whole, payload},
};

const EVERYONE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const EVERYONE_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

impl Model {
    pub(super) fn icmp(&self, outside: &Outside<'_>, chain: &Chain<'_>) -> Fate {
        let is_ours = self.is_service(address6(outside.packet, 24).unwrap());
        // Cut off: nobody takes it.
        let short = if is_ours { Fate::Drop(Verdict::Malformed) } else { Fate::Pass };
        let other = if is_ours { Fate::Drop(Verdict::NoService) } else { Fate::Pass };
        if chain.upper.len() < 4 {
            return short;
        }
        match chain.upper[0] {
            133 if self.rules.answers.router && !outside.is_tagged => {
                self.router_solicitation(outside, chain)
            }
            134 if !self.rules.dhcp_server => Fate::Drop(Verdict::RouterAdvertisement),
            135 | 136 if chain.is_piece => Fate::Drop(Verdict::Fragment),
            kind @ (135 | 136) => match address6(chain.upper, 8) {
                None => short,
                Some(target) if !self.is_service(target) => other,
                Some(_) if kind == 136 => Fate::Drop(Verdict::NeighbourClaim),
                Some(_) => self.neighbour_solicitation(outside, chain),
            },
            _ => other,
        }
    }

    fn router_solicitation(&self, outside: &Outside<'_>, chain: &Chain<'_>) -> Fate {
        if let Some(verdict) = self.fault_around(outside, chain) {
            return Fate::Drop(verdict);
        }
        let source = address6(outside.packet, 8).unwrap();
        if !source.is_unspecified() && !self.may_use_6(source) {
            return Fate::Drop(Verdict::SpoofedSource);
        }
        // Section 6.1.1.
        if outside.packet[7] != 255 || payload(outside.packet).len() < 8 {
            return Fate::Drop(Verdict::Malformed);
        }
        match self.router_service(ROUTERS) {
            Fate::Deliver(service) if source.is_unspecified() => Fate::DeliverOfNobody(service),
            fate => fate,
        }
    }

    fn neighbour_solicitation(&self, outside: &Outside<'_>, chain: &Chain<'_>) -> Fate {
        if let Some(verdict) = self.fault_outside(outside) {
            return Fate::Drop(verdict);
        }
        if chain.has_headers {
            return Fate::Drop(Verdict::ExtensionHeader);
        }
        // Section 7.1.1.
        let packet = outside.packet;
        let valid = is_whole(packet)
            && packet[7] == 255
            && chain.upper[1] == 0
            && payload(packet).len() >= 24;
        if !valid {
            return Fate::Drop(Verdict::Malformed);
        }
        let source = address6(packet, 8).unwrap();
        if !source.is_unspecified() && !self.may_use_6(source) {
            return Fate::Drop(Verdict::SpoofedSource);
        }
        Fate::AnswerNeighbour
    }
}

/// The answer to a solicitation (section 7.2.4); to the whole link if it came from nobody.
pub(super) fn answer(solicitation: &[u8]) -> Vec<u8> {
    let source = address6(solicitation, 22).unwrap();
    let target = address6(solicitation, 62).unwrap();
    let (to, to_mac, flags) = if source.is_unspecified() {
        (EVERYONE, EVERYONE_MAC, 0x20)
    } else {
        (source, solicitation[6..12].try_into().unwrap(), 0x60)
    };
    let rest = [&[flags, 0, 0, 0], &target.octets()[..], &[2, 1], &SERVICE_MAC].concat();
    Packet6 { to_mac, from_mac: SERVICE_MAC, source: target, ..Packet6::icmp(to, 136, &rest) }
        .bytes()
}
