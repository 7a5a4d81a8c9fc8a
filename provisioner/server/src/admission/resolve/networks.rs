//! Networks: one VNI each, and no change that leaves a port outside.

use std::{collections::HashMap, sync::Arc};

use mezame_model::{Network, NetworkId, NetworkName, ProjectName, Vni, api::Kind};

use super::{Document, Found, Pending, Resolver};
use crate::{
    admission::{network::NetworkForm, service_address::reserved_in},
    environment::NoRandomness,
};

/// How many ports that a change would leave outside are named one by one.
const NAMED: usize = 5;

impl Resolver<'_> {
    pub(super) fn resolve_networks(
        &mut self,
        documents: Vec<Document<NetworkForm>>,
    ) -> Result<(), NoRandomness> {
        let mut vnis: HashMap<Vni, usize> = HashMap::new();
        for Document { index, form } in documents {
            self.check_project(index, &form.project);
            let before =
                self.state.network(&form.project, &form.name).map(|held| Arc::clone(&held.record));
            let id = match &before {
                Some(before) => before.id.clone(),
                None => self.make_network_id()?,
            };
            self.check_vni(index, form.vni, &id, &mut vnis);
            let NetworkForm { project, name, vni, mtu, subnets, dns, domain, ntp, dhcp, forward } =
                form;
            let record =
                Network { id, project, name, vni, mtu, subnets, dns, domain, ntp, dhcp, forward };
            if let Some(before) = &before
                && before.subnets != record.subnets
            {
                self.check_members(index, &record);
            }
            let key = (record.project.clone(), record.name.clone());
            self.networks.insert(key, Pending { document: Some(index), record, before });
        }
        Ok(())
    }

    /// The network of a name, as it will be.
    pub(super) fn find_network(&self, project: &ProjectName, name: &NetworkName) -> Found<Network> {
        if let Some(pending) = self.networks.get(&(project.clone(), name.clone())) {
            Found::Here(pending.record.clone())
        } else if self.declared.has(Kind::Network, project.as_str(), name.as_str()) {
            Found::Faulty
        } else if let Some(held) = self.state.network(project, name) {
            Found::Here((*held.record).clone())
        } else {
            Found::Missing
        }
    }

    fn make_network_id(&self) -> Result<NetworkId, NoRandomness> {
        loop {
            if let Ok(id) = NetworkId::parse(&self.make_id("net-")?)
                && self.state.network_by_id(&id).is_none()
            {
                return Ok(id);
            }
        }
    }

    fn check_vni(&self, document: usize, vni: Vni, id: &NetworkId, vnis: &mut HashMap<Vni, usize>) {
        const MEND: &str = "choose another: a VNI is one layer-2 segment of the installation";
        if let Some(earlier) = vnis.insert(vni, document) {
            let message = format!("VNI {vni} is that of document {earlier} too");
            self.note(document, "vni", message, MEND);
            return;
        }
        if let Some(owner) = self.state.vnis.get(&vni)
            && owner.id != *id
            // A network with a document of its own has there the VNI that counts.
            && !self.declared.has(Kind::Network, owner.project.as_str(), owner.name.as_str())
        {
            let message = format!(
                "VNI {vni} is that of the network '{}' in project '{}'",
                owner.name, owner.project
            );
            self.note(document, "vni", message, MEND);
        }
    }

    /// Ports that have no document of their own must still fit.
    fn check_members(&self, document: usize, network: &Network) {
        let Some(segment) = self.state.segment(&network.id) else { return };
        let mut outside = 0;
        for (address, port) in &segment.addresses {
            if self.declared.has(Kind::Port, port.project.as_str(), port.name.as_str()) {
                continue;
            }
            let problem = match network.subnet_of(*address) {
                None => "which is in none of these subnets",
                Some(subnet) if subnet.gateway == Some(*address) => "which would be the gateway's",
                Some(subnet) => match reserved_in(&subnet.cidr, *address) {
                    Some(_) => "which would be the subnet's own",
                    None => continue,
                },
            };
            outside += 1;
            if outside <= NAMED {
                self.note(
                    document,
                    "subnets",
                    format!("the port '{}' has {address}, {problem}", port.name),
                    "keep its subnet, or give the port another address in the same call",
                );
            }
        }
        if outside > NAMED {
            let message = format!("{} further ports would not fit either", outside - NAMED);
            self.note(document, "subnets", message, "keep the subnets that ports are in");
        }
    }
}
