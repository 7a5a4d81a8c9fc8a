//! The document's interfaces, written down for the distribution's own network service.
//!
//! Which one is chosen by what is there: netplan, NetworkManager, systemd-networkd, ifupdown. An
//! image with none of them has its addresses set by the agent in each boot. Devices are matched by
//! MAC, so that a new order of the cards does no harm. The service is not restarted: the agent has
//! set the same addresses already, and a restart would cut connections.

use std::{fmt::Write, net::IpAddr};

use ipnetwork::IpNetwork;
use mezame_model::document::Interface;

use super::{
    Linux,
    network::{is_on_link, resolver, routes_of, with_zone},
    tree::Access,
};
use crate::platform::{Change, Result};

const NOTE: &str = "# Written by guest-agent; changes here are overwritten.\n";

/// The services that are known, in the order in which they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Netplan,
    NetworkManager,
    Networkd,
    Ifupdown,
}

pub(super) fn service(linux: &Linux) -> Option<Service> {
    let enabled = |unit: &str| {
        linux.tree.exists(&format!("/etc/systemd/system/multi-user.target.wants/{unit}"))
    };
    if linux.tool("netplan").is_some() && linux.tree.exists("/etc/netplan") {
        Some(Service::Netplan)
    } else if enabled("NetworkManager.service") {
        Some(Service::NetworkManager)
    } else if enabled("systemd-networkd.service") {
        Some(Service::Networkd)
    } else if linux.tool("ifup").is_some() && linux.tree.exists("/etc/network/interfaces") {
        Some(Service::Ifupdown)
    } else {
        None
    }
}

pub(super) fn write(linux: &Linux, interfaces: &[(String, Interface)]) -> Result<Change> {
    let mut change = resolver::write(&linux.tree, interfaces)?;
    let mut put = |path: &str, text: &str, mode| -> Result<()> {
        change = change.and(linux.tree.write(path, text.as_bytes(), Access::root(mode))?);
        Ok(())
    };
    match service(linux) {
        None => {}
        Some(Service::Netplan) => put("/etc/netplan/60-mezame.yaml", &netplan(interfaces), 0o600)?,
        Some(Service::NetworkManager) => {
            for (device, interface) in interfaces {
                let name = format!("mezame-{}", interface.mac.to_string().replace(':', ""));
                let path = format!("/etc/NetworkManager/system-connections/{name}.nmconnection");
                put(&path, &network_manager(&name, device, interface), 0o600)?;
            }
        }
        Some(Service::Networkd) => {
            for (_, interface) in interfaces {
                let mac = interface.mac.to_string().replace(':', "");
                let path = format!("/etc/systemd/network/10-mezame-{mac}.network");
                put(&path, &networkd(interface), 0o644)?;
            }
        }
        Some(Service::Ifupdown) => {
            let main = linux.tree.text("/etc/network/interfaces")?;
            let includes = main.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next().is_some_and(|word| word.starts_with("source"))
                    && words.next().is_some_and(|word| word.contains("interfaces.d"))
            });
            if !includes {
                let text = format!("{main}\nsource /etc/network/interfaces.d/*\n");
                put("/etc/network/interfaces", &text, 0o644)?;
            }
            put("/etc/network/interfaces.d/60-mezame", &ifupdown(interfaces), 0o644)?;
        }
    }
    Ok(change)
}

fn joined<T: ToString>(list: &[T], by: &str) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

/// In quotes: older YAML libraries take a colon in a list for a mapping's.
fn quoted<T: ToString>(list: &[T]) -> String {
    list.iter().map(|it| format!("\"{}\"", it.to_string())).collect::<Vec<_>>().join(", ")
}

