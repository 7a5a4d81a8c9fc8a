//! A query out of bytes: its header, its one question and its EDNS record.
//!
//! Strict, since a stub resolver's query is simple: one question, no answers, and at most the OPT
//! record and a signature besides. What is refused here is never looked up.

use domain::base::{
    Header, Message, Name, Rtype, ToName,
    iana::{Class, Opcode, OptRcode, Rcode},
    opt::{Opt, OptRecord},
};

/// Nobody may ask this.
pub(super) const REFUSED: OptRcode = OptRcode::REFUSED;

/// Why a message is no query.
#[derive(Debug)]
pub(super) enum Fault {
    /// Too short for a header, or itself a reply.
    NoQuery,
    /// A query of which no more than the header is looked at, and the code that it gets.
    Headless(Header, Rcode),
}

/// What a query says by EDNS (RFC 6891).
#[derive(Debug, Clone, Copy)]
pub(super) struct Edns {
    /// The longest datagram that its sender takes, in bytes.
    pub(super) payload: u16,
    /// Whether DNSSEC's records are wanted (RFC 3225).
    pub(super) dnssec_ok: bool,
    version: u8,
}

/// A query.
#[derive(Debug)]
pub(super) struct Query {
    /// Its header as it came.
    pub(super) header: Header,
    /// The name in the case that it came in, which the reply must keep.
    pub(super) name: Name<Vec<u8>>,
    /// The type.
    pub(super) rtype: Rtype,
    /// The class.
    pub(super) class: Class,
    /// If it has any.
    pub(super) edns: Option<Edns>,
}

impl Query {
    /// Reads one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let message = Message::from_octets(bytes).map_err(|_| Fault::NoQuery)?;
        let header = message.header();
        if header.qr() {
            return Err(Fault::NoQuery);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(Fault::Headless(header, Rcode::NOTIMP));
        }
        let malformed = || Fault::Headless(header, Rcode::FORMERR);
        let counts = message.header_counts();
        // The bound on the records also bounds the work that their compressed names can make.
        if counts.qdcount() != 1
            || counts.ancount() > 0
            || counts.nscount() > 0
            || counts.arcount() > 2
        {
            return Err(malformed());
        }
        let question = message.first_question().ok_or_else(malformed)?;
        Ok(Self {
            header,
            name: question.qname().to_vec(),
            rtype: question.qtype(),
            class: question.qclass(),
            edns: edns(&message).ok_or_else(malformed)?,
        })
    }

    /// The response code that it is refused with for what it is, whatever the name.
    pub(super) fn refusal(&self) -> Option<OptRcode> {
        if self.edns.is_some_and(|edns| edns.version > 0) {
            return Some(OptRcode::BADVERS);
        }
        let is_of_a_pseudo_type = self.rtype == Rtype::OPT || self.rtype.to_int() == 0;
        if is_of_a_pseudo_type {
            return Some(OptRcode::FORMERR);
        }
        // Of the meta types (RFC 6895, section 3.1) only ANY is a question of a stub's; CHAOS
        // would ask what software this is.
        let is_meta = (128..=254).contains(&self.rtype.to_int());
        (self.class != Class::IN || is_meta).then_some(REFUSED)
    }

    /// The name in lower case without the last dot; nothing for one that has other characters than
    /// host names and services have, which so is none of ours.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.name.len());
        for label in self.name.iter().filter(|label| !label.is_root()) {
            if !text.is_empty() {
                text.push('.');
            }
            for byte in label.as_slice() {
                if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_') {
                    return None;
                }
                text.push(char::from(byte.to_ascii_lowercase()));
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The EDNS record, if there is one; nothing where the records can't be read, or there are two.
fn edns(message: &Message<&[u8]>) -> Option<Option<Edns>> {
    let mut found = None;
    for record in message.additional().ok()? {
        let record = record.ok()?;
        if record.rtype() != Rtype::OPT {
            continue;
        }
        let is_of_the_root = record.owner().is_root();
        let record: OptRecord<_> = record.into_record::<Opt<_>>().ok()??.into();
        let edns = Edns {
            payload: record.udp_payload_size(),
            dnssec_ok: record.dnssec_ok(),
            version: record.version(),
        };
        if !is_of_the_root || found.replace(edns).is_some() {
            return None;
        }
    }
    Some(found)
}
