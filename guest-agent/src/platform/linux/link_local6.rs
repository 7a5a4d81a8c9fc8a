//! A way to the service's IPv6 addresses through a device.
//!
//! ```text
//!   IPv6 there? ─no─► error                                  ┌─ link-local endpoint ───► no route
//!       │ yes                                                │
//!       ▼                                                    │
//!   device up ─► the kernel makes fe80::…, and probes it ─► usable ─ others ─► route, on-link
//!                      │ turned off, taken, or seconds without
//!                      └─► error
//! ```
//! Nothing is claimed: a link-local address belongs to each device (RFC 4291, section 2.8), and
//! the kernel makes it and sees to it that it is nobody else's (RFC 4862, section 5). That takes
//! up to two seconds after the carrier came: a random delay of at most one, and one of probing.
//! Never turns IPv6 on where somebody has turned it off.

use std::{
    net::Ipv6Addr,
    time::{Duration, Instant},
};

use ipnetwork::{IpNetwork, Ipv6Network};

use super::{
    link_local::has_carrier,
    netlink::{Address6, Netlink, Route},
};
use crate::platform::{EndpointPath, PlatformError, Result};

/// How long an address may take until it is usable.
const PATIENCE: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(20);

pub(super) fn open_path(device: &str, endpoint: Ipv6Addr) -> Result<EndpointPath> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link(device)?;
    let none = |why| PlatformError::NoIpv6 { device: device.to_owned(), why };
    if let Some(why) = turned_off(&|name| sysctl(device, name)) {
        return Err(none(why));
    }
    if !link.up {
        netlink.set_link(link.index, true, None)?;
    } else if !has_carrier(device) {
        let source = std::io::Error::new(std::io::ErrorKind::NotConnected, "no carrier");
        return Err(PlatformError::Network { what: "a way by IPv6", source });
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let addresses = netlink.addresses6(link.index)?;
        match state(&addresses, endpoint, sysctl(device, "addr_gen_mode").as_deref()) {
            Source::Usable => break,
            Source::Never(why) => return Err(none(why)),
            Source::Awaited if Instant::now() >= until => {
                return Err(none("no usable address came within 4 s; look at `ip -6 address`"));
            }
            Source::Awaited => std::thread::sleep(POLL),
        }
    }
    if let Some(kind) = netlink.refusing_route(endpoint.into())? {
        return Err(PlatformError::RouteRefused { endpoint: endpoint.into(), kind });
    }
    let route = route(link.index, endpoint);
    let needs_route = !endpoint.is_unicast_link_local();
    let routed = needs_route && !netlink.routes(link.index)?.contains(&(route.destination, None));
    if routed {
        netlink.add_route_beside(&route)?;
    }
    Ok(EndpointPath {
        device: device.to_owned(),
        index: link.index,
        claimed: None,
        endpoint: endpoint.into(),
        routed,
        first_packet: None,
    })
}

pub(super) fn close_path(path: &EndpointPath, endpoint: Ipv6Addr, keep_route: bool) -> Result<()> {
    if !path.routed {
        return Ok(());
    }
    let mut netlink = Netlink::open()?;
    let route = route(path.index, endpoint);
    if keep_route { netlink.add_route_beside(&route) } else { netlink.remove_route(&route) }
}

fn route(device: u32, endpoint: Ipv6Addr) -> Route {
    let destination = IpNetwork::V6(Ipv6Network::from(endpoint));
    Route { destination, gateway: None, device, metric: None, source: None }
}

/// A value below /proc/sys/net/ipv6/conf (ip-sysctl.rst); none where the kernel has no such file.
fn sysctl(device: &str, name: &str) -> Option<String> {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/{name}");
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Why a device takes no IPv6 at all.
pub(super) fn turned_off(sysctl: &dyn Fn(&str) -> Option<String>) -> Option<&'static str> {
    match sysctl("disable_ipv6").as_deref() {
        // IPv6 wants 1280 bytes (RFC 8200, section 5): a device with less is left out.
        None => Some("the kernel has none, or the device's MTU is below 1280"),
        Some("0") => None,
        Some(_) => Some("it is turned off there (the sysctl disable_ipv6)"),
    }
}

/// Whether a packet to the service could leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// There is an address to send from.
    Usable,
    /// The kernel is about to make one, or is probing for it.
    Awaited,
    /// By itself the kernel won't have one.
    Never(&'static str),
}

/// Judges a device's addresses. A link-local endpoint is asked from a link-local address, so that
/// the data path need not know any other; another endpoint from whichever there is.
pub(super) fn state(
    addresses: &[Address6],
    endpoint: Ipv6Addr,
    addr_gen_mode: Option<&str>,
) -> Source {
    let fits =
        |it: &&Address6| it.address.is_unicast_link_local() || !endpoint.is_unicast_link_local();
    let mut candidates = addresses.iter().filter(fits).peekable();
    if candidates.peek().is_none() && addr_gen_mode == Some("1") {
        return Source::Never("it makes no link-local address there (addr_gen_mode is none)");
    }
    let (mut any, mut pending) = (false, false);
    for candidate in candidates {
        if !candidate.taken && !candidate.tentative {
            return Source::Usable;
        }
        any = true;
        pending |= !candidate.taken;
    }
    if any && !pending {
        return Source::Never("another host on the link has this device's address");
    }
    Source::Awaited
}

#[cfg(test)]
pub(in crate::platform::linux) mod tests;
