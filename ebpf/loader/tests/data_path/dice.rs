//! Random frames out of a guest, and out of the metadata namespace: most of them right but for a field or two, since what is wrong in
//! many is dropped for the first and says nothing of the others.
//!
//! One generator for the tests and for the fuzz runner, so that a run of either can be repeated by
//! its seed.

#[path = "dice/ipv6.rs"]
mod ipv6;
#[path = "dice/replies.rs"]
mod replies;

use std::net::Ipv4Addr;

use mezame_ebpf_loader::{Answers, PortRules};

use super::{
    frames::{ArpFrame, Packet, ROUTER_MAC, ethernet, tagged},
    lab::{GUEST, GUEST_MAC, OTHER_SERVICE, SERVICE},
};

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn address(&mut self) -> Ipv4Addr {
        match self.below(12) {
            0 => Ipv4Addr::from(self.roll() as u32),
            1 => Ipv4Addr::new(10, 9, 0, self.roll() as u8),
            2 => Ipv4Addr::new(169, 254, self.below(4) as u8, self.roll() as u8),
            3 => Ipv4Addr::UNSPECIFIED,
            4 => OTHER_SERVICE,
            5 => Ipv4Addr::new(192, 168, 0, 11),
            _ => GUEST,
        }
    }

    fn mac(&mut self) -> [u8; 6] {
        if self.one_in(10) { self.roll().to_be_bytes()[..6].try_into().unwrap() } else { GUEST_MAC }
    }

    /// Other rules for a port, as an operator may change them while it is in use.
    pub(crate) fn rules(&mut self, rules: &PortRules) -> PortRules {
        let answers =
            Answers { dhcp4: !self.one_in(3), dhcp6: !self.one_in(3), router: !self.one_in(3) };
        let mut rules = PortRules { answers, dhcp_server: self.one_in(4), ..rules.clone() };
        // Any address: those that no host may have are not allowed by that.
        if self.one_in(6) {
            rules.allowed.push("0.0.0.0/0".parse().unwrap());
            rules.allowed6.push("::/0".parse().unwrap());
        }
        rules
    }

    /// A DHCPv4 client's message, or a server's.
    fn dhcp(&mut self) -> Vec<u8> {
        let destination = match self.below(8) {
            0 => self.address(),
            1 | 2 => SERVICE,
            _ => Ipv4Addr::BROADCAST,
        };
        let is_group = destination.is_broadcast() != self.one_in(16);
        Packet {
            to_mac: if is_group { [0xff; 6] } else { ROUTER_MAC },
            from_mac: self.mac(),
            source: if self.one_in(2) { Ipv4Addr::UNSPECIFIED } else { self.address() },
            fragment: if self.one_in(12) { self.roll() as u16 } else { 0 },
            options: if self.one_in(12) { vec![1; 4 * self.below(11)] } else { Vec::new() },
            source_port: self.pick(&[68, 68, 68, 67, 1068]),
            destination_port: self.pick(&[67, 67, 67, 68, 80]),
            payload: vec![self.roll() as u8; self.below(300)],
            no_checksum: self.one_in(4),
            ..Packet::udp(destination, 67)
        }
        .bytes()
    }

    fn packet(&mut self) -> Vec<u8> {
        let length = if self.one_in(8) { self.below(1400) } else { self.below(40) };
        let byte = self.roll() as u8;
        Packet {
            to_mac: if self.one_in(10) { [0xff; 6] } else { ROUTER_MAC },
            from_mac: self.mac(),
            source: if self.one_in(20) { SERVICE } else { self.address() },
            destination: if self.one_in(3) { self.address() } else { SERVICE },
            protocol: if self.one_in(20) { self.roll() as u8 } else { self.pick(&[6, 6, 17]) },
            ttl: self.roll() as u8,
            id: self.roll() as u16,
            fragment: if self.one_in(12) { self.roll() as u16 } else { 0x4000 },
            options: if self.one_in(12) { vec![1; 4 * self.below(11)] } else { Vec::new() },
            source_port: self.pick(&[40000, 40001, 67, 80]),
            destination_port: self.pick(&[80, 80, 123, 443, 22]),
            payload: (0..length).map(|n| byte.wrapping_mul(n as u8 | 1)).collect(),
            no_checksum: self.one_in(4),
            padding: if self.one_in(4) { self.below(16) } else { 0 },
        }
        .bytes()
    }

    fn arp(&mut self) -> Vec<u8> {
        ArpFrame {
            to_mac: [0xff; 6],
            from_mac: self.mac(),
            operation: if self.one_in(6) { self.roll() as u16 } else { 1 },
            sender_mac: self.mac(),
            sender: if self.one_in(8) { SERVICE } else { self.address() },
            target_mac: [0; 6],
            target: if self.one_in(4) { self.address() } else { SERVICE },
        }
        .bytes()
    }

    /// A new frame, or a mutation of an earlier one.
    pub(crate) fn frame(&mut self, corpus: &mut Vec<Vec<u8>>) -> Vec<u8> {
        let mut frame = match self.below(16) {
            0 => self.arp(),
            1..4 if !corpus.is_empty() => corpus[self.below(corpus.len())].clone(),
            4 | 5 => self.dhcp(),
            6 | 7 => self.packet(),
            _ => self.frame6(),
        };
        if self.one_in(12) {
            for _ in 0..=self.below(5) {
                let vlan = self.pick(&[0, 1, 100, 0xffff]);
                frame = tagged(&frame, self.pick(&[0x8100, 0x88a8, 0x8100, 0x9100]), vlan);
            }
        }
        if self.one_in(40) {
            frame = self.wrapped(&frame);
        }
        if self.one_in(3) {
            self.damage(&mut frame);
        }
        if self.one_in(10) {
            let length = self.below(frame.len());
            frame.truncate(length);
        }
        // The kernel takes no shorter ones for a trial.
        frame.resize(frame.len().max(54), 0);
        if self.one_in(16) {
            if corpus.len() < 512 {
                corpus.push(frame.clone());
            } else {
                let at = self.below(corpus.len());
                corpus[at].clone_from(&frame);
            }
        }
        frame
    }

    fn damage(&mut self, frame: &mut [u8]) {
        for _ in 0..=self.below(3) {
            // Rather in the headers than in the payload.
            let reach = if self.one_in(4) { frame.len() } else { frame.len().min(94) };
            let at = self.below(reach);
            frame[at] = match self.below(3) {
                0 => self.roll() as u8,
                1 => frame[at] ^ (1 << self.below(8)),
                _ => self.pick(&[0, 0xff, 0x80, 0x7f]),
            };
        }
    }

    /// A frame behind LLC and SNAP headers (RFC 1042).
    fn wrapped(&mut self, frame: &[u8]) -> Vec<u8> {
        let length = if self.one_in(4) { self.below(0x700) } else { frame.len() - 6 };
        let macs = (frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap());
        let mut wrapped = ethernet(macs.0, macs.1, length as u16);
        wrapped.extend([0xaa, self.pick(&[0xaa, 0xaa, 0xaa, 0xab]), 3, 0, 0, 0]);
        wrapped.extend(&frame[12..]);
        wrapped
    }
}
