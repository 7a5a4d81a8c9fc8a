//! DHCPv4 and BOOTP, answered out of the port's record.
//!
//! The record is a reservation without an end: nothing is allocated and no lease is kept, so each
//! message is answered by itself, in whatever order they come. We are authoritative for the port:
//! what the record does not say is refused (DHCPNAK) and not left to others. A message whose
//! hardware address is not the port's is not answered at all. A port without an IPv4 address gets a
//! link-local one, as on EC2: most clients of the dialects ask for an address first and by IPv4 only.
//!
//! Follows RFC 2131 (table 4 for the client's states), RFC 2132 (options), RFC 1534 (BOOTP), RFC
//! 3046 (relay agent information), RFC 3396 (long options), RFC 3397 (domain search), RFC 3442
//! (classless routes), RFC 4039 (rapid commit), RFC 6842 (client identifier).

mod option;
mod parameters;
mod reply;
mod request;
mod verdict;

use std::net::Ipv4Addr;

use mezame_model::{Guest, GuestPort};

use parameters::Parameters;
use request::Request;

/// What a datagram is answered from.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Whose port it is.
    pub guest: &'a Guest,
    /// The port that the datagram came from; one of the guest's.
    pub port: &'a GuestPort,
    /// What we are called in `server identifier` (option 54), 169.254.169.254.
    pub server: Ipv4Addr,
    /// Where the datagram came from.
    pub source: Source,
}

/// What is known of a datagram's source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It is one of the port's own, so the guest can be answered there.
    Own,
    /// The guest has none yet (0.0.0.0), or one that is not the port's.
    Unknown,
}

/// A datagram for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Where it goes: the port's own address, 255.255.255.255, or a relay. A guest that has not
    /// configured its address answers no ARP, so the frame goes to the port's MAC without asking.
    pub to: Ipv4Addr,
    /// 68, or 67 to a relay.
    pub to_port: u16,
    /// Which message it is.
    pub kind: Kind,
    /// How many options that the guest wants were left out, since there was no room for them.
    pub left_out: usize,
}

/// The messages that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK: the guest's idea of its address is wrong.
    Nak,
    /// A BOOTP reply.
    Bootp,
}

/// Why a datagram gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// It can't be read, or lacks what its type must have.
    Malformed,
    /// A reply, or a message type that no client sends to a server.
    NotARequest,
    /// The network has DHCPv4 off.
    Off,
    /// The hardware address is not the port's.
    OtherHardware,
    /// A relay's, for a hardware address that is not the port's.
    ForeignRelay,
    /// The guest chose another server.
    OtherServer,
    /// DHCPDECLINE: the guest says that somebody else uses this address. To be logged.
    Decline(Option<Ipv4Addr>),
    /// DHCPRELEASE: nothing was leased that could be given back.
    Release,
    /// What must be in the answer is longer than the guest can take.
    TooLong,
}

impl Silence {
    /// A stable word, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotARequest => "not-a-request",
            Self::Off => "off",
            Self::OtherHardware => "other-hardware",
            Self::ForeignRelay => "foreign-relay",
            Self::OtherServer => "other-server",
            Self::Decline(_) => "decline",
            Self::Release => "release",
            Self::TooLong => "too-long",
        }
    }
}

/// Answers a datagram that came to UDP port 67. Never panics, whatever the bytes.
pub fn answer(datagram: &[u8], ask: &Ask<'_>) -> Result<Answer, Silence> {
    let request = Request::read(datagram)?;
    if !ask.port.network.dhcp.ipv4 {
        return Err(Silence::Off);
    }
    if !request.is_from(ask.port.port.mac) {
        let is_direct = request.giaddr().is_unspecified();
        return Err(if is_direct { Silence::OtherHardware } else { Silence::ForeignRelay });
    }
    let parameters = Parameters::of(ask, request.option(option::VENDOR_CLASS));
    let verdict = verdict::judge(&request, parameters.own.ip(), ask.server)?;
    reply::write(verdict, &request, ask, &parameters)
}

#[cfg(test)]
mod tests;
