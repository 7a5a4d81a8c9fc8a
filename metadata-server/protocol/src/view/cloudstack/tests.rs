//! Tests of CloudStack's dialect.

use mezame_model::{Dialect, Guest};

use crate::{
    fixture::World,
    response::Status,
    view::tests::{check_tree, golden},
};

fn machine(world: &World) -> Guest {
    world.web_in(Dialect::Cloudstack)
}

fn bare(world: &World, addresses: &[&str]) -> Guest {
    world.bare_in(Dialect::Cloudstack, addresses)
}

#[test]
fn the_cloudstack_tree_is_as_it_was() {
    let world = World::new();
    insta::assert_snapshot!("cloudstack", golden(&world, &machine(&world), &["/latest/"]));
}

#[test]
fn listings_and_leaves_agree_whatever_the_guest_has() {
    let world = World::new();
    for (guest, paths) in
        [(machine(&world), 13), (bare(&world, &["2001:db8:1::10"]), 9), (bare(&world, &[]), 9)]
    {
        assert_eq!(check_tree(&world, &guest, "/latest/"), paths);
    }
}

#[test]
fn keys_are_lines_and_not_a_directory_as_they_are_in_ec2() {
    let world = World::new();
    let guest = machine(&world);
    let keys = world.text(&guest, "/latest/meta-data/public-keys");
    assert!(keys.lines().eq(guest.instance.ssh_keys.iter().map(|key| &**key)));
    assert!(keys.ends_with('\n'));
    for path in ["public-keys/0/openssh-key", "placement/availability-zone", "ami-id"] {
        let reply = world.get(&guest, &format!("/latest/meta-data/{path}"));
        assert_eq!(reply.status, Status::NotFound, "{path}");
    }
    assert_eq!(world.text(&bare(&world, &[]), "/latest/meta-data/public-keys"), "");
}

#[test]
fn no_other_version_is_there() {
    let world = World::new();
    let guest = machine(&world);
    assert_eq!(world.text(&guest, "/"), "latest/");
    assert_eq!(world.get(&guest, "/2009-04-04/meta-data/").status, Status::NotFound);
}

#[test]
fn user_data_is_its_bytes_and_404_where_there_is_none() {
    let world = World::new();
    let guest = machine(&world);
    let reply = world.get(&guest, "/latest/user-data");
    assert_eq!(reply.body, guest.instance.user_data.as_ref().unwrap().bytes());
    assert!(std::str::from_utf8(&reply.body).is_err());
    assert_eq!(world.get(&bare(&world, &[]), "/latest/user-data").status, Status::NotFound);
}

#[test]
fn a_guest_with_little_has_what_its_clients_insist_on() {
    let world = World::new();
    let guest = bare(&world, &["2001:db8:1::10"]);
    let get = |leaf: &str| world.text(&guest, &format!("/latest/meta-data/{leaf}"));
    assert_eq!(get("availability-zone"), "jp-east-1a");
    assert_eq!(get("service-offering"), "m1.small");
    assert_eq!(get("instance-id"), "i-000000000000000a1");
    assert_eq!(get("local-hostname"), "web-0.acme.example");
    let reply = world.get(&guest, "/latest/meta-data/local-ipv4");
    assert_eq!(reply.status, Status::NotFound);
}

#[test]
fn a_session_token_can_be_had_here_too() {
    let world = World::new();
    let guest = machine(&world);
    let token = world.token(&guest, 60);
    let headers = [("X-aws-ec2-metadata-token", token.as_str())];
    let reply = world.ask(&guest, "GET", "/latest/meta-data/vm-id", &headers);
    assert_eq!(reply.status, Status::Ok);
}
