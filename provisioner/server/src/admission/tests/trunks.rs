//! Networks behind tags, and cards that are one device.

use mezame_model::api::Action;

use super::*;

/// The seeded world, and `dmz` in `p`.
fn world() -> World {
    let mut world = World::seeded();
    let dmz = json!({ "name": "dmz", "vni": 3000,
                      "subnets": [{ "cidr": "10.1.0.0/29", "gateway": "10.1.0.1" }] });
    world.apply(&json!([network(dmz)]));
    world
}

fn stored(world: &World, name: &str) -> mezame_model::Port {
    let project = "p".parse().unwrap();
    (*world.state.port(&project, &name.parse().unwrap()).unwrap().record).clone()
}

fn vlan(id: u16, network: &str) -> Value {
    json!({ "id": id, "network": network })
}

#[test]
fn a_vlan_gets_an_address_of_its_own_network_and_keeps_it() {
    let mut world = world();
    let trunk = json!([port("trunk", json!({ "vlans": [vlan(100, "dmz"), vlan(200, "far")] }))]);
    world.apply(&trunk);
    let made = stored(&world, "trunk");
    let addresses: Vec<String> =
        made.vlans.iter().flat_map(|vlan| &vlan.addresses).map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.1.0.2", "192.168.0.2"]);
    assert!(world.apply(&trunk).iter().all(|change| change.action == Action::Unchanged));
    // Another tag for the same network is another VLAN; the other one stays as it is.
    world.apply(&json!([port("trunk", json!({ "vlans": [vlan(101, "dmz"), vlan(200, "far")] }))]));
    let now = stored(&world, "trunk");
    assert_ne!(now.vlans[0], made.vlans[0]);
    assert_eq!(now.vlans[1], made.vlans[1]);
    // What is told of it can be applied again.
    let held = world.state.port(&"p".parse().unwrap(), &"trunk".parse().unwrap()).unwrap();
    let told = crate::spec::of_port(&held.record, |id| {
        world.state.network_by_id(id).unwrap().name.to_string()
    });
    assert_eq!(told["vlans"][1]["network"], "far");
    assert!(world.apply(&json!([told])).iter().all(|change| change.action == Action::Unchanged));
}

#[test]
fn every_fault_of_vlans_is_told_where_it_is() {
    let world = world();
    for (vlans, expected) in [
        (json!([vlan(0, "dmz")]), "0:vlans[0].id: this is not a whole number from 1 to 4094"),
        (json!([vlan(4095, "dmz")]), "0:vlans[0].id: this is not a whole number from 1 to 4094"),
        (json!([vlan(7, "dmz"), vlan(7, "far")]), "0:vlans[1].id: vlans[0] has the tag 7 too"),
        (json!([vlan(7, "dmx")]), "0:vlans[0].network: project 'p' has no network 'dmx'"),
        (json!([vlan(7, "lan")]), "0:vlans[0].network: the port is in the network 'lan' already"),
        (
            json!([vlan(7, "dmz"), vlan(8, "dmz")]),
            "0:vlans[1].network: the port is in the network 'dmz' already",
        ),
        (
            json!([{ "id": 7, "network": "dmz", "addresses": ["192.168.0.9"] }]),
            "0:vlans[0].addresses[0]: 192.168.0.9 is in no subnet of the network 'dmz'",
        ),
        (
            json!([{ "id": 7, "network": "dmz", "addresses": ["10.1.0.1"] }]),
            "0:vlans[0].addresses[0]: 10.1.0.1 is the gateway of 10.1.0.0/29",
        ),
        (
            json!([{ "id": 7, "network": "dmz", "allowed": [] }]),
            "0:vlans[0].allowed: no such field",
        ),
    ] {
        let fault = world.fault(port("trunk", json!({ "vlans": vlans })));
        assert_eq!(fault, expected);
    }
    let many: Vec<Value> = (1..=17).map(|id| vlan(id, "dmz")).collect();
    assert!(world.fault(port("trunk", json!({ "vlans": many }))).starts_with("0:vlans: "));
    let both = port("trunk", json!({ "vlans": [vlan(7, "dmz")], "bond": "bond0" }));
    assert_eq!(world.fault(both), "0:vlans: a card of a bond has no VLANs");
    let wrong = json!([vlan(7, "dmx"), { "id": 8, "network": "dmz", "addresses": ["10.9.0.1"] }]);
    let all = world.faults(json!([port("trunk", json!({ "vlans": wrong, "network": "lam" }))]));
    assert_eq!(all.len(), 2, "what is not there is told at once: {all:?}");
}

