//! A guest's DNS message to a decision, and a resolver's to the guest's reply.
//!
//! The first byte says how: its lowest bit, whether by TCP; the next, whether there is a resolver.
//! Two bytes of length follow, a guest's message of that length, and what a resolver answers
//! behind the head and question that it must have. Besides not panicking, each reply must be read
//! back whole, be to this query and no longer than its sender takes, and tell nothing of another
//! tenant.

#![no_main]

use std::sync::{Arc, LazyLock};

use domain::{
    base::{Message, Rtype, ToName},
    rdata::{A, AllRecordData},
};
use libfuzzer_sys::{Corpus, fuzz_target};
use mezame_link_local::dns::{Asker, DATAGRAM, Decision, Forwarding, Names, Transport, decide};
use mezame_model::{Guest, Snapshot};

/// The other tenant's only address.
const RIVAL: [u8; 4] = [198, 51, 100, 77];

/// The number that forwarded queries have here.
const ID: u16 = 0x5a5a;

struct World {
    guest: Guest,
    names: Names,
}

impl World {
    fn new(is_forwarding: bool) -> Self {
        let text =
            include_str!("../../../metadata-server/protocol/testdata/snapshot-with-test-keys.json");
        let mut snapshot: Snapshot = serde_json::from_str(text).expect("the fixture is a snapshot");
        for network in &mut snapshot.networks {
            let network = Arc::make_mut(network);
            network.dns.clear();
            if is_forwarding {
                network.forward.dns = vec!["192.0.2.53:53".parse().expect("an address")];
            }
        }
        for port in &mut snapshot.ports {
            if port.project.as_str() == "rival" {
                Arc::make_mut(port).addresses = vec![RIVAL.into()];
            }
        }
        let snapshot = Arc::new(snapshot);
        let guest = Guest::join(&snapshot, &snapshot.instances[0]).expect("the record is whole");
        Self { guest, names: Names::of(&snapshot) }
    }
}

static WORLDS: LazyLock<[World; 2]> = LazyLock::new(|| [World::new(false), World::new(true)]);

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(([how, high, low], rest)) = input.split_first_chunk() else { return Corpus::Reject };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (message, answer) = rest.split_at(length);
    let transport = if how & 1 == 0 { Transport::Datagram } else { Transport::Stream };
    let world = &WORLDS[usize::from(how >> 1 & 1)];
    let asker = Asker { guest: &world.guest, port: world.guest.primary(), names: &world.names };
    match decide(message, &asker, transport) {
        Decision::Answer(bytes) | Decision::Refuse(bytes) => {
            is_reply_to(message, &bytes, transport)
        }
        Decision::Forward(forwarding) => {
            is_reply_to(message, &forwarding.failure(), transport);
            is_passed_on(message, answer, &forwarding, transport);
        }
        Decision::Silence => {}
    }
    Corpus::Keep
});

/// Fails unless the bytes are one whole reply to this message that tells nothing of the rival.
fn is_reply_to(message: &[u8], bytes: &[u8], transport: Transport) {
    let reply = Message::from_octets(bytes).expect("a header");
    assert_eq!(bytes[..2], message[..2], "another number");
    assert!(reply.header().qr(), "no reply");
    assert!(transport == Transport::Stream || bytes.len() <= usize::from(DATAGRAM), "too long");
    for section in [reply.answer(), reply.authority(), reply.additional()] {
        for record in section.expect("a section").limit_to::<AllRecordData<_, _>>() {
            let record = record.expect("a record");
            if let AllRecordData::A(address) = record.data() {
                assert_ne!(*address, A::new(RIVAL.into()), "another tenant's address");
            }
        }
    }
    if reply.header_counts().qdcount() > 0 {
        let told = reply.sole_question().expect("a question");
        let asked = Message::from_octets(message).expect("a header");
        let asked = asked.first_question().expect("a question");
        let (told_name, asked_name) = (told.qname().to_vec(), asked.qname().to_vec());
        assert_eq!(told_name.as_slice(), asked_name.as_slice(), "another name");
        assert_eq!((told.qtype(), told.qclass()), (asked.qtype(), asked.qclass()));
    }
}

/// Fails unless the query that goes on asks the same, and only an answer to it is passed on.
fn is_passed_on(message: &[u8], answer: &[u8], forwarding: &Forwarding, transport: Transport) {
    assert!(!forwarding.upstreams().is_empty());
    let sent = forwarding.message(ID);
    assert!(sent.len() <= 12 + 255 + 4 + 11, "more than a question travels");
    let read = Message::from_octets(sent.as_slice()).expect("a header");
    let question = read.sole_question().expect("a question");
    assert_ne!(question.qtype(), Rtype::AXFR, "a transfer");
    let end = 12 + question.qname().to_vec().len() + 4;
    assert!(forwarding.accept(ID, sent.clone()).is_none(), "a query was taken for an answer");
    if let Some(reply) = forwarding.accept(ID, answer.to_vec()) {
        assert_eq!(reply.bytes[..2], message[..2], "another number");
    }
    let mut good = sent[..end].to_vec();
    good[2] |= 0x80;
    good.extend(answer);
    let reply = forwarding.accept(ID, good.clone()).expect("it has the number and the question");
    assert_eq!(reply.bytes[..2], message[..2], "another number");
    assert!(transport == Transport::Stream || reply.bytes.len() <= usize::from(DATAGRAM));
    assert!(forwarding.accept(ID ^ 1, good).is_none(), "another number was believed");
}
