//! Which port is attached to which device, and what has to be done when either side changes.
//!
//! Pure: events go in, [`Step`]s come out, and the caller takes them. For one device:
//!
//! ```text
//!   no device ──appears──► settle ──► its name is one port's device ──► Attach
//!                            ▲        nobody's, but a port's by its form, or was one's ► Refuse
//!   record changes ──────────┤        nobody's else ─────────────────► untouched
//!   renamed ─────────────────┘        several ports' ────────────────► Refuse
//!   gone ──► Detach
//! ```
//!
//! Each event costs the same however many devices and records there are.

use std::collections::{BTreeSet, HashMap};

use mezame_ebpf_loader::{PortRules, PortSlot};
use mezame_model::{DeviceName, InstanceId, Port, PortId};
use serde::{Deserialize, Serialize};

use super::{rules::rules_of, slots::Slots};
use crate::{
    cache::{Cache, Claim},
    identity::Taken,
};

/// What is to be done to the data path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Attach a port, a new tenancy.
    Attach {
        /// The device.
        ifindex: u32,
        /// Whose it is from now on.
        tenancy: Tenancy,
        /// What its guest may do.
        rules: PortRules,
    },
    /// Give an attached port other rules; the tenancy goes on.
    Amend {
        /// The device.
        ifindex: u32,
        /// What its guest may do now.
        rules: PortRules,
    },
    /// End a tenancy: its slot answers nobody any more. What is attached is replaced by the step
    /// that follows, or taken off by a `Detach`.
    End {
        /// The tenancy's slot.
        slot: PortSlot,
    },
    /// Let the device reach no service.
    Refuse {
        /// The device.
        ifindex: u32,
    },
    /// Take everything off the device.
    Detach {
        /// The device.
        ifindex: u32,
    },
}

/// Whose a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenancy {
    /// The port.
    pub port: PortId,
    /// Its instance, if it has one.
    pub instance: Option<InstanceId>,
    /// The device's name.
    pub device: DeviceName,
}

/// A tenancy that a successor is to go on with, so that its connections live on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The device.
    pub ifindex: u32,
    /// Whose it is.
    pub tenancy: Tenancy,
    /// Its slot's number.
    pub slot: u32,
    /// Its generation.
    pub generation: u32,
    /// When its device was taken hold of. An earlier version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
}

#[derive(Debug)]
enum Held {
    Port { tenancy: Tenancy, rules: PortRules },
    Refused,
}

/// The devices of this network namespace.
#[derive(Debug, Default)]
pub struct Table {
    names: HashMap<u32, String>,
    indexes: HashMap<String, u32>,
    held: HashMap<u32, Held>,
    /// What the data path may have of a device besides what is held: from before this process, or
    /// from a step that failed. The slot stays taken as long.
    pinned: HashMap<u32, Option<PortSlot>>,
    adopted: HashMap<u32, Adopted>,
    failed: BTreeSet<u32>,
    slots: Slots,
    generation: u32,
}

impl Table {
    /// Begins with what is pinned from before, `(ifindex, slot)`, and with the tenancies that a
    /// predecessor handed over. Those devices are settled as they are seen; those that a scan
    /// does not find are detached. `generation` is above that of every tenancy before.
    pub fn new(
        pinned: Vec<(u32, PortSlot)>,
        adopted: Vec<Adopted>,
        next_slot: u32,
        generation: u32,
    ) -> Self {
        let mut slots = Slots::starting_at(next_slot);
        for (_, slot) in &pinned {
            slots.adopt(*slot);
        }
        let pinned: HashMap<_, _> =
            pinned.into_iter().map(|(ifindex, slot)| (ifindex, Some(slot))).collect();
        let adopted = adopted
            .into_iter()
            // What is not pinned is not attached any more.
            .filter(|one| {
                let slot = pinned.get(&one.ifindex).copied().flatten();
                slot.is_some_and(|slot| slot.number() == one.slot)
            })
            .map(|one| (one.ifindex, one))
            .collect();
        Self { pinned, adopted, slots, generation, ..Self::default() }
    }

    /// The tenancies, for a successor.
    pub fn tenancies(&self) -> Vec<Adopted> {
        let held = self.held.iter().filter_map(|(ifindex, held)| match held {
            Held::Port { tenancy, rules } => Some(Adopted {
                ifindex: *ifindex,
                tenancy: tenancy.clone(),
                slot: rules.slot.number(),
                generation: rules.generation,
                taken: None,
            }),
            Held::Refused => None,
        });
        held.collect()
    }

