//! The networks that a port is in: its own, and those behind tags.

use std::net::IpAddr;

use mezame_model::{Network, NetworkName, Port, ProjectName, VlanId};

use super::{Found, Resolver};
use crate::admission::{port::PortForm, service_address::reserved_in};

/// One of them, on the way from form to record.
pub(super) struct Place {
    /// The tag's number; none of the port's own network.
    pub(super) vlan: Option<VlanId>,
    /// Its path in the document; empty for the port's own network.
    path: String,
    pub(super) network: Network,
    /// What the document says.
    pub(super) given: Option<Vec<IpAddr>>,
    /// Kept from the stored record.
    pub(super) kept: Option<Vec<IpAddr>>,
}

impl Place {
    /// The path of one of its fields.
    pub(super) fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The network, unless it is no longer there, with the addresses that a stored port has in it.
    fn kept_of(&self, before: &Port) -> Option<Vec<IpAddr>> {
        let addresses = match self.vlan {
            None => (before.network == self.network.id).then_some(&before.addresses)?,
            Some(id) => {
                let same =
                    |vlan: &&mezame_model::Vlan| vlan.id == id && vlan.network == self.network.id;
                &before.vlans.iter().find(same)?.addresses
            }
        };
        let stays = |address: &IpAddr| {
            self.network.subnet_of(*address).is_some_and(|subnet| {
                subnet.gateway != Some(*address) && reserved_in(&subnet.cidr, *address).is_none()
            })
        };
        addresses.iter().all(stays).then(|| addresses.clone())
    }
}

impl Resolver<'_> {
    /// The places of a port, its own network first; none where one of them can't be told.
    pub(super) fn places(
        &self,
        document: usize,
        form: &PortForm,
        before: Option<&Port>,
    ) -> Option<Vec<Place>> {
        let own = (None, String::new(), &form.network, &form.addresses);
        let vlans = form.vlans.iter().enumerate().map(|(at, vlan)| {
            (Some(vlan.id), format!("vlans[{at}]"), &vlan.network, &vlan.addresses)
        });
        let mut places: Vec<Place> = Vec::with_capacity(1 + form.vlans.len());
        let mut whole = true;
        for (vlan, path, name, given) in std::iter::once(own).chain(vlans) {
            let field = if path.is_empty() { "network".into() } else { format!("{path}.network") };
            let Some(network) = self.network_of(document, &form.project, name, &field) else {
                whole = false;
                continue;
            };
            if places.iter().any(|other| other.network.id == network.id) {
                let message = format!("the port is in the network '{name}' already");
                let mend = "name each network once: a MAC is in a network once";
                self.note(document, field, message, mend);
            }
            let mut place = Place { vlan, path, network, given: given.clone(), kept: None };
            if given.is_none() {
                place.kept = before.and_then(|before| place.kept_of(before));
            }
            places.push(place);
        }
        whole.then_some(places)
    }

    fn network_of(
        &self,
        document: usize,
        project: &ProjectName,
        name: &NetworkName,
        path: &str,
    ) -> Option<Network> {
        match self.find_network(project, name) {
            Found::Here(network) => return Some(network),
            Found::Faulty => return None,
            Found::Missing => {}
        }
        let known = self.state.tenant(project);
        let names: Vec<&str> = known
            .map(|tenant| tenant.networks.keys().map(|n| n.as_str()).take(1000).collect())
            .unwrap_or_default();
        let mend = match crate::admission::nearest(name.as_str(), &names) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "add a document of kind Network with this name".into(),
        };
        self.note(document, path, format!("project '{project}' has no network '{name}'"), mend);
        None
    }

    /// Addresses that the operator wrote must be the network's to give.
    pub(super) fn check_given(&self, document: usize, place: &Place) {
        let network = &place.network;
        for (at, address) in place.given.iter().flatten().enumerate() {
            let path = place.field(&format!("addresses[{at}]"));
            let Some(subnet) = network.subnet_of(*address) else {
                let subnets: Vec<_> = network.subnets.iter().map(|s| s.cidr.to_string()).collect();
                self.note(
                    document,
                    path,
                    format!("{address} is in no subnet of the network '{}'", network.name),
                    format!("give an address in {}", subnets.join(" or ")),
                );
                continue;
            };
            let message = if subnet.gateway == Some(*address) {
                format!("{address} is the gateway of {}", subnet.cidr)
            } else if let Some(why) = reserved_in(&subnet.cidr, *address) {
                why.to_owned()
            } else {
                continue;
            };
            self.note(document, path, message, format!("give another in {}", subnet.cidr));
        }
    }

    /// Where a clash of one of its values is told: at the value, or where it was left out at what
    /// it would stand in.
    pub(super) fn spot(&self, document: usize, place: &Place, field: &str, full: &str) -> String {
        match place.vlan {
            None => self.path_of(document, field, full),
            Some(_) if field == "addresses" && place.given.is_some() => place.field(full),
            Some(_) => place.path.clone(),
        }
    }
}
