//! The document, and each of its parts.
//!
//! The instance's id is a number, and the same as the serial number of its SMBIOS: cloud-init
//! compares the two and refuses to go on where they differ. Keys are a JSON list in their leaf,
//! as afterburn reads them.

use std::{fmt::Write, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use mezame_model::{Guest, GuestPort};

use super::yaml;
use crate::{
    address::{ipv4_of, public_ipv4},
    network_config::{FamilyMark, network_config},
    render::{yaml_lines, yaml_scalar},
    response,
    tree::{Body, Directory, Entry, Scope, folder, leaf, leaf_if},
};

/// The parts that have leaves of their own.
pub(super) static PARTS: Directory = folder(&PARTS_ENTRIES);
static PARTS_ENTRIES: [Entry; 9] = [
    leaf("availability-zone", 0, |it| Body::text(it.guest.zone())),
    leaf("hostname", 0, |it| Body::text(it.guest.fqdn())),
    leaf("instance-id", 0, |it| Body::text(it.guest.instance.id.number().to_string())),
    leaf_if(
        "local-ipv4",
        0,
        |it| ipv4_of(it.guest.primary()).next().is_some(),
        |it| Body::optional(ipv4_of(it.guest.primary()).next()),
    ),
    leaf("network-config", 0, |it| yaml(network_config(it.guest, FamilyMark::Present))),
    leaf("private-networks", 0, |it| yaml(private_networks(it.guest))),
    leaf_if(
        "public-ipv4",
        0,
        |it| public_ipv4(it.guest.primary()).is_some(),
        |it| Body::optional(public_ipv4(it.guest.primary())),
    ),
    leaf("public-keys", 0, public_keys),
    leaf("region", 0, |it| Body::text(&it.guest.site.region)),
];

fn public_keys(scope: &Scope<'_>) -> Body {
    // A list of texts has no way to fail.
    let json = serde_json::to_vec(&scope.guest.instance.ssh_keys).unwrap_or_default();
    Body::of(response::JSON, Bytes::from(json))
}

/// The whole document.
pub(super) fn document(guest: &Guest) -> String {
    let instance = &guest.instance;
    let mut out = String::new();
    // Writing to a String does not fail, here and below.
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "{name}: {value}");
    };
    field("availability-zone", &yaml_scalar(&guest.zone()));
    field("hostname", &yaml_scalar(&guest.fqdn()));
    field("instance-id", &instance.id.number().to_string());
    if let Some(address) = ipv4_of(guest.primary()).next() {
        field("local-ipv4", &yaml_scalar(&address.to_string()));
    }
    if let Some(address) = public_ipv4(guest.primary()) {
        field("public-ipv4", &yaml_scalar(&address.to_string()));
    }
    field("region", &yaml_scalar(&guest.site.region));
    if let Some(data) = &instance.vendor_data {
        let value = match std::str::from_utf8(data.bytes()) {
            Ok(text) => yaml_scalar(text),
            Err(_) => format!("!!binary {:?}", STANDARD.encode(data.bytes())),
        };
        field("vendor_data", &value);
    }
    if instance.ssh_keys.is_empty() {
        out.push_str("public-keys: []\n");
    } else {
        out.push_str("public-keys:\n");
        yaml_lines(&mut out, "  - ", instance.ssh_keys.iter());
    }
    out.push_str("network-config:\n");
    for line in network_config(guest, FamilyMark::Present).lines() {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// The ports after the first, with their IPv4 addresses, as Hetzner lists private networks.
fn private_networks(guest: &Guest) -> String {
    let mut out = String::new();
    for (at, entry) in guest.ports.iter().enumerate().skip(1) {
        private_network(&mut out, at, entry);
    }
    if out.is_empty() { "[]\n".into() } else { out }
}

fn private_network(out: &mut String, at: usize, entry: &GuestPort) {
    let mut addresses = ipv4_of(entry);
    let Some(address) = addresses.next() else { return };
    let others: Vec<_> = addresses.map(|it| yaml_scalar(&it.to_string())).collect();
    let mut field = |before: &str, name: &str, value: &str| {
        let _ = writeln!(out, "{before}{name}: {value}");
    };
    field("- ", "ip", &yaml_scalar(&address.to_string()));
    field("  ", "alias_ips", &format!("[{}]", others.join(", ")));
    field("  ", "interface_num", &at.to_string());
    field("  ", "mac_address", &yaml_scalar(&entry.port.mac.to_string()));
    field("  ", "network_id", &entry.network.id.number().to_string());
    field("  ", "network_name", &yaml_scalar(entry.network.name.as_str()));
    if let Some(subnet) = entry.network.subnet_of(IpAddr::V4(address)) {
        let range = yaml_scalar(&subnet.cidr.to_string());
        field("  ", "network", &range);
        field("  ", "subnet", &range);
        if let Some(gateway) = subnet.gateway {
            field("  ", "gateway", &yaml_scalar(&gateway.to_string()));
        }
    }
}
