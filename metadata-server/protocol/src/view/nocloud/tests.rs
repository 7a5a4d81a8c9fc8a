//! Tests of the NoCloud dialect.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_yaml::Value;

use super::*;
use crate::{fixture::World, response::Status};

fn parsed(world: &World, guest: &Guest, file: &str) -> Value {
    serde_yaml::from_str(&world.text(guest, &format!("/nocloud/{file}"))).unwrap()
}

#[test]
fn meta_data_is_yaml_with_id_name_and_keys() {
    let world = World::new();
    let value = parsed(&world, &world.web(), "meta-data");
    assert_eq!(value["instance-id"], "i-000000000000000a1");
    assert_eq!(value["local-hostname"], "web-0.acme.example");
    let keys = value["public-keys"].as_sequence().unwrap();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], &*world.web().instance.ssh_keys[0]);
}

#[test]
fn network_config_has_every_port_by_its_mac() {
    let world = World::new();
    let value = parsed(&world, &world.web(), "network-config");
    assert_eq!(value["version"], 1);
    let [front, back] = &value["config"].as_sequence().unwrap()[..] else { panic!("two ports") };
    assert_eq!((&front["type"], &front["name"]), (&"physical".into(), &"eth0".into()));
    assert_eq!(front["mac_address"], "52:54:00:ab:cd:01");
    assert_eq!(front["mtu"], 1450);
    let field = |value: &Value, name: &str| -> Vec<Option<String>> {
        let subnets = value["subnets"].as_sequence().unwrap().iter();
        subnets.map(|it| it.get(name).and_then(Value::as_str).map(str::to_owned)).collect()
    };
    let some = |texts: &[&str]| texts.iter().map(|text| Some((*text).into())).collect::<Vec<_>>();
    assert_eq!(
        field(front, "address"),
        some(&["192.168.0.10/24", "203.0.113.7/24", "2001:db8:1::10/64"])
    );
    assert_eq!(field(front, "type"), some(&["static", "static", "static"]));
    let resolvers = &front["subnets"][0]["dns_nameservers"];
    assert_eq!(resolvers[0], "192.168.0.2");
    assert_eq!(resolvers[1], "2001:db8:1::2");
    assert_eq!(front["subnets"][0]["dns_search"][0], "acme.example");
    assert_eq!(back["name"], "eth1");
    assert_eq!(back["mac_address"], "52:54:00:ab:cd:02");
    assert_eq!(field(back, "address"), some(&["10.1.0.10/20", "10.1.0.11/20"]));
    assert_eq!(field(back, "gateway"), [None, None]);
    assert!(back["subnets"][0].get("dns_nameservers").is_none());
}

#[test]
fn a_guest_with_a_router_is_told_one_of_each_family_and_no_link_local_address() {
    let world = World::new();
    let value = parsed(&world, &world.web(), "network-config");
    let subnets = value["config"][0]["subnets"].as_sequence().unwrap();
    assert_eq!(subnets.len(), 3);
    assert_eq!(subnets[0]["gateway"], "192.168.0.1");
    assert!(subnets[1].get("gateway").is_none());
    assert_eq!(subnets[2]["gateway"], "2001:db8:1::1");
}

#[test]
fn a_guest_without_a_router_has_the_service_on_link() {
    let world = World::new();
    let mut guest = world.db();
    let instance = std::sync::Arc::make_mut(&mut guest.instance);
    instance.tokens = mezame_model::TokenPolicy::Optional;
    instance.dialects.insert(mezame_model::Dialect::Nocloud);
    let value = parsed(&world, &guest, "network-config");
    let subnets = value["config"][0]["subnets"].as_sequence().unwrap();
    assert_eq!(subnets.len(), 2);
    let own: IpNetwork = subnets[1]["address"].as_str().unwrap().parse().unwrap();
    assert!(own.contains(IpAddr::from([169, 254, 169, 254])));
}

#[test]
fn empty_files_are_200_and_not_404() {
    let world = World::new();
    let guest = world.web_with(|it| {
        it.user_data = None;
        it.vendor_data = None;
    });
    for file in ["user-data", "vendor-data"] {
        let reply = world.get(&guest, &format!("/nocloud/{file}"));
        assert_eq!((reply.status, reply.body.len()), (Status::Ok, 0), "{file}");
    }
}

#[test]
fn routes_are_told_with_the_first_address_of_their_subnet_and_a_link_local_router_with_it() {
    let world = World::new();
    let value = parsed(&world, &world.routed_in(mezame_model::Dialect::Nocloud), "network-config");
    let subnets = value["config"][0]["subnets"].as_sequence().unwrap();
    let routes: Vec<_> = subnets.iter().map(|it| it.get("routes").cloned()).collect();
    let one = |network: &str, gateway: &str| {
        let text = format!("[{{network: '{network}', gateway: '{gateway}'}}]");
        serde_yaml::from_str::<Value>(&text).unwrap()
    };
    let at = |address: &str| {
        subnets.iter().position(|it| it["address"].as_str().unwrap().starts_with(address)).unwrap()
    };
    let (v4, v6) = (at("192.168.0.10"), at("2001:db8:1::10"));
    assert_eq!(routes[v4], Some(one("10.20.0.0/16", "192.168.0.2")));
    assert_eq!(routes[v6], Some(one("2001:db8:9::/48", "fe80::2")));
    assert_eq!(subnets[v6]["gateway"], "fe80::1");
    // The network's subnets each once; its second port's network has none.
    assert!(value["config"][1]["subnets"][0].get("routes").is_none());
}
