//! The resolvers of all interfaces, in the one file that the C library reads (resolv.conf(5)).

use std::net::IpAddr;

use mezame_model::document::Interface;

use super::with_zone;
use crate::platform::{
    Change, Result,
    linux::tree::{Access, Tree},
};

const PATH: &str = "/etc/resolv.conf";
/// The resolver reads no more (MAXNS).
const MOST: usize = 3;

/// Writes the file, unless it is a link: then a service owns it, and is told by its own
/// configuration. Without any resolver it stays as it is.
pub(in crate::platform::linux) fn write(
    tree: &Tree,
    interfaces: &[(String, Interface)],
) -> Result<Change> {
    let is_link = std::fs::symlink_metadata(tree.outside(PATH)).is_ok_and(|m| m.is_symlink());
    if is_link || interfaces.iter().all(|(_, interface)| interface.dns.is_empty()) {
        return Ok(Change::Same);
    }
    tree.edit(PATH, text(interfaces).as_bytes(), Access::root(0o644))
}

/// Those of the first interface first; each once.
pub(super) fn text(interfaces: &[(String, Interface)]) -> String {
    let mut text = String::from("# Written by guest-agent.\n");
    let mut domains: Vec<&str> = Vec::new();
    let mut servers: Vec<String> = Vec::new();
    for (device, interface) in interfaces.iter().filter(|(_, it)| !it.dns.is_empty()) {
        domains.extend(interface.domain.as_deref());
        let own = interface.dns.iter().filter(|it| has_way(interface, **it));
        servers.extend(own.map(|it| with_zone(*it, device)));
    }
    let mut seen = std::collections::BTreeSet::new();
    domains.retain(|domain| seen.insert(*domain));
    if !domains.is_empty() {
        text.push_str(&format!("search {}\n", domains.join(" ")));
    }
    let mut seen = std::collections::BTreeSet::new();
    servers.retain(|server| seen.insert(server.clone()));
    for server in servers.iter().take(MOST) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// Whether anything takes a packet to a resolver: to one on the IPv4 link a router does, or an
/// address on that link, or a route that [`needs_route`] asks for.
fn has_way(interface: &Interface, server: IpAddr) -> bool {
    let is_v4_link = matches!(server, IpAddr::V4(it) if it.is_link_local());
    !is_v4_link
        || interface.gateways.iter().any(IpAddr::is_ipv4)
        || interface.addresses.iter().any(|own| own.ip().is_ipv4())
}

/// Whether a resolver is on the IPv4 link and only a route of its own leads there: without a
/// router, and with an IPv4 address to ask from that is not on that link itself.
pub(super) fn needs_route(interface: &Interface, server: IpAddr) -> bool {
    let IpAddr::V4(address) = server else { return false };
    address.is_link_local()
        && !interface.gateways.iter().any(IpAddr::is_ipv4)
        && interface.addresses.iter().any(|own| own.ip().is_ipv4())
        && !interface.addresses.iter().any(|own| own.contains(server))
}
