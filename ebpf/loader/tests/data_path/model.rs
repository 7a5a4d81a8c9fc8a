//! What must become of a frame, in plain Rust: written from the rules and not from the program,
//! slow and simple, to be compared with what the kernel does.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use mezame_ebpf_loader::{Identity, PortRules, Protocol, SERVICE_MAC, Service, Trial, Verdict};

use super::{
    frames::Read,
    lab::{HOST_MAC, PEER_MAC},
};

/// What must become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop(Verdict),
    Deliver(Service),
    Answer,
}

/// One port and the services, with what the port's frames were so far.
pub(crate) struct Model {
    rules: PortRules,
    services: Vec<Service>,
    /// Address slots: the port's own first, then those of ranges with the time of their last use.
    own: Vec<Ipv4Addr>,
    ranged: Vec<(Option<Ipv4Addr>, u64)>,
    clock: u64,
    pub(crate) counted: [u64; Verdict::COUNT],
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
}

impl Model {
    pub(crate) fn new(rules: PortRules, services: Vec<Service>) -> Self {
        let own = rules.addresses.clone();
        let ranged = vec![(None, 0); usize::from(Identity::UNSPECIFIED) - own.len()];
        Self { rules, services, own, ranged, clock: 0, counted: [0; Verdict::COUNT] }
    }

    /// Judges a frame.
    pub(crate) fn fate(&self, frame: &[u8]) -> Fate {
        let mut at = 12;
        let mut tags = 0;
        // Nothing is judged that is too short for an IPv4 header.
        while frame.len() >= at + 2 + 20 && matches!(word(frame, at), Some(0x8100 | 0x88a8)) {
            if tags == 4 {
                return Fate::Drop(Verdict::Tagged);
            }
            tags += 1;
            at += 4;
        }
        if frame.len() < at + 2 + 20 {
            return Fate::Pass;
        }
        let packet = &frame[at + 2..];
        match word(frame, at) {
            Some(0x0800) => self.ipv4(frame, packet, tags > 0),
            Some(0x0806) => self.arp(frame, packet, tags > 0),
            _ => Fate::Pass,
        }
    }

    fn is_service(&self, address: Ipv4Addr) -> bool {
        self.services.iter().any(|service| service.address == IpAddr::V4(address))
    }

    fn may_use(&self, source: Ipv4Addr) -> bool {
        let link_local: Ipv4Network = "169.254.0.0/16".parse().unwrap();
        let first = source.octets()[0];
        let host = first != 0 && first != 127 && first < 224;
        host && (self.own.contains(&source)
            || link_local.contains(source)
            || self.rules.allowed.iter().any(|range| range.contains(source)))
    }

    fn ipv4(&self, frame: &[u8], packet: &[u8], tagged: bool) -> Fate {
        let (Some(source), Some(destination)) = (address(packet, 12), address(packet, 16)) else {
            return Fate::Pass;
        };
        if self.is_service(source) {
            return Fate::Drop(Verdict::FromService);
        }
        let header = usize::from(packet[0] & 15) * 4;
        let fragment = word(packet, 6).unwrap();
        if !self.is_service(destination) {
            let dhcp = packet[9] == 17
                && fragment & 0x1fff == 0
                && header >= 20
                && packet.len() >= header + 4
                && (word(packet, header) == Some(67) || word(packet, header + 2) == Some(68));
            let rogue = dhcp && !self.rules.dhcp_server;
            return if rogue { Fate::Drop(Verdict::DhcpServer) } else { Fate::Pass };
        }
        if tagged {
            return Fate::Drop(Verdict::Tagged);
        }
        if frame[6..12] != self.rules.mac {
            return Fate::Drop(Verdict::WrongMac);
        }
        let total = usize::from(word(packet, 2).unwrap());
        let sound = packet[0] >> 4 == 4 && header >= 20 && total >= header && total <= packet.len();
        if frame[0] & 1 == 1 || !sound {
            return Fate::Drop(Verdict::Malformed);
        }
        if fragment & 0x3fff != 0 {
            return Fate::Drop(Verdict::Fragment);
        }
        if header > 20 {
            return Fate::Drop(Verdict::IpOptions);
        }
        if !self.may_use(source) {
            return Fate::Drop(Verdict::SpoofedSource);
        }
        let transport = &packet[20..total];
        let (protocol, sound) = match packet[9] {
            6 => {
                let offset = transport.get(12).map(|byte| usize::from(byte >> 4) * 4);
                let fits = offset.is_some_and(|offset| offset >= 20 && offset <= transport.len());
                (Protocol::Tcp, transport.len() >= 20 && fits)
            }
            17 => {
                let length = word(transport, 4).map(usize::from);
                let fits = length.is_some_and(|length| length >= 8 && length <= transport.len());
                (Protocol::Udp, transport.len() >= 8 && fits)
            }
            _ => return Fate::Drop(Verdict::NoService),
        };
        if !sound {
            return Fate::Drop(Verdict::Malformed);
        }
        let port = word(transport, 2).unwrap();
        let found = self.services.iter().find(|service| {
            (service.address, service.protocol, service.port)
                == (destination.into(), protocol, port)
        });
        found.map_or(Fate::Drop(Verdict::NoService), |service| Fate::Deliver(*service))
    }

