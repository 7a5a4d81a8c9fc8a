//! Routes whole, as the kernel tells them; and what its tables say against a way.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::{Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType},
};

use super::{Netlink, family, is_fine, read_route, wrapped};
use crate::platform::{PlatformError, Result};

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
        let what = "listing routes";
        let of = family(destination);
        let mut message = RouteMessage::default();
        message.header.address_family = of;
        let answers = self
            .request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, what)
            .map_err(|source| PlatformError::Network { what, source })?;
        Ok(answers.into_iter().find_map(|answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
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
        let what = "listing routes";
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self
                .request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, what)
                .map_err(|source| PlatformError::Network { what, source })?;
            for answer in answers {
                let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
                let header = &route.header;
                let is_own = matches!(header.protocol, RouteProtocol::Kernel | RouteProtocol::Ra);
                if header.table == RouteHeader::RT_TABLE_MAIN
                    && !is_own
                    && route.attributes.contains(&RouteAttribute::Oif(index))
                {
                    found.push(RawRoute(route));
                }
            }
        }
        Ok(found)
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
