//! The ports as Vultr's interfaces: the first public, all others private.
//!
//! cloud-init configures the first by DHCP and router advertisements whatever is said of it, and
//! adds what is `additional`. So its further IPv4 addresses are there, and all of its IPv6 ones:
//! the addresses of a record are not those that a host would make of an advertisement. Of an
//! additional IPv6 network cloud-init takes the text before the prefix for the host's address, so
//! that is what stands there. Further interfaces it configures with one IPv4 address; one that has
//! none is marked as not to be configured, since cloud-init would fail on it.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use mezame_model::{Guest, GuestPort};
use serde_json::{Value, json};

use crate::tree::{
    Body, Directory, Entry, Node, Scope, directory, families::ports_by_place, family, folder, leaf,
    leaf_if,
};

/// The directory.
pub(super) static INTERFACES: Directory = folder(&INTERFACES_ENTRIES);
static INTERFACES_ENTRIES: [Entry; 1] = [family(0, ports_by_place(), Node::Directory(&INTERFACE))];

static INTERFACE: Directory = folder(&INTERFACE_ENTRIES);
static INTERFACE_ENTRIES: [Entry; 5] = [
    directory("ipv4", 0, &IPV4),
    directory("ipv6", 0, &IPV6),
    leaf("mac", 0, |it| Body::text(it.port().port.mac.to_string())),
    leaf("mtu", 0, |it| Body::text(it.port().network.mtu.to_string())),
    leaf("network-type", 0, |it| Body::fixed(network_type(it.index()))),
];

static IPV4: Directory = folder(&IPV4_ENTRIES);
static IPV4_ENTRIES: [Entry; 3] = [
    leaf_if("address", 0, has_ipv4, |it| Body::optional(first_ipv4(it).map(|own| own.ip()))),
    leaf_if(
        "gateway",
        0,
        |it| gateway_of(it.port(), true).is_some(),
        |it| Body::optional(gateway_of(it.port(), true)),
    ),
    leaf_if("netmask", 0, has_ipv4, |it| Body::optional(first_ipv4(it).map(|own| own.mask()))),
];

static IPV6: Directory = folder(&IPV6_ENTRIES);
static IPV6_ENTRIES: [Entry; 3] = [
    leaf_if("address", 0, has_ipv6, |it| Body::optional(first_ipv6(it).map(|own| own.ip()))),
    leaf_if("network", 0, has_ipv6, |it| Body::optional(first_ipv6(it).map(|own| own.network()))),
    leaf_if("prefix", 0, has_ipv6, |it| Body::optional(first_ipv6(it).map(|own| own.prefix()))),
];

fn first_ipv4(scope: &Scope<'_>) -> Option<Ipv4Network> {
    ipv4_of(scope.port()).next()
}

fn has_ipv4(scope: &Scope<'_>) -> bool {
    first_ipv4(scope).is_some()
}

fn first_ipv6(scope: &Scope<'_>) -> Option<Ipv6Network> {
    ipv6_of(scope.port()).next()
}

fn has_ipv6(scope: &Scope<'_>) -> bool {
    first_ipv6(scope).is_some()
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn ipv4_of(entry: &GuestPort) -> impl Iterator<Item = Ipv4Network> {
    entry.addresses().filter_map(|own| match own {
        IpNetwork::V4(own) => Some(own),
        IpNetwork::V6(_) => None,
    })
}

fn ipv6_of(entry: &GuestPort) -> impl Iterator<Item = Ipv6Network> {
    entry.addresses().filter_map(|own| match own {
        IpNetwork::V4(_) => None,
        IpNetwork::V6(own) => Some(own),
    })
}

/// The port's router of a family.
fn gateway_of(entry: &GuestPort, v4: bool) -> Option<IpAddr> {
    entry.gateways().find(|gateway| gateway.is_ipv4() == v4)
}

fn network_type(at: usize) -> &'static str {
    if at == 0 { "public" } else { "private" }
}

/// All interfaces, the first port's first.
pub(super) fn document(guest: &Guest) -> Value {
    guest.ports.iter().enumerate().map(|(at, entry)| interface(entry, at)).collect()
}

fn interface(entry: &GuestPort, at: usize) -> Value {
    let primary = at == 0;
    let (ipv4, ipv6) = (ipv4_of(entry).next(), ipv6_of(entry).next());
    let additional: Vec<_> = ipv4_of(entry)
        .skip(1)
        .map(|own| json!({ "address": own.ip(), "netmask": own.mask() }))
        .collect();
    let mut fields = json!({
        "ipv4": {
            "additional": additional,
            "address": or_empty(ipv4.map(|own| own.ip())),
            "gateway": or_empty(gateway_of(entry, true)),
            "netmask": or_empty(ipv4.map(|own| own.mask())),
        },
        "ipv6": {
            "additional": additional_ipv6(entry, primary),
            "address": or_empty(ipv6.map(|own| own.ip())),
            "network": or_empty(ipv6.map(|own| own.network())),
            "prefix": or_empty(ipv6.map(|own| own.prefix())),
        },
        "mac": entry.port.mac,
        "mtu": entry.network.mtu,
        "network-type": network_type(at),
    });
    if !primary {
        fields["networkid"] = entry.network.id.as_str().into();
        if ipv4.is_none() {
            fields["unconfigured"] = true.into();
        }
    }
    fields
}

/// The IPv6 addresses; on the first port, the one in whose subnet the router is names it.
fn additional_ipv6(entry: &GuestPort, primary: bool) -> Vec<Value> {
    let mut gateway = gateway_of(entry, false).filter(|_| primary);
    ipv6_of(entry)
        .map(|own| {
            let mut fields = json!({ "network": own.ip(), "prefix": own.prefix().to_string() });
            let subnet = entry.network.subnet_of(own.ip().into());
            let is_near = |gateway: &mut IpAddr| subnet.and_then(|it| it.gateway) == Some(*gateway);
            if let Some(gateway) = gateway.take_if(is_near) {
                // A netmask, since cloud-init takes a prefix of 0 for none at all, and so for 64.
                let any = Ipv6Addr::UNSPECIFIED;
                fields["routes"] = json!([{ "network": any, "netmask": any, "gateway": gateway }]);
            }
            fields
        })
        .collect()
}