    /// The port that is attached at a device.
    pub fn port_at(&self, ifindex: u32) -> Option<&PortId> {
        match self.held.get(&ifindex)? {
            Held::Port { tenancy, .. } => Some(&tenancy.port),
            Held::Refused => None,
        }
    }

    /// The slot at which a successor is to go on.
    pub fn next_slot(&self) -> u32 {
        self.slots.next()
    }

    /// A device is there, under this name: it is new, or was renamed, or nothing changed.
    pub fn seen(&mut self, ifindex: u32, name: &str, cache: &Cache) -> Vec<Step> {
        if self.names.get(&ifindex).is_some_and(|now| now == name) {
            return Vec::new();
        }
        let former = self.names.insert(ifindex, name.into());
        let mut steps = Vec::new();
        if let Some(former) = former
            && self.indexes.get(&former) == Some(&ifindex)
        {
            self.indexes.remove(&former);
        }
        // A name that was another device's has been taken from it; its own event is on its way.
        if let Some(robbed) = self.indexes.insert(name.into(), ifindex) {
            self.names.remove(&robbed);
            steps.extend(self.settle(robbed, cache));
        }
        steps.extend(self.settle(ifindex, cache));
        steps
    }

    /// A device is gone, or moved to another network namespace.
    pub fn gone(&mut self, ifindex: u32) -> Vec<Step> {
        if let Some(name) = self.names.remove(&ifindex)
            && self.indexes.get(&name) == Some(&ifindex)
        {
            self.indexes.remove(&name);
        }
        self.failed.remove(&ifindex);
        let was_pinned = self.unpin(ifindex);
        let mut steps = Vec::new();
        match self.held.remove(&ifindex) {
            Some(Held::Port { rules, .. }) => {
                self.slots.give_back(rules.slot);
                steps.push(Step::End { slot: rules.slot });
            }
            Some(Held::Refused) => {}
            None if was_pinned => {}
            None => return steps,
        }
        steps.push(Step::Detach { ifindex });
        steps
    }

    /// The devices that exist, all of them: what is not among them is gone. For the scan after a
    /// start or after lost events.
    pub fn scanned(&mut self, devices: &HashMap<u32, String>, cache: &Cache) -> Vec<Step> {
        let known = self.names.keys().chain(self.held.keys()).chain(self.pinned.keys());
        let missing: BTreeSet<u32> =
            known.filter(|index| !devices.contains_key(index)).copied().collect();
        let mut steps: Vec<Step> = missing.into_iter().flat_map(|gone| self.gone(gone)).collect();
        for (ifindex, name) in devices {
            steps.extend(self.seen(*ifindex, name, cache));
        }
        steps
    }

    /// Records that name this device changed.
    pub fn claimed(&mut self, device: &DeviceName, cache: &Cache) -> Vec<Step> {
        match self.indexes.get(device.as_str()) {
            Some(ifindex) => self.settle(*ifindex, cache),
            None => Vec::new(),
        }
    }

    /// Any record may have changed.
    pub fn reviewed(&mut self, cache: &Cache) -> Vec<Step> {
        let known: Vec<u32> = self.names.keys().copied().collect();
        known.into_iter().flat_map(|ifindex| self.settle(ifindex, cache)).collect()
    }

    /// A step on this device could not be taken: nobody is served there, and what the data path
    /// still has of it is to be taken away.
    pub fn failed(&mut self, ifindex: u32) -> Vec<Step> {
        self.failed.insert(ifindex);
        match self.held.remove(&ifindex) {
            Some(Held::Port { rules, .. }) => {
                self.pinned.insert(ifindex, Some(rules.slot));
                vec![Step::End { slot: rules.slot }]
            }
            _ => {
                self.pinned.entry(ifindex).or_insert(None);
                Vec::new()
            }
        }
    }

    /// Tries again what failed.
    pub fn retry(&mut self, cache: &Cache) -> Vec<Step> {
        let failed = std::mem::take(&mut self.failed);
        failed.into_iter().flat_map(|ifindex| self.settle(ifindex, cache)).collect()
    }

