//! DHCPv6, answered out of the port's record.
//!
//! The record is a binding without an end, as in [`crate::dhcp4`]. In `managed` networks the
//! guest's IA_NA gets all of the port's IPv6 addresses, in `other` ones it gets none and the rest
//! of the configuration is answered; `stateless` and `off` networks have no DHCPv6.
//!
//! Whether a message was sent to all servers or to us alone makes no difference: both come to one
//! socket, and nobody else is on the guest's link. So nothing is discarded for having come to one
//! address, as RFC 8415 (section 16) has it.
//!
//! An answer fits into one packet of the network's MTU: addresses for which there is no room are left
//! out, the record's first ones being told first.
//!
//! Follows RFC 8415 (section 16 for what is discarded, section 18.3 for what is answered), RFC
//! 3646 (resolvers), RFC 4075 and RFC 5908 (time servers), RFC 5970 (boot files).

mod binding;
mod option;
mod parameters;
mod request;

use std::net::Ipv6Addr;

use ipnetwork::IpNetwork;
use mezame_model::{Guest, GuestPort, Ipv6Mode};

use binding::Binding;
use option::Status;
use request::{Request, Type};

/// What a datagram is answered from.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Whose port it is.
    pub guest: &'a Guest,
    /// The port that the datagram came from; one of the guest's.
    pub port: &'a GuestPort,
    /// Who we are.
    pub server: ServerId,
}

/// A DHCP unique identifier made of a UUID (RFC 6355). It must stay the same over restarts and be
/// the same on every hypervisor, since guests migrate: best made of the installation's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(pub [u8; 16]);

impl ServerId {
    /// As it stands in messages: the type, then the UUID.
    pub fn duid(self) -> [u8; 18] {
        let mut duid = [0; 18];
        duid[1] = 4;
        duid[2..].copy_from_slice(&self.0);
        duid
    }
}

/// A datagram for the guest, to the address that it asked from and UDP port 546.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Which message it is.
    pub kind: Kind,
    /// Own addresses that the guest says somebody else uses (Decline). To be logged.
    pub declined: Vec<Ipv6Addr>,
    /// How many addresses and options were left out, since there was no room for them.
    pub left_out: usize,
}

/// The messages that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Advertise.
    Advertise,
    /// Reply.
    Reply,
}

/// Why a datagram gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// It can't be read.
    Malformed,
    /// A message type that no client sends to a server.
    NotARequest,
    /// A relay's. There is none between a guest and its tap.
    Relayed,
    /// The network has no DHCPv6: its mode is `stateless` or `off`, or it has no IPv6 subnet.
    Off,
    /// It names no client, or a server where none may be named, or has addresses where none may
    /// be (RFC 8415, section 16).
    Invalid,
    /// The guest chose another server, or none where it must.
    OtherServer,
    /// Confirm without an address: there is nothing to confirm (RFC 8415, section 18.3.3).
    NothingToConfirm,
}

impl Silence {
    /// A stable word, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotARequest => "not-a-request",
            Self::Relayed => "relayed",
            Self::Off => "off",
            Self::Invalid => "invalid",
            Self::OtherServer => "other-server",
            Self::NothingToConfirm => "nothing-to-confirm",
        }
    }
}

/// Answers a datagram that came to UDP port 547. Never panics, whatever the bytes.
pub fn answer(datagram: &[u8], ask: &Ask<'_>) -> Result<Answer, Silence> {
    let request = Request::read(datagram)?;
    let network = &ask.port.network;
    let has_ipv6 = network.subnets.iter().any(|subnet| matches!(subnet.cidr, IpNetwork::V6(_)));
    if !has_ipv6 || matches!(network.dhcp.ipv6, Ipv6Mode::Stateless | Ipv6Mode::Off) {
        return Err(Silence::Off);
    }
    request.check(ask)?;
    let binding = Binding::of(ask);
    let status = match request.kind {
        Type::Confirm => match binding.confirms(&request) {
            None => return Err(Silence::NothingToConfirm),
            Some(true) => Some(option::SUCCESS),
            Some(false) => Some(option::NOT_ON_LINK),
        },
        Type::Release | Type::Decline => Some(option::SUCCESS),
        _ => None,
    };
    let declined = match request.kind {
        Type::Decline => binding.own_of(&request),
        _ => Vec::new(),
    };
    let kind = match request.kind {
        Type::Solicit if request.option(option::RAPID_COMMIT).is_none() => Kind::Advertise,
        _ => Kind::Reply,
    };
    let (bytes, left_out) = write(kind, status, &request, &binding, ask);
    Ok(Answer { bytes, kind, declined, left_out })
}

/// The message, and how many addresses and options are not in it.
fn write(
    kind: Kind,
    status: Option<Status>,
    request: &Request<'_>,
    binding: &Binding<'_>,
    ask: &Ask<'_>,
) -> (Vec<u8>, usize) {
    let mut out = vec![if kind == Kind::Advertise { 2 } else { 7 }];
    out.extend(request.xid);
    if let Some(client) = request.option(option::CLIENT) {
        option::write(&mut out, option::CLIENT, client);
    }
    option::write(&mut out, option::SERVER, &ask.server.duid());
    match (kind, request.kind) {
        // The client need not wait for others: none knows its port as we do.
        (Kind::Advertise, _) => option::write(&mut out, option::PREFERENCE, &[255]),
        (Kind::Reply, Type::Solicit) => option::write(&mut out, option::RAPID_COMMIT, &[]),
        (Kind::Reply, Type::InformationRequest) => {
            let time = ask.port.network.dhcp.lease_seconds.max(SHORTEST_REFRESH);
            option::write(&mut out, option::REFRESH_TIME, &time.to_be_bytes());
        }
        (Kind::Reply, _) => {}
    }
    if let Some(status) = status {
        option::write_status(&mut out, status);
    }
    let associations = match request.kind {
        Type::Confirm => Vec::new(),
        _ => binding.answers(request),
    };
    // Every association is answered, then come the first addresses, the options, and the other
    // addresses, as far as there is room.
    let room = longest(ask).saturating_sub(out.len() + Binding::least(&associations));
    let first = room.min(binding.first_addresses(&associations));
    // What ends or confirms a lease brings no news.
    let (options, options_left_out) = match status {
        None => parameters::wanted(request, ask.port, room - first),
        Some(_) => (Vec::new(), 0),
    };
    let addresses_left_out = binding.write(&mut out, &associations, room - options.len());
    out.extend(options);
    (out, options_left_out + addresses_left_out)
}

/// How long an answer may be: it is never split, since fragments reach no guest.
fn longest(ask: &Ask<'_>) -> usize {
    const IPV6_AND_UDP: usize = 40 + 8;
    // IPv6 has no link of a smaller MTU (RFC 8200, section 5).
    usize::from(ask.port.network.mtu).max(1280) - IPV6_AND_UDP
}

/// The shortest time after which a client may ask again (RFC 8415, section 7.6: IRT_MINIMUM).
const SHORTEST_REFRESH: u32 = 600;

#[cfg(test)]
mod tests;
