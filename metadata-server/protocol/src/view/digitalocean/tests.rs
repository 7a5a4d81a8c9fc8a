//! Tests of DigitalOcean's dialect.

use mezame_model::{Dialect, Guest};
use serde_json::Value;

use crate::{
    fixture::World,
    response::Status,
    view::tests::{check_tree, golden},
};

fn droplet(world: &World) -> Guest {
    world.web_in(Dialect::Digitalocean)
}

fn bare(world: &World, addresses: &[&str]) -> Guest {
    world.bare_in(Dialect::Digitalocean, addresses)
}

fn document(world: &World, guest: &Guest) -> Value {
    serde_json::from_str(&world.text(guest, "/metadata/v1.json")).unwrap()
}

#[test]
fn the_digitalocean_tree_is_as_it_was() {
    let world = World::new();
    let guest = droplet(&world);
    let pretty = format!("{:#}\n", document(&world, &guest));
    insta::assert_snapshot!("digitalocean", pretty + &golden(&world, &guest, &["/metadata/v1/"]));
}

#[test]
fn listings_and_leaves_agree_whatever_the_guest_has() {
    let world = World::new();
    assert!(check_tree(&world, &droplet(&world), "/metadata/v1/") > 40);
    assert!(check_tree(&world, &bare(&world, &["2001:db8:1::10"]), "/metadata/v1/") > 15);
    assert!(check_tree(&world, &bare(&world, &[]), "/metadata/v1/") > 10);
    check_tree(&world, &droplet(&world), "/metadata/v1.json");
}

#[test]
fn the_document_says_what_the_tree_says() {
    let world = World::new();
    let guest = droplet(&world);
    let document = document(&world, &guest);
    let get = |leaf: &str| world.text(&guest, &format!("/metadata/v1/{leaf}"));
    assert_eq!(document["droplet_id"], guest.instance.id.number());
    assert_eq!(get("id"), guest.instance.id.number().to_string());
    assert_eq!(document["hostname"], get("hostname"));
    assert_eq!(document["vendor_data"], get("vendor-data"));
    for (pointer, leaf) in [
        ("/public/0/ipv4/ip_address", "public/0/ipv4/address"),
        ("/public/0/ipv4/netmask", "public/0/ipv4/netmask"),
        ("/public/0/anchor_ipv4/ip_address", "public/0/anchor_ipv4/address"),
        ("/public/0/ipv6/gateway", "public/0/ipv6/gateway"),
        ("/private/0/mac", "private/0/mac"),
        ("/private/0/ipv4/gateway", "private/0/ipv4/gateway"),
    ] {
        let value = document["interfaces"].pointer(pointer).unwrap();
        assert_eq!(value, &get(&format!("interfaces/{leaf}")), "{leaf}");
    }
}

#[test]
fn the_port_with_a_router_is_public_and_its_address_without_one_is_an_anchor() {
    let world = World::new();
    let interfaces = &document(&world, &droplet(&world))["interfaces"];
    let public = &interfaces["public"][0];
    assert_eq!(public["ipv4"]["ip_address"], "192.168.0.10");
    assert_eq!(public["ipv4"]["gateway"], "192.168.0.1");
    assert_eq!(public["anchor_ipv4"]["ip_address"], "203.0.113.7");
    assert_eq!(public["anchor_ipv4"]["gateway"], "0.0.0.0");
    assert_eq!(public["ipv6"]["cidr"], 64);
    let private = &interfaces["private"][0];
    assert_eq!(private["ipv4"]["ip_address"], "10.1.0.10");
    assert_eq!(private["ipv4"]["netmask"], "255.255.240.0");
    assert_eq!(private["anchor_ipv4"]["ip_address"], "10.1.0.11");
}

#[test]
fn a_kind_without_interfaces_is_absent_and_not_empty() {
    let world = World::new();
    let public = &document(&world, &bare(&world, &["192.168.0.10"]))["interfaces"];
    assert!(public.get("private").is_none() && public["public"][0].get("ipv6").is_none());
    let private = &document(&world, &bare(&world, &["203.0.113.7"]))["interfaces"];
    assert!(private.get("public").is_none());
    assert_eq!(private["private"][0]["type"], "private");
}

#[test]
fn a_guest_without_an_ipv4_router_has_the_service_on_link() {
    let world = World::new();
    for (addresses, kind) in [(["2001:db8:1::10"], "public"), (["203.0.113.7"], "private")] {
        let interfaces = &document(&world, &bare(&world, &addresses))["interfaces"];
        let anchor = &interfaces[kind][0]["anchor_ipv4"];
        assert!(anchor["ip_address"].as_str().unwrap().starts_with("169.254."), "{kind}");
        assert_eq!(anchor["netmask"], "255.255.0.0");
    }
}

#[test]
fn user_data_that_is_no_text_is_in_the_tree_and_not_in_the_document() {
    let world = World::new();
    let guest = droplet(&world);
    let data = guest.instance.user_data.clone().unwrap();
    assert!(std::str::from_utf8(data.bytes()).is_err());
    assert!(document(&world, &guest).get("user_data").is_none());
    assert_eq!(world.get(&guest, "/metadata/v1/user-data").body, data.bytes());
}

#[test]
fn a_guest_without_data_has_neither_field_nor_leaf() {
    let world = World::new();
    let guest = bare(&world, &["192.168.0.10"]);
    let document = document(&world, &guest);
    for (field, leaf) in [("user_data", "user-data"), ("vendor_data", "vendor-data")] {
        assert!(document.get(field).is_none());
        let reply = world.get(&guest, &format!("/metadata/v1/{leaf}"));
        assert_eq!(reply.status, Status::NotFound);
    }
    assert_eq!(document["public_keys"], serde_json::json!([]));
    assert_eq!(world.text(&guest, "/metadata/v1/public-keys"), "");
}

#[test]
fn only_labels_that_a_tag_may_be_are_tags() {
    let world = World::new();
    let document = document(&world, &droplet(&world));
    assert_eq!(document["tags"], serde_json::json!(["role:front"]));
}
