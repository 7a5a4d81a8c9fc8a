//! The index of a hundred thousand instances.

use mezame_model::{InstanceId, PortId};

use super::*;

/// So many instances with a port each, in one network.
fn crowd(count: u32) -> Snapshot {
    let mut snapshot = World::new().snapshot;
    let (instance, port) = (snapshot.instances[0].clone(), snapshot.ports[0].clone());
    snapshot.instances.clear();
    snapshot.ports.clear();
    for number in 0..count {
        let mut instance = instance.as_ref().clone();
        let mut port = port.as_ref().clone();
        // In another order than the instances', as made-up ids are.
        let scrambled = u64::from(number.wrapping_mul(2_654_435_761));
        instance.id = InstanceId::parse(&format!("i-{number:017x}")).unwrap();
        port.id = PortId::parse(&format!("eni-{scrambled:017x}")).unwrap();
        port.instance = Some(instance.id.clone());
        port.addresses = vec![(0x0a00_0000 + number).to_be_bytes().into()];
        instance.ports = vec![port.id.clone()];
        instance.hostname = format!("guest-{number}").into();
        snapshot.instances.push(Arc::new(instance));
        snapshot.ports.push(Arc::new(port));
    }
    snapshot.ports.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot
}

#[test]
fn every_instance_of_a_crowd_is_found_by_its_name_and_its_address() {
    let snapshot = Arc::new(crowd(3000));
    let names = Names::of(&snapshot);
    let guest = Guest::join(&snapshot, &snapshot.instances[0]).unwrap();
    let asker = Asker { guest: &guest, port: guest.primary(), names: &names };
    for number in (0..3000u32).step_by(7) {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        let name = format!("guest-{number}.acme.example");
        let told = Told::of(decide(&query(&name, Rtype::A), &asker, Transport::Datagram));
        assert_eq!(told.answers, [format!("{name} A {address}")]);
        let [a, b, c, d] = address.octets();
        let reverse = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
        let told = Told::of(decide(&query(&reverse, Rtype::PTR), &asker, Transport::Datagram));
        assert_eq!(told.answers, [format!("{reverse} PTR {name}.")]);
    }
    let told = Told::of(decide(&query("guest-3000", Rtype::A), &asker, Transport::Datagram));
    assert_eq!(told, Told::refusal(OptRcode::REFUSED));
}
