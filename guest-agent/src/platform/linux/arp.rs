//! ARP on one device (RFC 826): probing whether an address is taken (RFC 5227), and asking for one.

use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::packet::PacketSocket;
use crate::{doctor::observation::Neighbour, facts::Link};

/// How often the doctor asks as somebody without an address: often enough to see that most of it
/// gets lost, and not so often that a port's limit is reached by it.
const PROBES: u32 = 8;
/// How long an answer may take. On a link it takes microseconds.
const ANSWER: Duration = Duration::from_millis(150);

/// Sends and hears ARP packets.
pub(super) struct ArpSocket {
    socket: PacketSocket,
    mac: [u8; 6],
}

impl ArpSocket {
    pub(super) fn open(link: &Link) -> io::Result<Self> {
        let socket = PacketSocket::open(link.index, libc::ETH_P_ARP as u16)?;
        socket.bind()?;
        Ok(Self { socket, mac: link.mac.0 })
    }

    /// A request for `target`; from 0.0.0.0 it is a probe, from the target itself an announcement
    /// (RFC 5227, section 1.1).
    pub(super) fn send(&self, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<()> {
        self.socket.broadcast(&request(self.mac, sender, target))
    }

    /// Listens for a while; true as soon as somebody else uses the address or probes for it.
    pub(super) fn listen(&self, address: Ipv4Addr, wait: Duration) -> bool {
        self.hear(wait, |packet| conflicts(packet, self.mac, address))
    }

    /// Asks for an address, as each of the guest's own and as somebody without any.
    pub(super) fn ask(&self, target: Ipv4Addr, own: &[Ipv4Addr]) -> io::Result<Neighbour> {
        let mut neighbour = Neighbour::default();
        for _ in 0..PROBES {
            neighbour.probes += 1;
            neighbour.answered += u32::from(self.is_answered(Ipv4Addr::UNSPECIFIED, target)?);
        }
        for address in own {
            let answered = self.is_answered(*address, target)?;
            neighbour.own.push((*address, answered));
        }
        Ok(neighbour)
    }

    fn is_answered(&self, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<bool> {
        self.send(sender, target)?;
        Ok(self.hear(ANSWER, |packet| answers(packet, self.mac, sender, target)))
    }

    /// True as soon as something is heard that is wanted.
    fn hear(&self, wait: Duration, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !self.socket.await_packet(left) {
                return false;
            }
            let mut buffer = [0; 64];
            if self.socket.receive(&mut buffer).is_some_and(|(packet, _)| wanted(packet)) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}

/// An ARP request without its Ethernet header.
pub(super) fn request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[8..14].copy_from_slice(&mac);
    packet[14..18].copy_from_slice(&sender.octets());
    packet[24..28].copy_from_slice(&target.octets());
    packet
}

/// Whether an ARP packet shows that somebody else has the address, or is about to take it
/// (RFC 3927, section 2.2.1).
pub(super) fn conflicts(packet: &[u8], mac: [u8; 6], address: Ipv4Addr) -> bool {
    let Some(packet) = packet.get(..28) else { return false };
    if packet[..6] != [0, 1, 8, 0, 6, 4] || packet[8..14] == mac {
        return false;
    }
    let sender = &packet[14..18];
    let target = &packet[24..28];
    let is_probe = packet[6..8] == [0, 1] && sender == [0; 4];
    sender == address.octets() || (is_probe && target == address.octets())
}

/// Whether an ARP packet is the reply to our request for `target` as `sender`.
fn answers(packet: &[u8], mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> bool {
    let Some(packet) = packet.get(..28) else { return false };
    packet[..8] == [0, 1, 8, 0, 6, 4, 0, 2]
        && packet[14..18] == target.octets()
        && packet[18..24] == mac
        && packet[24..28] == sender.octets()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_the_own_question_answers_it() {
        let (mine, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let (service, own) = (Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(10, 0, 0, 1));
        let mut reply = request(other, service, own);
        reply[7] = 2;
        reply[18..24].copy_from_slice(&mine);
        assert!(answers(&reply, mine, own, service));
        assert!(!answers(&reply, mine, Ipv4Addr::UNSPECIFIED, service), "of another question");
        assert!(!answers(&reply, other, own, service), "to somebody else");
        assert!(!answers(&reply[..27], mine, own, service));
        assert!(!answers(&request(other, service, own), mine, own, service), "a request");
    }
}
