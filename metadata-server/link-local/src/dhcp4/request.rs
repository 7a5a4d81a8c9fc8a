//! Reading a client's message: RFC 2131, section 2, and RFC 951 for one without options.

use std::net::Ipv4Addr;

use mezame_model::MacAddress;

use super::{
    Silence,
    option::{self, Options},
};

/// Bytes before the options.
pub(super) const HEADER: usize = 236;

/// What options begin with (RFC 2131, section 3).
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The flag by which a client asks for a broadcast answer.
pub(super) const BROADCAST_FLAG: u16 = 0x8000;

/// A client's message.
#[derive(Debug)]
pub(super) struct Request<'d> {
    header: &'d [u8; HEADER],
    /// None of a BOOTP message without vendor extensions.
    options: Option<Options>,
    /// Of the whole datagram.
    pub(super) length: usize,
}

/// What a message of a client is (RFC 2132, section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bootp,
    Discover,
    Request,
    Decline,
    Release,
    Inform,
}

impl<'d> Request<'d> {
    /// Reads a datagram.
    pub(super) fn read(datagram: &'d [u8]) -> Result<Self, Silence> {
        let (header, rest) = datagram.split_first_chunk().ok_or(Silence::Malformed)?;
        let mut request = Self { header, options: None, length: datagram.len() };
        if header[0] != 1 {
            return Err(Silence::NotARequest);
        }
        if let Some(field) = rest.strip_prefix(&COOKIE) {
            let mut options = Options::default();
            options.collect(field)?;
            let overload = options.get(option::OVERLOAD).and_then(<[u8]>::first).copied();
            let overload = overload.unwrap_or(0);
            if overload & 1 != 0 {
                options.collect(&header[108..])?;
            }
            if overload & 2 != 0 {
                options.collect(&header[44..108])?;
            }
            request.options = Some(options);
        }
        Ok(request)
    }

    /// Whether its hardware address is this one.
    pub(super) fn is_from(&self, mac: MacAddress) -> bool {
        // Ethernet, six bytes.
        self.header[1..3] == [1, 6] && self.header[28..34] == mac.0
    }

    /// The message's type.
    pub(super) fn kind(&self) -> Result<Type, Silence> {
        match self.option(option::MESSAGE_TYPE) {
            None => Ok(Type::Bootp),
            Some([1]) => Ok(Type::Discover),
            Some([3]) => Ok(Type::Request),
            Some([4]) => Ok(Type::Decline),
            Some([7]) => Ok(Type::Release),
            Some([8]) => Ok(Type::Inform),
            Some([_]) => Err(Silence::NotARequest),
            Some(_) => Err(Silence::Malformed),
        }
    }

    /// Whether it has options, or at least a place for them.
    pub(super) fn has_options(&self) -> bool {
        self.options.is_some()
    }

    /// The value of an option.
    pub(super) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.as_ref()?.get(code)
    }

    /// The value of an option that is an address.
    pub(super) fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, Silence> {
        let Some(value) = self.option(code) else { return Ok(None) };
        let octets: [u8; 4] = value.try_into().map_err(|_| Silence::Malformed)?;
        Ok(Some(octets.into()))
    }

    /// The transaction.
    pub(super) fn xid(&self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d, ..] = *self.header;
        [a, b, c, d]
    }

    /// The flags.
    pub(super) fn flags(&self) -> u16 {
        u16::from_be_bytes([self.header[10], self.header[11]])
    }

    /// The address that the client has and can be reached at; unspecified where it has none.
    pub(super) fn ciaddr(&self) -> Ipv4Addr {
        self.address_at(12)
    }

    /// The relay that it came through; unspecified where it came through none.
    pub(super) fn giaddr(&self) -> Ipv4Addr {
        self.address_at(24)
    }

    /// The hardware address, with what fills up its field.
    pub(super) fn chaddr(&self) -> &[u8] {
        &self.header[28..44]
    }

    /// The server that a BOOTP client wants by name (RFC 951, section 3); empty where it wants any.
    pub(super) fn sname(&self) -> &[u8] {
        let field = &self.header[44..108];
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn address_at(&self, at: usize) -> Ipv4Addr {
        let header = &self.header;
        Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3])
    }
}
