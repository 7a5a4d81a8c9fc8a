//! What one guest may know: its instance, its ports, and the networks those are in.
//!
//! The views read this and nothing else, so no view can reach another tenant's record.

use std::sync::Arc;

use crate::{
    Instance, MacAddress, Network, Port,
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
