//! What one guest may know: its instance, its ports, and the networks those are in.
//!
//! The views read this and nothing else, so no view can reach another tenant's record.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use crate::{
    Instance, MacAddress, Network, Port, service_address,
    snapshot::{Site, Snapshot},
};

/// A port with its network.
#[derive(Debug, Clone)]
pub struct GuestPort {
    /// The port.
    pub port: Arc<Port>,
    /// The network that it is in.
    pub network: Arc<Network>,
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
                let port = Arc::clone(&snapshot.ports[at]);
                let at =
                    snapshot.networks.binary_search_by(|net| net.id.cmp(&port.network)).ok()?;
                Some(GuestPort { port, network: Arc::clone(&snapshot.networks[at]) })
            })
            .collect();
        let ports = ports.filter(|ports| !ports.is_empty())?;
        Some(Self { site: Arc::clone(&snapshot.site), instance: Arc::clone(instance), ports })
    }

    /// The first port.
    pub fn primary(&self) -> &GuestPort {
        &self.ports[0]
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
