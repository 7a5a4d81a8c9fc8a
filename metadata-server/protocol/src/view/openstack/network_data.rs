//! `network_data.json`: each port as a link, each of its addresses as a network on that link.
//!
//! Everything is static, since the record knows the addresses; a port without any is to ask by
//! DHCP. Only the first port has default routes. The names of the links are nova's own for a port
//! of which it knows no device (`interface0`): the tap is the hypervisor's business, and
//! cloudbase-init gives the name to the guest's adapter. cloud-init goes by the MAC address.
//!
//! Follows `doc/api_schemas/network_data.json` in nova, which allows members besides its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mezame_model::{GuestPort, MacAddress};
use serde::Serialize;

use crate::{
    network_config::{self, Own},
    response::JSON,
    tree::{Body, Scope},
};

/// The file.
#[derive(Serialize)]
struct NetworkData<'a> {
    links: Vec<Link<'a>>,
    networks: Vec<Network<'a>>,
    /// The resolvers of all networks.
    services: Vec<Service>,
}

/// A port.
#[derive(Serialize)]
struct Link<'a> {
    id: String,
    vif_id: &'a str,
    /// Physical, as far as a guest can see.
    #[serde(rename = "type")]
    kind: &'static str,
    mtu: u16,
    ethernet_mac_address: MacAddress,
}

/// An address of a port.
#[derive(Serialize)]
struct Network<'a> {
    id: String,
    link: String,
    network_id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    fixed: Option<Fixed>,
}

/// What a static address has besides.
#[derive(Serialize)]
struct Fixed {
    ip_address: IpAddr,
    /// Of IPv6 too, as nova has it. For an address in no subnet it is all ones, which the schema's
    /// pattern for IPv4 forgets.
    netmask: IpAddr,
    routes: Vec<Route>,
    services: Vec<Service>,
}

/// A route.
#[derive(Serialize)]
struct Route {
    network: IpAddr,
    netmask: IpAddr,
    gateway: IpAddr,
}

impl Route {
    /// The way to everywhere.
    fn default_by(gateway: IpAddr) -> Self {
        let any: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { network: any, netmask: any, gateway }
    }
}

impl From<&mezame_model::Route> for Route {
    fn from(route: &mezame_model::Route) -> Self {
        let range = route.destination;
        Self { network: range.network(), netmask: range.mask(), gateway: route.via }
    }
}

/// A resolver.
#[derive(Serialize)]
struct Service {
    #[serde(rename = "type")]
    kind: &'static str,
    address: IpAddr,
}

impl Service {
    fn dns(address: IpAddr) -> Self {
        Self { kind: "dns", address }
    }
}

/// The leaf.
pub(super) fn read(scope: &Scope<'_>) -> Body {
    let mut data = NetworkData { links: Vec::new(), networks: Vec::new(), services: Vec::new() };
    for (at, entry) in scope.guest.ports.iter().enumerate() {
        data.add(entry, at);
    }
    // Serializing plain values fails only where a map's key is no text; there is none.
    Body::of(JSON, serde_json::to_vec(&data).unwrap_or_default().into())
}

impl<'a> NetworkData<'a> {
    /// Adds the port with this place.
    fn add(&mut self, entry: &'a GuestPort, at: usize) {
        let link = format!("interface{at}");
        let network_id = entry.network.id.as_str();
        let subnets = subnets(entry, at == 0);
        if subnets.is_empty() {
            self.networks.push(Network {
                id: format!("network{}", self.networks.len()),
                link: link.clone(),
                network_id,
                kind: "ipv4_dhcp",
                fixed: None,
            });
        }
        // Resolvers belong to the port, but are written with one of its addresses: each with the
        // first one of its own family. No search domain: nova has none, and where cloud-init finds
        // one at an address, netplan is told no resolver there.
        let resolvers = entry.resolvers(at == 0);
        let mut untold = resolvers.clone();
        for Own { address, gateway, routes } in subnets {
            let own = untold.extract_if(.., |it| it.is_ipv4() == address.is_ipv4());
            self.networks.push(Network {
                id: format!("network{}", self.networks.len()),
                link: link.clone(),
                network_id,
                kind: if address.is_ipv4() { "ipv4" } else { "ipv6" },
                fixed: Some(Fixed {
                    ip_address: address.ip(),
                    netmask: address.mask(),
                    routes: gateway
                        .map(Route::default_by)
                        .into_iter()
                        .chain(routes.iter().map(Route::from))
                        .collect(),
                    services: own.map(Service::dns).collect(),
                }),
            });
        }
        for address in resolvers {
            if !self.services.iter().any(|known| known.address == address) {
                self.services.push(Service::dns(address));
            }
        }
        self.links.push(Link {
            id: link,
            vif_id: entry.port.id.as_str(),
            kind: "phy",
            mtu: entry.network.mtu,
            ethernet_mac_address: entry.port.mac,
        });
    }
}

/// The port's subnets, with the service on-link. None for a port without any address, where DHCP
/// says how the service is reached.
fn subnets(entry: &GuestPort, primary: bool) -> Vec<Own<'_>> {
    if entry.addresses().next().is_none() {
        return Vec::new();
    }
    network_config::subnets(entry, primary)
}
