//! Listening to a device: which TCP segments leave for an address, and which come from it.
//!
//! Between the firewall and the wire: what a rule drops on its way out is not heard, and what one
//! drops on its way in is. That tells a rule of the guest's from a silence of the network's.

use std::{io, net::IpAddr};

use super::packet::PacketSocket;
use crate::doctor::{instruments::Ear, observation::Heard};

/// So many packets are looked at.
const MAX_PACKETS: u32 = 4096;
const TCP: u8 = 6;
const RST: u8 = 4;

/// Listens since it was made.
pub(super) struct LinuxEar {
    socket: PacketSocket,
    endpoint: IpAddr,
    heard: Heard,
}

impl LinuxEar {
    pub(super) fn open(index: u32, endpoint: IpAddr) -> io::Result<Self> {
        let socket = PacketSocket::open(index, libc::ETH_P_ALL as u16)?;
        // A busy guest's other packets would push ours out of the socket's buffer.
        socket.filter(&mut filter(endpoint))?;
        socket.bind()?;
        Ok(Self { socket, endpoint, heard: Heard::default() })
    }
}

impl Ear for LinuxEar {
    fn heard(&mut self) -> Heard {
        let mut buffer = [0; 128];
        for _ in 0..MAX_PACKETS {
            let Some((packet, is_outgoing)) = self.socket.receive(&mut buffer) else { break };
            note(&mut self.heard, packet, is_outgoing, self.endpoint);
        }
        self.heard
    }
}

/// Lets in what has the endpoint's last four bytes as source or destination (bpf(4), the kernel's
/// Documentation/networking/filter.rst); the rest is [`note`]'s affair.
fn filter(endpoint: IpAddr) -> Vec<libc::sock_filter> {
    let (source, destination, last) = match endpoint {
        IpAddr::V4(address) => (12, 16, address.octets()),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            (20, 36, [a, b, c, d])
        }
    };
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let wanted = u32::from_be_bytes(last);
    vec![
        step(load, 0, 0, source),
        step(equal, 2, 0, wanted),
        step(load, 0, 0, destination),
        step(equal, 0, 1, wanted),
        step(end, 0, 0, 128),
        step(end, 0, 0, 0),
    ]
}

/// Counts a packet (RFC 791, RFC 8200, RFC 9293), if it is of TCP with the endpoint.
fn note(heard: &mut Heard, packet: &[u8], is_outgoing: bool, endpoint: IpAddr) {
    let Some((source, destination, flags)) = segment(packet) else { return };
    if is_outgoing && destination == endpoint {
        heard.sent += 1;
    } else if !is_outgoing && source == endpoint {
        if flags & RST == 0 {
            heard.came += 1;
        } else {
            heard.resets += 1;
        }
    }
}

/// Source, destination and flags of a TCP segment right behind its IP header.
fn segment(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8)> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            if *packet.get(9)? != TCP {
                return None;
            }
            let address = |at: usize| {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            Some((address(12)?, address(16)?, *packet.get(header + 13)?))
        }
        6 => {
            if *packet.get(6)? != TCP {
                return None;
            }
            let address = |at: usize| {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            Some((address(8)?, address(24)?, *packet.get(40 + 13)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet4(from: [u8; 4], to: [u8; 4], flags: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[9], packet[33]) = (0x45, TCP, flags);
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        packet
    }

    #[test]
    fn segments_are_counted_by_their_direction_and_resets_apart() {
        let (service, own) = ([169, 254, 169, 254], [10, 0, 0, 1]);
        let mut heard = Heard::default();
        for (packet, is_outgoing) in [
            (packet4(own, service, 2), true),
            (packet4(service, own, 0x12), false),
            (packet4(service, own, 0x14), false),
            (packet4(own, [10, 0, 0, 2], 2), true),
            (packet4(service, own, 2), true),
        ] {
            note(&mut heard, &packet, is_outgoing, IpAddr::from(service));
        }
        assert_eq!(heard, Heard { sent: 1, came: 1, resets: 1 });
    }

    #[test]
    fn segments_of_ipv6_are_counted_too() {
        let service = crate::endpoint::LINK_V6;
        let mut packet = vec![0; 60];
        (packet[0], packet[6], packet[53]) = (0x60, TCP, 2);
        packet[24..40].copy_from_slice(&service.octets());
        let mut heard = Heard::default();
        note(&mut heard, &packet, true, service.into());
        assert_eq!(heard, Heard { sent: 1, ..Heard::default() });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            note(&mut Heard::default(), &bytes, false, IpAddr::from([1, 2, 3, 4]));
        }
    }
}
