//! What each client gets: the states, the options, and bytes of real clients.

mod clients;
mod options;
mod properties;
mod states;

use std::net::Ipv4Addr;

use mezame_model::Guest;

use super::{
    option::{END, Options},
    request::{COOKIE, HEADER},
    *,
};
use mezame_model::service_address::METADATA;

use crate::fixture;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const XID: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

/// A client's message in the making.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// BOOTP without vendor extensions.
    fn bare() -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&XID);
        bytes[28..34].copy_from_slice(&fixture::MAC);
        Self { bytes }
    }

    /// With options, of a type.
    fn of(kind: u8) -> Self {
        let mut message = Self::bare();
        message.bytes.extend(COOKIE);
        message.option(53, &[kind])
    }

    fn option(mut self, code: u8, value: &[u8]) -> Self {
        for piece in value.chunks(255).chain(value.is_empty().then_some(value)) {
            self.bytes.extend([code, piece.len() as u8]);
            self.bytes.extend(piece);
        }
        self
    }

    fn at(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn ciaddr(self, address: Ipv4Addr) -> Self {
        self.at(12, &address.octets())
    }

    fn giaddr(self, address: Ipv4Addr) -> Self {
        self.at(24, &address.octets())
    }

    fn broadcast(self) -> Self {
        self.at(10, &[0x80, 0])
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(END);
        // As clients do, for the sake of old relays.
        self.bytes.resize(self.bytes.len().max(300), 0);
        self.bytes
    }

    fn asked_of(self, guest: &Guest) -> Result<Reply, Silence> {
        ask(guest, &self.end())
    }

    fn asked(self) -> Result<Reply, Silence> {
        self.asked_of(&fixture::guest())
    }
}

/// A reply, read.
#[derive(Debug)]
struct Reply {
    answer: Answer,
    options: Options,
}

impl Reply {
    fn read(answer: Answer) -> Self {
        let bytes = &answer.bytes;
        assert!(bytes.len() >= 300);
        assert_eq!(bytes[..4], [2, 1, 6, 0]);
        let mut options = Options::default();
        if bytes[HEADER..HEADER + 4] == COOKIE {
            options.collect(&bytes[HEADER + 4..]).unwrap();
            let overload = options.get(52).map_or(0, |value| value[0]);
            if overload & 1 != 0 {
                options.collect(&bytes[108..HEADER]).unwrap();
            }
            if overload & 2 != 0 {
                options.collect(&bytes[44..108]).unwrap();
            }
        }
        Self { options, answer }
    }

    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(code)
    }

    fn field(&self, at: usize) -> Ipv4Addr {
        <[u8; 4]>::try_from(&self.answer.bytes[at..at + 4]).unwrap().into()
    }

    fn yiaddr(&self) -> Ipv4Addr {
        self.field(16)
    }

    /// The options field's numbers, in order.
    fn order(&self) -> Vec<u8> {
        let mut rest = &self.answer.bytes[HEADER + 4..];
        let mut found = Vec::new();
        while let [code, length, after @ ..] = rest
            && *code != END
        {
            found.push(*code);
            rest = &after[usize::from(*length)..];
        }
        found
    }
}

fn ask_from(guest: &Guest, at: usize, datagram: &[u8], source: Source) -> Result<Reply, Silence> {
    let ask = Ask { guest, port: &guest.ports[at], server: METADATA, source };
    answer(datagram, &ask).map(Reply::read)
}

fn ask(guest: &Guest, datagram: &[u8]) -> Result<Reply, Silence> {
    ask_from(guest, 0, datagram, Source::Unknown)
}
