//! Building frames, and reading them back with an eye on every checksum.

use std::net::Ipv4Addr;

use super::lab::{GUEST, GUEST_MAC, SERVICE};

pub(crate) const ROUTER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xfe];
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;

/// The one's complement sum of 16-bit words (RFC 1071).
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// An IPv4 frame, field by field.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// Flags and offset.
    pub(crate) fragment: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) payload: Vec<u8>,
    /// UDP: leave the checksum out.
    pub(crate) no_checksum: bool,
    /// Behind the packet, as short frames have it.
    pub(crate) padding: usize,
}

impl Packet {
    /// A guest's TCP segment to the first service.
    pub(crate) fn tcp() -> Self {
        Self {
            to_mac: ROUTER_MAC,
            from_mac: GUEST_MAC,
            source: GUEST,
            destination: SERVICE,
            protocol: 6,
            ttl: 64,
            id: 0x1234,
            fragment: 0x4000,
            options: Vec::new(),
            source_port: 40000,
            destination_port: 80,
            payload: b"GET /latest/meta-data/ HTTP/1.1\r\n\r\n".to_vec(),
            no_checksum: false,
            padding: 0,
        }
    }

    /// A guest's UDP datagram.
    pub(crate) fn udp(destination: Ipv4Addr, port: u16) -> Self {
        Self { protocol: 17, destination, destination_port: port, ..Self::tcp() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut transport = Vec::new();
        transport.extend(self.source_port.to_be_bytes());
        transport.extend(self.destination_port.to_be_bytes());
        let checksum_at = match self.protocol {
            6 => {
                transport.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
                Some(16)
            }
            17 => {
                transport.extend((8 + self.payload.len() as u16).to_be_bytes());
                transport.extend([0, 0]);
                Some(6).filter(|_| !self.no_checksum)
            }
            _ => None,
        };
        transport.extend(&self.payload);
        if let Some(at) = checksum_at {
            let length = (transport.len() as u16).to_be_bytes();
            let pseudo = [0, self.protocol, length[0], length[1]];
            let addresses = [self.source.octets(), self.destination.octets()].concat();
            let mut value = !sum(&[&addresses, &pseudo, &transport]);
            if value == 0 && self.protocol == 17 {
                value = 0xffff;
            }
            transport[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        assert_eq!(self.options.len() % 4, 0);
        let header = 20 + self.options.len();
        let mut ip = vec![0x40 | (header / 4) as u8, 0];
        ip.extend(((header + transport.len()) as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.source.octets());
        ip.extend(self.destination.octets());
        ip.extend(&self.options);
        let checksum = !sum(&[&ip]);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let mut frame = ethernet(self.to_mac, self.from_mac, IPV4);
        frame.extend(ip);
        frame.extend(transport);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }
}

/// An Ethernet header.
pub(crate) fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16) -> Vec<u8> {
    [&to[..], &from[..], &ethertype.to_be_bytes()].concat()
}

/// Puts an 802.1Q (0x8100) or 802.1ad (0x88a8) tag into a frame.
pub(crate) fn tagged(frame: &[u8], kind: u16, vlan: u16) -> Vec<u8> {
    let tag = [kind.to_be_bytes(), vlan.to_be_bytes()].concat();
    [&frame[..12], &tag, &frame[12..]].concat()
}

/// An ARP frame for IPv4 on Ethernet.
#[derive(Debug, Clone)]
pub(crate) struct ArpFrame {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) operation: u16,
    pub(crate) sender_mac: [u8; 6],
    pub(crate) sender: Ipv4Addr,
    pub(crate) target_mac: [u8; 6],
    pub(crate) target: Ipv4Addr,
}

impl ArpFrame {
    /// A guest asks who has an address.
    pub(crate) fn request(target: Ipv4Addr) -> Self {
        Self {
            to_mac: [0xff; 6],
            from_mac: GUEST_MAC,
            operation: 1,
            sender_mac: GUEST_MAC,
            sender: GUEST,
            target_mac: [0; 6],
            target,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = ethernet(self.to_mac, self.from_mac, ARP);
        frame.extend([0, 1, 8, 0, 6, 4]);
        frame.extend(self.operation.to_be_bytes());
        frame.extend(self.sender_mac);
        frame.extend(self.sender.octets());
        frame.extend(self.target_mac);
        frame.extend(self.target.octets());
        frame
    }
}

/// An untagged IPv4 frame as it is read back.
pub(crate) struct Read<'a>(pub(crate) &'a [u8]);

impl Read<'_> {
    pub(crate) fn target_mac(&self) -> [u8; 6] {
        self.0[..6].try_into().unwrap()
    }

    pub(crate) fn sender_mac(&self) -> [u8; 6] {
        self.0[6..12].try_into().unwrap()
    }

    pub(crate) fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.0[26..30]).unwrap())
    }

    pub(crate) fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.0[30..34]).unwrap())
    }

    pub(crate) fn ports(&self) -> (u16, u16) {
        let at = |n: usize| u16::from_be_bytes([self.0[n], self.0[n + 1]]);
        (at(34), at(36))
    }

    /// The IPv4 header's checksum is right.
    pub(crate) fn ip_checksum_is_right(&self) -> bool {
        let header = usize::from(self.0[14] & 0xf) * 4;
        sum(&[&self.0[14..14 + header]]) == 0xffff
    }

    /// TCP's or UDP's checksum is right, or left out (UDP).
    pub(crate) fn transport_checksum_is_right(&self) -> bool {
        let header = usize::from(self.0[14] & 0xf) * 4;
        let length = usize::from(u16::from_be_bytes([self.0[16], self.0[17]]));
        let transport = &self.0[14 + header..14 + length];
        let protocol = self.0[23];
        if protocol == 17 && transport[6..8] == [0, 0] {
            return true;
        }
        let size = (transport.len() as u16).to_be_bytes();
        sum(&[&self.0[26..34], &[0, protocol, size[0], size[1]], transport]) == 0xffff
    }

    /// What no rewriting may change: everything but MACs, addresses, checksums, and ports.
    pub(crate) fn rest(&self) -> Vec<u8> {
        let mut rest = self.0.to_vec();
        rest[..12].fill(0);
        rest[24..38].fill(0);
        let checksum = if self.0[23] == 6 { 50 } else { 40 };
        rest[checksum..checksum + 2].fill(0);
        rest
    }
}
