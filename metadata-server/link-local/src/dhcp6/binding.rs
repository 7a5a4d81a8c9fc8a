//! What becomes of a client's identity associations: RFC 8415, section 18.3.
//!
//! The port's addresses are all in the message's first IA_NA, whatever its number: firmware, the
//! installer and the system call it by different ones, one after the other. Any further one is
//! without addresses, since an address is in one association only.
//!
//! ```text
//!                 first IA_NA                          further IA_NA, IA_TA      IA_PD
//!   Solicit       the port's                           NoAddrsAvail              NoPrefixAvail
//!   Request       the port's; NotOnLink where it       NoAddrsAvail              NoPrefixAvail
//!                 asks for some of no subnet
//!   Renew,        the port's; others that it lists     those that it lists end,  NoBinding
//!   Rebind        end (lifetime 0)                     or NoBinding
//!   Release,      -, or NoBinding where none of those  the same                  NoBinding
//!   Decline       that it lists is the port's
//! ```

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Ask,
    option::{self, Status},
    request::{Association, Purpose, Request, Type},
};

/// So many of the port's addresses go before options.
const FIRST: usize = 8;

/// What an address takes, as an option with its lifetimes.
const ADDRESS_LENGTH: usize = 4 + 16 + 8;

/// What of addresses a port has to give.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    ask: &'a Ask<'a>,
    /// None in networks where guests make theirs themselves.
    own: Vec<Ipv6Addr>,
}

impl<'a> Binding<'a> {
    /// Of a port with addresses, or without.
    pub(super) fn of(ask: &'a Ask<'a>) -> Self {
        let is_managed = !ask.port.network.dhcp.ipv6.is_autonomous();
        let own = if is_managed { crate::told::v6(&ask.port.port.addresses) } else { Vec::new() };
        Self { ask, own }
    }

    /// Own addresses among those that the client lists.
    pub(super) fn own_of(&self, request: &Request<'_>) -> Vec<Ipv6Addr> {
        let listed = request.associations.iter().flat_map(|it| &it.addresses);
        let mut found: Vec<Ipv6Addr> = listed.copied().filter(|it| self.has(*it)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether all that the client lists is the port's; None where it lists nothing.
    pub(super) fn confirms(&self, request: &Request<'_>) -> Option<bool> {
        let mut listed = request.associations.iter().flat_map(|it| &it.addresses).peekable();
        listed.peek()?;
        Some(listed.all(|address| self.has(*address)))
    }

    /// What each association of the message is answered with.
    pub(super) fn answers<'r>(&self, request: &'r Request<'_>) -> Vec<(&'r Association, Content)> {
        let is_na = |it: &Association| it.purpose == Purpose::Addresses;
        let first = request.associations.iter().position(is_na);
        let mut answers = Vec::new();
        for (at, association) in request.associations.iter().enumerate() {
            let content = match request.kind {
                Type::Release | Type::Decline => {
                    if association.addresses.iter().any(|it| self.has(*it)) {
                        continue;
                    }
                    Content::Status(option::NO_BINDING)
                }
                _ if Some(at) == first => self.first(request.kind, association),
                kind => self.further(kind, association),
            };
            answers.push((association, content));
        }
        answers
    }

    /// How many bytes they take without any address.
    pub(super) fn least(answers: &[(&Association, Content)]) -> usize {
        let lengths = answers.iter().map(|(association, content)| {
            let status = match content {
                Content::Status(Status(_, text)) => 4 + 2 + text.len(),
                _ => 0,
            };
            4 + head(association, [0, 0]).len() + status
        });
        lengths.sum()
    }

    /// How many bytes the first of the port's own addresses take.
    pub(super) fn first_addresses(&self, answers: &[(&Association, Content)]) -> usize {
        self.given(answers).len().min(FIRST) * ADDRESS_LENGTH
    }

    /// The port's addresses where an association gets them.
    fn given(&self, answers: &[(&Association, Content)]) -> &[Ipv6Addr] {
        let has_own = |content: &Content| matches!(content, Content::Addresses { .. });
        if answers.iter().any(|(_, content)| has_own(content)) { &self.own } else { &[] }
    }

    /// Writes them, with addresses of so many bytes in all at most, of which the port's own go first;
    /// how many others there are.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        answers: &[(&Association, Content)],
        room: usize,
    ) -> usize {
        let own = self.given(answers);
        let ended: usize = answers.iter().map(|(_, content)| content.ended().len()).sum();
        let all = own.len() + ended;
        let mut left = room / ADDRESS_LENGTH;
        let left_out = all.saturating_sub(left);
        let own = &own[..own.len().min(left)];
        left -= own.len();
        for (association, content) in answers {
            self.write_one(out, association, content, own, &mut left);
        }
        left_out
    }