    fn arp(&self, frame: &[u8], arp: &[u8], tagged: bool) -> Fate {
        if arp.len() < 28 || arp[2..6] != [8, 0, 6, 4] {
            return Fate::Pass;
        }
        let (sender, target) = (address(arp, 14).unwrap(), address(arp, 24).unwrap());
        if self.is_service(sender) {
            return Fate::Drop(Verdict::ArpClaim);
        }
        if word(arp, 0) != Some(1) || !self.is_service(target) {
            return Fate::Pass;
        }
        if tagged {
            return Fate::Drop(Verdict::Tagged);
        }
        if frame[6..12] != self.rules.mac || arp[8..14] != self.rules.mac {
            return Fate::Drop(Verdict::WrongMac);
        }
        if word(arp, 6) != Some(1) {
            return Fate::Drop(Verdict::Malformed);
        }
        if !sender.is_unspecified() && !self.may_use(sender) {
            return Fate::Drop(Verdict::SpoofedSource);
        }
        Fate::Answer
    }

    /// The address slot of a source, which is in use from now on.
    fn slot_of(&mut self, source: Ipv4Addr) -> usize {
        self.clock += 1;
        if let Some(n) = self.own.iter().position(|own| *own == source) {
            return n;
        }
        let found = self.ranged.iter().position(|slot| slot.0 == Some(source));
        let n = found
            .unwrap_or_else(|| (0..self.ranged.len()).min_by_key(|n| self.ranged[*n].1).unwrap());
        self.ranged[n] = (Some(source), self.clock);
        self.own.len() + n
    }

    /// Compares what the kernel did with what must be done, and says what was done.
    ///
    /// # Panics
    /// If they differ.
    pub(crate) fn compare(&mut self, frame: &[u8], trial: &Trial) -> Fate {
        let fate = self.fate(frame);
        match fate {
            Fate::Pass => {
                assert_eq!(trial.action, Trial::NEXT, "{frame:02x?}");
                assert_eq!(trial.frame, frame);
            }
            Fate::Drop(verdict) => {
                self.counted[verdict as usize] += 1;
                assert_eq!(trial.action, Trial::DROP, "{verdict:?} {frame:02x?}");
                assert_eq!(trial.frame, frame);
            }
            Fate::Answer => {
                self.counted[Verdict::ArpAnswered as usize] += 1;
                assert_eq!(trial.action, Trial::REDIRECT, "{frame:02x?}");
                assert_eq!(trial.frame, answer(frame));
            }
            Fate::Deliver(service) => {
                self.counted[Verdict::Delivered as usize] += 1;
                assert_eq!(trial.action, Trial::REDIRECT, "{frame:02x?}");
                self.compare_delivered(frame, &trial.frame, &service);
            }
        }
        fate
    }

    fn compare_delivered(&mut self, before: &[u8], after: &[u8], service: &Service) {
        let (old, new) = (Read(before), Read(after));
        let n = self.slot_of(old.source());
        assert_eq!(new.source(), Identity::new(self.rules.slot, n as u8).address());
        assert_eq!(IpAddr::V4(new.destination()), service.target.ip());
        assert_eq!(new.ports(), (old.ports().0, service.target.port()));
        assert_eq!((new.target_mac(), new.sender_mac()), (PEER_MAC, HOST_MAC));
        assert_eq!(new.rest(), old.rest());
        // Right stays right, and wrong stays wrong.
        assert_eq!(new.ip_checksum_is_right(), old.ip_checksum_is_right(), "{before:02x?}");
        let transport = (new.transport_checksum_is_right(), old.transport_checksum_is_right());
        assert_eq!(transport.0, transport.1, "{before:02x?} {after:02x?}");
    }
}

/// The answer to an ARP request, its padding kept.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut answer = request.to_vec();
    answer[..6].copy_from_slice(&request[22..28]);
    answer[6..12].copy_from_slice(&SERVICE_MAC);
    answer[21] = 2;
    answer[22..28].copy_from_slice(&SERVICE_MAC);
    answer[28..32].copy_from_slice(&request[38..42]);
    answer[32..38].copy_from_slice(&request[22..28]);
    answer[38..42].copy_from_slice(&request[28..32]);
    answer
}
