//! The network data: what each port gets, and that nova's schema allows it.

use super::*;

#[test]
fn network_data_has_two_ports_and_default_routes_on_the_first_alone() {
    let world = World::new();
    let value = json(&world, &web(&world), "latest/network_data.json");
    let links = value["links"].as_array().unwrap();
    let networks = value["networks"].as_array().unwrap();
    let of = |link: usize, field: &str| -> Vec<&Value> {
        let own = networks.iter().filter(|it| it["link"] == links[link]["id"]);
        own.map(|it| &it[field]).collect()
    };
    assert_eq!(links.len(), 2);
    assert_eq!(links[0]["ethernet_mac_address"], "52:54:00:ab:cd:01");
    assert_eq!((&links[0]["mtu"], &links[1]["mtu"]), (&json!(1450), &json!(9000)));
    assert_eq!(of(0, "type"), ["ipv4", "ipv4", "ipv6"]);
    assert_eq!(of(0, "ip_address"), ["192.168.0.10", "203.0.113.7", "2001:db8:1::10"]);
    assert_eq!(of(0, "netmask"), ["255.255.255.0", "255.255.255.0", "ffff:ffff:ffff:ffff::"]);
    let routes = [
        json!([{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.168.0.1" }]),
        json!([]),
        json!([{ "network": "::", "netmask": "::", "gateway": "2001:db8:1::1" }]),
    ];
    assert_eq!(of(0, "routes"), routes.each_ref());
    assert_eq!(of(1, "ip_address"), ["10.1.0.10", "10.1.0.11"]);
    assert_eq!(of(1, "routes"), [&json!([]), &json!([])]);
    let dns = |address: &str| json!([{ "type": "dns", "address": address }]);
    let services = [dns("192.168.0.2"), json!([]), dns("2001:db8:1::2")];
    assert_eq!(of(0, "services"), services.each_ref());
    assert_eq!(value["services"].as_array().unwrap().len(), 2);
    let ids: std::collections::BTreeSet<_> = networks.iter().map(|it| it["id"].as_str()).collect();
    assert_eq!(ids.len(), networks.len());
}

#[test]
fn a_guest_without_a_router_has_the_service_on_link() {
    let world = World::new();
    let value = json(&world, &db(&world), "latest/network_data.json");
    let [own, service] = &value["networks"].as_array().unwrap()[..] else { panic!("two") };
    assert_eq!(own["ip_address"], "192.168.0.10");
    assert!(service["ip_address"].as_str().unwrap().starts_with("169.254."));
    assert_eq!(service["netmask"], "255.255.0.0");
}

#[test]
fn a_port_without_addresses_asks_by_dhcp() {
    let world = World::new();
    let mut guest = web(&world);
    Arc::make_mut(&mut guest.ports[1].port).addresses.clear();
    let value = json(&world, &guest, "latest/network_data.json");
    let last = value["networks"].as_array().unwrap().last().unwrap();
    assert_eq!(
        *last,
        json!({
            "id": "network3", "link": "interface1", "type": "ipv4_dhcp",
            "network_id": "net-000000000000000a2",
        })
    );
    schema::check(&value);
}

#[test]
fn network_data_satisfies_novas_schema() {
    let world = World::new();
    for guest in [web(&world), db(&world)] {
        schema::check(&json(&world, &guest, "latest/network_data.json"));
    }
}

#[test]
fn routes_stand_beside_the_default_one_and_a_link_local_router_is_told() {
    let world = World::new();
    let guest = world.routed_in(mezame_model::Dialect::Openstack);
    let value = json(&world, &guest, "latest/network_data.json");
    schema::check(&value);
    let routes_of = |address: &str| {
        let mut networks = value["networks"].as_array().unwrap().iter();
        networks.find(|it| it["ip_address"] == address).unwrap()["routes"].clone()
    };
    assert_eq!(
        routes_of("192.168.0.10"),
        json!([
            { "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.168.0.1" },
            { "network": "10.20.0.0", "netmask": "255.255.0.0", "gateway": "192.168.0.2" },
        ])
    );
    assert_eq!(
        routes_of("2001:db8:1::10"),
        json!([
            { "network": "::", "netmask": "::", "gateway": "fe80::1" },
            { "network": "2001:db8:9::", "netmask": "ffff:ffff:ffff::", "gateway": "fe80::2" },
        ])
    );
}

#[test]
fn a_network_behind_a_tag_is_a_link_on_the_card_as_novas_trunks_have_it() {
    let world = World::new();
    let value = json(
        &world,
        &world.trunked_in(mezame_model::Dialect::Openstack),
        "latest/network_data.json",
    );
    schema::check(&value);
    let [card, vlan] = &value["links"].as_array().unwrap()[..] else { panic!("{value:#}") };
    assert_eq!(card["id"], "interface0");
    let wanted = json!({
        "id": "interface0.100", "type": "vlan", "mtu": 1450, "vlan_link": "interface0",
        "vlan_id": 100, "vlan_mac_address": "52:54:00:ab:cd:01",
    });
    assert_eq!(*vlan, wanted);
    let networks = value["networks"].as_array().unwrap();
    let own: Vec<_> = networks.iter().filter(|it| it["link"] == "interface0.100").collect();
    assert_eq!(own[0]["ip_address"], "10.1.0.10");
    assert!(own.iter().all(|it| it["network_id"] == "net-000000000000000a2"), "{own:#?}");
    assert!(own.iter().all(|it| it["routes"] == json!([])), "no default route: {own:#?}");
}

#[test]
fn a_network_behind_a_tag_names_no_resolver_of_the_platforms() {
    let world = World::new();
    let guest = world.trunked_with_resolvers_in(mezame_model::Dialect::Openstack);
    let value = json(&world, &guest, "latest/network_data.json");
    let networks = value["networks"].as_array().unwrap();
    let own: Vec<_> = networks.iter().filter(|it| it["link"] == "interface0.100").collect();
    let named: Vec<_> = own.iter().flat_map(|it| it["services"].as_array().unwrap()).collect();
    assert_eq!(named, [&json!({ "type": "dns", "address": "10.1.0.2" })]);
}

#[test]
fn a_bond_is_a_link_over_its_cards_and_has_their_addresses() {
    let world = World::new();
    let value = json(
        &world,
        &world.bonded_in(mezame_model::Dialect::Openstack),
        "latest/network_data.json",
    );
    schema::check(&value);
    let [first, second, bond] = &value["links"].as_array().unwrap()[..] else {
        panic!("{value:#}")
    };
    assert_eq!((&first["type"], &second["type"]), (&json!("phy"), &json!("phy")));
    let wanted = json!({
        "id": "bond0", "type": "bond", "mtu": 1450, "ethernet_mac_address": "52:54:00:ab:cd:01",
        "bond_mode": "active-backup", "bond_links": ["interface0", "interface1"],
        "bond_miimon": 100, "bond_fail_over_mac": "active",
    });
    assert_eq!(*bond, wanted);
    let networks = value["networks"].as_array().unwrap();
    assert!(networks.iter().all(|it| it["link"] == "bond0"), "{networks:#?}");
    let own: Vec<_> = networks.iter().map(|it| it["ip_address"].as_str().unwrap()).collect();
    assert!(own.contains(&"192.168.0.10") && own.contains(&"192.168.0.11"), "{own:?}");
}
