//! Reading a client's message (RFC 8415, sections 8 and 21) and checking it (section 16).

use std::net::Ipv6Addr;

use super::{Ask, Silence, option};

/// Most identity associations of a message that are looked at: a client has one for each interface
/// and kind.
const MOST_ASSOCIATIONS: usize = 8;

/// Most addresses that are looked at in one of them: as many as a port has.
const MOST_ADDRESSES: usize = 256;

/// Longest DUID, with its type (RFC 8415, section 11.1).
const LONGEST_DUID: usize = 130;

/// A client's message.
#[derive(Debug)]
pub(super) struct Request<'d> {
    pub(super) kind: Type,
    pub(super) xid: [u8; 3],
    options: Vec<(u16, &'d [u8])>,
    pub(super) associations: Vec<Association>,
}

/// The messages of clients (RFC 8415, section 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Solicit,
    Request,
    Confirm,
    Renew,
    Rebind,
    Release,
    Decline,
    InformationRequest,
}

/// What an identity association is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// IA_NA.
    Addresses,
    /// IA_TA.
    TemporaryAddresses,
    /// IA_PD.
    Prefixes,
}

/// An identity association.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) purpose: Purpose,
    /// The client's number for it.
    pub(super) id: [u8; 4],
    /// Those that the client has or wants.
    pub(super) addresses: Vec<Ipv6Addr>,
}

impl<'d> Request<'d> {
    /// Reads a datagram.
    pub(super) fn read(datagram: &'d [u8]) -> Result<Self, Silence> {
        let [kind, rest @ ..] = datagram else { return Err(Silence::Malformed) };
        let kind = match kind {
            1 => Type::Solicit,
            3 => Type::Request,
            4 => Type::Confirm,
            5 => Type::Renew,
            6 => Type::Rebind,
            8 => Type::Release,
            9 => Type::Decline,
            11 => Type::InformationRequest,
            12 => return Err(Silence::Relayed),
            _ => return Err(Silence::NotARequest),
        };
        let (xid, rest) = rest.split_first_chunk::<3>().ok_or(Silence::Malformed)?;
        let options = options(rest)?;
        let associations = options
            .iter()
            .filter_map(|(code, value)| Some((purpose(*code)?, *value)))
            .take(MOST_ASSOCIATIONS)
            .map(|(purpose, value)| Association::read(purpose, value))
            .collect::<Result<_, _>>()?;
        Ok(Self { kind, xid: *xid, options, associations })
    }

    /// An option's value, the first one's where there are several.
    pub(super) fn option(&self, code: u16) -> Option<&'d [u8]> {
        self.options.iter().find(|known| known.0 == code).map(|known| known.1)
    }

    /// The options that the client wants; None where it names none at all.
    pub(super) fn wanted(&self) -> Option<impl Iterator<Item = u16>> {
        let list = self.option(option::WANTED)?;
        Some(list.chunks_exact(2).map(|code| u16::from_be_bytes([code[0], code[1]])))
    }

    /// Whether it may be answered at all.
    pub(super) fn check(&self, ask: &Ask<'_>) -> Result<(), Silence> {
        let (client, server) = (self.option(option::CLIENT), self.option(option::SERVER));
        if client.is_some_and(|client| !(3..=LONGEST_DUID).contains(&client.len())) {
            return Err(Silence::Malformed);
        }
        let is_for_all =
            !matches!(self.kind, Type::Request | Type::Renew | Type::Release | Type::Decline);
        if self.kind == Type::InformationRequest {
            if !self.associations.is_empty() {
                return Err(Silence::Invalid);
            }
            // Neither need be named.
            let is_ours = server.is_none_or(|server| server == ask.server.duid());
            return if is_ours { Ok(()) } else { Err(Silence::OtherServer) };
        }
        if client.is_none() || (is_for_all && server.is_some()) {
            return Err(Silence::Invalid);
        }
        if !is_for_all && server != Some(&ask.server.duid()[..]) {
            return Err(Silence::OtherServer);
        }
        Ok(())
    }
}

impl Association {
    fn read(purpose: Purpose, value: &[u8]) -> Result<Self, Silence> {
        let (id, rest) = value.split_first_chunk().ok_or(Silence::Malformed)?;
        // T1 and T2, which temporary addresses have none of.
        let times = if purpose == Purpose::TemporaryAddresses { 0 } else { 8 };
        let rest = rest.get(times..).ok_or(Silence::Malformed)?;
        let mut addresses = Vec::new();
        let found = options(rest)?.into_iter().filter(|found| found.0 == option::ADDRESS);
        for (_, value) in found.take(MOST_ADDRESSES) {
            let (address, rest) = value.split_first_chunk::<16>().ok_or(Silence::Malformed)?;
            // Two lifetimes.
            if rest.len() < 8 {
                return Err(Silence::Malformed);
            }
            addresses.push((*address).into());
        }
        Ok(Self { purpose, id: *id, addresses })
    }
}

fn purpose(code: u16) -> Option<Purpose> {
    match code {
        option::ADDRESSES => Some(Purpose::Addresses),
        option::TEMPORARY_ADDRESSES => Some(Purpose::TemporaryAddresses),
        option::PREFIXES => Some(Purpose::Prefixes),
        _ => None,
    }
}

fn options(field: &[u8]) -> Result<Vec<(u16, &[u8])>, Silence> {
    let mut rest = field;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (&[a, b, c, d], after) = rest.split_first_chunk().ok_or(Silence::Malformed)?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        let (value, after) = after.split_at_checked(length).ok_or(Silence::Malformed)?;
        found.push((u16::from_be_bytes([a, b]), value));
        rest = after;
    }
    Ok(found)
}
