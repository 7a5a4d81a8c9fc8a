//! ifupdown's stanzas (interfaces(5)), in one file that the main one includes.
//!
//! Bonds and VLANs are made by `ip`, which ifupdown needs itself: its own words for them
//! (`vlan-raw-device`, `bond-slaves`) are those of packages that need not be there.

use std::{fmt::Write, net::IpAddr};

use mezame_model::{
    MacAddress,
    document::{Bond, Interface},
};

use super::NOTE;
use crate::platform::linux::{
    netlink::MIIMON_MS,
    network::{links::vlans_of, routes_of, with_zone},
};

/// The file; `cards` are the names of the bonds' cards.
pub(in crate::platform::linux) fn ifupdown(
    interfaces: &[(String, Interface)],
    cards: &[(MacAddress, String)],
) -> String {
    let mut out = NOTE.to_owned();
    for (device, interface) in interfaces {
        let made = interface.bond.as_ref().map(|bond| bond_lines(device, bond, cards));
        stanzas(&mut out, device, interface, made.as_deref().unwrap_or_default());
        for (vlan, (name, inner)) in interface.vlans.iter().zip(vlans_of(device, interface)) {
            let made = format!(
                "    pre-up [ -d /sys/class/net/{name} ] || ip link add link {device} name {name} \
                 type vlan id {}\n    post-down ip link delete {name} || true\n",
                vlan.id
            );
            stanzas(&mut out, &name, &inner, &made);
        }
    }
    out
}

/// What makes a bond of its cards. The module makes one of its own by default, of another mode.
fn bond_lines(name: &str, bond: &Bond, cards: &[(MacAddress, String)]) -> String {
    let mut out = format!(
        "    pre-up modprobe -q bonding max_bonds=0 || true\n    \
         pre-up [ -d /sys/class/net/{name} ] || ip link add {name} type bond mode {} \
         miimon {MIIMON_MS} fail_over_mac active\n",
        bond.mode
    );
    let known = |mac: &MacAddress| cards.iter().find(|(own, _)| own == mac);
    for (_, card) in bond.members.iter().filter_map(known) {
        let _ = writeln!(
            out,
            "    pre-up [ -e /sys/class/net/{name}/lower_{card} ] || {{ ip link set {card} down && \
             ip link set {card} master {name}; }}"
        );
    }
    let _ = writeln!(out, "    post-down ip link delete {name} || true");
    out
}

/// A device's stanzas, one for each address; the first makes the device, where it is to be made.
fn stanzas(out: &mut String, device: &str, interface: &Interface, made: &str) {
    let _ = write!(out, "\nauto {device}\n");
    let servers: Vec<String> = interface.dns.iter().map(|it| with_zone(*it, device)).collect();
    if interface.addresses.is_empty() {
        let _ = write!(out, "iface {device} inet manual\n    mtu {}\n{made}", interface.mtu);
    }
    let routes = routes_of(interface);
    for (at, address) in interface.addresses.iter().enumerate() {
        let family = if address.is_ipv4() { "inet" } else { "inet6" };
        let _ = write!(out, "iface {device} {family} static\n    address {address}\n");
        let _ = writeln!(out, "    mtu {}", interface.mtu);
        if at == 0 {
            out.push_str(made);
        }
        for gateway in interface.gateways.iter().filter(|it| holder(interface, **it) == Some(at)) {
            let _ = writeln!(out, "    gateway {gateway}");
        }
        if !servers.is_empty() {
            let _ = writeln!(out, "    dns-nameservers {}", servers.join(" "));
        }
        if let Some(domain) = &interface.domain {
            let _ = writeln!(out, "    dns-search {domain}");
        }
        // With the first address of their family. What is there already stays so.
        let own = routes.iter().filter(|(to, _)| first_of(interface, to.is_ipv4()) == Some(at));
        for (destination, via) in own {
            let version = if destination.is_ipv4() { 4 } else { 6 };
            let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
            let onlink = if via.is_empty() { "" } else { " onlink" };
            let _ = writeln!(
                out,
                "    up ip -{version} route replace {destination}{via} dev {device}{onlink}"
            );
        }
    }
}

/// The place of the first address of a family.
fn first_of(interface: &Interface, v4: bool) -> Option<usize> {
    interface.addresses.iter().position(|address| address.is_ipv4() == v4)
}

/// With which address a gateway is named: with one in whose subnet it lies, else with the first of
/// its family, as for a link-local one; ifup sets the route through the device in either case.
fn holder(interface: &Interface, gateway: IpAddr) -> Option<usize> {
    let mut own = interface.addresses.iter();
    let by_subnet = own.position(|address| address.contains(gateway));
    let mut own = interface.addresses.iter();
    by_subnet.or_else(|| own.position(|address| address.is_ipv4() == gateway.is_ipv4()))
}
