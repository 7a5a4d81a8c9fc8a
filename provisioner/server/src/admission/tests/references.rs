//! Rules that span documents: order, claims, clashes, what is kept and what is made.

use mezame_model::api::Action;

use super::*;

fn project() -> mezame_model::ProjectName {
    "p".parse().unwrap()
}

/// The stored record of a port.
fn stored(world: &World, name: &str) -> mezame_model::Port {
    (*world.state.port(&project(), &name.parse().unwrap()).unwrap().record).clone()
}

#[test]
fn documents_may_stand_in_any_order() {
    let mut documents = vec![
        json!({ "kind": "Project", "name": "q" }),
        json!({ "kind": "Network", "project": "q", "name": "n", "vni": 9,
                "subnets": [{ "cidr": "10.0.0.0/24" }] }),
        json!({ "kind": "Port", "project": "q", "name": "a", "network": "n" }),
        json!({ "kind": "Instance", "project": "q", "name": "i", "ports": ["a"] }),
    ];
    documents.reverse();
    for _ in 0..documents.len() {
        documents.rotate_left(1);
        let mut world = World::empty();
        assert!(world.apply(&json!(documents)).iter().all(|c| c.action == Action::Created));
    }
}

#[test]
fn a_reference_to_a_document_that_is_at_fault_is_no_fault_of_its_own() {
    let world = World::empty();
    let faults = world.faults(json!([
        { "kind": "Project", "name": "q" },
        { "kind": "Network", "project": "q", "name": "n", "vni": 0,
          "subnets": [{ "cidr": "10.0.0.0/24" }] },
        { "kind": "Port", "project": "q", "name": "a", "network": "n" },
        { "kind": "Instance", "project": "q", "name": "i", "ports": ["a"] },
    ]));
    assert_eq!(faults, ["1:vni: this is not a whole number from 1 to 16777215"]);
}

#[test]
fn one_name_in_two_documents_is_a_fault_of_the_second() {
    let world = World::seeded();
    let twice = json!([port("a", json!({})), port("b", json!({})), port("a", json!({}))]);
    assert_eq!(world.faults(twice), ["2:name: document 0 is the Port 'a' too"]);
}

#[test]
fn a_vni_is_one_networks_alone_in_the_whole_installation() {
    let mut world = World::seeded();
    assert_eq!(
        world.fault(network(json!({ "vni": 1000 }))),
        "0:vni: VNI 1000 is that of the network 'lan' in project 'p'"
    );
    let two = json!([network(json!({ "name": "a" })), network(json!({ "name": "b" }))]);
    assert_eq!(world.faults(two), ["1:vni: VNI 5 is that of document 0 too"]);
    // Two networks may exchange theirs in one call.
    let (mut lan, mut far) = (network(json!({ "name": "lan" })), network(json!({ "name": "far" })));
    for (document, vni) in [(&mut lan, 2000), (&mut far, 1000)] {
        document["vni"] = vni.into();
        document["subnets"] = json!([{ "cidr": "192.168.0.0/24", "gateway": "192.168.0.1" }]);
    }
    world.apply(&json!([lan, far]));
    let vni = |name: &str| {
        u32::from(world.state.network(&project(), &name.parse().unwrap()).unwrap().record.vni)
    };
    assert_eq!((vni("lan"), vni("far")), (2000, 1000));
    assert_eq!(world.state.vnis.len(), 2);
}

#[test]
fn two_networks_may_have_the_same_addresses_and_macs() {
    let mut world = World::seeded();
    let twin = port(
        "twin",
        json!({ "network": "far", "mac": "52:54:00:00:00:01",
                                    "addresses": ["192.168.0.10"] }),
    );
    world.apply(&json!([twin, instance("other", json!({ "ports": ["twin"] }))]));
    let (one, other) = (stored(&world, "web-0"), stored(&world, "twin"));
    assert_eq!((one.mac, &one.addresses), (other.mac, &other.addresses));
    assert_ne!((one.id, one.device), (other.id, other.device));
}

