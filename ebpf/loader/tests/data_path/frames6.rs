//! Building IPv6 frames, and reading them back with an eye on the checksum.

use std::net::Ipv6Addr;

use super::{
    frames::{ROUTER_MAC, ethernet, sum},
    lab::{GUEST_MAC, GUEST6, SERVICE6},
};

pub(crate) const IPV6: u16 = 0x86dd;

/// An IPv6 frame, field by field.
#[derive(Debug, Clone)]
pub(crate) struct Packet6 {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hop_limit: u8,
    /// Each a protocol number and the header's bytes, whose first is filled in.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) protocol: u8,
    /// The upper layer, its checksum to be filled in.
    pub(crate) upper: Vec<u8>,
}

impl Packet6 {
    /// A guest's TCP segment to the first service.
    pub(crate) fn tcp() -> Self {
        let mut upper = [40000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat();
        upper.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        upper.extend(b"GET /latest/meta-data/ HTTP/1.1\r\n\r\n");
        Self {
            to_mac: ROUTER_MAC,
            from_mac: GUEST_MAC,
            source: GUEST6,
            destination: SERVICE6,
            hop_limit: 64,
            extensions: Vec::new(),
            protocol: 6,
            upper,
        }
    }

    /// A guest's UDP datagram.
    pub(crate) fn udp(destination: Ipv6Addr, ports: (u16, u16), payload: &[u8]) -> Self {
        let mut upper = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        upper.extend((8 + payload.len() as u16).to_be_bytes());
        upper.extend([0, 0]);
        upper.extend(payload);
        Self { protocol: 17, destination, to_mac: mac_for(destination), upper, ..Self::tcp() }
    }

    /// An ICMPv6 message of a type, with what follows the checksum.
    pub(crate) fn icmp(destination: Ipv6Addr, kind: u8, rest: &[u8]) -> Self {
        let upper = [&[kind, 0, 0, 0], rest].concat();
        let to_mac = mac_for(destination);
        Self { protocol: 58, destination, to_mac, hop_limit: 255, upper, ..Self::tcp() }
    }

    /// With extension headers of eight bytes each.
    pub(crate) fn extended(self, kinds: &[u8]) -> Self {
        let extensions = kinds.iter().map(|kind| (*kind, vec![0; 8])).collect();
        Self { extensions, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut upper = self.upper.clone();
        let at = match self.protocol {
            6 => Some(16),
            17 => Some(6),
            58 => Some(2),
            _ => None,
        };
        if let Some(at) = at {
            let value = !sum(&self.summed(&upper).iter().map(Vec::as_slice).collect::<Vec<_>>());
            let value = if value == 0 && self.protocol == 17 { 0xffff } else { value };
            upper[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        let kinds: Vec<u8> = self.extensions.iter().map(|one| one.0).collect();
        let next = |n: usize| kinds.get(n).copied().unwrap_or(self.protocol);
        let mut payload = Vec::new();
        for (n, (_, bytes)) in self.extensions.iter().enumerate() {
            payload.push(next(n + 1));
            payload.extend(&bytes[1..]);
        }
        payload.extend(upper);
        let mut frame = ethernet(self.to_mac, self.from_mac, IPV6);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend([next(0), self.hop_limit]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        frame.extend(payload);
        frame
    }

    fn summed(&self, upper: &[u8]) -> [Vec<u8>; 2] {
        let mut pseudo = [self.source.octets(), self.destination.octets()].concat();
        pseudo.extend((upper.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, self.protocol]);
        [pseudo, upper.to_vec()]
    }
}

fn mac_for(destination: Ipv6Addr) -> [u8; 6] {
    if !destination.is_multicast() {
        return ROUTER_MAC;
    }
    let [.., a, b, c, d] = destination.octets();
    [0x33, 0x33, a, b, c, d]
}

/// An untagged IPv6 frame without extension headers as it is read back.
pub(crate) struct Read6<'a>(pub(crate) &'a [u8]);

impl Read6<'_> {
    pub(crate) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (self.0[..6].try_into().unwrap(), self.0[6..12].try_into().unwrap())
    }

    pub(crate) fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(<[u8; 16]>::try_from(&self.0[22..38]).unwrap())
    }

    pub(crate) fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(<[u8; 16]>::try_from(&self.0[38..54]).unwrap())
    }

    pub(crate) fn ports(&self) -> (u16, u16) {
        let at = |n: usize| u16::from_be_bytes([self.0[n], self.0[n + 1]]);
        (at(54), at(56))
    }

    pub(crate) fn upper(&self) -> &[u8] {
        &self.0[54..]
    }

    /// UDP's is left out, which IPv6 forbids (RFC 8200, section 8.1).
    pub(crate) fn has_no_checksum(&self) -> bool {
        self.0[20] == 17 && self.0[60..62] == [0, 0]
    }

    pub(crate) fn checksum_is_right(&self) -> bool {
        if self.has_no_checksum() {
            return false;
        }
        let length = u32::from(u16::from_be_bytes([self.0[18], self.0[19]]));
        let upper = &self.0[54..54 + length as usize];
        let pseudo = [&length.to_be_bytes()[..], &[0, 0, 0, self.0[20]]].concat();
        sum(&[&self.0[22..54], &pseudo, upper]) == 0xffff
    }

    /// What no rewriting may change: everything but MACs, addresses, the checksum, and ports.
    pub(crate) fn rest(&self) -> Vec<u8> {
        let mut rest = self.0.to_vec();
        rest[..12].fill(0);
        rest[22..54].fill(0);
        let (ports, checksum) = match self.0[20] {
            6 => (4, 70),
            17 => (4, 60),
            _ => (0, 56),
        };
        rest[54..54 + ports].fill(0);
        rest[checksum..checksum + 2].fill(0);
        rest
    }
}
