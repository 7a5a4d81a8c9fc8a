//! The way to the service through an adapter. Windows gives an adapter a link-local address by
//! itself, of either family: it is awaited by asking again, and none is claimed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use ipnetwork::IpNetwork;

use super::{adapters, network_error, route};
use crate::platform::{EndpointPath, PlatformError, Result};

/// Makes the service reachable through an adapter.
pub(super) fn open(device: &str, endpoint: IpAddr) -> Result<EndpointPath> {
    let adapter = adapters::named(device).map_err(network_error("looking for the device"))?;
    let index = if endpoint.is_ipv4() { adapter.link.index } else { adapter.index6 };
    let has_address = adapter.link.addresses.iter().any(|it| it.is_ipv4() == endpoint.is_ipv4());
    if !has_address {
        let source = io::ErrorKind::AddrNotAvailable.into();
        return Err(PlatformError::Network { what: "waiting for an address", source });
    }
    let on_link = match endpoint {
        IpAddr::V4(endpoint) => adapter.link.addresses.iter().any(|it| covers(it, endpoint)),
        IpAddr::V6(endpoint) => endpoint.is_unicast_link_local(),
    };
    let known =
        on_link || route::is_there(index, endpoint).map_err(network_error("listing the routes"))?;
    let added = network_error("adding a route");
    let routed = !known && route::add(index, endpoint).map_err(added)?;
    let device = device.to_owned();
    Ok(EndpointPath { device, index, claimed: None, endpoint, routed, first_packet: None })
}

/// Takes the route back, unless the agent goes on asking.
pub(super) fn close(path: &EndpointPath, keep_route: bool) -> Result<()> {
    if keep_route || !path.routed {
        return Ok(());
    }
    route::remove(path.index, path.endpoint).map_err(network_error("removing a route"))
}

fn covers(network: &IpNetwork, address: Ipv4Addr) -> bool {
    // A default route is no link, and an address of a /32 alone none either.
    matches!(network, IpNetwork::V4(v4) if v4.prefix() < 32 && v4.contains(address))
}
