//! Random IPv6 frames: requests, neighbour discovery, DHCPv6, and what passes.

use std::net::Ipv6Addr;

use super::{
    super::{
        frames6::Packet6,
        lab::{GUEST_MAC, GUEST6, LINK_GUEST, LINK_SERVICE, SERVICE6},
    },
    Dice,
};

const EVERYONE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

impl Dice {
    pub(super) fn frame6(&mut self) -> Vec<u8> {
        let mut packet = match self.below(8) {
            0 => self.tcp6(),
            1 => self.udp6(),
            2 => self.dhcp6(),
            3 => self.icmp6(),
            4 => self.router_solicitation(),
            _ => self.discovery(),
        };
        packet.source = self.source6();
        packet.from_mac = self.mac();
        if self.one_in(24) {
            packet.to_mac[0] ^= 1;
        }
        if self.one_in(16) {
            packet.hop_limit = self.roll() as u8;
        }
        if self.one_in(4) {
            packet.extensions = self.extensions();
        }
        let mut frame = packet.bytes();
        if frame[20] == 17 && self.one_in(8) {
            frame[60..62].fill(0);
        }
        self.misstate(&mut frame);
        frame
    }

    /// Now and then, another length than the frame has, or bytes behind the packet.
    pub(super) fn misstate(&mut self, frame: &mut Vec<u8>) {
        let says = u16::from_be_bytes([frame[18], frame[19]]);
        let other = match self.below(24) {
            0 => 0,
            1 => self.below(64) as u16,
            2 => says.saturating_sub(self.below(24) as u16),
            3 => says + self.below(8) as u16,
            4 => self.roll() as u16,
            _ => says,
        };
        frame[18..20].copy_from_slice(&other.to_be_bytes());
        if self.one_in(8) {
            let byte = self.roll() as u8;
            frame.resize(frame.len() + self.below(32), byte);
        }
    }

