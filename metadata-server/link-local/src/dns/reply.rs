//! Replies to a query, from what was found to bytes.

use std::net::IpAddr;

use domain::{
    base::{
        CharStr, Header, MessageBuilder, Name, Question, Rtype, Serial, StaticCompressor, Ttl,
        iana::{Class, OptRcode, Rcode},
        message_builder::{AdditionalBuilder, AnswerBuilder, PushError},
    },
    rdata::{A, Aaaa, Hinfo, Ptr, Soa},
};

use super::{
    DATAGRAM, NEGATIVE_TTL, TTL,
    local::{Found, Holds},
    query::Query,
};

type Target = StaticCompressor<Vec<u8>>;

/// The EDNS record without options, in bytes.
const OPT_LENGTH: usize = 11;

/// What the reply to one query has whatever it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    query: &'a Query,
    /// In bytes.
    limit: usize,
    /// Whether anything is forwarded for this asker.
    recursion: bool,
}

impl<'a> Reply<'a> {
    /// Of at most `limit` bytes.
    pub(super) fn new(query: &'a Query, limit: usize, recursion: bool) -> Self {
        Self { query, limit, recursion }
    }

    /// A code and nothing else.
    pub(super) fn error(self, code: OptRcode) -> Vec<u8> {
        self.finish(self.begin(false), code)
    }

    /// What was found, as far as it is of the type that was asked for.
    pub(super) fn found(self, found: &Found) -> Vec<u8> {
        let mut answer = self.begin(true);
        let owner = &self.query.name;
        let ttl = Ttl::from_secs(TTL);
        let mut count = 0;
        let mut push = || -> Result<(), PushError> {
            match (&found.holds, self.query.rtype) {
                // RFC 8482, section 4.2.
                (_, Rtype::ANY) => {
                    let (Ok(cpu), Ok(os)) =
                        (CharStr::from_octets("RFC8482"), CharStr::from_octets(""))
                    else {
                        return Ok(());
                    };
                    answer.push((owner, ttl, Hinfo::new(cpu, os)))?;
                    count += 1;
                }
                (Holds::Addresses(addresses), rtype) => {
                    for address in addresses {
                        match (address, rtype) {
                            (IpAddr::V4(address), Rtype::A) => {
                                answer.push((owner, ttl, A::new(*address)))?;
                            }
                            (IpAddr::V6(address), Rtype::AAAA) => {
                                answer.push((owner, ttl, Aaaa::new(*address)))?;
                            }
                            _ => continue,
                        }
                        count += 1;
                    }
                }
                (Holds::Name(name), Rtype::PTR) => {
                    if let Ok(name) = Name::vec_from_str(name) {
                        answer.push((owner, ttl, Ptr::new(name)))?;
                        count += 1;
                    }
                }
                (Holds::Name(_) | Holds::Nothing, _) => {}
            }
            Ok(())
        };
        match push() {
            Ok(()) if count == 0 => self.nothing(answer, &found.zone, OptRcode::NOERROR),
            Ok(()) => self.finish(answer, OptRcode::NOERROR),
            Err(_) => self.truncated(answer),
        }
    }

    /// There is no such name in the zone.
    pub(super) fn unknown(self, zone: &str) -> Vec<u8> {
        self.nothing(self.begin(true), zone, OptRcode::NXDOMAIN)
    }

    /// No answer, and for how long that may be believed (RFC 2308, section 3). The record is the
    /// one that RFC 6303, section 3, gives to such zones, but for its shorter minimum.
    fn nothing(self, answer: AnswerBuilder<Target>, zone: &str, code: OptRcode) -> Vec<u8> {
        let (Ok(zone), Ok(nobody)) =
            (Name::vec_from_str(zone), Name::vec_from_str("nobody.invalid."))
        else {
            return self.finish(answer, code);
        };
        let seconds = Ttl::from_secs;
        let soa = Soa::new(
            zone.clone(),
            nobody,
            Serial(1),
            seconds(3600),
            seconds(1200),
            seconds(604_800),
            seconds(NEGATIVE_TTL),
        );
        let mut authority = answer.authority();
        match authority.push((zone, seconds(NEGATIVE_TTL), soa)) {
            Ok(()) => self.close(authority.additional(), code),
            Err(_) => self.truncated(authority.answer()),
        }
    }

    /// More than fits: the client is to come by TCP (RFC 2181, section 9).
    fn truncated(self, answer: AnswerBuilder<Target>) -> Vec<u8> {
        self.finish(answer.tc_rewind_into(), OptRcode::NOERROR)
    }

    /// No more than the question, for an answer of someone else's that is too long.
    pub(super) fn too_long(self) -> Vec<u8> {
        self.truncated(self.begin(false))
    }

    fn begin(self, is_authoritative: bool) -> AnswerBuilder<Target> {
        let mut builder = builder();
        builder.set_push_limit(self.limit.saturating_sub(OPT_LENGTH));
        let asked = self.query.header;
        let header = builder.header_mut();
        header.set_id(asked.id());
        header.set_qr(true);
        header.set_opcode(asked.opcode());
        header.set_aa(is_authoritative);
        header.set_rd(asked.rd());
        header.set_ra(self.recursion);
        header.set_cd(asked.cd());
        let mut questions = builder.question();
        let Query { name, rtype, class, .. } = self.query;
        // A question is at most 259 bytes, so that it always fits.
        let _ = questions.push(Question::new(name, *rtype, *class));
        questions.answer()
    }

    fn finish(self, answer: AnswerBuilder<Target>, code: OptRcode) -> Vec<u8> {
        self.close(answer.additional(), code)
    }

    fn close(self, mut additional: AdditionalBuilder<Target>, code: OptRcode) -> Vec<u8> {
        additional.header_mut().set_rcode(code.rcode());
        if let Some(edns) = self.query.edns {
            additional.clear_push_limit();
            // Nothing but a full buffer could refuse it, and this one grows.
            let _ = additional.opt(|opt| {
                opt.set_udp_payload_size(DATAGRAM);
                opt.set_dnssec_ok(edns.dnssec_ok);
                opt.set_rcode(code);
                Ok(())
            });
        }
        additional.finish().into_target()
    }
}

/// The reply to a query of which no more than the header was looked at.
pub(super) fn headless(asked: Header, code: Rcode) -> Vec<u8> {
    let mut builder = builder();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_rcode(code);
    builder.finish().into_target()
}

/// A query to a resolver.
pub(super) fn query(query: &Query, id: u16, payload: u16) -> Vec<u8> {
    let mut builder = builder();
    let asked = query.header;
    let header = builder.header_mut();
    header.set_id(id);
    header.set_rd(asked.rd());
    header.set_ad(asked.ad());
    header.set_cd(asked.cd());
    let mut questions = builder.question();
    let _ = questions.push(Question::new(&query.name, query.rtype, Class::IN));
    let mut additional = questions.additional();
    if let Some(edns) = query.edns {
        let _ = additional.opt(|opt| {
            opt.set_udp_payload_size(payload);
            opt.set_dnssec_ok(edns.dnssec_ok);
            Ok(())
        });
    }
    additional.finish().into_target()
}

fn builder() -> MessageBuilder<Target> {
    match MessageBuilder::from_target(StaticCompressor::new(Vec::with_capacity(512))) {
        Ok(builder) => builder,
        // A vector takes twelve bytes.
        Err(never) => match never {},
    }
}
