//! `network_data.json`: each port as a link, each of its addresses as a network on that link. A
//! bond and a network behind a tag are links of their own, by the schema's forms for them.
//!
//! Everything is static, since the record knows the addresses; a port without any is to ask by
//! DHCP. Only the first port has default routes. The names of the links are nova's own for a port
//! of which it knows no device (`interface0`): the tap is the hypervisor's business, and
//! cloudbase-init gives the name to the guest's adapter. cloud-init goes by the MAC address.
//!
//! Follows `doc/api_schemas/network_data.json` in nova, which allows members besides its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mezame_model::{
    BondMode, GuestPort, MacAddress, VlanId,
    bond::MIIMON_MS,
    guest::{GuestInterface, GuestVlan},
};
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

/// A device, or what is to be one.
#[derive(Serialize)]
#[serde(untagged)]
enum Link<'a> {
    /// A port.
    Card {
        id: String,
        vif_id: &'a str,
        /// Physical, as far as a guest can see.
        #[serde(rename = "type")]
        kind: &'static str,
        mtu: u16,
        ethernet_mac_address: MacAddress,
    },
    /// Ports that are one device. What nova's schema has no member for, Linux's own names say:
    /// cloud-init hands on each that begins with `bond_`.
    Bond {
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        mtu: u16,
        ethernet_mac_address: MacAddress,
        bond_mode: BondMode,
        bond_links: Vec<String>,
        bond_miimon: u32,
        bond_fail_over_mac: &'static str,
    },
    /// A network behind a tag.
    Vlan {
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        mtu: u16,
        vlan_link: String,
        vlan_id: VlanId,
        vlan_mac_address: MacAddress,
    },
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
    let interfaces = scope.guest.interfaces();
    for wanted in &interfaces {
        data.add(wanted, &scope.guest.ports);
    }
    // Serializing plain values fails only where a map's key is no text; there is none.
    Body::of(JSON, serde_json::to_vec(&data).unwrap_or_default().into())
}

impl<'a> NetworkData<'a> {
    /// Adds a port, or the ports of a bond, and the networks behind tags.
    fn add(&mut self, wanted: &'a GuestInterface, ports: &'a [GuestPort]) {
        let entry = &wanted.entry;
        let names: Vec<String> =
            wanted.cards.iter().map(|(place, _)| format!("interface{place}")).collect();
        let link = match &wanted.bond {
            Some(bond) => bond.to_string(),
            None => names.concat(),
        };
        let primary = wanted.is_primary();
        self.add_networks(entry, &link, entry.resolvers(primary), primary);
        for (name, (place, mac)) in names.iter().zip(&wanted.cards) {
            self.links.push(Link::Card {
                id: name.clone(),
                vif_id: ports[*place].port.id.as_str(),
                kind: "phy",
                mtu: entry.network.mtu,
                ethernet_mac_address: *mac,
            });
        }
        if wanted.bond.is_some() {
            self.links.push(Link::Bond {
                id: link.clone(),
                kind: "bond",
                mtu: entry.network.mtu,
                ethernet_mac_address: entry.port.mac,
                bond_mode: BondMode::ActiveBackup,
                bond_links: names,
                bond_miimon: MIIMON_MS,
                bond_fail_over_mac: "active",
            });
        }
        for vlan @ GuestVlan { id, entry: inner } in &entry.vlans {
            let name = format!("{link}.{id}");
            self.add_networks(inner, &name, vlan.resolvers(), false);
            self.links.push(Link::Vlan {
                id: name,
                kind: "vlan",
                mtu: inner.network.mtu.min(entry.network.mtu),
                vlan_link: link.clone(),
                vlan_id: *id,
                vlan_mac_address: entry.port.mac,
            });
        }
    }

    /// Adds what is configured on a device.
    fn add_networks(
        &mut self,
        entry: &'a GuestPort,
        link: &str,
        resolvers: Vec<IpAddr>,
        primary: bool,
    ) {
        let network_id = entry.network.id.as_str();
        let subnets = subnets(entry, primary);
        if subnets.is_empty() {
            self.networks.push(Network {
                id: format!("network{}", self.networks.len()),
                link: link.to_owned(),
                network_id,
                kind: "ipv4_dhcp",
                fixed: None,
            });
        }
        // Resolvers belong to the port, but are written with one of its addresses: each with the
        // first one of its own family. No search domain: nova has none, and where cloud-init finds
        // one at an address, netplan is told no resolver there.
        let mut untold = resolvers.clone();
        for Own { address, gateway, routes } in subnets {
            let own = untold.extract_if(.., |it| it.is_ipv4() == address.is_ipv4());
            self.networks.push(Network {
                id: format!("network{}", self.networks.len()),
                link: link.to_owned(),
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