    fn source6(&mut self) -> Ipv6Addr {
        match self.below(16) {
            0 => Ipv6Addr::UNSPECIFIED,
            1 => self.pick(&[SERVICE6, LINK_SERVICE]),
            2 => self.pick(&[ELSEWHERE, EVERYONE, Ipv6Addr::LOCALHOST]),
            3 => {
                let v4 = self.address();
                if self.one_in(2) { v4.to_ipv6_mapped() } else { v4.to_ipv6_compatible() }
            }
            4 => Ipv6Addr::from_bits(u128::from(self.roll()) << 64 | u128::from(self.roll())),
            5..8 => {
                // More prefixes than a port has slots for.
                let prefix = self.below(9) as u16;
                Ipv6Addr::new(0x2001, 0xdb8, 7, prefix, 0, 0, 0, self.roll() as u16)
            }
            8..11 => GUEST6,
            11 => Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(self.roll())),
            _ => LINK_GUEST,
        }
    }

    fn tcp6(&mut self) -> Packet6 {
        let mut packet = Packet6::tcp();
        packet.destination = self.pick(&[SERVICE6, SERVICE6, LINK_SERVICE, ELSEWHERE, EVERYONE]);
        packet.upper[3] = self.pick(&[80, 80, 80, 22]);
        packet.upper[12] = if self.one_in(8) { self.roll() as u8 } else { 0x50 };
        if self.one_in(12) {
            packet.protocol = self.pick(&[0, 1, 4, 41, 44, 50, 59, 132]);
        }
        if self.one_in(8) {
            packet.upper.truncate(self.below(packet.upper.len()));
            packet.upper.resize(packet.upper.len().max(18), 0);
        }
        packet
    }

    fn udp6(&mut self) -> Packet6 {
        let destination = self.pick(&[SERVICE6, SERVICE6, LINK_SERVICE, ELSEWHERE]);
        let ports = (self.pick(&[40000, 547, 546]), self.pick(&[123, 123, 123, 80, 546, 547]));
        let payload = vec![self.roll() as u8; self.below(60)];
        self.misstated_udp(Packet6::udp(destination, ports, &payload))
    }

    fn dhcp6(&mut self) -> Packet6 {
        let destination = self.pick(&[SERVERS, SERVERS, SERVERS, LINK_SERVICE, ELSEWHERE]);
        let ports = match self.below(6) {
            0 => (547, 546),
            1 => (547, 547),
            2 => (self.roll() as u16, 547),
            _ => (546, 547),
        };
        let payload = self.roll().to_be_bytes();
        self.misstated_udp(Packet6::udp(destination, ports, &payload))
    }

    fn misstated_udp(&mut self, mut packet: Packet6) -> Packet6 {
        if self.one_in(10) {
            packet.upper[4..6].copy_from_slice(&(self.below(80) as u16).to_be_bytes());
        }
        packet
    }

    fn icmp6(&mut self) -> Packet6 {
        let destination = self.pick(&[SERVICE6, ELSEWHERE, EVERYONE]);
        let kind = self.pick(&[1, 2, 128, 129, 130, 143, 137, 134]);
        Packet6::icmp(destination, kind, &vec![0; self.below(40)])
    }

    fn router_solicitation(&mut self) -> Packet6 {
        let option = [&[1, 1], &GUEST_MAC[..]].concat();
        let option = if self.one_in(2) { &option[..] } else { &[] };
        let destination = self.pick(&[ROUTERS, ROUTERS, ROUTERS, LINK_SERVICE, ELSEWHERE]);
        let mut packet = Packet6::icmp(destination, 133, &[&[0; 4], option].concat());
        if self.one_in(10) {
            packet.upper.truncate(4 + self.below(4));
        }
        packet
    }

    /// Solicitations and advertisements of neighbours and routers.
    fn discovery(&mut self) -> Packet6 {
        let target = self.pick(&[SERVICE6, LINK_SERVICE, SERVICE6, LINK_SERVICE, GUEST6]);
        let [.., a, b, c] = target.octets();
        let node = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), 0);
        let node = Ipv6Addr::from_bits(node.to_bits() | u128::from(b) << 8 | u128::from(c));
        let destination = self.pick(&[node, node, target, EVERYONE, ELSEWHERE]);
        let kind = self.pick(&[135, 135, 135, 136, 134]);
        let option = [&[1, 1], &GUEST_MAC[..]].concat();
        let option = option.repeat(self.below(4));
        let rest = [&[0; 4], &target.octets()[..], &option].concat();
        let mut packet = Packet6::icmp(destination, kind, &rest);
        if self.one_in(16) {
            packet.upper[1] = self.roll() as u8;
        }
        if self.one_in(8) {
            packet.upper.truncate(4 + self.below(24));
        }
        packet
    }

    fn extensions(&mut self) -> Vec<(u8, Vec<u8>)> {
        let count = if self.one_in(6) { 6 + self.below(5) } else { 1 + self.below(3) };
        (0..count).map(|_| self.extension()).collect()
    }

    fn extension(&mut self) -> (u8, Vec<u8>) {
        let kind = self.pick(&[0, 43, 44, 44, 51, 60, 60, 135, 139, 140, 50, 59]);
        let units = 1 + if self.one_in(3) { self.below(3) } else { 0 };
        let mut bytes = vec![0; 8 * units];
        match kind {
            // The first piece of several, a later one, and a whole in one piece.
            44 => {
                bytes.truncate(8);
                let offset = if self.one_in(3) { self.roll() as u16 } else { 0 };
                let offset = offset & 0xfff8 | u16::from(self.one_in(2));
                bytes[2..4].copy_from_slice(&offset.to_be_bytes());
            }
            51 => bytes[1] = (2 * units - 2) as u8,
            _ => bytes[1] = (units - 1) as u8,
        }
        if self.one_in(12) {
            bytes[1] = self.roll() as u8;
        }
        (kind, bytes)
    }
}
