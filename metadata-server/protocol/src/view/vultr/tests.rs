//! Tests of Vultr's dialect.

use std::sync::Arc;

use mezame_model::{Dialect, Smbios, service_address};

use super::*;
use crate::{
    fixture::World,
    response::Status,
    view::tests::{check_tree, golden},
};

fn instance(world: &World) -> Guest {
    world.web_in(Dialect::Vultr)
}

fn bare(world: &World, addresses: &[&str]) -> Guest {
    world.bare_in(Dialect::Vultr, addresses)
}

fn parsed(world: &World, guest: &Guest) -> Value {
    serde_json::from_str(&world.text(guest, "/v1.json")).unwrap()
}

#[test]
fn the_vultr_tree_is_as_it_was() {
    let world = World::new();
    let guest = instance(&world);
    let pretty = format!("{:#}\n", parsed(&world, &guest));
    insta::assert_snapshot!("vultr", pretty + &golden(&world, &guest, &["/", "/v1/"]));
}

#[test]
fn listings_and_leaves_agree_whatever_the_guest_has() {
    let world = World::new();
    for guest in [instance(&world), bare(&world, &["2001:db8:1::10"]), bare(&world, &[])] {
        assert!(check_tree(&world, &guest, "/v1/") > 10);
        check_tree(&world, &guest, "/v1.json");
        check_tree(&world, &guest, "/user-data/");
    }
}

#[test]
fn the_client_asks_the_root_first_and_finds_somebody() {
    let world = World::new();
    assert_eq!(world.text(&instance(&world), "/"), "v1/\nv1.json\nuser-data/");
}

#[test]
fn the_id_is_the_serial_number_of_the_machine() {
    let world = World::new();
    let guest = instance(&world);
    let smbios =
        Smbios::of(Dialect::Vultr, &guest.instance, service_address::METADATA.into()).unwrap();
    assert_eq!(parsed(&world, &guest)["instance-v2-id"], *smbios.serial);
    assert_eq!(smbios.serial, smbios.uuid);
}

#[test]
fn every_field_that_the_client_needs_is_there_even_where_there_is_nothing_to_say() {
    let world = World::new();
    let document = parsed(&world, &bare(&world, &[]));
    for (field, empty) in [
        ("user-data", json!("")),
        ("vendor-data", json!("")),
        ("public-keys", json!([])),
        ("region", json!({ "regioncode": "jp-east-1" })),
        ("hostname", json!("web-0.acme.example")),
    ] {
        assert_eq!(document[field], empty, "{field}");
    }
    let interface = &document["interfaces"][0];
    for family in ["ipv4", "ipv6"] {
        assert_eq!(interface[family]["additional"], json!([]));
        assert_eq!(interface[family]["address"], "");
    }
    assert!(interface.get("unconfigured").is_none());
}

#[test]
fn what_advertisements_would_not_bring_is_additional() {
    let world = World::new();
    let document = parsed(&world, &instance(&world));
    let [public, private] = &document["interfaces"].as_array().unwrap()[..] else { panic!("two") };
    assert_eq!(public["ipv4"]["address"], "192.168.0.10");
    assert_eq!(public["ipv4"]["gateway"], "192.168.0.1");
    assert_eq!(
        public["ipv4"]["additional"],
        json!([{ "address": "203.0.113.7", "netmask": "255.255.255.0" }])
    );
    assert_eq!(public["mtu"], 1450);
    let route = json!({ "network": "::", "netmask": "::", "gateway": "2001:db8:1::1" });
    assert_eq!(
        public["ipv6"]["additional"],
        json!([{ "network": "2001:db8:1::10", "prefix": "64", "routes": [route] }])
    );
    assert_eq!(public["ipv6"]["network"], "2001:db8:1::");
    assert_eq!(private["network-type"], "private");
    assert_eq!(private["ipv4"]["netmask"], "255.255.240.0");
    assert_eq!(private["ipv4"]["additional"][0]["address"], "10.1.0.11");
}

#[test]
fn a_further_port_without_ipv4_is_left_unconfigured() {
    let world = World::new();
    let mut guest = instance(&world);
    Arc::make_mut(&mut guest.ports[1].port).addresses = vec!["fd00::2".parse().unwrap()];
    assert_eq!(parsed(&world, &guest)["interfaces"][1]["unconfigured"], true);
}

#[test]
fn user_data_that_is_no_text_has_its_own_path_and_is_empty_in_the_document() {
    let world = World::new();
    let guest = instance(&world);
    let data = guest.instance.user_data.clone().unwrap();
    assert_eq!(parsed(&world, &guest)["user-data"], "");
    assert_eq!(world.get(&guest, "/user-data/user-data").body, data.bytes());
    assert_eq!(world.text(&guest, "/user-data"), "user-data");
}

#[test]
fn a_guest_without_user_data_has_an_empty_directory_of_it() {
    let world = World::new();
    let guest = bare(&world, &[]);
    assert_eq!(world.text(&guest, "/user-data/"), "");
    assert_eq!(world.get(&guest, "/user-data/user-data").status, Status::NotFound);
}

#[test]
fn the_header_that_clients_send_is_not_asked_for() {
    let world = World::new();
    let guest = instance(&world);
    let with = world.ask(&guest, "GET", "/v1.json", &[("Metadata-Token", "cloudinit")]);
    assert_eq!(with, world.get(&guest, "/v1.json"));
}
