//! Frames as a guest would write them byte by byte, honest and other.
//!
//! Ethernet II, 802.1Q, ARP (RFC 826), IPv4 (RFC 791), TCP (RFC 9293), UDP (RFC 768), DHCP
//! (RFC 2131).

use std::net::Ipv4Addr;

/// The service's address.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A MAC of this text.
pub fn mac(text: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    for (byte, group) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(group, 16).expect("a MAC");
    }
    bytes
}

/// An Ethernet frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60.max(14 + payload.len()));
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The same frame with an 802.1Q tag.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    bytes.extend_from_slice(&[0x81, 0x00]);
    bytes.extend_from_slice(&vlan.to_be_bytes());
    bytes.extend_from_slice(&frame[12..]);
    bytes
}

/// How an IPv4 packet differs from a plain one.
#[derive(Debug, Clone, Copy)]
pub struct Ip {
    /// The source.
    pub from: Ipv4Addr,
    /// The destination.
    pub to: Ipv4Addr,
    /// The TTL.
    pub ttl: u8,
    /// Flags and fragment offset; 0x2000 says that more fragments follow.
    pub fragment: u16,
}

impl Ip {
    /// From this address to the service.
    pub fn to_service(from: Ipv4Addr) -> Self {
        Self { from, to: SERVICE, ttl: 64, fragment: 0x4000 }
    }

    /// The packet with its header checksum; `options` is a multiple of four bytes.
    pub fn packet(&self, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let header = 20 + options.len();
        let total = u16::try_from(header + payload.len()).expect("a packet that fits");
        let words = u8::try_from(header / 4).expect("options that fit");
        let mut bytes = vec![0x40 | words, 0];
        bytes.extend_from_slice(&total.to_be_bytes());
        bytes.extend_from_slice(&[0x12, 0x34]);
        bytes.extend_from_slice(&self.fragment.to_be_bytes());
        bytes.extend_from_slice(&[self.ttl, protocol, 0, 0]);
        bytes.extend_from_slice(&self.from.octets());
        bytes.extend_from_slice(&self.to.octets());
        bytes.extend_from_slice(options);
        let sum = checksum(&bytes, 0);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// A TCP segment in a packet.
    pub fn tcp(&self, from: u16, to: u16, flags: u8, data: &[u8]) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&from.to_be_bytes());
        tcp.extend_from_slice(&to.to_be_bytes());
        tcp.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(data);
        let sum = checksum(&tcp, self.pseudo(6, tcp.len()));
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(6, &[], &tcp)
    }

    /// A UDP datagram in a packet.
    pub fn udp(&self, from: u16, to: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + data.len()).expect("a datagram that fits");
        let mut udp = Vec::new();
        udp.extend_from_slice(&from.to_be_bytes());
        udp.extend_from_slice(&to.to_be_bytes());
        udp.extend_from_slice(&length.to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(data);
        let sum = checksum(&udp, self.pseudo(17, udp.len()));
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        self.packet(17, &[], &udp)
    }

    fn pseudo(&self, protocol: u8, length: usize) -> u32 {
        let length = u16::try_from(length).expect("a payload that fits");
        let mut bytes = self.from.octets().to_vec();
        bytes.extend_from_slice(&self.to.octets());
        bytes.extend_from_slice(&[0, protocol]);
        bytes.extend_from_slice(&length.to_be_bytes());
        u32::from(!checksum(&bytes, 0))
    }
}

/// The flag of a segment that opens a connection.
pub const SYN: u8 = 0x02;

/// A SYN from this port to the service's port 80, in a frame.
pub fn syn(from_mac: [u8; 6], to_mac: [u8; 6], ip: &Ip, from_port: u16) -> Vec<u8> {
    ethernet(to_mac, from_mac, 0x0800, &ip.tcp(from_port, 80, SYN, &[]))
}

/// Whether a frame is a TCP segment of the service to this port.
pub fn is_answer_to(frame: &[u8], port: u16) -> bool {
    frame.get(12..14) == Some(&[8, 0])
        && frame.get(26..30) == Some(&SERVICE.octets())
        && frame.get(36..38) == Some(&port.to_be_bytes())
}

/// An ARP packet in a broadcast frame: operation 1 asks, 2 answers.
pub fn arp(operation: u16, from_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend_from_slice(&operation.to_be_bytes());
    packet.extend_from_slice(&from_mac);
    packet.extend_from_slice(&sender.octets());
    packet.extend_from_slice(&[0; 6]);
    packet.extend_from_slice(&target.octets());
    ethernet([0xff; 6], from_mac, 0x0806, &packet)
}

/// What a DHCP server offers, in a broadcast frame.
pub fn dhcp_offer(from_mac: [u8; 6], from: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![2, 1, 6, 0, 1, 2, 3, 4];
    message.resize(236, 0);
    message.extend_from_slice(&[99, 130, 83, 99, 53, 1, 2, 255]);
    let ip = Ip { from, to: Ipv4Addr::BROADCAST, ttl: 64, fragment: 0 };
    ethernet([0xff; 6], from_mac, 0x0800, &ip.udp(67, 68, &message))
}

/// The Internet checksum (RFC 1071) of these bytes on top of a sum.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("a folded sum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packets_own_checksums_come_out_as_zero() {
        let ip = Ip::to_service(Ipv4Addr::new(192, 168, 0, 10));
        let packet = ip.tcp(1, 80, SYN, b"odd");
        assert_eq!(checksum(&packet[..20], 0), 0);
        assert_eq!(checksum(&packet[20..], ip.pseudo(6, packet.len() - 20)), 0);
    }
}
