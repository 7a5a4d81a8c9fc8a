//! A router advertisement being written: RFC 4861, section 4.2, and the options in it. What there
//! is no room for is left out, since a message is never split.

use std::net::Ipv6Addr;

use ipnetwork::Ipv6Network;

/// ICMPv6 type of a router advertisement.
const ADVERTISEMENT: u8 = 134;

/// What guests are to put into the hop limit of their packets: the usual figure.
const HOP_LIMIT: u8 = 64;

/// Prefix information: the prefix is on the link.
pub(super) const ON_LINK: u8 = 0x80;

/// Prefix information: guests make addresses of it.
pub(super) const AUTONOMOUS: u8 = 0x40;

/// The message.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// How long it may get.
    most: usize,
}

impl Message {
    /// One without options; the router's lifetime is in seconds, and zero where there is none.
    pub(super) fn new(flags: u8, router_lifetime: u16, most: usize) -> Self {
        let [high, low] = router_lifetime.to_be_bytes();
        let head = [ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, flags, high, low];
        Self { bytes: [head, [0; 8]].concat(), most }
    }

    /// One that gets more options.
    pub(super) fn go_on(bytes: Vec<u8>, most: usize) -> Self {
        Self { bytes, most }
    }

    /// The link's MTU (RFC 4861, section 4.6.4).
    pub(super) fn mtu(&mut self, mtu: u16) {
        self.option(5, &[&[0, 0], &u32::from(mtu).to_be_bytes()]);
    }

    /// Prefix information (RFC 4861, section 4.6.2), with the lifetimes in seconds; whether there
    /// was room.
    pub(super) fn prefix(
        &mut self,
        Prefix { range, flags }: Prefix,
        valid: u32,
        preferred: u32,
    ) -> bool {
        let (valid, preferred) = (valid.to_be_bytes(), preferred.to_be_bytes());
        let prefix = range.network().octets();
        self.option(3, &[&[range.prefix(), flags], &valid, &preferred, &[0; 4], &prefix])
    }

    /// Recursive DNS servers (RFC 8106, section 5.1), if there are any; whether there was room.
    pub(super) fn resolvers(&mut self, resolvers: &[Ipv6Addr], lifetime: u32) -> bool {
        let addresses: Vec<u8> = resolvers.iter().flat_map(|it| it.octets()).collect();
        !addresses.is_empty() && self.option(25, &[&[0, 0], &lifetime.to_be_bytes(), &addresses])
    }

    /// Search domains (RFC 8106, section 5.2), as labels; whether there was room.
    pub(super) fn search(&mut self, labels: &[u8], lifetime: u32) -> bool {
        self.option(31, &[&[0, 0], &lifetime.to_be_bytes(), labels])
    }

    /// Route information (RFC 4191, section 2.3), of medium preference: as much of the prefix as
    /// its length needs; whether there was room.
    pub(super) fn route(&mut self, destination: Ipv6Network, lifetime: u32) -> bool {
        let prefix = destination.network().octets();
        let needed = usize::from(destination.prefix()).div_ceil(64) * 8;
        self.option(24, &[&[destination.prefix(), 0], &lifetime.to_be_bytes(), &prefix[..needed]])
    }

    /// Adds an option, filled up with zeroes to a multiple of eight bytes, if there is room.
    fn option(&mut self, kind: u8, parts: &[&[u8]]) -> bool {
        let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        let eights = length.div_ceil(8);
        let (Ok(units), true) = (u8::try_from(eights), self.bytes.len() + eights * 8 <= self.most)
        else {
            return false;
        };
        self.bytes.extend([kind, units]);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.resize(self.bytes.len() + eights * 8 - length, 0);
        true
    }
}

/// A prefix as guests are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) range: Ipv6Network,
    /// [`ON_LINK`], [`AUTONOMOUS`].
    pub(super) flags: u8,
}
