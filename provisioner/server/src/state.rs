//! The whole state in memory: what operators list, what admission checks against, and the
//! snapshot that hypervisors get.
//!
//! A copy of the store, replaced record by record after each commit. Indexes hold the records
//! themselves, so that each is in memory once. No I/O, no clock.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use mezame_images::volume::VolumeId;
use mezame_model::{
    DeviceName, Generation, Instance, InstanceId, InstanceName, MacAddress, Network, NetworkId,
    NetworkName, Port, PortId, PortName, ProjectName, Snapshot, Vni, snapshot::Site,
};

use crate::{
    record::{InstanceRecord, Observed, Project, Record, decode},
    schedules::record::ScheduleRecord,
    site_keys::StoredSite,
    store::{Contents, StoreError},
    volumes::record::VolumeRecord,
};

pub(crate) mod sorted;

/// A record and when it changed last.
#[derive(Debug, Clone)]
pub(crate) struct Held<T> {
    pub(crate) record: Arc<T>,
    pub(crate) revision: Generation,
}

/// An instance, and what its guest said last.
#[derive(Debug, Clone)]
pub(crate) struct HeldInstance {
    pub(crate) record: Arc<InstanceRecord>,
    pub(crate) revision: Generation,
    pub(crate) observed: Option<Arc<Observed>>,
    /// The generation at which it was said, or a later one.
    pub(crate) observed_at: Generation,
}

/// A project and all that is in it.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) project: Held<Project>,
    pub(crate) networks: BTreeMap<NetworkName, Held<Network>>,
    pub(crate) ports: BTreeMap<PortName, Held<Port>>,
    pub(crate) instances: BTreeMap<InstanceName, HeldInstance>,
    pub(crate) volumes: BTreeMap<VolumeId, Arc<VolumeRecord>>,
    pub(crate) schedules: BTreeMap<Box<str>, Arc<ScheduleRecord>>,
}

/// Who has which address in a network.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) macs: HashMap<MacAddress, Arc<Port>>,
    pub(crate) addresses: BTreeMap<IpAddr, Arc<Port>>,
    /// The addresses that were allocated last: the search goes on after them, so that an address
    /// that was given back rests for a while.
    last_ipv4: Option<IpAddr>,
    last_ipv6: Option<IpAddr>,
}

impl Segment {
    /// The address of a family that was allocated last.
    pub(crate) fn last(&self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 { self.last_ipv6 } else { self.last_ipv4 }
    }
}

/// A write, worked out and not yet done.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) puts: Vec<Record>,
    pub(crate) deletes: Vec<Record>,
    pub(crate) site: Option<StoredSite>,
    pub(crate) observed: Vec<(InstanceId, Arc<Observed>)>,
    /// The addresses that were allocated last, by network.
    pub(crate) last_allocated: Vec<(NetworkId, IpAddr)>,
}

impl Changes {
    /// Whether there is nothing to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty()
            && self.deletes.is_empty()
            && self.site.is_none()
            && self.observed.is_empty()
    }
}

/// The state at one generation.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) generation: Generation,
    pub(crate) site: StoredSite,
    pub(crate) tenants: BTreeMap<ProjectName, Tenant>,
    pub(crate) vnis: HashMap<Vni, Arc<Network>>,
    pub(crate) devices: HashMap<DeviceName, Arc<Port>>,
    segments: HashMap<NetworkId, Segment>,
    /// What hypervisors get; its generation is that of the last change that they see.
    snapshot: Arc<Snapshot>,
}

impl State {
    /// The state of a store without records.
    pub(crate) fn empty(generation: Generation, site: StoredSite) -> Self {
        let snapshot = Arc::new(Snapshot {
            generation,
            site: Arc::new(site.site()),
            networks: Vec::new(),
            ports: Vec::new(),
            instances: Vec::new(),
        });
        Self {
            generation,
            site,
            tenants: BTreeMap::new(),
            vnis: HashMap::new(),
            devices: HashMap::new(),
            segments: HashMap::new(),
            snapshot,
        }
    }

    /// The state that a store holds.
    pub(crate) fn load(contents: Contents, site: StoredSite) -> Result<Self, StoreError> {
        let mut state = Self::empty(contents.generation, site);
        let mut records = Vec::with_capacity(contents.rows.len());
        for row in &contents.rows {
            records.push((Record::of_body(row.key.kind, &row.body)?, row.revision));
        }
        // Projects first: the others are kept inside them.
        records.sort_by_key(|(record, _)| record.key().kind);
        let mut edits = sorted::Edits::default();
        for (record, revision) in records {
            state.put(record, revision, &mut edits)?;
        }
        for (id, body) in &contents.observed {
            state.observe(id, Arc::new(decode::<Observed>(body, "observation")?), &edits);
        }
        state.publish(contents.generation, edits, None);
        Ok(state)
    }

