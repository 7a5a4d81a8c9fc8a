//! The document's addresses and routes on a device, now.
//!
//! Only what the agent added itself is taken away again: what it added to each device in this boot
//! is kept in /run, which is empty after the next one. Addresses by DHCP or by hand stay.

mod device;
pub(super) mod guard;
pub(super) mod links;
pub(super) mod resolver;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use mezame_model::document::Interface;

use super::{
    netlink::{Netlink, Route},
    tree::{Access, Tree},
};
use crate::platform::{Change, Result};

/// What was added in this boot, a file for each device and kind.
const ADDED: &str = "/run/mezame-agent";
/// The kinds.
const KINDS: [&str; 3] = ["addresses", "gateways", "routes"];

/// Their files for a device.
fn added_to(device: &str) -> impl Iterator<Item = String> {
    KINDS.iter().map(move |kind| format!("{ADDED}/{device}.{kind}"))
}

/// Brings a card or a bond to the document's state, and then each VLAN on it.
pub(super) fn configure(tree: &Tree, device: &str, interface: &Interface) -> Result<Change> {
    let mut netlink = Netlink::open()?;
    let made = match &interface.bond {
        Some(_) => links::make_bond(&mut netlink, tree, device, interface),
        None => links::release(&mut netlink, tree, &[device.to_owned()], None),
    };
    // One card that a bond does not get keeps no address from the others.
    if made.is_err() && !links::leads_out(&mut netlink, tree, interface)? {
        return made;
    }
    let configured = configure_all(&mut netlink, tree, device, interface);
    Ok(made?.and(configured?))
}

/// The device, and then each VLAN on it.
fn configure_all(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    interface: &Interface,
) -> Result<Change> {
    let mut change = configure_device(netlink, tree, device, interface)?;
    change = change.and(links::make_vlans(netlink, tree, device, interface)?);
    for (name, vlan) in links::vlans_of(device, interface) {
        change = change.and(configure_device(netlink, tree, &name, &vlan)?);
    }
    Ok(change)
}

fn configure_device(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    interface: &Interface,
) -> Result<Change> {
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
    change = change.and(default_routes(netlink, tree, device, link.index, interface)?);
    Ok(change.and(further_routes(netlink, tree, device, link.index, interface)?))
}

/// The routes of an interface besides the default ones: the document's, and on-link ones to the
/// platform's services that no router leads to. Without a router: on the link.
pub(super) fn routes_of(interface: &Interface) -> Vec<(IpNetwork, Option<IpAddr>)> {
    let mut routes: Vec<_> =
        interface.routes.iter().map(|route| (route.destination, Some(route.via))).collect();
    let on_link = interface.dns.iter().filter(|it| resolver::needs_route(interface, **it));
    routes.extend(on_link.map(|it| (IpNetwork::from(*it), None)));
    routes
}

/// A line of the file of routes: a destination, and its router where there is one.
fn route_line((destination, via): &(IpNetwork, Option<IpAddr>)) -> String {
    match via {
        Some(via) => format!("{destination} {via}\n"),
        None => format!("{destination}\n"),
    }
}

fn read_route_line(line: &str) -> Option<(IpNetwork, Option<IpAddr>)> {
    let mut words = line.split(' ');
    let destination = words.next()?.parse().ok()?;
    Some((destination, words.next().map(str::parse).transpose().ok()?))
}

fn further_routes(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    index: u32,
    interface: &Interface,
) -> Result<Change> {
    let wanted = routes_of(interface);
    let known = netlink.routes(index)?;
    let mut change = Change::Same;
    let file = format!("{ADDED}/{device}.routes");
    let before = tree.text(&file)?;
    let list: String = wanted.iter().map(route_line).collect();
    tree.write(&file, format!("{list}{before}").as_bytes(), Access::root(0o600))?;
    let route = |(destination, gateway)| Route {
        destination,
        gateway,
        device: index,
        metric: None,
        source: None,
    };
    for old in before.lines().filter_map(read_route_line) {
        if !wanted.contains(&old) && known.contains(&old) {
            netlink.remove_route(&route(old))?;
            change = Change::Changed;
        }
    }
    for new in &wanted {
        if known.contains(new) {
            continue;
        }
        if let (_, Some(via)) = new
            && !is_on_link(interface, *via)
        {
            netlink.add_route(&route((IpNetwork::from(*via), None)))?;
        }
        netlink.add_route(&route(*new))?;
        change = Change::Changed;
    }
    tree.write(&file, list.as_bytes(), Access::root(0o600))?;
    Ok(change)
}

fn default_routes(
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

/// A resolver as the C library reads it: one on the link with its device (RFC 4007, section 11).
pub(super) fn with_zone(server: IpAddr, device: &str) -> String {
    if is_link_local6(server) { format!("{server}%{device}") } else { server.to_string() }
}

#[cfg(test)]
mod tests;
