//! `network`: each port's addresses, by its MAC address.
//!
//! cloud-init takes the first address of each family by DHCP, and sets the others with the prefix
//! of the family's first subnet; of an IPv6 subnet it asks where there is a second address, so
//! there is one here, which Azure does not have.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use mezame_model::{Guest, GuestPort, MacAddress};
use serde_json::{Value, json};

use crate::address::is_public;

/// All interfaces, the first port's first.
pub(super) fn document(guest: &Guest) -> Value {
    json!({ "interface": guest.ports.iter().map(interface).collect::<Vec<_>>() })
}

fn interface(entry: &GuestPort) -> Value {
    let own: Vec<IpNetwork> = entry.addresses().collect();
    let (ipv4, ipv6): (Vec<_>, Vec<_>) = own.into_iter().partition(IpNetwork::is_ipv4);
    let mut six = json!({ "ipAddress": ipv6.iter().map(address).collect::<Vec<_>>() });
    if !ipv6.is_empty() {
        six["subnet"] = subnets(&ipv6);
    }
    json!({
        "ipv4": {
            "ipAddress": ipv4.iter().map(address).collect::<Vec<_>>(),
            "subnet": subnets(&ipv4),
        },
        "ipv6": six,
        "macAddress": mac_text(entry.port.mac),
    })
}

/// The address; for IPv4 also the one by which the Internet reaches it, if it is that itself.
fn address(own: &IpNetwork) -> Value {
    match own.ip() {
        IpAddr::V4(address) => {
            let public = if is_public(address) { address.to_string() } else { String::new() };
            json!({ "privateIpAddress": address, "publicIpAddress": public })
        }
        IpAddr::V6(address) => json!({ "privateIpAddress": address }),
    }
}

/// The subnets of these addresses, each once, that of the first address first.
fn subnets(own: &[IpNetwork]) -> Value {
    let mut found: Vec<(IpAddr, u8)> = Vec::new();
    for network in own {
        let subnet = (network.network(), network.prefix());
        if !found.contains(&subnet) {
            found.push(subnet);
        }
    }
    let text = |(address, prefix): (IpAddr, u8)| json!({ "address": address, "prefix": prefix.to_string() });
    found.into_iter().map(text).collect()
}

/// Twelve capital digits.
fn mac_text(mac: MacAddress) -> String {
    mac.0.iter().map(|byte| format!("{byte:02X}")).collect()
}
