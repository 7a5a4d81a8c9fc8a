//! The steps of the network: one for each interface whose cards this guest has, and one that writes
//! them down. What of them is done on Linux alone is told elsewhere.

use mezame_model::{Document, document::Interface, report::Outcome};

use super::Planner;
use crate::{
    facts::{Facts, Link, System},
    step::Action,
};

impl Planner<'_> {
    pub(super) fn network(&mut self, document: &Document, facts: &Facts) {
        if !facts.configures_network {
            if !document.interfaces.is_empty() {
                let detail = "configure_network is off in the agent's settings".into();
                self.settle("network".into(), Outcome::Skipped, "preserved", detail);
            }
            return;
        }
        let mut known = Vec::new();
        for interface in &document.interfaces {
            let mut cards = Vec::new();
            for mac in interface.cards() {
                match facts.card(*mac) {
                    Some(card) => cards.push(card),
                    None => self.settle(
                        format!("interface {mac}"),
                        Outcome::Skipped,
                        "no-such-interface",
                        "this guest has no device with that MAC".into(),
                    ),
                }
            }
            let Some(first) = cards.first() else { continue };
            let interface = self.supported(interface, first, facts.system);
            let device = match &interface.bond {
                Some(bond) => bond.name.to_string(),
                None => first.name.clone(),
            };
            known.push((device.clone(), interface.clone()));
            let key = format!("interface {device}");
            self.always(key, Action::Interface { device, interface });
        }
        if !known.is_empty() {
            self.always(
                "network configuration".into(),
                Action::PersistNetwork { interfaces: known },
            );
        }
    }

    /// The interface without what is done on Linux alone: of a bond, its first card.
    fn supported(&mut self, interface: &Interface, first: &Link, system: System) -> Interface {
        let mut interface = interface.clone();
        if system == System::Unix {
            return interface;
        }
        let mut unsupported = |key: String, what: &str| {
            let detail = format!("{what} are made on Linux alone");
            self.settle(key, Outcome::Failed, "unsupported", detail);
        };
        for vlan in std::mem::take(&mut interface.vlans) {
            unsupported(format!("interface {}.{}", first.name, vlan.id), "VLANs");
        }
        if let Some(bond) = interface.bond.take() {
            unsupported(format!("interface {}", bond.name), "bonds");
            interface.mac = first.mac;
        }
        interface
    }
}
