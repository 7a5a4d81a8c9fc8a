//! Tests of Hetzner's dialect.

use mezame_model::{Dialect, Guest, Smbios, UserData, service_address};
use serde_yaml::Value;

use super::*;
use crate::{
    fixture::World,
    view::tests::{check_tree, golden},
};

const METADATA: &str = "/hetzner/v1/metadata";

fn server(world: &World) -> Guest {
    world.web_in(Dialect::Hetzner)
}

fn bare(world: &World, addresses: &[&str]) -> Guest {
    world.bare_in(Dialect::Hetzner, addresses)
}

fn parsed(world: &World, guest: &Guest, path: &str) -> Value {
    serde_yaml::from_str(&world.text(guest, path)).unwrap()
}

/// The paths of the document's parts that the guest has.
fn parts(world: &World, guest: &Guest) -> Vec<String> {
    let context = world.context(guest);
    let listing = metadata::PARTS.listing(&Scope::new(guest, &context));
    listing.lines().map(|line| format!("{METADATA}/{line}")).collect()
}

#[test]
fn the_hetzner_tree_is_as_it_was() {
    let world = World::new();
    let guest = server(&world);
    let parts = parts(&world, &guest);
    let mut roots = vec!["/hetzner/"];
    roots.extend(parts.iter().map(String::as_str));
    insta::assert_snapshot!("hetzner", golden(&world, &guest, &roots));
}

#[test]
fn listings_leaves_and_parts_agree_whatever_the_guest_has() {
    let world = World::new();
    let little = bare(&world, &["2001:db8:1::10"]);
    for (guest, expected) in [(server(&world), 9), (little, 7)] {
        let parts = parts(&world, &guest);
        assert_eq!(parts.len(), expected);
        for part in parts {
            check_tree(&world, &guest, &part);
        }
    }
    check_tree(&world, &server(&world), "/hetzner/");
}

#[test]
fn the_id_is_a_number_and_the_serial_number_of_the_machine() {
    let world = World::new();
    let guest = server(&world);
    let smbios =
        Smbios::of(Dialect::Hetzner, &guest.instance, service_address::METADATA.into()).unwrap();
    let document = parsed(&world, &guest, METADATA);
    assert_eq!(document["instance-id"].as_u64().unwrap().to_string(), *smbios.serial);
    assert_eq!(world.text(&guest, &format!("{METADATA}/instance-id")), *smbios.serial);
}

#[test]
fn the_document_and_its_parts_say_the_same() {
    let world = World::new();
    let guest = server(&world);
    let document = parsed(&world, &guest, METADATA);
    for name in ["hostname", "region", "availability-zone", "local-ipv4", "public-ipv4"] {
        assert_eq!(document[name], *world.text(&guest, &format!("{METADATA}/{name}")), "{name}");
    }
    for name in ["public-keys", "network-config"] {
        assert_eq!(document[name], parsed(&world, &guest, &format!("{METADATA}/{name}")));
    }
    assert_eq!(document["vendor_data"], "#cloud-config\ntimezone: Asia/Tokyo\n");
    let keys = world.text(&guest, &format!("{METADATA}/public-keys"));
    let keys: Vec<String> = serde_json::from_str(&keys).unwrap();
    assert_eq!(keys.len(), guest.instance.ssh_keys.len());
}

#[test]
fn each_subnet_says_its_family() {
    let world = World::new();
    let config = parsed(&world, &server(&world), &format!("{METADATA}/network-config"));
    assert_eq!(config["version"], 1);
    let subnets = config["config"][0]["subnets"].as_sequence().unwrap();
    assert_eq!(subnets[0]["ipv4"], true);
    assert_eq!(subnets[2]["ipv6"], true);
    assert_eq!(subnets[2]["address"], "2001:db8:1::10/64");
    assert!(subnets[2].get("ipv4").is_none());
}

#[test]
fn further_ports_are_private_networks() {
    let world = World::new();
    let networks = parsed(&world, &server(&world), &format!("{METADATA}/private-networks"));
    let [network] = &networks.as_sequence().unwrap()[..] else { panic!("one") };
    assert_eq!(network["ip"], "10.1.0.10");
    assert_eq!(network["alias_ips"][0], "10.1.0.11");
    assert_eq!(network["mac_address"], "52:54:00:ab:cd:02");
    assert_eq!(network["subnet"], "10.1.0.0/20");
    assert_eq!(network["network_id"], 0xa2);
    let none = world.text(&bare(&world, &[]), &format!("{METADATA}/private-networks"));
    assert_eq!(none, "[]\n");
}

#[test]
fn user_data_is_its_bytes_and_204_where_there_is_none() {
    let world = World::new();
    let guest = server(&world);
    let reply = world.get(&guest, "/hetzner/v1/userdata");
    assert_eq!(reply.body, guest.instance.user_data.as_ref().unwrap().bytes());
    let empty = world.web_with(|it| {
        it.dialects = [Dialect::Hetzner].into();
        it.user_data = Some(UserData::new(Vec::new()).unwrap());
    });
    for guest in [bare(&world, &[]), empty] {
        for method in ["GET", "HEAD"] {
            let reply = world.ask(&guest, method, "/hetzner/v1/userdata", &[]);
            assert_eq!((reply.status, reply.content_type), (Status::NoContent, ""), "{method}");
            assert!(reply.body.is_empty());
        }
        let reply = world.ask(&guest, "POST", "/hetzner/v1/userdata", &[]);
        assert_eq!(reply.status, Status::MethodNotAllowed);
    }
}

#[test]
fn a_guest_with_little_has_a_document_all_the_same() {
    let world = World::new();
    let guest = bare(&world, &["2001:db8:1::10"]);
    let document = parsed(&world, &guest, METADATA);
    assert_eq!(document["public-keys"].as_sequence().unwrap().len(), 0);
    for absent in ["local-ipv4", "public-ipv4", "vendor_data"] {
        assert!(document.get(absent).is_none(), "{absent}");
    }
    let subnets = &document["network-config"]["config"][0]["subnets"];
    assert_eq!(subnets[0]["gateway"], "2001:db8:1::1");
    assert!(subnets[1]["address"].as_str().unwrap().starts_with("169.254."));
}

#[test]
fn vendor_data_that_is_no_text_is_yamls_binary() {
    let world = World::new();
    let guest = world.web_with(|it| {
        it.dialects = [Dialect::Hetzner].into();
        it.vendor_data = Some(UserData::new(vec![0xff, 0, 0x80]).unwrap());
    });
    let text = world.text(&guest, METADATA);
    assert!(text.contains("\nvendor_data: !!binary \"/wCA\"\n"), "{text}");
}
