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
    assert_eq!(value["version"], 2);
    let front = &value["ethernets"]["port0"];
    assert_eq!(front["match"]["macaddress"], "52:54:00:ab:cd:01");
    assert_eq!(front["mtu"], 1450);
    let list = |value: &Value| serde_yaml::from_value::<Vec<String>>(value.clone()).unwrap();
    assert_eq!(
        list(&front["addresses"]),
        ["192.168.0.10/24", "203.0.113.7/24", "2001:db8:1::10/64"]
    );
    assert_eq!(list(&front["nameservers"]["addresses"]), ["192.168.0.2", "2001:db8:1::2"]);
    assert_eq!(list(&front["nameservers"]["search"]), ["acme.example"]);
    let back = &value["ethernets"]["port1"];
    assert_eq!(back["match"]["macaddress"], "52:54:00:ab:cd:02");
    assert_eq!(list(&back["addresses"]), ["10.1.0.10/20", "10.1.0.11/20"]);
    assert!(back.get("routes").is_none() && back.get("nameservers").is_none());
}

#[test]
fn a_guest_with_a_router_needs_no_route_to_the_service_of_its_own() {
    let world = World::new();
    let value = parsed(&world, &world.web(), "network-config");
    let routes = value["ethernets"]["port0"]["routes"].as_sequence().unwrap();
    assert_eq!(routes.len(), 2);
    assert_eq!(routes[0]["to"], "0.0.0.0/0");
    assert_eq!(routes[0]["via"], "192.168.0.1");
    assert_eq!(routes[1]["to"], "::/0");
}

#[test]
fn a_guest_without_a_router_gets_an_on_link_route_to_the_service() {
    let world = World::new();
    let mut guest = world.db();
    let instance = std::sync::Arc::make_mut(&mut guest.instance);
    instance.tokens = mezame_model::TokenPolicy::Optional;
    instance.dialects.insert(mezame_model::Dialect::Nocloud);
    let value = parsed(&world, &guest, "network-config");
    let routes = value["ethernets"]["port0"]["routes"].as_sequence().unwrap();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0]["to"], "169.254.169.254/32");
    assert_eq!(routes[0]["scope"], "link");
    assert!(routes[0].get("via").is_none());
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
