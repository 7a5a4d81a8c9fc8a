//! What the index of many instances takes, and one answer out of it:
//! `cargo run --release -p mezame-link-local --example measure_names [INSTANCES]`, 100,000 without a
//! number.
//!
//! Each instance has one port with one address, all in one network, which is the worst case: every
//! name is told to everybody. The figures are printed, and nothing is required of them.

use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use domain::base::{MessageBuilder, Name, Question, Rtype};
use mezame_link_local::dns::{Asker, Decision, Names, Transport, decide};
use mezame_model::{Guest, InstanceId, PortId, Snapshot};

/// Answers that are timed.
const QUERIES: u32 = 200_000;

fn main() {
    let argument = std::env::args().nth(1);
    let count: u32 = argument.map_or(100_000, |text| text.parse().expect("a number"));
    let snapshot = Arc::new(crowd(count));
    for _ in 0..3 {
        let began = Instant::now();
        let names = Names::of(&snapshot);
        println!("index of {count} instances: {:?}", began.elapsed());
        drop(names);
    }
    let names = Names::of(&snapshot);
    let guest = Guest::join(&snapshot, &snapshot.instances[0]).expect("a whole record");
    let asker = Asker { guest: &guest, port: guest.primary(), names: &names };
    let queries: Vec<_> =
        (0..QUERIES).map(|number| query(number.wrapping_mul(7919) % count)).collect();
    let began = Instant::now();
    for message in &queries {
        let decision = decide(message, &asker, Transport::Datagram);
        assert!(matches!(decision, Decision::Answer(_)), "{decision:?}");
    }
    println!("one answer: {:?}", began.elapsed() / QUERIES);
}

fn query(number: u32) -> Vec<u8> {
    let name = format!("guest-{number}.acme.example");
    let mut builder = MessageBuilder::new_vec().question();
    let name = Name::vec_from_str(&name).expect("a name");
    builder.push(Question::new_in(name, Rtype::A)).expect("room");
    builder.finish()
}

fn crowd(count: u32) -> Snapshot {
    let text = include_str!("../../protocol/testdata/snapshot-with-test-keys.json");
    let mut snapshot: Snapshot = serde_json::from_str(text).expect("the fixture is a snapshot");
    let (instance, port) = (snapshot.instances[0].clone(), snapshot.ports[0].clone());
    snapshot.instances.clear();
    snapshot.ports.clear();
    for number in 0..count {
        let mut instance = instance.as_ref().clone();
        let mut port = port.as_ref().clone();
        // In another order than the instances', as made-up ids are.
        let scrambled = number.wrapping_mul(2_654_435_761);
        instance.id = InstanceId::parse(&format!("i-{number:017x}")).expect("an id");
        port.id = PortId::parse(&format!("eni-{scrambled:017x}")).expect("an id");
        port.instance = Some(instance.id.clone());
        port.addresses = vec![Ipv4Addr::from(0x0a00_0000 + number).into()];
        instance.ports = vec![port.id.clone()];
        instance.hostname = format!("guest-{number}").into();
        snapshot.instances.push(Arc::new(instance));
        snapshot.ports.push(Arc::new(port));
    }
    snapshot.ports.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot
}
