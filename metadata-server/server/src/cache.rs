//! The snapshot in memory, and what differs between two of them.
//!
//! A snapshot's records are shared, never copied: what this adds to them is one index from device
//! names to ports. Two snapshots are compared by walking their sorted lists side by side; records
//! that are the same `Arc` are passed over without being looked at, so a change of one guest among
//! 100,000 costs a walk over pointers.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use mezame_model::{
    DeviceName, Generation, Guest, Instance, InstanceId, Network, NetworkId, Port, PortId, Snapshot,
};

/// Which port a device belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<'a> {
    /// No record names the device.
    Nobody,
    /// One does.
    One(&'a Arc<Port>),
    /// Several do, so it is nobody's: a guess could hand one tenant another's data.
    Several,
}

/// What differs between two snapshots, by what has to be done about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Devices that are claimed by other ports, or by the same with other rules.
    pub devices: BTreeSet<DeviceName>,
    /// Ports whose guest's record may read otherwise.
    pub ports: BTreeSet<PortId>,
    /// Whether it may be anything: the first snapshot, or something that all guests share. Devices
    /// and ports need not be named then.
    pub everyone: bool,
}

impl Changes {
    /// What differs in what guests are told besides their ports.
    fn of_guests(old: &Snapshot, new: &Snapshot) -> Self {
        let everyone = old.site != new.site || !same(&old.networks, &new.networks);
        let mut changes = Self { everyone, ..Self::default() };
        merge(
            &old.instances,
            &new.instances,
            |one| &one.id,
            |before, after| {
                for instance in [before, after].into_iter().flatten() {
                    changes.ports.extend(instance.ports.iter().cloned());
                }
            },
        );
        changes
    }

    /// Adds a port that differs, as it was or as it is, with those whom it concerns too.
    fn add(&mut self, port: &Port, old: &Snapshot, new: &Snapshot) {
        self.devices.insert(port.device.clone());
        self.ports.insert(port.id.clone());
        // The instance's other ports there may use its addresses, too.
        for snapshot in [old, new] {
            self.devices.extend(siblings(snapshot, port).map(|other| other.device.clone()));
        }
        if let Some(instance) = port.instance.as_ref().and_then(|id| find(new, id)) {
            // Its other ports tell of this one too.
            self.ports.extend(instance.ports.iter().cloned());
        }
    }
}

/// The newest snapshot.
#[derive(Debug)]
pub struct Cache {
    snapshot: Option<Arc<Snapshot>>,
    devices: HashMap<DeviceKey, Owner>,
}

impl Cache {
    /// Knows nothing yet.
    pub fn empty() -> Self {
        Self { snapshot: None, devices: HashMap::new() }
    }

    /// The snapshot, once there is one.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The snapshot's generation.
    pub fn generation(&self) -> Generation {
        self.snapshot.as_ref().map_or(Generation::ZERO, |snapshot| snapshot.generation)
    }

    /// Takes a snapshot over and says what differs; an older one, or the same, is ignored.
    pub fn swap(&mut self, new: Arc<Snapshot>) -> Option<Changes> {
        let old = match &self.snapshot {
            Some(old) if old.generation >= new.generation => return None,
            Some(_) => self.snapshot.take(),
            None => None,
        };
        let mut changes = match &old {
            Some(old) => Changes::of_guests(old, &new),
            None => {
                self.devices.reserve(new.ports.len());
                Changes { everyone: true, ..Changes::default() }
            }
        };
        merge(
            old.as_ref().map_or(&[], |old| old.ports.as_slice()),
            &new.ports,
            |one| &one.id,
            |before, after| {
                if let Some(old) = &old {
                    for port in [before, after].into_iter().flatten() {
                        changes.add(port, old, &new);
                    }
                }
                if let Some(port) = before {
                    self.release(port);
                }
                if let Some(port) = after {
                    self.claim(port);
                }
            },
        );
        self.snapshot = Some(new);
        Some(changes)
    }

