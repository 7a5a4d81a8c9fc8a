//! Queries of two tenants' guests, answered.

mod forwarding;
mod local;
mod malformed;
mod scale;

use std::sync::Arc;

use domain::{
    base::{
        Message, MessageBuilder, Name, Question, Rtype,
        iana::{Class, OptRcode},
    },
    rdata::AllRecordData,
};
use mezame_model::{Dialect, Guest, Network, Snapshot};

use super::*;

/// Two tenants with the same addresses: `web-0` and `web-1` of one share two networks, `db-0` is
/// the other's.
pub(super) struct World {
    pub(super) snapshot: Snapshot,
}

impl World {
    pub(super) fn new() -> Self {
        let text = include_str!("../../../protocol/testdata/snapshot-with-test-keys.json");
        let mut snapshot: Snapshot = serde_json::from_str(text).unwrap();
        let mut port = snapshot.ports[0].as_ref().clone();
        port.id = mezame_model::PortId::parse("eni-000000000000000a9").unwrap();
        port.instance = Some(mezame_model::InstanceId::parse("i-000000000000000a9").unwrap());
        port.addresses = vec!["192.168.0.11".parse().unwrap()];
        let mut instance = snapshot.instances[0].as_ref().clone();
        instance.id = port.instance.clone().unwrap();
        instance.hostname = "Web-1".into();
        instance.ports = vec![port.id.clone()];
        snapshot.ports.push(Arc::new(port));
        snapshot.ports.sort_by(|a, b| a.id.cmp(&b.id));
        snapshot.instances.push(Arc::new(instance));
        snapshot.instances.sort_by(|a, b| a.id.cmp(&b.id));
        let mut world = Self { snapshot };
        world.networks(|network| network.dns.clear());
        world
    }

    pub(super) fn networks(&mut self, change: impl Fn(&mut Network)) {
        self.snapshot.networks.iter_mut().for_each(|one| change(Arc::make_mut(one)));
    }

    pub(super) fn dialects(&mut self, dialects: &[Dialect]) {
        for instance in &mut self.snapshot.instances {
            Arc::make_mut(instance).dialects = dialects.iter().copied().collect();
        }
    }

    /// What is decided about a message of the first port of this instance.
    pub(super) fn decide(&self, host: &str, message: &[u8], transport: Transport) -> Decision {
        let snapshot = Arc::new(self.snapshot.clone());
        let instance = snapshot.instances.iter().find(|one| &*one.hostname == host).unwrap();
        let guest = Guest::join(&snapshot, instance).unwrap();
        let names = Names::of(&snapshot);
        decide(message, &Asker { guest: &guest, port: guest.primary(), names: &names }, transport)
    }

    pub(super) fn ask(&self, host: &str, name: &str, rtype: Rtype) -> Told {
        Told::of(self.decide(host, &query(name, rtype), Transport::Datagram))
    }
}

/// A query without EDNS.
pub(super) fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    question(name, rtype, Class::IN).additional().finish()
}

pub(super) fn question(
    name: &str,
    rtype: Rtype,
    class: Class,
) -> domain::base::message_builder::QuestionBuilder<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let name = Name::vec_from_str(name).unwrap();
    builder.push(Question::new(name, rtype, class)).unwrap();
    builder
}

/// A reply, read back.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) code: OptRcode,
    /// The records of the answer: owner, type and data.
    pub(super) answers: Vec<String>,
    /// The owner of the SOA record, if there is one.
    pub(super) zone: Option<String>,
    pub(super) is_truncated: bool,
}

impl Told {
    pub(super) fn of(decision: Decision) -> Self {
        match decision {
            Decision::Answer(bytes) | Decision::Refuse(bytes) => Self::read(&bytes),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Self {
        let message = Message::from_octets(bytes).unwrap();
        assert!(message.header().qr());
        let answers = message.answer().unwrap().limit_to::<AllRecordData<_, _>>();
        let authority = message.authority().unwrap().limit_to::<AllRecordData<_, _>>();
        Self {
            code: message.opt_rcode(),
            answers: answers
                .map(Result::unwrap)
                .map(|one| format!("{} {} {}", one.owner(), one.rtype(), one.data()))
                .collect(),
            zone: authority.map(Result::unwrap).next().map(|one| {
                assert_eq!(one.rtype(), Rtype::SOA);
                assert_eq!(one.ttl().as_secs(), NEGATIVE_TTL);
                one.owner().to_string()
            }),
            is_truncated: message.header().tc(),
        }
    }

    pub(super) fn nothing_in(zone: &str, code: OptRcode) -> Self {
        Self { code, answers: Vec::new(), zone: Some(zone.into()), is_truncated: false }
    }

    pub(super) fn refusal(code: OptRcode) -> Self {
        Self { code, answers: Vec::new(), zone: None, is_truncated: false }
    }
}
