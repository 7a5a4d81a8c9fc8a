//! What comes out of the metadata namespace: replies of services find their guest by the identity
//! that they go to, and nothing else leaves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mezame_ebpf_loader::{Identity, Identity6, PortSlot, Protocol, SERVICE_MAC, Trial, Verdict};

use super::{
    super::{frames::Read, frames6::Read6},
    Model, address, address6, transport, word,
};

/// What must become of a frame out of the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The namespace's own talk: dropped without a word.
    Stay,
    Drop(Verdict),
    /// To the guest, as from a service; from its own address and port where there is none named.
    Return {
        from: Option<(IpAddr, u16)>,
        to: IpAddr,
        mac: [u8; 6],
    },
}

const EVERYONE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const EVERYONE_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const BAD: Verdict = Verdict::BadReply;
const STALE: Verdict = Verdict::StaleIdentity;

impl Model {
    fn way(&self, frame: &[u8]) -> Way {
        let found = match word(frame, 12) {
            Some(0x0800) if frame.len() >= 34 => self.reply(&frame[14..]),
            Some(0x86dd) if frame.len() >= 54 => {
                let packet = &frame[14..];
                match Identity6::parse(address6(packet, 24).unwrap()) {
                    Some(identity) => self.reply_6(packet, identity),
                    None => return Way::Stay,
                }
            }
            _ => return Way::Stay,
        };
        found.unwrap_or_else(Way::Drop)
    }

    fn reply(&self, packet: &[u8]) -> Result<Way, Verdict> {
        let total = usize::from(word(packet, 2).ok_or(BAD)?);
        let is_fragment = word(packet, 6).ok_or(BAD)? & 0x3fff != 0;
        if packet[0] != 0x45 || is_fragment || total < 20 || total > packet.len() {
            return Err(BAD);
        }
        let (slot, n) = Identity::parse(address(packet, 16).unwrap()).ok_or(BAD)?;
        let source = address(packet, 12).unwrap();
        let (service, protocol) = self.sender(source, packet[9], &packet[20..total])?;
        self.own_slot(slot)?;
        if n == Identity::UNSPECIFIED {
            // An answer of DHCP to a guest without an address.
            if (protocol, service.1) != (Protocol::Udp, 67) {
                return Err(BAD);
            }
            let to = Ipv4Addr::BROADCAST.into();
            return Ok(Way::Return { from: Some(service), to, mac: [0xff; 6] });
        }
        let to = self.slots.address(n).ok_or(STALE)?.into();
        Ok(Way::Return { from: Some(service), to, mac: self.rules.mac })
    }

    fn reply_6(&self, packet: &[u8], identity: Identity6) -> Result<Way, Verdict> {
        let length = usize::from(word(packet, 4).unwrap());
        let payload = packet.get(40..40 + length).ok_or(BAD)?;
        let from = if packet[6] == 58 {
            // A router's advertisement, from the router.
            if packet.len() < 44 || packet[40] != 134 {
                return Err(BAD);
            }
            None
        } else {
            Some(self.sender(address6(packet, 8).unwrap(), packet[6], payload)?.0)
        };
        self.own_slot(identity.slot())?;
        if identity.prefix() == Identity6::EVERYONE {
            if from.is_some() {
                return Err(BAD);
            }
            return Ok(Way::Return { from, to: EVERYONE.into(), mac: EVERYONE_MAC });
        }
        let upper = self.slots.upper(identity.prefix()).ok_or(STALE)?;
        let mut to = identity.address().octets();
        to[..8].copy_from_slice(&upper);
        Ok(Way::Return { from, to: Ipv6Addr::from(to).into(), mac: self.rules.mac })
    }

    /// The service, as guests know it, whose target has sent a segment.
    fn sender(
        &self,
        source: impl Into<IpAddr>,
        number: u8,
        segment: &[u8],
    ) -> Result<((IpAddr, u16), Protocol), Verdict> {
        let (protocol, _) = transport::destination(number, segment).map_err(|_| BAD)?;
        let target = (source.into(), word(segment, 0).ok_or(BAD)?);
        let is_it = |service: &&mezame_ebpf_loader::Service| {
            service.protocol == protocol && (service.target.ip(), service.target.port()) == target
        };
        let service = self.services.iter().find(is_it).ok_or(BAD)?;
        Ok(((service.address, service.port), protocol))
    }

    /// There is no other port.
    fn own_slot(&self, slot: PortSlot) -> Result<(), Verdict> {
        if slot == self.rules.slot { Ok(()) } else { Err(STALE) }
    }

    /// Compares what the kernel did with a frame out of the namespace with what must be done.
    ///
    /// # Panics
    /// If they differ.
    pub(crate) fn compare_reply(&mut self, frame: &[u8], trial: &Trial) {
        let way = self.way(frame);
        let (action, counted) = match way {
            Way::Stay => (Trial::DROP, None),
            Way::Drop(verdict) => (Trial::DROP, Some(verdict)),
            Way::Return { .. } => (Trial::REDIRECT, Some(Verdict::Returned)),
        };
        assert_eq!(trial.action, action, "{way:?} {frame:02x?}");
        if let Some(verdict) = counted {
            self.counted[verdict as usize] += 1;
        }
        let Way::Return { from, to, mac } = way else {
            assert_eq!(trial.frame, frame, "{way:?}");
            return;
        };
        assert_eq!(trial.frame[..12], [mac, SERVICE_MAC].concat());
        match to {
            IpAddr::V4(to) => compare_returned(&Read(frame), &Read(&trial.frame), from, to),
            IpAddr::V6(to) => compare_returned_6(&Read6(frame), &Read6(&trial.frame), from, to),
        }
    }
}

fn compare_returned(old: &Read<'_>, new: &Read<'_>, from: Option<(IpAddr, u16)>, to: Ipv4Addr) {
    let (service, port) = from.unwrap();
    assert_eq!((IpAddr::V4(new.source()), new.destination()), (service, to));
    assert_eq!(new.ports(), (port, old.ports().1));
    assert_eq!(new.rest(), old.rest());
    assert_eq!(new.ip_checksum_is_right(), old.ip_checksum_is_right(), "{:02x?}", old.0);
    let transport = (new.transport_checksum_is_right(), old.transport_checksum_is_right());
    assert_eq!(transport.0, transport.1, "{:02x?}", old.0);
}

fn compare_returned_6(old: &Read6<'_>, new: &Read6<'_>, from: Option<(IpAddr, u16)>, to: Ipv6Addr) {
    assert_eq!(new.destination(), to);
    if let Some((service, port)) = from {
        assert_eq!(IpAddr::V6(new.source()), service);
        assert_eq!(new.ports(), (port, old.ports().1));
    } else {
        assert_eq!(new.source(), old.source());
    }
    assert_eq!(new.rest(), old.rest());
    assert_eq!(new.has_no_checksum(), old.has_no_checksum(), "{:02x?}", old.0);
    assert_eq!(new.checksum_is_right(), old.checksum_is_right(), "{:02x?}", old.0);
}
