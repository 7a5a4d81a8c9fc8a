//! The port is the identity: overlapping tenants, several addresses at once, low TTLs.

use mezame_tests::{Lab, namespace_guest::Dial, wait};
use serde_json::json;

use crate::seeds::{self, MAC};

#[test]
fn two_guests_with_the_same_ip_and_mac_each_get_their_own_metadata() {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    lab.operator.apply(&seeds::tenant("tenant-b", 2000, "tapb", &json!({}))).unwrap();
    let a = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    let b = lab.guest("tapb", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&a, "tenant-a");
    seeds::until_served(&b, "tenant-b");
    // Interleaved on connections that stay open, with the same four-tuple on both sides.
    let dial = Dial { source_port: 40_000, ..Dial::from("192.168.0.10") };
    let mut on_a = a.connect_with(&dial).unwrap();
    let mut on_b = b.connect_with(&dial).unwrap();
    for _ in 0..100 {
        assert_eq!(on_a.get("/latest/meta-data/hostname", &[]).unwrap().text(), "tenant-a");
        assert_eq!(on_b.get("/latest/meta-data/hostname", &[]).unwrap().text(), "tenant-b");
    }
}

#[test]
fn three_source_addresses_of_one_port_are_all_the_same_guest_at_once() {
    let lab = Lab::start().unwrap();
    let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &json!({}));
    seeds::port_of(&mut documents)["allowed"] = json!(["192.168.0.100/32"]);
    lab.operator.apply(&documents).unwrap();
    // Its own, a floating one, and a random link-local one as before DHCP (RFC 3927).
    let sources = ["192.168.0.10", "192.168.0.100", "169.254.77.7"];
    let addresses = ["192.168.0.10/24", "192.168.0.100/24", "169.254.77.7/16"];
    let guest = lab.guest("tapa", MAC, &addresses).unwrap();
    seeds::until_served(&guest, "tenant-a");
    // With the same source port: only the source address tells the connections apart.
    let mut connections: Vec<_> = sources
        .iter()
        .map(|source| {
            let dial = Dial { source_port: 41_000, ..Dial::from(source) };
            guest.connect_with(&dial).unwrap_or_else(|error| panic!("{source}: {error:#}"))
        })
        .collect();
    for _ in 0..20 {
        for connection in &mut connections {
            let hostname = connection.get("/latest/meta-data/hostname", &[]).unwrap();
            assert_eq!(hostname.text(), "tenant-a");
        }
    }
}

#[test]
fn a_request_whose_packets_have_a_ttl_of_one_is_answered() {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&guest, "tenant-a");
    let dial = Dial { ttl: Some(1), ..Dial::default() };
    let answer = guest.connect_with(&dial).unwrap().get("/latest/meta-data/hostname", &[]).unwrap();
    assert_eq!(answer.text(), "tenant-a");
}

#[test]
fn the_hop_limit_is_the_ttl_of_the_reply_that_carries_a_token() {
    let lab = Lab::start().unwrap();
    for (name, vni, device, limit) in [("tenant-a", 1000, "tapa", 1), ("tenant-b", 2000, "tapb", 2)]
    {
        let documents = seeds::tenant(name, vni, device, &json!({"hop_limit": limit}));
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest(device, MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_served(&guest, name);
        guest.capture().clear();
        guest.token().unwrap();
        let ttls = guest.capture().data_ttls(80);
        assert!(!ttls.is_empty(), "the reply was seen");
        assert!(ttls.iter().all(|ttl| *ttl == limit), "hop limit {limit}, TTLs {ttls:?}");
    }
}

#[test]
fn a_tap_with_a_foreign_name_is_a_port_once_the_operator_says_so() {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    let guest = lab.guest("vnet7", MAC, &["192.168.0.10/24"]).unwrap();
    lab.operator.run(&["port", "attach", "port", "vnet7", "-p", "tenant-a"]).unwrap();
    seeds::until_served(&guest, "tenant-a");
}

#[test]
fn a_guest_that_comes_before_its_record_waits_and_is_never_told_that_nothing_is_there() {
    let lab = Lab::start().unwrap();
    let documents = seeds::tenant("tenant-a", 1000, "tapa", &json!({}));
    let (instance, before) = documents.split_last().unwrap();
    lab.operator.apply(before).unwrap();
    let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    let answer =
        wait::until("an answer", wait::SOON, || guest.get("/latest/meta-data/instance-id"))
            .unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    let retry: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&retry));
    lab.operator.apply(std::slice::from_ref(instance)).unwrap();
    seeds::until_served(&guest, "tenant-a");
}