    /// Which port a device belongs to.
    pub fn owner(&self, device: &str) -> Claim<'_> {
        match DeviceKey::new(device).and_then(|key| self.devices.get(&key)) {
            None => Claim::Nobody,
            Some(Owner::One(port)) => Claim::One(port),
            Some(Owner::Several(_)) => Claim::Several,
        }
    }

    /// The joined record of the guest that a port belongs to, if it is there and whole.
    pub fn guest(&self, port: &PortId, instance: &InstanceId) -> Option<Guest> {
        let snapshot = self.snapshot.as_ref()?;
        let instance = find(snapshot, instance)?;
        let guest = Guest::join(snapshot, instance)?;
        // Both sides must say so: a port that names an instance which does not name it is one
        // that the instance may not be read through.
        let is_its_own = guest.ports.iter().any(|entry| {
            entry.port.id == *port && entry.port.instance.as_ref() == Some(&guest.instance.id)
        });
        is_its_own.then_some(guest)
    }

    /// The instance's record.
    pub fn instance(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        find(self.snapshot.as_ref()?, id)
    }

    /// A network's record.
    pub fn network(&self, id: &NetworkId) -> Option<&Arc<Network>> {
        let networks = &self.snapshot.as_ref()?.networks;
        let at = networks.binary_search_by(|network| network.id.cmp(id)).ok()?;
        Some(&networks[at])
    }

    /// The addresses of the instance's other ports in a port's network.
    pub fn sibling_addresses(&self, port: &Port) -> Vec<IpAddr> {
        let snapshot = self.snapshot.as_ref().into_iter();
        snapshot
            .flat_map(|it| siblings(it, port))
            .flat_map(|other| &other.addresses)
            .copied()
            .collect()
    }

    fn claim(&mut self, port: &Arc<Port>) {
        let Some(key) = DeviceKey::new(port.device.as_str()) else { return };
        match self.devices.get_mut(&key) {
            None => {
                self.devices.insert(key, Owner::One(Arc::clone(port)));
            }
            Some(Owner::Several(ports)) => ports.push(Arc::clone(port)),
            Some(owner @ Owner::One(_)) => {
                let Owner::One(first) = &*owner else { return };
                *owner = Owner::Several(Box::new(vec![Arc::clone(first), Arc::clone(port)]));
            }
        }
    }

    fn release(&mut self, port: &Arc<Port>) {
        let Some(key) = DeviceKey::new(port.device.as_str()) else { return };
        match self.devices.get_mut(&key) {
            Some(Owner::One(owner)) if owner.id == port.id => {
                self.devices.remove(&key);
            }
            Some(Owner::Several(ports)) => {
                ports.retain(|other| other.id != port.id);
                if let [last] = ports.as_slice() {
                    let last = Arc::clone(last);
                    self.devices.insert(key, Owner::One(last));
                }
            }
            _ => {}
        }
    }
}

/// A device's name in place, so that the index needs no allocation for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct DeviceKey([u8; 16]);

impl DeviceKey {
    fn new(name: &str) -> Option<Self> {
        let mut key = [0; 16];
        key.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self(key))
    }
}

#[derive(Debug)]
enum Owner {
    One(Arc<Port>),
    // Boxed twice: the rare case must not make the index larger.
    #[allow(clippy::box_collection)]
    Several(Box<Vec<Arc<Port>>>),
}

fn find<'a>(snapshot: &'a Snapshot, id: &InstanceId) -> Option<&'a Arc<Instance>> {
    let at = snapshot.instances.binary_search_by(|one| one.id.cmp(id)).ok()?;
    Some(&snapshot.instances[at])
}

/// The other ports of an instance in the same network.
fn siblings<'a>(snapshot: &'a Snapshot, port: &'a Port) -> impl Iterator<Item = &'a Arc<Port>> {
    let instance = port.instance.as_ref().and_then(|id| find(snapshot, id));
    let others = instance.into_iter().flat_map(|instance| &instance.ports);
    others
        .filter(|id| **id != port.id)
        .filter_map(|id| snapshot.ports.binary_search_by(|one| one.id.cmp(id)).ok())
        .map(|at| &snapshot.ports[at])
        .filter(|other| (&other.network, &other.instance) == (&port.network, &port.instance))
}

fn same<T: PartialEq>(old: &[Arc<T>], new: &[Arc<T>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}

/// Walks two lists sorted by `id` and shows each record that is only in one or differs.
fn merge<'a, T: PartialEq, K: Ord>(
    old: &'a [Arc<T>],
    new: &'a [Arc<T>],
    id: impl Fn(&T) -> &K,
    mut differs: impl FnMut(Option<&'a Arc<T>>, Option<&'a Arc<T>>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {
                old.next();
                new.next();
                continue;
            }
            (Some(before), Some(after)) => id(before).cmp(id(after)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        match order {
            Ordering::Less => differs(old.next(), None),
            Ordering::Greater => differs(None, new.next()),
            Ordering::Equal => {
                let (before, after) = (old.next(), new.next());
                if before != after {
                    differs(before, after);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
