//! A way to the IPv4 link-local endpoint through a device, with an address claimed where there is
//! none (RFC 3927; the probes are RFC 5227's).
//!
//! ```text
//!   device up ─► has an IPv4 address? ──yes──────────────────► route to the endpoint, on-link
//!                       │ no                                          ▲
//!                       ▼                                             │
//!        candidate by MAC ─► 3 ARP probes ─► somebody answers? ─no─► claim it
//!                       ▲                          │ yes
//!                       └────── next candidate ────┘
//! ```
//! The waiting times are RFC 3927's only on request. The address stays for seconds, as a /32 with
//! a route to the one service address, so a clash with a neighbour that was too slow to answer
//! could hurt nothing but that exchange; and a boot must not begin by waiting five seconds.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use ipnetwork::{IpNetwork, Ipv4Network};
use mezame_model::MacAddress;
use sha2::{Digest, Sha256};

use super::{
    arp::ArpSocket,
    netlink::{Netlink, Route},
};
use crate::{
    facts::Link,
    platform::{EndpointPath, PlatformError, Result},
    settings::ProbePace,
};

/// RFC 3927, section 9: MAX_CONFLICTS.
const MAX_CONFLICTS: u32 = 10;
const PROBES: u32 = 3;
/// How long a device may take until it has a carrier.
const CARRIER: Duration = Duration::from_secs(5);

pub(super) fn open_path(device: &str, endpoint: Ipv4Addr, pace: ProbePace) -> Result<EndpointPath> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link(device)?;
    if !link.up {
        netlink.set_link(link.index, true, None)?;
    }
    await_carrier(device);
    let mut path = EndpointPath {
        device: device.to_owned(),
        index: link.index,
        claimed: None,
        endpoint: endpoint.into(),
        routed: false,
        first_packet: None,
    };
    // Somebody else may have configured the device while its carrier was awaited.
    let link = netlink.link(device)?;
    if let Some(address) = left_behind(&link) {
        path.claimed = Some(address);
    } else if !link.addresses.iter().any(IpNetwork::is_ipv4) {
        path.first_packet = Some(Instant::now());
        let address = claim(&link, endpoint, pace)?;
        netlink.add_address(link.index, host(address), true)?;
        path.claimed = Some(address);
    }
    if let Some(kind) = netlink.refusing_route(endpoint.into())? {
        close_path(&path, endpoint, false)?;
        return Err(PlatformError::RouteRefused { endpoint: endpoint.into(), kind });
    }
    // A route that somebody else made stays as it is, now and at the end; one that prefers the
    // claimed address is ours, perhaps of a killed run.
    let is_there = netlink.routes(link.index)?.contains(&(host(endpoint), None));
    if path.claimed.is_some() || !is_there {
        netlink.add_route(&route(&path, endpoint))?;
        path.routed = true;
    }
    Ok(path)
}

pub(super) fn close_path(path: &EndpointPath, endpoint: Ipv4Addr, keep_route: bool) -> Result<()> {
    let mut netlink = Netlink::open()?;
    if let Some(address) = path.claimed {
        netlink.remove_address(path.index, host(address))?;
    }
    if keep_route {
        // Removing the address has removed the routes that prefer it.
        let source = netlink
            .links()?
            .iter()
            .find(|link| link.index == path.index)
            .is_some_and(|link| link.addresses.iter().any(IpNetwork::is_ipv4));
        if source {
            netlink.add_route(&Route { source: None, ..route(path, endpoint) })?;
        }
    } else if path.routed {
        netlink.remove_route(&Route { source: None, ..route(path, endpoint) })?;
    }
    Ok(())
}

/// The address that an agent claimed which was killed before it could take it back, perhaps after
/// it had given the device others.
fn left_behind(link: &Link) -> Option<Ipv4Addr> {
    candidates(link.mac)
        .take(MAX_CONFLICTS as usize)
        .find(|candidate| link.addresses.contains(&host(*candidate)))
}

/// With a low metric no better route can be meant: the service is on this link or nowhere.
fn route(path: &EndpointPath, endpoint: Ipv4Addr) -> Route {
    Route {
        destination: host(endpoint),
        gateway: None,
        device: path.index,
        metric: None,
        source: path.claimed,
    }
}

fn host(address: Ipv4Addr) -> IpNetwork {
    IpNetwork::V4(Ipv4Network::from(address))
}

/// Awaits the carrier; without one the probes would be lost.
fn await_carrier(device: &str) {
    let until = Instant::now() + CARRIER;
    while !has_carrier(device) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A device that does not know its carrier counts as having one.
pub(super) fn has_carrier(device: &str) -> bool {
    let path = format!("/sys/class/net/{device}/carrier");
    !std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")
}

/// The addresses that a device tries, in this order: the same at each boot, others for another
/// MAC (RFC 3927, section 2.1). The first and last 256 are reserved, and so are the service's.
pub(super) fn candidates(mac: MacAddress) -> impl Iterator<Item = Ipv4Addr> {
    (0_u32..)
        .map(move |round| {
            let mut hash = Sha256::new();
            hash.update(mac.0);
            hash.update(round.to_be_bytes());
            let digest = hash.finalize();
            let [high, low] = [digest[0], digest[1]];
            Ipv4Addr::new(169, 254, 1 + high % 254, low)
        })
        .filter(|address| address.octets()[2] != 169)
}

fn claim(link: &Link, endpoint: Ipv4Addr, pace: ProbePace) -> Result<Ipv4Addr> {
    let what = "claiming a link-local address";
    let network = |source| PlatformError::Network { what, source };
    let socket = ArpSocket::open(link).map_err(network)?;
    let (first, spacing, last) = match pace {
        ProbePace::Fast => (0, 20, 30),
        // PROBE_WAIT up to 1 s, PROBE_MIN to PROBE_MAX 1 to 2 s, ANNOUNCE_WAIT 2 s: the jitter is
        // the MAC's, since two devices that start at once differ in nothing else.
        ProbePace::Rfc3927 => {
            let jitter = u64::from(link.mac.0[5]) * 1000 / 256;
            (jitter, 1000 + jitter, 2000)
        }
    };
    for address in candidates(link.mac).take(MAX_CONFLICTS as usize) {
        if address == endpoint {
            continue;
        }
        let mut taken = socket.listen(address, Duration::from_millis(first));
        for probe in 0..PROBES {
            if taken {
                break;
            }
            socket.send(Ipv4Addr::UNSPECIFIED, address).map_err(network)?;
            let wait = if probe + 1 == PROBES { last } else { spacing };
            taken = socket.listen(address, Duration::from_millis(wait));
        }
        if !taken {
            socket.send(address, address).map_err(network)?;
            return Ok(address);
        }
    }
    Err(PlatformError::NoFreeAddress { device: link.name.clone() })
}