    /// Takes a written change over.
    pub(crate) fn apply(
        &mut self,
        changes: Changes,
        generation: Generation,
    ) -> Result<(), StoreError> {
        self.generation = generation;
        let mut edits = sorted::Edits::default();
        for record in changes.deletes {
            self.delete(&record, &mut edits);
        }
        // An address may go from one port to another in one write, so all old entries of the
        // indexes go before the new ones come.
        for record in &changes.puts {
            if let Record::Port(port) = record
                && let Some(old) = self.port(&port.project, &port.name).map(|h| h.record.clone())
            {
                self.unindex(&old);
            }
            if let Record::Network(network) = record
                && let Some(old) = self.network(&network.project, &network.name)
            {
                let vni = old.record.vni;
                self.vnis.remove(&vni);
            }
        }
        for record in changes.puts {
            self.put(record, generation, &mut edits)?;
        }
        for (network, last) in changes.last_allocated {
            let segment = self.segments.entry(network).or_default();
            let field =
                if last.is_ipv6() { &mut segment.last_ipv6 } else { &mut segment.last_ipv4 };
            *field = Some(last);
        }
        for (id, observed) in changes.observed {
            self.observe(&id, observed, &edits);
        }
        let site = changes.site.map(|site| {
            self.site = site;
            Arc::new(self.site.site())
        });
        if site.is_some() || !edits.is_empty() {
            self.publish(generation, edits, site);
        }
        Ok(())
    }

    /// What hypervisors are to have.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// A project with all that is in it.
    pub(crate) fn tenant(&self, project: &ProjectName) -> Option<&Tenant> {
        self.tenants.get(project)
    }

    /// A network by its name.
    pub(crate) fn network(
        &self,
        project: &ProjectName,
        name: &NetworkName,
    ) -> Option<&Held<Network>> {
        self.tenants.get(project)?.networks.get(name)
    }

    /// A port by its name.
    pub(crate) fn port(&self, project: &ProjectName, name: &PortName) -> Option<&Held<Port>> {
        self.tenants.get(project)?.ports.get(name)
    }

    /// An instance by its name.
    pub(crate) fn instance(
        &self,
        project: &ProjectName,
        name: &InstanceName,
    ) -> Option<&HeldInstance> {
        self.tenants.get(project)?.instances.get(name)
    }

    /// A network by its id.
    pub(crate) fn network_by_id(&self, id: &NetworkId) -> Option<&Arc<Network>> {
        sorted::find(&self.snapshot.networks, id)
    }

    /// A port by its id.
    pub(crate) fn port_by_id(&self, id: &PortId) -> Option<&Arc<Port>> {
        sorted::find(&self.snapshot.ports, id)
    }

    /// An instance by its id.
    pub(crate) fn instance_by_id(&self, id: &InstanceId) -> Option<&HeldInstance> {
        let instance = sorted::find(&self.snapshot.instances, id)?;
        self.instance(&instance.project, &instance.name)
    }

    /// Who has which address in a network; none where no port was ever in it.
    pub(crate) fn segment(&self, network: &NetworkId) -> Option<&Segment> {
        self.segments.get(network)
    }

