//! Ports: their network, and the MAC, addresses and device that nobody else has.
//!
//! What a document leaves out is kept from the stored record, or made. What is kept and given is
//! claimed first, for all documents, and only then is anything made: a made value never takes one
//! that a later document asks for.

use std::{net::IpAddr, sync::Arc};

use mezame_model::{
    DeviceName, MacAddress, Network, NetworkId, Port, PortId, PortName, ProjectName, Vlan,
    api::Kind,
};

use super::{Document, Found, Pending, Resolver, allocate, places::Place};
use crate::{
    admission::port::PortForm,
    environment::{NoRandomness, random},
};

/// How often a random MAC is drawn before the network is called full.
const MAC_DRAWS: usize = 256;

const OWN: &str = "in one network each port has its own: give another, or leave the field out";
const OWN_DEVICE: &str = "a device is one port's: name another, or leave the field out";
/// Of a clash that is told at a VLAN, where no field of that name is; the MAC may be one that was
/// made earlier, which leaving it out keeps.
const OWN_MAC: &str = "the port has one MAC in all its networks: give it another `mac`, one that no \
                       port of this network has";

/// A port on its way from form to record.
struct Draft {
    document: usize,
    form: PortForm,
    id: PortId,
    before: Option<Arc<Port>>,
    /// Its networks, its own first.
    places: Vec<Place>,
    /// Kept from the stored record.
    kept_mac: Option<MacAddress>,
    kept_device: Option<DeviceName>,
}

