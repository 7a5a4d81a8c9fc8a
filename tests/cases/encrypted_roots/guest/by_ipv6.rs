//! A root that is unlocked by IPv6 alone: the initramfs has no IPv4 way, and needs none.

use mezame_tests::{
    Lab,
    guest_image::{AGENT, GuestImage},
    wait::A_BOOT,
};
use serde_json::json;

use super::{boot_image, key, machine, until_says};
use crate::{
    encrypted_roots::{audit, create},
    seeds,
};

/// A tenant whose network has IPv6 alone, and in which nobody gives out an IPv4 address.
fn lab() -> Lab {
    let lab = Lab::start().unwrap();
    let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &json!({}));
    let network = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
    network["subnets"] = json!([{"cidr": "2001:db8::/64"}]);
    network["dhcp"] = json!({"ipv4": false});
    seeds::port_of(&mut documents)["addresses"] = json!(["2001:db8::10"]);
    lab.operator.apply(&documents).unwrap();
    create(&lab.operator, "tenant-a", &key(), &[]);
    lab
}

/// Boots with this endpoint in the initramfs's settings: the agent asks nowhere else, and so by no
/// IPv4 address. (Without, it would ask by a link-local one first, which every port may have.)
fn assert_unlocked_by(endpoint: &str) {
    let lab = lab();
    let settings = lab.directory().join("guest-agent.yaml");
    std::fs::write(&settings, format!("endpoint: {endpoint}\n")).unwrap();
    let agent = &lab.binaries.agent;
    let files = [(AGENT, &**agent), ("etc/mezame/guest-agent.yaml", &*settings)];
    let image = GuestImage::encrypted_with(&files, lab.directory()).unwrap();
    let mut guest = boot_image(&lab, &image, &machine(""), None);
    until_says(&mut guest, "TOLD all", 2 * A_BOOT);
    let console = guest.console();
    assert!(console.contains("TOLD root on /dev/mapper/root"), "{console}");
    assert_eq!(audit(&lab.operator, "tenant-a"), ["released [1]"]);
}

#[test]
fn in_a_network_of_ipv6_alone_a_root_is_unlocked_by_the_unique_local_address() {
    assert_unlocked_by("http://[fd00:ec2::254]");
}
