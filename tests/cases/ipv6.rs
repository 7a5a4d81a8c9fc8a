//! The metadata service over IPv6: by its unique local address and by its link-local one.

use mezame_tests::{
    Lab,
    http::TOKEN_TTL,
    namespace_guest::{By, Dial, NamespaceGuest},
    tap::{Offload, Tap},
    wait::{self, SOON},
};
use serde_json::json;

use crate::seeds::{self, MAC};

/// A tenant whose network has IPv6 beside IPv4.
fn dual_tenant(
    name: &str,
    vni: u32,
    device: &str,
    more: &serde_json::Value,
) -> Vec<serde_json::Value> {
    let mut documents = seeds::tenant(name, vni, device, more);
    let subnets = json!([{"cidr": "192.168.0.0/24"}, {"cidr": "2001:db8:1::/64"}]);
    let network = documents.iter_mut().find(|document| document["kind"] == "Network").unwrap();
    network["subnets"] = subnets;
    seeds::port_of(&mut documents)["addresses"] = json!(["192.168.0.10", "2001:db8:1::10"]);
    documents
}

const ADDRESS: &str = "2001:db8:1::10/64 nodad";

fn until_served(guest: &NamespaceGuest, dial: &Dial, hostname: &str) {
    wait::until("the guest's metadata over IPv6", SOON, || {
        let mut connection = guest.connect_with(dial)?;
        let answer = connection.get("/latest/meta-data/hostname", &[])?;
        anyhow::ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
        anyhow::ensure!(answer.text() == hostname, "it is {}", answer.text());
        Ok(())
    })
    .unwrap();
}

#[test]
fn two_guests_with_the_same_ipv6_addresses_and_mac_each_get_their_own_metadata() {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&dual_tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    lab.operator.apply(&dual_tenant("tenant-b", 2000, "tapb", &json!({}))).unwrap();
    let same = [ADDRESS, "fe80::1234:5678 nodad"];
    let guests = [("tenant-a", "tapa"), ("tenant-b", "tapb")]
        .map(|(name, device)| (name, lab.guest(device, MAC, &same).unwrap()));
    for source in ["2001:db8:1::10", "fe80::1234:5678"] {
        for by in [By::Ipv6, By::LinkLocal] {
            // The same four-tuple on both sides, on connections that stay open.
            let dial = Dial { by, source_port: 40_000, ..Dial::from(source) };
            let mut open = guests.each_ref().map(|(name, guest)| {
                until_served(guest, &Dial { source_port: 0, ..dial.clone() }, name);
                (name, guest.connect_with(&dial).unwrap())
            });
            for _ in 0..20 {
                for (name, connection) in &mut open {
                    let answer = connection.get("/latest/meta-data/hostname", &[]).unwrap();
                    assert_eq!(answer.text(), **name, "{source} {by:?}");
                }
            }
        }
    }
}

#[test]
fn a_guest_with_no_address_but_the_link_local_one_that_it_made_itself_is_served() {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&dual_tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    let guest = lab.guest("tapa", MAC, &[]).unwrap();
    until_served(&guest, &Dial::to(By::LinkLocal), "tenant-a");
    until_served(&guest, &Dial::to(By::Ipv6), "tenant-a");
}

#[test]
fn an_address_that_is_not_the_ports_is_answered_nothing() {
    let mut lab = Lab::start().unwrap();
    lab.operator.apply(&dual_tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    let guest = lab.guest("tapa", MAC, &[ADDRESS, "2001:db8:1::66/64 nodad"]).unwrap();
    until_served(&guest, &Dial::from("2001:db8:1::10"), "tenant-a");
    let bound = std::time::Duration::from_millis(800);
    let spoofed = Dial { bound, ..Dial::from("2001:db8:1::66") };
    assert!(guest.connect_with(&spoofed).is_err());
    // Not only slow: it was dropped, and for that.
    let metrics = lab.server().metrics().unwrap();
    let dropped = metrics.sum("mezame_frames_total", &["verdict=\"spoofed_source\""]);
    assert!(dropped >= 1.0, "{dropped} frames were dropped");
}

#[test]
fn the_hop_limit_is_that_of_the_reply_that_carries_a_token_over_ipv6_too() {
    let lab = Lab::start().unwrap();
    let documents = dual_tenant("tenant-a", 1000, "tapa", &json!({"hop_limit": 2}));
    lab.operator.apply(&documents).unwrap();
    let guest = lab.guest("tapa", MAC, &[ADDRESS]).unwrap();
    let dial = Dial::to(By::Ipv6);
    until_served(&guest, &dial, "tenant-a");
    guest.capture().clear();
    let mut connection = guest.connect_with(&dial).unwrap();
    let token = connection.send("PUT", "/latest/api/token", &[(TOKEN_TTL, "60")], b"").unwrap();
    assert_eq!(token.status, 200);
    let ttls = guest.capture().data_ttls(80);
    assert!(!ttls.is_empty() && ttls.iter().all(|ttl| *ttl == 2), "{ttls:?}");
    // A request that would be stopped at the first router is answered, since there is none.
    let low = Dial { ttl: Some(1), ..dial };
    until_served(&guest, &low, "tenant-a");
}

#[test]
fn partial_checksums_and_long_segments_come_out_right_over_ipv6() {
    let lab = Lab::start().unwrap();
    let data = "0123456789abcdef".repeat(1 << 14);
    let more = json!({"user_data": data});
    lab.operator.apply(&dual_tenant("tenant-a", 1000, "tapa", &more)).unwrap();
    let offload = Offload::ChecksumAndSegmentation;
    let tap = Tap::create(&lab.hypervisor, "tapa", offload).unwrap();
    let guest = NamespaceGuest::plug(tap, MAC, &[ADDRESS], offload).unwrap();
    let dial = Dial::to(By::LinkLocal);
    until_served(&guest, &dial, "tenant-a");
    assert!(guest.capture().sent_offloads().partial_checksums > 0, "SYNs with partial checksums");

    // A head of seven kilobytes leaves the guest in one segment.
    let long = "x".repeat(7000);
    let mut connection = guest.connect_with(&dial).unwrap();
    let headers = [(TOKEN_TTL, "60"), ("User-Agent", long.as_str())];
    let token = connection.send("PUT", "/latest/api/token", &headers, b"").unwrap();
    assert_eq!(token.status, 200, "{token:?}");
    assert!(guest.capture().sent_offloads().long_segments > 0, "a request in a long segment");

    guest.capture().clear();
    let answer = connection.get("/latest/user-data", &[]).unwrap();
    assert_eq!(answer.text(), data);
    assert!(guest.capture().longest_received() > 1500, "{}", guest.capture().longest_received());
}
