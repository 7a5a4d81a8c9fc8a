//! Queries that are refused for what they are, and bytes that are none.

use domain::base::{iana::Opcode, opt::AllOptData};
use proptest::prelude::*;

use super::*;

fn code_of(message: &[u8]) -> OptRcode {
    Told::of(World::new().decide("web-0", message, Transport::Datagram)).code
}

#[test]
fn a_reply_is_not_answered() {
    let mut message = query("web-1", Rtype::A);
    message[2] |= 0x80;
    let decision = World::new().decide("web-0", &message, Transport::Datagram);
    assert!(matches!(decision, Decision::Silence), "{decision:?}");
}

#[test]
fn too_little_for_a_header_is_not_answered() {
    let message = query("web-1", Rtype::A);
    for length in 0..12 {
        let decision = World::new().decide("web-0", &message[..length], Transport::Datagram);
        assert!(matches!(decision, Decision::Silence), "{length}: {decision:?}");
    }
}

#[test]
fn what_only_a_server_or_an_operator_asks_is_refused() {
    for rtype in [Rtype::AXFR, Rtype::IXFR, Rtype::TKEY, Rtype::TSIG] {
        assert_eq!(code_of(&query("acme.example", rtype)), OptRcode::REFUSED, "{rtype}");
    }
    for class in [Class::CH, Class::HS, Class::ANY, Class::NONE] {
        let message = question("version.bind", Rtype::TXT, class).finish();
        assert_eq!(code_of(&message), OptRcode::REFUSED, "{class}");
    }
    for opcode in [Opcode::IQUERY, Opcode::STATUS, Opcode::NOTIFY, Opcode::UPDATE] {
        let mut builder = question("web-1", Rtype::A, Class::IN);
        builder.header_mut().set_opcode(opcode);
        assert_eq!(code_of(&builder.finish()), OptRcode::NOTIMP, "{opcode}");
    }
}

#[test]
fn a_query_has_one_question_and_no_answers() {
    let name = Name::vec_from_str("web-1").unwrap();
    let mut two = question("web-1", Rtype::A, Class::IN);
    two.push(Question::new_in(&name, Rtype::AAAA)).unwrap();
    assert_eq!(code_of(&two.finish()), OptRcode::FORMERR);
    let none = MessageBuilder::new_vec();
    assert_eq!(code_of(&none.finish()), OptRcode::FORMERR);
    let mut answered = question("web-1", Rtype::A, Class::IN).answer();
    answered.push((&name, 1, domain::rdata::A::from_octets(1, 2, 3, 4))).unwrap();
    assert_eq!(code_of(&answered.finish()), OptRcode::FORMERR);
    for rtype in [Rtype::OPT, Rtype::from_int(0)] {
        assert_eq!(code_of(&query("web-1", rtype)), OptRcode::FORMERR, "{rtype}");
    }
    // A count without its record.
    let mut short = query("web-1", Rtype::A);
    short[11] = 1;
    assert_eq!(code_of(&short), OptRcode::FORMERR);
}

#[test]
fn a_name_that_points_to_itself_is_malformed() {
    let mut message = query("web-1", Rtype::A);
    message.splice(12..19, [0xc0, 12]);
    assert_eq!(code_of(&message), OptRcode::FORMERR);
}

#[test]
fn edns_is_answered_with_edns_and_a_newer_one_with_badvers() {
    let asked = |version| {
        let mut builder = question("web-1", Rtype::A, Class::IN).additional();
        builder
            .opt(|opt| {
                opt.set_version(version);
                opt.set_udp_payload_size(4096);
                opt.set_dnssec_ok(true);
                Ok(())
            })
            .unwrap();
        builder
    };
    for (version, code) in [(0, OptRcode::NOERROR), (1, OptRcode::BADVERS)] {
        let message = asked(version).finish();
        let (Decision::Answer(bytes) | Decision::Refuse(bytes)) =
            World::new().decide("web-0", &message, Transport::Datagram)
        else {
            panic!("no reply");
        };
        let reply = Message::from_octets(bytes.as_slice()).unwrap();
        let opt = reply.opt().unwrap();
        assert_eq!(reply.opt_rcode(), code);
        assert_eq!(opt.udp_payload_size(), DATAGRAM);
        assert_eq!(opt.version(), 0);
        assert!(opt.dnssec_ok());
        assert_eq!(opt.opt().iter::<AllOptData<_, _>>().count(), 0);
    }
    let mut twice = asked(0);
    twice.opt(|_| Ok(())).unwrap();
    assert_eq!(code_of(&twice.finish()), OptRcode::FORMERR);
    let bytes = match World::new().decide("web-0", &query("web-1", Rtype::A), Transport::Datagram) {
        Decision::Answer(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    assert!(Message::from_octets(bytes).unwrap().opt().is_none());
}

/// Checks what every reply promises.
fn check(message: &[u8], decision: &Decision) {
    let (Decision::Answer(bytes) | Decision::Refuse(bytes)) = decision else { return };
    let reply = Message::from_octets(bytes.as_slice()).unwrap();
    assert_eq!(bytes[..2], message[..2], "the number");
    assert!(reply.header().qr());
    assert!(bytes.len() <= usize::from(DATAGRAM));
    if reply.header_counts().qdcount() == 1 {
        let question = reply.sole_question().unwrap();
        let asked = Message::from_octets(message).unwrap();
        let asked = asked.first_question().unwrap();
        assert_eq!(question.qname().to_string(), asked.qname().to_string(), "in the same case");
        assert_eq!((question.qtype(), question.qclass()), (asked.qtype(), asked.qclass()));
    } else {
        assert!(matches!(decision, Decision::Refuse(_)), "an answer without its question");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_decided_about(message in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&message, &World::new().decide("web-0", &message, Transport::Datagram));
    }

    #[test]
    fn any_change_of_a_query_is_decided_about(
        name in "(web-1|metadata|[a-zA-Z.]{1,20})(\\.acme\\.example)?",
        rtype: u16,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        prop_assume!(Name::vec_from_str(&name).is_ok());
        let mut message = query(&name, Rtype::from_int(rtype));
        for (at, byte) in changes {
            let length = message.len();
            message[at.index(length)] = byte;
        }
        check(&message, &World::new().decide("web-0", &message, Transport::Datagram));
    }
}
