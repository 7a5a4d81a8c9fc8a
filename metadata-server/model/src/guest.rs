//! What one guest may know: its instance, its ports, and the networks those are in.
//!
//! The views read this and nothing else, so no view can reach another tenant's record.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use crate::{
    BondName, Instance, MacAddress, Network, NetworkId, Port, Vlan, VlanId, service_address,
    snapshot::{Site, Snapshot},
};

/// A port with its network.
#[derive(Debug, Clone)]
pub struct GuestPort {
    /// The port.
    pub port: Arc<Port>,
    /// The network that it is in.
    pub network: Arc<Network>,
    /// Further networks on the same card.
    pub vlans: Box<[GuestVlan]>,
}

/// A network behind a tag on a port's card.
#[derive(Debug, Clone)]
pub struct GuestVlan {
    /// The tag's number.
    pub id: VlanId,
    /// The port as if it were in that network alone.
    pub entry: GuestPort,
}

/// What a guest configures as one device: a port's card, or the cards of a bond.
#[derive(Debug, Clone)]
pub struct GuestInterface {
    /// The port. Of a bond the first one, with the addresses of all.
    pub entry: GuestPort,
    /// The ports' places among the instance's, with their cards; a bond has several.
    pub cards: Vec<(usize, MacAddress)>,
    /// The bond's name, where it is one.
    pub bond: Option<BondName>,
}

impl GuestInterface {
    /// Whether it is the guest's first, which alone has default routers.
    pub fn is_primary(&self) -> bool {
        self.cards.first().is_some_and(|(place, _)| *place == 0)
    }
}

impl GuestVlan {
    /// The resolvers to configure: the network's. None of the platform's services, which answer no
    /// frame with a tag: a guest that had one on this device would lose it on its card.
    pub fn resolvers(&self) -> Vec<IpAddr> {
        let mut resolvers = self.entry.resolvers(false);
        resolvers.retain(|it| !service_address::ALL.contains(it));
        resolvers
    }
}

impl GuestPort {
    /// The port's addresses with the prefix length of the subnet that each lies in; a host's own
    /// (/32, /128) for one that lies in none.
    pub fn addresses(&self) -> impl Iterator<Item = IpNetwork> {
        self.port.addresses.iter().map(|address| {
            self.network
                .subnet_of(*address)
                .and_then(|subnet| IpNetwork::new(*address, subnet.cidr.prefix()).ok())
                .unwrap_or_else(|| IpNetwork::from(*address))
        })
    }

    /// The routers of the port's subnets, at most one of each family: IPv4, then IPv6.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        [true, false].into_iter().filter_map(|v4| {
            let mut own = self.port.addresses.iter().filter(|it| it.is_ipv4() == v4);
            own.find_map(|address| self.network.subnet_of(*address)?.gateway)
        })
    }

    /// The resolvers to configure without DHCP: the network's, or where it names none, the
    /// platform's own by each family that the guest's first port can reach it by. Only that port
    /// has a router, or is given an IPv4 address that makes the platform on-link.
    pub fn resolvers(&self, primary: bool) -> Vec<IpAddr> {
        if !self.network.dns.is_empty() || !primary {
            return self.network.dns.clone();
        }
        let by_v6 = self.gateways().any(|it| it.is_ipv6());
        let by_v4 = !by_v6 || self.port.addresses.iter().any(IpAddr::is_ipv4);
        let v4 = by_v4.then_some(IpAddr::V4(service_address::DNS));
        v4.into_iter().chain(by_v6.then_some(IpAddr::V6(service_address::DNS6))).collect()
    }
}

/// One guest's record, joined.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The installation.
    pub site: Arc<Site>,
    /// The instance.
    pub instance: Arc<Instance>,
    /// In the instance's order; never empty in a joined record.
    pub ports: Box<[GuestPort]>,
}

impl Guest {
    /// Joins an instance with its ports. None where a port or a network is missing: such a record
    /// is not whole and must not be served.
    pub fn join(snapshot: &Snapshot, instance: &Arc<Instance>) -> Option<Self> {
        let ports: Option<Box<[GuestPort]>> = instance
            .ports
            .iter()
            .map(|id| {
                let at = snapshot.ports.binary_search_by(|port| port.id.cmp(id)).ok()?;
                joined(snapshot, &snapshot.ports[at])
            })
            .collect();
        let ports = ports.filter(|ports| !ports.is_empty())?;
        Some(Self { site: Arc::clone(&snapshot.site), instance: Arc::clone(instance), ports })
    }

    /// The first port.
    pub fn primary(&self) -> &GuestPort {
        &self.ports[0]
    }

    /// What the guest configures: the ports in their order, those of a bond as one, where the
    /// first of them stands.
    pub fn interfaces(&self) -> Vec<GuestInterface> {
        let mut interfaces: Vec<GuestInterface> = Vec::with_capacity(self.ports.len());
        for (place, entry) in self.ports.iter().enumerate() {
            let card = (place, entry.port.mac);
            let bond = entry.port.bond.as_ref();
            let known = interfaces.iter_mut().find(|it| bond.is_some() && it.bond.as_ref() == bond);
            match known {
                Some(known) => {
                    known.cards.push(card);
                    let port = Arc::make_mut(&mut known.entry.port);
                    port.addresses.extend(&entry.port.addresses);
                }
                None => interfaces.push(GuestInterface {
                    entry: entry.clone(),
                    cards: vec![card],
                    bond: bond.cloned(),
                }),
            }
        }
        interfaces
    }

    /// The port with this MAC. Two ports of one guest never share a MAC.
    pub fn port_with(&self, mac: MacAddress) -> Option<&GuestPort> {
        self.ports.iter().find(|entry| entry.port.mac == mac)
    }

    /// The zone's name: the region's and a letter.
    pub fn zone(&self) -> String {
        format!("{}{}", self.site.region, self.instance.zone)
    }

    /// The host name up to the first dot.
    pub fn short_hostname(&self) -> &str {
        self.instance.hostname.split('.').next().unwrap_or_default()
    }

    /// The fully qualified name: the host name as given if it has a dot, else with the primary
    /// network's domain where there is one.
    pub fn fqdn(&self) -> String {
        let hostname = &self.instance.hostname;
        match &self.primary().network.domain {
            Some(domain) if !hostname.contains('.') => format!("{hostname}.{domain}"),
            _ => hostname.to_string(),
        }
    }
}

fn network(snapshot: &Snapshot, id: &NetworkId) -> Option<Arc<Network>> {
    let at = snapshot.networks.binary_search_by(|network| network.id.cmp(id)).ok()?;
    Some(Arc::clone(&snapshot.networks[at]))
}

/// A port with its networks.
fn joined(snapshot: &Snapshot, port: &Arc<Port>) -> Option<GuestPort> {
    let vlan = |vlan: &Vlan| {
        let alone = Port {
            network: vlan.network.clone(),
            addresses: vlan.addresses.clone(),
            vlans: Box::default(),
            ..(**port).clone()
        };
        let network = network(snapshot, &vlan.network)?;
        let entry = GuestPort { port: Arc::new(alone), network, vlans: Box::default() };
        Some(GuestVlan { id: vlan.id, entry })
    };
    Some(GuestPort {
        port: Arc::clone(port),
        network: network(snapshot, &port.network)?,
        vlans: port.vlans.iter().map(vlan).collect::<Option<_>>()?,
    })
}