impl Resolver<'_> {
    pub(super) fn resolve_ports(
        &mut self,
        documents: Vec<Document<PortForm>>,
    ) -> Result<(), NoRandomness> {
        let mut drafts = Vec::with_capacity(documents.len());
        for document in documents {
            drafts.extend(self.draft(document)?);
        }
        // What is kept is claimed before what is given, so that a clash of the two is noted where
        // the operator wrote something.
        for draft in &drafts {
            self.claim(draft, draft.kept_mac, |place| &place.kept, &draft.kept_device);
        }
        for draft in &drafts {
            for place in &draft.places {
                self.check_given(draft.document, place);
            }
            let form = &draft.form;
            self.claim(draft, form.mac, |place| &place.given, &form.device);
        }
        for draft in drafts {
            self.finish(draft)?;
        }
        Ok(())
    }

    /// The port of a name, as it will be; pending only where it has a document.
    pub(super) fn find_port(&self, project: &ProjectName, name: &PortName) -> Found<PortId> {
        if let Some(id) = self.port_ids.get(&(project.clone(), name.clone())) {
            Found::Here(id.clone())
        } else if self.declared.has(Kind::Port, project.as_str(), name.as_str()) {
            Found::Faulty
        } else if let Some(held) = self.state.port(project, name) {
            Found::Here(held.record.id.clone())
        } else {
            Found::Missing
        }
    }

    fn draft(&self, document: Document<PortForm>) -> Result<Option<Draft>, NoRandomness> {
        let Document { index, form } = document;
        self.check_project(index, &form.project);
        let before =
            self.state.port(&form.project, &form.name).map(|held| Arc::clone(&held.record));
        let Some(places) = self.places(index, &form, before.as_deref()) else { return Ok(None) };
        let id = match &before {
            Some(before) => before.id.clone(),
            None => self.make_port_id()?,
        };
        let kept = before.as_deref();
        Ok(Some(Draft {
            document: index,
            kept_mac: kept.filter(|_| form.mac.is_none()).map(|before| before.mac),
            kept_device: kept.filter(|_| form.device.is_none()).map(|before| before.device.clone()),
            id,
            before,
            places,
            form,
        }))
    }

    /// An id whose tap name is free too.
    fn make_port_id(&self) -> Result<PortId, NoRandomness> {
        loop {
            if let Ok(id) = PortId::parse(&self.make_id("eni-")?)
                && self.state.port_by_id(&id).is_none()
                && !self.state.devices.contains_key(&DeviceName::of_port(&id))
            {
                return Ok(id);
            }
        }
    }

    /// Takes values for a port, noting those that another has.
    fn claim(
        &mut self,
        draft: &Draft,
        mac: Option<MacAddress>,
        addresses: impl Fn(&Place) -> &Option<Vec<IpAddr>>,
        device: &Option<DeviceName>,
    ) {
        let (id, document) = (&draft.id, draft.document);
        for place in &draft.places {
            let network = &place.network.id;
            if let Some(mac) = mac {
                let stored = self.state.segment(network).and_then(|s| s.macs.get(&mac));
                let stored = stored.filter(|port| port.id != *id && self.stands(port)).cloned();
                let earlier = self.macs.insert((network.clone(), mac), id.clone());
                let spot = self.spot(document, place, "mac", "mac");
                let mend = match place.vlan {
                    None => OWN,
                    Some(_) => OWN_MAC,
                };
                self.note_clash(draft, mend, spot, mac.to_string(), earlier, stored);
            }
            for (at, address) in addresses(place).iter().flatten().enumerate() {
                let stored = self.state.segment(network).and_then(|s| s.addresses.get(address));
                let stored = stored.filter(|port| port.id != *id && self.stands(port)).cloned();
                let taken = self.addresses.entry(network.clone()).or_default();
                let earlier = taken.insert(*address, id.clone());
                let spot = self.spot(document, place, "addresses", &format!("addresses[{at}]"));
                self.note_clash(draft, OWN, spot, address.to_string(), earlier, stored);
            }
        }
        if let Some(device) = device {
            let stored = self.state.devices.get(device);
            let stored = stored.filter(|port| port.id != *id && self.stands(port)).cloned();
            let earlier = self.devices.insert(device.clone(), id.clone());
            let spot = self.path_of(document, "device", "device");
            self.note_clash(draft, OWN_DEVICE, spot, device.to_string(), earlier, stored);
        }
    }

    /// Whether a stored port stays as it is: one with a document has there what counts.
    fn stands(&self, port: &Port) -> bool {
        !self.declared.has(Kind::Port, port.project.as_str(), port.name.as_str())
    }

    fn note_clash(
        &self,
        draft: &Draft,
        mend: &str,
        path: String,
        value: String,
        earlier: Option<PortId>,
        stored: Option<Arc<Port>>,
    ) {
        let holder = match (earlier.filter(|id| *id != draft.id), stored) {
            (Some(_), _) => "the port of another document".to_owned(),
            (None, Some(port)) if port.project == draft.form.project => {
                format!("the port '{}'", port.name)
            }
            (None, Some(port)) => {
                format!("the port '{}' of project '{}'", port.name, port.project)
            }
            (None, None) => return,
        };
        self.note(draft.document, path, format!("{value} belongs to {holder} already"), mend);
    }

    /// Makes what is missing, and the record.
    fn finish(&mut self, draft: Draft) -> Result<(), NoRandomness> {
        let Draft { document, form, id, before, places, .. } = draft;
        let networks: Vec<&NetworkId> = places.iter().map(|place| &place.network.id).collect();
        let mac = match form.mac.or(draft.kept_mac) {
            Some(mac) => mac,
            None => match self.make_mac(&networks)? {
                Some(mac) => mac,
                None => {
                    let message = format!("no MAC is free in the network '{}'", form.network);
                    self.note(document, "network", message, "use another network");
                    return Ok(());
                }
            },
        };
        for network in networks {
            self.macs.insert((network.clone(), mac), id.clone());
        }
        let mut own = None;
        let mut vlans = Vec::with_capacity(places.len().saturating_sub(1));
        for place in places {
            let addresses = self.addresses_of(document, &place, &id);
            let network = place.network.id;
            match place.vlan {
                None => own = Some((network, addresses)),
                Some(tag) => vlans.push(Vlan { id: tag, network, addresses }),
            }
        }
        let Some((network, addresses)) = own else { return Ok(()) };
        let device = form.device.or(draft.kept_device).unwrap_or_else(|| DeviceName::of_port(&id));
        self.devices.insert(device.clone(), id.clone());
        let record = Port {
            id: id.clone(),
            project: form.project,
            name: form.name,
            network,
            mac,
            addresses,
            allowed: form.allowed,
            vlans: vlans.into(),
            bond: form.bond,
            device,
            dhcp_server: form.dhcp_server,
            rate_limit: form.rate_limit,
            boot: form.boot.map(Box::new),
            instance: before.as_ref().and_then(|before| before.instance.clone()),
        };
        self.port_ids.insert((record.project.clone(), record.name.clone()), id.clone());
        self.ports.insert(id, Pending { document: Some(document), record, before });
        Ok(())
    }

    /// The addresses that a port has in one of its networks: as given, kept, or made.
    fn addresses_of(&mut self, document: usize, place: &Place, id: &PortId) -> Vec<IpAddr> {
        if let Some(known) = place.given.as_ref().or(place.kept.as_ref()) {
            return known.clone();
        }
        let made = self.allocate(&place.network, id);
        if made.is_empty() {
            let message = format!("no address is free in the network '{}'", place.network.name);
            let mend = "add a subnet, or use another network";
            self.note(document, place.field("network"), message, mend);
        }
        made
    }

    /// A locally administered MAC of the range that QEMU guests have, free in these networks.
    fn make_mac(&self, networks: &[&NetworkId]) -> Result<Option<MacAddress>, NoRandomness> {
        for _ in 0..MAC_DRAWS {
            let [a, b, c]: [u8; 3] = random(self.environment)?;
            let mac = MacAddress([0x52, 0x54, 0x00, a, b, c]);
            let is_taken = |network: &&NetworkId| {
                self.state.segment(network).is_some_and(|s| s.macs.contains_key(&mac))
                    || self.macs.contains_key(&((*network).clone(), mac))
            };
            if !networks.iter().any(is_taken) {
                return Ok(Some(mac));
            }
        }
        Ok(None)
    }

    /// One address of each family that the network has; none where all are taken.
    fn allocate(&mut self, network: &Network, id: &PortId) -> Vec<IpAddr> {
        let empty = Default::default();
        let stored = self.state.segment(&network.id);
        let mut made = Vec::new();
        for ipv6 in [false, true] {
            let subnets = || network.subnets.iter().filter(|s| s.cidr.is_ipv6() == ipv6);
            if subnets().next().is_none() {
                continue;
            }
            let key = (network.id.clone(), ipv6);
            let last = self.last_allocated.get(&key).copied();
            let last = last.or_else(|| stored.and_then(|segment| segment.last(ipv6)));
            let taken = [
                stored.map_or(&empty, |segment| &segment.addresses).len(),
                self.addresses.get(&network.id).map_or(0, |pending| pending.len()),
            ];
            let is_taken = |address: &IpAddr| {
                stored.is_some_and(|segment| segment.addresses.contains_key(address))
                    || self.addresses.get(&network.id).is_some_and(|p| p.contains_key(address))
            };
            let most = taken.iter().sum();
            let found = subnets().find_map(|s| allocate::next_free(s, last, most, is_taken));
            let Some(address) = found else { return Vec::new() };
            self.addresses.entry(network.id.clone()).or_default().insert(address, id.clone());
            self.last_allocated.insert(key, address);
            made.push(address);
        }
        made
    }
}