pub(super) fn netplan(interfaces: &[(String, Interface)]) -> String {
    let mut out = format!("{NOTE}network:\n  version: 2\n  ethernets:\n");
    for (device, interface) in interfaces {
        let _ = write!(
            out,
            "    {device}:\n      match:\n        macaddress: \"{}\"\n      mtu: {}\n      \
             dhcp4: false\n      addresses: [{}]\n",
            interface.mac,
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
    out
}

pub(super) fn networkd(interface: &Interface) -> String {
    let mut out = format!(
        "{NOTE}[Match]\nMACAddress={}\n\n[Link]\nMTUBytes={}\n\n[Network]\nDHCP=no\n",
        interface.mac, interface.mtu
    );
    for address in &interface.addresses {
        let _ = writeln!(out, "Address={address}");
    }
    for server in &interface.dns {
        let _ = writeln!(out, "DNS={server}");
    }
    if let Some(domain) = &interface.domain {
        let _ = writeln!(out, "Domains={domain}");
    }
    for gateway in &interface.gateways {
        let _ = writeln!(out, "\n[Route]\nGateway={gateway}");
        if !is_on_link(interface, *gateway) {
            out.push_str("GatewayOnLink=yes\n");
        }
    }
    for (destination, via) in routes_of(interface) {
        let _ = writeln!(out, "\n[Route]\nDestination={destination}");
        match via {
            Some(via) => {
                let _ = writeln!(out, "Gateway={via}");
                if !is_on_link(interface, via) {
                    out.push_str("GatewayOnLink=yes\n");
                }
            }
            None => out.push_str("Scope=link\n"),
        }
    }
    out
}

pub(super) fn network_manager(name: &str, device: &str, interface: &Interface) -> String {
    let mut out = format!(
        "{NOTE}[connection]\nid={name}\ntype=ethernet\ninterface-name={device}\nautoconnect=true\n\n\
         [ethernet]\nmac-address={}\nmtu={}\n",
        interface.mac.to_string().to_uppercase(),
        interface.mtu
    );
    for (section, v4, empty) in [("ipv4", true, "disabled"), ("ipv6", false, "link-local")] {
        let own = |address: &IpAddr| address.is_ipv4() == v4;
        let addresses: Vec<&IpNetwork> =
            interface.addresses.iter().filter(|it| own(&it.ip())).collect();
        let method = if addresses.is_empty() { empty } else { "manual" };
        let _ = write!(out, "\n[{section}]\nmethod={method}\n");
        let gateway = interface.gateways.iter().find(|it| own(it));
        for (at, address) in addresses.iter().enumerate() {
            let _ = write!(out, "address{}={address}", at + 1);
            if let (0, Some(gateway)) = (at, gateway) {
                let _ = write!(out, ",{gateway}");
            }
            out.push('\n');
        }
        // Without an address in the section its routes would be refused.
        let routes = routes_of(interface).into_iter().filter(|(to, _)| to.is_ipv4() == v4);
        for (at, (destination, via)) in routes.filter(|_| !addresses.is_empty()).enumerate() {
            let via = via.map(|via| format!(",{via}")).unwrap_or_default();
            let _ = writeln!(out, "route{}={destination}{via}", at + 1);
        }
        let dns: Vec<&IpAddr> = interface.dns.iter().filter(|it| own(it)).collect();
        if !dns.is_empty() && !addresses.is_empty() {
            let _ = writeln!(out, "dns={};", joined(&dns, ";"));
        }
        if let (Some(domain), false) = (&interface.domain, addresses.is_empty()) {
            let _ = writeln!(out, "dns-search={domain};");
        }
    }
    out
}

pub(super) fn ifupdown(interfaces: &[(String, Interface)]) -> String {
    let mut out = NOTE.to_owned();
    for (device, interface) in interfaces {
        let _ = write!(out, "\nauto {device}\n");
        let servers: Vec<String> = interface.dns.iter().map(|it| with_zone(*it, device)).collect();
        if interface.addresses.is_empty() {
            let _ = writeln!(out, "iface {device} inet manual\n    mtu {}", interface.mtu);
        }
        let routes = routes_of(interface);
        for (at, address) in interface.addresses.iter().enumerate() {
            let family = if address.is_ipv4() { "inet" } else { "inet6" };
            let _ = write!(out, "iface {device} {family} static\n    address {address}\n");
            let _ = writeln!(out, "    mtu {}", interface.mtu);
            for gateway in
                interface.gateways.iter().filter(|it| holder(interface, **it) == Some(at))
            {
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
    out
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