#[test]
fn one_port_may_take_in_a_call_what_another_gives_up() {
    let mut world = World::seeded();
    world.apply(&json!([port(
        "b",
        json!({ "addresses": ["192.168.0.11"], "device": "tap-b",
                                          "mac": "52:54:00:00:00:02" })
    )]));
    let swapped = json!([
        port(
            "web-0",
            json!({ "addresses": ["192.168.0.11"], "device": "tap-b",
                              "mac": "52:54:00:00:00:02" })
        ),
        port(
            "b",
            json!({ "addresses": ["192.168.0.10"], "device": "tap-web",
                          "mac": "52:54:00:00:00:01" })
        ),
    ]);
    world.apply(&swapped);
    assert_eq!(stored(&world, "web-0").device.as_str(), "tap-b");
    // The indexes followed: each is known as taken by its new owner, and by nobody else.
    assert!(world.apply(&swapped).iter().all(|c| c.action == Action::Unchanged));
    let fault = world.fault(port("c", json!({ "addresses": ["192.168.0.10"] })));
    assert_eq!(fault, "0:addresses[0]: 192.168.0.10 belongs to the port 'b' already");
    let fault = world.fault(port("c", json!({ "device": "tap-web" })));
    assert_eq!(fault, "0:device: tap-web belongs to the port 'b' already");
}

#[test]
fn what_two_documents_both_ask_for_only_one_can_have() {
    let world = World::seeded();
    let same = json!({ "addresses": ["192.168.0.20"], "mac": "52:54:00:00:00:09",
                       "device": "tap9" });
    assert_eq!(
        world.faults(json!([port("a", same.clone()), port("b", same)])),
        [
            "1:mac: 52:54:00:00:00:09 belongs to the port of another document already",
            "1:addresses[0]: 192.168.0.20 belongs to the port of another document already",
            "1:device: tap9 belongs to the port of another document already",
        ]
    );
}

