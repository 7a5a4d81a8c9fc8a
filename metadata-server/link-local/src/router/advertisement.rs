//! Which router advertisement a port's guest gets: what its record says, and for how long.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv6Network};
use mezame_model::{
    Guest, GuestPort, Ipv6Mode, Network,
    service_address::{METADATA_LINK, METADATA6},
};

use super::{
    PREFERRED_LIFETIME, ROUTER_LIFETIME, Told, VALID_LIFETIME,
    message::{AUTONOMOUS, Message, ON_LINK, Prefix},
};
use crate::told;

/// An IPv6 packet's header, which stands before the message.
const IPV6_HEADER: usize = 40;

/// The prefix of the services' unique local addresses: on the link of every guest, whatever router
/// it has or has not, since neighbour solicitations for them are answered at its tap.
fn services() -> impl Iterator<Item = Ipv6Network> {
    // 64 is a prefix's length.
    Ipv6Network::new(METADATA6, 64).into_iter()
}

/// A message for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// The address that it must come from: it is what the guest takes for its router.
    pub source: Ipv6Addr,
    /// The ICMPv6 message from its type on; its checksum is zero, for the kernel to fill in.
    pub bytes: Vec<u8>,
    /// What it tells, to be taken back by [`follow`](super::follow) once it holds no more.
    pub told: Told,
}

/// What the port's guest is told. None where the network has no IPv6 subnet, or its mode is off.
///
/// It fits into one packet of the network's MTU: of prefixes, resolvers, search domains and
/// routes, in this order, those are left out for which there is no room.
pub fn advertise(guest: &Guest, port: &GuestPort) -> Option<Advertisement> {
    let network = &port.network;
    let flags = match network.dhcp.ipv6 {
        Ipv6Mode::Managed => 0xc0,
        Ipv6Mode::Other => 0x40,
        Ipv6Mode::Stateless => 0,
        Ipv6Mode::Off => return None,
    };
    let subnets = || {
        network.subnets.iter().filter_map(|subnet| match subnet.cidr {
            IpNetwork::V6(range) => Some((range, &subnet.routes)),
            IpNetwork::V4(_) => None,
        })
    };
    subnets().next()?;
    let router = router_of(port);
    let is_primary = port.port.id == guest.primary().port.id;
    let lifetime = ROUTER_LIFETIME.as_secs() as u16;
    let mut told = Told {
        source: router.unwrap_or(METADATA_LINK),
        flags,
        is_router: is_primary && router.is_some(),
        prefixes: Vec::new(),
        resolvers: told::resolvers_v6(network),
        search: network.domain.as_deref().and_then(told::labels),
        routes: Vec::new(),
        most: usize::from(network.mtu).max(1280) - IPV6_HEADER,
    };

    let mut message = Message::new(flags, if told.is_router { lifetime } else { 0 }, told.most);
    let lifetime = u32::from(lifetime);
    message.mtu(network.mtu);
    let services = services().map(|range| Prefix { range, flags: ON_LINK });
    let of_mode = if network.dhcp.ipv6.is_autonomous() { ON_LINK | AUTONOMOUS } else { ON_LINK };
    let own = subnets().map(|(range, _)| Prefix { range, flags: of_mode });
    for prefix in services.chain(own) {
        if message.prefix(prefix, VALID_LIFETIME, PREFERRED_LIFETIME) {
            told.prefixes.push(prefix);
        }
    }
    if !message.resolvers(&told.resolvers, lifetime) {
        told.resolvers.clear();
    }
    told.search = told.search.filter(|domain| message.search(domain, lifetime));
    let routes = subnets().flat_map(|(_, routes)| routes);
    for route in routes.filter(|route| router.is_some_and(|it| route.via == IpAddr::V6(it))) {
        if let IpNetwork::V6(destination) = route.destination
            && message.route(destination, lifetime)
        {
            told.routes.push(destination);
        }
    }
    Some(Advertisement { source: told.source, bytes: message.bytes, told })
}

/// The router that can be announced: a link-local one. Where guests make their addresses
/// themselves the port's record has none of any subnet, so it is the network's.
fn router_of(port: &GuestPort) -> Option<Ipv6Addr> {
    let link_local = |gateway| match gateway {
        IpAddr::V6(gateway) if gateway.is_unicast_link_local() => Some(gateway),
        _ => None,
    };
    let of_network = |network: &Network| {
        let mut gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
        gateways.find_map(link_local).filter(|_| network.dhcp.ipv6.is_autonomous())
    };
    port.gateways().find_map(link_local).or_else(|| of_network(&port.network))
}

#[cfg(test)]
mod tests;
