//! Bonds: the ports of one instance that are one device to their guest.

use std::collections::BTreeMap;

use mezame_model::{InstanceId, Port, PortId};

use super::Resolver;

impl Resolver<'_> {
    /// The cards of a bond are in one network, in each instance that something changes for.
    pub(super) fn check_bonds(&self) {
        let mut owners: BTreeMap<&InstanceId, &[PortId]> = BTreeMap::new();
        for pending in self.ports.values() {
            if let Some(owner) = &pending.record.instance
                && let Some(held) = self.state.instance_by_id(owner)
            {
                owners.insert(owner, &held.record.instance.ports);
            }
        }
        for (id, pending) in &self.instances {
            owners.insert(id, &pending.record.instance.ports);
        }
        for (owner, ports) in owners {
            let cards: Vec<&Port> = ports
                .iter()
                .filter_map(|id| self.port(id))
                .filter(|it| it.bond.is_some())
                .collect();
            for (at, card) in cards.iter().enumerate() {
                let first = cards[..at].iter().find(|other| other.bond == card.bond);
                if let Some(first) = first.filter(|first| first.network != card.network) {
                    self.note_apart(owner, first, card);
                }
            }
        }
    }

    /// A port as it will be.
    fn port(&self, id: &PortId) -> Option<&Port> {
        match self.ports.get(id) {
            Some(pending) => Some(&pending.record),
            None => self.state.port_by_id(id).map(AsRef::as_ref),
        }
    }

    /// Notes it where the operator wrote something of it.
    fn note_apart(&self, owner: &InstanceId, first: &Port, card: &Port) {
        const MEND: &str = "the cards of a bond are in one network: name another bond or network";
        let message = |other: &Port| {
            let bond = other.bond.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("'{bond}' is also the port '{}', which is in another network", other.name)
        };
        let written = |port: &Port| self.ports.get(&port.id).and_then(|pending| pending.document);
        for (one, other) in [(card, first), (first, card)] {
            if let Some(document) = written(one) {
                let path = self.path_of(document, "bond", "bond");
                return self.note(document, path, message(other), MEND);
            }
        }
        if let Some(document) = self.instances.get(owner).and_then(|pending| pending.document) {
            let message = format!("of the port '{}': {}", card.name, message(first));
            self.note(document, "ports", message, MEND);
        }
    }
}
