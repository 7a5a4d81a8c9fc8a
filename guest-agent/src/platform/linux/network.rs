//! The document's addresses on a device, now.
//!
//! Only what the agent added itself is taken away again: what it added to each device in this boot
//! is kept in /run, which is empty after the next one. Addresses by DHCP or by hand stay.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use mezame_model::document::Interface;

use super::{
    netlink::{Netlink, Route},
    tree::{Access, Tree},
};
use crate::platform::{Change, Result};

const ADDED: &str = "/run/mezame-agent";

pub(super) fn configure(tree: &Tree, device: &str, interface: &Interface) -> Result<Change> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link(device)?;
    let path = format!("/sys/class/net/{device}/mtu");
    let mtu: Option<u16> = std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok());
    let mut change = Change::Same;
    let new_mtu = (mtu != Some(interface.mtu)).then_some(u32::from(interface.mtu));
    if !link.up || new_mtu.is_some() {
        netlink.set_link(link.index, true, new_mtu)?;
        change = Change::Changed;
    }
    // Written down first, and what is to go is kept until it went: an address that is taken away
    // though it was never added does no harm, one that stays forever would.
    let file = format!("{ADDED}/{device}.addresses");
    let before = tree.text(&file)?;
    let list: String = interface.addresses.iter().map(|it| format!("{it}\n")).collect();
    tree.write(&file, format!("{list}{before}").as_bytes(), Access::root(0o600))?;
    for address in &interface.addresses {
        if !link.addresses.contains(address) {
            netlink.add_address(link.index, *address, false)?;
            change = Change::Changed;
        }
    }
    for address in before.lines().filter_map(|line| line.parse::<IpNetwork>().ok()) {
        if !interface.addresses.contains(&address) && link.addresses.contains(&address) {
            netlink.remove_address(link.index, address)?;
            change = Change::Changed;
        }
    }
    // With the first address of a subnet the kernel takes the later ones away, too.
    let links = netlink.links()?;
    if let Some(now) = links.iter().find(|it| it.index == link.index) {
        for address in interface.addresses.iter().filter(|it| !now.addresses.contains(it)) {
            netlink.add_address(link.index, *address, false)?;
        }
    }
    tree.write(&file, list.as_bytes(), Access::root(0o600))?;
    change = change.and(routes(&mut netlink, tree, device, link.index, interface)?);
    if interface.dns.is_empty() {
        Ok(change)
    } else {
        Ok(change.and(resolvers(tree, device, interface)?))
    }
}

fn routes(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    index: u32,
    interface: &Interface,
) -> Result<Change> {
    let known = netlink.routes(index)?;
    let mut change = Change::Same;
    let file = format!("{ADDED}/{device}.gateways");
    let before = tree.text(&file)?;
    let list: String = interface.gateways.iter().map(|it| format!("{it}\n")).collect();
    tree.write(&file, format!("{list}{before}").as_bytes(), Access::root(0o600))?;
    for gateway in &interface.gateways {
        let default = default_of(*gateway);
        if known.contains(&(default, Some(*gateway))) {
            continue;
        }
        // A gateway outside the device's own subnets is reached on the link; a link-local one
        // is there already, by the device that the default route names.
        if !is_on_link(interface, *gateway) {
            netlink.add_route(&Route {
                destination: IpNetwork::from(*gateway),
                gateway: None,
                device: index,
                metric: None,
                source: None,
            })?;
        }
        netlink.add_route(&default_route(*gateway, index))?;
        change = Change::Changed;
    }
    for gateway in before.lines().filter_map(|line| line.parse::<IpAddr>().ok()) {
        let stays = interface.gateways.contains(&gateway);
        if !stays && known.contains(&(default_of(gateway), Some(gateway))) {
            netlink.remove_route(&default_route(gateway, index))?;
            change = Change::Changed;
        }
    }
    tree.write(&file, list.as_bytes(), Access::root(0o600))?;
    Ok(change)
}

/// Whether a gateway is reached without a route of its own.
pub(super) fn is_on_link(interface: &Interface, gateway: IpAddr) -> bool {
    is_link_local6(gateway) || interface.addresses.iter().any(|own| own.contains(gateway))
}

/// Whether an address means something only together with a device.
pub(super) fn is_link_local6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn default_of(gateway: IpAddr) -> IpNetwork {
    let any = match gateway {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    IpNetwork::new(any, 0).unwrap_or(IpNetwork::from(any))
}

fn default_route(gateway: IpAddr, index: u32) -> Route {
    Route {
        destination: default_of(gateway),
        gateway: Some(gateway),
        device: index,
        metric: None,
        source: None,
    }
}

/// /etc/resolv.conf (resolv.conf(5)), unless it is a link: then a service owns it, and is told by
/// its own configuration.
fn resolvers(tree: &Tree, device: &str, interface: &Interface) -> Result<Change> {
    const PATH: &str = "/etc/resolv.conf";
    let is_link = std::fs::symlink_metadata(tree.outside(PATH)).is_ok_and(|m| m.is_symlink());
    if is_link {
        return Ok(Change::Same);
    }
    tree.edit(PATH, resolv_conf(device, interface).as_bytes(), Access::root(0o644))
}

pub(super) fn resolv_conf(device: &str, interface: &Interface) -> String {
    let mut text = String::from("# Written by guest-agent.\n");
    if let Some(domain) = &interface.domain {
        text.push_str(&format!("search {domain}\n"));
    }
    // The resolver reads no more than three (MAXNS).
    for server in interface.dns.iter().filter(|it| has_way(interface, **it)).take(3) {
        text.push_str(&format!("nameserver {}\n", with_zone(*server, device)));
    }
    text
}

/// Whether anything takes a packet to a resolver: with one on the IPv4 link and no IPv4 router, only
/// an address on that link does.
fn has_way(interface: &Interface, server: IpAddr) -> bool {
    let is_v4_link = matches!(server, IpAddr::V4(it) if it.is_link_local());
    !is_v4_link
        || interface.gateways.iter().any(IpAddr::is_ipv4)
        || interface.addresses.iter().any(|own| own.contains(server))
}

/// A resolver as the C library reads it: one on the link with its device (RFC 4007, section 11).
pub(super) fn with_zone(server: IpAddr, device: &str) -> String {
    if is_link_local6(server) { format!("{server}%{device}") } else { server.to_string() }
}

#[cfg(test)]
mod tests;
