//! Random frames out of the metadata namespace.

use std::net::Ipv6Addr;

use mezame_ebpf_loader::{Identity, Identity6, PortSlot};

use super::{
    super::{
        frames::Packet,
        frames6::Packet6,
        lab::{HOST_MAC, LINK_TARGET, PEER_MAC, SERVICE, SERVICE6, slot},
    },
    Dice,
};

impl Dice {
    /// A reply: most of them a service's, to an identity of the port's.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        let mut frame = match self.below(3) {
            0 => self.reply4(),
            1 => self.reply6(),
            _ => self.advertisement(),
        };
        if self.one_in(3) {
            self.damage(&mut frame);
        }
        if self.one_in(10) {
            let length = self.below(frame.len());
            frame.truncate(length);
        }
        frame.resize(frame.len().max(54), 0);
        frame
    }

    fn some_slot(&mut self) -> PortSlot {
        if self.one_in(8) { PortSlot::new(self.below(1 << 24) as u32).unwrap() } else { slot() }
    }

    fn reply4(&mut self) -> Vec<u8> {
        let (protocol, address, port) = self.pick(&[
            (6, SERVICE, 80),
            (17, SERVICE, 1123),
            (17, SERVICE, 67),
            (6, [169, 254, 169, 253].into(), 8443),
        ]);
        let port = if self.one_in(8) { self.pick(&[80, 67, 1123, 443]) } else { port };
        let n = if self.one_in(4) { Identity::UNSPECIFIED } else { self.below(16) as u8 };
        Packet {
            to_mac: HOST_MAC,
            from_mac: PEER_MAC,
            source: address,
            destination: Identity::new(self.some_slot(), n).address(),
            protocol,
            fragment: if self.one_in(12) { self.roll() as u16 } else { 0x4000 },
            source_port: port,
            destination_port: self.roll() as u16,
            payload: vec![self.roll() as u8; self.below(60)],
            no_checksum: self.one_in(4),
            padding: if self.one_in(4) { self.below(16) } else { 0 },
            ..Packet::tcp()
        }
        .bytes()
    }

    fn identity6(&mut self) -> Ipv6Addr {
        if self.one_in(12) {
            return Ipv6Addr::from_bits(u128::from(self.roll()) << 64);
        }
        let prefix = self.below(Identity6::PREFIXES + 1) as u8;
        Identity6::new(self.some_slot(), prefix, self.roll()).address()
    }

    fn reply6(&mut self) -> Vec<u8> {
        let (is_tcp, source, port) = self.pick(&[
            (true, SERVICE6, 80_u16),
            (true, LINK_TARGET, 8080),
            (false, LINK_TARGET, 1123),
            (false, LINK_TARGET, 547),
        ]);
        let port = if self.one_in(8) { self.pick(&[80, 547, 123]) } else { port };
        let ports = (port, self.roll() as u16);
        let payload = self.roll().to_be_bytes().repeat(self.below(8));
        let mut packet = Packet6::udp(SERVICE6, ports, &payload);
        if is_tcp {
            packet = Packet6::tcp();
            packet.upper[..4]
                .copy_from_slice(&[ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
        }
        self.of_namespace(Packet6 { source, ..packet })
    }

    fn advertisement(&mut self) -> Vec<u8> {
        let source = self.pick(&[LINK_TARGET, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)]);
        let kind = self.pick(&[134, 134, 134, 1, 136]);
        let packet = Packet6::icmp(SERVICE6, kind, &vec![1; 12 + 8 * self.below(4)]);
        self.of_namespace(Packet6 { source, ..packet })
    }

    fn of_namespace(&mut self, packet: Packet6) -> Vec<u8> {
        let destination = self.identity6();
        let mut packet = Packet6 { to_mac: HOST_MAC, from_mac: PEER_MAC, destination, ..packet };
        if self.one_in(16) {
            packet = packet.extended(&[60]);
        }
        let mut frame = packet.bytes();
        if self.one_in(4) {
            self.misstate(&mut frame);
        }
        frame
    }
}