#[test]
fn addresses_and_macs_in_a_vlans_network_are_its_own_alone() {
    let mut world = world();
    let mac = "52:54:00:00:00:77";
    world.apply(&json!([
        port("inner", json!({ "network": "dmz", "mac": mac, "addresses": ["10.1.0.3"] })),
        port(
            "trunk",
            json!({ "vlans": [{ "id": 7, "network": "dmz", "addresses": ["10.1.0.4"] }] })
        ),
    ]));
    let taken = json!({ "vlans": [{ "id": 7, "network": "dmz", "addresses": ["10.1.0.3"] }] });
    assert_eq!(
        world.fault(port("b", taken)),
        "0:vlans[0].addresses[0]: 10.1.0.3 belongs to the port 'inner' already"
    );
    assert_eq!(
        world.fault(port("b", json!({ "mac": mac, "vlans": [vlan(7, "dmz")] }))),
        format!("0:vlans[0]: {mac} belongs to the port 'inner' already")
    );
    assert_eq!(
        world.fault(port("b", json!({ "network": "dmz", "addresses": ["10.1.0.4"] }))),
        "0:addresses[0]: 10.1.0.4 belongs to the port 'trunk' already"
    );
    // One that is free is free of those behind tags, too.
    world.apply(&json!([port("c", json!({ "network": "dmz" }))]));
    assert!(!["10.1.0.3", "10.1.0.4"].contains(&&*stored(&world, "c").addresses[0].to_string()));
    // The network is not to be taken away beneath it, nor its subnet.
    let project: mezame_model::ProjectName = "p".parse().unwrap();
    let refused = release::release(&world.state, Kind::Network, &project, "dmz").unwrap();
    let faults = refused.err().unwrap();
    assert!(faults.iter().any(|fault| fault.message.contains("'trunk'")), "{faults:?}");
    let dmz = json!({ "name": "dmz", "vni": 3000, "subnets": [{ "cidr": "10.2.0.0/29" }] });
    let faults = world.faults(json!([network(dmz)]));
    assert!(faults.iter().any(|it| it.contains("'trunk' has 10.1.0.4")), "{faults:?}");
    // Without the VLAN the address is free again.
    world.apply(&json!([port("trunk", json!({}))]));
    world.apply(&json!([port("d", json!({ "network": "dmz", "addresses": ["10.1.0.4"] }))]));
}

#[test]
fn a_mac_that_is_taken_behind_a_tag_is_to_be_mended_at_the_port() {
    let mut world = world();
    let mac = "52:54:00:00:00:77";
    world.apply(&json!([
        port("inner", json!({ "network": "dmz", "mac": mac })),
        port("trunk", json!({ "mac": mac })),
    ]));
    // Also where the document has none, and the one of before is kept.
    for document in [json!({ "mac": mac }), json!({})] {
        let document = with(document, json!({ "vlans": [vlan(7, "dmz")] }));
        let faults = world.admit(&json!([port("trunk", document)])).map(|_| ()).unwrap_err();
        assert_eq!(faults[0].path, "vlans[0]");
        assert!(faults[0].mend.contains("another `mac`"), "{faults:?}");
        assert!(!faults[0].mend.contains("leave"), "{faults:?}");
    }
}

#[test]
fn a_full_network_behind_a_tag_is_a_fault_at_its_name() {
    let mut world = world();
    for name in ["a", "b", "c", "d", "e"] {
        world.apply(&json!([port(name, json!({ "network": "dmz" }))]));
    }
    assert_eq!(
        world.fault(port("trunk", json!({ "vlans": [vlan(7, "dmz")] }))),
        "0:vlans[0].network: no address is free in the network 'dmz'"
    );
}

#[test]
fn the_cards_of_a_bond_are_in_one_network() {
    let mut world = world();
    let bond = json!({ "bond": "bond0" });
    world.apply(&json!([
        port("one", bond.clone()),
        port("two", bond.clone()),
        instance("pair", json!({ "ports": ["one", "two"] })),
    ]));
    assert_eq!(stored(&world, "two").bond.unwrap().as_str(), "bond0");
    // By the port's document alone, and by the instance's.
    let moved = with(bond, json!({ "network": "dmz" }));
    assert_eq!(
        world.fault(port("two", moved.clone())),
        "0:bond: 'bond0' is also the port 'one', which is in another network"
    );
    world.apply(&json!([port("three", moved)]));
    assert_eq!(
        world.fault(instance("pair", json!({ "ports": ["one", "two", "three"] }))),
        "0:ports: of the port 'three': 'bond0' is also the port 'one', which is in another network"
    );
    world.apply(&json!([instance("other", json!({ "ports": ["three"] }))]));
    let named = world.fault(port("four", json!({ "bond": "eth0" })));
    assert!(named.starts_with("0:bond: "), "{named}");
}
