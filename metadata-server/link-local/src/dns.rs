//! DNS for guests: what is answered here, what is forwarded, and what is refused.
//!
//! A stub of a resolver and of a few authoritative zones in one, as 169.254.169.253 is on EC2. It
//! knows the names that clients look their metadata service up by, and the instances that share a
//! network with the one that asks; everything else goes to the resolvers of the port's network.
//! What it never does: look further than the asker's own networks and project (another tenant's
//! name is not even said to exist), keep a cache, or send anything. Messages are read and written
//! by RFC 1035, with EDNS by RFC 6891, negative answers by RFC 2308, ANY by RFC 8482.

mod forward;
mod local;
mod names;
mod query;
mod reply;
mod reverse;

pub use forward::{Answer, Forwarding, upstreams};
use mezame_model::{Guest, GuestPort};
pub use names::Names;

use self::{query::Query, reply::Reply};

/// How long clients may keep what is answered here, in seconds: as long as EC2's resolver lets
/// them keep the names of instances.
pub const TTL: u32 = 60;

/// How long clients may keep it that there is nothing (RFC 2308, section 5), in seconds. Short: a
/// guest that waits for another to come up must not be told for long that there is none.
pub const NEGATIVE_TTL: u32 = 5;

/// The largest datagram that is sent or asked for, in bytes, where the network's MTU has room for
/// it: what passes unfragmented nearly everywhere (DNS flag day 2020).
pub const DATAGRAM: u16 = 1232;

/// Who asks, and what there is to know.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The guest.
    pub guest: &'a Guest,
    /// The port that the query came through; one of the guest's.
    pub port: &'a GuestPort,
    /// Everybody's names; only those of the guest's own networks and project are looked at.
    pub names: &'a Names,
}

/// What the query came by, and so how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// 512 bytes, or what the query says by EDNS.
    Datagram,
    /// 65,535 bytes (RFC 7766).
    Stream,
}

/// What is to be done about a message.
#[derive(Debug)]
pub enum Decision {
    /// It is known here: these bytes are the reply.
    Answer(Vec<u8>),
    /// It is nothing that is answered: these bytes say so.
    Refuse(Vec<u8>),
    /// One of the network's resolvers is to be asked.
    Forward(Box<Forwarding>),
    /// It is no query: nothing is replied, lest two servers talk to each other for ever.
    Silence,
}

/// Decides about one message, whatever its bytes.
pub fn decide(message: &[u8], asker: &Asker<'_>, transport: Transport) -> Decision {
    let query = match Query::parse(message) {
        Ok(query) => query,
        Err(query::Fault::NoQuery) => return Decision::Silence,
        Err(query::Fault::Headless(header, code)) => {
            return Decision::Refuse(reply::headless(header, code));
        }
    };
    let limit = limit(&query, asker, transport);
    let upstreams = upstreams(&asker.port.network);
    let reply = Reply::new(&query, limit, !upstreams.is_empty());
    if let Some(rcode) = query.refusal() {
        return Decision::Refuse(reply.error(rcode));
    }
    if let Some(name) = query.text() {
        if let Some(found) = local::find(&name, asker) {
            return Decision::Answer(reply.found(&found));
        }
        if let Some(zone) = local::zone_of_nothing(&name, asker, !upstreams.is_empty()) {
            // A zone's own name is one that there is.
            let is_there = zone == name;
            let found = local::Found { zone, holds: local::Holds::Nothing };
            return Decision::Answer(if is_there {
                reply.found(&found)
            } else {
                reply.unknown(&found.zone)
            });
        }
    }
    if upstreams.is_empty() {
        return Decision::Refuse(reply.error(query::REFUSED));
    }
    Decision::Forward(Box::new(Forwarding::new(query, upstreams, limit, transport)))
}

/// How long the reply may be, in bytes.
fn limit(query: &Query, asker: &Asker<'_>, transport: Transport) -> usize {
    match transport {
        Transport::Stream => usize::from(u16::MAX),
        Transport::Datagram => {
            // An IPv6 header and a UDP header; never below what every client takes (RFC 1035).
            let room = asker.port.network.mtu.saturating_sub(48).clamp(512, DATAGRAM);
            let wanted = query.edns.map_or(512, |edns| edns.payload.max(512));
            usize::from(wanted.min(room))
        }
    }
}

#[cfg(test)]
mod tests;