#[test]
fn what_is_left_out_is_made_once_and_then_kept() {
    let mut world = World::seeded();
    let bare = json!([port("a", json!({})), port("b", json!({}))]);
    world.apply(&bare);
    let (a, b) = (stored(&world, "a"), stored(&world, "b"));
    assert_ne!((a.mac, &a.addresses, &a.device), (b.mac, &b.addresses, &b.device));
    assert_eq!(a.mac.0[..3], [0x52, 0x54, 0x00]);
    assert_eq!(a.device, mezame_model::DeviceName::of_port(&a.id));
    assert!(world.apply(&bare).iter().all(|c| c.action == Action::Unchanged));
    assert_eq!(stored(&world, "a"), a);
    // Also what was once given explicitly.
    world.apply(&json!([port("web-0", json!({}))]));
    assert_eq!(
        stored(&world, "web-0").addresses,
        ["192.168.0.10".parse::<std::net::IpAddr>().unwrap()]
    );
    // A port that moves to another network keeps its MAC and gets an address there.
    world
        .apply(&json!([network(json!({ "name": "new" })), port("a", json!({ "network": "new" }))]));
    let moved = stored(&world, "a");
    assert_eq!(moved.mac, a.mac);
    assert_eq!(moved.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn an_allocated_address_is_never_one_that_a_later_document_asks_for() {
    let mut world = World::seeded();
    let wanted = port("z", json!({ "addresses": ["192.168.0.2"] }));
    world.apply(&json!([port("a", json!({})), wanted]));
    assert_eq!(stored(&world, "a").addresses, ["192.168.0.3".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn a_port_gets_an_address_of_each_family_of_its_network() {
    let mut world = World::seeded();
    let both =
        json!([{ "cidr": "2001:db8::/64", "gateway": "2001:db8::1" }, { "cidr": "10.0.0.0/24" }]);
    world
        .apply(&json!([network(json!({ "subnets": both })), port("a", json!({ "network": "n" }))]));
    let expected: Vec<std::net::IpAddr> =
        vec!["10.0.0.1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
    assert_eq!(stored(&world, "a").addresses, expected);
}

#[test]
fn a_full_network_is_a_fault_and_not_a_port_without_an_address() {
    let mut world = World::seeded();
    let tiny = network(json!({ "subnets": [{ "cidr": "10.0.0.0/30" }] }));
    let ports = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| port(name, json!({ "network": "n" }))).collect()
    };
    world.apply(&json!([tiny]));
    world.apply(&json!(ports(&["a", "b"])));
    assert_eq!(
        world.faults(json!(ports(&["c"]))),
        ["0:network: no address is free in the network 'n'"]
    );
}

#[test]
fn a_network_keeps_the_subnets_that_ports_are_in() {
    let mut world = World::seeded();
    let renumbered = |gateway: &str, cidr: &str| {
        network(json!({ "name": "lan", "vni": 1000,
                        "subnets": [{ "cidr": cidr, "gateway": gateway }] }))
    };
    assert_eq!(
        world.fault(renumbered("10.0.0.1", "10.0.0.0/24")),
        "0:subnets: the port 'web-0' has 192.168.0.10, which is in none of these subnets"
    );
    assert_eq!(
        world.fault(renumbered("192.168.0.10", "192.168.0.0/24")),
        "0:subnets: the port 'web-0' has 192.168.0.10, which would be the gateway's"
    );
    // Wider is fine, and so is a port that moves in the same call.
    world.apply(&json!([renumbered("192.168.0.1", "192.168.0.0/16")]));
    world.apply(&json!([renumbered("10.0.0.1", "10.0.0.0/24"), port("web-0", json!({}))]));
    assert_eq!(
        stored(&world, "web-0").addresses,
        ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn a_port_is_one_instances_and_goes_over_when_it_is_given_up() {
    let mut world = World::seeded();
    let thief = instance("thief", json!({ "ports": ["web-0"] }));
    assert_eq!(
        world.fault(thief.clone()),
        "0:ports[0]: the port 'web-0' belongs to the instance 'web'"
    );
    let two = json!([
        port("a", json!({})),
        instance("x", json!({ "ports": ["a"] })),
        instance("y", json!({ "ports": ["a"] }))
    ]);
    assert_eq!(world.faults(two), ["2:ports[0]: document 1 claims the port 'a' too"]);
    // Given up and claimed in one call, in whatever order.
    let plan =
        json!([thief, port("web-1", json!({})), instance("web", json!({ "ports": ["web-1"] }))]);
    world.apply(&plan);
    let owner = |name: &str| {
        let id = stored(&world, name).instance.unwrap();
        world.state.instance_by_id(&id).unwrap().record.instance.name.to_string()
    };
    assert_eq!((owner("web-0"), owner("web-1")), ("thief".into(), "web".into()));
}

#[test]
fn the_macs_of_an_instances_ports_differ() {
    let mut world = World::seeded();
    let twin = port("web-1", json!({ "network": "far", "mac": "52:54:00:00:00:01" }));
    let both = instance("web", json!({ "ports": ["web-0", "web-1"] }));
    assert_eq!(
        world.faults(json!([twin, both])),
        ["1:ports: this port has the MAC of the instance's port 0"]
    );
    world.apply(&json!([port("web-1", json!({ "network": "far" })), both]));
    assert_eq!(
        world.fault(port("web-1", json!({ "network": "far", "mac": "52:54:00:00:00:01" }))),
        "0:mac: another port of the instance 'web' has this MAC"
    );
}

#[test]
fn a_port_keeps_its_instance_when_only_the_port_is_applied() {
    let mut world = World::seeded();
    let before = stored(&world, "web-0");
    world.apply(&json!([port("web-0", json!({ "dhcp_server": true }))]));
    let after = stored(&world, "web-0");
    assert!(after.dhcp_server && after.instance == before.instance && after.instance.is_some());
    world.apply(&json!([instance("web", json!({ "ports": ["web-0"], "hop_limit": 3 }))]));
    assert_eq!(stored(&world, "web-0").instance, before.instance);
}

#[test]
fn sealed_values_stand_for_what_is_stored() {
    let mut world = World::seeded();
    let hash = format!("$6$salt${}", "a".repeat(86));
    let full = |hash: &str, data: &str, secret: &str| {
        instance(
            "web",
            json!({
                "ports": ["web-0"], "user_data": data, "secrets": { "db": secret },
                "users": [{ "name": "a", "password": { "hash": hash } }],
            }),
        )
    };
    world.apply(&json!([full(&hash, "script", "value")]));
    let record = |world: &World| {
        let name = "web".parse().unwrap();
        std::sync::Arc::clone(&world.state.instance(&project(), &name).unwrap().record)
    };
    let before = record(&world);
    let changes = world.apply(&json!([full(SEALED, SEALED, SEALED)]));
    assert_eq!(changes[0].action, Action::Unchanged);
    assert_eq!(record(&world), before);
    // A user whose hash is not there has nothing to keep.
    let renamed = instance(
        "web",
        json!({
            "ports": ["web-0"], "users": [{ "name": "b", "password": { "hash": SEALED } }],
        }),
    );
    assert_eq!(
        world.fault(renamed),
        "0:users[0].password.hash: '(sealed)' stands for the stored value, and none is stored"
    );
}