    fn first(&self, kind: Type, association: &Association) -> Content {
        let is_foreign = |address: &Ipv6Addr| {
            self.ask.port.network.subnet_of(IpAddr::V6(*address)).is_none() && !self.has(*address)
        };
        if self.own.is_empty() {
            self.further(kind, association)
        } else if kind == Type::Request && association.addresses.iter().any(is_foreign) {
            Content::Status(option::NOT_ON_LINK)
        } else if matches!(kind, Type::Renew | Type::Rebind) {
            Content::Addresses { ended: self.foreign(association) }
        } else {
            Content::Addresses { ended: Vec::new() }
        }
    }

    fn further(&self, kind: Type, association: &Association) -> Content {
        let is_new = matches!(kind, Type::Solicit | Type::Request);
        match association.purpose {
            Purpose::Prefixes if is_new => Content::Status(option::NO_PREFIXES),
            Purpose::Prefixes => Content::Status(option::NO_BINDING),
            _ if is_new => Content::Status(option::NO_ADDRESSES),
            _ => match self.foreign(association) {
                ended if ended.is_empty() => Content::Status(option::NO_BINDING),
                ended => Content::Ended(ended),
            },
        }
    }

    fn foreign(&self, association: &Association) -> Vec<Ipv6Addr> {
        let listed = association.addresses.iter().copied();
        listed.filter(|it| !self.has(*it)).collect()
    }

    fn has(&self, address: Ipv6Addr) -> bool {
        self.own.contains(&address)
    }

    fn write_one(
        &self,
        out: &mut Vec<u8>,
        association: &Association,
        content: &Content,
        own: &[Ipv6Addr],
        left: &mut usize,
    ) {
        let lease = self.ask.port.network.dhcp.lease_seconds;
        // Half and four fifths (RFC 8415, section 21.4), which a lease without addresses has none
        // of.
        let times = match content {
            Content::Addresses { .. } => [lease / 2, lease - lease.div_ceil(5)],
            _ => [0, 0],
        };
        let mut value = head(association, times);
        let mut address = |address: Ipv6Addr, lifetime: u32| {
            let lifetime = lifetime.to_be_bytes();
            let whole = [&address.octets()[..], &lifetime, &lifetime].concat();
            option::write(&mut value, option::ADDRESS, &whole);
        };
        if let Content::Addresses { .. } = content {
            own.iter().for_each(|own| address(*own, lease));
        }
        for other in content.ended().iter().take(*left) {
            address(*other, 0);
            *left -= 1;
        }
        if let Content::Status(status) = content {
            option::write_status(&mut value, *status);
        }
        let code = match association.purpose {
            Purpose::Addresses => option::ADDRESSES,
            Purpose::TemporaryAddresses => option::TEMPORARY_ADDRESSES,
            Purpose::Prefixes => option::PREFIXES,
        };
        option::write(out, code, &value);
    }
}

/// An association without its options.
fn head(association: &Association, times: [u32; 2]) -> Vec<u8> {
    let mut value = association.id.to_vec();
    if association.purpose != Purpose::TemporaryAddresses {
        times.iter().for_each(|time| value.extend(time.to_be_bytes()));
    }
    value
}

/// What is in an association of the answer.
#[derive(Debug)]
pub(super) enum Content {
    /// The port's addresses, and some that are not its own and end.
    Addresses { ended: Vec<Ipv6Addr> },
    /// Addresses that are none of its own.
    Ended(Vec<Ipv6Addr>),
    /// Why there is nothing.
    Status(Status),
}

impl Content {
    fn ended(&self) -> &[Ipv6Addr] {
        match self {
            Self::Addresses { ended } | Self::Ended(ended) => ended,
            Self::Status(_) => &[],
        }
    }
}
