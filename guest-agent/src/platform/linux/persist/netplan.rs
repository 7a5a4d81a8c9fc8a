//! netplan's YAML, in one file: `ethernets`, `bonds` and `vlans`.

use std::fmt::Write;

use mezame_model::{MacAddress, document::Interface};

use super::{NOTE, plain};
use crate::platform::linux::{
    netlink::MIIMON_MS,
    network::{is_on_link, links::vlans_of, routes_of},
};

pub(in crate::platform::linux) fn netplan(interfaces: &[(String, Interface)]) -> String {
    let mut out = format!("{NOTE}network:\n  version: 2\n  ethernets:\n");
    for (device, interface) in interfaces {
        let Some(bond) = &interface.bond else {
            let mac = interface.mac;
            let _ = writeln!(out, "    {device}:\n      match:\n        macaddress: \"{mac}\"");
            body(&mut out, interface);
            continue;
        };
        for mac in &bond.members {
            let _ = write!(
                out,
                "    {}:\n      match:\n        macaddress: \"{mac}\"\n      mtu: {}\n      \
                 dhcp4: false\n",
                card(*mac),
                interface.mtu
            );
        }
    }
    let bonds = interfaces.iter().filter_map(|(name, it)| Some((name, it, it.bond.as_ref()?)));
    for (at, (device, interface, bond)) in bonds.enumerate() {
        if at == 0 {
            out.push_str("  bonds:\n");
        }
        let cards: Vec<String> = bond.members.iter().map(|mac| card(*mac)).collect();
        let _ = write!(
            out,
            "    {device}:\n      interfaces: [{}]\n      parameters:\n        mode: {}\n        \
             mii-monitor-interval: {MIIMON_MS}\n        fail-over-mac-policy: active\n",
            cards.join(", "),
            bond.mode
        );
        body(&mut out, interface);
    }
    let on_each = interfaces.iter().flat_map(|(device, interface)| {
        let ids = interface.vlans.iter().map(|vlan| vlan.id);
        ids.zip(vlans_of(device, interface)).map(move |(id, vlan)| (device, id, vlan))
    });
    for (at, (device, id, (name, interface))) in on_each.enumerate() {
        if at == 0 {
            out.push_str("  vlans:\n");
        }
        let _ = writeln!(out, "    {name}:\n      id: {id}\n      link: {device}");
        body(&mut out, &interface);
    }
    out
}

/// The name of a bond's card within the file.
fn card(mac: MacAddress) -> String {
    format!("card-{}", plain(mac))
}

/// What every kind of device has.
fn body(out: &mut String, interface: &Interface) {
    let _ = write!(
        out,
        "      mtu: {}\n      dhcp4: false\n      addresses: [{}]\n",
        interface.mtu,
        quoted(&interface.addresses)
    );
    let routes = routes_of(interface);
    if !interface.gateways.is_empty() || !routes.is_empty() {
        out.push_str("      routes:\n");
    }
    for gateway in &interface.gateways {
        let _ = writeln!(out, "        - to: default\n          via: \"{gateway}\"");
        if !is_on_link(interface, *gateway) {
            out.push_str("          on-link: true\n");
        }
    }
    for (destination, via) in routes {
        let _ = writeln!(out, "        - to: \"{destination}\"");
        match via {
            Some(via) => {
                let _ = writeln!(out, "          via: \"{via}\"");
                if !is_on_link(interface, via) {
                    out.push_str("          on-link: true\n");
                }
            }
            None => out.push_str("          scope: link\n"),
        }
    }
    if !interface.dns.is_empty() {
        let servers = quoted(&interface.dns);
        let _ = writeln!(out, "      nameservers:\n        addresses: [{servers}]");
        if let Some(domain) = &interface.domain {
            let _ = writeln!(out, "        search: [\"{domain}\"]");
        }
    }
}

/// In quotes: older YAML libraries take a colon in a list for a mapping's.
fn quoted<T: ToString>(list: &[T]) -> String {
    list.iter().map(|it| format!("\"{}\"", it.to_string())).collect::<Vec<_>>().join(", ")
}
