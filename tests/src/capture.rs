//! What went through a guest's card, as the card saw it.

use std::{
    net::Ipv6Addr,
    sync::{Arc, Mutex},
};

use crate::{dhcp, tap::HEADER};

/// The heads of the frames that a guest was sent (of ICMPv6 all of it), the newest last and bounded;
/// which offloads its own frames asked for; and the DHCP messages of both ways.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Arc<Mutex<Offloads>>,
    dhcp: Arc<Mutex<Vec<dhcp::Message>>>,
}

/// How many frames asked for which offload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Their checksum was for the device to be completed (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    pub partial_checksums: u64,
    /// They were for the device to be cut into segments (VIRTIO_NET_HDR_GSO_*).
    pub long_segments: u64,
}

impl Capture {
    /// How much of each frame is kept.
    const HEAD: usize = 96;
    /// ICMPv6's next header (RFC 4443).
    const ICMP6: u8 = 58;
    /// How many frames are kept.
    const FRAMES: usize = 4096;

    /// Keeps a frame's head.
    pub fn add(&self, frame: &[u8]) {
        let mut frames = self.frames();
        if frames.len() == Self::FRAMES {
            frames.remove(0);
        }
        let is_icmp6 = Packet::read(frame).is_some_and(|packet| packet.protocol == Self::ICMP6);
        let kept = if is_icmp6 { frame.len() } else { frame.len().min(Self::HEAD) };
        frames.push(frame[..kept].to_vec());
        drop(frames);
        self.keep_dhcp(frame);
    }

    /// Notes a frame of the guest, and what it asked for in its virtio header.
    pub fn note_sent(&self, header: &[u8]) {
        self.keep_dhcp(header.get(HEADER..).unwrap_or_default());
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sent.partial_checksums += u64::from(header.first().is_some_and(|flags| flags & 1 != 0));
        sent.long_segments += u64::from(header.get(1).is_some_and(|kind| *kind != 0));
    }

    /// What the guest's frames asked for so far.
    pub fn sent_offloads(&self) -> Offloads {
        *self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The DHCPv4 messages that the guest sent and was sent so far, in their order.
    pub fn dhcp(&self) -> Vec<dhcp::Message> {
        self.dhcp.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn keep_dhcp(&self, frame: &[u8]) {
        let Some(message) = dhcp::Message::read(frame) else { return };
        let mut messages = self.dhcp.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if messages.len() < Self::FRAMES {
            messages.push(message);
        }
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.frames().clear();
    }

    /// How long the longest IP packet was that the guest received.
    pub fn longest_received(&self) -> usize {
        self.frames()
            .iter()
            .filter_map(|frame| Some(Packet::read(frame)?.length))
            .max()
            .unwrap_or(0)
    }

    /// The TTLs (hop limits) of TCP segments from this source port that carry data.
    pub fn data_ttls(&self, port: u16) -> Vec<u8> {
        self.frames()
            .iter()
            .filter_map(|frame| {
                let packet = Packet::read(frame).filter(|packet| packet.protocol == 6)?;
                let tcp = packet.payload;
                let data = packet.payload_length > usize::from(tcp.get(12)? >> 4) * 4;
                (tcp.get(..2) == Some(&port.to_be_bytes()) && data).then_some(packet.ttl)
            })
            .collect()
    }

    /// The resolvers in each router advertisement, with their lifetimes in seconds (RFC 4861, section
    /// 4.2; RFC 8106, section 5.1).
    pub fn advertised_resolvers(&self) -> Vec<Vec<(Ipv6Addr, u32)>> {
        let frames = self.frames();
        let packets = frames.iter().filter_map(|frame| Packet::read(frame));
        packets
            .filter(|packet| packet.protocol == Self::ICMP6 && packet.payload.first() == Some(&134))
            .map(|packet| resolvers(packet.payload.get(16..).unwrap_or_default()))
            .collect()
    }

    fn frames(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The addresses in all options of recursive DNS servers.
fn resolvers(mut options: &[u8]) -> Vec<(Ipv6Addr, u32)> {
    let mut found = Vec::new();
    while let [kind, units, ..] = options {
        let length = usize::from(*units) * 8;
        // One of no length would have no end.
        let Some((option, rest)) = options.split_at_checked(length).filter(|_| length > 0) else {
            break;
        };
        if *kind == 25 {
            let lifetime = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
            let (addresses, _) = option[8..].as_chunks::<16>();
            found.extend(addresses.iter().map(|it| (Ipv6Addr::from(*it), lifetime)));
        }
        options = rest;
    }
    found
}

/// An IP packet's head (RFC 791; RFC 8200, without extension headers).
struct Packet<'a> {
    ttl: u8,
    protocol: u8,
    /// Of the whole packet.
    length: usize,
    payload_length: usize,
    /// What was kept of it.
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let ip = frame.get(14..)?;
        let word =
            |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
        match frame.get(12..14)? {
            [0x08, 0x00] => {
                let (header, length) = (usize::from(ip.first()? & 15) * 4, word(2)?);
                Some(Self {
                    ttl: *ip.get(8)?,
                    protocol: *ip.get(9)?,
                    length,
                    payload_length: length.checked_sub(header)?,
                    payload: ip.get(header..)?,
                })
            }
            [0x86, 0xdd] => Some(Self {
                ttl: *ip.get(7)?,
                protocol: *ip.get(6)?,
                length: word(4)? + 40,
                payload_length: word(4)?,
                payload: ip.get(40..)?,
            }),
            _ => None,
        }
    }
}
