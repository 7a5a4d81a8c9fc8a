//! Reading a network's `subnets`: ranges, gateways and routes.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use mezame_model::{Route, Subnet};

use super::{
    form::{Node, Object, Path},
    network::{ADDRESS_MEND, read_range},
    service_address::{reserved_in, service_address_in, unusable},
};

/// The fields of each.
pub(crate) const FIELDS: &[&str] = &["cidr", "gateway", "routes"];

/// The fields of each of its routes.
pub(crate) const ROUTE_FIELDS: &[&str] = &["destination", "via"];

/// Most routes of a subnet. Each takes up to nine bytes of a DHCPv4 answer, of which a client need
/// take no more than 312 of options.
const MOST_ROUTES: usize = 32;

/// Reads a network's subnets, noting every fault.
pub(super) fn read_all(node: &Node<'_>, mtu: Option<u64>) -> Option<Vec<Subnet>> {
    let subnets = node.list(64, read)?;
    if subnets.is_empty() {
        return node
            .fault("a network needs at least one subnet", "add one, such as {cidr: 10.0.0.0/24}");
    }
    let mut good = true;
    for (at, subnet) in subnets.iter().enumerate() {
        let overlaps = |other: &Subnet| {
            other.cidr.contains(subnet.cidr.network()) || subnet.cidr.contains(other.cidr.network())
        };
        if let Some(first) = subnets[..at].iter().position(overlaps) {
            let path = Path::Item(node.path, at);
            Node { path: &path, ..*node }.fault::<()>(
                format!("{} overlaps subnets[{first}], {}", subnet.cidr, subnets[first].cidr),
                "give each address to one subnet only",
            );
            good = false;
        }
    }
    if mtu.is_some_and(|mtu| mtu < 1280) && subnets.iter().any(|s| s.cidr.is_ipv6()) {
        node.fault::<()>(
            "IPv6 needs an MTU of at least 1280 (RFC 8200, section 5)",
            "raise the network's mtu, or leave out its IPv6 subnets",
        );
        good = false;
    }
    good.then_some(subnets)
}

fn read(node: &Node<'_>) -> Option<Subnet> {
    let object = Object::open(node, FIELDS)?;
    let cidr = object.required("cidr", "give the range, such as 10.0.0.0/24", read_range);
    let cidr = cidr.and_then(|cidr| {
        let Some(service) = service_address_in(&cidr) else { return Some(cidr) };
        object.fault_at(
            "cidr",
            &format!("the range contains {service}, which is a link-local service's"),
            "choose a range without it",
        );
        None
    });
    let gateway = object.field("gateway", |n| read_gateway(n, cidr)).optional();
    let routes = object.field("routes", |n| read_routes(n, cidr)).or(Vec::new);
    Some(Subnet { cidr: cidr?, gateway: gateway?, routes: routes? })
}

fn read_gateway(node: &Node<'_>, cidr: Option<IpNetwork>) -> Option<IpAddr> {
    let gateway: IpAddr = node.parsed(ADDRESS_MEND)?;
    let Some(cidr) = cidr else { return Some(gateway) };
    router_in(node, cidr, gateway, "gateway")
}

fn read_routes(node: &Node<'_>, cidr: Option<IpNetwork>) -> Option<Vec<Route>> {
    let routes = node.list(MOST_ROUTES, |n| read_route(n, cidr))?;
    let mut good = true;
    for (at, route) in routes.iter().enumerate() {
        let same = |other: &Route| other.destination == route.destination;
        if let Some(first) = routes[..at].iter().position(same) {
            let path = Path::Item(node.path, at);
            Node { path: &path, ..*node }.fault::<()>(
                format!("routes[{first}] leads to {} too", route.destination),
                "name each destination once",
            );
            good = false;
        }
    }
    good.then_some(routes)
}

fn read_route(node: &Node<'_>, cidr: Option<IpNetwork>) -> Option<Route> {
    let object = Object::open(node, ROUTE_FIELDS)?;
    let mend = "give the range that it leads to, such as 10.20.0.0/16";
    let destination = object.required("destination", mend, |n| {
        let range = read_range(n)?;
        let Some(cidr) = cidr else { return Some(range) };
        if range.is_ipv4() != cidr.is_ipv4() {
            return n.fault(
                format!("{range} is of another family than the subnet {cidr}"),
                format!("write the route in a subnet of {}", family(range.is_ipv4())),
            );
        }
        if range.prefix() == 0 {
            return n.fault(
                "the route to everywhere is the subnet's 'gateway'",
                "write its router there, or give a longer prefix",
            );
        }
        Some(range)
    });
    let via = object.required("via", "give the router's address", |n| {
        let via: IpAddr = n.parsed(ADDRESS_MEND)?;
        let Some(cidr) = cidr else { return Some(via) };
        router_in(n, cidr, via, "router")
    });
    Some(Route { destination: destination?, via: via? })
}

/// A router's address on a subnet's link: in the subnet, or link-local where that is of IPv6. Only
/// from the latter can routers be announced (RFC 4861, section 4.2).
fn router_in(node: &Node<'_>, cidr: IpNetwork, address: IpAddr, role: &str) -> Option<IpAddr> {
    let on_link = cidr.is_ipv6() && is_link_local(address);
    let mend = match cidr {
        IpNetwork::V4(_) => format!("give an address in {cidr}"),
        IpNetwork::V6(_) => format!("give an address in {cidr}, or a link-local one of fe80::/64"),
    };
    if !on_link && !cidr.contains(address) {
        return node.fault(format!("the {role} {address} is outside the subnet {cidr}"), mend);
    }
    if let Some(why) = unusable(address).or_else(|| reserved_in(&cidr, address)) {
        return node.fault(why, format!("give another address in {cidr}"));
    }
    // The identifier of all zeroes is every router's (RFC 4291, section 2.6.1).
    if on_link && address == IpAddr::V6(LINK_LOCAL) {
        return node.fault("this is every router's anycast address", mend);
    }
    Some(address)
}

/// Link-local addresses with the prefix that hosts give them (RFC 4291, section 2.5.6).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[..4] == LINK_LOCAL.segments()[..4])
}

fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}
