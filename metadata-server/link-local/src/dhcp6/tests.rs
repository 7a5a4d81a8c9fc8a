//! What each client gets: every message of RFC 8415's section 18.3, the options, real clients.

mod clients;
mod messages;
mod properties;

use mezame_model::Guest;

use super::{option::*, *};
use crate::fixture;

const SERVER_ID: ServerId = ServerId([0x5a; 16]);
const XID: [u8; 3] = [0xab, 0xcd, 0xef];
/// A DUID of type 3 (link-layer address).
const CLIENT_DUID: &[u8] = &[0, 3, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OWN: [&str; 2] = ["2001:db8:1::10", "2001:db8:1::11"];

/// A client's message in the making.
#[derive(Clone)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Without any option.
    fn bare(kind: u8) -> Self {
        Self { bytes: [&[kind][..], &XID].concat() }
    }

    /// With the client's identifier.
    fn of(kind: u8) -> Self {
        Self::bare(kind).option(CLIENT, CLIENT_DUID)
    }

    /// With our own identifier too.
    fn to_us(kind: u8) -> Self {
        Self::of(kind).option(SERVER, &SERVER_ID.duid())
    }

    fn option(mut self, code: u16, value: &[u8]) -> Self {
        option::write(&mut self.bytes, code, value);
        self
    }

    fn wants(self, codes: &[u16]) -> Self {
        let list: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
        self.option(WANTED, &list)
    }

    /// An IA_NA with these addresses.
    fn addresses(self, id: u8, addresses: &[&str]) -> Self {
        self.association(ADDRESSES, id, addresses)
    }

    fn association(self, code: u16, id: u8, addresses: &[&str]) -> Self {
        let mut value = vec![0, 0, 0, id];
        if code != TEMPORARY_ADDRESSES {
            value.extend([0; 8]);
        }
        for address in addresses {
            let address: Ipv6Addr = address.parse().unwrap();
            option::write(&mut value, ADDRESS, &[&address.octets()[..], &[0; 8]].concat());
        }
        self.option(code, &value)
    }

    fn asked_of(&self, guest: &Guest) -> Result<Reply, Silence> {
        ask(guest, &self.bytes)
    }

    fn asked(&self) -> Result<Reply, Silence> {
        self.asked_of(&fixture::guest())
    }
}

fn ask(guest: &Guest, datagram: &[u8]) -> Result<Reply, Silence> {
    let ask = Ask { guest, port: guest.primary(), server: SERVER_ID };
    answer(datagram, &ask).map(Reply::read)
}

/// A reply, read by a reader of the tests' own.
#[derive(Debug)]
struct Reply {
    answer: Answer,
    options: Vec<(u16, Vec<u8>)>,
}

/// An association of a reply: its code and number, T1 and T2, and what is in it.
#[derive(Debug, PartialEq)]
struct Told {
    code: u16,
    id: u8,
    times: [u32; 2],
    /// With the preferred and the valid lifetime.
    addresses: Vec<(Ipv6Addr, u32, u32)>,
    status: Option<u16>,
}

fn read_options(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let [a, b, c, d, after @ ..] = rest {
        let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        found.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    found
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

fn status_of(options: &[(u16, Vec<u8>)]) -> Option<u16> {
    let found = options.iter().find(|it| it.0 == STATUS)?;
    Some(u16::from_be_bytes(found.1[..2].try_into().unwrap()))
}

impl Reply {
    fn read(answer: Answer) -> Self {
        assert_eq!(answer.bytes[0], if answer.kind == Kind::Advertise { 2 } else { 7 });
        assert_eq!(answer.bytes[1..4], XID);
        let options = read_options(&answer.bytes[4..]);
        let server = options.iter().find(|it| it.0 == SERVER).unwrap();
        assert_eq!(server.1, SERVER_ID.duid());
        Self { answer, options }
    }

    fn all(&self, code: u16) -> Vec<&[u8]> {
        self.options.iter().filter(|it| it.0 == code).map(|it| &*it.1).collect()
    }

    fn option(&self, code: u16) -> Option<&[u8]> {
        self.all(code).first().copied()
    }

    fn order(&self) -> Vec<u16> {
        self.options.iter().map(|it| it.0).collect()
    }

    fn status(&self) -> Option<u16> {
        status_of(&self.options)
    }

    fn associations(&self) -> Vec<Told> {
        let is_one = |code| [ADDRESSES, TEMPORARY_ADDRESSES, PREFIXES].contains(&code);
        let found = self.options.iter().filter(|it| is_one(it.0));
        found
            .map(|(code, value)| {
                let (times, rest) = match *code {
                    TEMPORARY_ADDRESSES => ([0, 0], &value[4..]),
                    _ => ([number(&value[4..8]), number(&value[8..12])], &value[12..]),
                };
                let options = read_options(rest);
                let addresses = options.iter().filter(|it| it.0 == ADDRESS).map(|(_, value)| {
                    let address = <[u8; 16]>::try_from(&value[..16]).unwrap().into();
                    (address, number(&value[16..20]), number(&value[20..24]))
                });
                Told {
                    code: *code,
                    id: value[3],
                    times,
                    addresses: addresses.collect(),
                    status: status_of(&options),
                }
            })
            .collect()
    }
}

/// All of the port's addresses, for a day.
fn given(id: u8) -> Told {
    Told {
        code: ADDRESSES,
        id,
        times: [43_200, 69_120],
        addresses: OWN.map(|it| (it.parse().unwrap(), 86_400, 86_400)).into(),
        status: None,
    }
}

/// Nothing but a status.
fn nothing(code: u16, id: u8, status: u16) -> Told {
    Told { code, id, times: [0, 0], addresses: Vec::new(), status: Some(status) }
}
