//! Routes by rtnetlink(7): those that the agent makes, those of the kernel whole, as it tells them,
//! and what its tables say against a way.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, Parseable,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType,
    },
};

use super::{Netlink, family, is_fine};
use crate::platform::{PlatformError, Result};

/// A route, as far as the agent makes any.
#[derive(Debug, Clone, Copy)]
pub(in crate::platform::linux) struct Route {
    pub(in crate::platform::linux) destination: IpNetwork,
    pub(in crate::platform::linux) gateway: Option<IpAddr>,
    pub(in crate::platform::linux) device: u32,
    /// Higher is less wanted.
    pub(in crate::platform::linux) metric: Option<u32>,
    pub(in crate::platform::linux) source: Option<Ipv4Addr>,
}

/// A route as the kernel tells it, with all of its attributes.
#[derive(Debug, Clone)]
pub(in crate::platform::linux) struct RawRoute(RouteMessage);

impl RawRoute {
    /// To be kept.
    pub(in crate::platform::linux) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.buffer_len()];
        self.0.emit(&mut bytes);
        bytes
    }

    /// Of bytes that were kept.
    pub(in crate::platform::linux) fn parse(bytes: &[u8]) -> Option<Self> {
        RouteMessage::parse(bytes).ok().map(Self)
    }

    /// Whether it leads to the same place in the same way. How long it has been there says nothing.
    pub(in crate::platform::linux) fn is_same(&self, other: &Self) -> bool {
        let key = |route: &RouteMessage| {
            let attributes = route.attributes.iter().filter(|it| tells(it));
            let mut keyed: Vec<String> = attributes.map(|it| format!("{it:?}")).collect();
            keyed.sort();
            let header = &route.header;
            (header.destination_prefix_length, header.kind, header.address_family, keyed)
        };
        key(&self.0) == key(&other.0)
    }

    /// The same through a device that has been made anew, and so has another number.
    pub(in crate::platform::linux) fn through(mut self, device: u32) -> Self {
        for attribute in &mut self.0.attributes {
            if let RouteAttribute::Oif(index) = attribute {
                *index = device;
            }
        }
        self
    }

    pub(in crate::platform::linux) fn has_gateway(&self) -> bool {
        self.0.attributes.iter().any(|it| matches!(it, RouteAttribute::Gateway(_)))
    }

    /// As it is asked for: without what only the kernel can tell.
    fn asked(&self) -> RouteMessage {
        let mut message = self.0.clone();
        message.attributes.retain(tells);
        message.header.flags &= RouteFlags::Onlink;
        message
    }
}

/// Whether an attribute says something of where a route leads.
fn tells(attribute: &RouteAttribute) -> bool {
    matches!(
        attribute,
        RouteAttribute::Destination(_)
            | RouteAttribute::Gateway(_)
            | RouteAttribute::Oif(_)
            | RouteAttribute::Priority(_)
            | RouteAttribute::PrefSource(_)
            | RouteAttribute::Metrics(_)
            | RouteAttribute::Table(_)
    )
}

impl Netlink {
    pub(in crate::platform::linux) fn add_route(&mut self, route: &Route) -> Result<()> {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.change(RouteNetlinkMessage::NewRoute(route_message(route)), flags, "adding a route")
    }

    /// Adds an IPv6 route beside those to the same place through other devices: with NLM_F_REPLACE
    /// the kernel would take one of them away. That it is there already is no failure.
    pub(in crate::platform::linux) fn add_route_beside(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        is_fine(self.change(message, NLM_F_CREATE, "adding a route"), libc::EEXIST)
    }