    /// Whether something failed and is to be tried again.
    pub fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// What a device should be, against what it is.
    fn settle(&mut self, ifindex: u32, cache: &Cache) -> Vec<Step> {
        let name = self.names.get(&ifindex).cloned();
        let claim = name.as_deref().map_or(Claim::Nobody, |name| cache.owner(name));
        match claim {
            Claim::One(port) => self.settle_port(ifindex, port, cache),
            Claim::Nobody => {
                let is_ours = name.as_deref().is_some_and(is_ours_by_form);
                self.settle_nobodys(ifindex, name.is_some(), is_ours)
            }
            Claim::Several => self.settle_nobodys(ifindex, true, true),
        }
    }

    /// A device that is no one port's: it is to reach no service if `is_ours`, or if it was a port's.
    fn settle_nobodys(&mut self, ifindex: u32, is_there: bool, is_ours: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let was_pinned = self.unpin(ifindex);
        let refuse = match self.held.remove(&ifindex) {
            Some(Held::Refused) => {
                self.held.insert(ifindex, Held::Refused);
                return steps;
            }
            Some(Held::Port { rules, .. }) => {
                self.slots.give_back(rules.slot);
                steps.push(Step::End { slot: rules.slot });
                true
            }
            None => was_pinned || is_ours,
        };
        if !is_there && was_pinned {
            // It went, and could not be detached then.
            steps.push(Step::Detach { ifindex });
        } else if refuse {
            self.held.insert(ifindex, Held::Refused);
            steps.push(Step::Refuse { ifindex });
        }
        steps
    }

    /// A device that is this port's: the tenancy goes on, or a new one begins.
    fn settle_port(&mut self, ifindex: u32, port: &Port, cache: &Cache) -> Vec<Step> {
        let mut steps = Vec::new();
        let network = cache.network(&port.network).map(AsRef::as_ref);
        let siblings = cache.sibling_addresses(port);
        if let Some(Held::Port { tenancy, rules }) = self.held.get_mut(&ifindex)
            && tenancy.port == port.id
            && tenancy.instance == port.instance
        {
            let now = rules_of(port, network, &siblings, rules.slot, rules.generation);
            if *rules != now {
                *rules = now.clone();
                steps.push(Step::Amend { ifindex, rules: now });
            }
            return steps;
        }
        if let Some(Held::Port { rules, .. }) = self.held.remove(&ifindex) {
            self.slots.give_back(rules.slot);
            steps.push(Step::End { slot: rules.slot });
        }
        let tenancy = Tenancy {
            port: port.id.clone(),
            instance: port.instance.clone(),
            device: port.device.clone(),
        };
        let Some((slot, generation)) = self.slot_for(ifindex, &tenancy) else {
            self.failed.insert(ifindex);
            return steps;
        };
        let rules = rules_of(port, network, &siblings, slot, generation);
        self.held.insert(ifindex, Held::Port { tenancy: tenancy.clone(), rules: rules.clone() });
        steps.push(Step::Attach { ifindex, tenancy, rules });
        steps
    }

    /// The slot and the generation of a tenancy that begins here: those that were handed over, or
    /// new ones; None while all slots are taken.
    fn slot_for(&mut self, ifindex: u32, tenancy: &Tenancy) -> Option<(PortSlot, u32)> {
        let kept = self.adopted.remove(&ifindex).filter(|one| one.tenancy == *tenancy);
        if let Some((slot, one)) = kept.and_then(|one| Some((PortSlot::new(one.slot)?, one))) {
            self.pinned.remove(&ifindex);
            return Some((slot, one.generation));
        }
        // A pinned slot that was not handed over is not kept: whose it was is not written in it.
        self.unpin(ifindex);
        let slot = self.slots.take().ok()?;
        self.generation = self.generation.wrapping_add(1);
        Some((slot, self.generation))
    }

    /// Forgets what was attached to a device before this process; true if something was.
    fn unpin(&mut self, ifindex: u32) -> bool {
        self.adopted.remove(&ifindex);
        let left = self.pinned.remove(&ifindex);
        if let Some(Some(slot)) = left {
            self.slots.give_back(slot);
        }
        left.is_some()
    }
}

/// Whether a device's name has the form that [`DeviceName::of_port`] gives: it is a guest's tap
/// even while no record names it.
fn is_ours_by_form(name: &str) -> bool {
    name.strip_prefix("tap").is_some_and(|digits| {
        digits.len() == 11
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests;
