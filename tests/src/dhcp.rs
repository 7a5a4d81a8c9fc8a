//! DHCPv4 messages as they go over a guest's wire (RFC 2131, section 2), for cases that must see
//! what a client said, to whom, and what it was answered.
//!
//! Reads what is on the wire and nothing else; a frame that is no DHCPv4 is none, whatever its bytes.

use std::net::Ipv4Addr;

/// What a message is (RFC 2132, section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPDISCOVER.
    Discover,
    /// DHCPOFFER.
    Offer,
    /// DHCPREQUEST.
    Request,
    /// DHCPDECLINE.
    Decline,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
    /// DHCPRELEASE.
    Release,
}

/// A message, as far as it tells the client's state (RFC 2131, table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The packet's source.
    pub from: Ipv4Addr,
    /// The packet's destination.
    pub to: Ipv4Addr,
    /// The address that the client has and uses.
    pub ciaddr: Ipv4Addr,
    /// The address that the server gives.
    pub yiaddr: Ipv4Addr,
    /// Option 50: the address that the client wants.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server that is meant, or speaks.
    pub server: Option<Ipv4Addr>,
}

impl Message {
    /// Reads a frame; none if it is something else.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(14..).filter(|_| frame[12..14] == [0x08, 0x00])?;
        let header = usize::from(ip.first()? & 15) * 4;
        let udp = ip.get(header..).filter(|_| ip.get(9) == Some(&17))?;
        if !matches!((word(udp, 0)?, word(udp, 2)?), (68, 67) | (67, 68)) {
            return None;
        }
        let message = udp.get(8..)?;
        let options = message.get(236..)?.strip_prefix(&[99, 130, 83, 99])?;
        let kind = match option(options, 53)? {
            [1] => Kind::Discover,
            [2] => Kind::Offer,
            [3] => Kind::Request,
            [4] => Kind::Decline,
            [5] => Kind::Ack,
            [6] => Kind::Nak,
            [7] => Kind::Release,
            _ => return None,
        };
        Some(Self {
            kind,
            from: address(ip.get(12..16)?)?,
            to: address(ip.get(16..20)?)?,
            ciaddr: address(&message[12..16])?,
            yiaddr: address(&message[16..20])?,
            requested: option(options, 50).and_then(address),
            server: option(options, 54).and_then(address),
        })
    }

    /// A request to whom the lease is from, to renew it.
    pub fn is_renewal(&self) -> bool {
        self.kind == Kind::Request && !self.ciaddr.is_unspecified() && !self.to.is_broadcast()
    }

    /// A request to anybody, to keep a lease that the one who gave it did not renew.
    pub fn is_rebinding(&self) -> bool {
        self.kind == Kind::Request && !self.ciaddr.is_unspecified() && self.to.is_broadcast()
    }

    /// A request for the address that the client had before it was restarted.
    pub fn is_reboot(&self) -> bool {
        self.kind == Kind::Request
            && self.ciaddr.is_unspecified()
            && self.server.is_none()
            && self.requested.is_some()
    }
}

/// Whether a frame is a client's message to one server alone.
pub fn is_unicast(frame: &[u8]) -> bool {
    Message::read(frame).is_some_and(|message| {
        matches!(message.kind, Kind::Request | Kind::Release) && !message.to.is_broadcast()
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

/// The value of an option.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [255, ..] | [] => return None,
            [0, rest @ ..] => options = rest,
            [code, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                options = rest;
            }
            [_] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn an_offer_is_read_and_other_frames_are_none() {
        let (mac, from) = (frame::mac("52:54:00:00:00:0a"), Ipv4Addr::new(192, 168, 0, 66));
        let offer = frame::dhcp_offer(mac, from);
        let read = Message::read(&offer).unwrap();
        assert_eq!((read.kind, read.from, read.server), (Kind::Offer, from, None));
        assert!(read.to.is_broadcast() && !read.is_reboot() && !is_unicast(&offer));
        let arp = frame::arp(1, mac, from, from);
        assert_eq!(Message::read(&arp), None);
        // Cut anywhere before the option that says what it is.
        for length in 0..offer.len() - 1 {
            assert_eq!(Message::read(&offer[..length]), None);
        }
    }
}
