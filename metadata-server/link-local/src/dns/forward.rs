//! A query on its way to a resolver, and what of its answers is believed.
//!
//! The query is written anew, so that nothing of the guest's but the question travels: EDNS is
//! between neighbours (RFC 6891, section 6.2.3), and its options would be meant for us. An answer
//! is believed that has the number given to this query and the very question, in the same case
//! (RFC 5452, section 9.1); that it came from the resolver's address is the socket's to see to.

use std::net::{IpAddr, SocketAddr};

use domain::base::{
    Message, ToName,
    iana::{OptRcode, Rcode},
};
use mezame_model::Network;

use super::{DATAGRAM, Transport, query::Query, reply, reply::Reply};

/// DNS over UDP and TCP.
const PORT: u16 = 53;

/// A query that one of the network's resolvers is to be asked.
#[derive(Debug)]
pub struct Forwarding {
    query: Query,
    upstreams: Vec<SocketAddr>,
    limit: usize,
    transport: Transport,
}

/// An answer of a resolver's, as the guest gets it.
#[derive(Debug)]
pub struct Answer {
    /// The reply.
    pub bytes: Vec<u8>,
    /// Whether it is worth asking another resolver: this one can't or won't say.
    pub is_failure: bool,
}

impl Forwarding {
    pub(super) fn new(
        query: Query,
        upstreams: Vec<SocketAddr>,
        limit: usize,
        transport: Transport,
    ) -> Self {
        Self { query, upstreams, limit, transport }
    }

    /// Whom to ask, most wanted first; never empty.
    pub fn upstreams(&self) -> &[SocketAddr] {
        &self.upstreams
    }

    /// The query as it is sent, with a number that nobody can guess.
    pub fn message(&self, id: u16) -> Vec<u8> {
        let payload = match self.transport {
            Transport::Datagram => u16::try_from(self.limit).unwrap_or(DATAGRAM),
            Transport::Stream => DATAGRAM,
        };
        reply::query(&self.query, id, payload)
    }

    /// The reply for the guest out of what came back, if that is the answer to the query that was
    /// sent with this number.
    pub fn accept(&self, id: u16, mut bytes: Vec<u8>) -> Option<Answer> {
        let message = Message::from_octets(bytes.as_slice()).ok()?;
        let header = message.header();
        if header.id() != id
            || !header.qr()
            || header.opcode() != self.query.header.opcode()
            || message.header_counts().qdcount() != 1
        {
            return None;
        }
        let question = message.first_question()?;
        let name = question.qname().to_vec();
        if name.as_slice() != self.query.name.as_slice()
            || question.qtype() != self.query.rtype
            || question.qclass() != self.query.class
        {
            return None;
        }
        let code = header.rcode();
        let is_failure =
            matches!(code, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP | Rcode::FORMERR);
        if bytes.len() > self.limit {
            return Some(Answer { bytes: self.reply().too_long(), is_failure });
        }
        let asked = self.query.header.id().to_be_bytes();
        bytes.get_mut(..asked.len())?.copy_from_slice(&asked);
        Some(Answer { bytes, is_failure })
    }

    /// The reply where no resolver has answered.
    pub fn failure(&self) -> Vec<u8> {
        self.reply().error(OptRcode::SERVFAIL)
    }

    fn reply(&self) -> Reply<'_> {
        Reply::new(&self.query, self.limit, true)
    }
}

/// The resolvers that a network's queries are forwarded to: those that are named for it, or else
/// of those that its guests are told the ones that the hypervisor could reach.
///
/// Addresses in the network's own subnets are not: the tenant's network is not the hypervisor's,
/// where the same address is somebody else's or nobody's.
pub fn upstreams(network: &Network) -> Vec<SocketAddr> {
    if !network.forward.dns.is_empty() {
        return network.forward.dns.clone();
    }
    let told = network.dns.iter().copied();
    told.filter(|address| is_elsewhere(*address) && network.subnet_of(*address).is_none())
        .map(|address| SocketAddr::new(address, PORT))
        .collect()
}

/// Whether an address may be a resolver's beyond the guest's link and this machine.
fn is_elsewhere(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    let is_on_the_link = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
    };
    !is_special && !is_on_the_link
}