    fn put(
        &mut self,
        record: Record,
        revision: Generation,
        edits: &mut sorted::Edits,
    ) -> Result<(), StoreError> {
        const ORPHAN: StoreError = StoreError::Spoilt { what: "resource without its project" };
        match record {
            Record::Project(record) => {
                let name = record.name.clone();
                let project = Held { record, revision };
                match self.tenants.get_mut(&name) {
                    Some(tenant) => tenant.project = project,
                    None => {
                        let (networks, ports, instances) = Default::default();
                        let (volumes, schedules) = Default::default();
                        let tenant =
                            Tenant { project, networks, ports, instances, volumes, schedules };
                        self.tenants.insert(name, tenant);
                    }
                }
            }
            Record::Network(record) => {
                let tenant = self.tenants.get_mut(&record.project).ok_or(ORPHAN)?;
                self.vnis.insert(record.vni, Arc::clone(&record));
                edits.networks.insert(record.id.clone(), Some(Arc::clone(&record)));
                tenant.networks.insert(record.name.clone(), Held { record, revision });
            }
            Record::Port(record) => {
                let tenant = self.tenants.get_mut(&record.project).ok_or(ORPHAN)?;
                self.devices.insert(record.device.clone(), Arc::clone(&record));
                for (network, addresses) in record.attachments() {
                    let segment = self.segments.entry(network.clone()).or_default();
                    segment.macs.insert(record.mac, Arc::clone(&record));
                    for address in addresses {
                        segment.addresses.insert(*address, Arc::clone(&record));
                    }
                }
                edits.ports.insert(record.id.clone(), Some(Arc::clone(&record)));
                tenant.ports.insert(record.name.clone(), Held { record, revision });
            }
            Record::Instance(record) => {
                let instance = &record.instance;
                let tenant = self.tenants.get_mut(&instance.project).ok_or(ORPHAN)?;
                edits.instances.insert(instance.id.clone(), Some(Arc::clone(instance)));
                let name = instance.name.clone();
                let (observed, observed_at) = match tenant.instances.get(&name) {
                    Some(held) => (held.observed.clone(), held.observed_at),
                    None => (None, Generation::ZERO),
                };
                // What the guest wrote is news for readers, and no change that a writer must know.
                let (revision, observed_at) = match record.revision {
                    Some(known) => (known, observed_at.max(revision)),
                    None => (revision, observed_at),
                };
                let held = HeldInstance { record, revision, observed, observed_at };
                tenant.instances.insert(name, held);
            }
            Record::Volume(record) => {
                let tenant = self.tenants.get_mut(&record.project).ok_or(ORPHAN)?;
                tenant.volumes.insert(record.id.clone(), record);
            }
            Record::Schedule(record) => {
                let tenant = self.tenants.get_mut(&record.project).ok_or(ORPHAN)?;
                tenant.schedules.insert(record.name.clone(), record);
            }
        }
        Ok(())
    }

    fn delete(&mut self, record: &Record, edits: &mut sorted::Edits) {
        match record {
            Record::Project(project) => {
                self.tenants.remove(&project.name);
            }
            Record::Network(network) => {
                if let Some(tenant) = self.tenants.get_mut(&network.project) {
                    tenant.networks.remove(&network.name);
                }
                self.vnis.remove(&network.vni);
                self.segments.remove(&network.id);
                edits.networks.insert(network.id.clone(), None);
            }
            Record::Port(port) => {
                if let Some(tenant) = self.tenants.get_mut(&port.project) {
                    tenant.ports.remove(&port.name);
                }
                self.unindex(port);
                edits.ports.insert(port.id.clone(), None);
            }
            Record::Instance(record) => {
                let instance = &record.instance;
                if let Some(tenant) = self.tenants.get_mut(&instance.project) {
                    tenant.instances.remove(&instance.name);
                }
                edits.instances.insert(instance.id.clone(), None);
            }
            Record::Volume(volume) => {
                if let Some(tenant) = self.tenants.get_mut(&volume.project) {
                    tenant.volumes.remove(&volume.id);
                }
            }
            Record::Schedule(schedule) => {
                if let Some(tenant) = self.tenants.get_mut(&schedule.project) {
                    tenant.schedules.remove(&schedule.name);
                }
            }
        }
    }

    fn unindex(&mut self, port: &Port) {
        self.devices.remove(&port.device);
        for (network, addresses) in port.attachments() {
            let Some(segment) = self.segments.get_mut(network) else { continue };
            segment.macs.remove(&port.mac);
            for address in addresses {
                segment.addresses.remove(address);
            }
        }
    }

    /// The instance may be new in this very write, so the edits are searched first.
    fn observe(&mut self, id: &InstanceId, observed: Arc<Observed>, edits: &sorted::Edits) {
        let instance: Option<&Arc<Instance>> = match edits.instances.get(id) {
            Some(edited) => edited.as_ref(),
            None => sorted::find(&self.snapshot.instances, id),
        };
        if let Some(instance) = instance
            && let Some(tenant) = self.tenants.get_mut(&instance.project)
            && let Some(held) = tenant.instances.get_mut(&instance.name)
        {
            held.observed = Some(observed);
            held.observed_at = self.generation;
        }
    }

    /// Makes the next snapshot: records that are not in the edits stay the same `Arc`s.
    fn publish(&mut self, generation: Generation, edits: sorted::Edits, site: Option<Arc<Site>>) {
        let old = &self.snapshot;
        self.snapshot = Arc::new(Snapshot {
            generation,
            site: site.unwrap_or_else(|| Arc::clone(&old.site)),
            networks: sorted::edit(&old.networks, edits.networks),
            ports: sorted::edit(&old.ports, edits.ports),
            instances: sorted::edit(&old.instances, edits.instances),
        });
    }
}