    /// Takes a route away; that it is not there is no failure.
    pub(in crate::platform::linux) fn remove_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::DelRoute(route_message(route));
        is_fine(self.change(message, 0, "removing a route"), libc::ESRCH)
    }

    /// The main table's routes of both families that leave through a device: destination and
    /// gateway. Without those that a router advertised (RFC 4861): they end when it falls silent.
    pub(in crate::platform::linux) fn routes(
        &mut self,
        index: u32,
    ) -> Result<Vec<(IpNetwork, Option<IpAddr>)>> {
        let routes = self.main_routes(index)?.into_iter();
        Ok(routes.filter_map(|route| read_route(&route, route.header.address_family)).collect())
    }

    /// All of them, as the kernel tells them.
    fn main_routes(&mut self, index: u32) -> Result<Vec<RouteMessage>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            found.extend(self.listed(family)?.into_iter().filter(|route| {
                route.header.table == RouteHeader::RT_TABLE_MAIN
                    && route.header.protocol != RouteProtocol::Ra
                    && route.attributes.contains(&RouteAttribute::Oif(index))
            }));
        }
        Ok(found)
    }

    /// The routes of one family, of all tables.
    fn listed(&mut self, family: AddressFamily) -> Result<Vec<RouteMessage>> {
        let what = "listing routes";
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answers = self
            .request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, what)
            .map_err(|source| PlatformError::Network { what, source })?;
        let routes = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        });
        Ok(routes.collect())
    }

    /// What the routing tables and rules say against a packet to an address through a device: the
    /// kernel is asked as for any packet, so that no rule of any kind is overlooked (ip-rule(8)).
    pub(in crate::platform::linux) fn refusal(
        &mut self,
        index: u32,
        destination: IpAddr,
    ) -> Option<String> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(wrapped(destination)));
        message.attributes.push(RouteAttribute::Oif(index));
        let what = "asking for a route";
        match self.request(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK, what) {
            Ok(_) => None,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL) => Some("a blackhole (EINVAL)".to_owned()),
                Some(libc::EACCES) => Some("prohibited (EACCES)".to_owned()),
                Some(libc::EHOSTUNREACH) => Some("unreachable (EHOSTUNREACH)".to_owned()),
                _ => None,
            },
        }
    }

    /// The kind of a route to this very address that somebody has set in order to forbid it.
    pub(in crate::platform::linux) fn refusing_route(
        &mut self,
        destination: IpAddr,
    ) -> Result<Option<&'static str>> {
        let of = family(destination);
        Ok(self.listed(of)?.into_iter().find_map(|route| {
            let kind = match route.header.kind {
                RouteType::BlackHole => "blackhole",
                RouteType::Unreachable => "unreachable",
                RouteType::Prohibit => "prohibit",
                _ => return None,
            };
            let (to, _) = read_route(&route, of)?;
            let is_main = route.header.table == RouteHeader::RT_TABLE_MAIN;
            (is_main && to == IpNetwork::from(destination)).then_some(kind)
        }))
    }

    /// A device's routes in the main table, whole, but for those that the kernel or a router's
    /// advertisement brings by itself.
    pub(in crate::platform::linux) fn raw_routes(&mut self, index: u32) -> Result<Vec<RawRoute>> {
        let routes = self.main_routes(index)?.into_iter();
        let told = routes.filter(|route| route.header.protocol != RouteProtocol::Kernel);
        Ok(told.map(RawRoute).collect())
    }

    /// Adds a route as it was told; that it is there already is no failure.
    pub(in crate::platform::linux) fn add_raw_route(&mut self, route: &RawRoute) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route.asked());
        is_fine(self.change(message, NLM_F_CREATE, "adding a route"), libc::EEXIST)
    }

    /// Takes such a route away; that it is not there is no failure.
    pub(in crate::platform::linux) fn remove_raw_route(&mut self, route: &RawRoute) -> Result<()> {
        let message = RouteNetlinkMessage::DelRoute(route.asked());
        is_fine(self.change(message, 0, "removing a route"), libc::ESRCH)
    }
}

fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.ip());
    message.header.destination_prefix_length = route.destination.prefix();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope =
        if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if route.destination.prefix() > 0 {
        message.attributes.push(RouteAttribute::Destination(wrapped(route.destination.network())));
    }
    message.attributes.extend(route.gateway.map(|it| RouteAttribute::Gateway(wrapped(it))));
    message.attributes.push(RouteAttribute::Oif(route.device));
    message.attributes.extend(route.metric.map(RouteAttribute::Priority));
    message
        .attributes
        .extend(route.source.map(|it| RouteAttribute::PrefSource(RouteAddress::Inet(it))));
    message
}

fn read_route(route: &RouteMessage, of: AddressFamily) -> Option<(IpNetwork, Option<IpAddr>)> {
    let unwrapped = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let mut destination = match of {
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let mut gateway = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = unwrapped(address)?,
            RouteAttribute::Gateway(address) => gateway = unwrapped(address),
            _ => {}
        }
    }
    IpNetwork::new(destination, route.header.destination_prefix_length)
        .ok()
        .map(|destination| (destination, gateway))
}

fn wrapped(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}
