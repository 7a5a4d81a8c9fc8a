//! What must become of a frame, in plain Rust: written from the rules and not from the program,
//! slow and simple, to be compared with what the kernel does.
//!
//! The rules are those of the README beside the programs and of RFC 791, 826, 2131, 4861, 8200 and
//! 8415. Here are the frame's outside and the comparison; each protocol has a file of its own.

#[path = "model/arp.rs"]
mod arp;
#[path = "model/chain.rs"]
mod chain;
#[path = "model/delivered.rs"]
mod delivered;
#[path = "model/ipv4.rs"]
mod ipv4;
#[path = "model/ipv6.rs"]
mod ipv6;
#[path = "model/neighbours.rs"]
mod neighbours;
#[path = "model/replies.rs"]
mod replies;
#[path = "model/slots.rs"]
mod slots;
#[path = "model/transport.rs"]
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mezame_ebpf_loader::{PortRules, Protocol, Service, Trial, Verdict};
use slots::Slots;

/// What must become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop(Verdict),
    /// To a service, as the guest that has the source address.
    Deliver(Service),
    /// To a service, as a guest whose address is not known to be its own.
    DeliverOfNobody(Service),
    AnswerArp,
    AnswerNeighbour,
}

/// One port and the services, with what the port's frames were so far.
pub(crate) struct Model {
    rules: PortRules,
    services: Vec<Service>,
    slots: Slots,
    pub(crate) counted: [u64; Verdict::COUNT],
}

/// A frame that is taken apart as far as its tags.
struct Outside<'a> {
    /// All of it.
    frame: &'a [u8],
    /// What lies behind the Ethernet type.
    packet: &'a [u8],
    is_tagged: bool,
}

impl Outside<'_> {
    fn is_to_group(&self) -> bool {
        self.frame[0] & 1 == 1
    }

    fn sender(&self) -> &[u8] {
        &self.frame[6..12]
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
}

fn address6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
}

impl Model {
    pub(crate) fn new(rules: PortRules, services: Vec<Service>) -> Self {
        let slots = Slots::new(rules.addresses.clone());
        Self { rules, services, slots, counted: [0; Verdict::COUNT] }
    }

    /// Gives the port other rules: the same port, with the same addresses of its own.
    pub(crate) fn rule(&mut self, rules: PortRules) {
        assert_eq!(
            (rules.slot, rules.generation, &rules.addresses),
            (self.rules.slot, self.rules.generation, &self.rules.addresses)
        );
        self.rules = rules;
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
        let outside = Outside { frame, packet: &frame[at + 2..], is_tagged: tags > 0 };
        match word(frame, at) {
            Some(0x0800) => self.ipv4(&outside),
            Some(0x0806) => self.arp(&outside),
            Some(0x86dd) => self.ipv6(&outside),
            // IEEE 802.3: a length. Behind it the service access points of SNAP.
            Some(0..0x600) if outside.packet[..2] == [0xaa; 2] => match word(outside.packet, 6) {
                Some(0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8) => Fate::Drop(Verdict::Malformed),
                _ => Fate::Pass,
            },
            _ => Fate::Pass,
        }
    }

    fn is_service(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        self.services.iter().any(|service| service.address == address)
    }

    /// The service that a guest reaches at an address, or by a group.
    fn service(
        &self,
        address: impl Into<IpAddr>,
        protocol: Protocol,
        port: u16,
    ) -> Option<Service> {
        let address = address.into();
        let is_it = |service: &&Service| {
            (service.address == address || service.group == Some(address))
                && (service.protocol, service.port) == (protocol, port)
        };
        self.services.iter().find(is_it).copied()
    }

    /// What is wrong with a frame to a service whatever is in it.
    fn fault_outside(&self, outside: &Outside<'_>) -> Option<Verdict> {
        if outside.is_tagged {
            return Some(Verdict::Tagged);
        }
        (outside.sender() != self.rules.mac).then_some(Verdict::WrongMac)
    }

    /// Compares what the kernel did with what must be done, and says what was done.
    ///
    /// # Panics
    /// If they differ.
    pub(crate) fn compare(&mut self, frame: &[u8], trial: &Trial) -> Fate {
        let fate = self.fate(frame);
        let (action, counted) = match fate {
            Fate::Pass => (Trial::NEXT, None),
            Fate::Drop(verdict) => (Trial::DROP, Some(verdict)),
            Fate::AnswerArp => (Trial::REDIRECT, Some(Verdict::ArpAnswered)),
            Fate::AnswerNeighbour => (Trial::REDIRECT, Some(Verdict::NeighbourAnswered)),
            Fate::Deliver(_) | Fate::DeliverOfNobody(_) => {
                (Trial::REDIRECT, Some(Verdict::Delivered))
            }
        };
        assert_eq!(trial.action, action, "{fate:?} {frame:02x?}");
        if let Some(verdict) = counted {
            self.counted[verdict as usize] += 1;
        }
        match fate {
            Fate::Pass | Fate::Drop(_) => assert_eq!(trial.frame, frame, "{fate:?}"),
            Fate::AnswerArp => assert_eq!(trial.frame, arp::answer(frame)),
            Fate::AnswerNeighbour => {
                assert_eq!(trial.frame, neighbours::answer(frame), "{frame:02x?}");
            }
            Fate::Deliver(service) => self.compare_delivered(frame, &trial.frame, &service, false),
            Fate::DeliverOfNobody(service) => {
                self.compare_delivered(frame, &trial.frame, &service, true);
            }
        }
        fate
    }
}
