//! Making router advertisements: RFC 4861, section 4.2, and the options in it.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv6Network};
use mezame_model::{
    Guest, GuestPort, Ipv6Mode, Network,
    service_address::{METADATA_LINK, METADATA6},
};

use super::ROUTER_LIFETIME;
use crate::told;

/// ICMPv6 type of a router advertisement.
const ADVERTISEMENT: u8 = 134;

/// What guests are to put into the hop limit of their packets: the usual figure.
const HOP_LIMIT: u8 = 64;

/// A lifetime without an end.
const FOR_EVER: u32 = u32::MAX;

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
    /// Whether it names a router, and so must be told again every
    /// [`REPEAT_EVERY`](super::REPEAT_EVERY).
    pub announces_router: bool,
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
    let router_lifetime = if is_primary && router.is_some() { lifetime } else { 0 };

    let [high, low] = router_lifetime.to_be_bytes();
    let mut message = Message {
        bytes: vec![ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, flags, high, low, 0, 0, 0, 0, 0, 0, 0, 0],
        most: usize::from(network.mtu).max(1280) - IPV6_HEADER,
    };
    message.option(5, &[&[0, 0], &u32::from(network.mtu).to_be_bytes()]);
    for range in services() {
        message.prefix(range, Ipv6Mode::Managed);
    }
    for (range, _) in subnets() {
        message.prefix(range, network.dhcp.ipv6);
    }
    message.resolvers(&told::resolvers_v6(network));
    if let Some(domain) = network.domain.as_deref().and_then(told::labels) {
        message.option(31, &[&[0, 0], &FOR_EVER.to_be_bytes(), &domain]);
    }
    let routes = subnets().flat_map(|(_, routes)| routes);
    for route in routes.filter(|route| router.is_some_and(|it| route.via == IpAddr::V6(it))) {
        if let IpNetwork::V6(destination) = route.destination {
            message.route(destination, u32::from(lifetime));
        }
    }
    let announces_router = router.is_some();
    let source = router.unwrap_or(METADATA_LINK);
    Some(Advertisement { source, bytes: message.bytes, announces_router })
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

struct Message {
    bytes: Vec<u8>,
    most: usize,
}

impl Message {
    /// Adds an option, filled up with zeroes to a multiple of eight bytes, if there is room.
    fn option(&mut self, kind: u8, parts: &[&[u8]]) {
        let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        let eights = length.div_ceil(8);
        let (Ok(units), true) = (u8::try_from(eights), self.bytes.len() + eights * 8 <= self.most)
        else {
            return;
        };
        self.bytes.extend([kind, units]);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.resize(self.bytes.len() + eights * 8 - length, 0);
    }

    /// Prefix information (RFC 4861, section 4.6.2): on the link, and in autonomous modes one that
    /// guests make addresses of.
    fn prefix(&mut self, range: Ipv6Network, mode: Ipv6Mode) {
        let flags = if mode.is_autonomous() { 0x80 | 0x40 } else { 0x80 };
        let lifetime = FOR_EVER.to_be_bytes();
        let prefix = range.network().octets();
        self.option(3, &[&[range.prefix(), flags], &lifetime, &lifetime, &[0; 4], &prefix]);
    }

    /// Recursive DNS servers (RFC 8106, section 5.1).
    fn resolvers(&mut self, resolvers: &[Ipv6Addr]) {
        if resolvers.is_empty() {
            return;
        }
        let addresses: Vec<u8> = resolvers.iter().flat_map(|it| it.octets()).collect();
        self.option(25, &[&[0, 0], &FOR_EVER.to_be_bytes(), &addresses]);
    }

    /// Route information (RFC 4191, section 2.3), of medium preference: as much of the prefix as
    /// its length needs.
    fn route(&mut self, destination: Ipv6Network, lifetime: u32) {
        let prefix = destination.network().octets();
        let needed = usize::from(destination.prefix()).div_ceil(64) * 8;
        self.option(24, &[&[destination.prefix(), 0], &lifetime.to_be_bytes(), &prefix[..needed]]);
    }
}

#[cfg(test)]
mod tests;
